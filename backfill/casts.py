"""The functions of expressions that make one kind of another, as the `type:` options do.

They go through the same readers as a column with a type, and fail with the same codes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from backfill.coerce import instants, iso, single, texts
from backfill.columns import STRING, integers, valid
from backfill.convert import TYPES, times
from backfill.exact import Exact
from backfill.mapping.forms import ColumnForm
from backfill.mapping.functions import Kind
from backfill.operand import Operand, active_cells
from backfill.zone import UTC_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backfill.cells import Cells
    from backfill.mapping.tree import Call, Node
    from backfill.operand import Scope

    Given = Sequence[Operand | None]
    Function = Callable[[Call, Given, Scope], Operand]


def first_of(call: Call, given: Given) -> tuple[Node, Operand]:
    """Return the first argument, which every call has."""
    node, found = call.arguments[0], given[0]
    assert node is not None
    assert found is not None
    return node, found


def literal_of(given: Given, at: int) -> Any:
    """Return what an argument says that is written out; None where it is left out."""
    one = given[at]
    return None if one is None else one.data[0].as_py()


def _form(call: Call, scope: Scope, **options: str | None) -> ColumnForm:
    """Return a conversion as the column form that it is like; the options are literals."""
    node = call.arguments[0]
    assert node is not None
    said = {name: text for name, text in options.items() if text is not None}
    return ColumnForm(column=scope.label(node), **said)  # type: ignore[arg-type]


def _cells(call: Call, given: Given, scope: Scope) -> Cells:
    node, found = first_of(call, given)
    return active_cells(single(found, node, scope), scope)


def _quiet(scope: Scope) -> Any:
    """The frame without its notes: what is computed with is not yet what is sent."""
    return replace(scope.frame, notes={})


def _text(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    return Operand(Kind.TEXT, texts(found, node, scope), found.is_const)


def _number(call: Call, given: Given, scope: Scope) -> Operand:
    kind = Kind.INTEGER if call.name == "integer" else Kind.NUMBER
    _, found = first_of(call, given)
    if found.kind is Kind.INTEGER or (found.kind is Kind.NUMBER and kind is Kind.NUMBER):
        return found
    form = _form(call, scope, decimal=literal_of(given, 1), thousands=literal_of(given, 2))
    made = TYPES[call.name](form, _cells(call, given, scope), _quiet(scope))
    return Operand(kind, made.data)


def _boolean(call: Call, given: Given, scope: Scope) -> Operand:
    made = TYPES["boolean"](_form(call, scope), _cells(call, given, scope), scope.frame)
    return Operand(Kind.BOOLEAN, pc.equal(made.data, pa.scalar("true", STRING)))


def _timestamp(call: Call, given: Given, scope: Scope) -> Operand:
    options = dict(zip(("format", "timezone", "ambiguous"), range(1, 4), strict=True))
    form = _form(call, scope, **{name: literal_of(given, at) for name, at in options.items()})
    found = times(form, _cells(call, given, scope), scope.frame)
    return Operand(Kind.TIMESTAMP, found.instants.cast(UTC_MS))


def _date(call: Call, given: Given, scope: Scope) -> Operand:
    form = _form(call, scope, format=literal_of(given, 1), timezone=literal_of(given, 2))
    made = TYPES["date"](form, _cells(call, given, scope), scope.frame)
    return Operand(Kind.DATE, made.data.cast(pa.date32()))


def _iso8601(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    if found.kind is Kind.DATE:
        return Operand(Kind.TEXT, found.data.cast(STRING), found.is_const)
    return Operand(Kind.TEXT, iso(instants(found, node, scope)), found.is_const)


def _unix(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    moments = instants(found, node, scope).cast(pa.int64())
    units = integers(pc.fill_null(moments, pa.scalar(0, pa.int64()))) // 1000
    return Operand(Kind.INTEGER, Exact(units, 0, valid(moments)), found.is_const)


CASTS: Final[dict[str, Function]] = {
    "text": _text,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "date": _date,
    "iso8601": _iso8601,
    "unix": _unix,
}
