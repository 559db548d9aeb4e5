"""Which rows differ from what was last acknowledged under their key (`mode: changed`). No I/O.

A unit (a row, or a group of rows) is unchanged where its content is the one that is known, and no
unit of its key came before it in this run that was sent: then the later one is sent, whatever it
holds, so that the last row has the last word. What a resume must know of the rows before it is in
the journal, since all of them were acknowledged or told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backfill.columns import join
from backfill.encode import contents
from backfill.identity import murmur3
from backfill.jsontext import escape
from backfill.known import PRINT, Known

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backfill.message import Draft


@dataclass
class Changes:
    """What a run knows of the runs before it; it goes through its rows in order."""

    known: Known = field(default_factory=Known)
    is_retry: bool = False
    """Of a retry every row is sent, as a person asked for; it becomes known all the same."""
    touched: np.ndarray = field(init=False)
    """By the place of a known key whether this run sends something under it."""

    def __post_init__(self) -> None:
        self.touched = np.zeros(self.known.count, bool)

    def remember(self, journal: Iterable[np.ndarray]) -> None:
        """Note what this run has sent before it was interrupted."""
        for prints in journal:
            self._touch(self.known.look_up(prints["high"], prints["low"])[0])

    def _touch(self, places: np.ndarray) -> None:
        self.touched[places[places >= 0]] = True

    def judged(self, prints: np.ndarray) -> np.ndarray:
        """Return the mask of n units that are unchanged, and number the changes of the others."""
        places, rest = self.known.look_up(prints["high"], prints["low"])
        is_known = places >= 0
        prints["times"] = np.where(is_known, rest["times"] + np.uint32(1), np.uint32(0))
        if self.is_retry or not is_known.any():
            return np.zeros(len(prints), bool)
        same: np.ndarray = (
            is_known & (rest["content"] == prints["content"]) & (rest["more"] == prints["more"])
        )
        same[is_known] &= ~self.touched[places[is_known]]
        differs = np.flatnonzero(is_known & ~same)
        touched, firsts = np.unique(places[differs], return_index=True)
        if len(touched):  # the same key once more, further down
            at = np.minimum(np.searchsorted(touched, places), len(touched) - 1)
            same &= (touched[at] != places) | (np.arange(len(same)) < differs[firsts][at])
        self.touched[touched] = True
        return same


def printed(drafts: list[Draft], keys: list[pa.StringArray], keep: np.ndarray) -> np.ndarray:
    """Return the prints of the units that are kept: of their keys, and of all their messages."""
    whole = keep.all()
    kept = pa.array(keep)
    own = keys if whole else [key.filter(kept) for key in keys]
    parts: list[Any] = []
    for key in own:
        parts += ['","', escape(key)]
    prints = np.zeros(int(keep.sum()), PRINT)
    prints["high"], prints["low"] = murmur3(join(*parts))
    texts = contents(drafts if whole else [one.kept(keep) for one in drafts], len(prints))
    prints["content"], more = murmur3(texts)
    prints["more"] = more & np.uint64(0xFFFFFFFF)
    return prints
