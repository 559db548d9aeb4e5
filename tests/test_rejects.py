"""The dead-letter files: the source's own cells and why, each row once, in the source's form."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ORDERS
from hypothesis import given
from hypothesis import strategies as st
from ledger import Ledger, Reply

import backfill
from backfill.defuse import defused, restored

if TYPE_CHECKING:
    from collections.abc import Callable

    Door = Callable[..., dict[str, Any]]
    Orders = Callable[..., Path]

EXTRA = ["_row", "_column", "_code", "_reason"]

RAW = (
    b"id,person,at,total,note\n"
    b'007,p1,2020-01-02T03:04:05Z,none,"a ""quoted"", cell\nof two lines"\n'
    b"2,p2,2020-01-02T03:04:05Z,2.50,good\n"
    b"\n"
    b"3,p3,2020-01-02T03:04:05Z,3.50\n"
    b"4,p4,2020-01-02T03:04:05Z,4.50,one,two\n"
    b"5,,2020-01-02T03:04:05Z,5.50,NULL\n"
    b"6,p6,2020-01-02 03:04:05,6.50,=1+1\n"
    b"7,p7,2020-01-02T03:04:05Z,7.50,caf\xe9\n"
    b"8,p8,2020-01-02T03:04:05Z,refuse,refused by the far side\n"
)


def rows_of(path: str | Path) -> list[list[str]]:
    text = Path(path).read_bytes().decode(errors="surrogateescape")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv_rejects_are_the_cells_as_they_were_and_why(orders: Orders, door: Door) -> None:
    mapping = orders()
    (mapping.parent / "orders.csv").write_bytes(RAW)
    report = door(mapping)
    header, *rows = rows_of(report["rejects"])
    assert header == ["id", "person", "at", "total", "note", *EXTRA]
    assert [row[:8] for row in rows] == [
        [
            "007",
            "p1",
            "2020-01-02T03:04:05Z",
            "none",
            'a "quoted", cell\nof two lines',
            "2",
            "total",
            "number-unreadable",
        ],
        ["3", "p3", "2020-01-02T03:04:05Z", "3.50", "", "4", "", "row-ragged"],
        ["4", "p4", "2020-01-02T03:04:05Z", "4.50", "one", "5", "", "row-ragged"],
        ["5", "", "2020-01-02T03:04:05Z", "5.50", "NULL", "6", "person", "id-missing"],
        ["6", "p6", "2020-01-02 03:04:05", "6.50", "'=1+1", "7", "at", "time-naive"],
        ["7", "p7", "2020-01-02T03:04:05Z", "7.50", "caf\udce9", "8", "note", "not-utf8"],
        [
            "8",
            "p8",
            "2020-01-02T03:04:05Z",
            "refuse",
            "refused by the far side",
            "9",
            "total",
            "number-unreadable",
        ],
    ]
    reasons = [row[8] for row in rows]
    assert reasons[0].startswith("total: 'none' is not a number; correct the cell")
    assert reasons[1].startswith("the row has 4 cells, the header has 5")
    assert reasons[2].startswith("the row has 6 cells, the header has 5; left over: two")
    assert report["rows"]["delivered"] == 1
    assert report["rejects_by_code"] == {
        "id-missing": 1,
        "not-utf8": 1,
        "number-unreadable": 2,
        "row-ragged": 2,
        "time-naive": 1,
    }


FORMULAS = {
    "=1+1": "'=1+1",
    "@SUM(A1)": "'@SUM(A1)",
    "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    "'=1": "''=1",
    "''=1": "'''=1",
    "-": "'-",
    "+49 170 1234567": "'+49 170 1234567",
    "-1_000": "'-1_000",
    "-5": "-5",
    "+48.1": "+48.1",
    "-.5e-3": "-.5e-3",
    "'-5": "'-5",
    "1e3": "1e3",
    "'quoted'": "'quoted'",
    "a=b": "a=b",
    "": "",
}


def test_no_cell_of_rejects_is_a_formula_and_each_comes_back_as_it_was(
    orders: Orders, door: Door
) -> None:
    mapping = orders(mapping=ORDERS.replace("note: note", 'note: "=note"'))
    source = mapping.parent / "orders.csv"
    with source.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "person", "at", "total", "=note"])
        for n, cell in enumerate(FORMULAS):
            writer.writerow([n, "p", "2020-01-02T03:04:05Z", "=none()", cell])
    report = door(mapping)
    header, *rows = rows_of(report["rejects"])
    assert header == ["id", "person", "at", "total", "'=note", *EXTRA]
    assert [row[4] for row in rows] == list(FORMULAS.values())
    assert {row[3] for row in rows} == {"'=none()"}
    back = list(csv.reader(io.StringIO(source.read_bytes().decode(), newline="")))
    assert [[restored(cell) for cell in row[:5]] for row in (header, *rows)] == back


def test_a_column_that_is_named_like_a_formula_is_none_in_the_reason_either(
    orders: Orders, door: Door
) -> None:
    mapping = orders(mapping=ORDERS.replace("column: total", 'column: "=total"'))
    source = mapping.parent / "orders.csv"
    source.write_text("id,person,at,=total,note\n1,p,2020-01-02T03:04:05Z,none,\n")
    header, row = rows_of(door(mapping)["rejects"])
    assert header[3] == "'=total"
    assert row[6] == "'=total"
    assert row[8].startswith("'=total: 'none' is not a number")


def test_the_frame_of_rejects_has_the_cells_of_the_source(
    orders: Orders, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMERIO_WRITE_KEY", "key")
    mapping = orders(mapping=ORDERS.replace("note: note", 'note: "=note"'))
    rows = "id,person,at,total,=note\n1,p,2020-01-02T03:04:05Z,=none(),@x\n"
    (mapping.parent / "orders.csv").write_text(rows)
    state = tmp_path / "state"
    report = backfill.run(backfill.load_mapping(mapping), to=ledger.url, state=state)
    (row,) = report.rejects.to_dict("records")
    assert (row["total"], row["=note"], row["_row"]) == ("=none()", "@x", 2)


@given(st.text() | st.text("'=+-@\t\r1.e "))
def test_a_defused_text_is_no_formula_and_is_restored_exactly(text: str) -> None:
    found = defused(text)
    assert restored(found) == text
    assert found in {text, "'" + text}
    is_number = re.fullmatch(r"[+-]([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", found)
    assert not found.startswith(("=", "+", "-", "@", "\t", "\r")) or is_number


def test_a_refused_row_has_the_words_of_the_destination(
    orders: Orders, door: Door, ledger: Ledger
) -> None:
    ledger.answer = lambda body: (
        Reply(400, b'{"meta":{"errors":["p3 is not welcome"]}}') if b'"p3"' in body else Reply()
    )
    report = door(orders(7))
    _, row = rows_of(report["rejects"])
    assert row[:2] == ["3", "p3"]
    assert row[5:] == [
        "5",
        "",
        "refused",
        "the destination refused it: p3 is not welcome; correct the row",
    ]
    assert report["rows"]["delivered"] == 6
    assert report["messages"] == {"built": 7, "delivered": 6, "refused": 1}


def test_rows_without_rejects_leave_no_file(orders: Orders, door: Door, tmp_path: Path) -> None:
    report = door(orders())
    assert (report["rejects"], report["held"]) == (None, None)
    assert list(tmp_path.glob("state/orders/runs/*/rejects*")) == []


def test_several_files_say_which_one_a_row_is_of(orders: Orders, door: Door) -> None:
    mapping = orders(6, bad={1})
    source = mapping.parent / "orders.csv"
    second = mapping.parent / "second.csv"
    second.write_text(source.read_text().replace("\n", "\n9", 6).replace("9\n", "\n"))
    report = door(mapping, sources=(str(source), str(second)))
    header, *rows = rows_of(report["rejects"])
    assert header[5:] == [*EXTRA, "_file"]
    assert [(row[5], row[-1]) for row in rows] == [("3", "orders.csv"), ("3", "second.csv")]


def test_parquet_rejects_are_parquet_with_the_columns_own_types(orders: Orders, door: Door) -> None:
    mapping = orders()
    mapping.write_text(mapping.read_text().replace("orders.csv", "orders.parquet"))
    table = pa.table(
        {
            "id": pa.array([1, 2**60 + 1, 3], pa.int64()),
            "person": pa.array(["p1", None, "p3"]).dictionary_encode(),
            "at": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
            "total": pa.array([1.5, float("nan"), 3.5]),
            "note": pa.array([[1, 2], [3], None], pa.list_(pa.int32())),
        }
    )
    pq.write_table(table, mapping.parent / "orders.parquet")
    mapping.write_text(mapping.read_text() + "guards: {not_before: 1970-01-01}\n")
    report = door(mapping)
    assert report["rejects"].endswith("rejects.parquet")
    found = pq.read_table(report["rejects"])
    (row,) = found.to_pylist()
    assert (row["id"], row["person"], row["note"]) == (2**60 + 1, None, [3])
    assert (row["_row"], row["_code"]) == (2, "number-not-finite")
    assert "id-missing" not in row["_code"]
    assert "the id is blank" in row["_reason"]
    assert found.schema.field("at").type == pa.timestamp("us", "UTC")
    assert found.schema.names == [*table.schema.names, *EXTRA]


def test_parquet_rejects_are_whole_after_a_run_in_two_parts(orders: Orders, door: Door) -> None:
    mapping = orders(20, bad={1, 5, 11, 19})
    source = mapping.parent / "orders.csv"
    rows = list(csv.DictReader(source.read_text().splitlines()))
    mapping.write_text(mapping.read_text().replace("orders.csv", "orders.parquet"))
    pq.write_table(pa.Table.from_pylist(rows), mapping.parent / "orders.parquet")
    first = door(mapping, limit=8)
    assert pq.read_table(first["rejects"])["_row"].to_pylist() == [2, 6]
    second = door(mapping)
    assert second["rejects"] == first["rejects"]
    assert pq.read_table(second["rejects"])["_row"].to_pylist() == [2, 6, 12, 20]


def test_jsonl_rejects_are_the_lines_as_they_were(orders: Orders, door: Door) -> None:
    mapping = orders()
    mapping.write_text(mapping.read_text().replace("orders.csv", "orders.jsonl"))
    lines = [
        '{"id": 1, "person": "p1", "at": "2020-01-02T03:04:05Z", "total": 12.30, "note": "n"}',
        '{"id": 2, "person": null, "at": "2020-01-02T03:04:05Z", "total": 1.10 , "x":"é"}  ',
        "not json",
        '["a list"]',
        "{}",
    ]
    (mapping.parent / "orders.jsonl").write_text("\n".join(lines) + "\n")
    report = door(mapping)
    assert report["rejects"].endswith("rejects.jsonl"), report
    told = Path(report["rejects"]).read_text().splitlines()
    assert told[0].startswith(lines[1].rstrip()[:-1] + ',"_row": 2,')
    found = [json.loads(line) for line in told]
    assert [row["_row"] for row in found] == [2, 3, 4, 5]
    assert [row.get("_line") for row in found] == [None, "not json", '["a list"]', None]
    assert [row["_code"] for row in found][:3] == ["id-missing", "row-unreadable", "row-unreadable"]


def test_rejects_go_on_in_the_same_file_when_a_run_goes_on(orders: Orders, door: Door) -> None:
    mapping = orders(20, bad={1, 5, 11, 19})
    first = door(mapping, limit=8)
    assert first["exit_code"] == 3
    second = door(mapping)
    assert (second["rejects"], second["run_id"]) == (first["rejects"], first["run_id"])
    assert [row[5] for row in rows_of(second["rejects"])[1:]] == ["3", "7", "13", "21"]
    assert second["rows"]["rejected"] == 4


def test_what_was_written_after_the_last_checkpoint_is_cut_away(orders: Orders, door: Door) -> None:
    mapping = orders(20, bad={1, 5, 11, 19})
    path = Path(door(mapping, limit=8)["rejects"])
    with path.open("a") as stream:
        stream.write("11,p4,2020,none,,13,total,number-unreadable,twice\n9,half a")
    report = door(mapping)
    assert [row[5] for row in rows_of(report["rejects"])[1:]] == ["3", "7", "13", "21"]


@pytest.mark.parametrize("edit", ["shortened", "removed"])
def test_a_rejects_file_that_a_person_touched_is_never_filled_with_nothing(
    orders: Orders, door: Door, edit: str
) -> None:
    mapping = orders(20, bad={1, 5, 11, 19})
    path = Path(door(mapping, limit=8)["rejects"])
    if edit == "removed":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("none", "1"))
    report = door(mapping)
    if report["exit_code"] == 13:  # to say so and stop would be right, too
        return
    data = Path(report["rejects"]).read_bytes()
    assert b"\0" not in data
    assert rows_of(report["rejects"])[0][-4:] == EXTRA
    assert {"13", "21"} <= {row[5] for row in rows_of(report["rejects"])[1:]}


def test_a_new_run_has_a_folder_of_its_own(orders: Orders, door: Door) -> None:
    mapping = orders(10, bad={1})
    first = door(mapping)
    (mapping.parent / "orders.csv").write_text(
        (mapping.parent / "orders.csv").read_text() + "10,p3,2020-01-02T03:04:05Z,x,\n"
    )
    second = door(mapping)
    assert second["run_id"] != first["run_id"]
    assert [row[5] for row in rows_of(first["rejects"])[1:]] == ["3"]
    assert [row[5] for row in rows_of(second["rejects"])[1:]] == ["3", "12"]
    assert second["rows"]["read"] == 11
