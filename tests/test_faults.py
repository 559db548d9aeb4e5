"""Whatever the far side does, end to end: nothing is lost, no row is rejected for it.

Real runs against raw sockets; each row of the table of server faults is here, and some that it
forgets. One request with one fault is in `test_wire`, the decisions alone in `test_deliver`.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import random
import socket
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme
from conftest import KEY, ORDERS, Cli
from ledger import HOST, Reply, messages
from raw import GOOD, Books, Fault, Raw, Seen, always, answer, in_turn

from backfill.wire import Key, Target, TrustError, Wire, WireError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger import Ledger

    Door = Callable[..., dict[str, Any]]

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


WANTED: dict[bytes, Books] = {}


def wanted(mapping: Path, door: Door) -> Books:
    """Return the books of a run to which nothing happened; the same source is run once."""
    source = mapping.with_suffix(".csv").read_bytes() + mapping.read_bytes()
    if source not in WANTED:
        with Raw(always(GOOD)) as raw:
            assert door(mapping, to=raw.url, state=mapping.parent / "wanted")["exit_code"] == 0
        WANTED[source] = raw.books
    return WANTED[source]


def equal(one: Books, other: Books) -> bool:
    """Whether two destinations hold the same messages, as sets of (id, text)."""
    return (one.ids, one.messages) == (other.ids, other.messages)


@pytest.mark.parametrize(
    ("kind", "step"),
    # one lane of a small file waits for itself after each fault: all of them take 30 s
    [("track", 1), ("identify", 16), pytest.param("identify", 1, marks=pytest.mark.large)],
)
def test_faults_that_pass_lose_no_row_and_reject_none(
    cli: Cli, write: Callable[..., Path], door: Door, kind: str, step: int
) -> None:
    mapping = write(kind, 900)
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
    assert equal(raw.books, wanted(mapping, door))
    kept = {seen.body for seen in raw.seen if seen.fault.is_kept}
    assert {seen.body for seen in raw.seen if seen.body} <= kept, "the same bytes come again"


def met(url: str, *, before: int) -> list[tuple[Any, ...]]:
    """Post over a new connection, or over one that was used before; say what came of the last."""
    found: list[tuple[Any, ...]] = []
    with closing(Wire(Target(f"{url}/v1", Key("k")), deadline_s=0.5)) as wire:
        for _ in range(before + 1):
            try:
                came = wire.post(b'{"batch":[{"messageId":"x"}]}')
            except (WireError, TrustError) as fault:
                found.append((type(fault).__name__,))
            else:
                wait = came.headers.get("Retry-After")
                found.append((came.status, came.body, came.is_cut, wait))
    return found


@pytest.mark.parametrize("fault", [*PASSING, *ODD, *PAGES, *FINAL], ids=str)
def test_a_connection_that_was_used_before_believes_what_a_new_one_does(fault: Fault) -> None:
    """The first request of a connection is urllib3's, those after it are ours."""
    with Raw(in_turn([fault])) as raw:
        new = met(raw.url, before=0)
    with Raw(in_turn([GOOD, fault])) as raw:
        kept = met(raw.url, before=1)
    assert kept[1:] == new


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
    Lasting(Fault("hang", then="hang"), 4, "(no complete answer within 0.3 s)"),
    Lasting(Fault("a head that drips", b"HTTP/1.1 200 OK\r\nX:", "drip"), 4, "within 0.3 s)"),
    Lasting(Fault("a body that drips", OPEN + b"{", "drip"), 4, "within 0.3 s)"),
]
ASKED = [
    Lasting(
        Fault(
            # every process must give a test the same name
            f"{status}, Retry-After {header[:30] if header.isdigit() else 'a date'}",
            answer(status, b"", f"Retry-After: {header}"),
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
    defaults = Wire.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "deadline_s", 0.3)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "case",
    [
        *OUTAGES[:: len(OUTAGES) // 4],  # that each of them is an outage, faults that pass say
        *[pytest.param(case, marks=pytest.mark.large) for case in OUTAGES],
        *OUTAGES[-3:],
        *ASKED,
        *STOPS,
    ],
    ids=lambda case: str(case.fault),
)
def test_a_fault_that_stays_stops_the_run_and_the_same_command_goes_on_after_it(
    write: Callable[..., Path], door: Door, case: Lasting
) -> None:
    mapping = write("track", 30)
    patience_s = 0.25 if case.code == 4 else 30  # a busy machine is no outage
    how = {"batch_messages": 10, "connections": 2, "max_outage_s": patience_s}
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


@pytest.mark.parametrize(
    ("fault", "code", "what"),
    [
        (Fault("503", answer(503), "keep"), 4, "(answered 503)"),
        (PAGES[0], 12, "answered 200 with a page that is not the API's"),
    ],
    ids=str,
)
def test_the_command_says_what_stopped_it_and_the_same_command_goes_on(
    cli: Cli, write: Callable[..., Path], door: Door, fault: Fault, code: int, what: str
) -> None:
    mapping = write("identify", 30)
    options = ["--batch-messages", 10, "--max-outage", 1]
    with Raw(lambda number: fault if number else GOOD) as raw:
        done = run(cli, raw.url, *options)
        assert (done.code, done.report["exit_code"]) == (code, code)
        assert what in done.err
        assert raw.url in done.err
        assert "Traceback" not in done.err
        assert done.report["rows"] | {"delivered": 10, "pending": 20} == done.report["rows"]
        assert done.report["next_command"]
        raw.choose = always(GOOD)
        done = run(cli, raw.url, *options)
    assert (done.code, done.report["rows"]["delivered"]) == (0, 30)
    assert equal(raw.books, wanted(mapping, door))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(write: Callable[..., Path], door: Door, status: int) -> None:
    mapping = write("track", 30)
    with Raw(always(GOOD)) as other:
        moved = Fault("moved", answer(status, b"", f"Location: {other.url}/v1/batch"), "keep")
        with Raw(always(moved)) as raw:
            done = door(mapping, to=raw.url, connections=1)
            assert (done["exit_code"], len(raw.seen)) == (12, 1)
            assert f"answered {status}" in done["error"]["what"]
            raw.choose = always(GOOD)
            assert door(mapping, to=raw.url)["exit_code"] == 0
        assert (other.connections, other.seen) == (0, [])
    assert equal(raw.books, wanted(mapping, door))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("url", ["http://127.0.0.1:PORT", "https://no-such-host.invalid"])
def test_a_destination_that_is_not_there_is_waited_for_and_then_given_up(
    write: Callable[..., Path], door: Door, url: str
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        url = url.replace("PORT", str(taken.getsockname()[1]))
    mapping = write("track", 30)
    done = door(mapping, to=url, max_outage_s=0.8)
    assert (done["exit_code"], done["error"]["where"]) == (4, url)
    assert done["error"]["what"].startswith("nothing was delivered for ")
    log = next((mapping.parent / "state").rglob("log.jsonl")).read_text()
    assert log.count('"retry"') > 1, "it was tried more than once"


@pytest.mark.large
def test_a_real_deadline_of_30_s_ends_a_drip_and_the_rows_are_sent_again(
    cli: Cli, write: Callable[..., Path], door: Door
) -> None:
    mapping = write("track", 30)
    with Raw(in_turn([Fault("a drip", OPEN + b"{", "drip"), Fault("hang", then="hang")])) as raw:
        done = run(cli, raw.url, "--batch-messages", 10, "-v", timeout_s=120)
        met = [seen.at_s for seen in raw.seen]
    assert (done.code, done.report["rows"]["delivered"]) == (0, 30)
    assert done.report["requests"]["retried"] == 2
    assert 29 < max(met) - min(met) < 34
    assert equal(raw.books, wanted(mapping, door))


# ---- answers to a part of the request


def test_a_413_before_the_body_is_read_halves_the_batch_and_rejects_nothing(
    cli: Cli, write: Callable[..., Path], door: Door
) -> None:
    mapping = write("track", 900)
    large = answer(413, b"", "Connection: close")
    early = [Fault("413", large, "linger", reads) for reads in ("some", "nothing")]
    with Raw(in_turn(early)) as raw:
        done = run(cli, raw.url)
    assert (done.code, done.report["rows"]["delivered"], raw.books.taken) == (0, 900, 900)
    assert done.report["requests"]["sent"] == 2 + 3, "a whole, a half; then two quarters, a half"
    assert equal(raw.books, wanted(mapping, door))


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("status", [200, 400])
def test_a_200_or_a_400_to_a_request_that_was_not_sent_whole_says_nothing(
    status: int, then: Any
) -> None:
    """Rows that never arrived would be settled by it."""
    early = Fault("early", answer(status), then, "some")
    with (
        Raw(always(early)) as raw,
        closing(Wire(Target(f"{raw.url}/v1", Key(KEY)), deadline_s=5)) as wire,
        pytest.raises(WireError, match=f"answered {status} before the request was sent whole"),
    ):
        wire.post(b" " * 20_000_000)


@pytest.mark.parametrize("status", [401, 413, 503])
def test_any_other_answer_to_a_part_of_a_request_is_heard(status: int) -> None:
    early = Fault("early", answer(status), reads="some")
    with (
        Raw(always(early)) as raw,
        closing(Wire(Target(f"{raw.url}/v1", Key(KEY)), deadline_s=5)) as wire,
    ):
        assert wire.post(b" " * 20_000_000).status == status


# ---- whom the connection is with


class Authority:
    """Signs certificates; nobody trusts it before `trust`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self._monkeypatch = monkeypatch

    def trust(self) -> None:
        """Let our side trust it, as REQUESTS_CA_BUNDLE does."""
        path = self._folder / "authority.pem"
        self._ca.cert_pem.write_to_path(path)
        self._monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))

    def context(self, host: str = "localhost", **how: Any) -> ssl.SSLContext:
        """Return what a server needs that is called `host`."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host, **how).configure_cert(made)
        return made


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    return Authority(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("wrong host", "Hostname mismatch"),
        ("unknown authority", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("plain", "WRONG_VERSION_NUMBER"),
    ],
)
def test_a_far_side_that_cannot_be_trusted_stops_the_run_without_another_try(
    write: Callable[..., Path],
    door: Door,
    authority: Authority,
    fault: str,
    what: str,
) -> None:
    mapping = write("track", 30)
    tls: ssl.SSLContext | None = authority.context()
    choose = always(GOOD)
    if fault == "wrong host":
        tls = authority.context("elsewhere.example")
    elif fault == "expired":
        tls = authority.context(not_after=GONE)
    elif fault == "plain":
        tls, choose = None, always(Fault("plain", answer(400), reads="some"))
    if fault != "unknown authority":
        authority.trust()
    with Raw(choose, tls=tls) as raw:
        url = f"https://localhost:{raw.port}"
        done = door(mapping, to=url, connections=1)
        assert (done["exit_code"], done["error"]["where"]) == (12, url)
        assert done["error"]["what"].startswith("the connection cannot be trusted: ")
        assert what in done["error"]["what"]
        assert (raw.connections, raw.books.taken) == (1, 0)


@pytest.mark.usefixtures("hasty")
def test_a_far_side_that_hangs_up_amid_the_handshake_is_an_outage_that_passes(
    write: Callable[..., Path], door: Door, authority: Authority
) -> None:
    mapping = write("track", 30)
    tls = authority.context()
    authority.trust()
    alert = b"\x15\x03\x03\x00\x02\x02\x50"  # fatal: internal error
    ends = [b"", b"", alert]

    def hang_up(conn: socket.socket) -> bool:
        if not ends:
            return False
        conn.recv(2000)
        conn.sendall(ends.pop())
        return True

    with Raw(always(GOOD), tls=tls) as raw:
        raw.greet = hang_up
        done = door(mapping, to=raw.url, connections=1)
    assert (done["exit_code"], done["requests"]["retried"], ends) == (0, 3, [])
    assert (raw.books.taken, raw.connections) == (30, 4)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("status", [429, 503])
def test_a_proxy_in_trouble_is_waited_for(
    write: Callable[..., Path], door: Door, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    mapping = write("track", 30)
    with Raw(always(Fault("proxy", answer(status), reads="some"))) as raw:
        monkeypatch.setenv("HTTPS_PROXY", raw.url)
        done = door(mapping, to="https://cdp.example", max_outage_s=0.8, connections=1)
    assert done["exit_code"] == 4
    assert f"Tunnel connection failed: {status}" in done["error"]["what"]
    assert raw.connections > 1


# ---- the rate, by the server's clock

RATE = 20
LATE = 2
"""Requests that may arrive in a second beyond the rate and its burst of one, without being too
many: those that a busy machine brought up to 100 ms late, together with those in time."""


def most_in_a_second(at_s: list[float]) -> int:
    """Return the most arrivals in any second."""
    return max(sum(first <= at < first + 1 for at in at_s[n:]) for n, first in enumerate(at_s))


def pace(at_s: list[float]) -> float:
    """Return the mean seconds from one arrival to the next."""
    return (at_s[-1] - at_s[0]) / (len(at_s) - 1)


def test_a_storm_of_refusals_never_brings_more_requests_than_the_rate(
    cli: Cli, write: Callable[..., Path]
) -> None:
    """Retries are requests too; after a 429 the rate halves, and it climbs back."""
    write("track", 54)
    busy = Fault("503", answer(503), then="keep")
    too_fast = Fault("429", answer(429), then="keep")
    with Raw(lambda n: too_fast if n == 30 else busy if n < 30 and n % 3 == 1 else GOOD) as raw:
        done = run(cli, raw.url, "--batch-messages", 1, rate=RATE)
    assert (done.code, raw.books.taken, len(raw.books.ids)) == (0, 54, 54)
    at_s = sorted(seen.at_s for seen in raw.seen)
    assert len(at_s) == 54 + 10 + 1
    assert most_in_a_second(at_s) <= RATE + 1 + LATE
    assert pace(at_s[2:30]) < 1.6 / RATE, "the storm did not hold it up: it was busy"
    after = at_s[32:]  # one may have been on its way
    slow, later = pace(after[:10]), pace(after[22:33])
    assert 1.5 / RATE < slow < 3.5 / RATE, "half the rate"
    assert later < 0.95 * slow, "and more again, a twentieth a second"


@pytest.mark.large
def test_the_rate_holds_through_a_storm_of_429s_too_and_climbs_back_to_the_whole(
    cli: Cli, write: Callable[..., Path]
) -> None:
    write("track", 500)
    draw = random.Random(5)
    storm = [draw.choice(["429", "503", "good", "good"]) for _ in range(60)]
    faults = {
        "429": Fault("429", answer(429), then="keep"),
        "503": Fault("503", answer(503), then="keep"),
        "good": GOOD,
    }
    with Raw(in_turn(faults[name] for name in storm)) as raw:
        done = run(cli, raw.url, "--batch-messages", 1, rate=RATE, timeout_s=300)
    assert (done.code, raw.books.taken, len(raw.books.ids)) == (0, 500, 500)
    at_s = sorted(seen.at_s for seen in raw.seen)
    assert most_in_a_second(at_s) <= RATE + 1 + LATE
    assert max(pace(at_s[n : n + 10]) for n in range(60)) > 4 / RATE, "far below the half"
    assert pace(at_s[-60:]) < 1.1 / RATE, "and whole again"


# ---- a 400, narrowed down to the row

BAD = 617
WORDS = "traits.note is not what it should be"
LIES = {"wrong": 3, "beyond": 5_000}


def refusing(name: str) -> Callable[[bytes], Reply]:
    """Refuse every batch with the bad row; name: how the answer names it, if it does."""

    def judge(body: bytes) -> Reply:
        ids = [one["userId"] for one in messages(body)]
        if f"p{BAD}" not in ids:
            return Reply()
        if name == "none":
            return Reply(400, json.dumps({"meta": {"errors": [WORDS]}}).encode())
        at = ids.index(f"p{BAD}") if name == "right" else LIES[name]
        return Reply(400, json.dumps({"meta": {"errors": [f"batch[{at}]: {WORDS}"]}}).encode())

    return judge


@pytest.mark.parametrize("name", ["right", "wrong", "beyond", "none"])
@pytest.mark.parametrize("kind", ["track", "identify"])
def test_one_bad_row_of_a_thousand_is_found_and_the_others_are_delivered_once(
    write: Callable[..., Path], door: Door, ledger: Ledger, kind: str, name: str
) -> None:
    mapping = write(kind, 1000)
    ledger.answer = refusing(name)
    report = door(mapping)
    assert (report["exit_code"], report["rows"]["delivered"]) == (3, 999)
    sent = [message["userId"] for message in ledger.kept]
    assert sorted(sent) == sorted(f"p{n}" for n in range(1000) if n != BAD)
    if kind == "identify":
        assert sent == [f"p{n}" for n in range(1000) if n != BAD], "in the order of the source"
    wanted_max = 4 if name == "right" else 2 * math.ceil(math.log2(1000)) + 1
    assert report["requests"]["sent"] == len(ledger.arrivals) <= wanted_max
    with (mapping.parent / report["rejects"]).open(encoding="utf-8", newline="") as stream:
        (reject,) = csv.DictReader(stream)
    at = 0 if name == "right" else LIES.get(name)
    told = WORDS if at is None else f"batch[{at}]: {WORDS}"
    assert reject["_reason"] == f"the destination refused it: {told}; correct the row"
    assert (reject["id"], reject["_row"], reject["_code"]) == (str(BAD), str(BAD + 2), "refused")


# ---- all of it at once, for long


def soak(draw: random.Random) -> Callable[[int], Fault]:
    """Let one request in twenty meet a fault, of any kind."""
    slow = Fault("slow", answer(), "keep", is_kept=True, wait_s=0.3)
    asked = Fault("asked to wait", answer(429, b"", "Retry-After: 1"), "keep")
    rare = [asked, Fault("429", answer(429), "keep"), slow]
    often = [fault for fault in PASSING if fault.name != "a header of 1 MB"]

    def choose(_number: int) -> Fault:
        if draw.random() >= 0.05:
            return GOOD
        return draw.choice(rare) if draw.random() < 0.1 else draw.choice(often)

    return choose


@pytest.mark.parametrize(
    ("rows", "batch"),
    [(20_000, 100), pytest.param(1_000_000, 200, marks=pytest.mark.large)],
)
def test_with_a_fault_in_every_twentieth_request_the_ledger_is_that_of_none(
    cli: Cli, write: Callable[..., Path], rows: int, batch: int
) -> None:
    write("track", rows)
    seed = int(os.environ.get("BACKFILL_SEED", "11"))
    books: list[Books] = []
    seen: list[Seen] = []
    for choose in (always(GOOD), soak(random.Random(seed))):
        with Raw(choose) as raw:
            raw.is_remembering = False
            options = ["--state", f"state-{len(books)}", "--batch-messages", batch]
            done = run(cli, raw.url, *options, timeout_s=1800)
        assert (done.code, done.report["rows"]["delivered"]) == (0, rows), f"seed {seed}"
        books.append(raw.books)
        seen = raw.seen
    met = sum(one.fault is not GOOD for one in seen)
    assert 0.03 < met / len(seen) < 0.08, f"seed {seed}"
    assert len(books[0].ids) == len(books[0].messages) == books[0].taken == rows
    assert equal(*books), f"seed {seed}"
