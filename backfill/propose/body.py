"""What a message carries beside its ids: traits or properties, context, and what is left out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backfill import spec
from backfill.propose import names
from backfill.propose.proposal import LeftOut, Line, line_of
from backfill.propose.values import ZONE_WORDS, as_day, as_moment

if TYPE_CHECKING:
    from backfill.propose.proposal import Proposal
    from backfill.propose.roles import Roles
    from backfill.propose.values import Finding


def fill(made: Proposal, rest: list[Finding], roles: Roles) -> None:
    """Put everything else into the body, or say why it is left out."""
    for one in rest:
        target = names.CONTEXT.get(names.joined(one.name))
        if one.is_out:
            lines = (f"{_quoted(one.name)}: {_quoted(one.name)}",) if one.name.strip() else ()
            made.left_out.append(LeftOut(one.name, one.why, lines))
        elif not spec.TYPES[made.type].body:
            made.left_out.append(LeftOut(one.name, f"{made.type} has no members for it"))
        elif target and made.type in {"page", "screen", "track"} and target not in made.context:
            made.context[target] = line_of(one)
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
        name = f"{roles.about[-1]}_id"
    return name if name not in made.body else one.name


def _value(one: Finding, *, is_since: bool) -> Line:
    if one.kind == "json":
        return replace(line_of(one), form={"json": one.name})
    if one.kind == "list" and (items := _items(one)):
        form = {"each": one.name, "as": items}
        is_assumed = any(isinstance(item, dict) and "timezone" in item for item in items.values())
        doubt = ZONE_WORDS if is_assumed else ""
        return Line(form, "a list of structs: an array of objects", doubt, one.name)
    if one.is_time:
        is_moment = is_since or one.kind == "timestamp"
        return line_of(as_moment(one) if is_moment else as_day(one))
    if one.kind == "integer" and not one.options and _is_code_name(one.name):
        return replace(line_of(one), form={"column": one.name, "type": "text"}, why="an id: text")
    return line_of(one)


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


def _flow(form: Any) -> str:
    """A form on one line, as YAML flow."""
    if not isinstance(form, dict):
        return _quoted(form)
    return "{" + ", ".join(f"{name}: {_quoted(value)}" for name, value in form.items()) + "}"


def _quoted(value: object) -> str:
    text = str(value)
    return text if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", text) else json.dumps(text)
