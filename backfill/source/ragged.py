"""Ragged rows back in their places: Arrow leaves them out, and tells of each by its number."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from backfill.source.span import Broken, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.source.place import Place

RAGGED_MAX: Final = 10_000
"""Arrow tells of the ragged rows before a row that is not; so many are kept in memory at most."""


@contextmanager
def quiet(handler: Any) -> Iterator[None]:
    """Arrow reports what it cannot decode for the handler on stderr; it is told in another way."""
    before = sys.unraisablehook

    def hook(told: Any) -> None:
        if told.object is not handler:
            before(told)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def with_ragged(
    start: int,
    batch: pa.RecordBatch,
    ragged: dict[int, Broken],
    place: Place | None,
    *,
    is_whole: bool = False,
) -> Span:
    """Put ragged rows back in their places as rows of nulls, so that the rows tile the file.

    is_whole: those after the last row of the batch are of it, too, and not of the next one.
    """
    here: dict[int, Broken] = {}
    stop = start + batch.num_rows
    for row in sorted(ragged):  # each of them moves the end by one
        if row > stop or (row == stop and batch.num_rows and not is_whole):
            break
        here[row - start] = ragged.pop(row)
        stop += 1
    if not here:
        return Span(start, batch, place=place)
    order: list[int | None] = []
    following = iter(range(batch.num_rows))
    for offset in range(stop - start):
        order.append(None if offset in here else next(following))
    taken = batch.take(pa.array(order, pa.int32()))
    return Span(start, taken, here, place=place)


def no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch without rows."""
    return pa.RecordBatch.from_pylist([], schema=schema)


def nulls(schema: pa.Schema) -> pa.RecordBatch:
    """Return a row without cells."""
    return pa.RecordBatch.from_pylist([{}], schema=schema)
