"""An expression's tree + a frame → a column, by kernels over whole columns. Python runs nothing.

What each operator means is written in `mapping.expression`, the functions in `mapping.functions`.
A part is evaluated for the rows that need it (`Scope.active`): what an untaken branch would have
rejected is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backfill.codes import Code
from backfill.coerce import begins, exact, picked, want
from backfill.compute import CALLS, concatenated
from backfill.exact import arithmetic, is_zero, negative, quotient
from backfill.judge import (
    ALWAYS,
    NOT_AT_ALL,
    Side,
    Truth,
    both,
    either,
    in_items,
    in_value,
    of_flags,
    pair,
)
from backfill.mapping.expression import parse
from backfill.mapping.functions import NUMBER, Kind
from backfill.mapping.kinds import kind_of_const
from backfill.mapping.tree import (
    Arithmetic,
    Call,
    Case,
    Choice,
    Column,
    Compare,
    Const,
    In,
    IsNone,
    Items,
    Joined,
    Logic,
    Negative,
    Node,
    Not,
    columns_in,
)
from backfill.operand import Operand, Scope, cells_of, constant, of_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.cells import Cells, Frame


def evaluate(text: str, frame: Frame) -> Cells:
    """Evaluate an expression for every row. Rows that fail are noted on the frame, and blank.

    text: one that `parse` finds no fault in. The column has the expression's own kind, so that
    the options of a form apply to it as they do to a column.
    """
    tree, scope = _begun(text, frame)
    return cells_of(_value(tree, scope), scope)


def is_true(text: str, frame: Frame) -> np.ndarray:
    """Return the mask of the rows for which a condition is true; None is not true.

    A row whose conversion fails is noted on the frame, and not true.
    """
    tree, scope = _begun(text, frame)
    return np.array(np.broadcast_to(_truth(tree, scope).true, frame.count))


def label(text: str, frame: Frame) -> str:
    """Return the name of a computed column for reasons: those that it reads, else its text."""
    tree, scope = _begun(text, frame)
    names = list(dict.fromkeys(column.name for column in columns_in(tree)))
    whole = ", ".join(names) or scope.parsed.source(tree)
    if len(names) > 1:
        frame.made_of[whole] = frozenset(names)
    return whole


def _begun(text: str, frame: Frame) -> tuple[Node, Scope]:
    parsed = parse(text)
    assert parsed.tree is not None, "a mapping exists only if it is valid"
    return parsed.tree, Scope(frame, parsed, np.ones(frame.count, bool))


def _value(node: Node, scope: Scope) -> Operand:
    """Evaluate any part for the active rows of a scope; what others have means nothing."""
    if (judge := TRUTHS.get(type(node))) is not None:
        found: Operand = judge(node, scope).operand(scope.frame.count)
        return found
    return VALUES[type(node)](node, scope)


def _truth(node: Node, scope: Scope) -> Truth:
    """Evaluate a part as a condition."""
    if (judge := TRUTHS.get(type(node))) is not None:
        return judge(node, scope)
    return of_flags(want(_value(node, scope), Kind.BOOLEAN, node, scope).data)


def _column(node: Column, scope: Scope) -> Operand:
    return of_cells(scope.frame.cells(node.name), node, scope)


def _const(node: Const, _: Scope) -> Operand:
    return constant(node.value)


def _arithmetic(node: Arithmetic, scope: Scope) -> Operand:
    left, right = _value(node.left, scope), _value(node.right, scope)
    if node.operator == "+":
        kinds = {left.kind, right.kind}
        if Kind.TEXT in kinds:
            return _joined_pair(node, left, right, scope)
        if Kind.UNKNOWN in kinds and kinds <= {Kind.UNKNOWN, Kind.NONE}:
            return _either(node, left, right, scope)
    return _computed(node, left, right, scope)


def _joined_pair(node: Arithmetic, left: Operand, right: Operand, scope: Scope) -> Operand:
    parts = [(node.left, left), (node.right, right)]
    return concatenated([(at, want(one, Kind.TEXT, at, scope)) for at, one in parts], scope)


def _either(node: Arithmetic, left: Operand, right: Operand, scope: Scope) -> Operand:
    """`+` of values that tell by themselves, row by row, whether they are texts."""
    is_text = begins(left if left.kind is Kind.UNKNOWN else right, Kind.TEXT)
    joined = _joined_pair(node, left, right, scope.only(is_text))
    computed = _computed(node, left, right, scope.only(~is_text))
    return picked(is_text, joined, computed, node, scope)


def _computed(node: Arithmetic, left: Operand, right: Operand, scope: Scope) -> Operand:
    a, b = exact(left, node.left, scope), exact(right, node.right, scope)
    is_const = left.is_const and right.is_const
    if node.operator in {"/", "//", "%"}:
        zero = is_zero(b) & a.valid
        scope.fail(node.right, Code.DIVISION_BY_ZERO, zero, right)
        b = b.keep(~zero)
    if node.operator == "/":
        found, endless = quotient(a, b)
        scope.fail(node, Code.NUMBER_NOT_FINITE, endless)
        return Operand(Kind.NUMBER, found, is_const)
    made, long = arithmetic(node.operator, a, b)
    scope.fail(node, Code.NUMBER_TOO_LONG, long)
    is_whole = left.kind is right.kind is Kind.INTEGER
    return Operand(Kind.INTEGER if is_whole else Kind.NUMBER, made, is_const)


def _negative(node: Negative, scope: Scope) -> Operand:
    found = _value(node.value, scope)
    kind = Kind.INTEGER if found.kind is Kind.INTEGER else Kind.NUMBER
    return Operand(kind, negative(exact(found, node.value, scope)), found.is_const)


def _joined(node: Joined, scope: Scope) -> Operand:
    parts = [(part, _value(part, scope)) for part in node.parts]
    return concatenated(parts, scope) if parts else constant("")


def _compare(node: Compare, scope: Scope) -> Truth:
    """Each operand once, and only where those before it do not decide."""
    whole, left = ALWAYS, Side(node.first, _value(node.first, scope))
    for operator, at in node.rest:
        inner = scope.only(~whole.false)
        right = Side(at, _value(at, inner))
        whole = both(whole, pair(operator, left, right, inner))
        left = right
    return whole


def _in(node: In, scope: Scope) -> Truth:
    side = Side(node.value, _value(node.value, scope))
    if isinstance(node.options, Items):
        return in_items(side, node.options.items, scope)
    return in_value(side, Side(node.options, _value(node.options, scope)), scope)


def _is_none(node: IsNone, scope: Scope) -> Truth:
    there = _value(node.value, scope).valid
    return Truth(there, ~there) if node.is_negated else Truth(~there, there)


def _logic(node: Logic, scope: Scope) -> Truth:
    """Three values, as in SQL; a part is evaluated only where those before it do not decide."""
    if node.operator == "and":
        whole = ALWAYS
        for part in node.parts:
            whole = both(whole, _truth(part, scope.only(~whole.false)))
        return whole
    whole = NOT_AT_ALL
    for part in node.parts:
        whole = either(whole, _truth(part, scope.only(~whole.true)))
    return whole


def _not(node: Not, scope: Scope) -> Truth:
    found = _truth(node.value, scope)
    return Truth(found.false, found.true)


def _choice(node: Choice, scope: Scope) -> Operand:
    test = np.broadcast_to(_truth(node.test, scope).true, scope.frame.count)
    then_scope, other_scope = scope.only(test), scope.only(~test)
    if not then_scope.active.any():
        return _value(node.other, other_scope)
    then = _value(node.then, then_scope)
    if not other_scope.active.any():
        return then
    return picked(test, then, _value(node.other, other_scope), node, scope)


def _case(node: Case, scope: Scope) -> Operand:
    """The first key that is equal decides; a value of another kind than a key is not equal."""
    side = Side(node.value, _value(node.value, scope))
    whole: Operand | None = None
    rest = scope
    for key, part in node.table:
        at = np.broadcast_to(_is_key(side, key, rest), scope.frame.count)
        inner = rest.only(at)
        if inner.active.any():
            one = _value(part, inner)
            whole = one if whole is None else picked(inner.active, one, whole, node, scope)
            rest = rest.only(~at)
    if whole is not None and not rest.active.any():
        return whole
    other = _value(node.default, rest)
    return other if whole is None else picked(rest.active, other, whole, node, scope)


def _is_key(side: Side, key: Const, scope: Scope) -> np.ndarray:
    kind = kind_of_const(key.value)
    if side.found.kind is Kind.UNKNOWN:
        at = begins(side.found, Kind.NUMBER if kind in NUMBER else kind)
        inner = scope.only(at)
        equal: np.ndarray = pair("==", side, Side(key, constant(key.value)), inner).true & at
        return equal
    if side.found.kind is not kind and not (side.found.kind in NUMBER and kind in NUMBER):
        return np.zeros(1, bool)
    return pair("==", side, Side(key, constant(key.value)), scope).true


def _call(node: Call, scope: Scope) -> Operand:
    if node.name == "coalesce":
        return _coalesce(node, scope)
    given = [None if one is None else _value(one, scope) for one in node.arguments]
    return CALLS[node.name](node, given, scope)


def _coalesce(node: Call, scope: Scope) -> Operand:
    """The first that is there; each is evaluated only where those before it are not."""
    first, *others = (one for one in node.arguments if one is not None)
    whole = _value(first, scope)
    for part in others:
        there = np.broadcast_to(whole.valid, scope.frame.count)
        inner = scope.only(~there)
        if inner.active.any():
            whole = picked(there, whole, _value(part, inner), node, scope)
    return whole


VALUES: Final[dict[type, Callable[[Any, Scope], Operand]]] = {
    Column: _column,
    Const: _const,
    Arithmetic: _arithmetic,
    Negative: _negative,
    Joined: _joined,
    Choice: _choice,
    Case: _case,
    Call: _call,
}
TRUTHS: Final[dict[type, Callable[[Any, Scope], Truth]]] = {
    Compare: _compare,
    In: _in,
    IsNone: _is_none,
    Logic: _logic,
    Not: _not,
}
