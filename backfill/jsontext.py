"""Columns of values ↔ columns of JSON text. Arrow in, Arrow out; no Python object per row.

A `Typed` column is ready to be written into JSON; a null in it means: leave the member out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.columns import (
    STRING,
    flags,
    join,
    lengths,
    mask,
    nulled,
    offsets,
    raw_bytes,
    spread,
    valid,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMA: Final = pa.scalar(",", STRING)
CONTROL: Final = 0x20
LARGE: Final = 1 << 31
SHORT: Final = {0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r"}


@dataclass(frozen=True, slots=True)
class Typed:
    """n values as text, and what stands around each of them in JSON."""

    data: pa.StringArray
    before: str = ""
    after: str = ""
    is_free: bool = False
    """Free text must be escaped; digits, times and finished JSON need not."""

    def filter(self, keep: pa.BooleanArray) -> Typed:
        """Return only the rows that are kept."""
        return Typed(self.data.filter(keep), self.before, self.after, self.is_free)

    def body(self) -> pa.StringArray:
        """Return what stands between before and after."""
        return escape(self.data) if self.is_free else self.data

    def json(self) -> pa.StringArray:
        """Return complete JSON texts."""
        if not self.before and not self.after:
            return self.body()
        return join(self.before, self.body(), self.after)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same JSON text in every row."""

    text: str

    def filter(self, keep: pa.BooleanArray) -> Fixed:
        """Return itself: it has no rows."""
        del keep
        return self


@dataclass(frozen=True, slots=True)
class Parts:
    """n JSON texts that are not joined yet: literals and columns without nulls, side by side.

    An object inside an object stays in parts, so that each message is joined only once.
    """

    parts: tuple[pa.StringArray | str, ...]

    def filter(self, keep: pa.BooleanArray) -> Parts:
        """Return only the rows that are kept."""
        return Parts(tuple(p if isinstance(p, str) else p.filter(keep) for p in self.parts))

    def json(self) -> pa.StringArray:
        """Return complete JSON texts."""
        return join(*self.parts)


Value = Typed | Fixed | Parts


def text(data: pa.StringArray) -> Typed:
    """Free text, as a JSON string."""
    return Typed(data, '"', '"', is_free=True)


def plain(data: pa.StringArray, after: str = "") -> Typed:
    """Text that holds nothing to escape, as a JSON string."""
    return Typed(data, '"', f'{after}"')


def raw(data: pa.StringArray) -> Typed:
    """JSON texts as they are."""
    return Typed(data)


