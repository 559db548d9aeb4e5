"""What is encoded parses back to the rows, whatever file they come from and wherever they stand."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Built, build, is_same

from backfill.columns import interleaved
from backfill.errors import BackfillError
from backfill.source.jsonl import JsonlReader
from backfill.spec import MEMBER_ORDER, TYPES

ROOT: Final = Path(__file__).parent.parent
NAUGHTY: Final = ROOT.parent / "shared" / "data" / "strings" / "blns.json"
FEW: Final = settings(max_examples=40, deadline=None, print_blob=True)
MANY: Final = settings(max_examples=60, deadline=None, print_blob=True)
TEXTS: Final = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(
        st.sampled_from([*map(chr, range(0x20)), '"', "\\", "\x7f", ",", "\u2028", "\U0001f600"])
    ),
)
NAMES: Final = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
GUARDS: Final = {"recent_events": "send", "future": "send", "not_before": "1000-01-01"}


def document(path: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"version": 1, "name": "t", "source": {"path": path}, "guards": GUARDS}
    return {**head, "messages": [*messages], **more}


def all_traits(names: list[str]) -> dict[str, Any]:
    return {"type": "identify", "userId": "id", "traits": {name: name for name in names}}


# Round trips


@FEW
@given(
    NAMES.filter(lambda name: name not in {"id", "*"}),
    st.lists(st.none() | TEXTS, min_size=1, max_size=8),
)
def test_encoded_rows_parse_back_to_the_rows(name: str, cells: list[str | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ids = [str(at) for at in range(len(cells))]
        pq.write_table(
            pa.table({"id": ids, name: pa.array(cells, pa.string())}), f"{folder}/t.parquet"
        )
        made = build(document("t.parquet", all_traits([name])), Path(folder))
    for at, cell in enumerate(cells):
        traits = made.bodies()[at][0].get("traits", {})
        assert traits == ({} if cell is None else {name: cell})


@pytest.mark.skipif(not NAUGHTY.exists(), reason=f"the shared data is not here ({NAUGHTY})")
@pytest.mark.parametrize("path", ["t.csv", "t.parquet", "t.jsonl"])
def test_every_naughty_string_survives_as_id_trait_event_and_header(
    path: str, tmp_path: Path
) -> None:
    """The Big List of Naughty Strings; ids and names over their limits are left out."""
    found = [text for text in dict.fromkeys(json.loads(NAUGHTY.read_text("utf-8"))) if text.strip()]
    words = [text for text in found if len(text.encode()) <= 100]
    names = [text for text in words if text not in {"id", "now"}][:250]
    rows = [{"id": word, **dict.fromkeys(names, word)} for word in words]
    if path == "t.csv":
        lines = [
            ",".join(csv_cell(cell) for cell in row.values())
            for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]
        ]
        (tmp_path / path).write_text("\n".join(lines), encoding="utf-8", newline="")
    elif path == "t.jsonl":
        (tmp_path / path).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / path)
    event = {"type": "track", "userId": "id", "event": "id", "properties": {n: n for n in names}}
    event["timestamp"] = {"const": "2020-01-01T00:00:00Z"}
    made = build(document(path, event), tmp_path)
    for at, word in enumerate(words):
        if made.codes.get(at) == "message-too-long":
            continue
        (message,) = made.bodies()[at]
        assert message["userId"] == word
        assert message["event"].strip() == message["event"] != ""
        assert message["properties"] == dict.fromkeys(names, word)


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_members_stand_in_their_order_with_the_type_first_and_the_id_last(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("id,at\n1,2020-01-01T00:00:00Z\n")
    forms: dict[str, Any] = {
        **dict.fromkeys(("userId", "anonymousId", "groupId", "previousId", "name"), "id"),
        "event": {"const": "Seen"},
        "timestamp": "at",
        "context": {"ip": "id"},
        "integrations": {"const": {"All": True}},
        "traits": {"a": "id"},
        "properties": {"a": "id"},
        "category": "id",
    }
    members = [name for name in reversed(TYPES[kind].members) if name in forms]
    message = {"type": kind, **{name: forms[name] for name in members}}
    made = build(document("t.csv", message), tmp_path)
    found = list(json.loads(made.texts[0][1:]))
    order = [name for name in MEMBER_ORDER if name in members]
    assert found == ["type", *order, "messageId"]


def test_messages_of_a_row_stand_side_by_side_in_the_order_of_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,at\n1,2020-01-01T00:00:00Z\n2,2020-01-02T00:00:00Z\n")
    track = {"type": "track", "userId": "id", "event": {"const": "Seen"}, "timestamp": "at"}
    made = build(document("t.csv", track, all_traits(["at"]), track), tmp_path)
    for row in (0, 1):
        assert [one["type"] for one in made.messages[row]] == ["track", "identify", "track"]
        assert len(set(made.ids(row))) == 3


def test_no_space_is_spent_between_members(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,a\n1,x\n")
    nested = {
        "o": {"object": {"b": "a", "c": {"const": {"d": [1, 2]}}}},
        "l": {"array": ["a", "id"]},
    }
    made = build(
        document("t.csv", {"type": "identify", "userId": "id", "traits": nested}), tmp_path
    )
    text = made.texts[0].split(',"messageId"')[0]
    assert text == (
        ',{"type":"identify","userId":"1","traits":{"o":{"b":"x","c":{"d":[1,2]}},"l":["x","1"]}'
    )


# One set of data, three formats

CELL: Final = {
    "text": st.none() | TEXTS.filter(bool),
    "number": st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
    "flag": st.none() | st.booleans(),
    "part": st.none() | st.floats(allow_nan=False, allow_infinity=False),
}
TYPED: Final = {
    "text": "text",
    "number": {"column": "number", "type": "integer"},
    "flag": {"column": "flag", "type": "boolean"},
    "part": {"column": "part", "type": "number"},
}
ARROW: Final = pa.schema(
    {"id": pa.string(), "text": pa.string(), "number": pa.int64(), "flag": pa.bool_()}
    | {"part": pa.float64()}
)
ROWS: Final = st.lists(st.fixed_dictionaries(CELL), min_size=1, max_size=6)


def csv_cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return '"' + text.replace('"', '""') + '"'


def write_all(folder: Path, rows: list[dict[str, Any]]) -> list[str]:
    """The same rows as CSV, Parquet and JSON lines; the names of the files."""
    full = [{"id": f"u{at}", **row} for at, row in enumerate(rows)]
    full.append({"id": "last", "text": "x", "number": 1, "flag": True, "part": 0.5})  # all columns
    pq.write_table(pa.Table.from_pylist(full, schema=ARROW), folder / "t.parquet")
    lines = [",".join(csv_cell(row[name]) for name in ARROW.names) for row in full]
    text = "\n".join([",".join(ARROW.names), *lines, ""])
    (folder / "t.csv").write_text(text, encoding="utf-8", newline="")
    objects = [{k: v for k, v in row.items() if v is not None} for row in full]
    text = "".join(json.dumps(row) + "\n" for row in objects)
    (folder / "t.jsonl").write_text(text, encoding="utf-8", newline="")
    return ["t.csv", "t.parquet", "t.jsonl"]


@MANY
@given(ROWS)
def test_csv_parquet_and_json_lines_of_the_same_data_give_the_same_messages(
    rows: list[dict[str, Any]],
) -> None:
    """Numbers by their value: a float's digits are each writer's own."""
    message = {"type": "identify", "userId": "id", "traits": TYPED}
    expected = []
    for at, row in enumerate(rows):
        traits = {name: value for name, value in row.items() if value is not None}
        one: dict[str, Any] = {"type": "identify", "userId": f"u{at}"}
        expected.append([one | ({"traits": traits} if traits else {})])
    with tempfile.TemporaryDirectory() as name:
        for path in write_all(Path(name), rows):
            made = build(document(path, message), Path(name))
            assert not made.rejects, path
            assert is_same([made.bodies()[at] for at in range(len(rows))], expected), path


def test_a_csv_and_its_parquet_twin_have_the_same_ids_with_a_key(tmp_path: Path) -> None:
    rows = [{"text": "é\n", "number": 7, "flag": True, "part": None}]
    message = {"type": "identify", "userId": "id", "traits": {"text": "text"}}
    ids = {
        build(document(path, message, key="id"), tmp_path).ids(0)[0]
        for path in write_all(tmp_path, rows)
    }
    assert len(ids) == 1


# JSON lines: the fast way and the slow one

SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70) | st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.1, 0.00001, 1e-7, 1e16, 123456789012.5, 1e22, -0.0]),
    TEXTS,
    st.sampled_from(["2020-01-01", "2020-01-01T00:00:00Z", "1", "true", "null"]),
)
TREES: Final = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)
HOMES: Final = st.fixed_dictionaries(
    {}, optional={"city": st.none() | TEXTS, "zip": st.none() | st.integers(-9, 9)}
)
LIKE_ROWS: Final = st.fixed_dictionaries(  # of one type each, so that Arrow can read them
    {},
    optional={
        "a": st.none() | TEXTS,
        "b": st.none() | st.integers(-(1 << 62), 1 << 62),
        "c": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=16),
        "d": st.none() | st.booleans(),
        "e": st.none() | HOMES,
        "f": st.none() | st.lists(st.none() | HOMES, max_size=2),
        "g": st.none() | st.lists(st.none() | TEXTS, max_size=2),
        "h": st.none() | st.sampled_from(["2020-01-01", "2020-01-01 10:00:00", "x", "12:00"]),
    },
)
ANY_ROWS: Final = st.fixed_dictionaries({}, optional=dict.fromkeys("abcdefgh", TREES))
OPTIONS: Final = st.sampled_from(
    [
        *({}, {"type": "text"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}),
        *({"type": "json"}, {"type": "timestamp", "timezone": "UTC"}, {"type": "date"}),
        *({"type": "timestamp", "format": "unix_s"}, {"required": True}, {"default": "d"}),
        *({"blank": "null"}, {"split": ","}, {"map": {"1": "x", "true": "y"}, "else": "keep"}),
        *({"check": "^[0-9a-z.]*$"}, {"type": "number", "decimal": ","}),
    ]
)


@st.composite
def mappings(draw: Any) -> dict[str, Any]:
    """An identify of some of the columns, with options."""
    traits: dict[str, Any] = {}
    for column in draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True)):
        traits[f"t{column}"] = {"column": column, **draw(OPTIONS)}
    if draw(st.booleans()):
        traits["each"] = {"each": "f", "as": {"x": "city", "y": {"column": "zip"}}}
    return {"type": "identify", "userId": "id", "traits": traits}


def lines_of(rows: list[dict[str, Any]]) -> list[bytes]:
    full = [{"id": f"u{at}", **row} for at, row in enumerate(rows)]
    return [json.dumps(row, ensure_ascii=at % 2 == 0).encode() for at, row in enumerate(full)]


def outcome(lines: list[bytes], message: dict[str, Any]) -> tuple[Any, ...]:
    """Messages and the codes of the rejected rows; or that the mapping does not fit."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "t.jsonl").write_bytes(b"\n".join(lines))
        try:
            made = build(document("t.jsonl", message, key="id"), Path(name))
        except BackfillError as fault:
            return ("refused", type(fault).__name__)
    return made.messages, made.codes


