"""A proposal → the text of a commented mapping. The only writer of mapping files.

ruamel.yaml's round-trip tree carries the comments. They hold counts and formats, never a cell:
mappings are kept in repositories.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backfill.propose.proposal import LeftOut, Line, Proposal

COMMENT_COLUMN: Final = 44
"""Where comments begin, so that they read as a column of their own."""

SCHEMA: Final = "schema.json"
"""Beside the mapping: editors take the path as relative to it."""

LINE_MAX: Final = 1 << 16
PLAIN: Final = r"(?:\.{1,2}/)*[^\W\d](?:[\w ./-]*\w)?"
"""Texts that are written without quotes. ruamel.yaml leaves them out of some that need them: `:0`
in a flow, U+0085 anywhere."""

WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

LOOK: Final = "LOOK: "
"""What a person must look at is found by this word."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows come from, as the mapping writes it."""

    path: str | list[str]
    name: str | None = None
    format: str | None = None
    csv: Mapping[str, Any] = field(default_factory=dict)
    csv_notes: Mapping[str, str] = field(default_factory=dict)
    blank: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    """Lines of comment for the top: what was looked at."""


def text_of(made: Proposal, origin: Origin) -> str:
    """Write a mapping. Promised: `mapping.strict_yaml` reads the very same values."""
    document = CommentedMap()
    head = [f"yaml-language-server: $schema={SCHEMA}", *origin.head]
    document.yaml_set_start_comment("\n".join(map(_safe, head)))
    document["version"] = 1
    if origin.name is not None:
        document["name"] = _text(origin.name)
    if made.after:
        document["after"] = _flow(made.after)
        _note(document, "after", "people first: an event must not come before its person")
    document["source"] = _source(origin)
    if made.key:
        document["key"] = _text(made.key[0]) if len(made.key) == 1 else _flow(made.key)
        _note(document, "key", f"identity of a row: {made.key_why}")
    document["messages"] = CommentedSeq([_message(made)])
    if not made.key:
        why = f" ({made.key_why})" if made.key_why else ""
        words = f"No key: no column makes a row one of its kind{why}; its place in the file does."
        document.yaml_set_comment_before_after_key("messages", before=words)
    if made.type == "track":
        document["guards"] = _flow({"recent_events": "hold"})
        _note(document, "guards", "events of the last 72 hours can start campaigns: held back")
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return re.sub(r"[ \t]+$", "", stream.getvalue(), flags=re.MULTILINE)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = LINE_MAX
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _source(origin: Origin) -> CommentedMap:
    source = CommentedMap()
    source["path"] = _value(origin.path)
    if origin.format is not None:
        source["format"] = origin.format
    if origin.csv:
        csv = source["csv"] = CommentedMap()
        for name, value in origin.csv.items():
            csv[name] = _value(value)
            _note(csv, name, origin.csv_notes.get(name, ""))
    if origin.blank:
        source["blank"] = _flow(["", *origin.blank])
        _note(source, "blank", "texts that stand for nothing, in every column")
    return source


def _message(made: Proposal) -> CommentedMap:
    from backfill import spec  # noqa: PLC0415

    message = CommentedMap()
    message["type"] = made.type
    _note(message, "type", made.why)
    _put(message, made.members)
    if made.context:
        message["context"] = _put(CommentedMap(), made.context)
    body = spec.TYPES[made.type].body
    if made.body and body:
        message[body] = _put(CommentedMap(), made.body)
    if made.left_out:
        where = next((name for name in ("context", body) if name in message), None)
        lines = [line for one in made.left_out for line in _left_out(one)]
        words = "\n".join(["Left out; to send one, put its line among the others:", *lines])
        if where is None:
            message.yaml_set_comment_before_after_key("type", before=words, indent=4)
        else:
            message.yaml_set_comment_before_after_key(where, before=words, indent=4)
    return message


def _left_out(one: LeftOut) -> list[str]:
    if not one.lines:
        return ["  " + _safe(f"{one.column}: {one.why}")]
    first, *others = one.lines
    return [f"  {_safe(first)}  # {_safe(one.why)}", *(f"  {_safe(line)}" for line in others)]


def _put(target: CommentedMap, lines: Mapping[str, Line]) -> CommentedMap:
    for name, line in lines.items():
        target[_text(name)] = _value(line.form)
        words = "; ".join(part for part in (line.why, line.doubt and LOOK + line.doubt) if part)
        if isinstance(line.form, dict) and "each" in line.form:
            target[name] = _each(line.form)
        _note(target, name, words)
    return target


def _each(form: Mapping[str, Any]) -> CommentedMap:
    """A list of structs in lines of its own: it is long."""
    made = CommentedMap()
    made["each"] = _text(form["each"])
    items = form["as"].items()
    made["as"] = CommentedMap({_text(name): _value(inner) for name, inner in items})
    return made


def _value(value: Any) -> Any:
    if isinstance(value, dict | list):
        return _flow(value)
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """A text that every reader of YAML takes for the same text."""
    is_plain = re.fullmatch(PLAIN, text) and text.isprintable() and text.lower() not in WORDS
    return text if is_plain else DoubleQuotedScalarString(text)


def _flow(value: Any) -> Any:
    made: Any
    if isinstance(value, dict):
        made = CommentedMap({_text(name): _value(inner) for name, inner in value.items()})
    else:
        made = CommentedSeq([_value(inner) for inner in value])
    made.fa.set_flow_style()
    return made


def _note(target: CommentedMap, name: str, words: str) -> None:
    if words:
        target.yaml_add_eol_comment(_safe(words), name, column=COMMENT_COLUMN)


def _safe(words: str) -> str:
    """Words as one line of comment: names of columns may hold anything."""
    return "".join(char if char.isprintable() else "�" for char in words).strip()
