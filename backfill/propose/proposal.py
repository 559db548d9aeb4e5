"""Roles and findings → one proposed message: its members, its body, and what is left out. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from backfill import spec
from backfill.propose import names
from backfill.propose.roles import kind_of, roles_of
from backfill.propose.values import as_day, as_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.propose.roles import Roles
    from backfill.propose.values import Finding

FLOAT_ID: Final = r"^[+-]?[0-9]+\.0+$"


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


def propose(
    findings: list[Finding], stem: str, kind: str | None = None, person: str | None = None
) -> Proposal:
    """Propose a message for a file. kind: the type of message, where a person said it.

    stem: the file's name without its ending. person: the column that is known to name people.
    Raises NoIdError and UndecidedError.
    """
    roles = roles_of(findings, stem, person)
    found, why = (kind, "as you said") if kind else kind_of(roles)
    made = Proposal(found, why)
    used = _ids(made, roles, findings)
    if made.type not in {"identify", "group"}:
        used += _time_of(made, roles)
    used += _names_of(made, roles, stem)
    rest = [one for one in findings if one not in used]
    _fill(made, rest, roles)
    _key(made, roles, findings)
    return made


def _ids(made: Proposal, roles: Roles, findings: list[Finding]) -> list[Finding]:
    """Put the ids in, and return the columns that are said by them alone."""
    if made.type == "alias":
        found = {"userId": roles.person, "previousId": roles.old}
        if None in found.values():
            raise NoIdError
    elif made.type == "group":
        owner = roles.own if roles.is_about(names.GROUP | names.THING) else None
        owner = owner or roles.group or roles.own or _some_id(findings)
        person = roles.person if roles.person is not owner else None
        found = {"groupId": owner, "userId": person}
    else:
        found = _person(made, roles, findings)
    for member, one in found.items():
        if one is not None:
            made.members[member] = _id_line(one, roles)
    return [one for one in found.values() if one is not None and one.kind != "email"]


def _person(made: Proposal, roles: Roles, findings: list[Finding]) -> dict[str, Finding | None]:
    """The ids of a person: their own where rows are people, else the one that rows refer to."""
    is_people = made.type == "identify"
    own = roles.own if is_people and (roles.is_about(names.PERSON) or not roles.person) else None
    who = own or roles.person
    if who is None and roles.anonymous is not None:
        return {"anonymousId": roles.anonymous}
    if who is None and roles.own is not None and not roles.own.column.is_unique:
        who = roles.own
    if who is None and not roles.email and made.type == "track" and roles.group is not None:
        return {"groupId": roles.group}
    return {"userId": who or roles.email or _some_id(findings), "anonymousId": roles.anonymous}


def _some_id(findings: list[Finding]) -> Finding:
    """Where no name tells: a column whose values all differ, else the text of most values."""
    usable = [one for one in findings if one.kind in {"text", "code", "integer"}]
    unique = [one for one in usable if one.column.is_unique]
    texts = [one for one in usable if one.kind in {"text", "code"} and not one.column.blank]
    has_time = any(one.is_time for one in findings)
    if not unique and not (texts and has_time):
        raise NoIdError
    return unique[0] if unique else max(texts, key=lambda one: one.column.distinct)


def _id_line(one: Finding, roles: Roles) -> Line:
    column = one.column
    known = [roles.own, roles.person, roles.old, roles.anonymous, roles.group, roles.email]
    doubts = [] if one in known else ["no column is named as an id; this one is a guess"]
    if one is roles.email:
        doubts.append("an address may change, an id must not")
    if column.blank:
        doubts.append(f"{column.blank:,} of {column.rows:,} rows have none: they would be rejected")
    form: Any = one.name
    why = f"{column.distinct:,} different in {column.filled:,} rows"
    if column.is_unique:
        why = f"{column.distinct:,} values, no two the same"
    if column.all_match(FLOAT_ID):
        form = {"column": one.name, "type": "integer"}
        why += "; written as 17850.0, sent as 17850"
    return Line(form, why, "; ".join(doubts), one.name)


def _time_of(made: Proposal, roles: Roles) -> list[Finding]:
    """Put the time in. Raises UndecidedError where day and month cannot be told apart."""
    one = roles.time
    if one is None:
        if spec.TYPES[made.type].needs_timestamp:
            doubt = "no column is a time: all would be held back as recent; name one"
            made.members["timestamp"] = Line("now", "at sending time", doubt)
        return []
    if one.choices:
        raise UndecidedError(one)
    line = _line(as_moment(one))
    options = {name: value for name, value in line.form.items() if name != "type"}
    form = options if len(options) > 1 else one.name
    blank = one.column.blank
    lost = f"{blank:,} rows have none: they would be rejected" if blank else ""
    doubt = "; ".join(part for part in (line.doubt, lost) if part)
    made.members["timestamp"] = replace(line, form=form, doubt=doubt)
    return [one]


def _names_of(made: Proposal, roles: Roles, stem: str) -> list[Finding]:
    """Put the event's (or page's, or screen's) name in."""
    if made.type == "track":
        if roles.event is None:
            doubt = "named after the file: write what your campaigns call it"
            name = names.event_of(stem)[: spec.LIMITS.event]
            name = f"{name} (imported)" if name in spec.COMMANDS else name
            made.members["event"] = Line({"const": name}, "", doubt)
            return []
        acts = sorted(set(roles.event.column.texts.to_pylist()) & spec.COMMANDS)
        doubt = f"{', '.join(acts)} would act on the workspace: rejected" if acts else ""
        made.members["event"] = replace(_line(roles.event), doubt=doubt)
        return [roles.event]
    named = {"page": roles.title, "screen": roles.screen or roles.title}.get(made.type)
    if named is not None:
        made.members["name"] = _line(named)
        return [named] if made.type == "screen" else []
    return []


