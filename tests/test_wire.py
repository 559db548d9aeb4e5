"""One request over a real socket, against servers that do everything a server must not."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import traceback
from collections import deque
from contextlib import closing, contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import spec
from backfill.errors import UsageError
from backfill.kept import Kept, plain_body, rest
from backfill.whole import Final, missing
from backfill.wire import (
    ANSWER_BYTES_MAX,
    Key,
    LateError,
    Target,
    TrustError,
    Wire,
    WireError,
    proxy_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "canary4711writekey"
BODY = b'{"batch":[{"type":"track"}]}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Server:
    """Hands each connection to a script and keeps what the client sent.

    script: called with the server, the connection and its number, from 1.
    """

    def __init__(self, script: Callable[[Server, socket.socket, int], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self.is_closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(conn)
            serve = threading.Thread(target=self._serve, args=(conn, self.connections))
            self._threads.append(serve)
            serve.start()

    def _serve(self, conn: socket.socket, number: int) -> None:
        with conn, suppress(OSError):
            self._script(self, conn, number)

    def read(self, conn: socket.socket) -> bytes:
        """Read a whole request and keep it; empty where the client is gone."""
        got = b""
        while b"\r\n\r\n" not in got:
            part = conn.recv(65_536)
            if not part:
                return b""
            got += part
        head, _, body = got.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += conn.recv(65_536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self) -> None:
        """End every connection and thread."""
        self.is_closed.set()
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def serving(
    script: Callable[[Server, socket.socket, int], None], *, deadline_s: float = 5.0, **how: Any
) -> Iterator[tuple[Server, Wire]]:
    """Run a server and a wire to it. is_kept: its first request is behind it, and answered."""
    is_kept = how.pop("is_kept", False)
    with closing(Server(after_one(script) if is_kept else script)) as server:
        scheme, key = how.pop("scheme", "http"), Key(how.pop("key", KEY))
        target = Target(f"{scheme}://127.0.0.1:{server.port}/v1", key, **how)
        with closing(Wire(target, deadline_s=deadline_s)) as wire:
            if is_kept:
                assert wire.post(BODY).body == b"{}"
                server.requests.clear()
            yield server, wire


@pytest.fixture(params=[False, True], ids=["first request", "kept connection"])
def is_kept(request: pytest.FixtureRequest) -> bool:
    """Whether a connection has been used before: what its later requests take is another way."""
    found: bool = request.param
    return found


def after_one(
    script: Callable[[Server, socket.socket, int], None],
) -> Callable[[Server, socket.socket, int], None]:
    """Answer the first request of the first connection well, then go by the script."""

    def run(server: Server, conn: socket.socket, number: int) -> None:
        if number == 1:
            server.read(conn)
            conn.sendall(GOOD)
        script(server, conn, number)

    return run


def always(answer: bytes) -> Callable[[Server, socket.socket, int], None]:
    """Answer every request of a connection alike."""

    def script(server: Server, conn: socket.socket, _number: int) -> None:
        while server.read(conn):
            conn.sendall(answer)

    return script


def once(answer: bytes) -> Callable[[Server, socket.socket, int], None]:
    """Answer one request, then close."""

    def script(server: Server, conn: socket.socket, _number: int) -> None:
        server.read(conn)
        conn.sendall(answer)

    return script


def reset(conn: socket.socket) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    found = [line.split(": ", 1) for line in lines]
    assert len({name.lower() for name, _ in found}) == len(found), "a header twice"
    return {name.lower(): value for name, value in found}


# ---- what is sent


def test_a_request_is_what_the_contract_says(*, is_kept: bool) -> None:
    with serving(always(GOOD), is_kept=is_kept) as (server, wire):
        answer = wire.post(BODY)
    assert (answer.status, answer.body, answer.is_cut) == (200, b"{}", False)
    (request,) = server.requests
    assert request.startswith(b"POST /v1/batch HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\n" + BODY)
    headers = headers_of(request)
    assert headers.pop("connection", "keep-alive") == "keep-alive"
    assert headers.pop("accept", "*/*") == "*/*"
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode(),
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "user-agent": f"backfill/{spec.VERSION}",
        "x-strict-mode": "1",
        "accept-encoding": "identity",
    }
    assert b"sentAt" not in request


def test_keys_of_the_new_kind_go_as_bearer(*, is_kept: bool) -> None:
    with serving(always(GOOD), key="sk_eu_abc", is_bearer=True, is_kept=is_kept) as (server, wire):
        wire.post(BODY)
    assert headers_of(server.requests[0])["authorization"] == "Bearer sk_eu_abc"


def test_a_netrc_with_the_host_does_not_replace_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password secret\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(always(GOOD)) as (server, wire):
        wire.post(BODY)
        wire.post(BODY)
    expected = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert {headers_of(r)["authorization"] for r in server.requests} == {expected}


def test_requests_share_a_connection_and_each_has_its_own_length() -> None:
    with serving(always(GOOD)) as (server, wire):
        bodies = [BODY, BODY * 50, b"{}"]
        for body in bodies:
            assert wire.post(body).status == 200
    assert server.connections == 1
    assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == bodies


@pytest.mark.parametrize("is_bearer", [False, True])
def test_every_request_of_a_connection_has_the_headers_of_its_first(*, is_bearer: bool) -> None:
    with serving(always(GOOD), is_bearer=is_bearer) as (server, wire):
        for _ in range(3):
            wire.post(BODY)
    first, *others = [headers_of(request) for request in server.requests]
    for extra in ("accept", "connection"):  # of libraries, and what is meant without them
        assert first.pop(extra, "") in {"", "*/*", "keep-alive"}
    assert len(others) == 2
    for one in others:
        assert {name: one[name] for name in first} == first
    assert server.connections == 1


def test_an_answer_that_says_close_is_the_last_of_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    with serving(always(answer), is_kept=True) as (server, wire):
        assert [wire.post(BODY).status for _ in range(3)] == [200] * 3
    assert server.connections == 3


def test_no_cookie_of_an_answer_is_sent_back() -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 2\r\n\r\n{}"
    with serving(always(answer)) as (server, wire):
        wire.post(BODY)
        wire.post(BODY)
    assert "cookie" not in headers_of(server.requests[1])


def test_the_key_shows_itself_to_nobody() -> None:
    target = Target("https://cdp.example/v1", Key(KEY))
    assert KEY not in f"{target} {target!r} {target.key} {target.key!r} {vars(Target)}"


# ---- answers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_nobody_follows_it(status: int, *, is_kept: bool) -> None:
    with closing(Server(always(GOOD))) as elsewhere:
        place = f"http://127.0.0.1:{elsewhere.port}/v1/batch"
        redirect = f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
        with serving(always(redirect.encode()), is_kept=is_kept) as (server, wire):
            assert wire.post(BODY).status == status
        assert len(server.requests) == 1
        assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [200, 400, 401, 413, 429, 500, 503])
def test_a_status_comes_with_its_headers_and_body(status: int, *, is_kept: bool) -> None:
    words = b'{"error":"why"}'
    head = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nContent-Length: {len(words)}\r\n\r\n"
    with serving(always(head.encode() + words), is_kept=is_kept) as (_, wire):
        answer = wire.post(BODY)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (status, "7", words)


def test_a_413_before_the_body_is_read_is_still_an_answer(*, is_kept: bool) -> None:
    def script(server: Server, conn: socket.socket, _number: int) -> None:
        conn.recv(1000)
        conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        while conn.recv(1 << 20):
            pass
        server.requests.append(b"")

    with serving(script, is_kept=is_kept) as (_, wire):
        assert wire.post(b"x" * 8_000_000).status == 413


def test_a_chunked_answer_is_put_together(*, is_kept: bool) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    with serving(always(answer), is_kept=is_kept) as (_, wire):
        assert [wire.post(BODY).body, wire.post(BODY).body] == [b"{}", b"{}"]


def test_an_unasked_100_continue_is_passed_over(*, is_kept: bool) -> None:
    with serving(always(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD), is_kept=is_kept) as (_, wire):
        assert wire.post(BODY).status == 200


def test_after_103_the_connection_is_dropped_or_the_200_is_waited_for(*, is_kept: bool) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    def script(server: Server, conn: socket.socket, number: int) -> None:
        while server.read(conn):
            conn.sendall(early + GOOD if number == 1 else GOOD)

    with serving(script, is_kept=is_kept) as (server, wire):
        first = wire.post(BODY)
        assert first.status in {103, 200}
        assert wire.post(BODY).status == 200
        assert server.connections == (2 if first.status == 103 else 1)


def test_a_late_answer_is_never_taken_for_that_of_the_next_request(*, is_kept: bool) -> None:
    def script(server: Server, conn: socket.socket, _number: int) -> None:
        while request := server.read(conn):
            body = request.partition(b"\r\n\r\n")[2]
            conn.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.15)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with serving(script, is_kept=is_kept) as (_, wire):
        for number in range(4):
            body = b'{"n":%d}' % number
            with suppress(WireError):
                assert wire.post(body).body in {b"", body}


@pytest.mark.parametrize(
    ("size", "is_cut"),
    [(ANSWER_BYTES_MAX, False), (ANSWER_BYTES_MAX + 1, True), (50 << 20, True)],
)
def test_an_answer_is_read_up_to_its_cap(size: int, *, is_cut: bool, is_kept: bool) -> None:
    def script(server: Server, conn: socket.socket, _number: int) -> None:
        server.read(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(0, size, 1 << 16):
            conn.sendall(b" " * min(size, 1 << 16))

    begun_s = time.monotonic()
    with serving(script, is_kept=is_kept) as (_, wire):
        answer = wire.post(BODY)
    assert (len(answer.body), answer.is_cut) == (ANSWER_BYTES_MAX, is_cut)
    assert time.monotonic() - begun_s < 4


def test_a_packed_answer_is_not_blown_up(*, is_kept: bool) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    with serving(always(head.encode() + bomb), is_kept=is_kept) as (_, wire):
        assert wire.post(BODY).body == bomb[:ANSWER_BYTES_MAX]


# ---- no answer


def reset_before(_server: Server, conn: socket.socket, _number: int) -> None:
    reset(conn)


def reset_amid(_server: Server, conn: socket.socket, _number: int) -> None:
    conn.recv(2000)
    reset(conn)


def reset_after(server: Server, conn: socket.socket, _number: int) -> None:
    server.read(conn)
    reset(conn)


def end_after(server: Server, conn: socket.socket, _number: int) -> None:
    server.read(conn)


@pytest.mark.parametrize(
    "script",
    [
        reset_before,
        reset_amid,
        reset_after,
        end_after,
        once(b"HTTP/1.1 200"),
        once(b"HTTP/1.1 200 OK\r\nContent-Le"),
        once(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"),
        once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
        once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        once(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        once(b"HTTP/1.1 2OO OK\r\n\r\n"),
        once(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        once(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    ],
    ids=[
        "reset before",
        "reset amid",
        "reset after",
        "end without an answer",
        "half a status line",
        "half a header",
        "shorter than its length",
        "chunks without an end",
        "a chunk without a size",
        "another protocol",
        "no status",
        "a header too long",
        "headers too many",
    ],
)
def test_without_a_complete_answer_nothing_is_known(
    script: Callable[[Server, socket.socket, int], None], *, is_kept: bool
) -> None:
    with serving(script, is_kept=is_kept) as (_, wire), pytest.raises(WireError) as caught:
        wire.post(BODY * 100_000)
    assert 0 < len(str(caught.value)) <= 200
    assert caught.value.__cause__ is None
    assert KEY not in str(caught.value)


def test_after_a_fault_the_next_request_goes_over_a_new_connection() -> None:
    def script(server: Server, conn: socket.socket, number: int) -> None:
        if server.read(conn) and number > 1:
            conn.sendall(GOOD)

    with serving(script) as (server, wire):
        with pytest.raises(WireError):
            wire.post(BODY)
        assert wire.post(BODY).status == 200
    assert server.connections == 2


def test_a_connection_closed_while_idle_is_no_fault() -> None:
    with serving(once(GOOD)) as (server, wire):
        for _ in range(3):
            assert wire.post(BODY).status == 200
            time.sleep(0.05)
    assert (server.connections, len(server.requests)) == (3, 3)


def test_a_connection_closed_at_its_second_request_is_told_and_not_sent_again_unasked() -> None:
    def script(server: Server, conn: socket.socket, _number: int) -> None:
        server.read(conn)
        conn.sendall(GOOD)
        server.read(conn)

    with serving(script) as (server, wire):
        wire.post(BODY)
        with pytest.raises(WireError):
            wire.post(BODY)
    assert len(server.requests) == 2


def test_nobody_listening_is_a_fault_that_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        closing(Wire(Target(f"http://127.0.0.1:{port}/v1", Key(KEY)))) as wire,
        pytest.raises(WireError, match="Connection refused"),
    ):
        wire.post(BODY)


def test_a_name_that_is_not_known_is_a_fault_that_may_pass() -> None:
    target = Target("http://no-such-host.invalid/v1", Key(KEY))
    with closing(Wire(target)) as wire, pytest.raises(WireError):
        wire.post(BODY)


# ---- the deadline


def drip(answer: bytes) -> Callable[[Server, socket.socket, int], None]:
    """Send an answer a byte at a time, for ever: no pause is long enough for a timeout."""

    def script(server: Server, conn: socket.socket, _number: int) -> None:
        server.read(conn)
        for at in range(60):
            conn.sendall(answer[at : at + 1] or b"x")
            time.sleep(0.1)

    return script


def hang(server: Server, conn: socket.socket, _number: int) -> None:
    server.read(conn)
    server.is_closed.wait(6)


def deaf(server: Server, conn: socket.socket, _number: int) -> None:
    conn.recv(1)
    server.is_closed.wait(6)


def slow_reader(_server: Server, conn: socket.socket, _number: int) -> None:
    for _ in range(60):
        conn.recv(1000)
        time.sleep(0.1)


@pytest.mark.parametrize(
    "script",
    [
        drip(b"HTTP/1.1 200 OK\r\nX-Padding: "),
        drip(b"HTTP/1.1 200 OK\r\n\r\n{"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"),
        hang,
        deaf,
        slow_reader,
    ],
    ids=["dripped head", "dripped body", "dripped length", "hang", "deaf", "slow reader"],
)
def test_a_request_ends_at_its_deadline_whatever_the_server_does(
    script: Callable[[Server, socket.socket, int], None], *, is_kept: bool
) -> None:
    with serving(script, deadline_s=0.6, is_kept=is_kept) as (_, wire):
        begun_s = time.monotonic()
        with pytest.raises(WireError, match=r"^no complete answer within 0\.6 s$"):
            wire.post(BODY * 1_000_000)
        assert 0.5 < time.monotonic() - begun_s < 1.6


def test_an_answer_that_drips_to_a_small_request_ends_at_the_deadline(*, is_kept: bool) -> None:
    """No pause is long enough for the socket's own timeout: only the alarm ends it."""
    script = drip(b"HTTP/1.1 200 OK\r\nX-Padding: ")
    with serving(script, deadline_s=0.6, is_kept=is_kept) as (_, wire):
        begun_s = time.monotonic()
        with pytest.raises(LateError):
            wire.post(BODY)
        assert 0.5 < time.monotonic() - begun_s < 2.5


