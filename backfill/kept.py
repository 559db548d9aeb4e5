"""One POST after another over a connection that is open. Sockets only, no library.

urllib3 opens the connection (proxy, TLS, its errors) and sends its first request. What it does
around each further one costs more than sending 480 KB; here that is two sends and one reading.
"""

from __future__ import annotations

import http.client
import io
import re
import select
from typing import TYPE_CHECKING, Any, Final

from backfill.deadline import Noted
from backfill.whole import Final as Answered

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping


PART_BYTES: Final = 1 << 14

FIELD: Final = (
    rb"(?:(?!(?:connection|content-encoding|content-length|retry-after|transfer-encoding):)"
    rb"[!#$%&'*+.^_`|~0-9a-z-]+:[\t -~]*|connection: *keep-alive)\r\n"
)
PLAIN: Final = re.compile(
    rb"HTTP/1\.1 200(?: [\t -~]*)?\r\n"
    rb"(?i:(?:%s){0,40}content-length: *([0-9]{1,4})\r\n(?:%s){0,40})\r\n" % (FIELD, FIELD)
)
"""The head of an answer that needs no parser: 200, short, of a length said once, kept alive."""


def plain_body(part: bytes) -> bytes | None:
    """Return the body where a part of the stream is a plain answer, whole, and nothing else."""
    head = PLAIN.match(part)
    if head is None or head.end() + int(head[1]) != len(part):
        return None
    return part[head.end() :]


class _Secret(bytes):
    """Goes over the wire as it is, but shows itself in no repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class Kept:
    """An open connection, and the head that all its requests share."""

    def __init__(
        self, sock: socket.socket, place: tuple[str, str], headers: Mapping[str, str]
    ) -> None:
        """place: host, with its port where one is given, and path."""
        host, path = place
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = _Secret("\r\n".join([*lines, "Content-Length: "]).encode("latin-1"))
        self._sock = sock
        self._watch = select.poll()
        self._watch.register(sock, select.POLLIN)

    @property
    def is_good(self) -> bool:
        """Whether it can be used again: nothing came unasked, neither bytes nor the end."""
        return self._sock.fileno() >= 0 and not self._watch.poll(0)

    def ask(self, body: bytes, timeout_s: float) -> bytes | Answered:
        """Send a body; return the body of a plain answer, or any other one, read up to its body.

        Raises OSError and http.client.HTTPException.
        """
        sock = self._sock
        Noted.held.sock = sock
        sock.settimeout(timeout_s)
        is_early, part = False, b""
        try:
            sock.sendall(self._head + b"%d\r\n\r\n" % len(body))
            sock.sendall(body)
        except (BrokenPipeError, ConnectionResetError):
            is_early = True  # there may be an answer all the same, such as a 413
        else:
            part = sock.recv(PART_BYTES)
            if (found := plain_body(part)) is not None:
                return found
        begun: Any = _Begun(sock, part)
        answer = Answered(begun, method="POST")
        answer.is_early = is_early
        try:
            answer.begin()
            _join(answer.headers)
        except BaseException:
            answer.close()
            raise
        return answer


class _Begun(io.RawIOBase):
    """What comes from a socket of which a part was read already."""

    def __init__(self, sock: socket.socket, part: bytes) -> None:
        self._part = part
        self._rest = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return it as a stream: what an answer wants of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the part first, then on."""
        if not self._part:
            return self._rest.readinto(buffer)
        count = min(len(buffer), len(self._part))
        buffer[:count], self._part = self._part[:count], self._part[count:]
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._rest.close()
        super().close()


def _join(headers: http.client.HTTPMessage) -> None:
    """Make one of headers that come twice, as urllib3 does. Raises where two lengths differ."""
    names = [name.lower() for name in headers.keys()]  # noqa: SIM118  each as often as it came
    for name in {*names} if len({*names}) < len(names) else ():
        values = headers.get_all(name, [])
        if name == "content-length" and len({value.strip() for value in values}) > 1:
            raise http.client.HTTPException("two lengths")
        del headers[name]
        headers[name] = ", ".join(values)


def rest(answer: Answered, length: int) -> bytes:
    """Return up to so many bytes of an answer. Raises where it ends before it said."""
    part = answer.read(length)
    if not part and answer.length:
        raise http.client.IncompleteRead(part, answer.length)
    return part
