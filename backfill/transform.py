"""Record batch + mapping → typed columns, and the rows that failed with why. No I/O.

One function a value form; each returns n values as `jsontext.Value`, where null means: blank.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import natural, number, timestamp
from backfill.cells import Cells, Frame, texts_of
from backfill.codes import Code
from backfill.columns import EMPTY, NO_TEXT, STRING, mask, nulled, valid
from backfill.jsontext import Fixed, Typed, Value, array_of, fixed, object_of, plain, raw, text
from backfill.mapping.document import (
    ArrayForm,
    ColumnForm,
    ConstForm,
    EachForm,
    JsonForm,
    ObjectForm,
    column_form,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EMAIL: Final = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s.]+$"
"""A check against columns mixed up, not RFC 5321."""


def value(form: Any, frame: Frame) -> Value | None:
    """Evaluate any value form; None where it is blank in every row by the mapping itself."""
    if isinstance(form, str):
        return column(column_form(form), frame)
    if isinstance(form, ConstForm):
        return None if form.const is None else fixed(form.const)
    return FORMS[type(form)](form, frame)


def members(forms: dict[str, Any], frame: Frame, *, empty: str = "omit") -> Value:
    """Evaluate the members of an object."""
    found = [(key, made) for key, form in forms.items() if (made := value(form, frame)) is not None]
    return object_of(found, empty=empty)


def column(form: ColumnForm, frame: Frame) -> Value:
    """Evaluate a column with its options, in this order: check, map, split, type, blank."""
    cells = frame.cells(form.column)
    if form.check is not None:
        cells = _checked(form, cells, frame)
    if form.map is not None:
        mapped = _mapped(form, cells, frame)
        if isinstance(mapped, Typed):
            return _blank(form, mapped, frame)
        cells = mapped
    if form.split is not None:
        typed = _split(form, cells, frame)
    else:
        typed = TYPES[form.type](form, cells, frame)
    return _blank(form, typed, frame)


def _blank(form: ColumnForm, typed: Typed, frame: Frame) -> Value:
    """Say what becomes of a blank: a default, an empty text, null, a reject, or nothing."""
    if not typed.data.null_count:
        return typed
    if form.default is not None:
        return _filled(typed, form.default)
    if form.required or form.blank == "reject":
        # a row that failed already has its reason; the blank ones are told by the column itself
        blank = ~valid(frame.cells(form.column).data)
        frame.fail(form.column, Code.REQUIRED_BLANK, blank, None)
        return typed
    if form.blank == "omit":
        return typed
    return _filled(typed, "" if form.blank == "keep" else None)


def _filled(typed: Typed, filling: Any) -> Typed:
    if isinstance(filling, str) and typed.is_free:
        return text(pc.fill_null(typed.data, pa.scalar(filling, STRING)))
    return raw(pc.fill_null(typed.json(), pa.scalar(fixed(filling).text, STRING)))


def _checked(form: ColumnForm, cells: Cells, frame: Frame) -> Cells:
    texts = texts_of(cells)
    assert form.check is not None
    pattern = EMAIL if form.check == "email" else form.check
    wrong = valid(texts) & ~mask(pc.match_substring_regex(texts, pattern))
    frame.fail(form.column, Code.CHECK_FAILED, wrong, texts)
    return cells


def _mapped(form: ColumnForm, cells: Cells, frame: Frame) -> Cells | Typed:
    """Look every text up; texts stay a column (a type may follow), other values are JSON."""
    assert form.map is not None
    texts = texts_of(cells)
    known = pc.index_in(texts, value_set=pa.array(list(form.map), pa.string()))
    missed = valid(texts) & ~valid(known)
    other = form.else_["const"] if isinstance(form.else_, dict) else None
    results = [*form.map.values(), other]
    if form.else_ == "reject":
        frame.fail(form.column, Code.VALUE_UNMAPPED, missed, texts)
    as_text = all(result is None or isinstance(result, str) for result in results)
    dump = _same if as_text else _dumped
    found = pa.array([dump(v) for v in form.map.values()], pa.string()).take(known)
    if missed.any():
        kept = texts if as_text else text(texts).json()
        other_texts = pa.scalar(dump(other), pa.string())
        found = pc.if_else(pa.array(missed), kept if form.else_ == "keep" else other_texts, found)
    return Cells(found) if as_text else raw(found)


def _same(item: Any) -> Any:
    return item


def _dumped(item: Any) -> str | None:
    return None if item is None else fixed(item).text


def _split(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    """Text → array; items are trimmed, blank items dropped."""
    texts = texts_of(cells)
    assert form.split is not None
    lists = pc.split_pattern(texts, form.split)
    items, parents = pc.utf8_trim_whitespace(lists.flatten()), natural.parents_of(lists)
    items = pc.if_else(pc.equal(items, EMPTY), NO_TEXT, items)
    typed = TYPES[form.type](form, Cells(items), frame.within(parents))
    return array_of(typed, parents, frame.count)


def _array(form: ArrayForm, frame: Frame) -> Value:
    """Interleave the items row by row; blank ones are left out."""
    made = [item for inner in form.array if (item := value(inner, frame)) is not None]
    columns = [texts_json(item, frame.count) for item in made]
    if not columns:
        return fixed([])
    flat = pa.concat_arrays(columns)
    parents = np.tile(np.arange(frame.count), len(columns))
    order = np.argsort(parents, kind="stable")
    return array_of(raw(flat.take(pa.array(order))), parents[order], frame.count, empty=form.empty)


def _each(form: EachForm, frame: Frame) -> Value:
    cells = frame.cells(form.each)
    lists = cells.data
    if pa.types.is_null(lists.type):
        return raw(pa.nulls(frame.count, pa.string()))
    if cells.is_json or not pa.types.is_list(lists.type):
        frame.fail(form.each, Code.NOT_A_LIST, valid(lists), texts_of(cells))
        return raw(pa.nulls(frame.count, pa.string()))
    parents, items = natural.parents_of(lists), lists.flatten()
    if not pa.types.is_struct(items.type):
        frame.fail(form.each, Code.NOT_A_LIST, valid(lists), None)
        return raw(pa.nulls(frame.count, pa.string()))
    inner = frame.inner(form.each, items, parents)
    forms = form.as_
    made = value(forms, inner) if isinstance(forms, str) else members(forms, inner)
    assert made is not None
    typed = array_of(raw(texts_json(made, len(items))), parents, frame.count, empty=form.empty)
    if form.empty == "keep" and lists.null_count:
        return raw(pc.if_else(lists.is_valid(), typed.data, NO_TEXT))
    return typed


def texts_json(made: Value, count: int) -> pa.StringArray:
    """Return n JSON texts, whatever the form."""
    return (
        pa.repeat(pa.scalar(made.text, pa.string()), count)
        if isinstance(made, Fixed)
        else made.json()
    )


def _object(form: ObjectForm, frame: Frame) -> Value:
    return members(form.object, frame, empty=form.empty)


def _json(form: JsonForm, frame: Frame) -> Typed:
    return _as_json(column_form(form.json_), frame.cells(form.json_), frame)


def _as_json(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    """Texts that hold JSON. Arrow has no kernel that checks JSON, so each text is parsed once."""
    if cells.is_json or pa.types.is_nested(cells.data.type):
        return natural.typed(form.column, cells, frame)
    texts = texts_of(cells)
    bad = np.array([item is not None and not _is_json(item) for item in texts.to_pylist()], bool)
    frame.fail(form.column, Code.JSON_UNREADABLE, bad, texts)
    return raw(nulled(texts, bad))


def _is_json(item: str) -> bool:
    try:
        json.loads(item, parse_int=_same, parse_float=_same, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _as_text(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    if pa.types.is_nested(cells.data.type):
        return natural.typed(form.column, cells, frame)
    return text(texts_of(cells))


def _as_number(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    return _number(form, cells, frame, whole=False)


def _as_integer(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    return _number(form, cells, frame, whole=True)


def _number(form: ColumnForm, cells: Cells, frame: Frame, *, whole: bool) -> Typed:
    if pa.types.is_integer(cells.data.type):
        return natural.typed(form.column, cells, frame)
    texts = texts_of(cells)
    if pa.types.is_floating(cells.data.type) and whole:
        texts = natural.whole_floats(cells.data, texts)
    marks = (form.decimal, form.thousands) if pa.types.is_string(cells.data.type) else (".", None)
    found, failed = number.numbers(texts, decimal=marks[0], thousands=marks[1], whole=whole)
    for code, at in failed:
        frame.fail(form.column, code, at, texts)
    natural.note_big(form.column, found, frame)
    return raw(found)


def _as_boolean(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    if pa.types.is_boolean(cells.data.type):
        return raw(cells.data.cast(pa.string()))
    texts = texts_of(cells)
    words = [word.lower() for word in (*form.true, *form.false)]
    known = pc.index_in(texts, value_set=pa.array(words, STRING))
    if known.null_count > texts.null_count:  # other cases, blanks around, or no booleans
        given = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
        known = pc.index_in(given, value_set=pa.array(words, STRING))
        frame.fail(form.column, Code.BOOLEAN_UNREADABLE, valid(texts) & ~valid(known), texts)
    results = ["true"] * len(form.true) + ["false"] * len(form.false)
    return raw(pa.array(results, STRING).take(known))


@dataclass
class Times:
    """A time column both ways: as JSON, and as instants for the guards."""

    typed: Typed
    instants: pa.Array
    texts: Callable[[], pa.Array] = field(repr=False)


def times(form: ColumnForm, cells: Cells, frame: Frame) -> Times:
    """Read a time column; `texts` gives the cells as they were, for reasons."""

    def texts() -> pa.Array:
        return texts_of(cells)

    data = texts() if cells.is_json else cells.data
    found = timestamp.read(data, form.format, timezone=form.timezone, ambiguous=form.ambiguous)
    for code, at in found.failed:
        frame.fail(form.column, code, at, texts())
    typed = timestamp.unix(found.data) if form.as_ == "unix" else timestamp.iso(found.data)
    return Times(typed, found.data, texts)


def _as_timestamp(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    return times(form, cells, frame).typed


def _as_date(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    """A calendar day: that of the wall time as written; an instant's day is that of `timezone`."""
    if pa.types.is_date(cells.data.type):
        return plain(cells.data.cast(pa.string()))
    data = texts_of(cells) if cells.is_json else cells.data
    if pa.types.is_timestamp(data.type) and data.type.tz:
        data = pc.local_timestamp(data.cast(pa.timestamp(data.type.unit, form.timezone or "UTC")))
    found = timestamp.read(data, form.format, timezone="UTC", ambiguous="reject")
    for code, at in found.failed:
        frame.fail(form.column, code, at, texts_of(cells))
    return timestamp.dates(found.data)


def _as_it_is(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    if pa.types.is_timestamp(cells.data.type):  # the zone rules hold for these too
        return _as_timestamp(form, cells, frame)
    return natural.typed(form.column, cells, frame)


TYPES: Final[dict[str | None, Callable[[ColumnForm, Cells, Frame], Typed]]] = {
    None: _as_it_is,
    "text": _as_text,
    "number": _as_number,
    "integer": _as_integer,
    "boolean": _as_boolean,
    "timestamp": _as_timestamp,
    "date": _as_date,
    "json": _as_json,
}

FORMS: Final[dict[type, Callable[[Any, Frame], Value]]] = {
    ColumnForm: column,
    ObjectForm: _object,
    ArrayForm: _array,
    EachForm: _each,
    JsonForm: _json,
}
