"""Whether the kinds of an expression's parts fit together; what is not known fits. No pyarrow."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from backfill.lints import LintCode
from backfill.mapping.functions import (
    BOOLEAN,
    FUNCTIONS,
    LIST,
    NUMBER,
    ORDERED,
    SCALAR,
    TEXT,
    TIMES,
    Function,
    Kind,
    Kinds,
)
from backfill.mapping.tree import (
    Arithmetic,
    Call,
    Case,
    Choice,
    Column,
    Compare,
    Const,
    ExprFault,
    In,
    IsNone,
    Items,
    Joined,
    Logic,
    Negative,
    Node,
    Not,
    Parsed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FREE: Final = frozenset({Kind.NONE, Kind.UNKNOWN})
"""These fit everywhere."""

ARTICLES: Final = {Kind.LIST: "a list", Kind.JSON: "neither text nor a number", Kind.NONE: "None"}


def faults_in(
    parsed: Parsed, kinds: Mapping[str, Kind], *, is_condition: bool = False
) -> list[ExprFault]:
    """Return every part whose kind does not fit, in the order of the text.

    kinds: of the columns; one that is not there is of unknown kind.
    is_condition: the whole is a `where` or a `when`, so a boolean.
    """
    if parsed.tree is None:
        return []
    checker = _Checker(parsed, kinds)
    if is_condition:
        checker.want(parsed.tree, BOOLEAN, "a condition takes")
    else:
        checker.kind(parsed.tree)
    return sorted(checker.faults, key=lambda fault: fault.at)


def kind_of_const(value: Any) -> Kind:
    """Return the kind of a literal."""
    if value is None:
        return Kind.NONE
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int):
        return Kind.INTEGER
    return Kind.NUMBER if isinstance(value, Decimal) else Kind.TEXT


def united(kinds: Sequence[Kind]) -> Kind | None:
    """Return the one kind that values of these have together; None where there is none."""
    found = [kind for kind in dict.fromkeys(kinds) if kind is not Kind.NONE]
    if not found:
        return Kind.NONE
    if Kind.UNKNOWN in found:
        return Kind.UNKNOWN
    if len(found) == 1:
        return found[0]
    return Kind.NUMBER if NUMBER.issuperset(found) else None


class _Checker:
    def __init__(self, parsed: Parsed, kinds: Mapping[str, Kind]) -> None:
        self.parsed = parsed
        self.kinds = kinds
        self.faults: list[ExprFault] = []

    def kind(self, node: Node) -> Kind:
        """Return the kind of a part; what is wrong inside it is noted."""
        return CHECKS[type(node)](self, node)

    def want(self, node: Node, wanted: Kinds, who: str) -> Kind:
        """Note where a part is of none of the kinds. who: `'*' takes`."""
        found = self.kind(node)
        self.judge(node, found, wanted, who)
        return found

    def judge(self, node: Node, found: Kind, wanted: Kinds, who: str) -> None:
        """Note that a part is of the wrong kind, with the function that would help."""
        if found in FREE or found in wanted:
            return
        self.wrong(node, found, wanted, f"{who} {_names(wanted)}")

    def wrong(self, node: Node, found: Kind, wanted: Kinds, why: str) -> None:
        """Note one fault in the form of the contract: `qty is text; write number(qty)`."""
        text = self.parsed.source(node)
        what = f"{text} is {ARTICLES.get(found, found)}"
        if (by := _converter(found, wanted)) is not None:
            what += f"; write {by}({text})"
            why = f"write {by}({text}): {why}"
        self.faults.append(ExprFault(node.at, LintCode.EXPR_TYPE, what, why))


def _names(wanted: Kinds) -> str:
    """`text or list`; integers are numbers."""
    names = sorted(kind for kind in wanted if kind not in FREE)
    if wanted >= NUMBER:
        names.remove(Kind.INTEGER)
    return " or ".join(names) if len(names) <= 3 else "one value"  # noqa: PLR2004  else: a scalar


def _converter(found: Kind, wanted: Kinds) -> str | None:
    """Return the function that makes a wanted kind of what was found."""
    if wanted >= NUMBER and Kind.TEXT not in wanted:
        wanted = frozenset({Kind.NUMBER})
    for name in ("number", "integer", "timestamp", "date", "boolean", "text"):
        function = FUNCTIONS[name]
        if function.result in wanted and found in function.parameters[0].kinds:
            return name
    return None


def _column(checker: _Checker, node: Column) -> Kind:
    return checker.kinds.get(node.name, Kind.UNKNOWN)


def _const(_: _Checker, node: Const) -> Kind:
    return kind_of_const(node.value)


def _arithmetic(checker: _Checker, node: Arithmetic) -> Kind:
    left, right = checker.kind(node.left), checker.kind(node.right)
    who = f"'{node.operator}' takes"
    if node.operator == "+" and Kind.TEXT in {left, right}:
        return _joining(checker, (node.left, left), (node.right, right))
    for part, kind in ((node.left, left), (node.right, right)):
        checker.judge(part, kind, NUMBER, who)
    if Kind.UNKNOWN in {left, right} or Kind.NONE in {left, right}:
        return Kind.UNKNOWN
    is_whole = left is right is Kind.INTEGER and node.operator != "/"
    return Kind.INTEGER if is_whole else Kind.NUMBER


def _joining(checker: _Checker, left: tuple[Node, Kind], right: tuple[Node, Kind]) -> Kind:
    """`+` with a text: beside a number it is not clear which of the two is meant."""
    text, other = (left, right) if left[1] is Kind.TEXT else (right, left)
    if other[1] in NUMBER and isinstance(text[0], Column) and not isinstance(other[0], Column):
        checker.judge(*text, NUMBER, "beside a number '+' takes")
        return Kind.NUMBER
    checker.judge(*other, TEXT, "beside a text '+' takes")
    return Kind.TEXT


def _negative(checker: _Checker, node: Negative) -> Kind:
    return checker.want(node.value, NUMBER, "'-' takes")


def _compare(checker: _Checker, node: Compare) -> Kind:
    parts = [node.first, *(part for _, part in node.rest)]
    kinds = [checker.kind(part) for part in parts]
    for at, (operator, _) in enumerate(node.rest):
        wanted = SCALAR if operator in {"==", "!="} else ORDERED
        before = len(checker.faults)
        for side in (at, at + 1):
            checker.judge(parts[side], kinds[side], wanted, f"'{operator}' compares")
        if len(checker.faults) == before:
            _pair(checker, operator, (parts[at], kinds[at]), (parts[at + 1], kinds[at + 1]))
    return Kind.BOOLEAN


def _pair(
    checker: _Checker, operator: str, left: tuple[Node, Kind], right: tuple[Node, Kind]
) -> None:
    """Note a comparison of two kinds, at the side that is easier to convert."""
    if {left[1], right[1]} & FREE or united([left[1], right[1]]) is not None:
        return
    first, other = left, right
    if _converter(first[1], _alike(other[1])) is None or isinstance(first[0], Const):
        first, other = right, left
    is_time = first[1] in TIMES and other[1] is Kind.TEXT
    if is_time or (other[1] is Kind.TEXT and not isinstance(other[0], Const)):
        first, other = other, first  # a text that is to be read as the other side is
    why = f"'{operator}' compares it with {checker.parsed.source(other[0])}, which is {other[1]}"
    checker.wrong(*first, _alike(other[1]), why)


def _alike(kind: Kind) -> Kinds:
    return NUMBER if kind in NUMBER else frozenset({kind})


def _in(checker: _Checker, node: In) -> Kind:
    if isinstance(node.options, Items):
        value = checker.want(node.value, SCALAR, "'in' takes")
        for item in node.options.items:
            kind = kind_of_const(item.value)
            if value in SCALAR:
                _pair(checker, "in", (node.value, value), (item, kind))
                if value not in FREE and united([value, kind]) is None:
                    break
        return Kind.BOOLEAN
    value = checker.kind(node.value)
    options = checker.want(node.options, TEXT | LIST, "after 'in' stands a list,")
    wanted = TEXT if options is Kind.TEXT else SCALAR
    checker.judge(node.value, value, wanted, "'in' looks for")
    return Kind.BOOLEAN


def _is_none(checker: _Checker, node: IsNone) -> Kind:
    checker.kind(node.value)
    return Kind.BOOLEAN


def _logic(checker: _Checker, node: Logic) -> Kind:
    for part in node.parts:
        checker.want(part, BOOLEAN, f"'{node.operator}' takes")
    return Kind.BOOLEAN


def _not(checker: _Checker, node: Not) -> Kind:
    checker.want(node.value, BOOLEAN, "'not' takes")
    return Kind.BOOLEAN


def _choice(checker: _Checker, node: Choice) -> Kind:
    checker.want(node.test, BOOLEAN, "a condition takes")
    parts = [node.then, node.other]
    return _one_kind(checker, parts, [checker.kind(part) for part in parts], "sides of if … else")


def _one_kind(checker: _Checker, parts: Sequence[Node], kinds: Sequence[Kind], who: str) -> Kind:
    """Return the kind that parts have together; where they have none, that is a fault."""
    whole = united(kinds)
    if whole is not None:
        return whole
    first = next(kind for kind in kinds if kind not in FREE)
    for part, kind in zip(parts, kinds, strict=True):
        if kind not in FREE and united([first, kind]) is None:
            checker.wrong(part, kind, _alike(first), f"{who} must be of one kind: {first}")
    return first


def _joined(checker: _Checker, node: Joined) -> Kind:
    for part in node.parts:
        checker.want(part, SCALAR, "an f-string takes")
    return Kind.TEXT


def _case(checker: _Checker, node: Case) -> Kind:
    value = checker.want(node.value, SCALAR, "case takes")
    for key, _ in node.table:
        kind = kind_of_const(key.value)
        if value in SCALAR - FREE and united([value, kind]) is None:
            _pair(checker, "case", (node.value, value), (key, kind))
            break
    parts = [*(part for _, part in node.table), node.default]
    return _one_kind(checker, parts, [checker.kind(part) for part in parts], "values of case")


def _call(checker: _Checker, node: Call) -> Kind:
    function = FUNCTIONS[node.name]
    given = [part for part in node.arguments if part is not None]
    if function.is_many:
        who = f"{node.name} takes"
        kinds = [checker.want(part, function.parameters[0].kinds, who) for part in given]
        return function.result or _one_kind(checker, given, kinds, f"arguments of {node.name}")
    kinds = _arguments(checker, node, function)
    if node.name == "round" and node.arguments[1] is None:
        return Kind.INTEGER
    return function.result or kinds[0]


def _arguments(checker: _Checker, node: Call, function: Function) -> list[Kind]:
    """Check the arguments one by one; where a literal is due, nothing else will do."""
    kinds = []
    for parameter, part in zip(function.parameters, node.arguments, strict=True):
        if part is None:
            kinds.append(Kind.NONE)
            continue
        if parameter.is_literal and not isinstance(part, Const):
            what = f"{parameter.name} must be written out"
            fix = f"write {function} with a literal"
            checker.faults.append(ExprFault(part.at, LintCode.EXPR_ARGUMENTS, what, fix))
        kinds.append(checker.want(part, parameter.kinds, f"{node.name} takes"))
    return kinds


CHECKS: Final[dict[type, Callable[[_Checker, Any], Kind]]] = {
    Column: _column,
    Const: _const,
    Arithmetic: _arithmetic,
    Negative: _negative,
    Compare: _compare,
    In: _in,
    IsNone: _is_none,
    Logic: _logic,
    Not: _not,
    Choice: _choice,
    Joined: _joined,
    Case: _case,
    Call: _call,
}
