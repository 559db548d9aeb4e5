"""Comparisons and `in`, over whole columns of operands: what is true, what false, what neither."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.codes import Code
from backfill.coerce import begins, exact, instants, json_lists, single, want
from backfill.columns import flags, mask, nulled, numbers, strings, valid
from backfill.exact import Exact, compared
from backfill.mapping.functions import NUMBER, Kind
from backfill.mapping.kinds import kind_of_const
from backfill.natural import parents_of
from backfill.operand import Operand, Scope, constant, of_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backfill.mapping.tree import Const, Node

COMPARE: Final[dict[str, Callable[[Any, Any], pa.Array]]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
SINGLE: Final = (Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)
"""What a JSON text may be, and be compared as."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true and what is false, row by row; None is neither. One value for a constant."""

    true: np.ndarray
    false: np.ndarray

    def operand(self, count: int) -> Operand:
        """Return n booleans."""
        true, false = (np.broadcast_to(one, count) for one in (self.true, self.false))
        return Operand(Kind.BOOLEAN, nulled(flags(true), ~(true | false)))


NEVER: Final = Truth(np.zeros(1, bool), np.zeros(1, bool))
ALWAYS: Final = Truth(np.ones(1, bool), np.zeros(1, bool))
NOT_AT_ALL: Final = Truth(np.zeros(1, bool), np.ones(1, bool))


def of_flags(found: pa.Array) -> Truth:
    """A boolean array; null is neither."""
    true = mask(found)
    return Truth(true, valid(found) & ~true)


def both(first: Truth, second: Truth) -> Truth:
    """`and` of three values."""
    return Truth(first.true & second.true, first.false | second.false)


