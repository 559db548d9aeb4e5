"""What is true of all mappings that are checked together, with the rows that show it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backfill.grouping import Seen
from backfill.people import EVENTS, People, named_in
from backfill.pipeline import encodings
from backfill.reading import open_shard, spans
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.message import Made
    from backfill.plan import Job, Plan, Shard

PLACES_MAX: Final = 2**32 - 1
"""Rows are counted over all files in 32 bits; samples of rows behind that are not to be found."""


@dataclass
class Folder:
    """The people of several streams, and the files in which a place is a row."""

    people: People = field(default_factory=People)
    _files: list[tuple[int, Plan, Shard]] = field(default_factory=list)
    """The place of row 0 of each file, ascending."""
    _next: int = 0

    def open(self, plan: Plan, shard: Shard) -> None:
        """Begin a file."""
        self._files.append((self._next, plan, shard))

    def add(self, made: Made) -> None:
        """Take the messages of one span of the file."""
        self.people.add(self._files[-1][1].job.mapping.name, made, self._next)

    def close(self, rows: int) -> None:
        """End the file, which has so many rows."""
        self._next = min(self._next + rows, PLACES_MAX)

    def told(self, places: list[int]) -> dict[int, dict[str, Any]]:
        """Return by place: file, row as a person counts, userId and email.

        The files are read again, no further than to the last of these rows.
        """
        found: dict[int, dict[str, Any]] = {}
        bases = [base for base, _, _ in self._files]
        wanted: dict[int, list[int]] = {}
        for place in sorted(set(places)):
            wanted.setdefault(bisect_right(bases, place) - 1, []).append(place)
        for at, mine in wanted.items():
            base, plan, shard = self._files[at]
            rows = [place - base for place in mine]
            for row, told in _read(plan.job, shard, rows):
                found[base + row] = told
        return found


def _read(job: Job, shard: Shard, rows: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    if job.grouping is not None:  # its memory is that of the first reading
        job = replace(job, grouping=replace(job.grouping, seen=Seen()))
    read = open_shard(job, shard)
    wanted = np.array(rows)
    for span in spans(read, rows[0], rows[-1] + 1, job.grouping):
        inside = wanted[(wanted >= span.start) & (wanted < span.stop)]
        if not len(inside):
            continue
        made = encodings(job, shard, span, Watermark(job.lanes)).made
        assert made is not None
        for row, user, email in _named(made, inside):
            told = {"file": read.file, "row": read.person_row(row), "userId": user}
            yield row, told | ({"email": email} if email else {})


def _named(made: Made, rows: np.ndarray) -> Iterator[tuple[int, str, str | None]]:
    """Yield row, id and email of the first message that says whom each of these rows is about."""
    told: set[int] = set()
    for named in named_in(made, 0, ("identify", *EVENTS)):
        for at in np.flatnonzero(np.isin(named.places, rows)).tolist():
            row = int(named.places[at])
            if row not in told and named.ids[at].is_valid:
                told.add(row)
                email = named.emails[at].as_py() if named.emails is not None else None
                yield row, named.ids[at].as_py(), email
