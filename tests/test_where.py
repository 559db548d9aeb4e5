"""Rows that are filtered, messages that only some rows have, and what "*" stands for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import build

from backfill.errors import MappingError
from backfill.mapping import load_mapping
from backfill.source import csv as source_csv

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli
    from ledger import Ledger

AT = "2024-01-01T00:00Z"
IDENTIFY = {"type": "identify", "userId": "id", "traits": {"plan": "plan"}}
TRACK = {
    "type": "track",
    "userId": "id",
    "event": {"const": "Paid"},
    "timestamp": "at",
    "properties": {"total": {"column": "total", "type": "number"}},
}


def document(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    source = {"path": "rows.csv"}
    return {"version": 1, "name": "rows", "source": source, "messages": list(messages), **more}


def rows(folder: Path, *lines: str, header: str = "id,plan,total,at") -> None:
    (folder / "rows.csv").write_text("\n".join([header, *lines, ""]))


CELL = st.sampled_from(["", "a", "b", "1", "-2"])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=30), st.integers(60, 300))
def test_every_row_is_sent_filtered_or_rejected_as_a_plain_reading_says(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], block_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("where")
    rows(folder, *[f"u{n},{plan},{total},{AT}" for n, (plan, total) in enumerate(cells)])
    mapping = document(
        {**IDENTIFY, "when": 'plan != "b"'},
        {**TRACK, "when": "total is not None"},
        where='plan in ("a", "b", "1") or total == "1"',
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_csv, "BLOCK_BYTES", block_bytes)
        made = build(mapping, folder)
    sent, rejected = {}, {}
    for row, (plan, total) in enumerate(cells):
        if plan not in {"a", "b", "1"} and total != "1":
            continue
        if total in {"a", "b"}:
            rejected[row] = "number-unreadable"
            continue
        types = ["identify"] if plan and plan != "b" else []
        types += ["track"] if total else []
        if types:
            sent[row] = types
    assert {row: [one["type"] for one in found] for row, found in made.messages.items()} == sent
    assert made.codes == rejected


def test_a_message_that_a_row_does_not_have_cannot_reject_it(tmp_path: Path) -> None:
    rows(tmp_path, f"1,x,abc,{AT}", f"2,x,5,{AT}", "3,x,,no time")
    made = build(document(IDENTIFY, {**TRACK, "when": 'matches(total, "^[0-9]+$")'}), tmp_path)
    assert made.codes == {}
    assert [len(made.messages[row]) for row in range(3)] == [1, 2, 1]


def test_a_condition_that_cannot_be_read_rejects_its_row(tmp_path: Path) -> None:
    rows(tmp_path, f"1,x,abc,{AT}", f"2,x,5,{AT}", f"3,x,1,{AT}")
    words = (
        "'abc' is not a number; correct the cell, or set decimal: and thousands: for this column"
    )
    for conditions in ({"where": "number(total) > 2"}, {}):
        when = {} if conditions else {"when": "number(total) > 2"}
        made = build(document({**IDENTIFY, **when}, **conditions), tmp_path)
        assert made.rejects == {0: ("total", "number-unreadable", f"total: {words}")}
        assert list(made.messages) == [1]


def test_the_ids_of_messages_do_not_depend_on_which_rows_are_filtered(tmp_path: Path) -> None:
    rows(tmp_path, *[f"{n},x,{n},{AT}" for n in range(6)])
    whole = build(document(IDENTIFY, TRACK), tmp_path)
    some = build(document(IDENTIFY, {**TRACK, "when": "number(total) > 3"}), tmp_path)
    for row in range(6):
        assert some.ids(row) == whole.ids(row)[: len(some.ids(row))]
    assert [len(some.ids(row)) for row in range(6)] == [1, 1, 1, 1, 2, 2]


def test_the_books_count_filtered_rows_and_the_messages_that_rows_have(
    tmp_path: Path, cli: Cli, ledger: Ledger
) -> None:
    rows(tmp_path, *[f"{n},p{n % 3},{n},{AT}" for n in range(30)])
    mapping = document({**IDENTIFY, "when": 'plan == "p1"'}, TRACK, where='plan != "p0"', key="id")
    (tmp_path / "rows.yaml").write_text(json.dumps(mapping))
    done = cli("run", "rows.yaml", "--to", ledger.url, "--rate", "unlimited", "--json")
    assert done.code == 0
    books = done.report["rows"]
    assert (books["read"], books["delivered"], books["filtered"]) == (30, 20, 10)
    assert done.report["messages"] == {"built": 30, "delivered": 30, "refused": 0}
    assert sorted(int(one["userId"]) for one in ledger.kept if one["type"] == "track") == [
        n for n in range(30) if n % 3
    ]
    again = cli("run", "rows.yaml", "--to", ledger.url, "--rate", "unlimited")
    assert "nothing new" in again.out


def test_a_group_counts_its_filtered_rows_apart(tmp_path: Path) -> None:
    rows(tmp_path, f"1,x,5,{AT}", f"1,x,7,{AT}", f"1,TEST,9,{AT}", f"2,TEST,1,{AT}")
    message = {**TRACK, "properties": {"total": {"agg": "sum", "expr": "number(total) * 2"}}}
    mapping = document(message, where='plan != "TEST"', rows={"group_by": "id"})
    made = build(mapping, tmp_path)
    assert {row: one[0]["properties"] for row, one in made.messages.items()} == {0: {"total": 24}}
    assert made.codes == {}


# "*"

STAR = {"columns": "prop_*", "strip": "prop_"}


def starred(**changes: Any) -> dict[str, Any]:
    return {**TRACK, "properties": {"plan": "plan", "*": {**STAR, **changes}}}


def test_star_takes_every_column_that_matches_and_is_not_named_elsewhere(tmp_path: Path) -> None:
    header = "id,plan,total,at,prop_z,prop_a,prop_plain,other,prop_used,prop_out"
    rows(tmp_path, f"1,x,5,{AT},Z,A,P,O,U,X", f"2,x,5,{AT},,A,,,,", header=header)
    message = starred(**{"except": ["prop_out"]})
    message["context"] = {"ip": {"expr": "upper(prop_used)"}}
    message["when"] = "prop_a is not None"
    made = build(document(message), tmp_path)
    properties = [made.messages[row][0]["properties"] for row in (0, 1)]
    assert properties[0] == {"plan": "x", "z": "Z", "a": "A", "plain": "P"}
    assert properties[1] == {"plan": "x", "a": "A"}
    assert list(properties[0]) == ["plan", "z", "a", "plain"], "in the order of the columns"


def test_what_star_leaves_out_is_written_like_what_it_takes(tmp_path: Path) -> None:
    """A pattern that left nothing out would send what somebody meant to keep."""
    header = "id,plan,total,at,context_ip,context_page,sent_at,at_x,plain"
    rows(tmp_path, f"1,x,5,{AT},I,P,S,X,Z", header=header)
    star = {"columns": "*", "except": ["context_*", "*_at", "id", "tot?l", "at"]}
    made = build(document({**TRACK, "properties": {"*": star}}), tmp_path)
    assert made.messages[0][0]["properties"] == {"plan": "x", "at_x": "X", "plain": "Z"}


def test_star_stands_in_objects_context_and_traits_too(tmp_path: Path) -> None:
    rows(tmp_path, "1,x,5,2,3", header="id,plan,a.b,a.c,[d]")
    message = {
        **IDENTIFY,
        "traits": {"o": {"object": {"*": {"columns": ["a.?"], "strip": "a."}}}},
        "context": {"*": {"columns": "[d]"}},
    }
    made = build(document(message), tmp_path)
    assert made.messages[0][0]["traits"] == {"o": {"b": "5", "c": "2"}}
    assert made.messages[0][0]["context"] == {"[d]": "3"}


def test_star_stands_in_the_objects_of_an_array_too(tmp_path: Path) -> None:
    rows(tmp_path, "1,x,y,z", header="id,a_b,a_c,plan")
    star = {"*": {"columns": "a_*", "strip": "a_", "except": ["a_c"]}}
    forms = {"l": {"array": [{"object": star}, {"array": [{"object": {"p": "plan", **star}}]}]}}
    made = build(document({**IDENTIFY, "traits": forms}), tmp_path)
    assert made.messages[0][0]["traits"] == {"l": [{"b": "x"}, [{"p": "z", "b": "x"}]]}


def test_star_keeps_the_types_of_parquet_and_the_keys_of_json_lines(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "prop_n": [1.5], "prop_l": [[1, 2]], "at": [AT], "plan": ["x"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    message = starred()
    mapping = document(message)
    mapping["source"] = {"path": "rows.parquet"}
    made = build(mapping, tmp_path)
    assert made.messages[0][0]["properties"] == {"plan": "x", "n": 1.5, "l": [1, 2]}
    lines = [
        {"id": "1", "at": AT, "prop_b": 2, "prop_a": True},
        {"id": "2", "at": AT, "prop_c": {"x": 1}},
        {"id": "3", "at": AT, "prop_plan": "taken", "plan": "x"},
        {"id": "4", "at": AT, "prop_recipient": "a@b.c"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    mapping["source"] = {"path": "rows.jsonl"}
    made = build(mapping, tmp_path)
    properties = {row: one[0]["properties"] for row, one in made.messages.items()}
    assert properties == {0: {"a": True, "b": 2}, 1: {"c": {"x": 1}}}
    assert list(properties[0]) == ["a", "b"], "whatever the order of the keys"
    fix = "put the column into except: of the mapping, or name it there on its own"
    assert made.rejects == {
        2: ("prop_plan", "member-refused", f"prop_plan: the member 'plan' is there already; {fix}"),
        3: (
            "prop_recipient",
            "member-refused",
            (
                "prop_recipient: the property 'recipient' overrides the settings of campaigns;"
                f" {fix}"
            ),
        ),
    }


OUT = "put the column into except:, or name it on its own"
UNFIT: dict[str, tuple[str, dict[str, Any], list[tuple[str, str, str]]]] = {
    "a member that is there": (
        "prop_plan",
        {},
        [("bad-name", "'prop_plan': the member 'plan' is there already", OUT)],
    ),
    "a name that is empty": (
        "prop_",
        {},
        [("bad-name", "'prop_': the name '' must have 1 to 150 bytes", OUT)],
    ),
    "an override": (
        "prop_recipient",
        {},
        [
            (
                "bad-name",
                ("'prop_recipient': the property 'recipient' overrides the settings of campaigns"),
                "put the column into except:, or guards: {allow: [recipient]}",
            )
        ],
    ),
    "nothing matches": (
        "prop_x",
        {"columns": ["prop_*", "porp_*"]},
        [
            (
                "unknown-column",
                "rows.csv: no column is like 'porp_*'",
                "did you mean 'prop_x'?",
            )
        ],
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_star_says_which_columns_cannot_be_members(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, changes, told = UNFIT[name]
    rows(tmp_path, header=f"id,plan,total,at,{column}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MappingError) as caught:
        build(document(starred(**changes)), tmp_path)
    found = [(lint.code, lint.what, lint.fix) for lint in caught.value.lints]
    assert [(code, what.replace(f"{tmp_path}/", ""), fix) for code, what, fix in found] == told


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (
            {**IDENTIFY, "traits": {"x": STAR}},
            'columns: stands under "*" in traits, properties, context or an object',
        ),
        (
            {**IDENTIFY, "traits": {"o": {"each": "l", "as": {"*": STAR}}}},
            'columns: stands under "*" in traits, properties, context or an object',
        ),
        ({**IDENTIFY, "traits": {"*": "plan"}}, "'*' says which columns it stands for"),
    ],
)
def test_star_is_a_fault_where_it_cannot_stand(
    message: dict[str, Any], what: str, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text(json.dumps(document(message)))
    with pytest.raises(MappingError) as caught:
        load_mapping(tmp_path / "m.yaml")
    assert [lint.what for lint in caught.value.lints] == [what]


def test_more_traits_than_a_person_may_have_are_told_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    names = [f"t{n}" for n in range(301)]
    rows(tmp_path, header=",".join(["id", *names]))
    message = {"type": "identify", "userId": "id", "traits": {"*": {"columns": "t*"}}}
    with pytest.raises(MappingError) as caught:
        build(document(message), tmp_path)
    assert [lint.what.split(": ")[1] for lint in caught.value.lints] == [
        "301 traits are more than 300"
    ]
