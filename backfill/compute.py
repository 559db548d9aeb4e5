"""The functions of expressions over whole columns: one for each line of `mapping.functions`.

Each takes the call, its operands (None where an argument is left out) and the scope. Where Arrow
has no kernel (sha256; texts searched for texts of their own row) it goes value by value.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.casts import CASTS, first_of, literal_of
from backfill.codes import Code
from backfill.coerce import begins, exact, instants, picked, texts, want
from backfill.columns import EMPTY, STRING, flags, mask, nulled, numbers, strings, valid
from backfill.exact import Exact, absolute, chosen, compared, rounded
from backfill.mapping.functions import NUMBER, Kind
from backfill.mapping.kinds import united
from backfill.natural import parents_of
from backfill.operand import Operand, Scope, empty
from backfill.zone import UTC_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backfill.mapping.tree import Call, Node

    Given = Sequence[Operand | None]
    Function = Callable[[Call, Given, Scope], Operand]


def concatenated(parts: Sequence[tuple[Node, Operand]], scope: Scope) -> Operand:
    """The texts of all, joined; None where one is."""
    is_const = all(one.is_const for _, one in parts)
    made: list[Any] = []
    for node, one in parts:
        found = texts(one, node, scope)
        made.append(found[0] if one.is_const and not is_const else found)
    return Operand(Kind.TEXT, pc.binary_join_element_wise(*made, EMPTY), is_const)


def _kernel(kernel: Callable[[pa.Array], pa.Array]) -> Function:
    def run(call: Call, given: Given, scope: Scope) -> Operand:
        node, found = first_of(call, given)
        return Operand(Kind.TEXT, kernel(want(found, Kind.TEXT, node, scope).data), found.is_const)

    return run


def _by_value(function: Callable[..., Any], given: Sequence[Operand], scope: Scope) -> list[Any]:
    """Call a function for each row that has all its arguments."""
    columns = [_listed(scope.spread(one)) for one in given]
    return [None if None in row else function(*row) for row in zip(*columns, strict=True)]


def _listed(one: Operand) -> list[Any]:
    if isinstance(one.data, Exact):
        pairs = zip(one.data.units.tolist(), one.data.valid.tolist(), strict=True)
        return [unit if there else None for unit, there in pairs]
    return list(one.data.to_pylist())


def _wanted(call: Call, given: Given, scope: Scope) -> list[Operand]:
    """The operands as texts."""
    return [
        want(one, Kind.TEXT, node, scope)
        for node, one in zip(call.arguments, given, strict=True)
        if node is not None and one is not None
    ]


def _replace(call: Call, given: Given, scope: Scope) -> Operand:
    parts = _wanted(call, given, scope)
    old, new = (one.data[0].as_py() if one.is_const else None for one in parts[1:])
    if old and new is not None:  # Arrow's kernel does not take an empty pattern
        made = pc.replace_substring(parts[0].data, pattern=old, replacement=new)
        return Operand(Kind.TEXT, made, parts[0].is_const)
    return Operand(Kind.TEXT, strings(_by_value(str.replace, parts, scope)))


def _substring(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    text = want(found, Kind.TEXT, node, scope)
    marks = [
        Operand(Kind.INTEGER, exact(want(one, Kind.INTEGER, at, scope), at, scope), one.is_const)
        for at, one in zip(call.arguments[1:], given[1:], strict=True)
        if at is not None and one is not None
    ]
    if all(one.is_const and one.data.valid[0] for one in marks):
        start, *length = (int(one.data.units[0]) for one in marks)
        if start >= 0 or not length:
            stop = start + max(length[0], 0) if length else None
            if (stop or 0) < 1 << 31 and abs(start) < 1 << 31:
                made = pc.utf8_slice_codeunits(text.data, start, stop)
                return Operand(Kind.TEXT, made, text.is_const)
    return Operand(Kind.TEXT, strings(_by_value(_cut, [text, *marks], scope)))


def _cut(text: str, start: int, length: int | None = None) -> str:
    begin = max(len(text) + start, 0) if start < 0 else start
    return text[begin:] if length is None else text[begin : begin + max(length, 0)]


def _length(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    if found.kind is Kind.UNKNOWN:
        is_list = begins(found, Kind.LIST)
        lists = _size(want(found, Kind.LIST, node, scope.only(is_list)))
        others = _size(want(found, Kind.TEXT, node, scope.only(~is_list)))
        return picked(is_list, lists, others, node, scope)
    return _size(found if found.kind is Kind.LIST else want(found, Kind.TEXT, node, scope))


def _size(one: Operand) -> Operand:
    found = pc.list_value_length(one.data) if one.kind is Kind.LIST else pc.utf8_length(one.data)
    return Operand(Kind.INTEGER, found.cast(pa.int64()), one.is_const)


def _split(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    text = scope.spread(want(found, Kind.TEXT, node, scope)).data
    lists = pc.split_pattern(text, literal_of(given, 1))
    items = pc.utf8_trim_whitespace(lists.flatten())
    return Operand(Kind.LIST, _lists(items, parents_of(lists), valid(text)))


def _lists(items: pa.StringArray, parents: np.ndarray, there: np.ndarray) -> pa.ListArray:
    """Return lists without their blank items."""
    filled = mask(pc.not_equal(items, EMPTY))
    counts = np.bincount(parents[filled], minlength=len(there))
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    kept = items.filter(flags(filled))
    return pa.ListArray.from_arrays(numbers(ends), kept, mask=flags(~there))


def _join(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    lists = scope.spread(want(found, Kind.LIST, node, scope)).data
    if pa.types.is_nested(lists.type.value_type):
        scope.fail(node, Code.NOT_ONE_VALUE, valid(lists))
        return empty(Kind.TEXT)
    parents = parents_of(lists)
    inner = scope.frame.within(parents)
    cells = inner.canonical(lists.flatten(), lists.type.value_field, scope.label(node))
    items = nulled(cells.data, ~scope.active[parents]).cast(STRING)
    whole = _lists(items, parents, valid(lists))
    return Operand(Kind.TEXT, pc.binary_join(whole, pa.scalar(literal_of(given, 1), STRING)))


def _matches(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    text = want(found, Kind.TEXT, node, scope).data
    made = pc.match_substring_regex(text, literal_of(given, 1))
    return Operand(Kind.BOOLEAN, made, found.is_const)


def _search(kernel: Callable[..., pa.Array], function: Callable[[str, str], bool]) -> Function:
    def run(call: Call, given: Given, scope: Scope) -> Operand:
        text, part = _wanted(call, given, scope)
        if part.is_const and part.data[0].is_valid:
            made = kernel(text.data, pattern=part.data[0].as_py())
            return Operand(Kind.BOOLEAN, made, text.is_const)
        found = _by_value(function, [text, part], scope)
        true, none = ([one is what for one in found] for what in (True, None))
        return Operand(Kind.BOOLEAN, nulled(flags(np.array(true, bool)), np.array(none, bool)))

    return run


def _round(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    digits = literal_of(given, 1)
    kind = Kind.INTEGER if digits is None or found.kind is Kind.INTEGER else Kind.NUMBER
    made = rounded(exact(found, node, scope), int(digits or 0))
    return Operand(kind, made, found.is_const)


def _whole(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    made = rounded(exact(found, node, scope), 0, call.name)
    return Operand(Kind.INTEGER, made, found.is_const)


def _abs(call: Call, given: Given, scope: Scope) -> Operand:
    node, found = first_of(call, given)
    kind = Kind.INTEGER if found.kind is Kind.INTEGER else Kind.NUMBER
    return Operand(kind, absolute(exact(found, node, scope)), found.is_const)


def _extreme(call: Call, given: Given, scope: Scope) -> Operand:
    """The smallest or largest of all; the kind is that of the first that tells one."""
    operator = "<" if call.name == "min" else ">"
    pairs = [(node, one) for node, one in zip(call.arguments, given, strict=True) if one and node]
    kinds = [one.kind for _, one in pairs]
    if Kind.NONE in kinds:
        return empty(Kind.NONE)
    told = next((kind for kind in kinds if kind is not Kind.UNKNOWN), Kind.NUMBER)
    if told in NUMBER:
        best, *others = (exact(one, node, scope) for node, one in pairs)
        for other in others:
            best = chosen(compared(operator, best, other)[0], best, other).keep(
                best.valid & other.valid
            )
        kind = united(kinds) or Kind.NUMBER
        return Operand(kind if kind in NUMBER else Kind.NUMBER, _full(best, scope))
    made = [scope.spread(want(one, told, node, scope)) for node, one in pairs]
    data = [instants(one, call, scope) if told is Kind.TIMESTAMP else one.data for one in made]
    whole = data[0]
    for other in data[1:]:
        is_better = pc.less(whole, other) if operator == "<" else pc.greater(whole, other)
        whole = pc.if_else(is_better, whole, other)  # null where either is
    return Operand(told, whole.cast(UTC_MS) if told is Kind.TIMESTAMP else whole)


def _full(found: Exact, scope: Scope) -> Exact:
    return scope.spread(Operand(Kind.NUMBER, found, is_const=len(found.valid) == 1)).data  # type: ignore[no-any-return]


def _sha256(call: Call, given: Given, scope: Scope) -> Operand:
    return Operand(Kind.TEXT, strings(_by_value(_digest, _wanted(call, given, scope), scope)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _concat(call: Call, given: Given, scope: Scope) -> Operand:
    pairs = [(node, one) for node, one in zip(call.arguments, given, strict=True) if one and node]
    return concatenated(pairs, scope)


CALLS: Final[dict[str, Function]] = {
    **CASTS,
    "lower": _kernel(pc.utf8_lower),
    "upper": _kernel(pc.utf8_upper),
    "title": _kernel(pc.utf8_title),
    "trim": _kernel(pc.utf8_trim_whitespace),
    "concat": _concat,
    "replace": _replace,
    "substring": _substring,
    "length": _length,
    "split": _split,
    "join": _join,
    "matches": _matches,
    "startswith": _search(pc.starts_with, str.startswith),
    "endswith": _search(pc.ends_with, str.endswith),
    "contains": _search(pc.match_substring, lambda text, part: part in text),
    "round": _round,
    "abs": _abs,
    "floor": _whole,
    "ceil": _whole,
    "min": _extreme,
    "max": _extreme,
    "sha256": _sha256,
}
"""All but coalesce, whose arguments are evaluated only where they are needed (`evaluate`)."""
