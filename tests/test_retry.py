"""Rows that were corrected are sent with the ids they would have had, and none is sent twice."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import ORDERS, orders_csv
from ledger import Reply
from test_identity import unkeyed_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Cli, Done
    from ledger import Ledger

    Orders = Callable[..., Path]

UNKEYED = ORDERS.replace("key: id\n", "")
TRACK = """\
version: 1
name: orders
source: {path: %s}
messages:
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: at
    properties: {total: {column: total, type: number}, x: x}
"""


@pytest.fixture
def run(cli: Cli, ledger: Ledger) -> Callable[..., Done]:
    """`run` or `retry` of orders.yaml to the ledger."""

    def command(verb: str, *more: object) -> Done:
        known = ("orders.yaml", "--to", ledger.url, "--rate", "unlimited")
        return cli(verb, *known, *more)

    return command


def dead_letters(folder: Path, name: str = "rejects.*") -> Path:
    """Return the newest dead-letter file."""
    found = [*folder.glob(f".backfill/orders/**/runs/*/{name}")]
    return max(found, key=lambda path: path.parent.name)


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def by_id(ledger: Ledger) -> dict[str, dict[str, Any]]:
    return {one["messageId"]: one for one in ledger.kept}


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Corrected rows


def test_a_corrected_row_of_a_keyed_stream_is_the_message_it_would_have_been(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(10, bad={3, 7})
    assert run("run").code == 3
    edit(dead_letters(tmp_path), ("none", "9.50"))
    done = run("retry", "--json")
    assert (done.code, done.report["rows"]["delivered"]) == (0, 2)
    found = by_id(ledger)
    ledger.arrivals.clear()
    right = orders_csv(10).replace(
        "\n3,p3,2020-01-02T03:04:05Z,3.50", "\n3,p3,2020-01-02T03:04:05Z,9.50"
    )
    right = right.replace("\n7,p0,2020-01-02T03:04:05Z,7.50", "\n7,p0,2020-01-02T03:04:05Z,9.50")
    (tmp_path / "orders.csv").write_text(right)
    assert run("run", "--state", "other").code == 0
    assert by_id(ledger) == found


def test_status_says_whether_rejects_wait_or_were_sent_again(
    orders: Orders, run: Callable[..., Done], cli: Cli, tmp_path: Path
) -> None:
    orders(10, bad={3, 7})
    run("run")
    found = json.loads(cli("status", "--json").out)["streams"][0]
    path = str(dead_letters(tmp_path).relative_to(tmp_path))
    assert found["waiting"] == {"rejects": [path], "held": []}
    assert " ".join(cli("status").out.split()).endswith("; rejects wait for a retry")
    edit(dead_letters(tmp_path), ("none", "9.50"))
    assert run("retry").code == 0
    assert " ".join(cli("status").out.split()).endswith("; a retry sent the others")


def test_a_corrected_row_without_a_key_has_the_id_of_its_file_and_row(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(10, bad={3, 7}, mapping=UNKEYED)
    run("run")
    edit(dead_letters(tmp_path), ("none", "9.50"))
    before = len(ledger.kept)
    assert run("retry").code == 0
    sha256 = sha256_of(tmp_path / "orders.csv")
    assert {one["messageId"]: one["userId"] for one in ledger.kept[before:]} == {
        unkeyed_id("orders", sha256, 0, 3): "p3",
        unkeyed_id("orders", sha256, 0, 7): "p0",
    }


def test_rows_of_several_files_have_the_ids_of_their_own_file_in_any_order(
    run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    for at in range(3):
        (tmp_path / f"part{at}.csv").write_text(
            "person,at,total,x\n"
            + "".join(f"p{at}{n},2020-01-0{n + 1}T00:00:00Z,no,{n}\n" for n in range(3))
        )
    (tmp_path / "orders.yaml").write_text(TRACK % "part*.csv")
    assert run("run").code == 3
    path = dead_letters(tmp_path)
    header, *rows = list(csv.reader(io.StringIO(path.read_text())))
    for row in rows:
        row[2] = "1"
    out = io.StringIO()
    csv.writer(out).writerows([header, *reversed(rows[:-1])])  # mixed up, and one taken out
    path.write_text(out.getvalue())
    assert run("retry").code == 0
    assert {one["messageId"]: one["userId"] for one in ledger.kept} == {
        unkeyed_id("orders", sha256_of(tmp_path / f"part{at}.csv"), 0, n): f"p{at}{n}"
        for at in range(3)
        for n in range(3)
        if (at, n) != (2, 2)
    }


def test_files_of_one_name_in_two_folders_are_told_apart(
    run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text(
            f"person,at,total,x\np{folder},2020-01-01T00:00:00Z,no,\n"
        )
    (tmp_path / "orders.yaml").write_text(TRACK % "[a/t.csv, b/t.csv]")
    run("run")
    edit(dead_letters(tmp_path), (",no,", ",1,"))
    assert run("retry").code == 0
    assert {one["messageId"]: one["userId"] for one in ledger.kept} == {
        unkeyed_id("orders", sha256_of(tmp_path / folder / "t.csv"), 0, 0): f"p{folder}"
        for folder in ("a", "b")
    }


def test_corrected_rows_of_parquet_are_sent_with_their_types(
    run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "person": ["p0", None, "p2", None],
            "at": ["2020-01-01T00:00:00Z"] * 4,
            "total": pa.array([1, 2, 3, 1 << 60], pa.int64()),
            "x": pa.array([[1, 2], None, [3], [4]], pa.list_(pa.int64())),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "orders.yaml").write_text(TRACK % "t.parquet")
    assert run("run").code == 3
    path = dead_letters(tmp_path, "rejects.parquet")
    found = pq.read_table(path)
    filled = pc.fill_null(found["person"], pa.scalar("mended"))
    pq.write_table(found.set_column(0, "person", filled), path)
    before = len(ledger.kept)
    assert run("retry").code == 0
    sha256 = sha256_of(tmp_path / "t.parquet")
    told = {one["messageId"]: one["properties"] for one in ledger.kept[before:]}
    assert told == {
        unkeyed_id("orders", sha256, 0, 1): {"total": 2},
        unkeyed_id("orders", sha256, 0, 3): {"total": 1 << 60, "x": [4]},
    }


def test_corrected_json_lines_keep_every_digit_and_lines_that_were_no_objects_can_be_mended(
    run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    lines = [
        '{"person":"p0","at":"2020-01-01T00:00:00Z","total":1}',
        '{"person":"","at":"2020-01-01T00:00:00Z","total":1.50, "x": 12345678901234567890.10}',
        '{"person":"p2","at":"2020-01-01T00:00:00Z","total":2',
        "[1]",
        "{}",
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "orders.yaml").write_text(TRACK % "t.jsonl")
    assert run("run").code == 3
    path = dead_letters(tmp_path, "rejects.jsonl")
    whole = '{\\"person\\":\\"p3\\",\\"at\\":\\"2020-01-01T00:00:00Z\\",\\"total\\":3}'
    edit(
        path,
        ('"person":""', '"person":"p1"'),
        ('\\"total\\":2"', '\\"total\\":2}"'),
        ('"[1]"', f'"{whole}"'),
    )
    before = len(ledger.kept)
    done = run("retry", "--json")
    assert (done.code, done.report["rows"]["rejected"]) == (3, 1)
    sha256 = sha256_of(tmp_path / "t.jsonl")
    texts = {one.message_id: one.text for one in ledger.sent[before:]}
    assert {unkeyed_id("orders", sha256, 0, row) for row in (1, 2, 3)} == set(texts)
    assert (
        '"properties":{"total":1.50,"x":12345678901234567890.10}'
        in texts[unkeyed_id("orders", sha256, 0, 1)]
    )
    last = json.loads((tmp_path / done.report["rejects"]).read_text())
    assert (last["_row"], last["_code"]) == (5, "id-missing")


def test_what_was_defused_for_spreadsheets_is_sent_as_the_source_had_it(
    run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    cells = ["=1+1", "'=1+1", "-5", "@x", "'quoted'", "+", "\ttab"]
    lines = [f"p{at},2020-01-01T00:00:00Z,no,{cell}" for at, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("person,at,total,=x\n" + "\n".join(lines))
    text = (TRACK % "t.csv").replace("x: x", "x: {column: '=x'}")
    (tmp_path / "orders.yaml").write_text(text)
    assert run("run").code == 3
    path = dead_letters(tmp_path)
    assert path.read_text().startswith("person,at,total,'=x,_row")
    edit(path, (",no,", ",1,"))
    assert run("retry").code == 0
    assert [one["properties"]["x"] for one in ledger.kept] == cells


def test_a_row_that_was_never_split_is_sent_only_when_a_person_says_it_is_right(
    run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    lines = ["p0,2020-01-01T00:00:00Z,1,x,left over", "p1,2020-01-01T00:00:00Z,1"]
    (tmp_path / "t.csv").write_text("person,at,total,x\n" + "\n".join(lines))
    (tmp_path / "orders.yaml").write_text(TRACK % "t.csv")
    assert run("run").code == 3
    path = dead_letters(tmp_path)
    assert run("retry").code == 3
    assert ledger.arrivals == []
    header, *rows = list(csv.reader(io.StringIO(path.read_text())))
    rows[1][6] = ""
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    path.write_text(out.getvalue())
    done = run("retry", "--json")
    assert done.code == 3
    assert [one["userId"] for one in ledger.kept] == ["p1"]
    (row,) = list(csv.DictReader(io.StringIO((tmp_path / done.report["rejects"]).read_text())))
    assert (row["person"], row["_row"], row["_code"]) == ("p0", "2", "row-ragged")
    assert "once they are right, clear its _code" in row["_reason"]


# What still fails, and what was sent


def test_rows_that_still_fail_are_in_a_new_file_which_the_next_retry_reads(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(10, bad={2, 3, 4})
    run("run")
    first = dead_letters(tmp_path)
    edit(first, ("2,p2,2020-01-02T03:04:05Z,none", "2,p2,2020-01-02T03:04:05Z,22"))
    done = run("retry", "--json")
    assert (done.code, done.report["rows"]["read"], done.report["rows"]["rejected"]) == (3, 3, 2)
    second = tmp_path / done.report["rejects"]
    rows = list(csv.DictReader(io.StringIO(second.read_text())))
    assert [(row["id"], row["_row"]) for row in rows] == [("3", "5"), ("4", "6")]
    edit(second, ("none", "5"))
    assert run("retry").code == 0
    assert Counter(one["messageId"] for one in ledger.kept).most_common(1)[0][1] == 1
    assert len(ledger.kept) == 10
    requests = len(ledger.arrivals)
    done = run("retry")
    assert (done.code, done.out) == (0, "orders: no rejects wait to be sent again\n")
    assert len(ledger.arrivals) == requests


def test_a_retry_that_delivers_nothing_leaves_the_file_that_is_to_be_corrected(
    orders: Orders, run: Callable[..., Done], tmp_path: Path
) -> None:
    orders(10, bad={2, 3})
    run("run")
    path = dead_letters(tmp_path)
    done = run("retry")
    assert done.code == 3
    told = str(path.relative_to(tmp_path))
    words = " ".join(done.out.split())
    assert f"orders: no row was delivered; correct {told} and retry" in words
    edit(path, ("none", "5"))
    assert run("retry").code == 0


def test_edits_that_come_too_late_are_told(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(10, bad={2, 3})
    run("run")
    path = dead_letters(tmp_path)
    edit(path, ("2,p2,2020-01-02T03:04:05Z,none", "2,p2,2020-01-02T03:04:05Z,22"))
    run("retry")
    sent = len(ledger.kept)
    edit(path, ("2,p2,2020-01-02T03:04:05Z,22", "2,p2,2020-01-02T03:04:05Z,23"))
    done = run("retry")
    assert done.err == (
        f"{path.relative_to(tmp_path)}: was edited after its rows were sent again\n"
        "  fix: correct the rows that still fail where the last retry put them\n"
    )
    assert len(ledger.kept) == sent


def test_a_row_that_the_destination_refused_is_sent_again(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(5)
    ledger.answer = lambda body: Reply(400) if b'"userId":"p3"' in body else Reply()
    assert run("run").code == 3
    ledger.answer = lambda _body: Reply()
    assert dead_letters(tmp_path).read_text().count("\n") == 2
    assert run("retry").code == 0
    assert sorted(one["userId"] for one in ledger.kept) == ["p0", "p1", "p2", "p3", "p4"]


def test_the_mapping_may_be_what_is_corrected(
    orders: Orders, run: Callable[..., Done], ledger: Ledger
) -> None:
    path = orders(5, bad={1})
    run("run")
    edit(path, ("total: {column: total, type: number}", "total: total"))
    assert run("retry").code == 0
    assert ledger.kept[-1]["properties"]["total"] == "none"


def test_held_rows_are_sent_when_they_are_asked_for(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(3)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = (tmp_path / "orders.csv").read_text()
    (tmp_path / "orders.csv").write_text(text.replace("2020-01-02T03:04:05Z,1", f"{now},1"))
    assert run("run").code == 3
    assert run("retry").out == "orders: no rejects wait to be sent again\n"
    assert run("retry", "--held").code == 0
    assert [one["properties"]["total"] for one in ledger.kept] == [0.5, 2.5, 1.5]
    assert run("retry", "--held").out == "orders: no held rows wait to be sent again\n"
    assert len(ledger.kept) == 3


# Interrupted


def test_a_retry_that_stops_goes_on_with_the_rows_as_they_were_when_it_began(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(40, bad=set(range(20)))
    run("run")
    path = dead_letters(tmp_path)
    edit(path, ("none", "1"))
    ledger.answer = lambda body: Reply(503) if b'"userId":"p5"' in body else Reply()
    done = run("retry", "--batch-messages", "1", "--connections", "1", "--max-outage", "0.1")
    assert done.code == 4
    assert "run the same command again later" in done.err
    ledger.answer = lambda _body: Reply()
    edit(path, (",1,,", ",2,,"))
    assert run("retry").code == 0
    counted = Counter(one["messageId"] for one in ledger.kept)
    assert (len(counted), max(counted.values())) == (40, 1)
    assert {one["properties"]["total"] for one in ledger.kept[20:]} == {1}


def test_a_killed_retry_loses_no_row_and_sends_again_only_what_was_in_flight(
    orders: Orders, cli: Cli, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(400, bad=set(range(300)))
    run("run")
    edit(dead_letters(tmp_path), ("none", "1"))
    before = len(ledger.kept)
    ledger.latency_s = 0.02
    how = ("--rate", "unlimited", "--batch-messages", "2", "--connections", "2")
    for wait_s in (0.2, 0.5):
        child = cli.start("retry", "orders.yaml", "--to", ledger.url, *how)
        arrived = len(ledger.arrivals)
        until_s = time.monotonic() + 20
        while len(ledger.arrivals) < arrived + 5 and time.monotonic() < until_s:
            time.sleep(0.01)
        time.sleep(wait_s)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    assert cli("retry", "orders.yaml", "--to", ledger.url, *how).code == 0
    counted = Counter(one["messageId"] for one in ledger.kept[before:])
    assert len(counted) == 300
    assert sum(counted.values()) - 300 <= 2 * 2 * 2 * 2  # two kills, four batches of two messages


def test_a_run_and_a_retry_do_not_go_side_by_side(
    orders: Orders, cli: Cli, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(20, bad={1})
    run("run")
    ledger.latency_s = 20
    edit(dead_letters(tmp_path), ("none", "1"))
    child = cli.start("retry", "orders.yaml", "--to", ledger.url)
    until_s = time.monotonic() + 20
    while len(ledger.arrivals) < 2 and time.monotonic() < until_s:
        time.sleep(0.02)
    codes = (run("run").code, run("retry").code)
    child.kill()
    child.communicate()
    assert codes == (11, 11)


# What cannot be sent again


def test_a_stream_that_never_ran_or_is_not_finished_has_nothing_to_retry(
    orders: Orders, run: Callable[..., Done], ledger: Ledger
) -> None:
    orders(10, bad={1})
    done = run("retry")
    assert done.code == 2
    assert done.err == (
        ".backfill/orders: this stream has not run, so there is nothing to send again\n"
        "  fix: backfill run orders.yaml\n"
    )
    ledger.answer = lambda _body: Reply(503)
    assert run("run", "--max-outage", "0.1").code == 4
    done = run("retry")
    assert done.code == 2
    assert done.err == (
        ".backfill/orders/checkpoint.json: the run is not finished; its rejects are not complete\n"
        "  fix: backfill run orders.yaml, then retry\n"
    )


def test_rejects_of_a_rehearsal_are_not_sent_to_a_real_destination(
    orders: Orders, cli: Cli, run: Callable[..., Done], ledger: Ledger
) -> None:
    orders(10, bad={1})
    assert cli("run", "orders.yaml", "--to", "sandbox").code == 3
    done = run("retry")
    assert done.code == 13
    assert done.err == (
        ".backfill/orders/checkpoint.json: these rows are of a run to sandbox,"
        f" not to {ledger.url}\n"
        "  fix: retry with --to sandbox\n"
    )
    assert ledger.arrivals == []


def test_every_row_that_does_not_say_which_it_is_is_told_and_nothing_is_sent(
    orders: Orders, run: Callable[..., Done], ledger: Ledger, tmp_path: Path
) -> None:
    orders(10, bad={1, 2, 3, 4})
    run("run")
    path = dead_letters(tmp_path)
    header, *rows = list(csv.reader(io.StringIO(path.read_text())))
    rows[0][5], rows[1][5], rows[2][5] = "x", "1", rows[3][5]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows, rows[0][:3]])
    path.write_text(out.getvalue())
    requests = len(ledger.arrivals)
    done = run("retry")
    file = path.relative_to(tmp_path)
    assert done.code == 2
    assert done.err == (
        f"{file}:2: _row 'x' is no row of the source\n"
        f"{file}:3: _row '1' is no row of the source\n"
        f"{file}:5: row 6 is there twice\n"
        f"{file}:6: the row has 3 cells, the header has 9\n"
        "  fix: correct the cells of a row, and leave _row and _file as the run wrote them\n"
    )
    assert len(ledger.arrivals) == requests


def test_a_file_without_its_rows_numbers_is_refused(
    orders: Orders, run: Callable[..., Done], tmp_path: Path
) -> None:
    orders(10, bad={1})
    run("run")
    edit(dead_letters(tmp_path), (",_row,", ",row,"))
    done = run("retry")
    assert done.code == 2
    assert "the column _row is missing: it says which row of the source each is" in done.err
