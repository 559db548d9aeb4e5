"""What a mapping reads: its forms, its expressions, and the columns that these name. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backfill.mapping.document import (
    ArrayForm,
    ColumnForm,
    Document,
    EachForm,
    ExprForm,
    JsonForm,
    ObjectForm,
)
from backfill.mapping.expression import parse
from backfill.mapping.kinds import faults_in
from backfill.mapping.literals import faults_in_literals
from backfill.mapping.tree import columns_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.mapping.strict_yaml import Path
    from backfill.mapping.tree import ExprFault

NOW: Final = "now"
"""`timestamp: now`: let the destination stamp the message when it arrives."""

READS: Final[dict[type, str]] = {ColumnForm: "column", JsonForm: "json_", EachForm: "each"}
"""The forms that read a column, and where they name it."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression of a mapping."""

    text: str
    path: Path
    is_condition: bool = False
    """Whether it is a `where` or a `when`."""
    around: tuple[str, ...] = ()
    """The lists of the `each … as` it is inside; its names are fields then."""

    def faults(self) -> list[ExprFault]:
        """Return what is wrong with it whatever the source is."""
        parsed = parse(self.text)
        found = faults_in(parsed, {}, is_condition=self.is_condition)
        return [*parsed.faults, *found, *faults_in_literals(parsed)]

    def columns(self) -> list[tuple[str, int]]:
        """Return the names it reads, with the character where each stands."""
        tree = parse(self.text).tree
        return [] if tree is None else [(one.name, one.name_at) for one in columns_in(tree)]


def expressions_of(document: Document) -> Iterator[Expression]:
    """Every expression of a mapping."""
    if document.where is not None:
        yield Expression(document.where, ("where",), is_condition=True)
    for index, message in enumerate(document.messages):
        at = ("messages", index)
        if message.when is not None:
            yield Expression(message.when, (*at, "when"), is_condition=True)
        for path, form, around in forms_of(message, at):
            if isinstance(form, ExprForm):
                yield Expression(form.expr, (*path, "expr"), around=around)


def columns_of(document: Document) -> list[tuple[str, Path, int | None]]:
    """Every column of the source that is named: name, path, and the character in an expression."""
    found: list[tuple[str, Path, int | None]] = [(name, ("key",), None) for name in document.key]
    for index, message in enumerate(document.messages):
        for path, form, around in forms_of(message, ("messages", index)):
            if around or (path[2:] == ("timestamp",) and form == NOW):
                continue
            if isinstance(form, str):
                found.append((form, path, None))
            elif (key := READS.get(type(form))) is not None:
                found.append((getattr(form, key), (*path, key.rstrip("_")), None))
    for one in expressions_of(document):
        found += [(name, one.path, at) for name, at in one.columns() if not one.around]
    return found


def forms_of(message: Any, at: Path) -> Iterator[tuple[Path, Any, tuple[str, ...]]]:
    """Every value form of a message: path, form, and the lists of the `each … as` it is inside."""
    for member in type(message).model_fields:
        value = getattr(message, member)
        if member in {"type", "when"} or value is None:
            continue
        if isinstance(value, dict):
            for key, form in value.items():
                yield from _walk(form, (*at, member, key), around=())
        else:
            yield from _walk(value, (*at, member), around=())


def _walk(
    form: Any, path: Path, *, around: tuple[str, ...]
) -> Iterator[tuple[Path, Any, tuple[str, ...]]]:
    yield path, form, around
    if isinstance(form, ObjectForm):
        for key, inner in form.object.items():
            yield from _walk(inner, (*path, "object", key), around=around)
    elif isinstance(form, ArrayForm):
        for index, inner in enumerate(form.array):
            yield from _walk(inner, (*path, "array", index), around=around)
    elif isinstance(form, EachForm):
        forms = form.as_.items() if isinstance(form.as_, dict) else [("", form.as_)]
        for key, inner in forms:
            yield from _walk(
                inner, (*path, "as", key) if key else (*path, "as"), around=(*around, form.each)
            )
