"""YAML as people mean it: text → plain values with the place of every key and value.

Only what a person would write in a table is taken: no anchors, no tags, no duplicate keys, one
document. `no`, `on`, `1:30` and `012` stay text. Built on ruamel.yaml's events, so nothing is ever
constructed before it is looked at, and every fault is found at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from backfill.errors import Lint, Place
from backfill.lints import LintCode

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH_MAX: Final = 32
DIGITS_MAX: Final = 1_000
"""A longer number is no number that a person wrote; it stays text."""

INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
WORDS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}

Path = tuple[str | int, ...]


@dataclass
class Yaml:
    """Plain values, and where each of them stands."""

    path: str
    value: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    lints: list[Lint] = field(default_factory=list)
    text: str = ""
    scalars: dict[Path, ScalarEvent] = field(default_factory=dict)

    def inside(self, path: Path, offset: int) -> Place:
        """The place of a character of a text; offset counts in the text as it was read."""
        event = self.scalars.get(path)
        if event is None:
            return self.place(path)
        at = _source_of(self.text, event, offset)
        before = self.text[event.start_mark.index : at]
        if "\n" not in before:
            return Place(
                self.path, event.start_mark.line + 1, event.start_mark.column + len(before) + 1
            )
        line = event.start_mark.line + before.count("\n") + 1
        return Place(self.path, line, len(before) - before.rindex("\n"))

    def place(self, path: Path) -> Place:
        """The place of the key at this path, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if found := self.keys.get(path[:end]) or self.values.get(path[:end]):
                return found
        return Place(self.path, 1, 1)

    def fault(self, event: Event, code: LintCode, what: str, fix: str) -> None:
        """Note a fault at the place of an event."""
        self.lints.append(Lint(self.place_of(event), code, what, fix))

    def place_of(self, event: Event) -> Place:
        """Return where an event begins."""
        return Place(self.path, event.start_mark.line + 1, event.start_mark.column + 1)


class _GiveUpError(Exception):
    pass


BACKSLASH: Final = (
    "in double quotes \\ begins a sign of its own: use single quotes, or / between folders"
)


def parse(text: str, path: str) -> Yaml:
    """Read one document; where `lints` has faults of the text, `value` is not to be used."""
    found = Yaml(path, text=text)
    events = YAML(typ="safe", pure=True).parse(text)
    try:
        _read(found, events)
    except _GiveUpError:
        pass  # it is told
    except MarkedYAMLError as fault:
        mark = fault.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = f"this is not YAML: {fault.problem or fault.context or 'it cannot be read'}"
        is_escape = "escape" in (fault.problem or "")
        fix = BACKSLASH if is_escape else "check quotes, colons and indents"
        found.lints.append(Lint(Place(path, line, column), LintCode.YAML_SYNTAX, what, fix))
    except YAMLError as fault:
        what = f"this is not YAML: {str(fault).splitlines()[0]}"
        found.lints.append(
            Lint(Place(path, 1, 1), LintCode.YAML_SYNTAX, what, "save the file as plain UTF-8 text")
        )
    return found


def _read(found: Yaml, events: Iterator[Any]) -> None:
    documents = 0
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                what = "a second document begins here"
                found.fault(event, LintCode.YAML_DOCUMENTS, what, "keep one")
                return
        elif isinstance(event, NodeEvent):
            found.value = _node(found, event, events, ())


