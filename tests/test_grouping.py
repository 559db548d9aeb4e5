"""Rows that become one message: whole groups, in order, summed exactly; and what is told."""

from __future__ import annotations

import csv
import json
from collections import Counter
from decimal import Decimal
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger import Reply
from reference import build, plan_for

from backfill.errors import MappingError
from backfill.grouping import Seen
from backfill.mapping import load_mapping
from backfill.source import csv as source_csv
from backfill.survey import survey

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli
    from ledger import Ledger

HEADER = "order,person,line,sku,qty,price,at\n"
TRACK = {
    "type": "track",
    "userId": "person",
    "event": {"const": "Order Completed"},
    "timestamp": "at",
    "properties": {
        "order": "order",
        "total": {"agg": "sum", "column": "price"},
        "lines": {"agg": "count"},
        "counted": {"agg": "count", "column": "qty"},
        "skus": {"agg": "distinct", "column": "sku"},
        "first": {"agg": "first", "column": "sku"},
        "last": {"agg": "last", "column": "sku"},
        "least": {"agg": "min", "column": "price", "type": "number"},
        "most": {"agg": "max", "column": "price", "type": "number"},
        "products": {"each_row": {"sku": "sku", "quantity": {"column": "qty", "type": "integer"}}},
        "prices": {"each_row": "price"},
    },
}


def document(rows: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "orders",
        "source": {"path": "orders.csv"},
        "rows": rows or {"group_by": ["order"], "order_within": "line"},
        "messages": [TRACK],
        **more,
    }


LINE = st.fixed_dictionaries(
    {
        "order": st.sampled_from("aab"),
        "line": st.sampled_from(["1", "2", "10", "", "x"]),
        "sku": st.sampled_from(["s", "t", ""]),
        "qty": st.sampled_from(["1", "20", "", "many"]),
        "price": st.sampled_from(
            ["0", "0.10", "10", "9.99", "-3", "", "1e2", "12345678901234567.8"]
        ),
    }
)


