"""One JSON line → values with exact numbers; many values → one Arrow column. The slow way.

Blank is what carries nothing: null, {} and []. It is left out here as Arrow's structs leave it out,
so that the fast way and this one give the same messages.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import pyarrow as pa

from backfill.codes import Code
from backfill.source.span import JSON_KIND, Broken

JSON_FIELD: Final = pa.field("json", pa.string(), metadata=JSON_KIND)
INT64: Final = range(-(1 << 63), 1 << 63)
INT_DIGITS: Final = 19
DEPTH_MAX: Final = 64


class Number(str):
    """A number as its digits."""

    __slots__ = ()


def parsed(line: bytes) -> dict[str, Any] | Broken:
    """Parse one line to an object without its blanks, or say what is wrong with it."""
    try:
        value = json.loads(
            line.decode(),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse,
            object_pairs_hook=pairs,
        )
        if isinstance(value, dict):
            value = {key: _unblank(item, 1) for key, item in value.items()}  # a blank key stays one
        if b"\\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except UnicodeDecodeError:
        return Broken(Code.NOT_UTF8, repr(line[:40]), ())
    except (ValueError, RecursionError) as fault:
        return Broken(Code.ROW_UNREADABLE, str(fault).splitlines()[0], ())
    if not isinstance(value, dict):
        return Broken(Code.ROW_UNREADABLE, f"it is a {type(value).__name__}", ())
    return value


def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; a key that comes twice is a fault, since one value would be lost."""
    made: dict[str, Any] = {}
    for key, item in members:
        if key in made:
            raise ValueError(f"the key {key!r} comes twice")
        made[key] = item
    return made


def is_json(text: str) -> bool:
    """Whether a text is JSON that any reader takes in the same way."""
    try:
        found = json.loads(
            text,
            parse_int=str,
            parse_float=str,
            parse_constant=_refuse,
            object_pairs_hook=pairs,
        )
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return False
    return True


def _unblank(value: Any, depth: int) -> Any:
    """Return a value without its blanks, None where nothing is left."""
    if depth > DEPTH_MAX:
        raise ValueError(f"it is nested deeper than {DEPTH_MAX}")
    if isinstance(value, list):
        items = (_unblank(item, depth + 1) for item in value)
        value = [item for item in items if item is not None]
    elif isinstance(value, dict):
        inner = ((key, _unblank(item, depth + 1)) for key, item in value.items())
        value = {key: item for key, item in inner if item is not None}
    return None if value in ([], {}) else value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def column_of(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    """Make an Arrow column; values of several types, or inexact ones, become JSON texts."""
    field = _field(name, values)
    return field, pa.array([_as(value, field) for value in values], field.type)


def _field(name: str, values: list[Any]) -> pa.Field:
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {str}:
        return pa.field(name, pa.string())
    if kinds == {bool}:
        return pa.field(name, pa.bool_())
    if kinds == {Number} and all(_is_int64(value) for value in present):
        return pa.field(name, pa.int64())
    if kinds == {dict}:
        keys = dict.fromkeys(key for value in present for key in value)
        return pa.field(
            name, pa.struct([_field(key, [value.get(key) for value in present]) for key in keys])
        )
    if kinds == {list}:
        return pa.field(name, pa.list_(_field("item", [item for v in present for item in v])))
    return JSON_FIELD.with_name(name) if kinds else pa.field(name, pa.null())


def _is_int64(digits: Number) -> bool:
    plain = digits.lstrip("-").isdecimal() and len(digits.lstrip("-")) <= INT_DIGITS
    return plain and int(digits) in INT64 and digits != "-0"


def _as(value: Any, field: pa.Field) -> Any:
    if value is None:
        return None
    if field.metadata == JSON_KIND:
        return dumped(value)
    if pa.types.is_struct(field.type):
        return {inner.name: _as(value.get(inner.name), inner) for inner in field.type}
    if pa.types.is_list(field.type):
        return [_as(item, field.type.value_field) for item in value]
    return int(value) if pa.types.is_int64(field.type) else value


def dumped(value: Any) -> str:
    """Write a value as compact JSON, numbers with the digits they were read with."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        members = (f"{json.dumps(k, ensure_ascii=False)}:{dumped(v)}" for k, v in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumped, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def lists_of(name: str, texts: pa.StringArray) -> tuple[pa.Array, np.ndarray]:
    """JSON texts → a list column of those that are lists of objects, and the mask of the others."""
    values = [None if text is None else _loaded(text) for text in texts.to_pylist()]
    good = [
        isinstance(value, list) and all(isinstance(item, dict) for item in value)
        for value in values
    ]
    bad = np.array([v is not None and not g for v, g in zip(values, good, strict=True)], bool)
    lists = [value if is_good else None for value, is_good in zip(values, good, strict=True)]
    return column_of(name, lists)[1], bad


def _loaded(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)
