"""What a batch is made of while it grows: texts with their places, and what is told. No cutting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from backfill.columns import BLANK_MS, flags, integers
from backfill.known import no_prints
from backfill.marks import no_marks
from backfill.validate import NONE

if TYPE_CHECKING:
    from backfill.texts import Texts

OPEN: Final = b'{"batch":['
CLOSE: Final = b"]}"


@dataclass(frozen=True, slots=True)
class Part:
    """The texts of one span in one lane, in order."""

    texts: Texts
    rows: np.ndarray
    sizes: np.ndarray
    messages: np.ndarray
    times: list[np.ndarray]
    rejects: pa.Table
    held: pa.Table
    quiet: tuple[np.ndarray, ...]
    """The rows that are filtered, and those that are unchanged."""
    prints: np.ndarray
    marks: np.ndarray


@dataclass
class Piece:
    """Neighbouring texts of one span: those of [first, last) among all of it."""

    texts: Texts
    first: int
    last: int
    rows: np.ndarray
    sizes: np.ndarray
    messages: np.ndarray
    times: list[np.ndarray]
    prints: np.ndarray
    """Of each text, or none."""
    marks: np.ndarray
    """A column a text, or none."""

    @property
    def body_bytes(self) -> int:
        """How many bytes they take in a body."""
        return int(self.texts.ends[self.last] - self.texts.ends[self.first])


def body_of(pieces: list[Piece]) -> bytes:
    """Return a request body with all the texts."""
    parts = [piece.texts.bytes_of(piece.first, piece.last) for piece in pieces]
    parts[:1] = [part[1:] for part in parts[:1]]  # the first message has no comma before it
    return b"".join([OPEN, *parts, CLOSE])


def no_rows() -> np.ndarray:
    """Return an array of no rows."""
    return np.empty(0, np.int64)


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the rows of all."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else no_rows()


def prints(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the prints of all; most streams have none, and an empty record array costs as much."""
    there = [array for array in arrays if len(array)]
    return joined(there) if there else no_prints()


def marks(pieces: list[Piece]) -> np.ndarray:
    """Return the marks of the texts of all."""
    found = [piece.marks for piece in pieces]
    if len(found) == 1:
        return found[0]
    return np.concatenate(found, axis=1) if found else no_marks()


def firsts(sizes: np.ndarray) -> np.ndarray:
    """Return where the rows of each text begin among the rows of all."""
    found: np.ndarray = np.cumsum(sizes) - sizes
    return found


def bounds(pieces: list[np.ndarray]) -> np.ndarray:
    """Return where each text begins in the body; the last place is after a comma not there.

    pieces: where the texts of each begin among others, and where the last one ends.
    """
    found, at = [], len(OPEN)
    for ends in pieces:
        found.append(ends[:-1] + (at - ends[0]))
        at += int(ends[-1] - ends[0])
    return np.append(joined(found), at)


def times(pieces: list[Piece]) -> tuple[int, int, list[np.ndarray]] | None:
    """Return the smallest and the largest instant, and all of them."""
    columns = [column for piece in pieces for column in piece.times if len(column)]
    if not columns:
        return None
    oldest = min(int(column.min()) for column in columns)
    if oldest == BLANK_MS:  # some have none
        columns = [kept for column in columns if len(kept := column[column != BLANK_MS])]
        oldest = min((int(column.min()) for column in columns), default=BLANK_MS)
    if not columns:
        return None
    return oldest, max(int(column.max()) for column in columns), columns


def count_before(some: list[np.ndarray], stop: int) -> int:
    """Count the rows before one, in arrays of rows."""
    return sum(int((rows < stop).sum()) for rows in some)


def put(tables: list[pa.Table], table: pa.Table) -> None:
    """Add a table of rows that are told of, unless it has none."""
    if table.num_rows:
        tables.append(table)


def before(tables: list[pa.Table], stop: int) -> pa.Table:
    """Return what is told of the rows before one."""
    kept = [table.filter(flags(integers(table["row"]) < stop)) for table in tables]
    return pa.concat_tables(kept) if kept else NONE


def beyond(tables: list[pa.Table], stop: int) -> list[pa.Table]:
    """Return what is told of the rows from one on."""
    kept = [table.filter(flags(integers(table["row"]) >= stop)) for table in tables]
    return [table for table in kept if table.num_rows]
