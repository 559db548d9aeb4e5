"""One kind of values made of another, as the parts of an expression ask for it.

What is not of the kind asked for fails; how many values there are never changes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import natural, timestamp
from backfill.cells import Cells, texts_of
from backfill.codes import Code
from backfill.columns import STRING, flags, join, mask, nulled
from backfill.exact import Exact, chosen, digits_of, of_array
from backfill.jsontext import text as json_text
from backfill.mapping.functions import NUMBER, Kind
from backfill.mapping.kinds import united
from backfill.operand import EMPTY, Operand, active_cells, digits, empty
from backfill.source.jsontree import Number
from backfill.zone import MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.mapping.tree import Node
    from backfill.operand import Scope

PLAIN: Final = (1e-4, 1e16)
"""Where Python writes floats without an exponent."""

FIRST_CHARACTER: Final = {
    Kind.TEXT: '^"',
    Kind.INTEGER: "^-?[0-9]+$",
    Kind.NUMBER: "^[-0-9]",
    Kind.BOOLEAN: "^[tf]",
    Kind.LIST: r"^\[",
}
"""How a JSON text of a kind begins; the other kinds have no form in JSON."""


def _blank(kind: Kind, one: Operand) -> Operand:
    """None as often as another operand has values: whoever asked for a kind counts on it."""
    return Operand(kind, pa.nulls(len(one.valid), EMPTY[kind]), one.is_const)


def exact(one: Operand, node: Node, scope: Scope) -> Exact:
    """Numbers to compute with."""
    numbers = want(one, Kind.NUMBER, node, scope)
    if isinstance(numbers.data, Exact):
        return numbers.data
    made, long = of_array(numbers.data)
    scope.fail(node, Code.NUMBER_TOO_LONG, long, numbers)
    return made


def texts(one: Operand, node: Node, scope: Scope) -> pa.StringArray:
    """Single values as text: digits, true and false, ISO dates and times."""
    if one.kind in NUMBER:
        return _plain_digits(one)
    if one.kind is Kind.TIMESTAMP:
        return iso(instants(one, node, scope))
    if one.kind in {Kind.TEXT, Kind.BOOLEAN, Kind.DATE, Kind.NONE}:
        return one.data.cast(STRING)
    flat = single(one, node, scope)
    return texts_of(Cells(flat.data, is_json=one.kind is Kind.UNKNOWN))


def _plain_digits(one: Operand) -> pa.StringArray:
    """Digits as a person reads them: Arrow writes a float from 1e10 on with an exponent."""
    if isinstance(one.data, Exact) or not pa.types.is_floating(one.data.type):
        return digits(one)
    size = pc.abs(one.data)
    low, high = (pa.scalar(end, one.data.type) for end in PLAIN)
    is_plain = mask(pc.and_(pc.greater_equal(size, low), pc.less(size, high)))
    plain = digits_of(of_array(nulled(one.data, ~is_plain))[0])
    return pc.coalesce(plain, one.data.cast(STRING))


def single(one: Operand, node: Node, scope: Scope) -> Operand:
    """The same without lists and objects, which fail."""
    if one.kind is Kind.UNKNOWN:
        nested = mask(pc.match_substring_regex(one.data, r"^[\[{]"))
    elif one.kind is Kind.LIST or (one.kind is Kind.JSON and pa.types.is_nested(one.data.type)):
        nested = one.valid
    else:
        return one
    scope.fail(node, Code.NOT_ONE_VALUE, nested)
    if one.kind is Kind.UNKNOWN:
        return Operand(one.kind, nulled(one.data, nested))
    return _blank(Kind.NONE, one)


def iso(moments: pa.Array) -> pa.StringArray:
    """`2020-01-02T03:04:05.000Z`."""
    return join(timestamp.iso(moments).data, "Z")


def instants(one: Operand, node: Node, scope: Scope) -> pa.Array:
    """Timestamps as `timestamp[ms]` in UTC; one without a zone fails."""
    data = want(one, Kind.TIMESTAMP, node, scope).data
    if data.type.tz:
        return data.cast(MS)
    found = timestamp.read(data, ["iso8601"], timezone=None, ambiguous="reject")
    for code, at in found.failed:
        scope.fail(node, code, at, Operand(Kind.TIMESTAMP, data))
    return found.data


def want(one: Operand, kind: Kind, node: Node, scope: Scope) -> Operand:
    """Return values of a kind (an integer is a number); what is of another one fails."""
    if one.kind is kind or (kind is Kind.NUMBER and one.kind is Kind.INTEGER):
        return one
    if one.kind is Kind.NONE:
        return _blank(kind, one)
    if one.kind is Kind.UNKNOWN and kind in FIRST_CHARACTER:
        return _decoded(one, kind, node, scope)
    if kind is Kind.INTEGER and one.kind is Kind.NUMBER:
        return _decoded(Operand(Kind.UNKNOWN, digits(one), one.is_const), kind, node, scope)
    scope.fail(node, Code.VALUE_TYPE, one.valid, one)
    return _blank(kind, one)


def begins(one: Operand, kind: Kind) -> np.ndarray:
    """Which JSON texts are of a kind."""
    return mask(pc.match_substring_regex(one.data, FIRST_CHARACTER[kind]))


def _decoded(one: Operand, kind: Kind, node: Node, scope: Scope) -> Operand:
    """JSON texts of one kind."""
    wrong = one.valid & ~begins(one, kind)
    scope.fail(node, Code.VALUE_TYPE, wrong, one)
    data = nulled(one.data, wrong)
    if kind is Kind.TEXT:
        data = texts_of(Cells(data, is_json=True))
    elif kind is Kind.BOOLEAN:
        data = pc.equal(data, pa.scalar("true", STRING))
    elif kind is Kind.LIST:
        data = _lists(data, lambda item: item if isinstance(item, str) else json.dumps(item))
    return Operand(kind, data, one.is_const)


def json_lists(one: Operand) -> Operand:
    """The lists among JSON texts, their items as JSON texts; None for the others."""
    data = nulled(one.data, ~begins(one, Kind.LIST))
    return Operand(Kind.LIST, _lists(data, _dumped))


def _lists(texts: pa.StringArray, written: Callable[[Any], str]) -> pa.ListArray:
    """Read JSON lists one by one: Arrow has no kernel for it."""
    made: list[list[str | None] | None] = []
    for text in texts.to_pylist():
        items = [] if text is None else json.loads(text, parse_float=Number, parse_int=Number)
        made.append(None if text is None else [None if i is None else written(i) for i in items])
    return pa.array(made, EMPTY[Kind.LIST])


def _dumped(item: Any) -> str:
    return str(item) if isinstance(item, Number) else json.dumps(item, ensure_ascii=False)


def picked(at: np.ndarray, first: Operand, second: Operand, node: Node, scope: Scope) -> Operand:
    """Return first where the mask is, else second; of two kinds it makes JSON texts."""
    kind, at = united([first.kind, second.kind]), np.broadcast_to(at, scope.frame.count)
    if first.kind is second.kind is Kind.NONE:
        return first
    if first.kind is Kind.NONE:
        first = empty(second.kind) if second.kind is not Kind.JSON else first
    if second.kind is Kind.NONE:
        second = empty(first.kind) if first.kind is not Kind.JSON else second
    if kind in NUMBER and isinstance(first.data, Exact) and isinstance(second.data, Exact):
        return Operand(kind, chosen(at, first.data, second.data))
    pair = [scope.spread(first), scope.spread(second)]
    chosen_at = flags(at)
    if kind in NUMBER:  # untouched numbers keep the digits they have
        return Operand(kind, pc.if_else(chosen_at, *(digits(one) for one in pair)))
    if kind is None or kind is Kind.UNKNOWN or pair[0].data.type != pair[1].data.type:
        made = [json_of(one, node, scope) for one in pair]
        return Operand(Kind.UNKNOWN, pc.if_else(chosen_at, *made))
    return Operand(kind, pc.if_else(chosen_at, *(one.data for one in pair)))


def json_of(one: Operand, node: Node, scope: Scope) -> pa.StringArray:
    """Return n JSON texts."""
    cells = active_cells(one, scope)
    if one.kind is Kind.TEXT:
        return json_text(cells.data).json()
    return natural.typed(scope.label(node), cells, scope.frame).json()