def plainly(lines: list[dict[str, str]]) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Return the properties by first row, and the codes of the rejects, row by row."""
    sent: dict[int, dict[str, Any]] = {}
    codes: dict[int, str] = {}
    seen: set[str] = set()
    for order, members in groupby(enumerate(lines), lambda one: one[1]["order"]):
        rows = list(members)
        if order in seen:
            codes |= {at: "group-again" for at, _ in rows}
        elif any(line["qty"] == "many" for _, line in rows):
            for at, line in rows:
                codes[at] = "integer-unreadable" if line["qty"] == "many" else "group-broken"
        else:
            sent[rows[0][0]] = _properties(order, [line for _, line in rows])
        seen.add(order)
    return sent, codes


def _properties(order: str, lines: list[dict[str, str]]) -> dict[str, Any]:
    are_numbers = all(line["line"] != "x" for line in lines)
    rank = (lambda text: float(text or "inf")) if are_numbers else (lambda text: (not text, text))
    lines = sorted(lines, key=lambda line: rank(line["line"]))
    prices = [Decimal(line["price"]) for line in lines if line["price"]]
    skus = [line["sku"] for line in lines if line["sku"]]
    items = [
        {
            **({"sku": line["sku"]} if line["sku"] else {}),
            **({"quantity": Decimal(line["qty"])} if line["qty"] else {}),
        }
        for line in lines
    ]
    found = {
        "order": order,
        "total": sum(prices) if prices else None,
        "lines": len(lines),
        "counted": sum(bool(line["qty"]) for line in lines),
        "skus": list(dict.fromkeys(skus)),
        "first": skus[0] if skus else None,
        "last": skus[-1] if skus else None,
        "least": min(prices, default=None),
        "most": max(prices, default=None),
        "products": [item for item in items if item],
        "prices": [line["price"] for line in lines if line["price"]],
    }
    return {name: one for name, one in found.items() if one not in (None, [])}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, min_size=1, max_size=25), st.integers(60, 400))
def test_groups_are_what_a_plain_reading_makes_of_them_wherever_record_batches_end(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, str]],
    block_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("groups")
    rows = [
        f"{one['order']},p,{one['line']},{one['sku']},{one['qty']},{one['price']},2024-01-01T00:00Z"
        for one in lines
    ]
    (folder / "orders.csv").write_text(HEADER + "\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_csv, "BLOCK_BYTES", block_bytes)
        made = build(document(), folder)
    sent, codes = plainly(lines)
    assert {row: one[0]["properties"] for row, one in made.messages.items()} == sent
    assert made.codes == codes


@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=12))
def test_what_was_seen_before_is_known_for_ever(parts: list[list[int]]) -> None:
    seen, before = Seen(), Counter[int]()
    for part in parts:
        told = seen.again(np.array(part, np.uint64)).tolist()
        expected = []
        for one in part:
            expected.append(before[one] > 0)
            before[one] += 1
        assert told == expected
    sizes = [len(run) for run in seen.runs]
    assert sum(sizes) == len(before)
    assert all(2 * later <= size for size, later in pairwise(sizes))


def orders(folder: Path, *rows: str, name: str = "orders.csv") -> Path:
    path = folder / name
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


AT = "2024-01-01T00:00Z"


def test_a_value_on_which_the_rows_of_a_group_disagree_is_no_value(tmp_path: Path) -> None:
    orders(tmp_path, f"1,p,1,a,1,1,{AT}", f"1,q,2,a,1,1,{AT}", f"2,p,1,a,1,1,{AT}")
    made = build(document(), tmp_path)
    words = (
        "person: the rows of the group have different values; map it inside each_row, choose one"
        " with {agg: first, column: …}, or correct the cells"
    )
    assert made.rejects == dict.fromkeys([0, 1], ("person", "group-differs", words))
    assert list(made.messages) == [2]


def test_a_row_that_cannot_be_split_spoils_the_group_it_stands_in(tmp_path: Path) -> None:
    rows = (f"1,p,1,a,1,1,{AT}", "1,p,2,a,1", f"1,p,3,a,1,1,{AT}", f"2,p,1,a,1,1,{AT}", "2,p")
    orders(tmp_path, *rows)
    made = build(document(), tmp_path)
    assert made.codes == {
        0: "group-broken",
        1: "row-ragged",
        2: "group-broken",
        3: "group-broken",
        4: "row-ragged",
    }
    words = "another row of its group was rejected, and a group is sent whole; correct that row"
    assert made.rejects[0] == ("", "group-broken", words)
    assert made.rejects[1][2].startswith("the row has 5 cells, the header has 7; ")


def test_a_group_with_more_rows_than_allowed_is_told_and_not_cut(tmp_path: Path) -> None:
    orders(tmp_path, *[f"1,p,{n},a,1,1,{AT}" for n in range(9)], f"2,p,1,a,1,1,{AT}")
    for block_bytes in (60, 100, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source_csv, "BLOCK_BYTES", block_bytes)
            made = build(document({"group_by": "order", "max_rows": 3}), tmp_path)
        assert list(made.messages) == [9]
        assert set(made.codes) == set(range(9))
        words = (
            "the group has more than 3 rows; set rows: {max_rows: …}, or choose another group_by"
        )
        assert {reason for _, _, reason in made.rejects.values()} == {words}


def test_a_row_without_its_group_is_rejected_alone(tmp_path: Path) -> None:
    orders(tmp_path, f"1,p,1,a,1,1,{AT}", f",p,1,a,1,1,{AT}", f",p,1,a,1,1,{AT}")
    made = build(document(), tmp_path)
    words = "order: the key is blank; fill the cell, or choose another key"
    assert made.rejects == dict.fromkeys([1, 2], ("order", "key-blank", words))


def test_two_keys_never_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f'order,person,line,sku,qty,price,at\n"a"",""",p,1,s,1,1,{AT}\n')
    with path.open("a") as stream:
        stream.write(f"a,p,1,s,1,1,{AT}\n")
    made = build(document({"group_by": ["order", "sku"]}, key=["order", "sku"]), tmp_path)
    assert len(made.messages) == 2


def test_the_id_of_a_group_is_that_of_its_key_whatever_its_rows(tmp_path: Path) -> None:
    orders(tmp_path, f"1,p,1,a,1,1,{AT}", f"1,p,2,b,1,1,{AT}")
    whole = build(document(), tmp_path).ids(0)
    orders(tmp_path, f"0,p,1,a,1,1,{AT}", f"1,p,1,c,1,5,{AT}")
    assert build(document(), tmp_path).ids(1) == whole


def test_a_key_of_an_earlier_file_is_known(tmp_path: Path, cli: Cli) -> None:
    orders(tmp_path, f"1,p,1,a,1,1,{AT}", name="a.csv")
    orders(tmp_path, f"1,p,2,a,1,1,{AT}", f"2,p,1,a,1,1,{AT}", name="b.csv")
    text = document(source={"path": ["a.csv", "b.csv"]})
    (tmp_path / "orders.yaml").write_text(json.dumps(text))
    done = cli("run", "orders.yaml", "--to", "sandbox", "--limit", "1", "--json")
    assert done.report["rows"]["delivered"] == 1
    done = cli("run", "orders.yaml", "--to", "sandbox", "--json")
    assert done.code == 3
    assert done.report["rejects_by_code"] == {"group-again": 1}
    assert done.report["rows"]["delivered"] == 2


