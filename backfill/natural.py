"""Typed columns → JSON as their types say, without any word of the mapping. No I/O.

| Arrow | JSON |
| --- | --- |
| string, UUID, binary that is UTF-8 | string |
| bool, integers, decimals | true/false, digits, exact digits |
| floats | shortest digits that read back the same; NaN and infinities fail their row |
| date, time | `2020-01-02` (years 1 to 9999), `10:20:30.000000` |
| timestamp (nested too) | `2020-01-02T10:20:30.000Z`; without any zone it fails its row |
| JSON (texts of Parquet's type) | what they hold |
| list, struct, map | array, object, object; blank members and items are left out |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import timestamp
from backfill.cells import Cells, Frame, UnsupportedTypeError, texts_of
from backfill.codes import Code
from backfill.columns import integers, lengths, mask, nulled, valid
from backfill.jsontext import Fixed, Typed, array_of, map_of, object_of, plain, raw, text


@dataclass(frozen=True, slots=True)
class Zone:
    """That of times without one, and which of the two hours is meant in autumn."""

    name: str | None = None
    ambiguous: str = "reject"


NO_ZONE: Final = Zone()


def typed(column: str, cells: Cells, frame: Frame, zone: Zone = NO_ZONE) -> Typed:
    """Write a column as its type says. Raises UnsupportedTypeError where JSON has no form."""
    data = cells.data
    if cells.is_json:
        return raw(data)
    if pa.types.is_nested(data.type):
        return _nested(column, data, frame, zone)
    if pa.types.is_timestamp(data.type):
        return _times(column, cells, frame, zone)
    return _scalar(column, data, frame)


def _scalar(column: str, data: pa.Array, frame: Frame) -> Typed:
    for is_own, write_own in OWN:
        if is_own(data.type):
            return write_own(column, data, frame)
    for kinds, write in SIMPLE:
        if any(is_kind(data.type) for is_kind in kinds):
            texts = data.cast(pa.string())
            if pa.types.is_integer(data.type):
                note_big(column, texts, frame)
            return write(texts)
    raise UnsupportedTypeError(str(data.type))


SAFE: Final = 1 << 53
SAFE_DIGITS: Final = 16
SIMPLE: Final = (
    ((pa.types.is_string, pa.types.is_null), text),
    ((pa.types.is_boolean, pa.types.is_integer, pa.types.is_decimal), raw),
    ((pa.types.is_time,), plain),
)


def note_big(column: str, texts: pa.StringArray, frame: Frame) -> None:
    """Note integers past 2^53: they are sent exact, and readers that take doubles round them."""
    if (lengths(texts) < SAFE_DIGITS).all():
        return
    big = mask(pc.match_substring_regex(texts, rf"^-?[0-9]{{{SAFE_DIGITS},}}$"))
    at = np.flatnonzero(big)
    count = sum(abs(int(text)) > SAFE for text in texts.take(pa.array(at)).to_pylist())
    frame.note(column, "integers past 2^53, sent exact: many readers will round them", count)


def _dates(column: str, data: pa.Array, frame: Frame) -> Typed:
    return plain(days(column, data, frame))


def days(column: str, data: pa.Array, frame: Frame) -> pa.StringArray:
    """Write dates; years that have no four digits fail their rows."""
    number = data.cast(pa.int32())
    far = mask(pc.or_(pc.less(number, FIRST_DAY), pc.greater(number, LAST_DAY)))
    texts = data.cast(pa.string())
    if not far.any():
        return texts
    frame.fail(column, Code.TIME_UNREADABLE, far, texts)
    return nulled(texts, far)


FIRST_DAY: Final = pa.scalar(-719_162, pa.int32())  # 0001-01-01
LAST_DAY: Final = pa.scalar(2_932_896, pa.int32())  # 9999-12-31


def _times(column: str, cells: Cells, frame: Frame, zone: Zone) -> Typed:
    found = timestamp.read(cells.data, ["iso8601"], timezone=zone.name, ambiguous=zone.ambiguous)
    for code, at in found.failed:
        frame.fail(column, code, at, texts_of(cells))
    return timestamp.iso(found.data)


def _floats(column: str, data: pa.Array, frame: Frame) -> Typed:
    endless = mask(pc.invert(pc.is_finite(data)))
    if endless.any():
        frame.fail(column, Code.NUMBER_NOT_FINITE, endless, data.cast(pa.string()))
        data = nulled(data, endless)
    return raw(data.cast(pa.string()))


OWN: Final = ((pa.types.is_floating, _floats), (pa.types.is_date, _dates))


def whole_floats(data: pa.Array, texts: pa.StringArray) -> pa.StringArray:
    """Return integral floats as digits (`1e+16` has none), others as they were."""
    whole = pc.and_(pc.is_finite(data), pc.equal(data, pc.floor(data)))
    small = pc.and_(whole, pc.less(pc.abs(data), pa.scalar(2.0**63, data.type)))
    digits = pc.if_else(small, data, pa.scalar(None, data.type)).cast(pa.int64(), safe=False)
    return pc.coalesce(digits.cast(pa.string()), texts)


def _nested(column: str, data: pa.Array, frame: Frame, zone: Zone) -> Typed:
    if pa.types.is_struct(data.type):
        return _struct(column, data, frame, zone)
    if pa.types.is_map(data.type):
        lists = data.cast(pa.list_(data.type.field(0)))
        parents = parents_of(lists)
        keys, items = lists.flatten().flatten()  # `data.keys` has those before a slice, too
        inner = frame.within(parents)
        names = texts_of(inner.canonical(keys, data.type.key_field, column))
        _refuse_doubles(column, names, parents, frame)
        made = typed(column, inner.canonical(items, data.type.item_field, column), inner, zone)
        return map_of(names, made, parents, len(data))
    if pa.types.is_list(data.type):
        parents = parents_of(data)
        items = data.flatten()
        inner = frame.within(parents)
        made = typed(column, inner.canonical(items, data.type.value_field, column), inner, zone)
        return array_of(made, parents, len(data))
    raise UnsupportedTypeError(str(data.type))


def _refuse_doubles(column: str, names: pa.StringArray, parents: np.ndarray, frame: Frame) -> None:
    """Of a key that comes twice in a map, one value would be lost."""
    encoded = names.dictionary_encode()
    count = len(encoded.dictionary)
    codes = encoded.indices.cast(pa.int64()).fill_null(count)  # null: it failed already
    at = parents * (count + 1) + integers(codes)
    _, first, counts = np.unique(at, return_index=True, return_counts=True)
    twice = first[counts > 1]
    if not len(twice):
        return
    bad = np.zeros(frame.count, bool)
    bad[parents[twice]] = True
    shown: list[str | None] = [None] * frame.count
    for entry in twice.tolist():
        shown[int(parents[entry])] = f"{names[entry]} twice"
    frame.fail(column, Code.JSON_UNREADABLE, bad, pa.array(shown, pa.string()))


def _struct(column: str, data: pa.StructArray, frame: Frame, zone: Zone) -> Typed:
    members = []
    for about, array in zip(data.type, data.flatten(), strict=True):
        cells = frame.canonical(array, about, column)
        members.append((about.name, typed(f"{column}.{about.name}", cells, frame, zone)))
    whole = object_of(members)
    if isinstance(whole, Fixed):  # a struct without fields
        return raw(pa.nulls(len(data), pa.string()))
    return raw(whole.json())


def parents_of(lists: pa.Array) -> np.ndarray:
    """Return the row of each item of a list column."""
    found = integers(pc.list_parent_indices(lists))
    return found[valid(lists)[found]] if lists.null_count else found  # a null may keep its items
