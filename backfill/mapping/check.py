"""What the models cannot say: required members, options that fit, columns named. No I/O."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backfill import spec
from backfill.mapping.document import (
    AggForm,
    ArrayForm,
    ColumnForm,
    ConstForm,
    Document,
    EachForm,
    EachRowForm,
    JsonForm,
    ObjectForm,
    Options,
    StarForm,
)
from backfill.mapping.groups import group_faults
from backfill.mapping.nightly import nightly_faults
from backfill.mapping.star import star_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.mapping.strict_yaml import Path

Fault = tuple["Path", str, str, str]
"""Path, code, what, fix."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NOW: Final = "now"
"""`timestamp: now`: let the destination stamp the message when it arrives."""

TIMES: Final = {"timestamp", "date"}
EPOCHS: Final = {"unix_s", "unix_ms", "unix_us"}
NOT_OF_TIMES: Final = {"as", "check", "map", "else", "split", "true", "false", "blank"}
DIRECTIVES: Final = re.compile("%[aAbBcdfGHIjmMpSuUVwWxXyYzZ%]")
NEEDS: Final = {  # option → the types it says something about
    "format": TIMES,
    "timezone": TIMES,
    "ambiguous": TIMES,
    "as": {"timestamp"},
    "decimal": {"number", "integer"},
    "thousands": {"number", "integer"},
    "true": {"boolean"},
    "false": {"boolean"},
}


def faults_of(document: Document, name: str) -> list[Fault]:
    """Every fault of a document that the models took."""
    found: list[Fault] = []
    if not NAME.fullmatch(name):
        fix = "use letters, digits, '.', '_' and '-'"
        found.append((("name",), "bad-name", f"{name!r} cannot name a folder", fix))
    found += _source(document) + _guards(document) + nightly_faults(document)
    if document.watermark is not None:
        how = document.watermark.form()
        found += _timezone(how, ("watermark",)) + _pattern(how, ("watermark",))
    for index, message in enumerate(document.messages):
        at: Path = ("messages", index)
        found += _members(message, at) + _reserved(message, at, document.guards.allow)
        found += _plain(message, at) + _constants(message, at, document.guards.allow)
        found += group_faults(document, forms_of(message, at))
        found += star_faults(message, forms_of(message, at))
        for path, form, _ in forms_of(message, at):
            found += _column(form, path, is_time=path[2:] == ("timestamp",))
    return found


def _source(document: Document) -> list[Fault]:
    found: list[Fault] = []
    remote = [p for p in document.source.path if re.match(r"[a-z][a-z0-9+]*://", p)]
    if remote:
        found.append(
            (
                ("source", "path"),
                "not-yet",
                f"{remote[0]}: only local files in this version",
                "copy it",
            )
        )
    if not document.source.path:
        found.append((("source", "path"), "missing-key", "no path is given", "name a file"))
    try:
        "".encode(document.source.csv.encoding)
    except LookupError:
        what = f"unknown encoding '{document.source.csv.encoding}'"
        found.append((("source", "csv", "encoding"), "wrong-value", what, "for example utf-8"))
    return found


def _guards(document: Document) -> list[Fault]:
    text = document.guards.not_before
    try:
        if text is not None:
            date.fromisoformat(text)
    except ValueError:
        fix = "write it as 2009-01-01"
        return [(("guards", "not_before"), "wrong-value", f"{text!r} is not a date", fix)]
    return []


def _members(message: Any, at: Path) -> list[Fault]:
    kind = spec.TYPES[message.type]
    found = [
        (at, "missing-member", f"{kind.name} needs '{member}'", f"add {member}:")
        for member in kind.required
        if getattr(message, member) is None
    ]
    if kind.any_of and all(getattr(message, member) is None for member in kind.any_of):
        what = f"{kind.name} needs one of {', '.join(kind.any_of)}"
        found.append(
            (at, "missing-member", what, f"add {kind.any_of[0]}: with the column of the id")
        )
    if kind.needs_timestamp and message.timestamp is None:
        fix = "add timestamp: with the column of the time, or timestamp: now"
        found.append((at, "missing-member", f"{kind.name} needs 'timestamp'", fix))
    return found


def _plain(message: Any, at: Path) -> list[Fault]:
    """Ids, names and times are one value: a column or a constant."""
    found: list[Fault] = []
    for member in (*spec.IDS, "event", "name", "category", "timestamp"):
        form = getattr(message, member, None)
        if form is None or isinstance(form, str | ColumnForm):
            continue
        if not isinstance(form, ConstForm):
            what = f"{member} must be a column or a constant"
            found.append(((*at, member), "wrong-form", what, "write {column: …} or {const: …}"))
        elif not _is_text(form.const):
            found.append(((*at, member), "wrong-value", f"{member} must be a text", "quote it"))
    return found


