"""The HTTP side: the seven routes of the Pipelines API.

The routes that read back as JSON are in `reads`, those of the page in `pages`.

How strict and permissive mode answer is here; what a message must hold is in `rules`, what it
does in `store`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backfill.sandbox.auth import is_authorized
from backfill.sandbox.faults import Fault, Faults
from backfill.sandbox.guard import Guard
from backfill.sandbox.pages import page_routes
from backfill.sandbox.reads import error_response, read_routes
from backfill.sandbox.rules import BODY_BYTES_MAX, message_faults
from backfill.sandbox.wire import BodyError, Received, read_batch, read_single, unpacked
from backfill.spec import TYPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from backfill.sandbox.store import Store

ERRORS_MAX: Final = 100
"""The most faults one answer names."""


class _Verdict(NamedTuple):
    """What a request deserves: a status (200 for good ones) and why."""

    status: int
    errors: list[str]


_GOOD: Final = _Verdict(200, [])


def create_app(
    store: Store,
    *,
    faults: Faults | None = None,
    latency_s: float = 0.0,
    key: str | None = None,
    takes_gzip: bool = False,
) -> Starlette:
    """Make the ASGI application.

    store: stays the caller's to close. faults: None for none. latency_s: what every send waits.
    key: the only write key that is good; None: any of the right shape. takes_gzip: packed bodies,
    too.
    A reset needs the server of `server`, which hands the connection to the application; under
    another one the answer is an empty 500.
    """
    intake = _Intake(store, faults or Faults({}), latency_s, key, takes_gzip=takes_gzip)
    routes = [Route("/v1/batch", intake.endpoint(None), methods=["POST"])]
    routes += [
        Route(f"/v1/{name}", intake.endpoint(name), methods=["POST"]) for name in sorted(TYPES)
    ]
    handlers: dict[Any, Any] = {HTTPException: _http_error, Exception: _own_fault}
    routes += [*read_routes(store), *page_routes(store)]
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(Guard)])


class _Intake:
    """Takes in what clients send."""

    def __init__(
        self,
        store: Store,
        faults: Faults,
        latency_s: float,
        key: str | None,
        *,
        takes_gzip: bool,
    ) -> None:
        self._store = store
        self._faults = faults
        self._latency_s = latency_s
        self._key = key
        self._takes_gzip = takes_gzip

    def endpoint(self, kind: str | None) -> Callable[[Request], Awaitable[Response]]:
        """Make the endpoint of one route: a message type, or None for /v1/batch."""

        async def receive(request: Request) -> Response:
            fault = self._faults.draw()
            body, size_bytes = await _body(request)
            if wait_s := self._latency_s + fault.wait_s:
                await asyncio.sleep(wait_s)
            response: Response = JSONResponse({})
            if fault.moment == "after" or not fault.is_failure:
                is_strict = request.headers.get("x-strict-mode") == "1"
                if self._takes_gzip and _encoding(request) == "gzip":
                    body = unpacked(body, BODY_BYTES_MAX)
                verdict = self._gate(request, max(size_bytes, len(body)))
                if verdict is _GOOD:
                    verdict = await run_in_threadpool(self._take, body, kind, is_strict=is_strict)
                else:
                    await run_in_threadpool(self._refuse, verdict, is_strict=is_strict)
                response = _answer(verdict, is_strict=is_strict)
            if fault.is_failure:
                response = await _fail(request, fault)
            answer = "reset" if fault.is_reset else str(response.status_code)
            self._store.count_request(answer, size_bytes)
            return response

        return receive

    def _gate(self, request: Request, size_bytes: int) -> _Verdict:
        """Judge what needs no look into the body."""
        if not is_authorized(request.headers.get("authorization"), self._key):
            return _Verdict(HTTPStatus.UNAUTHORIZED, ["the write key is missing or wrong"])
        encoding = _encoding(request)
        if encoding != "identity" and not (self._takes_gzip and encoding == "gzip"):
            return _Verdict(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, [f"Content-Encoding {encoding} is not accepted"]
            )
        if size_bytes > BODY_BYTES_MAX:
            error = f"the body is {size_bytes:,} bytes; the limit is {BODY_BYTES_MAX:,}"
            return _Verdict(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [error])
        return _GOOD

    def _take(self, body: bytes, kind: str | None, *, is_strict: bool) -> _Verdict:
        """Judge the messages and store the good ones; strict: all or none. Runs in a thread."""
        try:
            messages = read_batch(body) if kind is None else [_typed(read_single(body), kind)]
        except BodyError as error:
            verdict = _Verdict(HTTPStatus.BAD_REQUEST, [str(error)])
            self._refuse(verdict, is_strict=is_strict)
            return verdict
        file, rows = self._store.provenance.rows_of(body, messages)
        good: list[tuple[Received, int | None]] = []
        refused: list[tuple[tuple[str, str], int | None]] = []
        for n, (message, row) in enumerate(zip(messages, rows, strict=True)):
            found = message_faults(message.body, message.size_bytes)
            if found:
                where = f"batch[{n}]: " if kind is None else ""
                refused.append(((f"{where}{'; '.join(found)}", message.text), row))
            else:
                good.append((message, row))
        if refused:
            self._store.provenance.note_refused(body, messages)
            items, places = zip(*refused, strict=True)
            self._store.refuse(items, is_strict=is_strict, file=file, rows=places)
        if good and not (is_strict and refused):
            accepted, places = zip(*good, strict=True)
            self._store.accept(accepted, file, places)
        errors = [reason for (reason, _), _ in refused]
        return _Verdict(HTTPStatus.BAD_REQUEST, errors) if errors else _GOOD

    def _refuse(self, verdict: _Verdict, *, is_strict: bool) -> None:
        self._store.refuse([(error, "") for error in verdict.errors], is_strict=is_strict)


def _typed(message: Received, kind: str) -> Received:
    """Give the body of a single call the type its route says."""
    return message._replace(body={**message.body, "type": kind})


def _encoding(request: Request) -> str:
    found: str = request.headers.get("content-encoding", "identity").lower()
    return found


async def _body(request: Request) -> tuple[bytes, int]:
    """Read a body and its size; of one that is too large only the size is kept."""
    parts: list[bytes] = []
    size_bytes = 0
    async for part in request.stream():
        size_bytes += len(part)
        if size_bytes <= BODY_BYTES_MAX:
            parts.append(part)
        else:
            parts.clear()
    return b"".join(parts), size_bytes


def _answer(verdict: _Verdict, *, is_strict: bool) -> Response:
    """Say it: permissive mode answers 200 whatever happened (documented on all seven routes)."""
    if verdict.status == HTTPStatus.OK or not is_strict:
        return JSONResponse({})
    return error_response(verdict.status, verdict.errors[:ERRORS_MAX])


async def _fail(request: Request, fault: Fault) -> Response:
    """Act out a fault: an error status, or a connection that ends without an answer."""
    if fault.is_reset:
        transport = request.scope.get("state", {}).get("transport")
        if transport is not None:
            transport.abort()
            await asyncio.sleep(0)  # the server learns of it before it is handed a response
        return Response(status_code=HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return error_response(fault.status, ["a fault the sandbox was asked for"], headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for no other"
    return error_response(error.status_code, [error.detail], dict(error.headers or {}))


async def _own_fault(_: Request, error: Exception) -> Response:
    # The class says enough to look for it (sqlite3.OperationalError: disk full); no traceback.
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, [f"{type(error).__name__}: {error}"])
