"""What the page shows, read page by page: every list goes on behind the last thing it showed.

No list is read with an offset and nothing is counted that grows with the messages: counts are
those of `tally`. Belongs into a file whose indexes `tally` made.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from backfill.sandbox.people import name_of
from backfill.sandbox.view import find, identifiers

if TYPE_CHECKING:
    import sqlite3

PAGE: Final = 50
"""Entries of a page."""

PROFILE_MAX: Final = 500
"""How many of the last messages about a profile are asked which trait came from which."""

LAST_MS: Final = 2**62
"""Later than any timestamp."""

_ENTRY: Final = "seq, type, event, at_ms, effect, message_id"
_NAMES: Final = ("seq", "type", "event", "at_ms", "effect", "message_id")

At = tuple[int, int]
"""Where a list of messages goes on: (at_ms, seq) of the last one shown."""


def event_counts(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Count what can be listed by name, most first: {type, event, n, first_day, last_day}."""
    query = (
        "SELECT type, event, sum(n), min(day), max(day) FROM tallies WHERE event <> ''"
        " GROUP BY type, event ORDER BY sum(n) DESC, type, event"
    )
    names = ("type", "event", "n", "first_day", "last_day")
    return [dict(zip(names, row, strict=True)) for row in db.execute(query)]


def days(
    db: sqlite3.Connection, kind: str | None = None, event: str | None = None
) -> list[tuple[int, int]]:
    """Count events by day, as (days since 1970, messages). kind, event: of one name alone."""
    query = "SELECT day, sum(n) FROM tallies WHERE event <> '' GROUP BY day ORDER BY day"
    if kind is None:
        return db.execute(query).fetchall()
    query = "SELECT day, sum(n) FROM tallies WHERE type = ? AND event = ? GROUP BY day ORDER BY day"
    return db.execute(query, (kind, event)).fetchall()


def events(
    db: sqlite3.Connection, kind: str, event: str, after: At | None
) -> tuple[list[dict[str, Any]], At | None]:
    """Read the messages of one name, newest first, and where the list goes on."""
    query = (
        f"SELECT {_ENTRY}, person FROM messages WHERE type = ? AND event = ?"  # noqa: S608
        " AND (at_ms, seq) < (?, ?) ORDER BY at_ms DESC, seq DESC LIMIT ?"
    )
    found = db.execute(query, (kind, event, *(after or (LAST_MS, 0)), PAGE + 1)).fetchall()
    shown = [dict(zip((*_NAMES, "person"), row, strict=True)) for row in found]
    for entry in shown:
        entry["who"] = entry["person"] and name_of(db, abs(entry["person"]))
    return _cut(shown)


def timeline(
    db: sqlite3.Connection, pk: int, after: At | None
) -> tuple[list[dict[str, Any]], At | None]:
    """Read the events, pages and screens of a person, newest first, and where the list goes on."""
    query = (
        f"SELECT {_ENTRY} FROM messages WHERE person = ? AND (at_ms, seq) < (?, ?)"  # noqa: S608
        " ORDER BY at_ms DESC, seq DESC LIMIT ?"
    )
    found = db.execute(query, (pk, *(after or (LAST_MS, 0)), PAGE + 1)).fetchall()
    return _cut([dict(zip(_NAMES, row, strict=True)) for row in found])


def profile(db: sqlite3.Connection, pk: int) -> list[dict[str, Any]]:
    """Read the last messages about a person's profile, newest first, with their traits."""
    query = (
        f"SELECT {_ENTRY}, body FROM messages WHERE person = ?"  # noqa: S608
        " ORDER BY at_ms DESC, seq DESC LIMIT ?"
    )
    found = []
    for row in db.execute(query, (-pk, PROFILE_MAX)):
        entry = dict(zip(_NAMES, row[:-1], strict=True))
        traits = json.loads(row[-1]).get("traits")
        is_own = entry["type"] == "identify" and entry["effect"] in {"applied", "conflict"}
        entry["traits"] = dict(traits) if is_own and isinstance(traits, dict) else {}
        if entry["effect"] == "conflict":
            entry["traits"].pop("email", None)  # it stayed what it was
        found.append(entry)
    return found


def people(db: sqlite3.Connection, after: int) -> tuple[list[dict[str, Any]], int | None]:
    """Read people in the order in which they came, from the one after the number `after`."""
    query = "SELECT pk, traits, updated FROM people WHERE pk > ? ORDER BY pk LIMIT ?"
    return people_of(db, query, (after, PAGE + 1))


def people_of(
    db: sqlite3.Connection, query: str, values: tuple[Any, ...]
) -> tuple[list[dict[str, Any]], int | None]:
    """Read a page of people, and where the list goes on; the query asks for one more."""
    found = db.execute(query, values).fetchall()
    shown = [
        {"pk": pk, "name": name_of(db, pk), "traits": json.loads(text), "updated": updated}
        for pk, text, updated in found[:PAGE]
    ]
    return shown, shown[-1]["pk"] if len(found) > PAGE else None


def search(db: sqlite3.Connection, text: str) -> list[dict[str, Any]]:
    """Find people by an id or email, or the begin of one; the exact one is first.

    Each: {pk, kind, value, is_exact, name}.
    """
    exact = find(db, text)
    found: dict[int, dict[str, Any]] = {}
    if exact is not None:
        found[exact] = {"pk": exact, "kind": "", "value": text, "is_exact": True}
    for kind in ("id", "email", "anonymous_id", "cio_id"):
        begin = text.lower() if kind == "email" else text
        query = (
            "SELECT person, value FROM identifiers WHERE kind = ? AND value >= ? AND value < ?"
            " ORDER BY value LIMIT ?"
        )
        for pk, value in db.execute(query, (kind, begin, begin + "\U0010ffff", PAGE)):
            found.setdefault(pk, {"pk": pk, "kind": kind, "value": value, "is_exact": False})
    shown = list(found.values())[:PAGE]
    for entry in shown:
        entry["name"] = name_of(db, entry["pk"])
    return shown


