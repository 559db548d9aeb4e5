"""The form in which rows travel: a record batch and where it stands. No reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.codes import Code
    from backfill.source.place import Place

JSON_KIND: Final = {b"backfill": b"json"}
"""Metadata of a text field whose values are JSON texts already (numbers digit by digit)."""

LINE: Final = "\0line"
"""The hidden column that keeps a JSON line as it was read, for the rejects file."""

BROKEN_MAX: Final = 2_000
"""In one span: each is an object of its own, many times as large as its cells."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not be split into cells. It rides in its record batch as a row of nulls."""

    code: Code
    reason: str
    cells: tuple[bytes, ...]
    """What could be made of it, in the order of the columns; as many as there are columns."""


WHY: Final = ("_row", "_column", "_code", "_reason")
"""What a dead letter says of its row, after the row's own columns."""

WHICH: Final = "_file"
"""Added where a source has several files, since a row alone would not say where it stands."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a span once stood, when they are read again from a dead-letter file."""

    label: str
    """The file as dead letters name it."""
    sha256: str
    first_row: int
    rows: np.ndarray
    """By offset: the row of that file, from 0."""

    def part(self, start: int, stop: int | None) -> Origin:
        """Return that of the rows [start, stop) of the span."""
        return Origin(self.label, self.sha256, self.first_row, self.rows[start:stop])

    def joined(self, other: Origin) -> Origin:
        """Return that of the rows of both, which are of the same file."""
        rows = np.concatenate([self.rows, other.rows])
        return Origin(self.label, self.sha256, self.first_row, rows)


@dataclass(frozen=True, slots=True)
class Groups:
    """Which neighbouring rows of a span go together in one message."""

    firsts: np.ndarray
    """The offset of the first row of each group, ascending from 0."""
    refused: dict[int, tuple[str, Code, str]]
    """By the group's number why its rows cannot go: the column, or '', the code, the value."""

    def part(self, start: int, stop: int) -> Groups:
        """Return those of the rows [start, stop); both are where a group begins, or the end."""
        inside = (self.firsts >= start) & (self.firsts < stop)
        before = int((self.firsts < start).sum())
        kept = range(before, before + int(inside.sum()))
        refused = {at - before: why for at, why in self.refused.items() if at in kept}
        return Groups(self.firsts[inside] - start, refused)


@dataclass(frozen=True, slots=True)
class Span:
    """Rows [start, start + batch.num_rows) of one file."""

    start: int
    batch: pa.RecordBatch
    broken: dict[int, Broken] = field(default_factory=dict)
    """By the row's offset in the batch."""
    origin: Origin | None = None
    groups: Groups | None = None
    place: Place | None = None
    """The begin of a row at or before its first one, where that is known."""

    @property
    def stop(self) -> int:
        """The first row after these."""
        return self.start + int(self.batch.num_rows)

    def tail(self, offset: int) -> Span:
        """Return the rows from this offset on."""
        broken = {at - offset: row for at, row in self.broken.items() if at >= offset}
        origin = self.origin and self.origin.part(offset, None)
        groups = self.groups and self.groups.part(offset, self.batch.num_rows)
        batch = self.batch.slice(offset)
        return Span(self.start + offset, batch, broken, origin, groups, self.place)

    def parts(self) -> Iterator[Span]:
        """Yield the same rows in spans of at most BROKEN_MAX broken ones, for the memory's sake."""
        at = sorted(self.broken)
        first = 0
        for n in range(0, max(len(at), 1), BROKEN_MAX):
            stop = at[n + BROKEN_MAX] if n + BROKEN_MAX < len(at) else self.batch.num_rows
            broken = {row - first: self.broken[row] for row in at[n : n + BROKEN_MAX]}
            origin = self.origin and self.origin.part(first, stop)
            batch = self.batch.slice(first, stop - first)
            yield Span(self.start + first, batch, broken, origin, place=self.place)
            first = stop

    def head(self, count: int) -> Span:
        """Return the first rows."""
        broken = {at: row for at, row in self.broken.items() if at < count}
        origin = self.origin and self.origin.part(0, count)
        groups = self.groups and self.groups.part(0, count)
        batch = self.batch.slice(0, count)
        return Span(self.start, batch, broken, origin, groups, self.place)

    def followed_by(self, other: Span) -> Span:
        """Return the rows of both; the other begins where this one ends."""
        batch = pa.Table.from_batches([self.batch, other.batch]).combine_chunks().to_batches()[0]
        shift = self.batch.num_rows
        broken = {**self.broken, **{at + shift: row for at, row in other.broken.items()}}
        origin = self.origin and other.origin and self.origin.joined(other.origin)
        return Span(self.start, batch, broken, origin)


class Reader(Protocol):
    """One open file of a source."""

    columns: list[str]
    """The names of the columns, in order."""
    has_all_columns: bool
    """Whether `columns` is certain; JSON lines may bring new keys later."""
    schema: Any
    """The Arrow schema where the types are known before the first row, else None."""
    first_row: int
    """The number of row 0 as a person counts: a CSV's header is row 1."""
    has_nulls: bool
    """Whether cells of CSV may be null, so that dead letters tell them from empty ones."""

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on, tiling the file in order. Raises SourceError."""
        ...
