"""The routes that read a sandbox back, as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backfill.sandbox.pages import ROOT
from backfill.spec import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from backfill.sandbox.store import Store

LIMIT_MAX: Final = 10_000
"""The most entries one request may read back."""

NUMBER_DIGITS_MAX: Final = 18
"""More would not fit SQLite's integers."""

POINTERS: Final = {
    "look": [ROOT],
    "send": ["/v1/batch", *(f"/v1/{name}" for name in TYPES)],
    "read": [
        "/stats",
        "/people/{id}",
        "/people/{id}/timeline?limit=&offset=",
        "/objects/{type}/{id}",
        "/messages?after=&limit=",
        "/refused?after=&limit=",
    ],
}


def read_routes(store: Store) -> list[Route]:
    """Make the routes `POINTERS` lists under `read`, and `/`, which answers that list."""
    reads: dict[str, Callable[[Request], Any]] = {
        "/stats": lambda _: store.stats(),
        # `path`, since an id may hold a slash.
        "/people/{id:path}/timeline": lambda request: _timeline(store, request),
        "/people/{id:path}": lambda request: store.person(request.path_params["id"]),
        "/objects/{type}/{id:path}": lambda request: store.object_(
            request.path_params["type"], request.path_params["id"]
        ),
        "/messages": lambda request: store.messages(*_after(request)),
        "/refused": lambda request: store.refused(*_after(request)),
    }
    return [Route("/", _root), *(Route(path, _endpoint(read)) for path, read in reads.items())]


def error_response(
    status: int, errors: list[str], headers: dict[str, str] | None = None
) -> Response:
    """Make an error answer in the form declared for 400: `{"meta":{"errors":[...]}}`."""
    return JSONResponse({"meta": {"errors": errors}}, status, headers)


def _root(request: Request) -> Response:
    """Lead a browser to the page, and tell a program what there is."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(ROOT, HTTPStatus.TEMPORARY_REDIRECT)
    return JSONResponse(POINTERS)


def _endpoint(read: Callable[[Request], Any]) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:  # not async: Starlette runs it in a thread
        value = read(request)
        if value is None:
            return error_response(HTTPStatus.NOT_FOUND, ["not known here"])
        return JSONResponse(value)

    return endpoint


def _timeline(store: Store, request: Request) -> list[dict[str, Any]] | None:
    person_id = request.path_params["id"]
    limit, offset = _number(request, "limit", 100), _number(request, "offset", 0)
    if store.person(person_id) is None:
        return None
    return store.timeline(person_id, min(limit, LIMIT_MAX), offset)


def _after(request: Request) -> tuple[int, int]:
    return _number(request, "after", 0), min(_number(request, "limit", 100), LIMIT_MAX)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number")
    return int(text)
