# ruff: noqa: D102  what visits a node is named after it, as `ast` asks for
"""A second opinion on expressions: Python itself evaluates the same text, row by row.

`value_of` lets Python parse the text, writes what Python cannot overload (`and`, `if`, `in`, `is`)
as calls of functions, wraps the literals, and calls `eval`. It shares no code with the package.
"""

from __future__ import annotations

import ast
import hashlib
import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class RejectedError(Exception):
    """The row is rejected."""


class V:
    """A value; None spreads. Numbers are fractions, `shown` are the digits of an untouched one."""

    def __init__(self, value: Any, shown: str | None = None, *, is_whole: bool = False) -> None:
        if isinstance(value, float | Decimal) or type(value) is int:
            is_whole = is_whole or type(value) is int
            shown = shown or format(Decimal(str(value)), "f")
            value = Fraction(str(value))
        self.value = value
        self.shown = shown
        self.is_whole = is_whole

    def _with(self, other: V, how: Callable[[Any, Any], Any], *, whole: bool = True) -> V:
        if self.value is None or other.value is None:
            return V(None)
        return V(how(self.value, other.value), is_whole=whole and self.is_whole and other.is_whole)

    def __add__(self, other: V) -> V:
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other: V) -> V:
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other: V) -> V:
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other: V) -> V:
        return self._with(other, lambda a, b: Fraction(repr(float(_divided(a, b)))), whole=False)

    def __floordiv__(self, other: V) -> V:
        return self._with(other, lambda a, b: Fraction(math.floor(_divided(a, b))))

    def __mod__(self, other: V) -> V:
        return self._with(other, lambda a, b: a - b * math.floor(_divided(a, b)))

    def __neg__(self) -> V:
        return V(None) if self.value is None else V(-self.value, is_whole=self.is_whole)


def _divided(a: Fraction, b: Fraction) -> Fraction:
    if b == 0:
        raise RejectedError
    return a / b


def shortest(number: Fraction) -> str:
    """The digits of a decimal without zeros at its end."""
    power = 0
    while (number * 10**power).denominator != 1:
        power += 1
    digits = str(abs((number * 10**power).numerator)).rjust(power + 1, "0")
    whole = digits[: len(digits) - power]
    sign = "-" if number < 0 else ""
    return sign + whole + (f".{digits[len(digits) - power :]}" if power else "")


def as_text(one: V) -> V:
    value = one.value
    if isinstance(value, bool):
        return V(str(value).lower())
    if isinstance(value, Fraction):
        return V(one.shown or shortest(value))
    if isinstance(value, datetime):
        return V(
            value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            + f"{value.microsecond // 1000:03}Z"
        )
    return V(value.isoformat() if isinstance(value, date) else value)


def spreading(function: Callable[..., Any]) -> Callable[..., V]:
    """A function of plain values, None where an argument is."""

    def run(*arguments: V, **options: V) -> V:
        values = [one.value for one in (*arguments, *options.values())]
        if None in values:
            return V(None)
        found = function(*(one.value for one in arguments))
        return found if isinstance(found, V) else V(found)

    return run


def _number(text: Any, pattern: str) -> V:
    if isinstance(text, Fraction):
        return V(text)
    found = re.fullmatch(pattern, text.strip(), re.ASCII)
    if found is None:
        raise RejectedError
    return V(Decimal(text.strip()))


def number(one: V) -> V:
    if one.value is None or isinstance(one.value, Fraction):
        return one
    found = _number(one.value, r"[+-]?(\d+(\.\d*)?|\.\d+)")
    found.is_whole = False
    shown = re.sub(r"^(-?)0+(?=\d)", r"\1", one.value.strip().lstrip("+"))
    found.shown = re.sub(r"^(-?)\.", r"\g<1>0.", shown).removesuffix(".")
    return found


def integer(one: V) -> V:
    if one.value is None:
        return one
    if isinstance(one.value, Fraction):
        if one.value.denominator != 1:
            raise RejectedError
        return V(int(one.value), is_whole=True)
    found = _number(one.value, r"[+-]?\d+(\.0*)?")
    text = re.sub(r"^(-?)0+(?=\d)", r"\1", one.value.strip().lstrip("+").split(".")[0])
    return V(found.value, text, is_whole=True)


