"""State, source or mapping are not what the run left: named with the ways out, never guessed."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ORDERS, orders_csv
from ledger import Ledger, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Cli

    Door = Callable[..., dict[str, Any]]
    Orders = Callable[..., Path]

BAD = (1, 4, 7)
HOW: dict[str, Any] = {"connections": 1, "batch_messages": 1}
PREVIOUS = (
    "run with --use-previous to go on from the state before it, or --restart to send all again"
)
RESTART = "put the source back and run again to resume, or --restart to send all again"


@pytest.fixture
def begun(orders: Orders, door: Door, ledger: Ledger) -> Path:
    """Settle the first 6 of 10 rows, two of them rejects; 4 are sent."""
    mapping = orders(10, bad=BAD)
    assert door(mapping, limit=6, **HOW)["exit_code"] == 3
    assert len(ledger.kept) == 4
    return mapping


def check_all_sent(report: dict[str, Any], ledger: Ledger, *, resent_max: int = 0) -> None:
    """Check that the run ended as if nothing had been, but for what was sent again."""
    assert report["exit_code"] == 3, report
    rows = {name: count for name, count in report["rows"].items() if count}
    assert rows == {"read": 10, "delivered": 7, "rejected": 3}
    texts: dict[str, str] = {}
    for sent in ledger.sent:
        assert texts.setdefault(sent.message_id, sent.text) == sent.text
    assert len(texts) == 7
    assert len(ledger.sent) <= 7 + resent_max
    with Path(report["rejects"]).open(newline="") as stream:
        assert [int(row["_row"]) - 2 for row in csv.DictReader(stream)] == list(BAD)


# ---- a damaged state


def flipped(data: bytes) -> bytes:
    at = data.index(b'"delivered":') + 12
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def of_format(number: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        text = data[: -len(',"crc32":"00000000"}\n')] + b"}"
        text = text.replace(b'"format":1', b'"format":%d' % number, 1)
        return text[:-1] + b',"crc32":"%08x"}\n' % zlib.crc32(text)

    return change


SHORT = "the checkpoint is damaged: it is cut short, or no checkpoint"
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bit": (flipped, "the checkpoint is damaged: its checksum does not match"),
    "cut": (lambda data: data[:-1], SHORT),
    "half": (lambda data: data[: len(data) // 2], SHORT),
    "empty": (lambda _: b"", SHORT),
    "NULs": (lambda data: bytes(len(data)), SHORT),
    "other JSON": (lambda _: b'{"format":1,"stream":"orders"}\n', SHORT),
    "newer": (of_format(2), "the checkpoint has format 2, this version reads 1"),
    "older": (of_format(0), "the checkpoint has format 0, this version reads 1"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_named_and_the_one_before_goes_on(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path, name: str
) -> None:
    damage, words = DAMAGES[name]
    path = tmp_path / "state/orders/checkpoint.json"
    path.write_bytes(damage(path.read_bytes()))
    fix = PREVIOUS if "damaged" in words else "use the version of backfill that wrote it"
    told = {"what": words, "where": str(path), "fix": fix}
    for _ in range(2):
        assert door(begun, **HOW) == {"exit_code": 13, "error": told}
    assert len(ledger.arrivals) == 4
    check_all_sent(door(begun, use_previous=True, **HOW), ledger, resent_max=2)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    os.truncate(path, 1 << 30)


@pytest.mark.parametrize(
    ("harm", "how"),
    [
        (folder, "it cannot be read (it is no file)"),
        (pipe, "it cannot be read (it is no file)"),
        (huge, "it is far too large"),
        (Path.unlink, "it is missing, but the one before it is there"),
    ],
)
def test_a_state_that_is_no_file_of_ours_is_named(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path, harm: Callable[[Path], None], how: str
) -> None:
    path = tmp_path / "state/orders/checkpoint.json"
    harm(path)
    told = {"what": f"the checkpoint is damaged: {how}", "where": str(path), "fix": PREVIOUS}
    assert door(begun, **HOW) == {"exit_code": 13, "error": told}
    assert len(ledger.arrivals) == 4


@pytest.mark.parametrize("harm", [linked, dangling])
def test_a_state_that_is_a_symbolic_link_is_refused_before_it_is_read(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path = tmp_path / "state/orders/checkpoint.json"
    harm(path)
    told = door(begun, **HOW)
    assert told["exit_code"] == 2
    assert told["error"] == {
        "what": "this is a symbolic link, nothing is written to it",
        "where": str(path),
        "fix": "remove it, or move what it points to into its place",
    }
    assert len(ledger.arrivals) == 4


@pytest.mark.parametrize("name", ["bit", "NULs"])
def test_the_command_says_in_two_lines_what_is_damaged_and_what_to_do(
    begun: Path, cli: Cli, ledger: Ledger, tmp_path: Path, name: str
) -> None:
    damage, words = DAMAGES[name]
    path = tmp_path / "state/orders/checkpoint.json"
    path.write_bytes(damage(path.read_bytes()))
    done = cli("run", begun.name, "--to", ledger.url, "--state", "state")
    assert (done.code, done.out) == (13, "")
    assert done.err == f"state/orders/checkpoint.json: {words}\n  fix: {PREVIOUS}\n"
    assert len(ledger.arrivals) == 4


def test_a_damaged_state_without_one_before_it_names_the_only_way_out(
    begun: Path, door: Door, tmp_path: Path
) -> None:
    path = tmp_path / "state/orders/checkpoint.json"
    path.write_bytes(b"")
    before = path.with_name("checkpoint.json.prev")
    kept = before.read_bytes()
    before.unlink()
    assert door(begun)["error"]["fix"] == "run with --restart to send all again"
    before.write_bytes(kept[:-1])
    report = door(begun, use_previous=True)
    assert (report["exit_code"], report["error"]["where"]) == (13, str(before))
    assert report["error"]["fix"] == "run with --restart to send all again"


def test_the_state_before_outlives_a_crash_of_the_run_that_goes_on_from_it(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state/orders/checkpoint.json"
    path.write_bytes(b"damaged")
    real = os.replace

    def die(source: Any, target: Any) -> None:
        if Path(target).name == path.name:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            door(begun, use_previous=True, **HOW)
    assert door(begun, **HOW)["exit_code"] == 13
    check_all_sent(door(begun, use_previous=True, **HOW), ledger, resent_max=2)


def test_going_on_from_the_state_before_a_sound_one_sends_only_what_that_did_not_know(
    begun: Path, door: Door, ledger: Ledger
) -> None:
    check_all_sent(door(begun, use_previous=True, **HOW), ledger, resent_max=2)


# ---- a changed source


def test_a_source_that_was_renamed_is_known_by_its_content(
    begun: Path, door: Door, ledger: Ledger
) -> None:
    other = begun.parent / "renamed.csv"
    (begun.parent / "orders.csv").rename(other)
    check_all_sent(door(begun, sources=(str(other),), **HOW), ledger)


def test_a_source_that_was_deleted_is_missing_and_back_it_resumes(
    begun: Path, door: Door, ledger: Ledger
) -> None:
    source = begun.parent / "orders.csv"
    kept = source.read_bytes()
    source.unlink()
    report = door(begun, **HOW)
    assert (report["exit_code"], report["error"]["what"]) == (2, "there is no such file")
    assert report["error"]["where"] == str(source)
    assert len(ledger.arrivals) == 4
    source.write_bytes(kept)
    check_all_sent(door(begun, **HOW), ledger)


def columns_of(text: str, order: list[str]) -> str:
    rows = list(csv.DictReader(text.splitlines()))
    lines = [",".join(row.get(name) or "" for name in order) for row in rows]
    return "\n".join([",".join(order), *lines]) + "\n"


@pytest.mark.parametrize(
    "order",
    [
        ["id", "person", "at", "total", "note", "extra"],
        ["person", "id", "at", "total", "note"],
        ["id", "person", "at", "total"],
    ],
    ids=["added", "reordered", "dropped"],
)
def test_a_source_with_other_columns_is_refused(
    begun: Path, door: Door, ledger: Ledger, order: list[str]
) -> None:
    source = begun.parent / "orders.csv"
    before = source.read_text()
    source.write_text(columns_of(before, order))
    report = door(begun, **HOW)
    if "note" in order:
        now = source.stat().st_size
        how = f"had {len(before)} bytes, has {now}"
        if now == len(before):
            how = "has the same size but another content"
        told = f"the run is not finished, and its source has changed: {source} {how}"
        assert (report["exit_code"], report["error"]["what"]) == (13, told)
        assert report["error"]["fix"] == RESTART
    else:  # a column that the mapping names is gone: that is said before all else
        assert report["exit_code"] == 2
        assert "has no column 'note'" in report["error"]["what"]
    assert len(ledger.arrivals) == 4
    source.write_text(before)
    check_all_sent(door(begun, **HOW), ledger)


def replaced(source: Path) -> None:
    other = source.with_name("new")
    other.write_bytes(source.read_bytes().replace(b"old", b"new"))
    other.replace(source)


def rewritten(source: Path) -> None:
    data = source.read_bytes().replace(b"old", b"new")
    with source.open("r+b") as stream:
        stream.write(data)


def cut_short(source: Path) -> None:
    os.truncate(source, source.stat().st_size // 2)


def grown(source: Path) -> None:
    with source.open("ab") as stream:
        stream.write(b"99999,p1,2020-01-02T03:04:05Z,1.5,new\n")


@pytest.mark.parametrize(
    ("change", "how", "code"),
    [
        (replaced, "was replaced or written to", 13),
        (rewritten, "was replaced or written to", 13),
        (cut_short, "was replaced or written to", 13),
        (grown, "was replaced or written to", 13),
        (Path.unlink, "has gone", 2),
        (Path.touch, "was replaced or written to", 0),
    ],
)
def test_a_source_that_changes_while_it_is_read_stops_the_run_before_rows_are_mixed(
    orders: Orders, door: Door, change: Callable[[Path], None], how: str, code: int
) -> None:
    mapping, count = orders(0), 30_000
    source = mapping.parent / "orders.csv"
    # what is read ahead is of the old file: of one that is rewritten as it stands by more than that
    text = orders_csv(count, note="old" * (500 if change is rewritten else 150))
    source.write_text(text)
    ledger = Ledger()

    def answer(_: bytes) -> Reply:
        if not ledger.arrivals:
            change(source)
        return Reply()

    ledger.answer = answer
    with ledger:
        report = door(mapping, to=ledger.url, connections=1, batch_messages=500)
        assert report["exit_code"] == 4
        assert report["error"] == {
            "what": f"the file {how} while it was being read",
            "where": str(source),
            "fix": "let it come to rest, then run the same command again: it says what it finds"
            " changed",
        }
        assert not [sent for sent in ledger.sent if "new" in sent.text]
        assert 0 < len(ledger.sent) < count
        sent = len(ledger.arrivals)
        report = door(mapping, to=ledger.url)
        assert report["exit_code"] == code
        if code:
            assert len(ledger.arrivals) == sent
            source.write_text(text)
            report = door(mapping, to=ledger.url)
        assert (report["exit_code"], report["rows"]["delivered"]) == (0, count)
        assert len({sent.message_id for sent in ledger.sent}) == len(ledger.sent) == count


def test_a_source_whose_name_is_no_text_is_sent_and_known_again(
    orders: Orders, door: Door, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(10, bad=BAD)
    name = os.fsdecode(b"orders-\xe9.csv.gz")
    (tmp_path / name).write_bytes(gzip.compress((mapping.parent / "orders.csv").read_bytes()))
    how = {"sources": (str(tmp_path / name),), **HOW}
    assert door(mapping, limit=4, **how)["exit_code"] == 3
    check_all_sent(door(mapping, **how), ledger)
    state = json.loads((tmp_path / "state/orders/checkpoint.json").read_bytes())
    assert state["files"][0]["path"] == str(tmp_path / name)


# ---- a finished run, and another source


KEYLESS = ORDERS.replace("key: id\n", "")
UPDATES = """\
version: 1
name: orders
source: {path: orders.csv}
messages:
  - {type: identify, userId: person, traits: {total: total}}
