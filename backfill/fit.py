"""Whether a mapping fits its source: every column is there, of a type that can be sent. No rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backfill.cells import UnsupportedTypeError, frame_of
from backfill.errors import Lint, MappingError, Place
from backfill.lints import LintCode
from backfill.mapping.forms import ColumnForm, EachForm
from backfill.mapping.reads import forms_of
from backfill.mapping.words import nearest
from backfill.message import draft
from backfill.natural import parents_of
from backfill.operand import kind_of
from backfill.piece import no_rows
from backfill.source import Groups, Span
from backfill.units import grouped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.cells import Frame
    from backfill.mapping import Mapping
    from backfill.source import Reader


def check_fit(mapping: Mapping, reader: Reader, where: str) -> None:
    """Raise MappingError with every column that is missing or of a type that cannot be sent."""
    if reader.has_all_columns and reader.columns:
        mapping.check_columns(reader.columns, where, is_open=reader.schema is None)
    lints = list(_zone_lints(mapping, reader.schema))
    if reader.schema is not None:
        lints += _typed_lints(mapping, reader)
    if lints:
        raise MappingError(lints)


def _typed_lints(mapping: Mapping, reader: Reader) -> list[Lint]:
    """What does not fit, where the types are known before the first row."""
    lints = [*_each_lints(mapping, reader.schema), *_watermark_lints(mapping, reader.schema)]
    none = pa.RecordBatch.from_pylist([], schema=reader.schema)
    empty = Span(0, none, groups=Groups(no_rows(), {}))
    try:
        names = mapping.names_in(reader.schema.names)
        frame = frame_of(empty, names, mapping.document.source.blank)
        lints += _formula_lints(mapping, frame)
        if mapping.document.rows is not None:
            frame = grouped(empty, frame, np.ones(0, bool), None).frame
        messages, _ = mapping.messages(tuple(reader.schema.names))
        for index, message in enumerate(messages if not lints else []):  # what fits can be tried
            draft(message, index, frame)
    except UnsupportedTypeError as fault:
        places = dict(mapping.column_places)
        names = [f.name for f in reader.schema if f.name in places and str(fault) in str(f.type)]
        name = names[0] if names else "?"
        what = f"column '{name}' has the type {fault}, which has no form in JSON"
        place = places.get(name, Place(mapping.path, 1, 1))
        lints.append(Lint(place, LintCode.COLUMN_TYPE, what, "cast it where it comes from"))
    return lints


def _formula_lints(mapping: Mapping, frame: Frame) -> list[Lint]:
    """What does not fit in the expressions, now that the kinds of the columns are known."""
    frames: dict[tuple[str, ...], Frame] = {(): frame}
    lints: list[Lint] = []
    for formula in mapping.formulas:
        around = formula.expression.around
        if around not in frames and len(around) == 1:
            lists = frame.cells(around[0]).data
            if pa.types.is_list(lists.type) and pa.types.is_struct(lists.type.value_type):
                frames[around] = frame.inner(around[0], lists.flatten(), parents_of(lists))
        found = frames.get(around)
        if found is None:  # its list is none, or inside another: what is wrong there is told
            continue
        kinds = {name: kind_of(one.data.type) for name, one in found.columns.items()}
        lints += formula.lints(kinds)
        for name, at in formula.expression.columns() if around else ():
            if name not in kinds:
                what = f"the items of '{around[0]}' have no field '{name}'"
                place = formula.places[at]
                lints.append(Lint(place, LintCode.UNKNOWN_COLUMN, what, nearest(name, kinds)))
    return lints


def _zone_lints(mapping: Mapping, schema: pa.Schema | None) -> Iterator[Lint]:
    """Yield where a zone would say nothing: what is no time would be sent as it stands."""
    places = dict(mapping.column_places)
    for message in mapping.document.messages:
        for path, form, around in forms_of(message, ()):
            if not isinstance(form, ColumnForm) or form.timezone is None or form.type is not None:
                continue
            if path == ("timestamp",) or around:
                continue
            if schema is not None and _may_hold_times(schema, form.column):
                continue
            what = f"'{form.column}' is no column of times, so that 'timezone' says nothing"
            yield Lint(places[form.column], LintCode.BAD_OPTION, what, "add type: timestamp")


def _may_hold_times(schema: pa.Schema, column: str) -> bool:
    if column not in schema.names:
        return True
    kind = schema.field(column).type
    return bool(pa.types.is_temporal(kind) or pa.types.is_nested(kind))


def _each_lints(mapping: Mapping, schema: pa.Schema) -> list[Lint]:
    lints = []
    places = dict(mapping.column_places)
    for message in mapping.document.messages:
        for _, form, _ in forms_of(message, ()):
            if not isinstance(form, EachForm) or form.each not in schema.names:
                continue
            kind = schema.field(form.each).type
            is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            if not is_list or not pa.types.is_struct(kind.value_type):
                kind = "text" if pa.types.is_binary(kind) else kind
                what = f"each: '{form.each}' is {kind}, not a list of structs"
                fix = "use {json: …} for JSON text, or the column as it is"
                lints.append(Lint(places[form.each], LintCode.COLUMN_TYPE, what, fix))
                continue
            fields = [field.name for field in kind.value_type]
            for name in _inner_columns(form.as_):
                if name not in fields:
                    what = f"the items of '{form.each}' have no field '{name}'"
                    fix = nearest(name, fields)
                    lints.append(Lint(places[form.each], LintCode.UNKNOWN_COLUMN, what, fix))
    return lints


def _watermark_lints(mapping: Mapping, schema: pa.Schema) -> list[Lint]:
    """A column that can never be the watermark is a fault of the mapping, not of every row."""
    watermark = mapping.document.watermark
    if watermark is None or (at := schema.get_field_index(watermark.column)) < 0:
        return []
    kind = schema.field(at).type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    place = dict(mapping.column_places)[watermark.column]
    what = f"the watermark '{watermark.column}' is {kind}, "
    if watermark.type == "integer" and is_time:
        return [Lint(place, LintCode.COLUMN_TYPE, what + "not an integer", "leave type: out")]
    if watermark.type != "integer" and is_number and watermark.format == ["iso8601"]:
        fix = "add type: integer to the watermark, or format: unix_s"
        return [Lint(place, LintCode.COLUMN_TYPE, what + "not a time", fix)]
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        fix = "choose a column of times, dates or integers"
        return [Lint(place, LintCode.COLUMN_TYPE, what + "which tells nothing later", fix)]
    return []


def _inner_columns(form: Any) -> list[str]:
    """Every field that stands inside `each … as`."""
    if isinstance(form, str):
        return [form]
    if isinstance(form, dict):
        form = list(form.values())
    if isinstance(form, list):
        return [name for inner in form for name in _inner_columns(inner)]
    parts = (getattr(form, name, None) for name in ("column", "object", "array", "each", "json_"))
    return [name for part in parts if part is not None for name in _inner_columns(part)]
