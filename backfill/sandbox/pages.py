"""The page: what a sandbox received, for people to look at. HTML made here, no JavaScript.

Only GET, only from this machine's own addresses (see `guard`), nothing from elsewhere. Every text
goes through the template's escaping.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.routing import Route

from backfill.report import counted
from backfill.sandbox import changes, lists, view
from backfill.sandbox.chart import HEIGHT, WIDTH, chart
from backfill.sandbox.row import row_of
from backfill.spec import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from backfill.sandbox.store import Store

ROOT: Final = "/page"
TEMPLATES: Final = Path(__file__).parent / "templates"
FILES: Final = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
EVENTS_MAX: Final = 200
"""Names that one page lists."""

NUMBER_MAX: Final = 2**62
"""More would not fit SQLite's integers."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Shown = tuple[str, dict[str, Any]]
"""A template's name and what it is given."""


class _Missing(Exception):  # noqa: N818  not an error: a page that says so
    """There is no such thing here."""


def page_routes(store: Store) -> list[Route]:
    """Make the routes of the page."""
    pages = _Pages(store)
    found: dict[str, Callable[[Request], Shown]] = {
        "": pages.overview,
        "/people": pages.people,
        "/people/{pk:int}": pages.person,
        "/objects": pages.objects,
        "/object": pages.object_,
        "/events": pages.events,
        "/event": pages.event,
        "/messages/{seq:int}": pages.message,
        "/messages/{seq:int}/row": pages.row,
        "/refused": pages.refused,
        "/runs": pages.runs,
        "/runs/{pk:int}": pages.run,
        "/{rest:path}": _nothing,
    }
    environment = _environment()
    routes = [Route(f"{ROOT}/{name}", _file(name, kind)) for name, kind in FILES.items()]
    for path, page in found.items():
        routes.append(Route(ROOT + path, _endpoint(environment, store, page)))
    return routes


def _endpoint(
    environment: Environment, store: Store, page: Callable[[Request], Shown]
) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:  # not async: Starlette runs it in a thread
        status = HTTPStatus.OK
        try:
            name, given = _Pages.preparing(store) or page(request)
        except _Missing as missing:
            name, given, status = "missing", {"what": str(missing)}, HTTPStatus.NOT_FOUND
        status = HTTPStatus.SERVICE_UNAVAILABLE if name == "preparing" else status
        text = environment.get_template(f"{name}.html").render(given, here=request.url.path)
        return Response(text, status, media_type="text/html")

    return endpoint


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    def endpoint(_: Request) -> Response:
        return Response((TEMPLATES / name).read_bytes(), media_type=media_type)

    return endpoint


def _nothing(_: Request) -> Shown:
    raise _Missing("there is no such page")