@MANY
@given(st.lists(st.one_of(LIKE_ROWS, ANY_ROWS), min_size=1, max_size=5), mappings())
def test_json_lines_are_read_the_same_in_the_fast_way_and_in_the_slow_one(
    rows: list[dict[str, Any]], message: dict[str, Any]
) -> None:
    lines = lines_of(rows)
    fast = outcome(lines, message)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonlReader, "_fast", lambda _self, _text: None)
        slow = outcome(lines, message)
    assert fast == slow


@MANY
@given(st.lists(st.one_of(LIKE_ROWS, ANY_ROWS), min_size=2, max_size=4), mappings())
def test_a_json_line_becomes_the_same_messages_whatever_lines_stand_beside_it(
    rows: list[dict[str, Any]], message: dict[str, Any]
) -> None:
    """A strange value in one line must cost that line, and change no other."""
    lines = lines_of(rows)
    together = outcome(lines, message)
    for at, line in enumerate(lines):
        alone = outcome([line], message)
        if "refused" in (alone[0], together[0]):
            continue
        expected = (alone[0].get(0), alone[1].get(0))
        assert (together[0].get(at), together[1].get(at)) == expected, line


def beside(lines: list[str], message: dict[str, Any], folder: Path) -> Built:
    (folder / "t.jsonl").write_text("\n".join(lines))
    return build(document("t.jsonl", message), folder)