FIELDS = [
    *(
        b"Date: Mon, 30 Nov 2026 18:00:00 GMT",
        b"Content-Type: application/json",
        b"X-Odd:",
        b"a:b:c",
    ),
    *(b"Content-Length: 2", b"content-length:2", b"Content-Length: 3", b"Content-Length: +2"),
    *(b"Content-Length: 2, 2", b"Transfer-Encoding: chunked", b"transfer-encoding : identity"),
    *(b"Connection: close", b"Connection: Keep-Alive", b"connection: keep-alive, close"),
    *(b"Content-Encoding: gzip", b"Retry-After: 7", b" folded", b"no colon", b"\xe9: 1", b": none"),
]
BEGINS = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"http/1.1 200 OK", b"HTTP/1.0 200 OK"]
BEGINS += [b"HTTP/1.1 204 OK", b"HTTP/1.1 2000", b"HTTP/1.1 100 Continue", b"200 OK", b""]


class Stream:
    """A socket that has said all it will say."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        """Return all of it."""
        return io.BytesIO(self._data)


@settings(max_examples=1_500, deadline=None)
@given(
    begin=st.sampled_from(BEGINS[:1] * 6 + BEGINS),
    fields=st.lists(st.sampled_from(FIELDS), max_size=4),
    end=st.sampled_from([b"\r\n\r\n"] * 6 + [b"\n\n", b"\r\n", b"\r\n\r\n\r\n", b""]),
    body=st.sampled_from([b"{}", b"", b"{} ", b"{}HTTP/1.1 500", b"{"]),
)
def test_what_is_read_without_a_parser_is_what_the_parser_reads(
    begin: bytes, fields: list[bytes], end: bytes, body: bytes
) -> None:
    stream = b"\r\n".join([begin, *fields]) + end + body
    found = plain_body(stream)
    if found is None:
        return
    parsed = http.client.HTTPResponse(Stream(stream), method="POST")  # type: ignore[arg-type]
    parsed.begin()
    assert (parsed.status, parsed.version, parsed.will_close) == (200, 11, False)
    assert not parsed.chunked
    assert parsed.headers.get_all("content-length") == [str(len(found))]
    assert not parsed.msg.defects
    assert parsed.getheader("content-encoding") is None
    assert parsed.getheader("retry-after") is None
    assert (parsed.read(), stream.endswith(found)) == (found, True)
    assert parsed.fp is None, "nothing is left of it"


def test_the_answers_of_usual_servers_are_read_without_a_parser() -> None:
    heads = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        (
            b"HTTP/1.1 200 \r\nDate: Mon\r\nContent-Type: application/json\r\ncontent-length: 2\r\n"
            b"Connection: keep-alive\r\nVary: Origin\r\n\r\n"
        ),
    ]
    assert [plain_body(head + b"{}") for head in heads] == [b"{}", b"{}"]
    assert [plain_body(head + b"{}x") for head in heads] == [None, None]
    assert [plain_body(head + b"{") for head in heads] == [None, None]


def test_an_answer_to_half_a_request_on_a_kept_connection_is_known_for_that() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(GOOD)
        theirs.shutdown(socket.SHUT_RD)
        kept = Kept(ours, ("host", "/v1/batch"), {})
        found = kept.ask(BODY, 5.0)
        assert isinstance(found, Final)
        assert found.is_early
        told = missing(found, rest(found, 99), is_open=False)
        found.close()
    assert told == "answered 200 before the request was sent whole"


def test_a_tls_handshake_that_drips_ends_at_the_deadline_too() -> None:
    def script(_server: Server, conn: socket.socket, _number: int) -> None:
        conn.sendall(b"\x16\x03\x03\x40\x00")
        for _ in range(50):
            conn.sendall(b"\x02")
            time.sleep(0.1)

    with serving(script, scheme="https", deadline_s=0.6) as (_, wire):
        begun_s = time.monotonic()
        with pytest.raises((WireError, TrustError)):
            wire.post(BODY)
        assert time.monotonic() - begun_s < 1.6


def test_a_deadline_that_passed_leaves_the_sender_good_for_the_next_request() -> None:
    def script(server: Server, conn: socket.socket, number: int) -> None:
        server.read(conn)
        time.sleep(1.5 if number == 1 else 0)
        conn.sendall(GOOD)

    with serving(script, deadline_s=0.5) as (_, wire):
        with pytest.raises(WireError):
            wire.post(BODY)
        assert wire.post(BODY).status == 200


def test_a_deadline_is_of_one_request_and_not_of_the_connection() -> None:
    with serving(always(GOOD), deadline_s=0.5) as (server, wire):
        for _ in range(5):
            assert wire.post(BODY).status == 200
            time.sleep(0.2)
    assert server.connections == 1


# ---- trust


def certificate(folder: Path) -> tuple[str, str]:
    """Make a certificate that nobody signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on this machine: no certificate to be distrusted")
    paths = str(folder / "key.pem"), str(folder / "cert.pem")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", paths[0], "-out", paths[1]]
    subprocess.run([openssl, *made, *subject], check=True, capture_output=True)
    return paths


