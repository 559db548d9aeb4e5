"""One walk over the tree of Python's parser: places, depth, and what is refused. No meaning."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from backfill.lints import LintCode
from backfill.mapping.syntax import deep
from backfill.mapping.tree import Const, ExprFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backfill.mapping.tree import Node

DEPTH_MAX: Final = 100
TEXT_MAX: Final = 1_000
Readers = dict[type, "Callable[[Reader, Any, int, int], Node | None]"]

REFUSED: Final[dict[type, tuple[str, str]]] = {
    ast.Lambda: ("a lambda", "write the computation itself"),
    ast.ListComp: ("a comprehension", "lists are made with split(x, separator)"),
    ast.SetComp: ("a comprehension", "lists are made with split(x, separator)"),
    ast.DictComp: ("a comprehension", "write case(x, {key: value, …}, default)"),
    ast.GeneratorExp: ("a comprehension", "lists are made with split(x, separator)"),
    ast.NamedExpr: (":=", "write == to compare"),
    ast.Subscript: ("[…] after a value", "write substring(x, start, length) for a part of a text"),
    ast.Starred: ("*", "write the arguments one by one"),
    ast.Await: ("await", "leave it out"),
    ast.Yield: ("yield", "leave it out"),
    ast.YieldFrom: ("yield", "leave it out"),
    ast.Dict: ("a table in braces", "write case(x, {key: value, …}, default)"),
    ast.Set: ("a set", "a list may stand after `in` only"),
    ast.List: ("a list", "a list may stand after `in` only; for an array use {array: […]}"),
    ast.Tuple: ("a list", "a list may stand after `in` only; for an array use {array: […]}"),
    ast.Slice: (":", "write substring(x, start, length) for a part of a text"),
}


class Reader:
    """One walk over Python's tree; what may not stand there is noted, and the walk goes on."""

    def __init__(self, text: str, readers: Readers) -> None:
        """readers: who translates which kind of node; any other kind is refused."""
        self.text = text
        self.readers = readers
        self.faults: list[ExprFault] = []
        self.depth = 0
        self.around: tuple[int, int] | None = None
        """The f-string that is being read: places in it are not to be trusted before 3.12."""
        self._lines = [line.encode() for line in f"({text}\n)".split("\n")]

    def node(self, found: ast.AST) -> Node | None:
        """Translate one node; None where it or something in it is a fault."""
        at, end = self.span(found)
        if self.depth >= DEPTH_MAX:
            if not any(fault.code == LintCode.EXPR_TOO_DEEP for fault in self.faults):
                self.faults.append(deep(at))
            return None
        self.depth += 1
        try:
            if (read := self.readers.get(type(found))) is not None:
                return read(self, found, at, end)
        finally:
            self.depth -= 1
        shown, fix = REFUSED.get(type(found), ("this", "leave it out"))
        return self.refuse(at, shown, fix)

    def nodes(self, found: Sequence[ast.AST]) -> list[Node] | None:
        """Translate several; each is looked at, though one before it is a fault."""
        made = [self.node(one) for one in found]
        whole = [one for one in made if one is not None]
        return whole if len(whole) == len(made) else None

    def refuse(self, at: int, shown: str, fix: str) -> Const | None:
        """Note what is no part of the language."""
        return self.fault(at, LintCode.EXPR_REFUSED, f"{shown} cannot stand in an expression", fix)

    def literal(self, value: str, at: int, end: int) -> Const | None:
        """Return a text of the mapping, if it is one."""
        if len(value) > TEXT_MAX:
            what = f"the text has {len(value)} characters, more than {TEXT_MAX}"
            return self.fault(at, LintCode.EXPR_TOO_LONG, what, "shorten it")
        if any("\ud800" <= char <= "\udfff" for char in value):
            what = "half of a surrogate pair is no text"
            return self.fault(at, LintCode.EXPR_REFUSED, what, "write the character itself")
        return Const(at, end, value)

    def fault(self, at: int, code: LintCode, what: str, fix: str) -> Const | None:
        """Note a fault at a character; there is no node then."""
        self.faults.append(ExprFault(at, code, what, fix))
        return None

    def span(self, found: ast.AST) -> tuple[int, int]:
        """The characters of a node."""
        at = self._offset(found.lineno, found.col_offset)  # type: ignore[attr-defined]
        end = self._offset(found.end_lineno, found.end_col_offset)  # type: ignore[attr-defined]
        if self.around is not None and not self.around[0] <= at < end <= self.around[1]:
            return self.around
        return max(at, 0), min(end, len(self.text))

    def _offset(self, line: int, column: int) -> int:
        before = sum(len(one.decode()) + 1 for one in self._lines[: line - 1])
        within = self._lines[line - 1] if line <= len(self._lines) else b""
        return before + len(within[:column].decode(errors="ignore")) - 1
