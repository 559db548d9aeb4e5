"""Expressions: text → a typed tree, by Python's own parser; nothing is ever run. No pyarrow.

    total * 1.19 if country in ("DE", "AT") else total

What may be written: columns by name or `col("First Name")`; texts, numbers, True, False, None;
`+ - * / // %`; comparisons, chained too; `and or not`; `in` and `not in` with a list of literals,
a list or a text; `is None`, `is not None`; `a if c else b`; f-strings without formats; the
functions of `functions.FUNCTIONS`; `case(x, {key: value, …}, default)`. All else is a fault.

What it means, where Python leaves a choice or has none:

- None spreads: an operator or a function with a None gives None. Not so: `is None`, `coalesce`,
  `a if c else b` (a None condition counts as not true), `case` (None takes the default), and
  `and or not`, which have three values as in SQL (`None or True` is True). min and max spread None.
- Numbers are exact decimals: of a cell its digits, of a float the shortest digits that read back
  the same, which are those that are sent. So `0.1 + 0.2` is 0.3. Only `/` rounds: its result is
  the float nearest to the true quotient, as Python's of two integers. `//` and `%` go toward minus
  infinity. A computed number is written without zeros at its end; an untouched one keeps them.
- A division by zero rejects the row, and so does a number of more than 400 digits on one side.
- What is not evaluated rejects nothing: `number(x) if matches(x, "^[0-9]+$") else None`.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from decimal import Decimal
from functools import cache
from typing import Final

from backfill.lints import LintCode
from backfill.mapping.calls import call
from backfill.mapping.reader import Reader, Readers
from backfill.mapping.syntax import deep, syntax, unfit, unmatched
from backfill.mapping.tree import (
    Arithmetic,
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
    Parsed,
)

DIGITS_MAX: Final = 100
POWER_MAX: Final = 400
"""A literal of more digits, or further from the point, is no number that a person wrote."""

ARITHMETIC: Final[dict[type, str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
COMPARISONS: Final[dict[type, str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
OPERATORS: Final[dict[type, tuple[str, str]]] = {
    ast.Pow: ("**", "multiply instead"),
    ast.MatMult: ("@", "multiply with *"),
    ast.BitAnd: ("&", "write and"),
    ast.BitOr: ("|", "write or"),
    ast.BitXor: ("^", "write !="),
    ast.LShift: ("<<", "multiply instead"),
    ast.RShift: (">>", "divide with // instead"),
    ast.Invert: ("~", "write not"),
    ast.UAdd: ("+ before a value", "leave it out"),
}
FLOAT: Final = re.compile(r"[0-9_]*\.?[0-9_]*(?:[eE][+-]?[0-9_]+)?")
LITERALS: Final = {
    **dict.fromkeys(["true", "TRUE"], "True"),
    **dict.fromkeys(["false", "FALSE"], "False"),
    **dict.fromkeys(["null", "NULL", "none", "NONE", "nil"], "None"),
}


@cache
def parse(text: str) -> Parsed:
    """Read an expression. The tree is None where there are faults; nothing is raised, ever."""
    if fault := unfit(text):
        return Parsed(text, None, (fault,))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" is a matter of taste here
            body = ast.parse(f"({text}\n)", mode="eval").body
    except SyntaxError as wrong:
        return Parsed(text, None, (syntax(text, wrong),))
    except (ValueError, MemoryError, RecursionError):
        return Parsed(text, None, (deep(0),))
    if body.col_offset == 0 and body.lineno == 1 and unmatched(text) is not None:
        return Parsed(text, None, (syntax(text, SyntaxError("unmatched ')'")),))
    reader = Reader(text, READERS)
    try:
        tree = reader.node(body)
    except RecursionError:
        return Parsed(text, None, (deep(0),))
    faults = tuple(sorted(reader.faults, key=lambda one: one.at))
    return Parsed(text, None if faults else tree, faults)


def _name(reader: Reader, found: ast.Name, at: int, end: int) -> Node | None:
    written = reader.text[at:end]
    # Python folds the letters of names (NFKC), but a column is named as it is written
    name = written if unicodedata.normalize("NFKC", written) == found.id else found.id
    quoted = f'a column of that name is written col("{name}")'
    if name in LITERALS:
        fix = f"write {LITERALS[name]}; {quoted}"
        return reader.fault(at, LintCode.EXPR_REFUSED, f"'{name}' is no value here", fix)
    if name.startswith("__") and name.endswith("__"):
        return reader.refuse(at, f"'{name}'", quoted)
    return Column(at, end, name, at)


def _constant(reader: Reader, found: ast.Constant, at: int, end: int) -> Node | None:
    value = found.value
    if isinstance(value, str):
        return reader.literal(value, at, end)
    if value is None or isinstance(value, bool):
        return Const(at, end, value)
    if isinstance(value, int):
        if abs(value) < 10**DIGITS_MAX:
            return Const(at, end, value)
    elif isinstance(value, float):
        text = reader.text[at:end]  # its very digits; within an f-string the place may be wrong
        written = Decimal(text if FLOAT.fullmatch(text) and float(text) == value else repr(value))
        _, digits, power = written.as_tuple()
        if len(digits) <= DIGITS_MAX and abs(int(power)) <= POWER_MAX:
            return Const(at, end, written)
    else:
        return reader.refuse(
            at, f"the literal {reader.text[at:end][:20]}", "write a text or a number"
        )
    fix = f"at most {DIGITS_MAX} digits"
    return reader.fault(at, LintCode.EXPR_TOO_LONG, "the number is too long", fix)


def _binary(reader: Reader, found: ast.BinOp, at: int, end: int) -> Node | None:
    made = reader.nodes([found.left, found.right])
    kind = type(found.op)
    if kind not in ARITHMETIC:
        return reader.refuse(_operator_at(reader, found.left, found.right), *OPERATORS[kind])
    return None if made is None else Arithmetic(at, end, ARITHMETIC[kind], *made)


def _operator_at(reader: Reader, left: ast.AST, right: ast.AST) -> int:
    """Where the operator between two operands stands."""
    between = reader.text[reader.span(left)[1] : reader.span(right)[0]]
    found = re.compile(r"[^\s()]").search(between)
    return reader.span(left)[1] + (found.start() if found else 0)


def _unary(reader: Reader, found: ast.UnaryOp, at: int, end: int) -> Node | None:
    if isinstance(found.op, ast.UAdd | ast.Invert):
        return reader.refuse(at, *OPERATORS[type(found.op)])
    value = reader.node(found.operand)
    if value is None:
        return None
    if isinstance(found.op, ast.Not):
        return Not(at, end, value)
    if isinstance(value, Const) and isinstance(value.value, Decimal):
        return Const(at, end, value.value.copy_negate())
    if isinstance(value, Const) and type(value.value) is int:
        return Const(at, end, -value.value)
    return Negative(at, end, value)


def _logic(reader: Reader, found: ast.BoolOp, at: int, end: int) -> Node | None:
    parts = reader.nodes(found.values)
    operator = "and" if isinstance(found.op, ast.And) else "or"
    return None if parts is None else Logic(at, end, operator, tuple(parts))


def _compare(reader: Reader, found: ast.Compare, at: int, end: int) -> Node | None:
    if any(type(operator) not in COMPARISONS for operator in found.ops):
        if len(found.ops) > 1:
            fix = "write and between the two"
            return reader.refuse(at, "a chain with `in` or `is`", fix)
        read = _is if isinstance(found.ops[0], ast.Is | ast.IsNot) else _in
        return read(reader, found, at, end)
    made = reader.nodes([found.left, *found.comparators])
    if made is None:
        return None
    operators = [COMPARISONS[type(operator)] for operator in found.ops]
    for operator, part in zip([operators[0], *operators], made, strict=True):
        if isinstance(part, Const) and part.value is None:
            fix = f"write {'is not' if operator == '!=' else 'is'} None"
            what = f"{operator} None is never true"
            return reader.fault(part.at, LintCode.EXPR_REFUSED, what, fix)
    return Compare(at, end, made[0], tuple(zip(operators, made[1:], strict=True)))


def _is(reader: Reader, found: ast.Compare, at: int, end: int) -> Node | None:
    value, other = reader.node(found.left), found.comparators[0]
    if not (isinstance(other, ast.Constant) and other.value is None):
        what, fix = "`is` is for None only", "write == to compare"
        return reader.fault(reader.span(other)[0], LintCode.EXPR_REFUSED, what, fix)
    is_negated = isinstance(found.ops[0], ast.IsNot)
    return None if value is None else IsNone(at, end, value, is_negated)


def _in(reader: Reader, found: ast.Compare, at: int, end: int) -> Node | None:
    value, other = reader.node(found.left), found.comparators[0]
    if isinstance(other, ast.List | ast.Tuple | ast.Set):
        options = _items(reader, other)
    else:
        options = reader.node(other)
    if value is None or options is None:
        return None
    made = In(at, end, value, options)
    return Not(at, end, made) if isinstance(found.ops[0], ast.NotIn) else made


def _items(reader: Reader, found: ast.List | ast.Tuple | ast.Set) -> Node | None:
    at, end = reader.span(found)
    made = reader.nodes(found.elts)
    if made is None:
        return None
    if not made:
        what = "nothing is in an empty list"
        return reader.fault(at, LintCode.EXPR_REFUSED, what, "write its items")
    for one in made:
        if not isinstance(one, Const):
            what, fix = "an item of the list is no literal", "write == and or instead"
            return reader.fault(one.at, LintCode.EXPR_REFUSED, what, fix)
        if one.value is None:
            what, fix = "None is in no list", "write `is None` with or"
            return reader.fault(one.at, LintCode.EXPR_REFUSED, what, fix)
    return Items(at, end, tuple(one for one in made if isinstance(one, Const)))


def _choice(reader: Reader, found: ast.IfExp, at: int, end: int) -> Node | None:
    made = reader.nodes([found.test, found.body, found.orelse])
    return None if made is None else Choice(at, end, *made)


def _joined(reader: Reader, found: ast.JoinedStr, at: int, end: int) -> Node | None:
    outer, reader.around = reader.around, reader.around or (at, end)
    parts: list[Node | None] = []
    for one in found.values:
        if isinstance(one, ast.Constant):
            parts.append(reader.literal(str(one.value), at, end))
            continue
        assert isinstance(one, ast.FormattedValue)
        value_at = reader.span(one.value)[0]
        if one.conversion != -1:
            parts.append(reader.refuse(value_at, "a conversion (!r, =)", "leave it out"))
        elif one.format_spec is not None:
            fix = "leave it out; round(x, 2) rounds"
            parts.append(reader.refuse(value_at, "a format after :", fix))
        else:
            parts.append(reader.node(one.value))
    reader.around = outer
    whole = tuple(one for one in parts if one is not None)
    return Joined(at, end, whole) if len(whole) == len(parts) else None


def _attribute(reader: Reader, found: ast.Attribute, at: int, end: int) -> Node | None:
    written = reader.text[at:end]
    if isinstance(found.value, ast.Name | ast.Attribute) and not found.attr.startswith("__"):
        fix = f'a column of that name is written col("{written}")'
    else:
        fix = "functions are written f(x), not x.f()"
    return reader.refuse(at, f"the attribute .{found.attr[:40]}", fix)


READERS: Final[Readers] = {
    ast.Name: _name,
    ast.Constant: _constant,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _logic,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.JoinedStr: _joined,
    ast.Attribute: _attribute,
    ast.Call: call,
}