def test_a_list_of_structs_is_still_one_beside_a_line_where_it_is_none(tmp_path: Path) -> None:
    each = {"each": "items", "as": {"s": "sku"}}
    message = {"type": "identify", "userId": "id", "traits": {"items": each}}
    lines = ['{"id":"1","items":[{"sku":"a"}]}', '{"id":"2","items":5}', '{"id":"3"}']
    made = beside(lines, message, tmp_path)
    assert made.codes == {1: "not-a-list"}
    assert made.bodies()[0][0]["traits"] == {"items": [{"s": "a"}]}


def test_a_text_that_holds_json_is_still_read_beside_a_line_where_it_is_a_number(
    tmp_path: Path,
) -> None:
    message = {"type": "identify", "userId": "id", "traits": {"j": {"json": "j"}}}
    lines = ['{"id":"1","j":"{\\"a\\":1}"}', '{"id":"2","j":5}']
    for some in (lines[:1], lines):
        made = beside(some, message, tmp_path)
        assert made.bodies()[0][0]["traits"] == {"j": {"a": Decimal(1)}}


def test_a_small_number_as_text_keeps_the_digits_it_was_written_with(tmp_path: Path) -> None:
    message = {"type": "identify", "userId": "id", "traits": {"n": {"column": "n", "type": "text"}}}
    for digits in ("0.00001", "123456789012.5", "1.5"):
        for other in ([], ['{"id":"2","n":1.50}'], ['{"id":"2","n":"x"}']):
            made = beside([f'{{"id":"1","n":{digits}}}', *other], message, tmp_path)
            assert made.bodies()[0][0]["traits"] == {"n": digits}, other