def person(db: sqlite3.Connection, pk: int) -> dict[str, Any] | None:
    """Read what a person's page tells beside the timeline, or None."""
    query = "SELECT traits, created, updated, run FROM people WHERE pk = ?"
    row = db.execute(query, (pk,)).fetchone()
    if row is None:
        return None
    query = "SELECT type, id, traits, seq FROM relationships WHERE person = ? ORDER BY 1, 2 LIMIT ?"
    relationships = [
        {"type": kind, "id": key, "attributes": json.loads(text), "seq": seq}
        for kind, key, text, seq in db.execute(query, (pk, PROFILE_MAX))
    ]
    query = "SELECT token, attributes, updated FROM devices WHERE person = ? ORDER BY token LIMIT ?"
    devices = [
        {"token": token, "attributes": json.loads(text), "updated": at}
        for token, text, at in db.execute(query, (pk, PROFILE_MAX))
    ]
    (count,) = db.execute("SELECT count(*) FROM messages WHERE person = ?", (pk,)).fetchone()
    return {
        "pk": pk,
        "name": name_of(db, pk),
        "identifiers": identifiers(db, pk),
        "traits": json.loads(row[0]),
        "created": row[1],
        "updated": row[2],
        "run": row[3],
        "relationships": relationships,
        "devices": devices,
        "messages": count,
    }


def objects(
    db: sqlite3.Connection, after: tuple[str, str] | None
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Read objects by type and id, from the one after `after`, and where the list goes on."""
    query = (
        "SELECT type, id, traits FROM objects WHERE (type, id) > (?, ?) ORDER BY type, id LIMIT ?"
    )
    found = db.execute(query, (*(after or ("", "")), PAGE + 1)).fetchall()
    shown = [{"type": kind, "id": key, "traits": json.loads(t)} for kind, key, t in found[:PAGE]]
    return shown, (shown[-1]["type"], shown[-1]["id"]) if len(found) > PAGE else None


def object_(
    db: sqlite3.Connection, key: tuple[str, str], after: int
) -> tuple[dict[str, Any], int | None] | None:
    """Read an object with some of the people related to it, and where their list goes on."""
    query = "SELECT traits, created, updated, seq FROM objects WHERE type = ? AND id = ?"
    row = db.execute(query, key).fetchone()
    if row is None:
        return None
    # the index ends in the primary key, so it has them by person already
    query = (
        "SELECT person, traits, seq FROM relationships WHERE type = ? AND id = ? AND person > ?"
        " ORDER BY person LIMIT ?"
    )
    found = db.execute(query, (*key, after, PAGE + 1)).fetchall()
    related = [
        {"pk": pk, "name": name_of(db, pk), "attributes": json.loads(text), "seq": seq}
        for pk, text, seq in found[:PAGE]
    ]
    told = {"type": key[0], "id": key[1], "traits": json.loads(row[0]), "people": related}
    told |= {"created": row[1], "updated": row[2], "seq": row[3]}
    return told, related[-1]["pk"] if len(found) > PAGE else None


def message(db: sqlite3.Connection, seq: int) -> dict[str, Any] | None:
    """Read one message with all that is known of where it comes from, or None."""
    query = f'SELECT {_ENTRY}, person, received_at, body, source, "row" FROM messages WHERE seq = ?'  # noqa: S608
    row = db.execute(query, (seq,)).fetchone()
    if row is None:
        return None
    told = dict(zip((*_NAMES, "person", "received_at", "body", "source", "row"), row, strict=True))
    told["who"] = told["person"] and name_of(db, abs(told["person"]))
    return told | {"origin": origin(db, told["source"])}


def origin(db: sqlite3.Connection, source: int | None) -> dict[str, Any] | None:
    """Read the file and run of a source: None where it was sent before these were kept."""
    query = (
        "SELECT run, run_id, stream, mapping, began_at, file, first_row, size_bytes, modified_ns,"
        " sha256 FROM sources JOIN runs ON runs.pk = run WHERE sources.pk = ?"
    )
    names = ("run", "run_id", "stream", "mapping", "began_at", "file", "first_row", "size_bytes")
    row = db.execute(query, (source,)).fetchone()
    return row and dict(zip((*names, "modified_ns", "sha256"), row, strict=True))


def refused(db: sqlite3.Connection, before: int | None) -> tuple[list[dict[str, Any]], int | None]:
    """Read what was refused, newest first, and where the list goes on."""
    query = (
        'SELECT n, received_at, strict, reason, item, source, "row" FROM refused WHERE n < ?'
        " ORDER BY n DESC LIMIT ?"
    )
    names = ("n", "received_at", "strict", "reason", "item", "source", "row")
    found = db.execute(query, (LAST_MS if before is None else before, PAGE + 1)).fetchall()
    shown = [dict(zip(names, row, strict=True)) for row in found[:PAGE]]
    for entry in shown:
        entry["origin"] = origin(db, entry["source"])
    return shown, shown[-1]["n"] if len(found) > PAGE else None


def causes(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """Count what was refused by cause, most first."""
    query = "SELECT key, n FROM counters WHERE name = 'cause' ORDER BY n DESC, key"
    return db.execute(query).fetchall()


def _cut(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], At | None]:
    shown = found[:PAGE]
    if len(found) <= PAGE:
        return shown, None
    return shown, (shown[-1]["at_ms"], shown[-1]["seq"])