class _Pages:
    """What each page shows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @staticmethod
    def preparing(store: Store) -> Shown | None:
        """Say that millions of messages are being counted, where they are."""
        return ("preparing", {"waiting": store.waiting()}) if store.is_preparing() else None

    def overview(self, _: Request) -> Shown:
        runs = self._store.kept(changes.runs)
        return "overview", {
            "stats": self._store.kept(view.stats),
            "events": self._store.kept(lists.event_counts)[:10],
            "kinds": len(self._store.kept(lists.event_counts)),
            "chart": chart(self._store.kept(lists.days)),
            "causes": self._store.look(lists.causes)[:5],
            "runs": runs[:5],
            "db": self._store.path,
        }

    def people(self, request: Request) -> Shown:
        text = request.query_params.get("q", "").strip()
        found = self._store.look(lists.search, text) if text else None
        after = _number(request, "after")
        shown, on = self._store.look(lists.people, after)
        given = {"q": text, "found": found, "people": shown, "more": _more(request, after=on)}
        return "people", {**given, "is_first": not after, "limit": lists.PAGE}

    def person(self, request: Request) -> Shown:
        pk = _path_number(request, "pk")
        found = self._store.look(lists.person, pk)
        if found is None:
            raise _Missing("there is no such person: deleted, or merged into another, perhaps")
        profile = self._store.look(lists.profile, pk)
        after = _at(request)
        timeline, on = self._store.look(lists.timeline, pk, after)
        sources = {n: told["seq"] for told in reversed(profile) for n in told["traits"]}
        if "createdAt" in sources:  # as the destination calls it
            sources["created_at"] = sources["createdAt"]
        more = on and _more(request, before=f"{on[0]}.{on[1]}")
        told = {"person": found, "profile": profile[: lists.PAGE], "timeline": timeline}
        return "person", {**told, "sources": sources, "more": more, "is_first": after is None}

    def objects(self, request: Request) -> Shown:
        kind = request.query_params.get("type")
        after = None if kind is None else (kind, request.query_params.get("id", ""))
        shown, on = self._store.look(lists.objects, after)
        more = on and _more(request, type=on[0], id=on[1])
        return "objects", {"objects": shown, "more": more, "is_first": after is None}

    def object_(self, request: Request) -> Shown:
        key = (request.query_params.get("type", ""), request.query_params.get("id", ""))
        after = _number(request, "after")
        found = self._store.look(lists.object_, key, after)
        if found is None:
            raise _Missing("there is no such object")
        shown, on = found
        return "object", {"object": shown, "more": _more(request, after=on), "is_first": not after}

    def events(self, _: Request) -> Shown:
        events = self._store.kept(lists.event_counts)
        days = self._store.kept(lists.days)
        return "events", {"events": events[:EVENTS_MAX], "chart": chart(days), "kinds": len(events)}

    def event(self, request: Request) -> Shown:
        kind, name = request.query_params.get("type", ""), request.query_params.get("name", "")
        after = _at(request)
        days = self._store.look(lists.days, kind, name)
        shown, on = self._store.look(lists.events, kind, name, after)
        if not days:
            raise _Missing("nothing of this name was received")
        given = {"kind": kind, "name": name, "chart": chart(days), "is_first": after is None}
        more = on and _more(request, before=f"{on[0]}.{on[1]}")
        return "event", {**given, "messages": shown, "total": sum(n for _, n in days), "more": more}

    def message(self, request: Request) -> Shown:
        found = self._message(request)
        pretty = json.dumps(json.loads(found["body"]), ensure_ascii=False, indent=2)
        return "message", {"message": found, "pretty": pretty, "digits": _digits(found)}

    def row(self, request: Request) -> Shown:
        found = self._message(request)
        if found["row"] is None or found["origin"] is None:
            raise _Missing("the row of this message is not known")
        row = row_of(found["origin"], found["row"], found["message_id"])
        return "row", {"message": found, "row": row}

    def _message(self, request: Request) -> dict[str, Any]:
        found = self._store.look(lists.message, _path_number(request, "seq"))
        if found is None:
            raise _Missing("there is no such message")
        return found

    def refused(self, request: Request) -> Shown:
        before = _number(request, "before", default=None)
        shown, on = self._store.look(lists.refused, before)
        causes = self._store.look(lists.causes)
        given = {"refused": shown, "causes": causes[:EVENTS_MAX], "is_first": before is None}
        return "refused", {**given, "more": _more(request, before=on)}

    def runs(self, _: Request) -> Shown:
        return "runs", {"runs": self._store.kept(changes.runs)}

    def run(self, request: Request) -> Shown:
        pk = _path_number(request, "pk")
        found = self._store.look(changes.run, pk)
        if found is None:
            raise _Missing("there is no such run")
        new_after, changed_after = _number(request, "new"), _number(request, "changed")
        new, new_on = self._store.look(changes.new_people, pk, new_after)
        changed, changed_on = self._store.look(changes.changed_people, pk, changed_after)
        more = {
            "new": _more(request, new=new_on, changed=changed_after or None),
            "changed": _more(request, changed=changed_on, new=new_after or None),
        }
        if new_on is None:
            more["new"] = None
        if changed_on is None:
            more["changed"] = None
        messages = self._store.look(changes.messages, pk, found["before"])
        return "run", {"run": found, "messages": messages, "new": new, "changed": changed} | {
            "more": more,
            "is_first": not (new_after or changed_after),
        }


def _more(request: Request, **on: Any) -> str | None:
    """Return the address of the next page; None: there is none."""
    given = {name: value for name, value in on.items() if value is not None}
    if not given:
        return None
    return f"{request.url.path}?{urlencode({**request.query_params, **given})}"


def _number(request: Request, name: str, default: Any = 0) -> Any:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:20]) < NUMBER_MAX):
        raise _Missing("this address is not one of the page's own")
    return int(text)


def _path_number(request: Request, name: str) -> int:
    number = int(request.path_params[name])
    if number >= NUMBER_MAX:
        raise _Missing("this address is not one of the page's own")
    return number


def _at(request: Request) -> lists.At | None:
    """Read where a list of messages goes on: `before=MILLISECONDS.SEQ`."""
    text = request.query_params.get("before")
    if text is None:
        return None
    at_ms, dot, seq = text.removeprefix("-").partition(".")
    if not (dot and all(n.isascii() and n.isdigit() and len(n) < 19 for n in (at_ms, seq))):  # noqa: PLR2004  digits of SQLite's integers
        raise _Missing("this address is not one of the page's own")
    return (-int(at_ms) if text.startswith("-") else int(at_ms)), int(seq)


def _digits(message: dict[str, Any]) -> int | None:
    """Read the row that an id ends in, if it is one of ours without a key; None: it is not sure.

    Ids of rows with a key end in digits of a hash: five zeros there are one in 33 million.
    """
    found = str(message["message_id"])
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    if len(found) != 26 or not set(found) <= set(alphabet) or found[16:21] != "00000":  # noqa: PLR2004  `identity`
        return None
    number = 0
    for digit in found[16:]:
        number = number * 32 + alphabet.index(digit)
    return number


def _time(at_ms: int) -> str:
    """Write a timestamp; what is past the calendar of Python as milliseconds."""
    try:
        at = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms} ms"
    return at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def _value(value: Any) -> str:
    """Write a value as JSON, but for text, and for times and the like, which JSON has not."""
    if value is None or isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": "{:,}".format,
        "counted": counted,
        "time": _time,
        "value": _value,
        "day": lambda day: (_EPOCH + timedelta(days=day)).date().isoformat(),
        "link": partial(urlencode),
    }
    environment.globals |= {"root": ROOT, "version": VERSION, "width": WIDTH, "height": HEIGHT}
    return environment
