"""A destination on loopback that keeps books of its own. No code of backfill is in it.

`Ledger` serves from a thread, `LedgerProcess` from a process that survives whatever is killed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

HOST = "127.0.0.1"


class Reply(NamedTuple):
    """What the destination answers."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


class Arrival(NamedTuple):
    """One request, complete when it arrived."""

    at_s: float
    path: str
    headers: dict[str, str]
    body: bytes
    status: int


class Sent(NamedTuple):
    """One message of a request: its id and its exact text."""

    message_id: str
    text: str


def messages_of(body: bytes) -> Iterator[Sent]:
    """Split a body into its messages as they were written; anything but `{"batch":[…]}` fails."""
    text = body.decode()
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    assert text[:at].replace(" ", "") == '{"batch":[', text[:80]
    while text[at] != "]":
        message, end = decoder.raw_decode(text, at)
        yield Sent(message["messageId"], text[at:end])
        at = end + (text[end] == ",")
    assert text[at:] == "]}", text[-80:]


def messages(body: bytes) -> list[dict[str, Any]]:
    """Return the messages of a body, parsed."""
    found: list[dict[str, Any]] = json.loads(body)["batch"]
    return found


def _good(_body: bytes) -> Reply:
    return Reply()


class Ledger:
    """Serves while the `with` block runs; `arrivals` is in the order of arrival."""

    def __init__(
        self,
        answer: Callable[[bytes], Reply] = _good,
        *,
        latency_s: float = 0.0,
        note: Callable[[Arrival], None] | None = None,
    ) -> None:
        self.answer = answer
        self.latency_s = latency_s
        self.arrivals: list[Arrival] = []
        self._note = note or self.arrivals.append
        self._lock = threading.Lock()
        self._server = _Server((HOST, 0), _Handler)
        self._server.ledger = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Note a request and decide its answer."""
        reply = self.answer(body)
        with self._lock:
            self._note(Arrival(time.monotonic(), path, headers, body, reply.status))
        if self.latency_s:
            time.sleep(self.latency_s)
        return reply

    @property
    def bodies(self) -> list[bytes]:
        """Every body, refused ones among them."""
        return [arrival.body for arrival in self.arrivals]

    @property
    def sent(self) -> list[Sent]:
        """Every message that was answered 200, as often as it was."""
        return delivered(self.arrivals)

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The messages that were answered 200, parsed."""
        return [json.loads(one.text) for one in self.sent]


def delivered(arrivals: Iterable[Arrival]) -> list[Sent]:
    """Return the messages of the requests that were answered 200."""
    return [
        one for arrival in arrivals if arrival.status == 200 for one in messages_of(arrival.body)
    ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    ledger: Ledger

    def handle_error(self, *_: object) -> None:
        """A client that was killed is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one packet an answer, or Nagle waits for the client's acknowledgement
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        wanted = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(wanted)
        if len(body) < wanted:
            self.close_connection = True  # killed while it sent: not arrived
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        reply = self.server.ledger.take(self.path, dict(self.headers.items()), body)
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class LedgerProcess:
    """A ledger in a process of its own, with its books in a file.

    refuse: a body that holds this text is answered 400 with words that name no message.
    """

    def __init__(self, log: Path, *, latency_s: float = 0.0, refuse: str = "") -> None:
        self._log = log
        self._read = 0
        self.arrivals: list[Arrival] = []
        command = [sys.executable, __file__, str(log), str(latency_s), refuse]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def news(self) -> list[Arrival]:
        """Return what has arrived since the last call."""
        found = []
        with self._log.open("rb") as stream:
            stream.seek(self._read)
            while line := stream.readline():
                facts = json.loads(line) if line.endswith(b"\n") else None
                body = stream.read(facts["bytes"] + 1) if facts else b""
                if facts is None or len(body) < facts["bytes"] + 1:
                    break  # it is being written
                self._read = stream.tell()
                found.append(Arrival(facts["at_s"], "", {}, body[:-1], facts["status"]))
        self.arrivals += found
        return found

    @property
    def bytes_written(self) -> int:
        """How much it has noted, which is cheap to ask."""
        return self._log.stat().st_size

    def wait_for(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until so many more requests have arrived than are known."""
        until_s = time.monotonic() + timeout_s
        wanted = len(self.arrivals) + count
        while len(self.arrivals) < wanted:
            self.news()
            assert time.monotonic() < until_s, f"{len(self.arrivals)} of {wanted} requests"
            time.sleep(0.005)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("latency_s", type=float)
    parser.add_argument("refuse")
    given = parser.parse_args()
    mark = given.refuse.encode()

    def answer(body: bytes) -> Reply:
        if mark and mark in body:
            return Reply(400, b'{"meta":{"errors":["one of the messages is invalid"]}}')
        return Reply()

    with given.log.open("wb", buffering=0) as stream:

        def note(arrival: Arrival) -> None:
            facts = {"at_s": arrival.at_s, "status": arrival.status, "bytes": len(arrival.body)}
            stream.write(json.dumps(facts).encode() + b"\n" + arrival.body + b"\n")

        with Ledger(answer, latency_s=given.latency_s, note=note) as ledger:
            sys.stdout.write(ledger.url + "\n")
            sys.stdout.flush()
            threading.Event().wait()


if __name__ == "__main__":
    _main()
