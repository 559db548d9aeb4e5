"""Which rows are later than the runs before (`mode: since`): the watermark column. No I/O.

A watermark is a whole number: milliseconds since 1970 of a time or a date, or an integer as it is.
No cell but that is ever kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import spec
from backfill.cells import Fault, texts_of
from backfill.codes import Code
from backfill.columns import integers, lengths, mask, nulled, valid
from backfill.convert import TYPES, times

if TYPE_CHECKING:
    from backfill.cells import Cells, Frame
    from backfill.mapping.document import WatermarkSpec
    from backfill.source import Groups

NEVER: Final = int(np.iinfo(np.int64).min)
ZERO: Final = pa.scalar(NEVER, pa.int64())
DIGITS_MAX: Final = 18
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Later:
    """The verdict on the rows of a span."""

    old: np.ndarray
    """The mask of the rows that are not later."""
    highest: int | None
    """Of all that could be read; None: there is none."""


@dataclass(frozen=True, slots=True)
class Since:
    """How a run tells later rows."""

    watermark: WatermarkSpec
    now_ms: int
    floor: int | None
    """Rows up to this value are known; None: none are."""

    def judged(self, frame: Frame, wanted: np.ndarray | None, groups: Groups | None) -> Later:
        """Judge the rows that are wanted; those whose cell says nothing fail.

        A group is as late as its latest row, since it is sent whole. What else failed in a row
        that is not later was told when it was.
        """
        part = frame if wanted is None else frame.part(wanted)
        values, failed = self._values(part)
        late = np.zeros(frame.count, bool)
        at = slice(None) if wanted is None else np.flatnonzero(wanted)
        late[at] = failed | (values > (NEVER if self.floor is None else self.floor))
        if groups is not None and frame.count:
            sizes = np.diff(np.append(groups.firsts, frame.count))
            late = np.repeat(np.logical_or.reduceat(late, groups.firsts), sizes)
        old = ~late if wanted is None else wanted & ~late
        if old.any():
            frame.faults[:] = [_without(fault, old) for fault in frame.faults]
        good = values[~failed]
        return Later(old, int(good.max()) if len(good) else None)

    def _values(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """Return n values, and which of them failed."""
        name = self.watermark.column
        cells = frame.cells(name)
        blank = ~valid(cells.data)
        own = replace(frame, faults=[])  # those of this column that another reading of it has
        found = self._integers(cells, own) if self._is_integer else self._times(cells, own)
        there = valid(found)
        if not self._is_integer:
            is_day = self.watermark.type == "date" or pa.types.is_date(cells.data.type)
            ahead = DAY_MS if is_day else 1000 * spec.FUTURE_S
            newest = pa.scalar(self.now_ms + ahead, pa.int64())
            far = mask(pc.greater(found, newest))
            if far.any():
                own.fail(name, Code.WATERMARK_FUTURE, far, texts_of(cells))
            there &= ~far
        own.fail(name, Code.WATERMARK_BLANK, blank & ~frame.failed(name), None)
        frame.faults += own.faults
        return integers(found.fill_null(ZERO)), ~there

    @property
    def _is_integer(self) -> bool:
        return self.watermark.type == "integer"

    def _integers(self, cells: Cells, frame: Frame) -> pa.Array:
        form = self.watermark.form()
        made: Any = TYPES["integer"](form, cells, frame)
        texts = made.data
        long = valid(texts) & (lengths(texts) > DIGITS_MAX)
        frame.fail(form.column, Code.NUMBER_TOO_LONG, long, texts)
        return nulled(texts, long).cast(pa.int64())

    def _times(self, cells: Cells, frame: Frame) -> pa.Array:
        form = self.watermark.form()
        is_day = self.watermark.type == "date" or pa.types.is_date(cells.data.type)
        if is_day and form.timezone is None:  # a day is told from another in any zone
            form = form.model_copy(update={"timezone": "UTC"})
        return times(form, cells, frame).instants.cast(pa.int64())


def _without(fault: Fault, old: np.ndarray) -> Fault:
    keep = ~old[fault.rows]
    if keep.all():
        return fault
    values = [value for value, kept in zip(fault.values, keep.tolist(), strict=True) if kept]
    return replace(fault, rows=fault.rows[keep], values=values)
