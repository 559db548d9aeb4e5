"""One POST after another over a connection that is open. Sockets only, no library.

urllib3 opens the connection (proxy, TLS, its errors) and sends its first request. What it does
around each further one costs more than sending 480 KB; here that is two sends and one reading.
"""

from __future__ import annotations

import http.client
import select
from typing import TYPE_CHECKING

from backfill.deadline import Noted
from backfill.whole import Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping


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

    def ask(self, body: bytes, timeout_s: float) -> Final:
        """Send a body and return the answer, read up to its own body.

        Raises OSError and http.client.HTTPException.
        """
        sock = self._sock
        Noted.held.sock = sock
        sock.settimeout(timeout_s)
        is_early = False
        try:
            sock.sendall(self._head + b"%d\r\n\r\n" % len(body))
            sock.sendall(body)
        except (BrokenPipeError, ConnectionResetError):
            is_early = True  # there may be an answer all the same, such as a 413
        answer = Final(sock, method="POST")
        answer.is_early = is_early
        try:
            answer.begin()
            _join(answer.headers)
        except BaseException:
            answer.close()
            raise
        return answer


def _join(headers: http.client.HTTPMessage) -> None:
    """Make one of headers that come twice, as urllib3 does. Raises where two lengths differ."""
    names = [name.lower() for name in headers.keys()]  # noqa: SIM118  each as often as it came
    for name in {*names} if len({*names}) < len(names) else ():
        values = headers.get_all(name, [])
        if name == "content-length" and len({value.strip() for value in values}) > 1:
            raise http.client.HTTPException("two lengths")
        del headers[name]
        headers[name] = ", ".join(values)


def rest(answer: Final, length: int) -> bytes:
    """Return up to so many bytes of an answer. Raises where it ends before it said."""
    part = answer.read(length)
    if not part and answer.length:
        raise http.client.IncompleteRead(part, answer.length)
    return part
