"""The tree of an expression: a closed set of nodes, frozen and picklable. No logic, no pyarrow."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from backfill.lints import LintCode


@dataclass(frozen=True, slots=True)
class ExprFault:
    """A fault at a character of the expression's text."""

    at: int
    code: LintCode
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of an expression; at, end: its characters in the text."""

    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Column(Node):
    """A column of the source, or a field inside `each … as`; name_at: where its name begins."""

    name: str
    name_at: int


@dataclass(frozen=True, slots=True)
class Const(Node):
    """A literal; a number with a point is a Decimal of the very digits."""

    value: str | int | Decimal | bool | None


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of the table; arguments in the order of its parameters, None where left out."""

    name: str
    arguments: tuple[Node | None, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """`+ - * / // %`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """`-x`."""

    value: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`a < b <= c`: each operand is evaluated once, and only where those before it hold."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Items(Node):
    """The literals after `in`."""

    items: tuple[Const, ...]


@dataclass(frozen=True, slots=True)
class In(Node):
    """`x in (…)`; a list, or a text that may hold x, stands after `in` too."""

    value: Node
    options: Node


@dataclass(frozen=True, slots=True)
class IsNone(Node):
    """`x is None`, `x is not None`."""

    value: Node
    is_negated: bool


@dataclass(frozen=True, slots=True)
class Logic(Node):
    """`and`, `or`."""

    operator: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """`not x`."""

    value: Node


@dataclass(frozen=True, slots=True)
class Choice(Node):
    """`then if test else other`."""

    test: Node
    then: Node
    other: Node


@dataclass(frozen=True, slots=True)
class Joined(Node):
    """An f-string."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Case(Node):
    """`case(x, {key: value, …}, default)`."""

    value: Node
    table: tuple[tuple[Const, Node], ...]
    default: Node


@dataclass(frozen=True, slots=True)
class Parsed:
    """A tree, or why there is none."""

    text: str
    tree: Node | None
    faults: tuple[ExprFault, ...]

    def source(self, node: Node) -> str:
        """Return the text of a part, short enough for a line."""
        found = " ".join(self.text[node.at : node.end].split())
        return found if len(found) <= 40 else found[:39] + "…"  # noqa: PLR2004  a part of a line


def walk(node: Node) -> Iterator[Node]:
    """Every node of a tree, those around before those inside."""
    yield node
    for member in fields(node):
        yield from _inside(getattr(node, member.name))


def _inside(value: object) -> Iterator[Node]:
    if isinstance(value, Node):
        yield from walk(value)
    elif isinstance(value, tuple):
        for item in value:
            yield from _inside(item)


def columns_in(node: Node) -> list[Column]:
    """The columns that a tree reads, in the order of the text."""
    found = [part for part in walk(node) if isinstance(part, Column)]
    return sorted(found, key=lambda column: column.at)