def test_a_certificate_that_nobody_signed_is_not_trusted(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def script(server: Server, conn: socket.socket, _number: int) -> None:
        with context.wrap_socket(conn, server_side=True) as tls:
            server.read(tls)

    with serving(script, scheme="https") as (server, wire):
        with pytest.raises(TrustError, match=r"self.signed"):
            wire.post(BODY)
        assert server.requests == []


def test_a_file_of_certificates_that_is_missing_is_no_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with serving(always(GOOD), scheme="https") as (_, wire), pytest.raises(TrustError):
        wire.post(BODY)


def test_https_to_a_port_without_tls_is_not_trusted() -> None:
    def script(_server: Server, conn: socket.socket, _number: int) -> None:
        conn.recv(1000)
        conn.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with serving(script, scheme="https") as (_, wire), pytest.raises(TrustError):
        wire.post(BODY)


def test_http_to_a_port_with_tls_gets_no_answer() -> None:
    alert = b"\x15\x03\x01\x00\x02\x02\x0a"
    with serving(once(alert)) as (_, wire), pytest.raises(WireError):
        wire.post(BODY)


# ---- the key shows itself nowhere


def forms(key: str = KEY) -> tuple[str, ...]:
    basic = base64.b64encode(f"{key}:".encode()).decode()
    return key, basic, basic.rstrip("="), key.encode().hex()


def shown(thing: Any, depth: int = 8, seen: set[int] | None = None) -> Iterator[str]:
    """Every repr that a person or a tool gets who looks at an object and all it holds."""
    seen = set() if seen is None else seen
    if depth < 0 or id(thing) in seen or isinstance(thing, (type, ModuleType)):
        return
    seen.add(id(thing))
    yield repr(thing)
    if isinstance(thing, dict):
        parts: list[Any] = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        parts = list(thing)
    else:
        slots = [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())]
        parts = [*getattr(thing, "__dict__", {}).values()]
        parts += [] if isinstance(thing, Key) else slots
    for part in parts:
        yield from shown(part, depth - 1, seen)


