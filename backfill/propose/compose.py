"""Roles and findings → one proposed message: its type, ids, time and name, and the key. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.propose import names
from backfill.propose.body import fill
from backfill.propose.proposal import Line, NoIdError, Proposal, UndecidedError, line_of
from backfill.propose.roles import is_event_time, kind_of, roles_of
from backfill.propose.values import as_moment

if TYPE_CHECKING:
    from backfill.propose.roles import Roles
    from backfill.propose.values import Finding

FLOAT_ID: Final = r"^[+-]?[0-9]+\.0+$"
WHOLE: Final = r"^-?[0-9]+(\.0*)?$"


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
    fill(made, rest, roles)
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
    given = [member for member, one in found.items() if one is not None]
    rules = spec.TYPES[made.type]
    for member, one in found.items():
        if one is not None:
            is_needed = member in rules.required or given == [member]
            made.members[member] = _id_line(one, roles, is_needed=is_needed)
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


def _id_line(one: Finding, roles: Roles, *, is_needed: bool) -> Line:
    column = one.column
    known = [roles.own, roles.person, roles.old, roles.anonymous, roles.group, roles.email]
    doubts = [] if one in known else ["no column is named as an id; this one is a guess"]
    if one is roles.email:
        doubts.append("an address may change, an id must not")
    if column.blank and is_needed:
        doubts.append(f"{column.blank:,} of {column.rows:,} rows have none: they would be rejected")
    form: Any = one.name
    why = f"{column.distinct:,} different in {column.filled:,} rows"
    if column.is_unique:
        why = f"{column.distinct:,} values, no two the same"
    if column.all_match(FLOAT_ID) or (column.kind == "number" and column.all_match(WHOLE)):
        form = {"column": one.name, "type": "integer"}
        why += "; floats such as 17850.0, sent as 17850"
    return Line(form, why, "; ".join(doubts), one.name)


def _time_of(made: Proposal, roles: Roles) -> list[Finding]:
    """Put the time in. Raises UndecidedError where day and month cannot be told apart."""
    one = roles.time
    if one is None:
        if spec.TYPES[made.type].needs_timestamp:
            doubt = "no column is a time, and these are no events of today; name a column"
            made.members["timestamp"] = Line("now", "at sending time", doubt)
        return []
    if one.choices:
        raise UndecidedError(one)
    line = line_of(as_moment(one))
    options = {name: value for name, value in line.form.items() if name != "type"}
    form = options if len(options) > 1 else one.name
    blank = one.column.blank
    lost = f"{blank:,} rows have none: they would be rejected" if blank else ""
    other = "" if is_event_time(one) else "by its name it is not when it happened"
    doubt = "; ".join(part for part in (line.doubt, other, lost) if part)
    made.members["timestamp"] = replace(line, form=form, doubt=doubt)
    return [one]


def _names_of(made: Proposal, roles: Roles, stem: str) -> list[Finding]:
    """Put the event's (or page's, or screen's) name in."""
    if made.type == "track":
        if roles.event is None:
            doubt = "named after the file: write what your campaigns call it" + _lines_of(roles)
            name = names.event_of(stem)[: spec.LIMITS.event]
            name = f"{name} (imported)" if name in spec.COMMANDS else name
            made.members["event"] = Line({"const": name}, "", doubt)
            return []
        acts = sorted(set(roles.event.column.texts.to_pylist()) & spec.COMMANDS)
        doubt = f"{', '.join(acts)} would act on the workspace: rejected" if acts else ""
        made.members["event"] = replace(line_of(roles.event), doubt=doubt)
        return [roles.event]
    named = {"page": roles.title, "screen": roles.screen or roles.title}.get(made.type)
    if named is not None:
        made.members["name"] = line_of(named)
        return [named] if made.type == "screen" else []
    return []


def _lines_of(roles: Roles) -> str:
    """Say that rows are parts of a thing, where its id comes again; '' where none does."""
    own = roles.own
    if own is None or own is roles.person or own.column.distinct == own.column.filled:
        return ""
    told = f"{own.name} has {own.column.distinct:,} different in {own.column.filled:,} rows"
    group = f"rows: {{group_by: [{own.name}]}} and each_row"
    return f"; one event a row, but {told}: for one event each, {group}"


def _key(made: Proposal, roles: Roles, findings: list[Finding]) -> None:
    """The identity of a row: the id of the rows, else another unique one, else none."""
    first = "previousId" if made.type == "alias" else "userId"
    ids = {member: line.column for member, line in made.members.items() if line.column}
    by_name = {one.name: one for one in findings}
    if made.type == "group" and "userId" in ids:
        pair = [ids["groupId"], ids["userId"]]
        columns = [by_name[name].column for name in pair]
        is_filled = not any(column.blank for column in columns)  # a blank key rejects its row
        if is_filled and any(column.is_unique for column in columns):
            made.key, made.key_why = pair, "one row a tie of a person and an object"
            return
    candidates = [roles.own, by_name.get(ids.get(first, "")), by_name.get(ids.get("groupId", ""))]
    usable = (one for one in candidates if one is not None and _may_be_key(one))
    if (one := next(usable, None)) is not None:
        made.key, made.key_why = [one.name], "no two rows have the same"
    elif (own := roles.own) is not None:
        found = own.column
        made.key_why = f"{own.name} has {found.distinct:,} different in {found.rows:,} rows"


def _may_be_key(one: Finding) -> bool:
    """A float is no key: its digits cannot be trusted."""
    return one.column.is_unique and one.column.kind != "number"
