"""The page of errors is made of the program's own tables, and nothing is missing on it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from errorpage import TO_DO, errors_page, examples
from situations import SITUATIONS
from test_docs import DOCS, anchors

from backfill.codes import Code
from backfill.errors import BackfillError, ExitCode
from backfill.lints import LintCode

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(__file__).parent.parent / "backfill"
OF_OTHERS: Final = {"Error: …"}
"""What is said for us: of the command line by click."""

OF_TABLES: Final = {"… (…)", "…\n… and … more"}
"""What a store means, which the page has from `trouble`; faults of corrected rows, one by one."""

Scope = dict[str, list[ast.expr]]


def test_every_code_has_a_place_of_its_own_on_the_page() -> None:
    heads = [line[4:] for line in errors_page().splitlines() if line.startswith("### ")]
    codes = [code.value for code in (*LintCode, *Code)]
    assert heads == codes + [f"Exit {int(code)}" for code in SITUATIONS]
    assert len(set(heads)) == len(heads)
    assert set(codes) <= anchors(DOCS / "errors.md")


def test_every_exit_code_says_what_to_do_and_what_led_to_it() -> None:
    assert set(TO_DO) == set(ExitCode)
    told = {ExitCode.OK, ExitCode.REJECTS, ExitCode.SIGTERM}  # in the text above the tables
    assert set(SITUATIONS) == set(ExitCode) - told


def test_the_example_of_a_code_is_told_with_that_code() -> None:
    for code, example in examples().items():
        assert f" [{code}]\n  fix: " in example.words


def test_every_error_that_the_program_raises_is_on_the_page() -> None:
    assert raised() - situations() - OF_TABLES == set()


def test_every_situation_on_the_page_is_said_by_the_program() -> None:
    assert situations() - said() - OF_OTHERS == set()


def test_every_error_has_a_fix() -> None:
    calls = [node for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    bare = [call for call in calls if told_by(call) is not None and not fixes(call)]
    # the command that goes on is told below a run that a signal stopped
    assert {ast.unparse(call.func) for call in bare} == {"InterruptedRun"}


def fixes(call: ast.Call) -> bool:
    is_address = ast.unparse(call.func) == "AddressError" and len(call.args) > 1
    return is_address or any(one.arg == "fix" for one in call.keywords)


def situations() -> set[str]:
    """What the page says that stops a command."""
    chapters = [chapter for part in SITUATIONS.values() for chapter in part.values()]
    return {words for chapter in chapters for words in chapter}


# The program's own words, read from its source: `…` stands for what it fills in


@cache
def sources() -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]


def said() -> set[str]:
    """Every text in the program."""
    texts = (node for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.expr))
    return {text for node in texts for text in templates(node, {})}


def raised() -> set[str]:
    """The first argument of every error that is made, where the source tells it."""
    found: set[str] = set()
    for tree in sources():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for function in functions:
            scope = assigned(function) | given(function, calls)
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and (what := told_by(call)) is not None:
                    found |= set(templates(what, scope))
    return {text for text in found if text.strip("…\n ")}


def errors() -> set[str]:
    waiting: list[type] = [BackfillError]
    for kind in waiting:
        waiting += kind.__subclasses__()
    return {kind.__name__ for kind in waiting} - {"MappingError"} | {"AddressError"}


def told_by(call: ast.Call) -> ast.expr | None:
    if not isinstance(call.func, ast.Name) or call.func.id not in errors():
        return None
    at = 1 if call.func.id == "InterruptedRun" else 0
    return call.args[at] if len(call.args) > at else None


def assigned(function: ast.FunctionDef) -> Scope:
    """What the names of a function may stand for."""
    scope: Scope = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name):
                    scope.setdefault(name.id, []).append(value)
    return scope


def given(function: ast.FunctionDef, calls: list[ast.Call]) -> Scope:
    """What is given to a function where its module calls it."""
    scope: Scope = {}
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == function.name:
            for parameter, value in zip(function.args.args, call.args, strict=False):
                scope.setdefault(parameter.arg, []).append(value)
    return scope


def templates(node: ast.expr, scope: Scope) -> Iterator[str]:
    """Yield every text that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            texts = (part.value if isinstance(part, ast.Constant) else "…" for part in parts)
            yield "".join(map(str, texts))
        case ast.IfExp(body=one, orelse=other):
            yield from (*templates(one, scope), *templates(other, scope))
        case ast.BinOp(left=left, right=right):
            ends = list(templates(right, scope))
            yield from (begin + end for begin in templates(left, scope) for end in ends)
        case ast.Name(id=name) if name in scope:
            inner = {other: values for other, values in scope.items() if other != name}
            yield from (text for value in scope[name] for text in templates(value, inner))
        case ast.Call(func=ast.Attribute(value=value, attr="strip")):
            yield from templates(value, scope)
        case ast.Call(func=ast.Attribute(attr="scrub"), args=[value]):
            yield from templates(value, scope)
        case _:
            yield "…"
