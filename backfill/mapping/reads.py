"""What a mapping reads: its forms, its expressions, and the columns that these name. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backfill.mapping.expression import parse
from backfill.mapping.forms import (
    AggForm,
    ArrayForm,
    ColumnForm,
    EachForm,
    EachRowForm,
    ExprForm,
    JsonForm,
    ObjectForm,
    StarForm,
)
from backfill.mapping.kinds import faults_in
from backfill.mapping.literals import faults_in_literals
from backfill.mapping.tree import columns_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.mapping.document import Document
    from backfill.mapping.strict_yaml import Path
    from backfill.mapping.tree import ExprFault

NOW: Final = "now"
"""`timestamp: now`: let the destination stamp the message when it arrives."""

READS: Final[dict[type, str]] = {
    ColumnForm: "column",
    AggForm: "column",
    JsonForm: "json_",
    EachForm: "each",
}
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
            if isinstance(form, ExprForm | AggForm) and form.expr is not None:
                yield Expression(form.expr, (*path, "expr"), around=around)


def _beside_messages(document: Document) -> list[tuple[str, Path, int | None]]:
    found: list[tuple[str, Path, int | None]] = [(name, ("key",), None) for name in document.key]
    if (rows := document.rows) is not None:
        found += [(name, ("rows", "group_by"), None) for name in rows.group_by]
        found += [(name, ("rows", "order_within"), None) for name in [rows.order_within] if name]
    if document.watermark is not None:
        found.append((document.watermark.column, ("watermark", "column"), None))
    return found


def columns_of(document: Document) -> list[tuple[str, Path, int | None]]:
    """Every column of the source that is named: name, path, and the character in an expression."""
    found = _beside_messages(document)
    for index, message in enumerate(document.messages):
        for path, form, around in forms_of(message, ("messages", index)):
            if around or (path[2:] == ("timestamp",) and form == NOW):
                continue
            if isinstance(form, str):
                found.append((form, path, None))
            elif (key := READS.get(type(form))) is not None and getattr(form, key) is not None:
                found.append((getattr(form, key), (*path, key.rstrip("_")), None))
    for one in expressions_of(document):
        found += [(name, one.path, at) for name, at in one.columns() if not one.around]
    return found


def named_in(document: Document, index: int) -> set[str]:
    """Return the columns that the value forms of a message name."""
    return {
        name
        for name, path, _ in columns_of(document)
        if path[:2] == ("messages", index) and path[2:] != ("when",)
    }


def star_paths(document: Document) -> list[Path]:
    """Return where each `"*"` stands."""
    return [
        path
        for index, message in enumerate(document.messages)
        for path, form, _ in forms_of(message, ("messages", index))
        if isinstance(form, StarForm)
    ]


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
    elif isinstance(form, EachRowForm):
        yield from _walk_items(form.each_row, (*path, "each_row"), around=around)
    elif isinstance(form, EachForm):
        yield from _walk_items(form.as_, (*path, "as"), around=(*around, form.each))


def _walk_items(
    forms: Any, at: Path, *, around: tuple[str, ...]
) -> Iterator[tuple[Path, Any, tuple[str, ...]]]:
    if isinstance(forms, str):
        yield from _walk(forms, at, around=around)
        return
    for key, inner in forms.items():
        yield from _walk(inner, (*at, key), around=around)
