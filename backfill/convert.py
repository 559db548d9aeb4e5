"""One column and the type that the mapping gives it → a typed column. No I/O.

What cannot be read fails its row; a column without a type goes by its own (`natural`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import natural, number, timestamp
from backfill.cells import Cells, Frame, texts_of
from backfill.codes import Code
from backfill.columns import STRING, mask, nulled, valid
from backfill.jsontext import Typed, plain, raw, text
from backfill.source.jsontree import is_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.mapping.forms import ColumnForm


def as_json(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    """Texts that hold JSON. Arrow has no kernel that checks JSON, so each text is parsed once."""
    if pa.types.is_nested(cells.data.type):
        return natural.typed(form.column, cells, frame)
    texts = texts_of(cells)
    bad = np.array([item is not None and not is_json(item) for item in texts.to_pylist()], bool)
    frame.fail(form.column, Code.JSON_UNREADABLE, bad, texts)
    return raw(nulled(texts, bad))


def _as_text(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    if pa.types.is_nested(cells.data.type):
        return natural.typed(form.column, cells, frame)
    if cells.is_json:  # lists and objects among the values stay what they are
        is_nested = pc.match_substring_regex(cells.data, r"^[\[{]")
        return raw(pc.if_else(is_nested, cells.data, text(texts_of(cells)).json()))
    if pa.types.is_timestamp(cells.data.type):  # in UTC with Z, and one without a zone fails
        return _as_timestamp(form, cells, frame)
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
    is_text = pa.types.is_string(cells.data.type)
    marked = (
        mask(pc.starts_with(cells.data, '"')) if cells.is_json else np.full(len(texts), is_text)
    )
    marks = (form.decimal, form.thousands)
    if marks == (".", None) or marked.all() or not marked.any():
        marks = marks if marked.any() else (".", None)
        found, failed = number.numbers(texts, decimal=marks[0], thousands=marks[1], whole=whole)
    else:  # numbers of JSON have their point, texts beside them the marks of the mapping
        plainly, failed = number.numbers(nulled(texts, marked), whole=whole)
        found, more = number.numbers(
            nulled(texts, ~marked), decimal=marks[0], thousands=marks[1], whole=whole
        )
        found, failed = pc.coalesce(found, plainly), [*failed, *more]
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
        return plain(natural.days(form.column, cells.data, frame))
    data = texts_of(cells) if cells.is_json else cells.data
    if pa.types.is_timestamp(data.type) and data.type.tz:
        data = pc.local_timestamp(data.cast(pa.timestamp(data.type.unit, form.timezone or "UTC")))
    found = timestamp.read(data, form.format, timezone="UTC", ambiguous="reject")
    for code, at in found.failed:
        frame.fail(form.column, code, at, texts_of(cells))
    days = found.data
    if pa.types.is_string(data.type) and form.timezone not in {None, "UTC"}:
        zoned = timestamp.read(data, form.format, timezone=None, ambiguous="reject").data
        local = pc.local_timestamp(zoned.cast(pa.timestamp("ms", form.timezone)))
        days = pc.coalesce(local, days)
    return timestamp.dates(days)


def _as_it_is(form: ColumnForm, cells: Cells, frame: Frame) -> Typed:
    if pa.types.is_timestamp(cells.data.type):  # the zone rules hold for these too
        return _as_timestamp(form, cells, frame)
    zone = natural.Zone(form.timezone, form.ambiguous)
    return natural.typed(form.column, cells, frame, zone)


TYPES: Final[dict[str | None, Callable[[ColumnForm, Cells, Frame], Typed]]] = {
    None: _as_it_is,
    "text": _as_text,
    "number": _as_number,
    "integer": _as_integer,
    "boolean": _as_boolean,
    "timestamp": _as_timestamp,
    "date": _as_date,
    "json": as_json,
}