def _is_text(const: Any) -> bool:
    """Digits are text, too."""
    return isinstance(const, str | int) and not isinstance(const, bool)


def _constants(message: Any, at: Path, allowed: list[str]) -> list[Fault]:
    """A constant is in every message: where it breaks a rule, every row would."""
    found: list[Fault] = []
    for member in (*spec.IDS, "timestamp"):
        form = getattr(message, member, None)
        if not isinstance(form, ConstForm) or not _is_text(form.const):
            continue  # told already
        text = str(form.const)
        fault = _constant_time(text) if member == "timestamp" else _constant_id(text, allowed)
        if member == "messageId":
            fault = ("the same messageId for all: all but one message would be lost", "map a key")
        if fault is not None:
            found.append(((*at, member), "wrong-value", *fault))
    return found


def _constant_id(text: str, allowed: list[str]) -> tuple[str, str] | None:
    if not text or len(text.encode()) > spec.LIMITS.id:
        return f"an id has 1 to {spec.LIMITS.id} bytes", "correct it"
    if text.startswith(spec.INTERNAL_ID_PREFIX) and spec.INTERNAL_ID_PREFIX not in allowed:
        fix = f'allow it on purpose with guards: {{allow: ["{spec.INTERNAL_ID_PREFIX}"]}}'
        return f"'{text}' names an internal id of the destination", fix
    return None


def _constant_time(text: str) -> tuple[str, str] | None:
    try:
        is_time = datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        is_time = False
    return None if is_time else (f"'{text}' is no time with a zone", "write 2024-02-29T00:00:00Z")


def _reserved(message: Any, at: Path, allowed: list[str]) -> list[Fault]:
    found: list[Fault] = []
    kind = spec.TYPES[message.type]
    names: dict[str, Any] = (getattr(message, kind.body) or {}) if kind.body else {}
    for name in names:
        path = (*at, kind.body, name)
        if not name or len(name.encode()) > spec.LIMITS.name:
            what = f"the name {name[:20]!r} must have 1 to {spec.LIMITS.name} bytes"
            found.append((path, "bad-name", what, "shorten it"))
        if kind.name == "track" and name in spec.OVERRIDES and name not in allowed:
            what = f"the property '{name}' overrides the settings of campaigns"
            found.append((path, "reserved", what, f"rename it, or guards: {{allow: [{name}]}}"))
    if kind.body == "traits" and len(names) > spec.LIMITS.traits:
        what = f"{len(names)} traits are more than {spec.LIMITS.traits}"
        found.append(((*at, "traits"), "too-many", what, "leave some out"))
    event = getattr(message, "event", None)
    if isinstance(event, ConstForm):
        found += _event(event.const, (*at, "event"), allowed)
    return found


def _event(name: Any, path: Path, allowed: list[str]) -> list[Fault]:
    if not isinstance(name, str):
        return []  # told already
    if not name.strip():
        return [(path, "wrong-value", "an event's name must not be blank", "write its name")]
    if name.strip() in spec.COMMANDS and name not in allowed:
        what = f"the event '{name}' is a command that acts on the workspace"
        fix = f'rename it, or allow it on purpose with guards: {{allow: ["{name}"]}}'
        return [(path, "reserved", what, fix)]
    if len(name.encode()) > spec.LIMITS.event:
        return [(path, "bad-name", f"over {spec.LIMITS.event} bytes", "shorten the event's name")]
    return []


def _column(form: Any, path: Path, *, is_time: bool) -> list[Fault]:
    if not isinstance(form, ColumnForm | AggForm):
        return []
    kind = "timestamp" if is_time else form.type
    found = []
    if is_time and form.type not in {None, "timestamp"}:
        found.append(
            ((*path, "type"), "bad-option", "a timestamp cannot have this type", "leave it")
        )
    written = {
        f.alias or n for n, f in type(form).model_fields.items() if n in form.model_fields_set
    }
    for option in sorted(written & NEEDS.keys()):
        if kind not in NEEDS[option] and not (option == "timezone" and kind is None):
            needs = " or ".join(sorted(NEEDS[option]))
            what = f"'{option}' says nothing here"
            found.append(((*path, option), "bad-option", what, f"add type: {needs}"))
    for option in sorted(written & NOT_OF_TIMES) if is_time else ():
        what = f"'{option}' says nothing for a timestamp"
        found.append(((*path, option), "bad-option", what, "leave it out"))
    if "else" in written and form.map is None:
        found.append(((*path, "else"), "bad-option", "'else' needs a map", "add map:"))
    return found + _timezone(form, path) + _pattern(form, path) + _else(form, path)


