"""A message → the lines of the mapping that its members come from. Reads the mapping's file again.

The places are those of the file as it is read now; a mapping that changed meanwhile tells the
places of what is in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

from backfill.mapping.forms import (
    ArrayForm,
    ConstForm,
    EachForm,
    EachRowForm,
    ObjectForm,
)
from backfill.mapping.star import STAR
from backfill.mapping.strict_yaml import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.errors import Place
    from backfill.mapping.load import Mapping
    from backfill.mapping.strict_yaml import Path

WORDS_MAX: Final = 100
"""A line of the mapping is cut here, so that it stays beside the member."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a member comes from."""

    place: Place
    words: str
    """What the mapping says there, on one line."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A member and the part of the mapping that makes it."""

    member: Path
    at: Path
    column: str | None = None
    """The column that a `"*"` took for it."""
    is_whole: bool = False
    """Whether each of its members tells its own line, so that this one need not."""


class Origins:
    """Tells where the members of the messages of one mapping come from."""

    def __init__(self, mapping: Mapping) -> None:
        """Read the file of the mapping again, for the places of all that is in it."""
        text = FilePath(mapping.path).read_bytes().decode("utf-8-sig")
        self._yaml = parse(text, mapping.path)
        self._mapping = mapping

    def of(self, index: int, message: dict[str, Any]) -> dict[Path, Origin]:
        """Return the origins of the members of a message, by their way in it.

        index: which message of the mapping it is. What is inside a value of one column has none of
        its own: it comes from where that comes from.
        """
        walk = _Walk(self._mapping, index)
        return {one.member: self._origin(one) for one in walk.members(message)}

    def _origin(self, found: _Found) -> Origin:
        value: Any = self._yaml.value
        for step in found.at:
            value = value[step]
        name = next((step for step in reversed(found.at) if isinstance(step, str)), "")
        words = f"{_flow(name)}: {'…' if found.is_whole else _flow(value)}"
        if len(words) > WORDS_MAX:
            words = words[: WORDS_MAX - 1] + "…"
        if found.column is not None:
            words += f", here {_flow(found.column)}"
        return Origin(self._yaml.place(found.at), words)


@dataclass(frozen=True, slots=True)
class _Walk:
    """Goes through a message and its part of the mapping side by side."""

    mapping: Mapping
    index: int

    def members(self, message: dict[str, Any]) -> Iterator[_Found]:
        """Yield every member that the mapping speaks of."""
        model = self.mapping.document.messages[self.index]
        at: Path = ("messages", self.index)
        for key, value in message.items():
            form = getattr(model, key, None)
            if form is None:
                yield from self._made_up(key)
            elif isinstance(form, dict):
                yield _Found((key,), (*at, key), is_whole=True)
                yield from self._inside(form, value, (key,), (*at, key))
            else:
                yield from self._value(form, value, (key,), (*at, key))

    def _made_up(self, key: str) -> Iterator[_Found]:
        """A message id that is not mapped is made from the key; without one, from the row."""
        document = self.mapping.document
        if key == "messageId" and document.key:
            yield _Found((key,), ("key",))
        elif key == "messageId" and document.rows is not None:
            yield _Found((key,), ("rows", "group_by"))
        elif key == "properties":  # nothing but a category
            yield _Found((key, "category"), ("messages", self.index, "category"))

    def _inside(
        self, forms: dict[str, Any], value: dict[str, Any], member: Path, at: Path
    ) -> Iterator[_Found]:
        for key, inner in value.items():
            if key in forms:
                yield from self._value(forms[key], inner, (*member, key), (*at, key))
            elif STAR in forms:
                column = dict(self.mapping.taken()).get((*at, STAR), {}).get(key)
                yield _Found((*member, key), (*at, STAR), column)
            elif key == "category":
                yield _Found((*member, key), ("messages", self.index, "category"))

    def _value(self, form: Any, value: Any, member: Path, at: Path) -> Iterator[_Found]:
        yield _Found(member, at)
        if isinstance(form, ConstForm):
            yield from self._const(value, member, (*at, "const"))
        elif isinstance(form, ObjectForm) and isinstance(value, dict):
            yield from self._inside(form.object, value, member, (*at, "object"))
        elif isinstance(value, list):
            yield from self._items(form, value, member, at)

    def _items(self, form: Any, items: list[Any], member: Path, at: Path) -> Iterator[_Found]:
        if isinstance(form, ArrayForm) and len(items) == len(form.array):
            # else some are left out: which, it does not say
            for number, item in enumerate(items):
                where = (*at, "array", number)
                yield from self._value(form.array[number], item, (*member, number), where)
        elif isinstance(form, EachForm | EachRowForm):
            is_each = isinstance(form, EachForm)
            forms = form.as_ if isinstance(form, EachForm) else form.each_row
            inner = (*at, "as" if is_each else "each_row")
            for number, item in enumerate(items):
                if isinstance(forms, dict) and isinstance(item, dict):
                    yield from self._inside(forms, item, (*member, number), inner)

    def _const(self, value: Any, member: Path, at: Path) -> Iterator[_Found]:
        parts: Any = ()
        if isinstance(value, dict):
            parts = value.items()
        elif isinstance(value, list):
            parts = enumerate(value)
        for key, inner in parts:
            yield _Found((*member, key), (*at, key))
            yield from self._const(inner, (*member, key), (*at, key))


def _flow(value: Any) -> str:
    """Write a value as YAML on one line."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_flow(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, str) and value and parse(f"a: [{value}]", "").value == {"a": [value]}:
        return value
    return json.dumps(value, ensure_ascii=False)
