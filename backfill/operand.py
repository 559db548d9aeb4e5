"""The values of one part of an expression, and how one kind is made of another. No mapping rules.

| kind | data |
| --- | --- |
| text, boolean, date | string, bool, date32 |
| timestamp | timestamp[ms, UTC]; of a column without a zone, as it is |
| integer, number | `Exact`; or as it came: integers, floats, decimals, digits of JSON numbers |
| list, json | a list; a struct, a map or a time of day |
| unknown | JSON texts, each judged by itself |
| None | null |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import timestamp
from backfill.cells import Cells, texts_of
from backfill.codes import Code
from backfill.columns import STRING, lengths, mask, nulled, valid
from backfill.exact import Exact, digits_of, int64s
from backfill.mapping.functions import NUMBER, Kind
from backfill.mapping.kinds import kind_of_const
from backfill.mapping.tree import columns_in
from backfill.zone import UTC_MS

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from backfill.cells import Frame
    from backfill.mapping.tree import Node, Parsed

INT64_DIGITS: Final = 18
EMPTY: Final[dict[Kind, pa.DataType]] = {
    Kind.TEXT: STRING,
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.TIMESTAMP: UTC_MS,
    Kind.DATE: pa.date32(),
    Kind.LIST: pa.list_(STRING),
    Kind.JSON: pa.null(),
    Kind.NONE: pa.null(),
    Kind.UNKNOWN: STRING,
}


@dataclass(frozen=True, slots=True)
class Operand:
    """n values of one kind; where is_const, one value that every row has."""

    kind: Kind
    data: Any
    is_const: bool = False

    @property
    def valid(self) -> np.ndarray:
        """Which values are there; of one value where is_const."""
        return self.data.valid if isinstance(self.data, Exact) else valid(self.data)


@dataclass(frozen=True)
class Scope:
    """The rows that a part is evaluated for; what fails in the others is not noted."""

    frame: Frame
    parsed: Parsed
    active: np.ndarray

    def only(self, at: np.ndarray) -> Scope:
        """Return the scope of a branch."""
        return replace(self, active=self.active & at)

    def label(self, node: Node) -> str:
        """Return the column that a part is computed from, else its text."""
        found = columns_in(node)
        return found[0].name if found else self.parsed.source(node)

    def fail(self, node: Node, code: Code, at: np.ndarray, shown: Operand | None = None) -> None:
        """Note the active rows of a mask."""
        rows = self.active & at
        if rows.any():
            texts = None if shown is None else shown_texts(self.spread(shown))
            self.frame.fail(self.label(node), code, rows, texts)

    def spread(self, one: Operand) -> Operand:
        """Return n values, of a constant too."""
        if not one.is_const:
            return one
        count = self.frame.count
        if isinstance(one.data, Exact):
            units, there = (np.broadcast_to(a, count) for a in (one.data.units, one.data.valid))
            return Operand(one.kind, Exact(units, one.data.scale, there))
        return Operand(one.kind, pa.repeat(one.data[0], count))


def kind_of(data: pa.DataType, *, is_json: bool = False) -> Kind:
    """Return the kind of a canonical column (see `cells`)."""
    if is_json:
        return Kind.UNKNOWN
    if pa.types.is_decimal(data):
        return Kind.INTEGER if data.scale <= 0 else Kind.NUMBER
    return next((kind for is_kind, kind in ARROW if is_kind(data)), Kind.JSON)


ARROW: Final[tuple[tuple[Callable[[pa.DataType], bool], Kind], ...]] = (
    (pa.types.is_null, Kind.NONE),
    (pa.types.is_string, Kind.TEXT),
    (pa.types.is_boolean, Kind.BOOLEAN),
    (pa.types.is_integer, Kind.INTEGER),
    (pa.types.is_floating, Kind.NUMBER),
    (pa.types.is_timestamp, Kind.TIMESTAMP),
    (pa.types.is_date, Kind.DATE),
    (pa.types.is_list, Kind.LIST),
)


def of_cells(cells: Cells, node: Node, scope: Scope) -> Operand:
    """Take a column; NaN and the infinities in it fail."""
    data, kind = cells.data, kind_of(cells.data.type, is_json=cells.is_json)
    if kind is Kind.TIMESTAMP and data.type.tz:
        found = timestamp.read(data, ["iso8601"], timezone=None, ambiguous="reject")
        return Operand(kind, found.data.cast(UTC_MS))
    if kind is Kind.NUMBER and pa.types.is_floating(data.type):
        endless = mask(pc.invert(pc.is_finite(data)))
        if endless.any():
            scope.fail(node, Code.NUMBER_NOT_FINITE, endless, Operand(kind, data))
            data = nulled(data, endless)
    return Operand(kind, data)


def cells_of(one: Operand, scope: Scope) -> Cells:
    """Return a column as the forms of a mapping take it."""
    data = scope.spread(one).data
    if one.kind is Kind.INTEGER:
        return _whole(data)
    if isinstance(data, Exact):
        return Cells(digits_of(data), is_json=True)
    is_digits = one.kind is Kind.NUMBER and pa.types.is_string(data.type)
    return Cells(data, is_json=is_digits or one.kind is Kind.UNKNOWN)


def active_cells(one: Operand, scope: Scope) -> Cells:
    """Return a column that is blank where it is not asked for, so that nothing fails there."""
    cells = cells_of(one, scope)
    return replace(cells, data=nulled(cells.data, ~scope.active))


def _whole(data: Any) -> Cells:
    """Integers as int64 where they fit; longer ones as the digits of JSON."""
    if isinstance(data, Exact):
        found = int64s(data)
        return Cells(digits_of(data), is_json=True) if found is None else Cells(found)
    if not pa.types.is_string(data.type):
        return Cells(data)
    if (lengths(data) <= INT64_DIGITS).all():
        return Cells(data.cast(pa.int64()))
    return Cells(data, is_json=True)


def constant(value: str | int | Decimal | bool | None) -> Operand:  # noqa: FBT001  a literal
    """Return a literal of the mapping; a number as its digits."""
    kind = kind_of_const(value)
    if kind in NUMBER:
        value = format(value, "f" if kind is Kind.NUMBER else "d")
    made = pa.repeat(pa.scalar(value, STRING if kind in NUMBER else EMPTY[kind]), 1)
    return Operand(kind, made, is_const=True)


def empty(kind: Kind) -> Operand:
    """None, as a constant of a kind."""
    return Operand(kind, pa.nulls(1, EMPTY[kind]), is_const=True)


def digits(one: Operand) -> pa.StringArray:
    """The digits of numbers, as they are sent."""
    return digits_of(one.data) if isinstance(one.data, Exact) else one.data.cast(STRING)


def shown_texts(one: Operand) -> pa.StringArray | None:
    """The values as a reason shows them."""
    if one.kind in NUMBER:
        return digits(one)
    if one.kind in {Kind.LIST, Kind.JSON, Kind.NONE}:
        return None
    if one.kind is Kind.UNKNOWN:
        return texts_of(Cells(one.data, is_json=True))
    return one.data.cast(STRING)
