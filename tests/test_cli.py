"""The command line as people and schedulers use it: real processes, real files, a real server."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import signal
import stat
import subprocess
import time
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import KEY, ORDERS, orders_csv
from ledger import Ledger, Reply, messages

from backfill.cli import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Cli, Done

    Orders = Callable[..., Path]

REPORT = [
    "version",
    "run_id",
    "stream",
    "started_at",
    "finished_at",
    "exit_code",
    "destination",
    "rows",
    "messages",
    "requests",
    "rejects_by_code",
    "timestamps",
    "files",
    "resumed_from",
    "checkpoint",
    "rejects",
    "next_command",
]
"""The keys that cli.md promises."""

BESIDE = {"backfill", "held", "next"}
"""Keys that stand in every report too, and that cli.md does not name."""

ROWS = ["read", "delivered", "filtered", "held", "rejected", "unchanged", "pending"]
QUICK = ("--rate", "unlimited")


def rows_told(done: Done) -> dict[str, int]:
    """Return the rows of a report that are not none, after checking that they balance."""
    rows: dict[str, int] = done.report["rows"]
    assert list(rows) == ROWS
    assert rows["read"] == sum(rows.values()) - rows["read"]
    return {name: count for name, count in rows.items() if count}


# ---- help


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS), ["sandbox", "show"]])
def test_the_help_of_every_verb_shows_an_example(cli: Cli, verb: list[str]) -> None:
    done = cli(*verb, "--help")
    assert (done.code, done.err) == (0, "")
    example = done.out.partition("Example:")[2]
    assert "backfill " in example


def test_no_option_takes_the_key_itself(cli: Cli) -> None:
    for verb in ("run", "ping"):
        options = set(re.findall(r"--[a-z-]+", cli(verb, "--help").out))
        assert {name for name in options if "key" in name} == {"--write-key-file"}


def test_the_version_is_told(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.out) == (0, "backfill, version 0.1.0\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["check", "orders.yaml"],
        ["preview", "orders.yaml", "-n", "2"],
        ["run", "orders.yaml", "--to", "sandbox", "--restart"],
        ["run", "nope.yaml", "--json"],
        ["rnu"],
    ],
)
def test_a_process_that_was_ready_says_what_a_new_interpreter_says(
    cli: Cli, orders: Orders, words: list[str]
) -> None:
    """Of most commands here the program was loaded before they began: see `ready.py`."""
    orders(5, bad={3})
    new, ready = (cli(*words, stdin="n\n", is_fresh=is_fresh) for is_fresh in (True, False))
    assert ready == new


def test_a_command_without_an_end_is_killed_after_its_time(cli: Cli) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        cli("sandbox", "--port", "0", timeout_s=0.5)


# ---- run and its report


def test_the_last_line_of_json_is_the_report_with_the_keys_that_are_promised(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(10, bad={3})
    done = cli("run", mapping.name, "--to", ledger.url, "--json")
    report = done.report
    assert done.code == report["exit_code"] == 3
    assert done.out.count("\n") == 1
    assert set(report) - BESIDE == set(REPORT)
    assert report["version"] == 1
    assert rows_told(done) == {"read": 10, "delivered": 9, "rejected": 1}
    assert report["messages"] == {"built": 9, "delivered": 9, "refused": 0}
    assert report["requests"] == {"sent": 1, "retried": 0, "bytes": len(ledger.bodies[0])}
    assert report["rejects_by_code"] == {"number-unreadable": 1}
    at = "2020-01-02T03:04:05.000Z"
    assert report["timestamps"] == {"min": at, "max": at, "within_72h": 0}
    assert [set(file) for file in report["files"]] == [{"path", "rows", "fingerprint"}]
    assert (report["stream"], report["destination"]) == ("orders", ledger.url)
    assert report["checkpoint"] == ".backfill/orders/checkpoint.json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-[0-9a-f]{4}", report["run_id"])
    folder = tmp_path / ".backfill/orders/runs" / report["run_id"]
    assert json.loads((folder / "report.json").read_text()) == report
    assert tmp_path / report["rejects"] == folder / "rejects.csv"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log] == ["start", "end"]


def test_a_run_for_people_says_what_became_of_the_rows(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    done = cli("run", orders(10, bad={3}).name, "--to", ledger.url)
    assert done.code == 3
    assert done.out.startswith(f"orders: 10 rows read → {ledger.url}\n")
    assert re.search(r"^ +delivered +9$", done.out, re.MULTILINE)
    assert re.search(r"^ +rejected +1 +number-unreadable 1$", done.out, re.MULTILINE)
    assert done.err == ""
    assert "\x1b" not in done.out


def test_quiet_says_nothing_but_errors(cli: Cli, orders: Orders, ledger: Ledger) -> None:
    done = cli("run", orders(10).name, "--to", ledger.url, "--quiet")
    assert done == (0, "", "")


def test_several_mappings_are_run_in_their_order_and_told_together(
    cli: Cli, tmp_path: Path, ledger: Ledger
) -> None:
    folder = tmp_path / "mappings"
    folder.mkdir()
    for name, after in (("a_late", "[z_first]"), ("z_first", "[]")):
        (folder / f"{name}.csv").write_text(orders_csv(3, bad={1} if name == "a_late" else ()))
        text = ORDERS.replace("orders.csv", f"{name}.csv").replace("name: orders", f"name: {name}")
        (folder / f"{name}.yaml").write_text(f"{text}after: {after}\n")
    done = cli("run", "mappings", "--to", ledger.url, "--json")
    assert set(done.report) == {"exit_code", "streams"}
    assert [one["stream"] for one in done.report["streams"]] == ["z_first", "a_late"]
    assert [one["exit_code"] for one in done.report["streams"]] == [0, 3]
    assert (done.code, done.report["exit_code"]) == (3, 3)
    assert len(ledger.kept) == 5
    status = cli("status", "--json")
    assert [one["stream"] for one in status.report["streams"]] == ["a_late", "z_first"]


def test_a_dry_run_sends_nothing_and_writes_nothing(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(10, bad={3})
    done = cli(
        "run", mapping.name, "--to", ledger.url, "--dry-run", "--json", env=cli.environment(None)
    )
    assert (done.code, done.report["exit_code"]) == (3, 3)
    assert rows_told(done) == {"read": 10, "rejected": 1, "pending": 9}
    assert set(done.report) - BESIDE == set(REPORT)
    assert ledger.arrivals == []
    assert {path.name for path in tmp_path.iterdir()} == {"orders.csv", "orders.yaml"}


def test_a_dry_run_ends_at_a_signal_too(cli: Cli, orders: Orders) -> None:
    source = orders(1).parent / "orders.csv"
    row = "1,p1,2020-01-02T03:04:05Z,1.5,\n"
    source.write_text(source.read_text() + row * 6_000_000)
    running = cli.start("run", "orders.yaml", "--dry-run")
    time.sleep(1.5)
    assert running.poll() is None, "it is at work"
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 143, out + err


def test_a_limit_sends_the_first_rows_and_the_rest_goes_later(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    mapping = orders(10, bad={1})
    command = ["run", mapping.name, "--to", ledger.url, "--json"]
    first = cli(*command, "--limit", "3")
    assert (first.code, rows_told(first)) == (3, {"read": 3, "delivered": 2, "rejected": 1})
    again = cli(*command, "--limit", "3")
    assert (again.code, len(ledger.arrivals)) == (0, 1)
    rest = cli(*command)
    assert rows_told(rest) == {"read": 10, "delivered": 9, "rejected": 1}
    assert rest.report["resumed_from"] == 3
    assert len({m["messageId"] for m in ledger.kept}) == len(ledger.kept) == 9


def test_finished_and_nothing_new_is_exit_0_without_a_request(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    mapping = orders(10, bad={1})
    command = ["run", mapping.name, "--to", ledger.url]
    assert cli(*command).code == 3
    again = cli(*command)
    assert again.code == 0
    assert re.match(r"orders: nothing new since \S+: no request was made\n", again.out)
    assert len(ledger.arrivals) == 1


def test_restart_asks_and_sends_the_same_messages_again(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    mapping = orders(10)
    command = ["run", mapping.name, "--to", ledger.url]
    assert cli(*command).code == 0
    refused = cli(*command, "--restart", "--json", stdin="y\n")
    assert (refused.code, refused.report["error"]["fix"]) == (
        2,
        "add --yes where nobody can be asked",
    )
    assert len(ledger.arrivals) == 1
    done = cli(*command, "--restart", "--yes", "--json")
    assert rows_told(done) == {"read": 10, "delivered": 10}
    assert ledger.bodies[0] == ledger.bodies[1]


def test_the_rate_is_kept_as_the_destination_sees_it(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    mapping = orders(40)
    cli("run", mapping.name, "--to", ledger.url, "--rate", "20", "--batch-messages", "1")
    at = sorted(arrival.at_s for arrival in ledger.arrivals)
    assert len(at) == 40
    widest = max(bisect_right(at, first + 1) - n for n, first in enumerate(at))
    assert widest <= 20 + 1 + 1, "one more than promised, since the way there takes its own time"
    assert at[-1] - at[0] > 1.8


def test_retries_are_counted_and_no_message_is_lost(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    seen: set[bytes] = set()

    def answer(body: bytes) -> Reply:
        if body in seen:
            return Reply()
        seen.add(body)
        return Reply(503, b"", (("Retry-After", "0"),))

    ledger.answer = answer
    done = cli(
        "run", orders(20).name, "--to", ledger.url, "--batch-messages", "5", *QUICK, "--json"
    )
    assert done.code == 0
    assert done.report["requests"]["sent"] == 8
    assert done.report["requests"]["retried"] == 4
    assert len(ledger.kept) == 20


# ---- stops


@pytest.mark.parametrize(("limit", "rows", "code"), [("4", 2000, 5), ("5", 2000, 3)])
def test_max_rejects_stops_when_more_are_rejected(
    cli: Cli, orders: Orders, ledger: Ledger, limit: str, rows: int, code: int
) -> None:
    mapping = orders(rows, bad={3, 4, 5, 6, 7})
    done = cli("run", mapping.name, "--to", ledger.url, "--max-rejects", limit, *QUICK, "--json")
    assert done.code == code, done.err
    if code == 5:
        what = done.report["error"]["what"]
        assert re.fullmatch(rf"\d+ rows are rejected, more than --max-rejects {limit}", what)
        assert f"more than --max-rejects {limit}" in done.err
        go_on = cli("run", mapping.name, "--to", ledger.url, "--max-rejects", "5", *QUICK, "--json")
        assert go_on.code == 3
        assert rows_told(go_on) == {"read": rows, "delivered": rows - 5, "rejected": 5}


@pytest.mark.parametrize("rows", [100, 3000])
def test_a_share_of_rejects_counts_in_a_small_file_too(
    cli: Cli, orders: Orders, ledger: Ledger, rows: int
) -> None:
    mapping = orders(rows, bad=range(0, rows, 2))
    done = cli("run", mapping.name, "--to", ledger.url, "--max-rejects", "10%", *QUICK, "--json")
    assert done.code == 5
    assert done.report["exit_code"] == 5


def test_three_batches_refused_entirely_at_the_begin_stop_the_run(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    ledger.answer = lambda _body: Reply(400, b'{"error":"no"}')
    command = ["run", orders(60).name, "--to", ledger.url, "--batch-messages", "4", *QUICK]
    done = cli(*command, "--connections", "1", "--json")
    assert done.code == 5
    what = "the first 3 batches were refused entirely: the mapping is wrong"
    assert done.report["error"]["what"] == what
    rows = rows_told(done)
    assert rows["rejected"] >= 12
    assert "delivered" not in rows
    assert len(ledger.arrivals) <= 7 * 6, "and what was in flight beside them"


def test_two_batches_refused_entirely_are_rejects(cli: Cli, orders: Orders, ledger: Ledger) -> None:
    ledger.answer = lambda _body: Reply(400, b"")
    done = cli("run", orders(4).name, "--to", ledger.url, "--batch-messages", "2", "--json")
    assert (done.code, rows_told(done)) == (3, {"read": 4, "rejected": 4})


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Reply(401, b"who are you"), 12, "refused the key (401: who are you)"),
        (
            Reply(302, b"", (("Location", "https://x.example/"),)),
            12,
            "answered 302: no reason given",
        ),
        (Reply(200, b"<html>hello</html>"), 12, "answered 200 with a page that is not the API's"),
        (Reply(429, b"", (("Retry-After", "3600"),)), 4, "the destination asks to wait 3600 s"),
    ],
)
def test_what_stops_a_run_is_told_with_where_and_what_to_do(
    cli: Cli, orders: Orders, ledger: Ledger, reply: Reply, code: int, words: str
) -> None:
    ledger.answer = lambda _body: reply
    mapping = orders(30)
    done = cli("run", mapping.name, "--to", ledger.url, "--connections", "1", "--json")
    assert (done.code, done.report["exit_code"]) == (code, code)
    assert done.err.startswith(f"{ledger.url}: {words}")
    assert "\n  fix: " in done.err
    assert len(ledger.arrivals) == 1
    assert rows_told(done) == {"read": 30, "pending": 30}
    command = f"backfill run orders.yaml --to {ledger.url} --connections 1 --json"
    assert done.report["next_command"] == command
    if reply.status == 429:  # one of them is enough to see that it goes on
        ledger.answer = lambda _body: Reply()
        assert cli("run", mapping.name, "--to", ledger.url).code == 0
        assert len(messages(ledger.bodies[1])) == 30


def test_the_command_that_resumes_does_not_begin_again(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    command = ["run", orders(8).name, "--to", ledger.url]
    assert cli(*command, "--limit", "4").code == 0
    ledger.answer = lambda _body: Reply(401, b"")
    resumes = " ".join(["backfill", *command, "--json"])
    for given in (["--use-previous"], ["--restart", "--yes"]):
        done = cli(*command, *given, "--json")
        assert (done.code, done.report["next_command"]) == (12, resumes)


def test_an_outage_longer_than_max_outage_is_resumable(cli: Cli, orders: Orders) -> None:
    with Ledger() as gone:
        url = gone.url
    begun_s = time.monotonic()
    done = cli("run", orders(5).name, "--to", url, "--max-outage", "1", "--json")
    assert done.code == 4
    assert re.match(
        r"nothing was delivered for \d s \(Connection refused\)", done.report["error"]["what"]
    )
    assert time.monotonic() - begun_s < 8


# ---- what is too recent


@pytest.fixture
def recent(orders: Orders) -> Path:
    mapping = orders(4)
    source = mapping.parent / "orders.csv"
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    lines = source.read_text().splitlines()
    lines[3] = lines[3].replace("2020-01-02T03:04:05Z", yesterday)
    source.write_text("\n".join(lines) + "\n")
    return mapping


def test_events_of_the_last_72_hours_are_held_in_a_file_of_their_own(
    cli: Cli, recent: Path, ledger: Ledger, tmp_path: Path
) -> None:
    done = cli("run", recent.name, "--to", ledger.url, "--json")
    assert done.code == 3
    assert rows_told(done) == {"read": 4, "delivered": 3, "held": 1}
    assert done.report["rejects"] is None
    with (tmp_path / done.report["held"]).open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["id"], row["_row"], row["_column"], row["_code"]) == (
        "2",
        "4",
        "at",
        "recent-event",
    )
    assert len(ledger.kept) == 3


def test_held_events_are_sent_when_that_is_said(cli: Cli, recent: Path, ledger: Ledger) -> None:
    done = cli("run", recent.name, "--to", ledger.url, "--recent-events", "send", "--json")
    assert (done.code, rows_told(done)) == (0, {"read": 4, "delivered": 4})
    assert done.report["timestamps"]["within_72h"] == 1
    assert len(ledger.kept) == 4


# ---- keys and addresses


def header_of(key: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def test_the_key_comes_from_environment_file_or_stdin(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(1)
    (tmp_path / "key").write_text("key-of-file\n")
    how: tuple[list[str], ...] = (["--write-key-file", "key"], ["--write-key-file", "-"], [])
    for at, given in enumerate(how):
        command = ["run", mapping.name, "--to", ledger.url + "/v1", "--state", f"s{at}", *given]
        assert cli(*command, stdin="key-of-stdin\n").code == 0
    sent = [arrival.headers["Authorization"] for arrival in ledger.arrivals]
    assert sent == [header_of(key) for key in ("key-of-file", "key-of-stdin", KEY)]
    assert {arrival.path for arrival in ledger.arrivals} == {"/v1/batch"}


@pytest.mark.parametrize(
    ("to", "key", "expected"),
    [
        ("http://cdp.customer.io", KEY, (2, "http:// would send the key in the clear")),
        ("us", "sk_eu_4711", (12, "--to us: the key is of the region eu\n  fix: use --to eu\n")),
        ("moon", KEY, (2, "--to: 'moon' is no destination")),
        ("http://127.0.0.1:notaport", KEY, (2, "no destination")),
    ],
)
def test_an_address_or_key_that_cannot_be_right_stops_before_anything_is_made(
    cli: Cli, orders: Orders, tmp_path: Path, to: str, key: str, expected: tuple[int, str]
) -> None:
    done = cli("run", orders(3).name, "--to", to, env=cli.environment(key), timeout_s=15)
    assert done.code == expected[0]
    assert expected[1] in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / ".backfill").exists()


def test_the_sandbox_may_be_the_default_of_the_environment(cli: Cli, orders: Orders) -> None:
    env = cli.environment(None, BACKFILL_TO="sandbox")
    done = cli("run", orders(3).name, "--json", env=env)
    assert (done.code, done.report["destination"]) == (0, "sandbox")


def test_the_key_and_the_cells_are_nowhere_they_do_not_belong(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    """Every fault in one run: a reject, a refusal that repeats what it was sent, a 503, a 401."""
    mapping = orders(12, bad={1})
    source = mapping.parent / "orders.csv"
    source.write_text(source.read_text().replace(",p3,", ",canarycell@example.com,"))
    calls: list[bytes] = []

    def answer(body: bytes) -> Reply:
        calls.append(body)
        words = json.dumps({"error": f"key {KEY} {header_of(KEY)}: {body.decode()}"}).encode()
        if b"canarycell" in body:
            return Reply(400, words)
        if len(calls) > 12:
            return Reply(401, f"{KEY} is no key".encode())
        return Reply(503 if len(calls) % 5 == 2 else 200, b"{}", (("Retry-After", "0"),))

    ledger.answer = answer
    state = tmp_path / "state"
    command = ["run", mapping.name, "--to", ledger.url, "--state", state, "--batch-messages", "4"]
    running = cli.start(*command, "-v", *QUICK)
    argv = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    out, err = running.communicate(timeout=60)
    assert running.returncode in {3, 12}, err
    shown = {"stdout": out, "stderr": err, "argv": argv.decode()}
    for path in state.rglob("*"):
        if path.is_file():
            shown[path.name] = path.read_text(errors="replace")
    assert len(shown) >= 8, "the files were looked at"
    for name, text in shown.items():
        for form in (KEY, header_of(KEY).split()[1], header_of(KEY).split()[1].rstrip("=")):
            assert form not in text, name
    assert {name for name, text in shown.items() if "canarycell" in text} <= {"rejects.csv"}


def test_files_and_folders_are_for_their_owner_alone_whatever_the_umask(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(10, bad={1})
    open_to_all: dict[str, Any] = {"preexec_fn": lambda: os.umask(0)}
    for to in (ledger.url, "sandbox"):
        done = cli("run", mapping.name, "--to", to, "--state", f"deep/{to[:4]}", **open_to_all)
        assert done.code == 3, done.err
    for path in (tmp_path / "deep").glob("*/**/*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    for path in (tmp_path / "deep").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


# ---- status


def test_status_tells_where_each_stream_stands(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(10, bad={1})
    none = cli("status")
    assert (none.code, none.out) == (0, "no stream has run with the state in .backfill\n")
    assert not (tmp_path / ".backfill").exists()
    cli("run", mapping.name, "--to", ledger.url, "--limit", "4")
    done = cli("status", "--json")
    (stream,) = done.report["streams"]
    assert (stream["stream"], stream["phase"], stream["destination"]) == (
        "orders",
        "unfinished",
        ledger.url,
    )
    rows = {name: count for name, count in stream["rows"].items() if count}
    assert rows == {"read": 4, "delivered": 3, "rejected": 1}
    cli("run", mapping.name, "--to", ledger.url)
    text = cli("status", mapping.name)
    head, line, *notes = text.out.splitlines()
    assert head.split() == ["stream", "state", "settled", "of", "rows", "rejected", "held", "left"]
    assert line.split() == ["orders", "finished", "10", "10", "1"]
    note = rf"orders: saved \S+Z → {re.escape(ledger.url)}; rejects wait for a retry"
    assert re.fullmatch(note, " ".join(" ".join(notes).split()))
    path = tmp_path / ".backfill/orders/checkpoint.json"
    path.write_bytes(path.read_bytes()[:-20])
    bad = cli("status")
    assert bad.code == 13
    assert "the checkpoint is damaged: it is cut short, or no checkpoint" in bad.out


# ---- preview and check


def test_preview_shows_the_very_messages_that_are_sent(
    cli: Cli, tmp_path: Path, ledger: Ledger
) -> None:
    (tmp_path / "exact.csv").write_text(
        "id,n,t\n"
        "00000000000000000000000007,12.30,Zoë\n"
        '12345678901234567890123,9007199254740993,"a ""b"" {c}: [d], e"\n'
        "3,-0.000,\\u00e9\n"
    )
    (tmp_path / "exact.yaml").write_text(
        "version: 1\nsource: {path: exact.csv}\nmessages:\n  - type: identify\n    userId: id\n"
        "    traits: {n: {column: n, type: number}, t: t}\n"
    )
    done = cli("preview", "exact.yaml")
    assert done.code == 0
    for digits in ('"n": 12.30', '"n": 9007199254740993', '"userId": "00000000000000000000000007"'):
        assert digits in done.out
    assert '"t": "a \\"b\\" {c}: [d], e"' in done.out
    assert "exact.csv:2" in done.out
    cli("run", "exact.yaml", "--to", ledger.url)
    sent = messages(ledger.bodies[0])
    shown = cli("preview", "exact.yaml", "--json").report
    assert [row["messages"] for row in shown["rows"]] == [[message] for message in sent]
    compact = re.sub(r"\n *|↓", "", done.out).replace('": ', '":')
    for message in ledger.sent:
        assert message.text in compact


def test_a_limit_with_nothing_left_says_what_a_person_can_do(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    command = ["run", orders(10).name, "--to", ledger.url]
    assert cli(*command, "--limit", "1").code == 0
    once = cli(*command, "--limit", "1")
    assert once.out == (
        "orders: the first row is settled: no request was made; a higher --limit, or\n"
        "  none, goes on\n"
    )
    assert cli(*command).code == 0
    sent = len(ledger.sent)
    done = cli(*command, "--limit", "3")
    assert (done.code, len(ledger.sent)) == (0, sent)
    assert re.sub(r"since \S+:", "since T:", " ".join(done.out.split())) == (
        "orders: nothing new since T: no request was made; --limit takes rows that were not sent"
        " yet, and none is left: to send the first ones again, give another --state, or --restart,"
        " which forgets this run"
    )
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_mapping_that_changed_says_that_its_events_keep_their_ids(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    mapping = orders(3)
    command = ["run", mapping.name, "--to", ledger.url]
    cli(*command)
    mapping.write_text(mapping.read_text().replace("Bought", "Paid"))
    told_ = " ".join(cli(*command).out.split())
    assert told_.endswith(
        "no request was made; the mapping has changed since: --restart sends all rows again."
        " Events, and rows without key:, keep their message ids, and a destination that knows them"
        " ignores them: rehearse again with another --state"
    )
    cli(*command, "--restart", "--yes")
    ids = [message.message_id for message in ledger.sent]
    assert len(ids) == 6
    assert ids[:3] == ids[3:]


def test_a_folder_says_once_at_its_end_how_it_is_run_for_real(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    mapping = orders(3)
    text = mapping.read_text()
    mapping.unlink()
    (tmp_path / "maps").mkdir()
    for name in ("a", "b"):
        told_ = text.replace("name: orders", f"name: {name}").replace("path: ", "path: ../")
        (tmp_path / f"maps/{name}.yaml").write_text(told_)
    done = cli("run", "maps", "--to", "sandbox", env=cli.environment(None))
    assert done.code == 0, done.err
    assert done.out.count("rehearsal") == 1
    assert done.out.endswith(
        "next: this was a rehearsal; for real (--to eu for a workspace in the EU):\n"
        "  backfill run maps --to us\n"
    )
    (report, _) = cli("run", "maps", "--to", "sandbox", "--json", env=cli.environment(None)).report[
        "streams"
    ]
    assert report["note"].startswith("nothing new")


def test_preview_begins_at_the_row_a_spreadsheet_shows(cli: Cli, orders: Orders) -> None:
    mapping = orders(10, bad={5})
    shown = cli("preview", mapping.name, "--row", "7", "-n", "2", "--json").report["rows"]
    assert [(row["row"], row["cells"]["id"]) for row in shown] == [(7, "5"), (8, "6")]
    assert shown[0]["messages"] == []
    assert shown[0]["reason"].startswith("total: 'none' is not a number")
    assert len(shown[1]["messages"]) == 1


def test_preview_of_a_row_that_is_not_there_says_which_is_the_last_and_is_2(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    mapping = orders(10)
    assert cli("preview", mapping.name, "--row", "11").code == 0
    none = cli("preview", mapping.name, "--row", "12")
    assert (none.code, none.out) == (2, "")
    assert none.err == (
        "orders.csv: there is no row 12\n"
        "  fix: its last row is 11: it has 10 rows, and a spreadsheet counts the header as well\n"
    )
    (tmp_path / "lines.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "lines.yaml").write_text(
        "version: 1\nsource: {path: lines.jsonl}\nmessages: [{type: identify, userId: id}]\n"
    )
    one = cli("preview", "lines.yaml", "--row", "99999", "--json")
    assert one.code == 2
    assert one.report["error"] == {
        "what": "there is no row 99,999",
        "where": "lines.jsonl",
        "fix": "its last row is 1: it has 1 row",
    }
    (tmp_path / "lines.jsonl").write_text("")
    assert "fix: the source has no rows\n" in cli("preview", "lines.yaml", "--row", "1").err


def test_preview_of_several_files_goes_on_at_the_begin_of_the_next(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    mapping = orders(4)
    first = tmp_path / "orders.csv"
    (tmp_path / "more.csv").write_text(first.read_text().replace("p1", "q1"))
    files = ["--source", "orders.csv", "--source", "more.csv"]
    shown = cli("preview", mapping.name, *files, "--row", "4", "--json").report["rows"]
    assert [(row["file"], row["row"]) for row in shown] == [
        *(("orders.csv", row) for row in (4, 5)),
        *(("more.csv", row) for row in (2, 3, 4)),
    ]
    none = cli("preview", mapping.name, *files, "--row", "6")
    assert none.err == (
        "orders.csv: there is no row 6\n  fix: that is the longest of 2 files; its last row is 5:"
        " it has 4 rows, and a spreadsheet counts the header as well\n"
    )


def test_check_counts_every_row_and_groups_the_rejects_by_cause(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    mapping = orders(50, bad=range(0, 50, 5))
    source = mapping.parent / "orders.csv"
    source.write_text(source.read_text() + "50,,2020-01-02T03:04:05Z,1,\n51,p\n")
    done = cli("check", mapping.name, "--json")
    assert done.code == 3
    assert rows_told(done) == {"read": 52, "rejected": 12, "pending": 40}
    causes = {(one["code"], one["column"]): one for one in done.report["causes"]}
    assert {at: one["count"] for at, one in causes.items()} == {
        ("number-unreadable", "total"): 10,
        ("id-missing", "person"): 1,
        ("row-ragged", ""): 1,
    }
    samples = causes["number-unreadable", "total"]["samples"]
    assert [sample["row"] for sample in samples] == [2, 7, 12]
    assert done.report["would_send"]["messages"] == 40
    text = cli("check", mapping.name)
    assert text.code == 3
    assert "orders: 52 rows read" in text.out
    assert "10 × number-unreadable in total" in text.out
    assert "orders.csv:2: total: 'none' is not a number" in text.out
    assert {path.name for path in tmp_path.iterdir()} == {"orders.csv", "orders.yaml"}


def test_check_of_good_rows_is_exit_0(cli: Cli, orders: Orders) -> None:
    done = cli("check", orders(10).name)
    assert done.code == 0
    assert "no row would be rejected or held" in done.out


# ---- ping


@pytest.mark.parametrize(("status", "code"), [(200, 0), (400, 0), (401, 12), (302, 12)])
def test_ping_asks_with_one_request_that_stores_nothing(
    cli: Cli, ledger: Ledger, status: int, code: int
) -> None:
    ledger.answer = lambda _body: Reply(status, b'{"error":"' + KEY.encode() + b'"}')
    done = cli("ping", "--to", ledger.url, "--json")
    assert (done.code, done.report["exit_code"]) == (code, code)
    assert ledger.bodies == [b'{"batch":[]}']
    assert ledger.arrivals[0].headers["X-Strict-Mode"] == "1"
    assert KEY not in done.out + done.err


@pytest.mark.parametrize("status", [429, 503])
def test_ping_of_a_destination_that_is_busy_says_nothing_against_the_key(
    cli: Cli, ledger: Ledger, status: int
) -> None:
    ledger.answer = lambda _body: Reply(status, b"")
    done = cli("ping", "--to", ledger.url)
    assert done.code == 4, done.err


def test_ping_without_an_answer_may_be_tried_again(cli: Cli) -> None:
    with Ledger() as gone:
        url = gone.url
    done = cli("ping", "--to", url)
    assert done.code == 4
    assert done.err.startswith(f"{url}: no answer: ")


# ---- sandbox and schema


def test_a_run_to_the_sandbox_can_be_looked_at(cli: Cli, orders: Orders, tmp_path: Path) -> None:
    done = cli("run", orders(10).name, "--to", "sandbox", env=cli.environment(None))
    assert done.code == 0
    told = re.search(
        r"^look at what it received: backfill (sandbox --db \S+)$", done.err, re.MULTILINE
    )
    assert told is not None
    stats = json.loads(cli(*told[1].split(), "show", "stats").out)
    assert stats["messages"] == {"track": 10}
    timeline = cli("sandbox", "show", "timeline", "p1")
    assert timeline.code == 0
    assert "Bought" in timeline.out
    missing = cli("sandbox", "show", "person", "nobody")
    assert (missing.code, missing.err) == (
        2,
        "nobody: nothing is known of it\n  fix: check the id\n",
    )
    for words, told_ in (
        (["person"], "show person: person takes one id or email\n  fix: for example: backfill"),
        (["object", "1"], "show object 1: object takes a type and an id\n"),
        (["stats", "a b"], "show stats 'a b': stats takes no id\n"),
    ):
        wrong = cli("sandbox", "show", *words)
        assert wrong.code == 2
        assert wrong.err.startswith(told_)
    assert (tmp_path / ".backfill/sandbox.sqlite").exists()


def test_the_schema_of_the_mapping_language_is_json_schema(cli: Cli) -> None:
    done = cli("schema")
    schema: dict[str, Any] = json.loads(done.out)
    assert done.code == 0
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"version", "source", "messages", "key", "guards", "delivery"} <= set(
        schema["properties"]
    )


# ---- json, always


@pytest.mark.parametrize(
    "wrong",
    [
        ["run", "orders.yaml", "--rate", "fast"],
        ["run"],
        ["run", "nope.yaml"],
    ],
)
def test_a_command_that_cannot_start_says_so_as_json_too(
    cli: Cli, orders: Orders, wrong: list[str]
) -> None:
    orders(1)
    done = cli(*wrong, "--json")
    assert done.code == 2
    assert done.out.strip(), done.err
    assert done.report["exit_code"] == 2
    assert set(done.report["error"]) == {"what", "where", "fix"}
    assert "Traceback" not in done.err


def test_the_batches_of_a_run_are_in_the_order_of_the_rows(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    command = ["run", orders(30).name, "--to", ledger.url, "--batch-messages", "7", *QUICK]
    assert cli(*command, "--connections", "1").code == 0
    totals = [m["properties"]["total"] for m in ledger.kept]
    assert all(a < b for a, b in pairwise(totals))
    assert [len(messages(body)) for body in ledger.bodies] == [7, 7, 7, 7, 2]
    assert cli("run", "orders.yaml", "--to", ledger.url, "--batch-bytes", "10").code == 2


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_help_of_a_verb_shows_its_example_on_a_line_of_its_own(cli: Cli, verb: str) -> None:
    done = cli(verb, "--help")
    assert done.code == 0
    assert "\\b" not in done.out
    assert re.search(rf"\n  Example:\n    [^\n]*backfill {verb}", done.out)