def boolean(one: V) -> V:
    if one.value is None or isinstance(one.value, bool):
        return one
    word = as_text(one).value.strip().lower()
    if word in {"true", "t", "yes", "y", "1"}:
        return V(value=True)
    if word in {"false", "f", "no", "n", "0"}:
        return V(value=False)
    raise RejectedError


def coalesce(*parts: Callable[[], V]) -> V:
    for part in parts:
        if (found := part()).value is not None:
            return found
    return V(None)


def case(value: V, table: list[tuple[V, Callable[[], V]]], default: Callable[[], V]) -> V:
    for key, part in table:
        if value.value is not None and _same(value.value, key.value):
            return part()
    return default()


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def substring(text: str, start: Fraction, length: Fraction | None = None) -> str:
    begin = int(start) if start >= 0 else max(len(text) + int(start), 0)
    return text[begin:] if length is None else text[begin : begin + max(int(length), 0)]


def extreme(best: Callable[[list[Any]], Any]) -> Callable[..., V]:
    def run(*parts: V) -> V:
        if any(part.value is None for part in parts):
            return V(None)
        whole = all(part.is_whole for part in parts)
        return V(best([part.value for part in parts]), is_whole=whole)

    return run


def rounded(value: V, digits: V | None = None) -> V:
    if value.value is None:
        return value
    found = round(value.value, int(digits.value) if digits else 0)
    return V(Fraction(found), is_whole=value.is_whole or digits is None)


def whole(how: Callable[[Fraction], int]) -> Callable[[V], V]:
    return lambda one: one if one.value is None else V(Fraction(how(one.value)), is_whole=True)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "text": as_text,
    "number": number,
    "integer": integer,
    "boolean": boolean,
    "lower": spreading(str.lower),
    "upper": spreading(lambda text: "".join("ẞ" if c == "ß" else c.upper() for c in text)),
    "trim": spreading(str.strip),
    "title": spreading(str.title),
    "coalesce": coalesce,
    "case": case,
    "replace": spreading(str.replace),
    "substring": spreading(substring),
    "length": spreading(len),
    "split": spreading(lambda text, by: [i for i in map(str.strip, text.split(by)) if i]),
    "join": spreading(lambda items, by: by.join(i for i in items if i)),
    "matches": spreading(lambda text, regex: re.search(regex, text) is not None),
    "startswith": spreading(str.startswith),
    "endswith": spreading(str.endswith),
    "contains": spreading(lambda text, part: part in text),
    "round": rounded,
    "abs": lambda one: V(None) if one.value is None else V(abs(one.value), is_whole=one.is_whole),
    "floor": whole(math.floor),
    "ceil": whole(math.ceil),
    "min": extreme(min),
    "max": extreme(max),
    "sha256": spreading(lambda text: hashlib.sha256(text.encode()).hexdigest()),
    "iso8601": as_text,
    "unix": spreading(lambda at: math.floor(at.timestamp())),
}


def joined(*parts: V) -> V:
    made = [as_text(part).value for part in parts]
    return V(None if None in made else "".join(made))


FUNCTIONS["concat"] = joined


def both(*parts: Callable[[], V]) -> V:
    """`and` of three values; what a false one decides is not looked at."""
    found: bool | None = True
    for part in parts:
        value = part().value
        if value is False:
            return V(value=False)
        found = None if value is None else found
    return V(found)


def either(*parts: Callable[[], V]) -> V:
    found: bool | None = False
    for part in parts:
        value = part().value
        if value is True:
            return V(value=True)
        found = None if value is None else found
    return V(found)


def negated(one: V) -> V:
    return V(None if one.value is None else not one.value)


def chosen(test: V, then: Callable[[], V], other: Callable[[], V]) -> V:
    return then() if test.value is True else other()


COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def compared(names: str, first: V, *rest: Callable[[], V]) -> V:
    """A chain; each is looked at unless one before it is false."""
    left, answer = first, []
    for name, part in zip(names.split(), rest, strict=True):
        right = part()
        how = next(how for kind, how in COMPARE.items() if kind.__name__ == name)
        known = left.value is not None and right.value is not None
        answer.append(V(how(left.value, right.value) if known else None))
        if answer[-1].value is False:
            return V(value=False)
        left = right
    return V(None if any(one.value is None for one in answer) else True)


