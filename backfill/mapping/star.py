"""`"*"` in traits, properties, context or an object: the columns it stands for. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backfill import spec
from backfill.lints import LintCode
from backfill.mapping.forms import ArrayForm, ObjectForm, StarForm
from backfill.mapping.words import nearest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from backfill.mapping.strict_yaml import Path

    Fault = tuple[Path, LintCode, str, str]

STAR: Final = "*"


class Refused(NamedTuple):
    """A column that `"*"` matches and that cannot be a member."""

    path: Path
    column: str
    what: str
    fix: str

    def told(self) -> str:
        """Say which column, and why."""
        return f"'{self.column}': {self.what}"

    def within(self, at: Path) -> Refused:
        """Return it with the way to the message in front."""
        return self._replace(path=(*at, *self.path))


def matches(form: StarForm, column: str) -> bool:
    """Whether a column's name fits, and no `except` fits it too."""
    return _is_like(column, form.columns) and not _is_like(column, form.except_)


def _is_like(column: str, patterns: Sequence[str]) -> bool:
    """Whether a name is like one of the patterns: `*` is any text, `?` any character."""
    return any(
        re.fullmatch(re.escape(one).replace(r"\*", ".*").replace(r"\?", "."), column, re.DOTALL)
        for one in patterns
    )


def stars_of(message: Any) -> list[StarForm]:
    """Return every `"*"` of a message."""
    return [
        form for _, members in _places(message) if isinstance(form := members.get(STAR), StarForm)
    ]


@dataclass
class Writer:
    """Writes the `"*"` of one message out, and notes the columns that cannot be members."""

    message: Any
    columns: Sequence[str]
    """Those of the source, in the order in which their members are to stand."""
    named: Container[str]
    """Those that the message names elsewhere."""
    allowed: Container[str]
    """The names that guards allow."""
    refused: list[Refused] = field(default_factory=list)

    def written(self) -> Any:
        """Return the message without any `"*"`."""
        changes = {}
        for member in type(self.message).model_fields:
            given = getattr(self.message, member)
            if isinstance(given, dict):
                changes[member] = self._members(given, (member,))
            elif isinstance(given, ObjectForm | ArrayForm):
                changes[member] = self._inner(given, (member,))
        return self.message.model_copy(update=changes)

    def _members(self, forms: dict[str, Any], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, form in forms.items():
            if key == STAR and isinstance(form, StarForm):
                found |= self._matched(form, path, {*forms, *found})
            else:
                found[key] = self._inner(form, (*path, key))
        return found

    def _inner(self, form: Any, path: Path) -> Any:
        if isinstance(form, ArrayForm):
            items = [self._inner(one, (*path, "array", at)) for at, one in enumerate(form.array)]
            return form.model_copy(update={"array": items})
        if not isinstance(form, ObjectForm):
            return form
        return form.model_copy(update={"object": self._members(form.object, (*path, "object"))})

    def _matched(self, form: StarForm, path: Path, taken: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for column in self.columns:
            if column in self.named or not matches(form, column):
                continue
            member = column.removeprefix(form.strip or "")
            why = _why_not(member, self.message, path, {*taken, *found}, self.allowed)
            if why is None:
                found[member] = column
            else:
                self.refused.append(Refused((*path, STAR), column, *why))
        return found


def source_faults(
    messages: Sequence[Any], written: Sequence[Any], columns: Sequence[str]
) -> list[Fault]:
    """Return what a source with these columns makes wrong."""
    found: list[Fault] = []
    for index, (message, one) in enumerate(zip(messages, written, strict=True)):
        for path, form in _stars(message, ("messages", index)):
            for pattern in form.columns:
                alone = form.model_copy(update={"columns": [pattern]})
                if not any(matches(alone, name) for name in columns):
                    what = f"no column is like '{pattern}'"
                    found.append((path, LintCode.UNKNOWN_COLUMN, what, nearest(pattern, columns)))
        traits = getattr(one, "traits", None) or {}
        if len(traits) > spec.LIMITS.traits >= len(message.traits):
            what = f"{len(traits)} traits are more than {spec.LIMITS.traits}"
            path = ("messages", index, "traits", STAR)
            found.append((path, LintCode.TOO_MANY, what, "put some columns into except:"))
    return found


def taken(message: Any, written: Any) -> list[tuple[Path, dict[str, str]]]:
    """Return for each `"*"` of a message where it stands, and which column became which member.

    written: the same message with every `"*"` written out.
    """
    whole = dict(_places(written))
    found = []
    for path, members in _places(message):
        if isinstance(members.get(STAR), StarForm):
            new = {key: form for key, form in whole.get(path, {}).items() if key not in members}
            found.append(((*path, STAR), new))
    return found


def _stars(message: Any, at: Path) -> list[tuple[Path, StarForm]]:
    return [
        ((*at, *path, STAR), form)
        for path, members in _places(message)
        if isinstance(form := members.get(STAR), StarForm)
    ]


def _why_not(
    member: str, message: Any, path: Path, taken: Container[str], allowed: Container[str]
) -> tuple[str, str] | None:
    kind = spec.TYPES[message.type]
    out = "put the column into except:, or name it on its own"
    if member in taken:
        return f"the member '{member}' is there already", out
    if not member or len(member.encode()) > spec.LIMITS.name:
        return f"the name {member[:20]!r} must have 1 to {spec.LIMITS.name} bytes", out
    is_override = kind.name == "track" and path == ("properties",) and member in spec.OVERRIDES
    if is_override and member not in allowed:
        fix = f"put the column into except:, or guards: {{allow: [{member}]}}"
        return f"the property '{member}' overrides the settings of campaigns", fix
    return None


def star_faults(message: Any, forms: Iterable[tuple[Path, Any, tuple[str, ...]]]) -> list[Fault]:
    """Return what is wrong with where `"*"` stands."""
    found: list[Fault] = []
    allowed = [members for _, members in _places(message)]
    good = [id(members[STAR]) for members in allowed if STAR in members]
    for path, form, _ in forms:
        if isinstance(form, StarForm) and (path[-1] != STAR or id(form) not in good):
            what = 'columns: stands under "*" in traits, properties, context or an object'
            found.append((path, LintCode.WRONG_FORM, what, 'write "*": {columns: …} there'))
        elif path[-1] == STAR and not isinstance(form, StarForm):
            fix = 'write "*": {columns: "prop_*"}'
            found.append((path, LintCode.WRONG_FORM, "'*' says which columns it stands for", fix))
    return found


def _places(message: Any) -> list[tuple[Path, dict[str, Any]]]:
    """Return the free members of a message, and the objects in them, with their paths."""
    found: list[tuple[Path, dict[str, Any]]] = []

    def add(path: Path, given: Any) -> None:
        if isinstance(given, ArrayForm):
            for at, item in enumerate(given.array):
                add((*path, "array", at), item)
        if isinstance(given, ObjectForm):
            path, given = (*path, "object"), given.object
        if isinstance(given, dict):
            found.append((path, given))
            for key, form in given.items():
                add((*path, key), form)

    for member in type(message).model_fields:
        add((member,), getattr(message, member))
    return found
