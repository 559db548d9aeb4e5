"""What the models cannot say: required members, options that fit, columns named. No I/O."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.lints import LintCode
from backfill.mapping.dialect import dialect_faults
from backfill.mapping.forms import ConstForm, Options, StarForm
from backfill.mapping.groups import group_faults
from backfill.mapping.literals import is_format, is_zone, no_format, no_zone, regex_fault
from backfill.mapping.nightly import nightly_faults
from backfill.mapping.reads import forms_of
from backfill.mapping.star import star_faults
from backfill.mapping.uri import AddressError, address_of

if TYPE_CHECKING:
    from backfill.mapping.document import Document
    from backfill.mapping.strict_yaml import Path

Fault = tuple["Path", LintCode, str, str]
"""Path, code, what, fix."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TIMES: Final = {"timestamp", "date"}
NOT_OF_TIMES: Final = {"as", "check", "map", "else", "split", "true", "false", "blank"}
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
        found.append((("name",), LintCode.BAD_NAME, f"{name!r} cannot name a folder", fix))
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
    for at, path in enumerate(document.source.path):
        try:
            address_of(path)
        except AddressError as fault:
            found.append((("source", "path", at), LintCode.WRONG_VALUE, fault.what, fault.fix))
    if not any(document.source.path) or "" in document.source.path:
        found.append((("source", "path"), LintCode.MISSING_KEY, "no path is given", "name a file"))
    return [*found, *dialect_faults(document.source.csv)]


def _guards(document: Document) -> list[Fault]:
    text = document.guards.not_before
    try:
        if text is not None:
            date.fromisoformat(text)
    except ValueError:
        fix = "write it as 2009-01-01"
        return [(("guards", "not_before"), LintCode.WRONG_VALUE, f"{text!r} is not a date", fix)]
    return []


def _members(message: Any, at: Path) -> list[Fault]:
    kind = spec.TYPES[message.type]
    found = [
        (at, LintCode.MISSING_MEMBER, f"{kind.name} needs '{member}'", f"add {member}:")
        for member in kind.required
        if getattr(message, member) is None
    ]
    if kind.any_of and all(getattr(message, member) is None for member in kind.any_of):
        what = f"{kind.name} needs one of {', '.join(kind.any_of)}"
        found.append(
            (at, LintCode.MISSING_MEMBER, what, f"add {kind.any_of[0]}: with the column of the id")
        )
    if kind.needs_timestamp and message.timestamp is None:
        fix = "add timestamp: with the column of the time, or timestamp: now"
        found.append((at, LintCode.MISSING_MEMBER, f"{kind.name} needs 'timestamp'", fix))
    return found


def _plain(message: Any, at: Path) -> list[Fault]:
    """Ids, names and times are one value: of a column, computed, or a constant."""
    found: list[Fault] = []
    for member in (*spec.IDS, "event", "name", "category", "timestamp"):
        form = getattr(message, member, None)
        if isinstance(form, Options) and member != "timestamp":
            found += _one_value(form, member, (*at, member))
        if form is None or isinstance(form, str | Options | StarForm):
            continue
        if not isinstance(form, ConstForm):
            what = f"{member} must be one value: a column, an expression or a constant"
            fix = "write {column: …}, {expr: …} or {const: …}"
            found.append(((*at, member), LintCode.WRONG_FORM, what, fix))
        elif not _is_text(form.const):
            fix = 'write {const: "…"} with a text, or the name of a column'
            found.append(((*at, member), LintCode.WRONG_VALUE, f"{member} must be a text", fix))
    return found