def _line(one: Finding) -> Line:
    """A finding as a member: the bare name where nothing more is to be said."""
    form: Any = {"column": one.name, **one.options} if one.options else one.name
    return Line(form, one.why, one.doubt, one.name)


def _fill(made: Proposal, rest: list[Finding], roles: Roles) -> None:
    """Put everything else into the body, or say why it is left out."""
    for one in rest:
        target = names.CONTEXT.get(names.joined(one.name))
        if one.is_out:
            lines = (f"{_quoted(one.name)}: {_quoted(one.name)}",) if one.name.strip() else ()
            made.left_out.append(LeftOut(one.name, one.why, lines))
        elif not spec.TYPES[made.type].body:
            made.left_out.append(LeftOut(one.name, f"{made.type} has no members for it"))
        elif target and made.type in {"page", "screen", "track"} and target not in made.context:
            made.context[target] = _line(one)
        else:
            _add(made, one, roles)
    if made.type == "group":
        doubt = "the number of the object type in your workspace"
        line = Line({"const": "1"}, "", doubt)
        made.body = {"objectTypeId": line, **made.body}


def _add(made: Proposal, one: Finding, roles: Roles) -> None:
    name = _target(made, one, roles)
    if one.choices:
        lines = tuple(f"{_quoted(name)}: {_flow({'column': one.name, **c})}" for c in one.choices)
        why = f"{one.why}; take one of the lines and delete the other"
        if one.is_time:
            made.left_out.append(LeftOut(one.name, why, lines))
            return
        made.left_out.append(LeftOut(one.name, f"as a number: {why}", lines))
    if made.type == "track" and name in spec.OVERRIDES:
        why = "an event's property of this name overrides the settings of campaigns; rename it"
        made.left_out.append(LeftOut(one.name, why, (f"event_{name}: {_flow(one.name)}",)))
    elif made.type in {"identify", "group"} and len(made.body) >= spec.LIMITS.traits - 1:
        made.left_out.append(LeftOut(one.name, f"more than {spec.LIMITS.traits} traits"))
    else:
        made.body[name] = _value(one, is_since=name == "createdAt")


def _target(made: Proposal, one: Finding, roles: Roles) -> str:
    """The member's name: the column's, but for the few that the destination knows by another."""
    name = one.name.strip()
    if made.type == "identify" and one is roles.email:
        name = "email"
    elif made.type == "identify" and one.is_time and names.joined(name) in names.SINCE:
        name = "createdAt"
    elif one is roles.own and names.joined(name) in names.OWN and roles.about:
        name = f"{roles.about[0]}_id"
    return name if name not in made.body else one.name


def _value(one: Finding, *, is_since: bool) -> Line:
    if one.kind == "json":
        return replace(_line(one), form={"json": one.name})
    if one.kind == "list" and (items := _items(one)):
        form = {"each": one.name, "as": items}
        return Line(form, "a list of structs: an array of objects", column=one.name)
    if one.is_time:
        is_moment = is_since or one.kind == "timestamp"
        return _line(as_moment(one) if is_moment else as_day(one))
    if one.kind == "integer" and not one.options and _is_code_name(one.name):
        return replace(_line(one), form={"column": one.name, "type": "text"}, why="an id: text")
    return _line(one)


def _is_code_name(name: str) -> bool:
    return names.is_id_like(name) or names.has_word(name, names.CODES)


def _items(one: Finding) -> dict[str, Any]:
    """The forms of the fields of a list of structs; {} where the items are no structs."""
    kind = one.column.type
    if kind is None or not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return {}
    return {about.name: _item(about) for about in kind.value_type}


def _item(about: pa.Field) -> Any:
    if pa.types.is_timestamp(about.type) and not about.type.tz:
        return {"column": about.name, "type": "timestamp", "timezone": "UTC"}
    if pa.types.is_integer(about.type) and _is_code_name(about.name):
        return {"column": about.name, "type": "text"}
    return about.name


def _key(made: Proposal, roles: Roles, findings: list[Finding]) -> None:
    """The identity of a row: the id of the rows, else another unique one, else none."""
    first = "previousId" if made.type == "alias" else "userId"
    ids = {member: line.column for member, line in made.members.items() if line.column}
    by_name = {one.name: one for one in findings}
    if made.type == "group" and "userId" in ids:
        pair = [ids["groupId"], ids["userId"]]
        if any(by_name[name].column.is_unique for name in pair):
            made.key, made.key_why = pair, "one row a tie of a person and an object"
            return
    candidates = [roles.own, by_name.get(ids.get(first, "")), by_name.get(ids.get("groupId", ""))]
    usable = (one for one in candidates if one is not None and _may_be_key(one))
    if (one := next(usable, None)) is not None:
        made.key, made.key_why = [one.name], "no two rows have the same"


def _may_be_key(one: Finding) -> bool:
    """A float is no key: its digits cannot be trusted."""
    return one.column.is_unique and one.column.kind != "number"


def _flow(form: Any) -> str:
    """A form on one line, as YAML flow."""
    if not isinstance(form, dict):
        return _quoted(form)
    return "{" + ", ".join(f"{name}: {_quoted(value)}" for name, value in form.items()) + "}"


def _quoted(value: object) -> str:
    text = str(value)
    return text if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", text) else json.dumps(text)


def forms(made: Proposal) -> Iterator[tuple[str, Line]]:
    """Every member with its line, in the order of writing."""
    yield from made.members.items()
    yield from made.context.items()
    yield from made.body.items()
