"""What a request body is made of while it grows: texts with their places. No cutting, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from backfill.columns import BLANK_MS
from backfill.known import no_prints
from backfill.marks import no_marks

OPEN: Final = b'{"batch":['
CLOSE: Final = b"]}"


@dataclass
class Piece:
    """Neighbouring texts of one span."""

    data: memoryview
    bounds: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray
    messages: np.ndarray
    times: list[np.ndarray]
    prints: np.ndarray
    """Of each text, or none."""
    marks: np.ndarray
    """A column a text, or none."""


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the rows of all."""
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def prints(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the prints of all; most streams have none, and an empty record array costs as much."""
    there = [array for array in arrays if len(array)]
    return np.concatenate(there) if there else no_prints()


def marks(pieces: list[Piece]) -> np.ndarray:
    """Return the marks of the texts of all."""
    found = [piece.marks for piece in pieces]
    return np.concatenate(found, axis=1) if found else no_marks()


def bounds(pieces: list[Piece]) -> np.ndarray:
    """Return where each row begins in the body; the last place is after a comma not there."""
    found, at = [], len(OPEN)
    for piece in pieces:
        found.append(piece.bounds[:-1] + at)
        at += int(piece.bounds[-1])
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
