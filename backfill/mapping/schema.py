"""The JSON Schema of the language, for editors: that of the models, with words, and a bit stricter.

Only keywords that draft 7 and draft 2020-12 read the same, since editors know the older one: one
schema for both. It refuses what the models refuse, and members that a type of message must have;
what one part wants of another is for the loader to say.
"""

from __future__ import annotations

import re
from typing import Any, Final

from backfill import spec
from backfill.mapping.document import MESSAGES, Document
from backfill.mapping.hover import FORMS, HOVER, ONE

VALUES: Final = (
    *("ColumnForm", "ExprForm", "ConstForm", "ObjectForm", "ArrayForm", "EachForm"),
    *("JsonForm", "EachRowForm", "AggForm"),
)
SINGLE: Final = ("ColumnForm", "ExprForm", "AggForm", "ConstForm")
"""What an id, a name or a time may be."""

SINGLES: Final = {*spec.IDS, "event", "name", "category", "timestamp"}
STARRED: Final = {"traits", "properties", "context", "object"}
FILLED: Final = {"path", "group_by"}
"""Lists that must have something in them."""

NULL: Final = {"type": "null"}
Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the JSON Schema of the language (draft 2020-12, in words that draft 7 knows too)."""
    made = Document.model_json_schema(by_alias=True)
    parts: Schema = made.pop("$defs")
    defs = {name: _part(name, part) for name, part in sorted(parts.items())}
    for name, model in MESSAGES.items():
        defs[model.__name__] |= _needs(spec.TYPES[name])
    defs["Value"] = {"description": FORMS, **_any_of(VALUES)}
    defs["Single"] = {"description": ONE, **_any_of(SINGLE)}
    defs["Otherwise"] = {
        "anyOf": [{"enum": ["reject", "keep", "omit"]}, {"$ref": "#/$defs/ConstForm"}]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_part("Document", made),
        "title": "A mapping of backfill",
        "$defs": defs,
    }


def _any_of(names: tuple[str, ...]) -> Schema:
    return {"anyOf": [{"type": "string"}, *({"$ref": f"#/$defs/{name}"} for name in names)]}


def _part(name: str, part: Schema) -> Schema:
    """Return the schema of one model, with words for each key."""
    keys = {}
    for key, given in part["properties"].items():
        found = _key(key, given)
        words = HOVER.get(name, {}).get(key)  # all have words by a test; without, it works too
        keys[key] = {**found, **({"description": words} if words else {})}
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).removesuffix(" Spec").lower()
    return {**part, "title": title, "properties": keys}


def _key(key: str, given: Schema) -> Schema:
    is_optional = NULL in given.get("anyOf", ())
    if key in SINGLES and _has_forms(given):
        return _or_null({"$ref": "#/$defs/Single"}, is_optional=is_optional)
    if key == "else":
        return {"$ref": "#/$defs/Otherwise"}
    found: Schema = _with_refs(given, is_starred=key in STARRED)
    if key in FILLED:
        found["anyOf"] = [
            one | ({"minItems": 1} if one["type"] == "array" else {}) for one in found["anyOf"]
        ]
    left_out = {"title", *(["default"] if _is_void(found.get("default")) else [])}
    return {name: one for name, one in found.items() if name not in left_out}


def _is_void(default: Any) -> bool:
    """Whether an editor should not write the default: nothing, or all of a part."""
    return default is None or isinstance(default, dict)


def _or_null(found: Schema, *, is_optional: bool) -> Schema:
    return {"anyOf": [found, NULL]} if is_optional else found


def _has_forms(given: Any) -> bool:
    if isinstance(given, list):
        return any(_has_forms(one) for one in given)
    if isinstance(given, dict):
        return "$ref" in given or any(_has_forms(one) for one in given.values())
    return False


def _with_refs(given: Any, *, is_starred: bool) -> Any:
    """Name the union of the value forms instead of repeating it, and say where `"*"` may stand."""
    if isinstance(given, list):
        return [_with_refs(one, is_starred=is_starred) for one in given]
    if not isinstance(given, dict):
        return given
    if {"$ref": "#/$defs/ConstForm"} in given.get("oneOf", ()):
        return {"$ref": "#/$defs/Value"}
    found = {key: _with_refs(one, is_starred=is_starred) for key, one in given.items()}
    if found.get("additionalProperties") == {"$ref": "#/$defs/Value"}:
        star = {"$ref": "#/$defs/StarForm"} if is_starred else False
        found["properties"] = {"*": star}
    return found


def _needs(kind: spec.MessageType) -> Schema:
    """Return which members a message must have."""
    members = [*kind.required, *(["timestamp"] if kind.needs_timestamp else [])]
    found: Schema = {"required": ["type", *members]}
    if kind.any_of:
        found["anyOf"] = [{"required": [member]} for member in kind.any_of]
    return found