def fixed(value: Any) -> Fixed:
    """Any JSON value of the mapping."""
    return Fixed(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def escape(data: pa.StringArray) -> pa.StringArray:
    """Escape for the inside of a JSON string; the same array where nothing needs it."""
    found = raw_bytes(data)
    if not len(found):
        return data
    text = found.tobytes()
    for mark in ("\\", '"'):
        if mark.encode() in text:  # a copy and a search cost less than a comparison of each byte
            at = np.flatnonzero(found == ord(mark))
            data = _replaced(data, at, mark, "\\" + mark)
            found = raw_bytes(data)
    if found.min() < CONTROL:
        for code in np.unique(found[found < CONTROL]).tolist():
            by = SHORT.get(code, f"\\u{code:04x}")
            data = _replaced(data, np.flatnonzero(found == code), chr(code), by)
            found = raw_bytes(data)
    return data


def _replaced(data: pa.StringArray, at: np.ndarray, old: str, new: str) -> pa.StringArray:
    """Put `new` in the place of each `old`, a single byte; `at` are its places among all bytes.

    All texts at once: one by one, as Arrow does, costs ten times as much.
    """
    ends = offsets(data)
    grown = np.searchsorted(at, ends - ends[0]) * (len(new) - len(old))
    texts = raw_bytes(data).tobytes().replace(old.encode(), new.encode())
    assert len(texts) < LARGE, "a record batch has less"
    places = (ends - ends[0] + grown).astype(np.int32)
    bits = flags(valid(data)).buffers()[1] if data.null_count else None
    buffers = [bits, pa.py_buffer(places), pa.py_buffer(texts)]
    return pa.Array.from_buffers(STRING, len(data), buffers)


def object_of(members: Sequence[tuple[str, Value]], *, empty: str = "omit") -> Value:
    """Write objects; a member that is null is left out, and an object with nothing in it too."""
    pieces: list[tuple[str, Value]] = [
        (json.dumps(key, ensure_ascii=False), v) for key, v in members
    ]
    if all(isinstance(v, Fixed) for _, v in pieces):
        inner = ",".join(f"{key}:{v.text}" for key, v in pieces if isinstance(v, Fixed))
        return Fixed("{" + inner + "}")
    surely = next((at for at, (_, v) in enumerate(pieces) if _is_sure(v)), None)
    if surely is None:
        joined = join(*merged([_fragment(key, v, ",", "") for key, v in pieces]))
        whole = join("{", pc.binary_replace_slice(joined, 0, 1, ""), "}")
        if empty == "omit":
            whole = nulled(whole, lengths(joined) == 0)
        return raw(whole)
    parts: list[Any] = ["{"]
    for at, (key, value) in enumerate(pieces):
        lead, trail = ("", ",") if at < surely else (("," if at > surely else ""), "")
        parts.append(_fragment(key, value, lead, trail))
    return Parts(tuple(merged([*parts, "}"])))


def _is_sure(value: Value) -> bool:
    return not isinstance(value, Typed) or not value.data.null_count


def _fragment(key: str, value: Value, lead: str, trail: str) -> Any:
    """One member with its comma: a list of parts where it is sure, else one array with blanks."""
    if isinstance(value, Fixed):
        return f"{lead}{key}:{value.text}{trail}"
    if isinstance(value, Parts):
        return [f"{lead}{key}:", *value.parts, trail]
    before, after = f"{lead}{key}:{value.before}", f"{value.after}{trail}"
    if not value.data.null_count:
        return [before, value.body(), after]
    there = value.data.is_valid()
    return spread(join(before, value.filter(there).body(), after), mask(there))


def _spread(piece: Any) -> list[Any]:
    return piece if isinstance(piece, list) else [piece]


def merged(pieces: list[Any]) -> list[Any]:
    """Merge neighbouring literals, since each input of the join costs."""
    found: list[Any] = []
    for piece in pieces:
        for part in _spread(piece):
            if isinstance(part, str) and found and isinstance(found[-1], str):
                found[-1] += part
            elif not (isinstance(part, str) and not part):
                found.append(part)
    return found


def array_of(items: Typed, parents: np.ndarray, count: int, *, empty: str = "omit") -> Typed:
    """Write one array a row. items: the items of all rows, parents: the row of each, ascending.

    Items that are null are left out; an array with nothing in it is null, or [] with empty="keep".
    """
    texts, counts = _present(items.json(), parents, count)
    bounds = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(bounds), texts)
    whole = join("[", pc.binary_join(lists, COMMA), "]")
    if empty == "omit" and (counts == 0).any():
        whole = nulled(whole, counts == 0)
    return raw(whole)


def map_of(keys: pa.StringArray, items: Typed, parents: np.ndarray, count: int) -> Typed:
    """Write one object a row, from keys and values; as `array_of`."""
    array = array_of(raw(join('"', escape(keys), '":', items.json())), parents, count)
    inner = pc.binary_replace_slice(
        pc.binary_replace_slice(array.data, 0, 1, "{"), -1, 1 << 30, "}"
    )
    return raw(inner)


def _present(
    texts: pa.StringArray, parents: np.ndarray, count: int
) -> tuple[pa.StringArray, np.ndarray]:
    if texts.null_count:
        keep = texts.is_valid()
        texts, parents = texts.filter(keep), parents[mask(keep)]
    return texts, np.bincount(parents, minlength=count)