def test_a_stream_that_is_read_twice_is_the_same_twice(tmp_path: Path) -> None:
    orders(tmp_path, f"1,p,1,a,1,1,{AT}", f"2,p,1,a,1,1,{AT}")
    plan = plan_for(document(), tmp_path)
    for _ in range(2):
        found = survey(plan, limit=None)
        assert (found.counts.built, found.counts.rejected) == (2, 0)


def test_a_limit_never_cuts_a_group(tmp_path: Path, cli: Cli) -> None:
    orders(tmp_path, *[f"{n // 3},p,{n},a,1,1,{AT}" for n in range(9)])
    (tmp_path / "orders.yaml").write_text(json.dumps(document()))
    for limit, rows in ((1, 3), (4, 6), (6, 6)):
        done = cli("run", "orders.yaml", "--to", "sandbox", "--limit", str(limit), "--json")
        assert (done.code, done.report["rows"]["delivered"]) == (0, rows), limit
    assert cli("run", "orders.yaml", "--to", "sandbox", "--json").report["rows"]["delivered"] == 9


def test_a_refused_group_is_rejected_whole_and_retried_whole(
    tmp_path: Path, cli: Cli, ledger: Ledger
) -> None:
    rows = [f"{n // 2},p{n // 2},{n},sku{n},1,1,{AT}" for n in range(10)]
    orders(tmp_path, *rows, f"0,p0,9,late,1,1,{AT}")
    (tmp_path / "orders.yaml").write_text(json.dumps(document()))
    ledger.answer = lambda body: Reply(400, b'{"error":"no"}') if b"sku5" in body else Reply()
    run = ("orders.yaml", "--to", ledger.url, "--rate", "unlimited", "--json")
    done = cli("run", *run)
    assert done.report["rows"]["delivered"] == 8
    assert done.report["rejects_by_code"] == {"group-again": 1, "refused": 2}
    path = next((tmp_path / ".backfill/orders/runs").glob("*/rejects.csv"))
    told = csv.DictReader(path.read_text().splitlines())
    assert {int(row["_row"]): row["_code"] for row in told} == {
        6: "refused",
        7: "refused",
        12: "group-again",
    }
    ledger.answer = lambda _body: Reply()
    done = cli("retry", *run)
    assert done.report["rows"] | {"read": 3, "delivered": 2, "rejected": 1} == done.report["rows"]
    sent = {one["properties"]["order"]: one for one in ledger.kept}
    assert set(sent) == set("01234")
    assert [item["sku"] for item in sent["2"]["properties"]["products"]] == ["sku4", "sku5"]
    assert "late" not in json.dumps(ledger.kept)
    whole = build(document(), tmp_path)
    assert {one["messageId"] for one in ledger.kept} == {
        i for row in whole.messages for i in whole.ids(row)
    }


FAULTY = {
    "each_row without groups": (
        {"rows": None},
        {"each_row": {"sku": "sku"}},
        "'each_row' needs groups of rows",
        "add rows: {group_by: [the column that tells which rows go together]}",
    ),
    "agg without groups": (
        {"rows": None},
        {"agg": "count"},
        "'agg' needs groups of rows",
        "add rows: {group_by: [the column that tells which rows go together]}",
    ),
    "agg inside each_row": (
        {},
        {"each_row": {"n": {"agg": "count"}}},
        "'agg' cannot stand inside each or each_row",
        "move it out",
    ),
    "sum of nothing": (
        {},
        {"agg": "sum"},
        "'sum' needs a column",
        "add column: with the column that it is taken of",
    ),
    "min of what": (
        {},
        {"agg": "min", "column": "price"},
        "'min' must know what it compares",
        "add type: number or integer or timestamp or date or text",
    ),
    "sum of times": (
        {},
        {"agg": "sum", "column": "at", "type": "timestamp"},
        "'sum' cannot take type: timestamp",
        "use number or integer",
    ),
    "no such way": (
        {},
        {"agg": "mean", "column": "price"},
        "agg: 'mean' is none of sum, count, min, max, first, last, distinct",
        "known here: count, distinct, first, last, max, min, sum",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_form_that_needs_groups_says_what_is_missing(name: str, tmp_path: Path) -> None:
    changes, form, what, fix = FAULTY[name]
    faulty = {**document(), "messages": [{**TRACK, "properties": {"x": form}}]}
    faulty = {key: one for key, one in {**faulty, **changes}.items() if one is not None}
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps(faulty))
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    assert [(lint.what, lint.fix) for lint in caught.value.lints] == [(what, fix)]