def test_a_number_of_json_needs_no_decimal_mark(tmp_path: Path) -> None:
    """`decimal:` is for texts; a JSON number has its point."""
    form = {"column": "n", "type": "number", "decimal": ","}
    message = {"type": "identify", "userId": "id", "traits": {"n": form}}
    made = beside(['{"id":"1","n":1.5}', '{"id":"2","n":"2,5"}'], message, tmp_path)
    found = {row: one["traits"]["n"] for row, (one,) in made.bodies().items()}
    assert found == {0: Decimal("1.5"), 1: Decimal("2.5")}


def test_an_epoch_with_a_fraction_is_read_from_json(tmp_path: Path) -> None:
    message = {"type": "identify", "userId": "id", "traits": {}}
    message["traits"] = {"t": {"column": "t", "type": "timestamp", "format": "unix_ms"}}
    for other in ([], ['{"id":"2","t":1609459200000.50}']):
        made = beside(['{"id":"1","t":1609459200000.5}', *other], message, tmp_path)
        assert not made.rejects
        assert made.bodies()[0][0]["traits"] == {"t": "2021-01-01T00:00:00.000Z"}


# Independence of record batches


@settings(max_examples=25, deadline=None, print_blob=True)
@given(st.lists(TEXTS.filter(bool) | st.none(), min_size=2, max_size=9), st.integers(1, 4))
def test_messages_do_not_depend_on_where_record_batches_are_cut(
    cells: list[str | None], size: int
) -> None:
    table = pa.table(
        {"id": [f"u{n}" for n in range(len(cells))], "a": pa.array(cells, pa.string())}
    )
    message = all_traits(["a"])
    with tempfile.TemporaryDirectory() as name:
        pq.write_table(table, f"{name}/t.parquet", row_group_size=size)
        document_ = document("t.parquet", message, key="id")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("backfill.source.parquet.ROWS_MAX", size)
            cut = build(document_, Path(name))
        whole = build(document_, Path(name))
    assert cut.texts == whole.texts
    assert len(cut.starts) >= len(whole.starts)


def test_a_hundred_thousand_rows_are_encoded_each_as_itself(tmp_path: Path) -> None:
    """Past several record batches: no row is lost, doubled or given to another."""
    count = 100_000
    at = datetime(2020, 1, 1, tzinfo=UTC)
    table = pa.table(
        {
            "id": [f"u{n}" for n in range(count)],
            "n": pa.array([n if n % 7 else None for n in range(count)], pa.int64()),
            "at": pa.array([at] * count, pa.timestamp("ms", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    message = {"type": "track", "userId": "id", "event": {"const": "E"}, "timestamp": "at"}
    made = build(document("t.parquet", {**message, "properties": {"n": "n"}}), tmp_path)
    assert len(made.starts) > 1
    assert sorted(made.messages) == list(range(count))
    for row, (one,) in made.messages.items():
        assert one["userId"] == f"u{row}"
        assert one.get("properties", {}).get("n") == (row if row % 7 else None)
    assert len({one["messageId"] for (one,) in made.messages.values()}) == count


def test_a_null_in_a_message_is_a_fault_and_never_an_empty_text() -> None:
    with pytest.raises(AssertionError, match="a null would become an empty text"):
        interleaved("a", pa.array(["b", None]))
    assert interleaved("a", pa.array(["b", ""]), "c").to_pylist() == ["abc", "ac"]


@pytest.mark.parametrize("other", ["[false]", "[1,{}]", '"x"', '[{"sku":1},2]', "{}"])
def test_a_list_of_objects_stays_one_beside_lists_of_anything_else(other: str) -> None:
    """Found by the test above: the good row was rejected with the other one."""
    message = {
        "type": "identify",
        "userId": "id",
        "traits": {"items": {"each": "f", "as": {"sku": "sku"}}},
    }
    lines = [f'{{"id":"u0","f":{other}}}'.encode(), b'{"id":"u1","f":[{"sku":7},{"sku":8}]}']
    messages, codes = outcome(lines, message)
    assert messages[1][0]["traits"] == {"items": [{"sku": 7}, {"sku": 8}]}
    assert 1 not in codes
    assert codes.get(0) == (None if other == "{}" else "not-a-list")
