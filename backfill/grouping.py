"""Record batches → record batches that cut no group of rows, and the groups in them. No I/O.

A group is the neighbouring rows with the same texts in the columns of `group_by`. That a key does
not come again later is checked over the whole stream, for 8 bytes a group: two messages of one key
would have one id, and the destination would drop one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.cells import frame_of, texts_of
from backfill.codes import Code
from backfill.columns import STRING, valid
from backfill.identity import murmur3
from backfill.jsontext import escape
from backfill.source import Groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backfill.source import Span


@dataclass
class Seen:
    """The groups that came so far, as sorted runs of hashes: memory of 8 bytes each."""

    runs: list[np.ndarray] = field(default_factory=list)

    def forget(self) -> None:
        """Begin anew: the stream is read from its first row."""
        self.runs.clear()

    def again(self, hashes: np.ndarray) -> np.ndarray:
        """Return which of n groups came before, among them or earlier; all are known from now."""
        found = np.ones(len(hashes), bool)
        found[np.unique(hashes, return_index=True)[1]] = False
        for run in self.runs:
            at = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            found |= run[at] == hashes
        if not found.all():
            self.runs.append(np.sort(hashes[~found]))
        while len(self.runs) > 1 and len(self.runs[-1]) * 2 > len(self.runs[-2]):
            last = self.runs.pop()
            self.runs[-1] = np.sort(np.concatenate([self.runs[-1], last]), kind="stable")
        return found


@dataclass(frozen=True, slots=True)
class Keys:
    """The groups that n rows belong to."""

    hashes: np.ndarray
    blank: np.ndarray
    texts: pa.StringArray

    def firsts(self) -> np.ndarray:
        """Return where groups begin. A row without a key is a group of its own."""
        differs = np.ones(len(self.blank), bool)
        differs[1:] = (self.hashes[1:] != self.hashes[:-1]) | self.blank[1:] | self.blank[:-1]
        return np.flatnonzero(differs)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How the rows of a stream are grouped."""

    by: tuple[str, ...]
    rows_max: int
    blank: Sequence[str]
    seen: Seen

    def whole(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Yield the same rows with their groups, none of which is cut.

        A group over `rows_max` is refused whole, and given on in pieces for the memory's sake.
        """
        held: Span | None = None
        long: np.uint64 | None = None
        for span in spans:
            if held is not None and _are_apart(held, span):
                grouped, long = self._grouped(held, long)
                yield grouped
                held = None
            whole = span if held is None else held.followed_by(span)
            held = None
            if not whole.batch.num_rows:
                continue
            last = int(self.keys(whole).firsts()[-1])
            if whole.batch.num_rows - last > self.rows_max:
                last = whole.batch.num_rows
            if last:
                grouped, long = self._grouped(whole.head(last), long)
                yield grouped
            if last < whole.batch.num_rows:
                held = whole.tail(last)
        if held is not None:
            yield self._grouped(held, long)[0]

    def _grouped(self, span: Span, long: np.uint64 | None) -> tuple[Span, np.uint64 | None]:
        """Find the groups of whole rows. long: the group that a piece before this one was of."""
        keys = self.keys(span)
        firsts = keys.firsts()
        hashes, blank = keys.hashes[firsts], keys.blank[firsts]
        sizes = np.diff(np.append(firsts, len(keys.hashes)))
        again = np.zeros(len(firsts), bool)
        again[~blank] = self.seen.again(hashes[~blank])
        is_long = (sizes > self.rows_max) & ~blank
        if long is not None and not blank[0] and hashes[0] == long:
            is_long[0] = True
        refused = {int(at): (self.by[0], Code.KEY_BLANK, "") for at in np.flatnonzero(blank)}
        for at in np.flatnonzero(again).tolist():
            what = f"the group {str(keys.texts[int(firsts[at])])[:80]!r} has been there before"
            refused[at] = ("", Code.GROUP_AGAIN, what)
        for at in np.flatnonzero(is_long).tolist():
            refused[at] = ("", Code.GROUP_TOO_LONG, f"{self.rows_max:,}")
        return replace(span, groups=Groups(firsts, refused)), hashes[-1] if is_long[-1] else None

    def keys(self, span: Span) -> Keys:
        """Return the key of each row; of a row that was not split into cells, what is known."""
        frame = frame_of(span, self.by, self.blank)
        columns = [_with_broken(texts_of(frame.cells(name)), name, span) for name in self.by]
        hashed = columns[0]
        if len(columns) > 1:  # escaped, since two keys must not read as one
            hashed = pc.binary_join_element_wise(*map(escape, columns), pa.scalar('","', STRING))
        told = pc.binary_join_element_wise(*columns, pa.scalar(", ", STRING))
        return Keys(murmur3(hashed.fill_null(""))[0], ~valid(hashed), told)


def _with_broken(texts: pa.StringArray, name: str, span: Span) -> pa.StringArray:
    """Put in what is known of the rows that were not split into cells."""
    place = span.batch.schema.get_field_index(name)
    if not span.broken or place < 0:
        return texts
    found = texts.to_pylist()
    for at, row in span.broken.items():
        found[at] = row.cells[place].decode(errors="replace") if row.cells[place:] else None
    return pa.array(found, STRING)


def _are_apart(held: Span, span: Span) -> bool:
    """Whether rows that are read again come from two files: no group has rows of both."""
    origins = held.origin, span.origin
    return (
        origins[0] is not None and origins[1] is not None and origins[0].label != origins[1].label
    )