@pytest.mark.parametrize("is_bearer", [False, True])
def test_nothing_that_a_wire_holds_shows_the_key(*, is_bearer: bool, is_kept: bool) -> None:
    with serving(always(GOOD), is_bearer=is_bearer, is_kept=is_kept) as (server, wire):
        wire.post(BODY)
        texts = list(shown(wire))
    assert len(texts) > 100, "connection, pool and headers were looked at"
    assert any("X-Strict-Mode" in text for text in texts)
    assert any("'Authorization': ***" in text for text in texts)
    for form in forms():
        assert not [text for text in texts if form in text]
    assert any(form.encode() in server.requests[0] for form in forms()), "but it is sent"


def with_locals(fault: BaseException) -> str:
    """A traceback as error trackers keep it: every local of every frame, every error before it."""
    told: list[str] = []
    one: BaseException | None = fault
    while one is not None:
        captured = traceback.TracebackException.from_exception(one, capture_locals=True)
        told += captured.format(chain=True)
        one = one.__cause__ or one.__context__
    return "".join(told)


@pytest.mark.parametrize(
    "script",
    [reset_before, reset_after, once(b"HTTP/1.1 2OO OK\r\n\r\n"), end_after],
    ids=["reset before", "reset after", "no status", "end"],
)
def test_a_traceback_with_locals_of_a_fault_shows_no_key(
    script: Callable[[Server, socket.socket, int], None], *, is_kept: bool
) -> None:
    with serving(script, is_kept=is_kept) as (_, wire), pytest.raises(WireError) as caught:
        wire.post(BODY * 100_000)
    told = with_locals(caught.value)
    is_noticed = "urlopen" in told  # a reset may be seen before the connection is used again
    assert is_noticed or (is_kept and ", in ask\n" in told), "the frames are there"
    assert [form for form in forms() if form in told] == []


