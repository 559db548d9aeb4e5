"""Calls in an expression: Python's node → `Call`, `Column` or `Case`, by the table of functions."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from backfill.lints import LintCode
from backfill.mapping.functions import FUNCTIONS, SPECIAL, Function
from backfill.mapping.tree import Call, Case, Column, Const, Node
from backfill.mapping.words import nearest

if TYPE_CHECKING:
    from backfill.mapping.reader import Reader


def call(reader: Reader, found: ast.Call, at: int, end: int) -> Node | None:
    """Translate a call of a function by its name; any other call is refused."""
    if not isinstance(found.func, ast.Name):
        if isinstance(found.func, ast.Attribute):
            name = found.func.attr
            fix = f"write {FUNCTIONS[name]}" if name in FUNCTIONS else "write f(x), not x.f()"
            return reader.refuse(at, f"the method .{name[:40]}()", fix)
        return reader.refuse(at, "a call of this", "functions are called by their names")
    name = found.func.id
    given: list[ast.AST] = [*found.args, *(one.value for one in found.keywords)]
    if starred := [one for one in given if isinstance(one, ast.Starred)] + [
        one.value for one in found.keywords if one.arg is None
    ]:
        fix = "write the arguments one by one"
        return reader.refuse(reader.span(starred[0])[0], "* before arguments", fix)
    if name in SPECIAL:
        return (_col if name == "col" else _case)(reader, found, at, end)
    if name not in FUNCTIONS:
        fix = nearest(name, [*FUNCTIONS, *SPECIAL])
        reader.nodes(given)
        return reader.fault(at, LintCode.UNKNOWN_FUNCTION, f"unknown function '{name[:40]}'", fix)
    return _function(reader, found, FUNCTIONS[name], (at, end))


def _col(reader: Reader, found: ast.Call, at: int, end: int) -> Node | None:
    one = found.args[0] if len(found.args) == 1 and not found.keywords else None
    if not (isinstance(one, ast.Constant) and isinstance(one.value, str)):
        what = "col takes the name of a column, in quotes"
        return reader.fault(at, LintCode.EXPR_ARGUMENTS, what, f"write {SPECIAL['col']}")
    name = reader.literal(one.value, at, end)
    return None if name is None else Column(at, end, one.value, reader.span(one)[0])


def _case(reader: Reader, found: ast.Call, at: int, end: int) -> Node | None:
    table = found.args[1] if len(found.args) == 3 and not found.keywords else None  # noqa: PLR2004
    if not isinstance(table, ast.Dict) or not table.keys or None in table.keys:
        what = "case takes a value, a table of literals, and a default"
        return reader.fault(at, LintCode.EXPR_ARGUMENTS, what, f"write {SPECIAL['case']}")
    keys = reader.nodes([key for key in table.keys if key is not None])
    values = reader.nodes([found.args[0], found.args[2], *table.values])
    if keys is None or values is None:
        return None
    literals: dict[tuple[type, object], Const] = {}
    for key in keys:
        if not isinstance(key, Const) or key.value is None:
            what = "a key of case is a text, a number, True or False"
            return reader.fault(key.at, LintCode.EXPR_ARGUMENTS, what, "write a literal")
        is_number = not isinstance(key.value, str | bool)
        if literals.setdefault((float if is_number else type(key.value), key.value), key) != key:
            what = "this key is there already"
            return reader.fault(key.at, LintCode.EXPR_ARGUMENTS, what, "keep one")
    return Case(
        at, end, values[0], tuple(zip(literals.values(), values[2:], strict=True)), values[1]
    )


def _function(
    reader: Reader, found: ast.Call, function: Function, span: tuple[int, int]
) -> Node | None:
    at, end = span
    made = reader.nodes([*found.args, *(one.value for one in found.keywords)])
    parameters = function.parameters
    if len(found.args) > len(parameters) and not function.is_many:
        what = f"{function.name} takes no {len(found.args)} arguments"
        return reader.fault(at, LintCode.EXPR_ARGUMENTS, what, f"write {function}")
    if len(found.args) < function.required:
        what = f"{function.name} needs {function.required} argument" + "s" * (function.required > 1)
        return reader.fault(at, LintCode.EXPR_ARGUMENTS, what, f"write {function}")
    optional = [one.name for one in parameters if one.is_optional]
    names = [one.name for one in parameters[: len(found.args)]]
    for one in found.keywords:
        if one.arg not in optional or one.arg in names:
            fix = nearest(str(one.arg), optional) or f"write {function}"
            what = f"{function.name} has no argument '{one.arg}' here"
            return reader.fault(reader.span(one)[0], LintCode.EXPR_ARGUMENTS, what, fix)
        names.append(one.arg)
    if made is None:
        return None
    if function.is_many:
        return Call(at, end, function.name, tuple(made))
    given = dict(zip(names, made, strict=True))
    return Call(at, end, function.name, tuple(given.get(one.name) for one in parameters))
