"""Record batch + mapping → typed columns, and the rows that failed with why. No I/O.

One function a value form; each returns n values as `jsontext.Value`, where null means: blank.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import natural
from backfill.aggregate import aggregate
from backfill.cells import Cells, Frame, texts_of
from backfill.codes import Code
from backfill.columns import EMPTY, NO_TEXT, STRING, mask, nulled, valid
from backfill.convert import TYPES, as_json
from backfill.evaluate import evaluate, label
from backfill.jsontext import Fixed, Typed, Value, array_of, fixed, object_of, raw, text
from backfill.mapping.forms import (
    AggForm,
    ArrayForm,
    ColumnForm,
    ConstForm,
    EachForm,
    EachRowForm,
    ExprForm,
    JsonForm,
    ObjectForm,
    column_form,
)
from backfill.source import JSON_KIND
from backfill.source.jsontree import lists_of

if TYPE_CHECKING:
    from collections.abc import Callable

EMAIL: Final = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s.]+$"
"""A check against columns mixed up, not RFC 5321."""


def value(form: Any, frame: Frame) -> Value | None:
    """Evaluate any value form; None where it is blank in every row by the mapping itself."""
    if isinstance(form, str):
        return column(column_form(form), frame)
    if isinstance(form, ConstForm):
        return fixed(form.const)
    return FORMS[type(form)](form, frame)


def resolved(form: str | ColumnForm | ExprForm, frame: Frame) -> tuple[ColumnForm, Frame]:
    """Return a form as that of a column, and the frame that has this column.

    A computed column is named after those it is computed from; its options apply to it as to any.
    """
    if isinstance(form, str):
        return column_form(form), frame
    if isinstance(form, ColumnForm):
        return form, frame
    name, made = label(form.expr, frame), evaluate(form.expr, frame)
    said = {key: getattr(form, key) for key in form.model_fields_set - {"expr"}}
    how = column_form(name).model_copy(update=said)
    return how, replace(frame, columns={name: made})


def members(forms: dict[str, Any], frame: Frame, *, empty: str = "omit") -> Value | None:
    """Evaluate the members of an object; None where it has none."""
    found = [(key, made) for key, form in forms.items() if (made := value(form, frame)) is not None]
    if not found and empty == "omit":
        return None
    return object_of(found, empty=empty)


def column(form: ColumnForm, frame: Frame) -> Value:
    """Evaluate a column with its options, in this order: check, map, split, type, blank."""
    cells = frame.cells(form.column)
    if pa.types.is_nested(cells.data.type) and _wants_one_value(form):
        frame.fail(form.column, Code.NOT_ONE_VALUE, _present(form.column, cells, frame), None)
        return raw(pa.nulls(frame.count, STRING))
    if cells.is_json and _wants_one_value(form):
        lists = mask(pc.match_substring_regex(cells.data, r"^[\[{]"))
        frame.fail(form.column, Code.NOT_ONE_VALUE, lists, None)
        cells = Cells(nulled(cells.data, lists), is_json=True)
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


def _present(name: str, cells: Cells, frame: Frame) -> np.ndarray:
    """The mask of the cells with something in them: [null] is as blank as [] and {}."""
    return valid(natural.typed(name, cells, replace(frame, faults=[])).data)


def _wants_one_value(form: ColumnForm) -> bool:
    options = (form.check, form.map, form.split)
    return form.type not in {None, "text", "json"} or any(o is not None for o in options)


def _blank(form: ColumnForm, typed: Typed, frame: Frame) -> Value:
    """Say what becomes of a blank: a default, an empty text, null, a reject, or nothing."""
    if not typed.data.null_count:
        return typed
    if form.default is not None:
        return _filled(typed, form.default)
    if form.required or form.blank == "reject":
        # a row that failed has its reason already
        blank = ~valid(typed.data) & ~frame.failed(form.column)
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


def _array(form: ArrayForm, frame: Frame) -> Value | None:
    """Interleave the items row by row; blank ones are left out."""
    made = [item for inner in form.array if (item := value(inner, frame)) is not None]
    columns = [texts_json(item, frame.count) for item in made]
    if not columns:
        return fixed([]) if form.empty == "keep" else None
    flat = pa.concat_arrays(columns)
    parents = np.tile(np.arange(frame.count), len(columns))
    order = np.argsort(parents, kind="stable")
    return array_of(raw(flat.take(pa.array(order))), parents[order], frame.count, empty=form.empty)


def _each(form: EachForm, frame: Frame) -> Value:
    cells = frame.cells(form.each)
    lists = cells.data
    if pa.types.is_null(lists.type):
        return raw(pa.nulls(frame.count, pa.string()))
    if cells.is_json or _has_json_items(lists.type):
        # lines of several types: those that are lists of objects are still lists
        texts = natural.typed(form.each, cells, replace(frame, faults=[])).data
        lists, bad = lists_of(form.each, texts)
        frame.fail(form.each, Code.NOT_A_LIST, bad, texts)
    if pa.types.is_list(lists.type) and pa.types.is_null(lists.type.value_type):
        empty = pc.if_else(lists.is_valid(), pa.scalar("[]", STRING), NO_TEXT)
        return raw(empty if form.empty == "keep" else pa.nulls(frame.count, STRING))
    if not (pa.types.is_list(lists.type) and pa.types.is_struct(lists.type.value_type)):
        present = _present(form.each, Cells(lists), frame)
        frame.fail(form.each, Code.NOT_A_LIST, present, texts_of(Cells(lists)))
        return raw(pa.nulls(frame.count, pa.string()))
    parents, items = natural.parents_of(lists), lists.flatten()
    inner = frame.inner(form.each, items, parents)
    forms = form.as_
    made = value(forms, inner) if isinstance(forms, str) else members(forms, inner)
    texts = pa.nulls(len(items), STRING) if made is None else texts_json(made, len(items))
    typed = array_of(raw(texts), parents, frame.count, empty=form.empty)
    if form.empty == "keep" and lists.null_count:
        return raw(pc.if_else(lists.is_valid(), typed.data, NO_TEXT))
    return typed


def _has_json_items(kind: pa.DataType) -> bool:
    """Whether a type is that of lists whose items are of several types, so that they are JSON."""
    return pa.types.is_list(kind) and JSON_KIND.items() <= (kind.value_field.metadata or {}).items()


def _each_row(form: EachRowForm, frame: Frame) -> Typed:
    """The rows of each group as an array; rows of which nothing is left are left out."""
    assert frame.inside is not None
    inner, forms = frame.inside.frame, form.each_row
    made = value(forms, inner) if isinstance(forms, str) else members(forms, inner)
    texts = pa.nulls(inner.count, STRING) if made is None else texts_json(made, inner.count)
    return array_of(raw(texts), frame.inside.parents, frame.count, empty=form.empty)


def _agg(form: AggForm, frame: Frame) -> Value:
    """One value of the rows of each group; a blank is judged once it is made."""
    assert frame.inside is not None
    rows, parents = frame.inside.frame, frame.inside.parents
    if form.column is None and form.expr is None:  # it counts the rows themselves
        made: Value = raw(pa.repeat(pa.scalar("1", STRING), rows.count))
    else:
        made = column(*resolved(form.value(), rows))
    values = made if isinstance(made, Typed) else raw(texts_json(made, rows.count))
    found = aggregate(form.agg, values, parents, frame.count)
    return _blank(form.whole(), found, frame)


def texts_json(made: Value, count: int) -> pa.StringArray:
    """Return n JSON texts, whatever the form."""
    return (
        pa.repeat(pa.scalar(made.text, pa.string()), count)
        if isinstance(made, Fixed)
        else made.json()
    )


def _object(form: ObjectForm, frame: Frame) -> Value | None:
    return members(form.object, frame, empty=form.empty)


def _json(form: JsonForm, frame: Frame) -> Typed:
    return as_json(column_form(form.json_), frame.cells(form.json_), frame)


def _computed(form: ExprForm, frame: Frame) -> Value:
    return column(*resolved(form, frame))


FORMS: Final[dict[type, Callable[[Any, Frame], Value | None]]] = {
    ColumnForm: column,
    ExprForm: _computed,
    ObjectForm: _object,
    ArrayForm: _array,
    EachForm: _each,
    EachRowForm: _each_row,
    AggForm: _agg,
    JsonForm: _json,
}
