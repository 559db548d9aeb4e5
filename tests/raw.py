"""A destination of raw sockets that does what no destination should, and keeps books meanwhile.

No code of backfill is in it, and no HTTP library: what goes wrong here is the answer itself.
`ledger` is the destination that behaves.
"""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ledger import HOST, messages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    """Write an answer with its length."""
    lines = [f"HTTP/1.1 {status} Some Words", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Fault:
    """What becomes of one request. `Fault("none", answer(), then="keep")` is none."""

    name: str
    answer: bytes = b""
    then: Literal["keep", "close", "linger", "reset", "hang", "drip"] = "close"
    """What the connection does after the answer; a drip goes on a byte at a time. Who closes
    on what it did not read may take back its answer by that; who lingers reads on for so long."""
    reads: Literal["nothing", "some", "all"] = "all"
    """How much of the request, before it answers."""
    is_kept: bool = False
    """Whether this is an answer that acknowledges: the messages are in the books."""
    wait_s: float = 0.0
    """How long the answer takes."""
    after: bytes = b""
    """What comes on the connection when nobody waits for it any more."""

    def __str__(self) -> str:
        return self.name


GOOD = Fault("none", answer(), then="keep", is_kept=True)


class Seen(NamedTuple):
    """One request. at_s: when its first byte was there; body: as far as it was read."""

    at_s: float
    fault: Fault
    body: bytes


class Books:
    """What was acknowledged: each message and its id once, as hashes; a million fit in 200 MB."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.messages: set[bytes] = set()
        self.taken = 0
        """Messages, those that came again counted again."""

    def take(self, body: bytes) -> None:
        """Note the messages of a body."""
        for one in messages_of(body):
            self.taken += 1
            self.ids.add(_hash(one.message_id))
            self.messages.add(_hash(one.message_id + "\n" + one.text))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Raw:
    """Serves while the `with` block runs; each request meets what `choose` says of its number.

    choose: called with the number of the request, from 0, in the order of arrival. It may be
    replaced while the server runs.
    """

    def __init__(
        self, choose: Callable[[int], Fault], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.choose = choose
        self.books = Books()
        self.seen: list[Seen] = []
        self.is_remembering = True
        """Whether bodies are kept; a million rows would not fit."""
        self.connections = 0
        self.greet: Callable[[socket.socket], bool] = lambda _conn: False
        """Met by each connection before any TLS; whether it is over with that."""
        self._tls = tls
        self._lock = threading.Lock()
        self._count = 0
        self._is_closed = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0))
        self._thread = threading.Thread(target=self._accept)
        self.port = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        with self._lock:
            left = [self._listener, *self._open]
        for sock in left:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open.add(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            self._talk(plain)
        finally:
            with self._lock:
                self._open.discard(plain)
            plain.close()

    def _talk(self, plain: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError):
            if self.greet(plain):
                return
            with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as conn:
                while self._is_begun(conn) and self._one(conn):
                    pass

    def _is_begun(self, conn: socket.socket) -> bool:
        """Wait for the first byte of a request; whether there is one."""
        if isinstance(conn, ssl.SSLSocket):
            return True  # nothing to look ahead at
        select.select([conn], [], [])
        return bool(conn.recv(1, socket.MSG_PEEK))

    def _one(self, conn: socket.socket) -> bool:
        """Treat one request as it is its fate; whether the connection goes on."""
        at_s = time.monotonic()
        with self._lock:
            fault = self.choose(self._count)
            self._count += 1
        body = b""
        if fault.reads == "some":
            conn.recv(400)
        elif fault.reads == "all":
            body = read(conn)
        if not body and fault.reads == "all":
            return False
        with self._lock:
            self.seen.append(Seen(at_s, fault, body if self.is_remembering else b""))
            if fault.is_kept:
                self.books.take(body)
        if fault.wait_s:
            time.sleep(fault.wait_s)
        conn.sendall(fault.answer)
        return self._ended(conn, fault)

    def _ended(self, conn: socket.socket, fault: Fault) -> bool:
        if fault.after:
            time.sleep(0.03)
            conn.sendall(fault.after)
        if fault.then == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault.then == "linger":
            conn.shutdown(socket.SHUT_WR)
            while conn.recv(1 << 20):
                pass
        elif fault.then == "hang":
            self._is_closed.wait(60)
        elif fault.then == "drip":
            while not self._is_closed.wait(0.05):
                conn.sendall(b" ")
        return fault.then == "keep"

    def texts(self) -> dict[str, set[str]]:
        """Return every text that came with each message id, whatever was answered."""
        found: dict[str, set[str]] = {}
        for seen in self.seen:
            for one in messages_of(seen.body) if seen.body else ():
                found.setdefault(one.message_id, set()).add(one.text)
        return found


def read(conn: socket.socket) -> bytes:
    """Read a whole request and return its body; empty where the client is gone."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = conn.recv(65_536)
        if not part:
            return b""
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    (length,) = (int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    parts = [body]
    left = length - len(body)
    while left:
        part = conn.recv(min(left, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def in_turn(faults: Iterable[Fault], *, between: int = 0) -> Callable[[int], Fault]:
    """Let each fault hit once, with so many good answers after each; when all did, none does."""
    plan = [one for fault in faults for one in (fault, *[GOOD] * between)]
    return lambda number: plan[number] if number < len(plan) else GOOD


def always(fault: Fault) -> Callable[[int], Fault]:
    """Let a fault hit every request."""
    return lambda _number: fault