class Rewriter(ast.NodeTransformer):
    """`a and b` → `both(lambda: a, lambda: b)`, and so on; literals → `V(…)`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _call(self, name: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(name, ast.Load()), [*arguments], [])

    def _lazy(self, node: ast.expr) -> ast.Lambda:
        nothing = ast.arguments([], [], None, [], [], None, [])
        return ast.Lambda(nothing, self.visit(node))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, float):
            written = ast.get_source_segment(self.text, node) or repr(node.value)
            return self._call("V", self._call("Decimal", ast.Constant(written)))
        return self._call("V", node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        name = "both" if isinstance(node.op, ast.And) else "either"
        return self._call(name, *map(self._lazy, node.values))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return self._call("negated", self.visit(node.operand))
        if isinstance(node.operand, ast.Constant):
            return self._call("literally", self.visit(node.operand))
        return ast.UnaryOp(node.op, self.visit(node.operand))

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return self._call(
            "chosen", self.visit(node.test), self._lazy(node.body), self._lazy(node.orelse)
        )

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        parts = [p.value if isinstance(p, ast.FormattedValue) else p for p in node.values]
        return self._call("joined", *map(self.visit, parts))

    def visit_List(self, node: ast.List) -> ast.expr:
        return self._call("listed", *map(self.visit, node.elts))

    def visit_Tuple(self, node: ast.Tuple) -> ast.expr:
        return self._call("listed", *map(self.visit, node.elts))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if isinstance(node.ops[0], ast.Is | ast.IsNot):
            name = "is_none" if isinstance(node.ops[0], ast.Is) else "is_there"
            return self._call(name, self.visit(node.left))
        names = ast.Constant(" ".join(type(one).__name__ for one in node.ops))
        return self._call(
            "compared", names, self.visit(node.left), *map(self._lazy, node.comparators)
        )

    def visit_Call(self, node: ast.Call) -> ast.expr:
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name == "col":
            return ast.Subscript(ast.Name("ROW", ast.Load()), node.args[0], ast.Load())
        if name == "coalesce":
            return self._call(name, *map(self._lazy, node.args))
        if name == "case":
            table = node.args[1]
            assert isinstance(table, ast.Dict)
            pairs: list[ast.expr] = [
                ast.Tuple([self.visit(key), self._lazy(value)], ast.Load())
                for key, value in zip(table.keys, table.values, strict=True)
                if key is not None
            ]
            return self._call(
                name,
                self.visit(node.args[0]),
                ast.List(pairs, ast.Load()),
                self._lazy(node.args[2]),
            )
        return self._call(name, *map(self.visit, node.args))


HELPERS: dict[str, Any] = {
    **FUNCTIONS,
    "V": V,
    "Decimal": Decimal,
    "both": both,
    "either": either,
    "negated": negated,
    "chosen": chosen,
    "joined": joined,
    "compared": compared,
    "listed": lambda *items: V([item.value for item in items]),
    "is_none": lambda one: V(one.value is None),
    "is_there": lambda one: V(one.value is not None),
    "literally": lambda one: V(-one.value, f"-{one.shown}", is_whole=one.is_whole),
}


def value_of(text: str, row: dict[str, V]) -> Any:
    """Return the plain value of an expression for one row. Raises RejectedError."""
    tree = ast.fix_missing_locations(Rewriter(text).visit(ast.parse(text, mode="eval")))
    code = compile(tree, "<expression>", "eval")
    return eval(code, {**HELPERS, **row, "__builtins__": {}, "ROW": row}).value


def row_of(cells: dict[str, Any]) -> dict[str, V]:
    """The cells of a row as values; a float has the digits that Arrow writes, a tiny one "1e-9"."""
    made = {name: V(cell) for name, cell in cells.items()}
    for name, cell in cells.items():
        if isinstance(cell, float):
            plain = format(Decimal(repr(cell)), "f").removesuffix(".0")
            is_tiny = 0 < abs(cell) < 1e-6
            made[name] = V(cell, repr(cell).replace("e-0", "e-") if is_tiny else plain)
    return made


def names_of(text: str) -> set[str]:
    """The columns that an expression reads."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Name) and node.id not in {*FUNCTIONS, "col", "timestamp", "date"}:
            found.add(node.id)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "col":
            found.add(ast.literal_eval(node.args[0]))
    return found
