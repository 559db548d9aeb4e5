"""Whatever the far side does, end to end: nothing is lost, no row is rejected for it.

Real runs against raw sockets; each row of the table of server faults is here, and some that it
forgets. One request with one fault is in `test_wire`, the decisions alone in `test_deliver`.
"""

from __future__ import annotations

import base64
import csv
import gzip
import json
import math
import os
import random
import socket
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme
from conftest import KEY, ORDERS, Cli
from ledger import HOST, messages
from raw import GOOD, Books, Fault, Raw, always, answer, in_turn, read

from backfill.wire import Key, Target, TrustError, Wire, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PEOPLE = """\
version: 1
name: orders
source: {path: orders.csv}
key: id
messages:
  - type: identify
    userId: person
    timestamp: at
    traits: {total: {column: total, type: number}, note: note}
"""
MAPPINGS = {"track": ORDERS, "identify": PEOPLE}
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# ---- what can go wrong

GONE = datetime(2015, 10, 21, tzinfo=UTC)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN = b"HTTP/1.1 200 OK\r\n\r\n"

SILENT = [
    Fault("reset before", then="reset", reads="nothing"),
    Fault("reset amid", then="reset", reads="some"),
    Fault("reset after", then="reset"),
    Fault("end before", reads="nothing"),
    Fault("end amid", reads="some"),
    Fault("end without an answer"),
]
BROKEN = [
    Fault("half a status line", b"HTTP/1.1 20"),
    Fault("a status line alone", b"HTTP/1.1 200"),
    Fault("a 400 that breaks off", b"HTTP/1.1 400 Bad Req"),
    Fault("a 400 of half a header", b"HTTP/1.1 400 Bad Request\r\nContent-Le"),
    Fault("half a header", b"HTTP/1.1 200 OK\r\nContent-Le"),
    Fault("headers alone", b"HTTP/1.1 200 OK\r\nServer: x\r\n"),
    Fault("shorter than its length", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"),
    Fault("no length, no body", OPEN),
    Fault("no length, half a body", OPEN + b'{"success": tr'),
    Fault("no length, an inner end", OPEN + b'{"success": {"a": 1}'),
    Fault("a length that is none", b"HTTP/1.1 200 OK\r\nContent-Length: soon\r\n\r\n"),
    Fault("a length below nothing", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{"),
    Fault("two lengths", answer(200, b"{}", "Content-Length: 3")),
    Fault("chunks without an end", CHUNKED + b"2\r\n{}\r\n"),
    Fault("a chunk without a size", CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    Fault("a chunk below nothing", CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"),
    Fault("a chunk of everything", CHUNKED + b"ffffffffffffffff\r\n{}"),
    Fault("a header of 1 MB", answer(200, b"{}", "X: " + "x" * 1_000_000)),
    Fault("1,000 headers", answer(200, b"{}", *["X: y"] * 1000)),
    Fault("no status", b"HTTP/1.1 2OO OK\r\n\r\n"),
    Fault("another protocol", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    Fault("HTTP/0.9", b"{}"),
    Fault("HTTP/2", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    Fault("the protocol is switched", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
    Fault("only early hints", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
]
STATUSES = [
    Fault(str(status), answer(status, b"<h1>later</h1>"), then="keep")
    for status in (408, 500, 502, 503, 504, 520, 599)
]
NONSENSE = [
    Fault(f"503, Retry-After {header[:20]!r}", answer(503, b"", f"Retry-After: {header}"))
    for header in ("soon", "-5", "1.5", "", "0", "+1", "1e3", "\u0661", format_datetime(GONE))
] + [Fault("503, two Retry-After", answer(503, b"", "Retry-After: 200", "Retry-After: 250"))]
EARLY = [
    Fault("a 503 before the body is read", answer(503), reads="some"),
    Fault("a 500 before anything is read", answer(500), reads="nothing", then="reset"),
]
PASSING = SILENT + BROKEN + STATUSES + NONSENSE + EARLY

ODD = [
    Fault("100 unasked", b"HTTP/1.1 100 Continue\r\n\r\n" + answer(), "keep", is_kept=True),
    Fault(
        "103 first", b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + answer(), "keep", is_kept=True
    ),
    Fault("102 often", b"HTTP/1.1 102 Wait\r\n\r\n" * 9 + answer(), "keep", is_kept=True),
    Fault("chunked", CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", "keep", is_kept=True),
    Fault("empty", answer(200, b""), "keep", is_kept=True),
    Fault("no length, whole", OPEN + b'{"success":true}', is_kept=True),
    Fault("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n{}", is_kept=True),
    Fault("connection: close", answer(200, b"{}", "Connection: close"), is_kept=True),
    Fault("closed while idle", answer(), is_kept=True),
    Fault("the same length twice", answer(200, b"{}", "Content-Length: 2"), "keep", is_kept=True),
    Fault("trailing bytes", answer() + b"\r\n\r\nmore", "keep", is_kept=True),
    Fault("a trailing answer", answer() + answer(400, b"no"), "keep", is_kept=True),
    Fault("a late trailing answer", answer(), "close", is_kept=True, after=answer(400, b"no")),
]
"""Answers that acknowledge, in forms a client might stumble over, or stumble after."""

PAGES = [
    Fault(f"a page: {body[:12]!r}", answer(200, body), then="keep")
    for body in (b"<html>Sign in</html>", b"OK", b"[]", b"null", b'"ok"', b"1", b'{"cut": ', b"\0")
] + [
    Fault("a packed page", answer(200, gzip.compress(b"{}"), "Content-Encoding: gzip"), "keep"),
    Fault("a bomb", answer(200, gzip.compress(b" " * 99_000_000), "Content-Encoding: gzip")),
    Fault("an endless page", OPEN + b"x" * 200_000),
    Fault("an object over 64 KiB", OPEN + b'{"a":"' + b"x" * 70_000 + b'"}'),
]
FINAL = [
    Fault(str(status), answer(status, b'{"meta":{"errors":["no"]}}'), then="keep")
    for status in (201, 202, 204, 206, 304, 401, 403, 404, 405, 407, 409, 410, 415, 421, 422, 501)
]


# ---- a fault that passes


class Run(NamedTuple):
    """A run of the command that ended."""

    code: int
    report: dict[str, Any]
    err: str


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write `orders.csv` with the mapping of a message type, and return the mapping's path."""

    def written(kind: str, rows: int) -> Path:
        lines = ["id,person,at,total,note"]
        lines += [f"{n},p{n},2020-01-02T03:04:05Z,{n}.50,“é” of {n}" for n in range(rows)]
        (tmp_path / "orders.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        path = tmp_path / "orders.yaml"
        path.write_text(MAPPINGS[kind])
        return path

    return written


def run(cli: Cli, url: str, *options: object, rate: object = "unlimited", **how: Any) -> Run:
    """Run the command on `orders.yaml`, to its end."""
    command = ["run", "orders.yaml", "--to", url, "--rate", rate, "--json", *options]
    done = cli(*command, **how)
    return Run(done.code, done.report, done.err)


def fault_free(cli: Cli, *options: object) -> Books:
    """Return the books of a destination to which nothing happened."""
    with Raw(always(GOOD)) as raw:
        done = run(cli, raw.url, "--state", "fault-free", *options)
        assert (done.code, done.report["rows"]["pending"]) == (0, 0)
        return raw.books


def equal(one: Books, other: Books) -> bool:
    """Whether two destinations hold the same messages, as sets of (id, text)."""
    return (one.ids, one.messages) == (other.ids, other.messages)


@pytest.mark.parametrize(
    ("kind", "step"),
    # one lane of a small file waits for itself after each fault: all of them take 30 s
    [("track", 1), ("identify", 8), pytest.param("identify", 1, marks=pytest.mark.large)],
)
def test_faults_that_pass_lose_no_row_and_reject_none(
    cli: Cli, write: Callable[..., Path], kind: str, step: int
) -> None:
    write(kind, 900)
    faults = [*PASSING, *ODD][::step]
    random.Random(7).shuffle(faults)
    with Raw(in_turn(faults, between=2)) as raw:
        done = run(cli, raw.url, "--batch-messages", 4, "--connections", 16)
        met = [seen.fault for seen in raw.seen]
    assert [str(fault) for fault in faults if fault not in met] == []
    assert (done.code, done.err.count("Traceback")) == (0, 0)
    assert done.report["rows"]["delivered"] == 900
    assert done.report["rows"]["rejected"] == 0
    assert done.report["requests"]["retried"] >= len(set(PASSING) & set(faults))
    assert {len(texts) for texts in raw.texts().values()} == {1}, "an id that came with two texts"
    assert equal(raw.books, fault_free(cli))
    kept = {seen.body for seen in raw.seen if seen.fault.is_kept}
    assert {seen.body for seen in raw.seen if seen.body} <= kept, "the same bytes come again"


def test_an_odd_answer_that_acknowledges_is_not_asked_for_twice(
    cli: Cli, write: Callable[..., Path]
) -> None:
    write("track", 130)
    with Raw(in_turn(ODD)) as raw:
        done = run(cli, raw.url, "--batch-messages", 10, "--connections", 1)
    assert (done.code, done.report["requests"]["sent"]) == (0, 13)
    assert (raw.books.taken, len(raw.books.ids)) == (130, 130)


# ---- a fault that stays


class Lasting(NamedTuple):
    """What a run says and leaves, to which the same happens again and again."""

    fault: Fault
    code: int
    what: str


OUTAGES = [
    *[Lasting(fault, 4, "nothing was delivered for") for fault in (*SILENT, *BROKEN)],
    *[Lasting(fault, 4, f"(answered {fault})") for fault in STATUSES],
    *[Lasting(fault, 4, "(answered 503)") for fault in NONSENSE],
    Lasting(Fault("429", answer(429, b""), "keep"), 4, "(answered 429)"),
    Lasting(Fault("hang", then="hang"), 4, "(timed out)"),
    Lasting(Fault("a head that drips", b"HTTP/1.1 200 OK\r\nX:", "drip"), 4, "within 0.3 s)"),
    Lasting(Fault("a body that drips", OPEN + b"{", "drip"), 4, "within 0.3 s)"),
]
ASKED = [
    Lasting(
        Fault(
            f"{status}, Retry-After {header[:30]}", answer(status, b"", f"Retry-After: {header}")
        ),
        4,
        f"the destination asks to wait {told}",
    )
    for status, header, told in (
        (429, "301", "301"),
        (503, "9" * 400, "1000000000"),
        (503, "5", "5"),
        (500, format_datetime(datetime.now(UTC) + timedelta(days=9000)), "7775"),
    )
]
STOPS = [
    *[Lasting(fault, 12, "answered 200 with a page that is not the API's") for fault in PAGES],
    *[Lasting(fault, 12, str(fault)) for fault in FINAL],
]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pauses and the deadline of a run in this process short; the rest is real."""
    monkeypatch.setattr("backfill.backoff.BASE_S", 0.02)
    monkeypatch.setitem(Wire.__init__.__kwdefaults__, "deadline_s", 0.3)


WANTED: dict[bytes, Books] = {}


def wanted(mapping: Path, door: Callable[..., dict[str, Any]]) -> Books:
    """Return the books of a run to which nothing happened; the same source is run once."""
    source = mapping.with_suffix(".csv").read_bytes() + mapping.read_bytes()
    if source not in WANTED:
        with Raw(always(GOOD)) as raw:
            assert door(mapping, to=raw.url, state=mapping.parent / "wanted")["exit_code"] == 0
        WANTED[source] = raw.books
    return WANTED[source]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "case",
    [
        *OUTAGES[:: len(OUTAGES) // 6],  # that each of them is an outage, faults that pass say
        *[pytest.param(case, marks=pytest.mark.large) for case in OUTAGES],
        *OUTAGES[-3:],
        *ASKED,
        *STOPS,
    ],
    ids=lambda case: str(case.fault),
)
def test_a_fault_that_stays_stops_the_run_and_the_same_command_goes_on_after_it(
    write: Callable[..., Path], door: Callable[..., dict[str, Any]], case: Lasting
) -> None:
    mapping = write("track", 30)
    how = {"batch_messages": 10, "connections": 2, "max_outage_s": 0.25}
    with Raw(lambda number: GOOD if number == 1 else case.fault) as raw:
        done = door(mapping, to=raw.url, **how)
        assert (done["exit_code"], done["error"]["where"]) == (case.code, raw.url)
        assert case.what in done["error"]["what"]
        if case.code == 12:
            assert len(raw.seen) <= 4, "one for each connection, and the good one"
        raw.choose = always(GOOD)
        report = door(mapping, to=raw.url, **how)
    assert (report["exit_code"], report["rows"]["rejected"]) == (0, 0)
    assert report["rows"]["delivered"] == 30
    assert equal(raw.books, wanted(mapping, door))
    assert {len(texts) for texts in raw.texts().values()} == {1}
    logs = [path.read_text() for path in mapping.parent.rglob("log.jsonl")]
    lines = [line for log in logs for line in log.splitlines()]
    assert all(math.isfinite(json.loads(line).get("wait_s", 0)) for line in lines)
    assert KEY not in "".join(logs)