def either(first: Truth, second: Truth) -> Truth:
    """`or` of three values."""
    return Truth(first.true | second.true, first.false & second.false)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison, and where it stands."""

    node: Node
    found: Operand

    def as_(self, kind: Kind, scope: Scope) -> Side:
        """Return the values of a kind; others fail."""
        return replace(self, found=want(self.found, kind, self.node, scope))


def pair(operator: str, left: Side, right: Side, scope: Scope) -> Truth:
    """Compare two values of one kind; where each tells its own, row by row."""
    kinds = {left.found.kind, right.found.kind}
    if Kind.NONE in kinds:
        return NEVER
    if kinds == {Kind.UNKNOWN}:

        def judge(kind: Kind, inner: Scope) -> Truth:
            return pair(operator, left.as_(kind, inner), right.as_(kind, inner), inner)

        return by_kind(left, SINGLE, scope, judge)
    if left.found.kind is Kind.UNKNOWN:
        left = left.as_(right.found.kind, scope)
    elif not (kinds <= NUMBER or len(kinds) == 1):
        right = right.as_(left.found.kind, scope)
    if left.found.kind in {Kind.LIST, Kind.JSON}:
        single(left.found, left.node, scope)
        return NEVER
    return _compared(operator, left, right, scope)


def _compared(operator: str, left: Side, right: Side, scope: Scope) -> Truth:
    if left.found.kind in NUMBER:
        a, b = (exact(side.found, side.node, scope) for side in (left, right))
        holds, known = compared(operator, a, b)
        return Truth(holds & known, ~holds & known)
    data = [side.found.data for side in (left, right)]
    if left.found.kind is Kind.TIMESTAMP:
        data = [instants(side.found, side.node, scope) for side in (left, right)]
    if left.found.is_const is not right.found.is_const:
        data = [
            one[0] if side.found.is_const else one
            for one, side in zip(data, (left, right), strict=True)
        ]
    return of_flags(COMPARE[operator](*data))


def by_kind(
    side: Side, kinds: Sequence[Kind], scope: Scope, judge: Callable[[Kind, Scope], Truth]
) -> Truth:
    """Judge JSON texts by what each of them is; those of no such kind fail."""
    whole, rest = NEVER, side.found.valid
    for kind in kinds:
        at = begins(side.found, kind)
        rest = rest & ~at
        if (at & scope.active).any():
            one = judge(kind, scope.only(at))
            whole = Truth(whole.true | (one.true & at), whole.false | (one.false & at))
    scope.fail(side.node, Code.VALUE_TYPE, rest, side.found)
    return whole


def in_items(side: Side, items: Sequence[Const], scope: Scope) -> Truth:
    """`x in (…)` with literals."""
    groups: dict[Kind, list[Const]] = {}
    for item in items:
        kind = kind_of_const(item.value)
        groups.setdefault(Kind.NUMBER if kind in NUMBER else kind, []).append(item)
    found = side.found.kind
    if found is Kind.NONE:
        return NEVER

    def judge(kind: Kind, inner: Scope) -> Truth:
        return _among(side.as_(kind, inner), groups[kind], inner)

    if found is Kind.UNKNOWN:
        return by_kind(side, list(groups), scope, judge)
    kind = Kind.NUMBER if found in NUMBER else found
    return judge(kind if kind in groups else next(iter(groups)), scope)


def _among(side: Side, items: Sequence[Const], scope: Scope) -> Truth:
    if side.found.kind is Kind.TEXT:
        known = strings([str(item.value) for item in items])
        true = mask(pc.is_in(side.found.data, value_set=known))
        return Truth(true, side.found.valid & ~true)
    whole = NOT_AT_ALL
    for item in items:
        whole = either(whole, pair("==", side, Side(item, constant(item.value)), scope))
    return whole


def in_value(side: Side, options: Side, scope: Scope) -> Truth:
    """`x in y` where y is a list, or a text that may hold x."""
    kind = options.found.kind
    if Kind.NONE in {side.found.kind, kind}:
        return NEVER
    if kind is Kind.UNKNOWN:

        def judge(kind: Kind, inner: Scope) -> Truth:
            if kind is Kind.TEXT:
                return in_value(side, options.as_(kind, inner), inner)
            lists = json_lists(options.found)
            return _in_lists(side, replace(options, found=lists), inner, is_json=True)

        return by_kind(options, (Kind.TEXT, Kind.LIST), scope, judge)
    if kind is Kind.LIST:
        return _in_lists(side, options, scope)
    return _in_text(side.as_(Kind.TEXT, scope), options.as_(Kind.TEXT, scope), scope)


def _in_text(side: Side, options: Side, scope: Scope) -> Truth:
    if side.found.is_const and side.found.data[0].is_valid:
        part = side.found.data[0].as_py()
        return of_flags(pc.match_substring(options.found.data, part))
    parts, wholes = (scope.spread(one.found).data.to_pylist() for one in (side, options))
    pairs = zip(parts, wholes, strict=True)
    true = np.array([None not in both and both[0] in both[1] for both in pairs], bool)
    return Truth(true, side.found.valid & options.found.valid & ~true)


def _in_lists(side: Side, options: Side, scope: Scope, *, is_json: bool = False) -> Truth:
    """Compare each item of each list with the value of its row."""
    lists = scope.spread(options.found).data
    parents, count = parents_of(lists), scope.frame.count
    frame = scope.frame.within(parents)
    inner = Scope(frame, scope.parsed, scope.active[parents])
    cells = frame.canonical(lists.flatten(), lists.type.value_field, scope.label(options.node))
    items = of_cells(replace(cells, is_json=cells.is_json or is_json), options.node, inner)
    found = pair(
        "==", Side(side.node, _taken(side.found, parents)), Side(options.node, items), inner
    )
    true = np.zeros(count, bool)
    true[parents[np.broadcast_to(found.true, len(parents))]] = True
    known = np.broadcast_to(side.found.valid, count) & valid(lists)
    return Truth(true & known, known & ~true)


def _taken(found: Operand, rows: np.ndarray) -> Operand:
    """The value of each of these rows."""
    if found.is_const:
        return found
    if isinstance(found.data, Exact):
        units, there = found.data.units[rows], found.data.valid[rows]
        return replace(found, data=Exact(units, found.data.scale, there))
    return replace(found, data=found.data.take(numbers(rows)))