def _node(found: Yaml, event: NodeEvent, events: Iterator[Any], path: Path) -> Any:
    """One value; on a fault it goes on where it can, so that all faults are found at once."""
    found.values[path] = found.place_of(event)
    _refuse(found, event)
    if isinstance(event, AliasEvent):
        return None
    if len(path) >= DEPTH_MAX and not isinstance(event, ScalarEvent):
        what = f"nested deeper than {DEPTH_MAX}"
        found.fault(event, LintCode.TOO_DEEP, what, "flatten the mapping")
        raise _GiveUpError  # the parser takes time that grows with the square of the depth
    if isinstance(event, MappingStartEvent):
        return _mapping(found, events, path)
    if isinstance(event, SequenceStartEvent):
        items: list[Any] = []
        while not isinstance(item := next(events), SequenceEndEvent):
            items.append(_node(found, item, events, (*path, len(items))))
        return items
    assert isinstance(event, ScalarEvent)
    found.scalars[path] = event
    value = _scalar(event.value) if event.style is None else event.value
    if value == float("inf") or value == float("-inf"):
        fix = "write it in quotes, or smaller"
        found.fault(event, LintCode.WRONG_VALUE, "the number is too large", fix)
    elif isinstance(value, float) and Decimal(repr(value)) != Decimal(event.value):
        what = f"the number would lose digits: {value!r} is the nearest"
        fix = f'write it in quotes, or as {{expr: "{event.value}"}}, which is exact'
        found.fault(event, LintCode.LOST_DIGITS, what, fix)
    return value


def _mapping(found: Yaml, events: Iterator[Any], path: Path) -> dict[str, Any]:
    members: dict[str, Any] = {}
    while not isinstance(event := next(events), MappingEndEvent):
        _refuse(found, event)
        if not isinstance(event, ScalarEvent):
            found.fault(event, LintCode.KEY_TYPE, "a key must be a text", "write key: value")
            if not isinstance(event, AliasEvent):
                _skip(events)
            _node(found, next(events), events, (*path, "?"))
            continue
        key = str(event.value)
        inner = (*path, key)
        if key in members:
            first = found.keys[inner].line
            what = f"'{key}' is already there, on line {first}"
            found.fault(event, LintCode.DUPLICATE_KEY, what, "keep one")
        else:
            found.keys[inner] = found.place_of(event)
        members[key] = _node(found, next(events), events, inner)
    return members


def _refuse(found: Yaml, event: NodeEvent) -> None:
    if isinstance(event, ScalarEvent) and any("\ud800" <= c <= "\udfff" for c in event.value):
        what = "half of a surrogate pair is no text"
        found.fault(event, LintCode.WRONG_VALUE, what, "write the character itself")
    if isinstance(event, AliasEvent):
        what = f"the alias *{event.anchor} is refused"
        found.fault(event, LintCode.ANCHOR, what, "write it out")
    elif event.anchor is not None:
        what = f"the anchor &{event.anchor} is refused"
        found.fault(event, LintCode.ANCHOR, what, "write it out")
    if (tag := getattr(event, "tag", None)) is not None:
        found.fault(event, LintCode.TAG, f"the tag {tag} is refused", "write a plain value")


def _skip(events: Iterator[Any]) -> None:
    """Leave a collection out, to its end."""
    depth = 1
    while depth:
        event = next(events)
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise _GiveUpError


def _scalar(text: str) -> Any:
    """A plain scalar: a number, true, false or null where JSON has it so; the rest is text."""
    if INTEGER.fullmatch(text) and len(text) <= DIGITS_MAX:
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    return WORDS.get(text.lower() if len(text) > 1 else text, text)


ESCAPES: Final = {"x": 4, "u": 6, "U": 10}
"""How many characters an escape of a double-quoted text has; the others have two."""


def _source_of(text: str, event: ScalarEvent, offset: int) -> int:
    """Where in the file a character of a scalar stands: both are read side by side.

    Folding changes white space only, quotes are doubled or escaped, and the rest is as it is.
    """
    at: int = event.start_mark.index
    end: int = event.end_mark.index
    if event.style in {"|", ">"}:
        at = text.index("\n", at) + 1
    elif event.style:
        at += 1
    for index, char in enumerate(event.value):
        if not char.isspace():
            while at < end and (text[at].isspace() or text.startswith("\\\n", at)):
                at += 1 if text[at].isspace() else 2
        if index == offset or at >= end:
            break
        at += _width(text, at, char, event.style)
    return min(at, end)


def _width(text: str, at: int, char: str, style: str | None) -> int:
    """How many characters of the file are one of the text."""
    if style == '"' and text[at] == "\\":
        return ESCAPES.get(text[at + 1], 2)
    if style == "'" and char == "'":
        return 2
    return 1 if text[at] == char or not char.isspace() else 0