"""
OWN_IDS = KEYLESS.replace("userId: person", "userId: person\n    messageId: id")
KEPT = "--restart to send all rows as new messages, or put the new rows in a file of their own"


@pytest.fixture
def finish(orders: Orders, door: Door, ledger: Ledger) -> Callable[[str], Path]:
    """Run a mapping over 5 orders to the end."""

    def run(mapping: str) -> Path:
        path = orders(5, mapping=mapping)
        assert door(path)["exit_code"] == 0
        assert len(ledger.kept) == 5
        return path

    return run


def grow(source: Path) -> None:
    with source.open("a") as stream:
        stream.write("5,p5,2020-01-02T03:04:05Z,5.50,\n")


def edit(source: Path) -> None:
    source.write_text(source.read_text().replace("3.50", "3.51"))


@pytest.mark.parametrize("change", [grow, edit])
def test_without_a_key_a_finished_run_whose_source_changed_is_refused_since_events_would_double(
    finish: Callable[[str], Path], door: Door, ledger: Ledger, change: Callable[[Path], None]
) -> None:
    mapping = finish(KEYLESS)
    source = mapping.parent / "orders.csv"
    before = source.stat().st_size
    change(source)
    report = door(mapping)
    assert report["exit_code"] == 13
    assert report["error"] == {
        "what": f"the source has changed since the run that finished ({source} had {before} bytes,"
        f" {source} has {source.stat().st_size}), and without key: in the mapping every row would"
        " get another message id: rows that were delivered would be doubled",
        "where": str(mapping.parent / "state/orders/checkpoint.json"),
        "fix": KEPT,
    }
    assert len(ledger.arrivals) == 1
    fresh = source.with_name("fresh.csv")  # the way out that the words name
    fresh.write_text("id,person,at,total,note\n5,p5,2020-01-02T03:04:05Z,5.50,\n")
    assert door(mapping, sources=(str(fresh),))["rows"]["delivered"] == 1
    assert len({m["messageId"] for m in ledger.kept}) == len(ledger.kept) == 6


def test_without_a_key_a_source_that_grew_is_known_under_another_name_too(
    finish: Callable[[str], Path], door: Door, ledger: Ledger
) -> None:
    mapping = finish(KEYLESS)
    other = mapping.parent / "orders-2.csv"
    other.write_text((mapping.parent / "orders.csv").read_text())
    grow(other)
    assert door(mapping, sources=(str(other),))["exit_code"] == 13
    assert len(ledger.arrivals) == 1
    assert door(mapping, sources=(str(other),), restart=True)["rows"]["delivered"] == 6


def test_without_a_key_another_file_begins_a_new_run(
    finish: Callable[[str], Path], door: Door, ledger: Ledger
) -> None:
    mapping = finish(KEYLESS)
    source = mapping.parent / "orders.csv"
    source.rename(source.with_name("orders-1.csv"))  # as logs are rotated
    source.write_text("id,person,at,total,note\n9,p1,2020-01-02T03:04:05Z,1.5,\n")
    both = tuple(str(source.with_name(name)) for name in ("orders-1.csv", "orders.csv"))
    assert door(mapping, sources=both)["rows"]["delivered"] == 6
    assert len({m["messageId"] for m in ledger.kept}) == 6, "the old rows kept their ids"


@pytest.mark.parametrize("mapping", [ORDERS, OWN_IDS, UPDATES], ids=["key", "own ids", "updates"])
def test_a_finished_run_whose_source_grew_begins_anew_where_nothing_can_double(
    finish: Callable[[str], Path], door: Door, ledger: Ledger, mapping: str
) -> None:
    path = finish(mapping)
    grow(path.parent / "orders.csv")
    assert door(path)["rows"]["delivered"] == 6
    if mapping != UPDATES:
        assert len({m["messageId"] for m in ledger.kept}) == 6


def test_a_source_that_held_no_row_when_it_finished_may_grow(
    orders: Orders, door: Door, ledger: Ledger
) -> None:
    mapping = orders(0, mapping=KEYLESS)
    assert door(mapping)["exit_code"] == 0
    grow(mapping.parent / "orders.csv")
    assert door(mapping)["rows"]["delivered"] == 1
    assert len(ledger.kept) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ORDERS, KEYLESS),
        (KEYLESS, ORDERS),
        (ORDERS, ORDERS.replace("key: id", "key: [id, person]")),
        (ORDERS, ORDERS.replace("userId: person", "userId: person\n    messageId: note")),
    ],
    ids=["key gone", "key given", "another key", "own ids"],
)
def test_a_finished_run_whose_source_and_ids_both_changed_is_refused(
    finish: Callable[[str], Path], door: Door, ledger: Ledger, before: str, after: str
) -> None:
    mapping = finish(before)
    grow(mapping.parent / "orders.csv")
    mapping.write_text(after)
    assert door(mapping) == {
        "exit_code": 13,
        "error": {
            "what": "the source has changed since the run that finished, and so has what the"
            " mapping makes message ids of: rows that were delivered would be doubled",
            "where": str(mapping),
            "fix": KEPT,
        },
    }
    assert len(ledger.arrivals) == 1


def test_a_finished_run_whose_source_and_traits_changed_begins_anew_under_the_same_ids(
    finish: Callable[[str], Path], door: Door, ledger: Ledger
) -> None:
    mapping = finish(ORDERS)
    grow(mapping.parent / "orders.csv")
    mapping.write_text(ORDERS.replace("note: note", "text: note"))
    assert door(mapping)["rows"]["delivered"] == 6
    assert len({m["messageId"] for m in ledger.kept}) == 6


def test_the_command_names_the_ways_out_of_a_finished_run_that_may_not_begin_anew(
    finish: Callable[[str], Path], cli: Cli, ledger: Ledger
) -> None:
    mapping = finish(KEYLESS)
    edit(mapping.parent / "orders.csv")
    command = ["run", mapping.name, "--to", ledger.url, "--state", "state"]
    done = cli(*command)
    assert (done.code, done.out) == (13, "")
    assert re.search(
        r"without key: in the mapping every row would get another message id", done.err
    )
    assert done.err.endswith(f"  fix: {KEPT}\n")
    assert len(ledger.arrivals) == 1
    done = cli(*command, "--restart", "--yes", "--json")
    assert (done.code, done.report["rows"]["delivered"]) == (0, 5)


# ---- a report that was not written


def test_a_run_that_was_killed_before_its_report_is_told_by_the_next(
    orders: Orders, door: Door, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = orders(10, bad=BAD)
    now = datetime.now(UTC).year

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("backfill.runner.write_report", die)
        with pytest.raises(KeyboardInterrupt):
            door(mapping, **HOW)
    sent = len(ledger.arrivals)
    report = door(mapping, **HOW)
    check_all_sent(report, ledger)
    assert len(ledger.arrivals) == sent
    assert report["run_id"].startswith(str(now))
    again = door(mapping, **HOW)
    assert (again["exit_code"], again["note"][:11]) == (0, "nothing new")