@pytest.mark.parametrize("at", ["send", "putheader", "getresponse", "_send_output"])
def test_a_traceback_with_locals_of_a_fault_of_our_own_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whatever breaks below, and however unexpected it is: Ctrl-C comes there too."""
    real = getattr(http.client.HTTPConnection, at)

    def broken(self: Any, *given: Any, **more: Any) -> Any:
        if at != "putheader" or given[0] == "Authorization":
            raise KeyboardInterrupt
        return real(self, *given, **more)

    monkeypatch.setattr(http.client.HTTPConnection, at, broken)
    with serving(always(GOOD)) as (_, wire), pytest.raises(KeyboardInterrupt) as caught:
        wire.post(BODY)
    told = with_locals(caught.value)
    assert "broken" in told
    assert "urlopen" in told
    assert [form for form in forms() if form in told] == []


def test_a_traceback_with_locals_of_an_interrupt_on_a_kept_connection_shows_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_self: Any) -> None:
        raise KeyboardInterrupt

    odd = GOOD.replace(b"200 OK", b"200 OK\r\nRetry-After: 7")  # a plain one needs no parser
    with serving(always(odd), is_kept=True) as (_, wire):
        monkeypatch.setattr(Final, "begin", broken)
        with pytest.raises(KeyboardInterrupt) as caught:
            wire.post(BODY)
    told = with_locals(caught.value)
    assert ", in ask\n" in told
    assert [form for form in forms() if form in told] == []


def test_an_answer_that_repeats_the_key_does_not_show_it(*, is_kept: bool) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: /{KEY}\r\nContent-Length: {len(KEY)}\r\n\r\n{KEY}"
    with serving(always(answer.encode()), is_kept=is_kept) as (_, wire):
        found = wire.post(BODY)
    assert KEY in found.body.decode()
    assert KEY not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "answer",
    [
        KEY.encode() + b"\r\n\r\n",
        f"HTTP/1.1 {KEY}\r\n\r\n".encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + KEY.encode() + b"\r\n{}\r\n",
        f"{KEY}/1.1 200 OK\r\n\r\n".encode(),
    ],
)
def test_an_answer_that_cannot_be_read_is_not_quoted(answer: bytes, *, is_kept: bool) -> None:
    with serving(once(answer), is_kept=is_kept) as (_, wire), pytest.raises(WireError) as caught:
        wire.post(BODY)
    assert KEY not in str(caught.value)


def test_a_host_program_that_debugs_its_own_requests_does_not_print_ours(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with serving(always(GOOD)) as (_, wire):
        wire.post(BODY)
    assert capfd.readouterr() == ("", "")


# ---- proxies


@contextmanager
def proxy() -> Iterator[Server]:
    """A proxy that knows CONNECT and passes bytes on; `requests` are what it was asked."""

    def script(server: Server, conn: socket.socket, _number: int) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += conn.recv(1)
        server.requests.append(asked)
        host, port = asked.split()[1].decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as far:
            conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(far, conn))
            back.start()
            pass_on(conn, far)
            back.join()

    with closing(Server(script)) as running:
        yield running


def pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while part := one.recv(65_536):
            other.sendall(part)
        other.shutdown(socket.SHUT_WR)


@contextmanager
def behind_tls(folder: Path) -> Iterator[tuple[Server, str]]:
    """A good server at https://, and the file of the authority that signed it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")

    def script(server: Server, conn: socket.socket, _number: int) -> None:
        with context.wrap_socket(conn, server_side=True) as tls:
            while server.read(tls):
                tls.sendall(GOOD)

    with closing(Server(script)) as running:
        yield running, str(folder / "authority.pem")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_is_honoured_and_learns_neither_key_nor_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with behind_tls(tmp_path) as (server, authority), proxy() as way:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
        monkeypatch.setenv(name, f"http://me:hush4712@127.0.0.1:{way.port}")
        target = Target(f"https://localhost:{server.port}/v1", Key(KEY))
        assert proxy_of(target) == f"http://127.0.0.1:{way.port}"
        with closing(Wire(target, deadline_s=5)) as wire:
            assert wire.post(BODY).status == 200
        (asked,) = way.requests
        assert asked.startswith(f"CONNECT localhost:{server.port} ".encode())
        assert b"Basic " + base64.b64encode(b"me:hush4712") in asked
        assert not [form for form in forms() if form.encode() in asked]
        assert headers_of(server.requests[0])["authorization"].split()[1] == forms()[1]


