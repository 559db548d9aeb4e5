"""Faults of the models → lints in our words, with the place and the nearest name. No I/O."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.errors import Lint
from backfill.lints import LintCode
from backfill.mapping.document import MODELS, Document, keys_of
from backfill.mapping.forms import FORMS, TAG, Options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from backfill.mapping.strict_yaml import Path, Yaml

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
ONE_OR_MANY: Final = {
    *("after", "blank", "columns", "except", "false", "format", "group_by", "key", "path", "true")
}
"""The keys that take one text where they take a list of them."""

EXAMPLES: Final = {
    "as": "{name: field} for objects, or the name of a field for scalars",
    "columns": '"prop_*"',
    "context": "{ip: ip_address}, members with their columns",
    "each_row": "{name: column} for objects, or the name of a column for scalars",
    "expr": '"lower(email)", an expression in quotes',
    "group_by": "[order_id], the columns that tell which rows go together",
    "header": "true, or the names of the columns",
    "messages": "and below it - type: identify (or another type) with its members",
    "path": "people.csv (a file, a list of files, a folder or a glob)",
    "properties": "{total: total}, members with their columns",
    "rows": "{group_by: [order_id]}",
    "source": "{path: people.csv}",
    "traits": "{email: email}, members with their columns",
    "version": "1",
    "when": "\"status == 'paid'\", an expression in quotes",
    "where": "\"status == 'paid'\", an expression in quotes",
}
"""What a part looks like that is missing, or is something else."""


def nearest(word: str, known: Iterable[str], *, is_code: bool = False) -> str:
    """`did you mean 'x'?`, or the whole list where nothing is near.

    is_code: of columns in an expression, where a name with a blank is `col("a b")`.
    """
    names = sorted(known)
    lower = {name.lower(): name for name in names}
    if close := get_close_matches(word.lower(), lower, n=1, cutoff=0.6):
        found = lower[close[0]]
        is_call = is_code and not found.isidentifier()
        shown = f"col({json.dumps(found, ensure_ascii=False)})" if is_call else f"'{found}'"
        return f"did you mean {shown}?"
    return f"known here: {', '.join(names)}" if names else ""


def lint_of(fault: ErrorDetails, yaml: Yaml) -> Lint:
    """One fault of the models as a lint."""
    path = path_of(fault["loc"])
    code, what, fix = _words(fault, path)
    return Lint(yaml.place(path), code, what, fix)


def path_of(loc: tuple[int | str, ...]) -> Path:
    """The location as keys of the file: the tags of the unions are none."""
    return tuple(part for part in loc if not (isinstance(part, str) and part.startswith(TAG)))


def _words(fault: ErrorDetails, path: Path) -> tuple[LintCode, str, str]:
    kind, found, last = fault["type"], fault["input"], _named(path)
    if kind == "extra_forbidden":
        return _unknown_key(fault["loc"], last)
    if kind == "missing":
        return (
            LintCode.MISSING_KEY,
            f"'{last}' is missing",
            f"add {last}: {EXAMPLES.get(last, '')}".rstrip(),
        )
    if kind.startswith("union_tag"):
        is_message = len(path) == 2 and path[0] == "messages"  # noqa: PLR2004  messages: [n]
        return _no_type(found) if is_message else _no_form(found, last)
    if kind == "literal_error":
        return _no_word(found, last, fault["ctx"]["expected"])
    if kind in TYPES:
        return _wrong_type(found, last, kind)
    return _out_of_bounds(found, last, fault)


def _out_of_bounds(found: Any, last: str, fault: ErrorDetails) -> tuple[LintCode, str, str]:
    fix = _bounds(fault.get("ctx", {}), fault["type"])
    if found in ("", []):
        return LintCode.WRONG_VALUE, f"{last}: there is nothing in it", _like(last, fix)
    return LintCode.WRONG_VALUE, f"{last}: {_short(found)} is out of bounds", fix


def _named(path: Path) -> str:
    """What a person calls a place: its key, or which item of a list it is."""
    if not path:
        return "the file"
    return f"item {path[-1] + 1} of {path[-2]}" if isinstance(path[-1], int) else path[-1]


def _no_word(found: Any, last: str, expected: str) -> tuple[LintCode, str, str]:
    if last == "version":
        what = f"version: {found!r} is not known to this program"
        is_quoted = found == "1"
        fix = "without quotes" if is_quoted else "or update backfill"
        return LintCode.WRONG_VALUE, what, f"write version: 1{' ' if is_quoted else ', '}{fix}"
    known = expected.replace("'", "").replace(" or ", ", ").split(", ")
    what = f"{last}: {found!r} is none of {', '.join(known)}"
    return LintCode.WRONG_VALUE, what, nearest(str(found), known)


def _wrong_type(found: Any, last: str, kind: str) -> tuple[LintCode, str, str]:
    wanted = TYPES[kind]
    if kind == "list_type" and last in ONE_OR_MANY:
        wanted = "a text or a list of texts"
    fix = f"write {wanted}"
    if kind == "string_type" and isinstance(found, int | float | bool):
        fix = f'write it in quotes: "{_short(found)}"'
    what = f"{last}: {_short(found)} is not {wanted}"
    if last in {"as", "each_row"}:
        what = f"{last}: {_short(found)} is neither members nor the name of a column"
    return LintCode.WRONG_TYPE, what, _like(last, fix)


def _like(key: str, otherwise: str) -> str:
    """Return what a part looks like, where there is an example."""
    return f"write {key}: {EXAMPLES[key]}" if key in EXAMPLES else otherwise


def _bounds(limits: dict[str, Any], kind: str) -> str:
    """How much is allowed, in words."""
    unit = " characters" if kind.startswith("string") else ""
    for key, words in (("gt", "more than"), ("ge", "at least"), ("le", "at most")):
        if key in limits:
            return f"write {words} {limits[key]:g}"
    if (most := limits.get("max_length")) is not None:
        return "write one character" if most == 1 else f"write at most {most}{unit}"
    least = limits.get("min_length", 1)
    return "write one" if least == 1 else f"write at least {least}{unit}"


def _unknown_key(loc: tuple[int | str, ...], key: str) -> tuple[LintCode, str, str]:
    around = next((str(p) for p in reversed(loc[:-1]) if isinstance(p, str)), "").removeprefix(TAG)
    known = keys_of(MODELS.get(around, Document))
    if around in spec.TYPES:
        article = "an" if around[0] in "aeiou" else "a"
        if any(key in t.members for t in spec.TYPES.values()):
            what = f"'{key}' is not a member of {around}"
            return LintCode.WRONG_MEMBER, what, nearest(key, known)
        what = f"unknown key '{key}' in {article} {around} message"
        return LintCode.UNKNOWN_KEY, what, nearest(key, known)
    if around in FORMS and key in FORMS:
        what = f"'{around}' and '{key}' are two value forms"
        return LintCode.WRONG_FORM, what, "keep one of them"
    if around in FORMS and key in keys_of(Options) and not issubclass(FORMS[around], Options):
        what = f"'{key}' is no option of {around}"
        return LintCode.UNKNOWN_KEY, what, "leave it out; options stand beside column: or expr:"
    return LintCode.UNKNOWN_KEY, f"unknown key '{key}'", nearest(key, known)


def _no_type(found: Any) -> tuple[LintCode, str, str]:
    if not isinstance(found, dict):
        what = f"{_short(found)} is not a message"
        return LintCode.WRONG_TYPE, what, "write type: and the members of the message"
    if "type" not in found:
        return LintCode.MISSING_KEY, "'type' is missing", nearest("", spec.TYPES)
    kind = found["type"]
    what = f"{_short(kind)} is no type of message"
    return LintCode.WRONG_VALUE, what, nearest(str(kind), spec.TYPES)


def _no_form(found: Any, last: str) -> tuple[LintCode, str, str]:
    if last == "*":
        what = "'*' says which columns it stands for"
        return LintCode.WRONG_FORM, what, 'write "*": {columns: "prop_*"}'
    if isinstance(found, dict) and found:
        return _no_table(found, last)
    fix = f"a fixed value is written {{const: {_short(found)}}}"
    if found == {}:
        what = f"{last}: an empty table is no value form"
        return LintCode.WRONG_FORM, what, f"name a column; {fix}"
    if isinstance(found, list):
        fix += "; an array of columns {array: […]}"
    return LintCode.WRONG_FORM, f"{last}: {_short(found)} is neither a column nor a value form", fix


def _no_table(found: dict[str, Any], last: str) -> tuple[LintCode, str, str]:
    for key in found:
        if get_close_matches(key, FORMS, n=1, cutoff=0.6):
            return LintCode.WRONG_FORM, f"{last}: no value form has '{key}'", nearest(key, FORMS)
    if set(found) <= set(keys_of(Options)):
        what = f"{last}: options alone are no value form"
        return LintCode.WRONG_FORM, what, "add column: or expr: with what they are about"
    what = f"{last}: no value form has {', '.join(map(repr, found))}"
    fix = "write {object: {…}} around members, {const: {…}} for fixed values"
    return LintCode.WRONG_FORM, what, fix


def _short(found: Any) -> str:
    text = (
        "null" if found is None else str(found).lower() if isinstance(found, bool) else repr(found)
    )
    return text if len(text) <= 40 else text[:39] + "…"  # noqa: PLR2004  one screen line
