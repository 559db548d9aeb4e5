"""Reading a sandbox back: plain dicts that go to JSON as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backfill.sandbox.people import ANONYMOUS, name_of, user_identifier

if TYPE_CHECKING:
    import sqlite3


def person(db: sqlite3.Connection, person_id: str) -> dict[str, Any] | None:
    """Read one person, or None.

    {id, identifiers: {id, email, cio_id, anonymous_id, merged: [values]}, traits, created_at,
    devices: [...], relationships: [...], messages, created, updated}. created_at is the trait,
    else when the person was first seen; `messages` counts the timeline.
    """
    pk = find(db, person_id)
    if pk is None:
        return None
    query = "SELECT traits, created, updated FROM people WHERE pk = ?"
    text, created, updated = db.execute(query, (pk,)).fetchone()
    traits = json.loads(text)
    known = identifiers(db, pk)
    (messages,) = db.execute("SELECT count(*) FROM messages WHERE person = ?", (pk,)).fetchone()
    return {
        "id": next(iter(known["id"] or known["email"]), None),
        "identifiers": known,
        "traits": traits,
        "created_at": traits.get("created_at", created),
        "devices": _devices(db, pk),
        "relationships": _relationships(db, pk),
        "messages": messages,
        "created": created,
        "updated": updated,
    }


def timeline(
    db: sqlite3.Connection, person_id: str, limit: int, offset: int
) -> list[dict[str, Any]]:
    """Read events, pages and screens of a person by their timestamp, oldest first.

    Each: {seq, type, event, timestamp, received_at, messageId, message}.
    """
    query = (
        "SELECT seq, type, event, received_at, message_id, body FROM messages"
        " WHERE person = ? ORDER BY at_ms, seq LIMIT ? OFFSET ?"
    )
    rows = db.execute(query, (find(db, person_id), limit, offset))
    return [_entry(row) for row in rows]


def object_(db: sqlite3.Connection, object_type: str, object_id: str) -> dict[str, Any] | None:
    """Read one object, or None.

    {type, id, traits, people: [{id, attributes}], created, updated}.
    """
    key = (object_type, object_id)
    query = "SELECT traits, created, updated FROM objects WHERE type = ? AND id = ?"
    row = db.execute(query, key).fetchone()
    if row is None:
        return None
    query = "SELECT person, traits FROM relationships WHERE type = ? AND id = ? ORDER BY person"
    related = [
        {"id": name_of(db, pk), "attributes": json.loads(text)}
        for pk, text in db.execute(query, key).fetchall()
    ]
    return {
        "type": object_type,
        "id": object_id,
        "traits": json.loads(row[0]),
        "people": related,
        "created": row[1],
        "updated": row[2],
    }


def messages(db: sqlite3.Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """Read messages by seq: what `timeline` says of each, and its `effect`."""
    query = (
        "SELECT seq, type, event, received_at, message_id, body, effect FROM messages"
        " WHERE seq > ? ORDER BY seq LIMIT ?"
    )
    return [{**_entry(row[:6]), "effect": row[6]} for row in db.execute(query, (after, limit))]


def refused(db: sqlite3.Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """Read what was refused: {n, received_at, strict, reason, item}."""
    query = (
        "SELECT n, received_at, strict, reason, item FROM refused WHERE n > ? ORDER BY n LIMIT ?"
    )
    return [
        {"n": n, "received_at": at, "strict": bool(strict), "reason": reason, "item": item}
        for n, at, strict, reason, item in db.execute(query, (after, limit))
    ]


def stats(db: sqlite3.Connection) -> dict[str, Any]:
    """Count everything.

    total and messages (by type): distinct valid messages received, whatever they did; events: of
    tracks, by name; duplicates, stale, suppressed, conflicts: messages that did less than they
    asked; refused: dropped behind a 200; refused_strict: items the client was told of; requests:
    by status, or `reset`.
    """
    db.execute("BEGIN")  # one moment for all of them
    try:
        counters = _counters(db)
        effects = counters.get("effect", {})
        types = counters.get("type", {})
        return {
            "total": sum(types.values()),
            "messages": types,
            "events": counters.get("event", {}),
            **_populations(db),
            "duplicates": counters.get("duplicate", {}).get("", 0),
            "stale": effects.get("stale", 0),
            "suppressed": effects.get("suppressed", 0),
            "conflicts": effects.get("conflict", 0),
            "refused": _count(db, "refused WHERE strict = 0"),
            "refused_strict": _count(db, "refused WHERE strict = 1"),
            "requests": counters.get("request", {}),
            "bytes": counters.get("bytes", {}).get("", 0),
        }
    finally:
        db.execute("COMMIT")


def _populations(db: sqlite3.Connection) -> dict[str, int]:
    query = f"SELECT count(DISTINCT person) FROM identifiers WHERE kind <> '{ANONYMOUS}'"  # noqa: S608
    (known,) = db.execute(query).fetchone()
    return {
        "people": known,
        "anonymous": _count(db, "people") - known,
        "objects": _count(db, "objects"),
        "relationships": _count(db, "relationships"),
        "devices": _count(db, "devices"),
        "suppressed_ids": _count(db, "suppressed"),
    }


def _counters(db: sqlite3.Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, key, n in db.execute("SELECT name, key, n FROM counters ORDER BY name, key"):
        found.setdefault(name, {})[key] = n
    return found


def _count(db: sqlite3.Connection, source: str) -> int:
    (n,) = db.execute(f"SELECT count(*) FROM {source}").fetchone()  # noqa: S608  our own words
    return int(n)


def find(db: sqlite3.Connection, person_id: str) -> int | None:
    """Return the number of the person with an id, email, cio_id or anonymous id, or None."""
    query = "SELECT person FROM identifiers WHERE kind = ? AND value = ?"
    for identifier in (user_identifier(person_id), (ANONYMOUS, person_id)):
        row = db.execute(query, identifier).fetchone()
        if row is not None:
            return int(row[0])
    return None


def identifiers(db: sqlite3.Connection, pk: int) -> dict[str, list[str]]:
    """Return the identifiers of a person by kind; those of merged profiles under `merged`."""
    found: dict[str, list[str]] = {"id": [], "email": [], "cio_id": [], ANONYMOUS: [], "merged": []}
    query = "SELECT kind, value, merged FROM identifiers WHERE person = ? ORDER BY kind, value"
    for kind, value, is_merged in db.execute(query, (pk,)):
        found["merged" if is_merged else kind].append(value)
    return found


def _devices(db: sqlite3.Connection, pk: int) -> list[dict[str, Any]]:
    query = "SELECT token, attributes, updated FROM devices WHERE person = ? ORDER BY token"
    rows = db.execute(query, (pk,))
    return [{"token": t, "attributes": json.loads(text), "updated": at} for t, text, at in rows]


def _relationships(db: sqlite3.Connection, pk: int) -> list[dict[str, Any]]:
    query = "SELECT type, id, traits FROM relationships WHERE person = ? ORDER BY type, id"
    rows = db.execute(query, (pk,))
    return [{"type": t, "id": key, "attributes": json.loads(text)} for t, key, text in rows]


def _entry(row: tuple[Any, ...]) -> dict[str, Any]:
    seq, kind, event, received_at, message_id, body = row
    message = json.loads(body)
    return {
        "seq": seq,
        "type": kind,
        "event": event,
        "timestamp": message.get("timestamp") or received_at,
        "received_at": received_at,
        "messageId": message_id,
        "message": message,
    }