def _timezone(form: Options, path: Path) -> list[Fault]:
    if form.timezone is None:
        return []
    try:
        ZoneInfo(form.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        what = f"unknown time zone '{form.timezone}'"
        fix = "write a name of the IANA list, such as Europe/Berlin or UTC"
        return [((*path, "timezone"), "wrong-value", what, fix)]
    return []


def _pattern(form: Options, path: Path) -> list[Fault]:
    found: list[Fault] = []
    for text in form.format:
        is_pattern = "%" in text and not re.sub(DIRECTIVES, "", text).count("%")
        if not is_pattern and text not in {"iso8601", *EPOCHS}:
            fix = "use iso8601, unix_s, unix_ms, unix_us or a pattern such as %d.%m.%Y"
            found.append(((*path, "format"), "wrong-value", f"'{text}' is no time format", fix))
    if form.check is not None and form.check != "email" and (fault := _regex(form.check)):
        what = f"check: not a regular expression: {fault}"
        found.append(((*path, "check"), "wrong-value", what, "correct the pattern"))
    return found


def _regex(pattern: str) -> str:
    """Return what is wrong with a pattern: by Python, whose words are better, then the engine."""
    try:
        re.compile(pattern)
    except re.error as fault:
        return str(fault)
    import pyarrow as pa  # noqa: PLC0415  only where there is a pattern
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        pc.match_substring_regex(pa.array(["a"], pa.string()), pattern)
    except pa.ArrowInvalid:
        return "look-around and back references are not known here (RE2)"
    return ""


def _else(form: Options, path: Path) -> list[Fault]:
    other = form.else_
    if other in ("reject", "keep", "omit") or (isinstance(other, dict) and set(other) == {"const"}):
        return []
    fix = "write reject, keep, omit or {const: …}"
    return [((*path, "else"), "wrong-value", f"else: {other!r} is not known", fix)]


def _beside_messages(document: Document) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = [(name, ("key",)) for name in document.key]
    if document.rows is not None:
        found += [(name, ("rows", "group_by")) for name in document.rows.group_by]
        if document.rows.order_within is not None:
            found.append((document.rows.order_within, ("rows", "order_within")))
    if document.watermark is not None:
        found.append((document.watermark.column, ("watermark", "column")))
    return found


def columns_of(document: Document) -> list[tuple[str, Path]]:
    """Every column of the source that is named, with the path of where it is named."""
    found = _beside_messages(document)
    for index, message in enumerate(document.messages):
        for path, form, is_field in forms_of(message, ("messages", index)):
            if is_field or (path[2:] == ("timestamp",) and form == NOW):
                continue
            if isinstance(form, str):
                found.append((form, path))
            elif (key := READS.get(type(form))) is not None and getattr(form, key) is not None:
                found.append((getattr(form, key), (*path, key.rstrip("_"))))
    return found


def named_in(document: Document, index: int) -> set[str]:
    """Return the columns that the value forms of a message name."""
    return {
        name
        for name, path in columns_of(document)
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


READS: Final[dict[type, str]] = {
    ColumnForm: "column",
    AggForm: "column",
    JsonForm: "json_",
    EachForm: "each",
}
"""The forms that read a column, and where they name it."""


def forms_of(message: Any, at: Path) -> Iterator[tuple[Path, Any, bool]]:
    """Every value form of a message: path, form, and whether it names fields inside `each … as`."""
    for member in type(message).model_fields:
        value = getattr(message, member)
        if member == "type" or value is None:
            continue
        if isinstance(value, dict):
            for key, form in value.items():
                yield from _walk(form, (*at, member, key), is_field=False)
        else:
            yield from _walk(value, (*at, member), is_field=False)


def _walk(form: Any, path: Path, *, is_field: bool) -> Iterator[tuple[Path, Any, bool]]:
    yield path, form, is_field
    if isinstance(form, ObjectForm):
        for key, inner in form.object.items():
            yield from _walk(inner, (*path, "object", key), is_field=is_field)
    elif isinstance(form, ArrayForm):
        for index, inner in enumerate(form.array):
            yield from _walk(inner, (*path, "array", index), is_field=is_field)
    elif isinstance(form, EachRowForm):
        yield from _walk_items(form.each_row, (*path, "each_row"), is_field=is_field)
    elif isinstance(form, EachForm):
        yield from _walk_items(form.as_, (*path, "as"), is_field=True)


def _walk_items(forms: Any, at: Path, *, is_field: bool) -> Iterator[tuple[Path, Any, bool]]:
    if isinstance(forms, str):
        yield from _walk(forms, at, is_field=is_field)
        return
    for key, inner in forms.items():
        yield from _walk(inner, (*at, key), is_field=is_field)