def test_no_proxy_is_honoured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_tls(tmp_path) as (server, authority), proxy() as way:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{way.port}")
        monkeypatch.setenv("NO_PROXY", "localhost,example.com")
        target = Target(f"https://localhost:{server.port}/v1", Key(KEY))
        assert proxy_of(target) is None
        with closing(Wire(target, deadline_s=5)) as wire:
            assert wire.post(BODY).status == 200
        assert way.connections == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_what_goes_in_the_clear_does_not_leave_this_machine_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with proxy() as way, serving(always(GOOD)) as (server, _):
        monkeypatch.setenv(name, f"http://127.0.0.1:{way.port}")
        target = Target(f"http://127.0.0.1:{server.port}/v1", Key(KEY))
        assert proxy_of(target) is None
        with closing(Wire(target, deadline_s=5)) as wire:
            assert wire.post(BODY).status == 200
        assert (way.connections, len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("https://me:hush@proxy.example", "https://proxy.example"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://me:hush@[::1]:3128/", "http://[::1]:3128"),
        ("socks5://me:hush@proxy.example:1080", None),
        ("http://me:hush@proxy.example:port", None),
        ("http://me:hush@", None),
    ],
)
def test_a_proxy_is_told_without_its_password_or_refused(
    monkeypatch: pytest.MonkeyPatch, given: str, told: str | None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", given)
    target = Target("https://cdp.example/v1", Key(KEY))
    if told is not None:
        assert proxy_of(target) == told
        return
    with pytest.raises(UsageError) as caught:
        proxy_of(target)
    assert str(caught.value) == (
        "HTTPS_PROXY or ALL_PROXY: the proxy of the environment cannot be used\n"
        "  fix: write it as http://HOST:PORT, or name the destination in NO_PROXY"
    )


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (407, TrustError, "the proxy refuses its user and password (407)"),
        (403, TrustError, "the proxy does not let it through (403)"),
        (503, WireError, "Tunnel connection failed: 503"),
    ],
)
def test_what_a_proxy_refuses_for_good_is_no_outage_and_its_words_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], words: str
) -> None:
    answer = f"HTTP/1.1 {status} you said me:hush4712\r\n\r\n".encode()

    def refuse(_server: Server, conn: socket.socket, _number: int) -> None:
        conn.recv(65_536)
        conn.sendall(answer)

    with closing(Server(refuse)) as way:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hush4712@127.0.0.1:{way.port}")
        target = Target("https://cdp.example/v1", Key(KEY))
        with closing(Wire(target, deadline_s=5)) as wire, pytest.raises(kind) as caught:
            wire.post(BODY)
    assert str(caught.value) == words
