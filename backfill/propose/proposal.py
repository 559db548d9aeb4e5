"""The form of a proposal: members with their evidence, and what is left out. No judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.propose.values import Finding


class NoIdError(Exception):
    """No column can name a person or an object."""


class UndecidedError(Exception):
    """Day and month of the time that a message needs cannot be told apart; it is the finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.name)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Line:
    """One member of the mapping with its evidence."""

    form: Any
    """A value form, as plain values."""
    why: str = ""
    doubt: str = ""
    """What is assumed, and to be looked at by a person."""
    column: str = ""
    """The column it reads, '' for a constant."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is not sent, and why; `lines` would send it."""

    column: str
    why: str
    lines: tuple[str, ...] = ()


@dataclass
class Proposal:
    """One mapping of one message, before it is written."""

    type: str
    why: str
    members: dict[str, Line] = field(default_factory=dict)
    context: dict[str, Line] = field(default_factory=dict)
    body: dict[str, Line] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    key_why: str = ""
    after: list[str] = field(default_factory=list)

    @property
    def doubts(self) -> list[tuple[str, str]]:
        """What a person must look at: (member, words)."""
        parts = (self.members, self.context, self.body)
        lines = [(name, line) for part in parts for name, line in part.items()]
        return [(name, line.doubt) for name, line in lines if line.doubt]

    def drop(self, column: str, why: str) -> bool:
        """Leave a column out of body and context; whether it was there."""
        found = False
        for part in (self.context, self.body):
            for name in [name for name, line in part.items() if line.column == column]:
                del part[name]
                self.left_out.append(LeftOut(column, why))
                found = True
        return found


def forms(made: Proposal) -> Iterator[tuple[str, Line]]:
    """Every member with its line, in the order of writing."""
    yield from made.members.items()
    yield from made.context.items()
    yield from made.body.items()


def line_of(one: Finding) -> Line:
    """A finding as a member: the bare name where nothing more is to be said."""
    form: Any = {"column": one.name, **one.options} if one.options else one.name
    return Line(form, one.why, one.doubt, one.name)
