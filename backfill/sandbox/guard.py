"""Who may ask: this machine by its own names, and what a browser may do with the answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""A page of a name that leads here by a trick of DNS must not read what is here."""

POLICY: Final = (
    "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses other hosts, and adds HEADERS to what a browser may read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = [value for name, value in scope["headers"] if name == b"host"]
        if len(told) != 1 or not _is_ours(told[0].decode("latin-1")):
            errors = ["the sandbox answers to 127.0.0.1 and localhost only"]
            refusal = JSONResponse({"meta": {"errors": errors}}, HTTPStatus.MISDIRECTED_REQUEST)
            await refusal(scope, receive, send)
            return
        is_read = scope["method"] != "POST"

        async def sent(message: Message) -> None:
            if is_read and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, sent)


def _is_ours(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    return name.lower() in HOSTS
