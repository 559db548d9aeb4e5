"""What travels together: the rows of a span one by one, or in groups. The verdicts of each. No I/O.

Inside, everything is judged by unit (a row, or a group of rows); outside, all is told of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backfill.cells import Cells, Fault, Frame, Inside
from backfill.codes import Code
from backfill.columns import integers
from backfill.order import order_of
from backfill.piece import no_rows
from backfill.validate import REJECTS, Checked, table_of

if TYPE_CHECKING:
    from backfill.source import Broken, Span


@dataclass
class Units:
    """The n units of a span, as a frame that messages are made of."""

    frame: Frame
    rows: np.ndarray
    """The offsets in the span of the rows that are in a unit, ascending."""
    sizes: np.ndarray | None = None
    """How many of these rows each unit has; None: one each."""
    faults: list[Fault] = field(default_factory=list)
    """What is wrong with single rows of groups."""
    broken: dict[int, Broken] = field(default_factory=dict)
    """The rows that were not split into cells: what their blanks caused is no reason."""
    refused: np.ndarray = field(default_factory=no_rows)
    """The groups that cannot go, whatever is in their rows."""

    @property
    def begins(self) -> np.ndarray:
        """The place in `rows` of the first row of each unit."""
        if self.sizes is None:
            return np.arange(len(self.rows))
        found: np.ndarray = np.cumsum(self.sizes) - self.sizes
        return found

    @property
    def firsts(self) -> np.ndarray:
        """The offset of the first row of each unit."""
        return self.rows if self.sizes is None else self.rows[self.begins]

    def rows_of(self, keep: np.ndarray) -> np.ndarray:
        """Return the offsets of the rows of some units (a mask), ascending."""
        found: np.ndarray = self.rows[keep if self.sizes is None else np.repeat(keep, self.sizes)]
        return found

    def by_row(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return numbers of the units as those of the n rows of the span; 0 for other rows."""
        if self.sizes is None and len(values) == count:
            return values
        found = np.zeros(count, values.dtype)
        found[self.rows] = values if self.sizes is None else np.repeat(values, self.sizes)
        return found

    def spoil(self) -> None:
        """A group of which a row is wrong is wrong, before the rules of the API are asked."""
        if self.sizes is None or not self.faults:
            return
        bad = np.unique(np.concatenate([fault.rows for fault in self.faults]))
        group_of = self.by_row(np.arange(len(self.sizes)), int(self.rows[-1]) + 1)
        groups = np.setdiff1d(group_of[bad], self.refused)
        self.frame.faults.append(Fault("", Code.GROUP_BROKEN, groups, [None] * len(groups)))

    def faults_of_rows(self) -> list[Fault]:
        """Return what is wrong with single rows of groups."""
        if not self.broken:
            return self.faults
        found = []
        for fault in self.faults:
            pairs = zip(fault.rows.tolist(), fault.values, strict=True)
            told = [
                (row, value)
                for row, value in pairs
                if row not in self.broken or self.broken[row].code == fault.code
            ]
            rows = np.array([row for row, _ in told], np.int64)
            found.append(Fault(fault.column, fault.code, rows, [value for _, value in told]))
        return found

    def told(self, table: pa.Table, start: int) -> pa.Table:
        """Return a table about units (from 0) as one about the rows of the file."""
        if not table.num_rows:
            return table
        units = integers(table["row"])
        sizes = np.ones(len(units), np.int64) if self.sizes is None else self.sizes[units]
        at = np.repeat(np.arange(len(units)), sizes)
        within = np.arange(len(at)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        begins = self.begins[units][at]
        rows = self.rows[begins + within] + start
        return table.take(pa.array(at)).set_column(0, REJECTS.field("row"), pa.array(rows))


def single(frame: Frame) -> Units:
    """Return every row as a unit of its own."""
    return Units(frame, np.arange(frame.count))


def grouped(span: Span, frame: Frame, wanted: np.ndarray, order_within: str | None) -> Units:
    """Return the groups of a span. wanted: the rows that take part, those that failed among them.

    A group none of whose rows take part is no unit.
    """
    assert span.groups is not None
    firsts = span.groups.firsts
    group_of = np.repeat(np.arange(len(firsts)), np.diff(np.append(firsts, frame.count)))
    rows = np.flatnonzero(wanted)
    names, parents = np.unique(group_of[rows], return_inverse=True)
    sizes = np.bincount(parents, minlength=len(names))
    order = rows
    if order_within is not None:
        order = rows[order_of(frame.cells(order_within), rows, parents)]
    is_whole = ~np.isin(order, list(span.broken))
    order = order[np.lexsort((~is_whole, parents))]
    taken = pa.array(order)
    columns = {
        name: Cells(cells.data.take(taken), cells.is_json) for name, cells in frame.columns.items()
    }
    inner = Frame(len(order), columns, frame.faults, order, "", frame.notes, is_part=True)
    inside = Inside(inner, parents, ~np.isin(order, list(span.broken)))
    units = Frame(len(names), {}, notes=frame.notes, inside=inside)
    refused = np.flatnonzero(np.isin(names, list(span.groups.refused)))
    for at in refused:
        column, code, value = span.groups.refused[int(names[at])]
        units.faults.append(Fault(column, code, np.array([at]), [value]))
    return Units(units, rows, sizes, frame.faults, span.broken, refused)


def told_of(units: Units, checked: Checked, start: int) -> tuple[pa.Table, pa.Table]:
    """Return the rejects and the held rows of the file.

    A row of a group that is wrong itself says so, instead of what is wrong with its group; but not
    where the group cannot go whatever is corrected in it.
    """
    rejects, held = (units.told(table, start) for table in (checked.rejects, checked.held))
    own = table_of(units.faults_of_rows(), start)
    if own.num_rows:
        silent = units.rows_of(np.isin(np.arange(units.frame.count), units.refused)) + start
        own = own.filter(pa.array(~np.isin(integers(own["row"]), silent)))
        others = ~np.isin(integers(rejects["row"]), integers(own["row"]))
        rejects = pa.concat_tables([rejects.filter(pa.array(others)), own]).sort_by("row")
    return rejects, held
