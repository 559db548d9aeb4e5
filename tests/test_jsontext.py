"""Columns of JSON text mean what the values mean: against `json`."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.jsontext import (
    Fixed,
    Parts,
    Typed,
    array_of,
    escape,
    fixed,
    map_of,
    merged,
    object_of,
    plain,
    raw,
    text,
)

MANY: Final = settings(max_examples=120, deadline=None, print_blob=True)
TEXTS: Final = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(st.sampled_from([*map(chr, range(0x20)), '"', "\\", "\x7f", "\u2028", "\U0001f600"])),
)
EVERY: Final = "".join(map(chr, [*range(0x300), 0x2028, 0x2029, 0xFEFF, 0xFFFF, 0x10000, 0x10FFFF]))


def loads(column: pa.StringArray) -> list[Any]:
    """The values of n JSON texts."""
    return [None if one is None else json.loads(one) for one in column.to_pylist()]


def texts_of(made: Any, count: int) -> list[str | None]:
    found = [made.text] * count if isinstance(made, Fixed) else made.json().to_pylist()
    return list(found)


@MANY
@given(st.lists(st.none() | TEXTS, max_size=6))
def test_escaped_text_reads_back_as_itself(values: list[str | None]) -> None:
    whole = pa.array(["\n", *values, '"'], pa.string())
    assert loads(text(whole.slice(1, len(values))).json()) == values


def test_every_control_and_astral_character_is_written_as_json_writes_it() -> None:
    """As ids are made of these texts, their exact form counts, not only their meaning."""
    found = text(pa.array([EVERY, *EVERY])).json().to_pylist()
    assert found == [json.dumps(one, ensure_ascii=False) for one in (EVERY, *EVERY)]


def test_text_that_needs_no_escape_is_not_copied() -> None:
    column = pa.array(["a", None, "é😀"])
    assert escape(column) is column


@pytest.mark.parametrize(
    "value",
    [None, True, 5, -1.5, 'a\nb"\\é😀', [], {}, [1, [2, {"a": None}]], {"é": {"b": ["\x00"]}}],
)
def test_a_constant_is_written_as_compact_json(value: Any) -> None:
    assert json.loads(fixed(value).text) == value
    assert fixed({"a": [1, 2], "b": "é"}).text == '{"a":[1,2],"b":"é"}'


VALUES: Final = st.none() | TEXTS


@st.composite
def members(draw: Any) -> tuple[list[tuple[str, Any]], list[dict[str, Any]]]:
    """Members of an object as columns of all kinds, and the n objects they mean."""
    count = draw(st.integers(1, 5))
    keys = draw(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
    made: list[tuple[str, Any]] = []
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for key in keys:
        kind = draw(st.sampled_from(["text", "sure", "number", "fixed", "object", "plain"]))
        column, values = draw(columns(kind, count))
        made.append((key, column))
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[key] = value
    return made, rows


@st.composite
def columns(draw: Any, kind: str, count: int) -> tuple[Any, list[Any]]:
    """A column of one kind and its values; None is blank."""
    if kind == "fixed":
        value = draw(TEXTS)
        return fixed(value), [value] * count
    if kind == "number":
        numbers = draw(st.lists(st.none() | st.integers(), min_size=count, max_size=count))
        return raw(pa.array([n if n is None else str(n) for n in numbers], pa.string())), numbers
    if kind == "plain":
        words = draw(st.lists(st.none() | st.text("abc"), min_size=count, max_size=count))
        return plain(pa.array(words, pa.string()), "Z"), [
            w if w is None else f"{w}Z" for w in words
        ]
    values = draw(st.lists(TEXTS if kind == "sure" else VALUES, min_size=count, max_size=count))
    column = text(pa.array(values, pa.string()))
    if kind != "object":
        return column, values
    inner = object_of(
        [("in", column), ("of", fixed(1))] if draw(st.booleans()) else [("in", column)]
    )
    objects = json.loads(json.dumps([{} if v is None else {"in": v} for v in values]))
    if isinstance(inner, Parts) and len(inner.parts) > 1 and '"of":1' in str(inner.parts):
        objects = [{**o, "of": 1} for o in objects]
    return inner, [o or None for o in objects]


@MANY
@given(members())
def test_an_object_has_the_members_that_are_not_blank_with_commas_in_place(
    given_: tuple[list[tuple[str, Any]], list[dict[str, Any]]],
) -> None:
    made, rows = given_
    found = texts_of(object_of(made, empty="keep"), len(rows))
    assert [json.loads(one or "null") for one in found] == rows
    some = texts_of(object_of(made), len(rows))
    assert [one and json.loads(one) for one in some] == [row or None for row in rows]
    order = [key for key, _ in made]
    for one, row in zip(found, rows, strict=True):
        assert list(json.loads(one or "null")) == [key for key in order if key in row]


@MANY
@given(members(), st.data())
def test_rows_that_are_filtered_out_change_nothing_for_the_others(
    given_: tuple[list[tuple[str, Any]], list[dict[str, Any]]], data: st.DataObject
) -> None:
    made, rows = given_
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    mask = pa.array(keep, pa.bool_())
    kept = [(key, value.filter(mask)) for key, value in made]
    found = texts_of(object_of(kept, empty="keep"), sum(keep))
    assert [json.loads(one or "null") for one in found] == [
        row for row, is_kept in zip(rows, keep, strict=True) if is_kept
    ]


@pytest.mark.parametrize("empty", ["omit", "keep"])
def test_an_object_with_nothing_in_it_is_blank_unless_kept(empty: str) -> None:
    blank = text(pa.array([None, None], pa.string()))
    expected = ["{}", "{}"] if empty == "keep" else [None, None]
    assert texts_of(object_of([("a", blank)], empty=empty), 2) == expected


@MANY
@given(st.lists(st.lists(st.none() | TEXTS, max_size=4), min_size=1, max_size=5))
def test_an_array_has_the_items_of_its_row_that_are_not_blank(rows: list[list[str | None]]) -> None:
    items = [(at, item) for at, row in enumerate(rows) for item in row]
    parents = np.array([at for at, _ in items], np.int64)
    column = text(pa.array([item for _, item in items], pa.string()))
    expected = [[item for item in row if item is not None] for row in rows]
    assert loads(array_of(column, parents, len(rows), empty="keep").json()) == expected
    assert loads(array_of(column, parents, len(rows)).json()) == [row or None for row in expected]


@MANY
@given(st.lists(st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3), min_size=1, max_size=4))
def test_a_map_is_an_object_of_its_pairs(rows: list[dict[str, str | None]]) -> None:
    pairs = [(at, key, item) for at, row in enumerate(rows) for key, item in row.items()]
    parents = np.array([at for at, _, _ in pairs], np.int64)
    keys = pa.array([key for _, key, _ in pairs], pa.string())
    items = text(pa.array([item for _, _, item in pairs], pa.string()))
    expected = [{k: v for k, v in row.items() if v is not None} or None for row in rows]
    assert loads(map_of(keys, items, parents, len(rows)).json()) == expected


def test_literals_side_by_side_are_merged_and_lose_nothing() -> None:
    column = pa.array(["x"])
    assert merged(["a", "", ["b", column, "c"], "d", [column]]) == ["ab", column, "cd", column]


def test_a_filtered_value_keeps_what_stands_around_it() -> None:
    mask = pa.array([False, True])
    assert Typed(pa.array(["1", "2"]), "<", ">").filter(mask).json().to_pylist() == ["<2>"]
    assert Parts(("<", pa.array(["1", "2"]), ">")).filter(mask).json().to_pylist() == ["<2>"]
    assert Fixed("7").filter(mask).text == "7"