def _one_value(form: Options, member: str, path: Path) -> list[Fault]:
    """No option may make a list or an object of an id or a name."""
    other = form.else_.get("const") if isinstance(form.else_, dict) else None
    said = {
        "split": form.split is not None,
        "type": form.type == "json",
        "default": isinstance(form.default, list | dict),
        "map": any(isinstance(item, list | dict) for item in (form.map or {}).values()),
        "else": isinstance(other, list | dict),
    }
    what = f"{member} is one text, and this makes a list or an object of it"
    plain = "use texts and numbers"
    return [
        ((*path, option), LintCode.BAD_OPTION, what, f"leave '{option}' out, or {plain}")
        for option, is_nested in said.items()
        if is_nested
    ]


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
            found.append(((*at, member), LintCode.WRONG_VALUE, *fault))
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
            found.append((path, LintCode.BAD_NAME, what, "shorten it" if name else "write a name"))
        if kind.name == "track" and name in spec.OVERRIDES and name not in allowed:
            what = f"the property '{name}' overrides the settings of campaigns"
            fix = f"rename it, or guards: {{allow: [{name}]}}"
            found.append((path, LintCode.RESERVED, what, fix))
    if kind.body == "traits" and len(names) > spec.LIMITS.traits:
        what = f"{len(names)} traits are more than {spec.LIMITS.traits}"
        found.append(((*at, "traits"), LintCode.TOO_MANY, what, "leave some out"))
    event = getattr(message, "event", None)
    if isinstance(event, ConstForm):
        found += _event(event.const, (*at, "event"), allowed)
    return found


def _event(name: Any, path: Path, allowed: list[str]) -> list[Fault]:
    if not isinstance(name, str):
        return []  # told already
    if not name.strip():
        return [(path, LintCode.WRONG_VALUE, "an event's name must not be blank", "write its name")]
    if name.strip() in spec.COMMANDS and name not in allowed:
        what = f"the event '{name}' is a command that acts on the workspace"
        fix = f'rename it, or allow it on purpose with guards: {{allow: ["{name}"]}}'
        return [(path, LintCode.RESERVED, what, fix)]
    if len(name.encode()) > spec.LIMITS.event:
        what = f"the event's name has {len(name.encode())} bytes, more than {spec.LIMITS.event}"
        return [(path, LintCode.BAD_NAME, what, "shorten it")]
    return []


def _column(form: Any, path: Path, *, is_time: bool) -> list[Fault]:
    if not isinstance(form, Options):
        return []
    kind = "timestamp" if is_time else form.type
    found = []
    if is_time and form.type not in {None, "timestamp"}:
        what = "a timestamp has no other type"
        found.append(((*path, "type"), LintCode.BAD_OPTION, what, "leave type: out"))
    written = {
        f.alias or n for n, f in type(form).model_fields.items() if n in form.model_fields_set
    }
    for option in sorted(written & NEEDS.keys()):
        if kind not in NEEDS[option] and not (option == "timezone" and kind is None):
            needs = " or ".join(sorted(NEEDS[option]))
            what = f"'{option}' says nothing " + (
                f"with type: {kind}" if kind else "without a type"
            )
            fix = f"use type: {needs}, or leave '{option}' out" if kind else f"add type: {needs}"
            found.append(((*path, option), LintCode.BAD_OPTION, what, fix))
    for option in sorted(written & NOT_OF_TIMES) if is_time else ():
        what = f"'{option}' says nothing for a timestamp"
        found.append(((*path, option), LintCode.BAD_OPTION, what, "leave it out"))
    if "else" in written and form.map is None:
        found.append(((*path, "else"), LintCode.BAD_OPTION, "'else' needs a map", "add map:"))
    return found + _timezone(form, path) + _pattern(form, path) + _else(form, path)


def _timezone(form: Options, path: Path) -> list[Fault]:
    if form.timezone is None or is_zone(form.timezone):
        return []
    return [((*path, "timezone"), LintCode.WRONG_VALUE, *no_zone(form.timezone))]


def _pattern(form: Options, path: Path) -> list[Fault]:
    found: list[Fault] = [
        ((*path, "format"), LintCode.WRONG_VALUE, *no_format(text))
        for text in form.format
        if not is_format(text)
    ]
    if form.check is not None and form.check != "email" and (fault := regex_fault(form.check)):
        what = f"check: not a regular expression: {fault}"
        found.append(((*path, "check"), LintCode.WRONG_VALUE, what, "correct the pattern"))
    return found


def _else(form: Options, path: Path) -> list[Fault]:
    other = form.else_
    if other in ("reject", "keep", "omit") or (isinstance(other, dict) and set(other) == {"const"}):
        return []
    fix = "write reject, keep, omit or {const: …}"
    return [((*path, "else"), LintCode.WRONG_VALUE, f"else: {other!r} is not known", fix)]
