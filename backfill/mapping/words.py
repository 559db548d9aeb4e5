"""Faults of the models → lints in our words, with the place and the nearest name. No I/O."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.errors import Lint
from backfill.mapping.document import MODELS, Document, keys_of
from backfill.mapping.forms import FORMS, TAG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from backfill.mapping.strict_yaml import Path, Yaml

LATER: Final[set[str]] = set()
"""Words of the language that this version does not speak yet."""

TYPES: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table of keys and values",
    "model_type": "a table of keys and values",
    "model_attributes_type": "a table of keys and values",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the whole list where nothing is near."""
    names = sorted(known)
    lower = {name.lower(): name for name in names}
    if close := get_close_matches(word.lower(), lower, n=1, cutoff=0.6):
        return f"did you mean '{lower[close[0]]}'?"
    return f"known here: {', '.join(names)}" if names else ""


def lint_of(fault: ErrorDetails, yaml: Yaml) -> Lint:
    """One fault of the models as a lint."""
    path = path_of(fault["loc"])
    code, what, fix = _words(fault, path)
    return Lint(yaml.place(path), code, what, fix)


def path_of(loc: tuple[int | str, ...]) -> Path:
    """The location as keys of the file: the tags of the unions are none."""
    return tuple(part for part in loc if not (isinstance(part, str) and part.startswith(TAG)))


def _words(fault: ErrorDetails, path: Path) -> tuple[str, str, str]:
    kind, found, last = fault["type"], fault["input"], str(path[-1]) if path else "the file"
    if kind == "extra_forbidden":
        return _unknown_key(fault["loc"], last)
    if kind == "missing":
        return "missing-key", f"'{last}' is missing", f"add {last}:"
    if kind.startswith("union_tag"):
        is_message = len(path) == 2 and path[0] == "messages"  # noqa: PLR2004  messages: [n]
        return _no_type(found) if is_message else _no_form(found, last)
    if kind == "literal_error":
        expected = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        what = f"{last}: {found!r} is none of {', '.join(expected)}"
        return "wrong-value", what, nearest(str(found), expected)
    if kind in TYPES:
        return "wrong-type", f"{last}: {_short(found)} is not {TYPES[kind]}", f"write {TYPES[kind]}"
    limits = ", ".join(
        f"{k} {v}" for k, v in fault.get("ctx", {}).items() if k[-2:] in {"gt", "ge", "le", "th"}
    )
    return "wrong-value", f"{last}: {_short(found)} is out of bounds", f"allowed: {limits}"


def _unknown_key(loc: tuple[int | str, ...], key: str) -> tuple[str, str, str]:
    if key in LATER:
        return "not-yet", f"'{key}' is not in this version", "leave it out for now"
    around = next((str(p) for p in reversed(loc[:-1]) if isinstance(p, str)), "").removeprefix(TAG)
    known = keys_of(MODELS.get(around, Document))
    if around in spec.TYPES:
        if any(key in t.members for t in spec.TYPES.values()):
            return "wrong-member", f"'{key}' is not a member of {around}", nearest(key, known)
        return "unknown-key", f"unknown key '{key}' in a {around} message", nearest(key, known)
    return "unknown-key", f"unknown key '{key}'", nearest(key, known)


def _no_type(found: Any) -> tuple[str, str, str]:
    if not isinstance(found, dict):
        what = f"{_short(found)} is not a message"
        return "wrong-type", what, "write type: and the members of the message"
    if "type" not in found:
        return "missing-key", "'type' is missing", nearest("", spec.TYPES)
    kind = found["type"]
    return "wrong-value", f"{_short(kind)} is no type of message", nearest(str(kind), spec.TYPES)


def _no_form(found: Any, last: str) -> tuple[str, str, str]:
    if isinstance(found, dict):
        if later := LATER.intersection(found):
            return "not-yet", f"'{later.pop()}' is not in this version", "leave it out for now"
        keys = ", ".join(f"'{key}'" for key in found) or "nothing"
        hint = nearest(next(iter(found), ""), FORMS)
        return "wrong-form", f"{last}: no value form has {keys}", hint
    fix = f"a fixed value is written {{const: {_short(found)}}}"
    return "wrong-form", f"{last}: {_short(found)} is neither a column nor a value form", fix


def _short(found: Any) -> str:
    text = (
        "null" if found is None else str(found).lower() if isinstance(found, bool) else repr(found)
    )
    return text if len(text) <= 40 else text[:39] + "…"  # noqa: PLR2004  one screen line
