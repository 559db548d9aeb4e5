"""Messages that change the workspace: identify, alias, group, and the events that act.

Works inside a transaction that is open. Which messages are mere history is said here too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from backfill.sandbox.people import (
    Effect,
    Identifier,
    People,
    merged_traits,
    owner_of,
    user_identifier,
)
from backfill.sandbox.rules import group_object_type, is_present, object_type
from backfill.spec import COMMANDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    Message = Mapping[str, Any]

_DEVICE_UPSERTS: Final = frozenset(
    {"Device Created or Updated", "Application Installed", "Application Opened"}
)
_DEVICE_DELETIONS: Final = frozenset({"Device Deleted", "Application Uninstalled"})
_OWN_MEMBERS: Final = frozenset({"objectTypeId", "object_type_id", "relationshipAttributes"})
_REMOVES: Final = (None, "")
"""On objects and relationships a null and an empty text remove (Track API description)."""


def event_name(message: Message) -> str | None:
    """Read the event of a track, the name of a page or screen. Outer spaces are trimmed."""
    name = message.get("event" if message["type"] == "track" else "name")
    return name.strip() if isinstance(name, str) else None


def is_history(kind: str, event: str | None) -> bool:
    """Whether a message only adds to a timeline: a page, a screen, an event that does not act."""
    return event not in COMMANDS if kind == "track" else kind in {"page", "screen"}


class Acts:
    """What messages do, for the length of one transaction."""

    def __init__(
        self, db: sqlite3.Connection, people: People, *, now: str, run: int | None = None
    ) -> None:
        self._db = db
        self._people = people
        self._now = now
        self._run = run
        self._seq = 0

    def apply(self, message: Message, seq: int) -> tuple[Effect, int | None]:
        """Carry out one message that is not history, the `seq`th; and say whom it was about."""
        self._seq = seq
        self._people.about = None
        effect = self._applied(message)
        return effect, self._people.about

    def _applied(self, message: Message) -> Effect:
        event = event_name(message) if message["type"] == "track" else None
        if event == "User Unsuppressed":
            delete = "DELETE FROM suppressed WHERE kind = ? AND value = ?"
            self._db.execute(delete, user_identifier(message["userId"]))
            return "applied"
        if any(self._is_suppressed(who) for who in _about(message)):
            return "suppressed"
        if event is not None:
            self._command(event, message)
            return "applied"
        if message["type"] == "identify":
            return self._people.identify(message)
        if message["type"] == "alias":
            return self._people.alias(message)
        return self._group(message)

    def _is_suppressed(self, identifier: Identifier) -> bool:
        query = "SELECT 1 FROM suppressed WHERE kind = ? AND value = ?"
        return self._db.execute(query, identifier).fetchone() is not None

    def _command(self, event: str, message: Message) -> None:
        if event in {"User Deleted", "User Suppressed"}:
            user = user_identifier(message["userId"])
            self._people.delete(user)
            if event == "User Suppressed":
                self._db.execute(
                    "INSERT INTO suppressed VALUES (?, ?) ON CONFLICT DO NOTHING", user
                )
        elif event == "Relationship Deleted":
            person = self._people.find(user_identifier(message["userId"]))
            delete = "DELETE FROM relationships WHERE person = ? AND type = ? AND id = ?"
            self._db.execute(delete, (person, *_object_of(message)))
        elif event == "Object Deleted":
            for table in ("objects", "relationships"):
                delete = f"DELETE FROM {table} WHERE type = ? AND id = ?"  # noqa: S608
                self._db.execute(delete, _object_of(message))
        elif event in _DEVICE_UPSERTS | _DEVICE_DELETIONS:
            self._device(message, is_gone=event in _DEVICE_DELETIONS)
        # Reports belong to a delivery, which a sandbox has none of: they are only recorded.

    def _device(self, message: Message, *, is_gone: bool) -> None:
        device = (message.get("context") or {}).get("device")
        owner = owner_of(message)
        if owner is None or not isinstance(device, dict) or not is_present(device.get("token")):
            return  # only the Application events may come so; they are recorded, no more
        token = str(device["token"])
        if is_gone:
            delete = "DELETE FROM devices WHERE person = ? AND token = ?"
            self._db.execute(delete, (self._people.find(owner), token))
            return
        attributes = {n: v for n, v in device.items() if n != "token"}
        attributes |= message.get("properties") or {}
        upsert = (
            "INSERT INTO devices VALUES (?, ?, ?, ?) ON CONFLICT (person, token) DO UPDATE"
            " SET attributes = excluded.attributes, updated = excluded.updated"
        )
        self._people.about = self._people.ensure(owner)
        row = (self._people.about, token, json.dumps(attributes), self._now)
        self._db.execute(upsert, row)

    def _group(self, message: Message) -> Effect:
        """Upsert an object and, where a person is named, the relationship to it."""
        traits = message.get("traits") or {}
        kind = object_type(group_object_type(message))
        key = (kind, str(message["groupId"]))
        query = "SELECT traits FROM objects WHERE type = ? AND id = ?"
        row = self._db.execute(query, key).fetchone()
        own = {name: value for name, value in traits.items() if name not in _OWN_MEMBERS}
        merged = merged_traits(row[0] if row else "{}", own, removes=_REMOVES)
        upsert = (
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (type, id) DO UPDATE"
            " SET traits = excluded.traits, updated = excluded.updated, seq = excluded.seq"
        )
        times = (self._now, self._now)
        self._db.execute(upsert, (*key, merged, *times, self._run, self._seq))
        owner = owner_of(message)
        if owner is not None:
            related = traits.get("relationshipAttributes")
            self._people.about = self._people.ensure(owner)
            self._relate(self._people.about, key, related)
        return "applied"

    def _relate(self, person: int, key: tuple[str | None, str], attributes: Any) -> None:
        query = "SELECT traits FROM relationships WHERE person = ? AND type = ? AND id = ?"
        row = self._db.execute(query, (person, *key)).fetchone()
        new = attributes if isinstance(attributes, dict) else {}
        merged = merged_traits(row[0] if row else "{}", new, removes=_REMOVES)
        upsert = (
            "INSERT INTO relationships VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (person, type, id)"
            " DO UPDATE SET traits = excluded.traits, updated = excluded.updated,"
            " seq = excluded.seq"
        )
        self._db.execute(upsert, (person, *key, merged, self._now, self._seq))


def _about(message: Message) -> list[Identifier]:
    """List the ids whose suppression makes a message void."""
    about = [owner_of(message)]
    if message["type"] == "alias":
        about.append(user_identifier(message["previousId"]))
    return [identifier for identifier in about if identifier is not None]


def _object_of(message: Message) -> tuple[str | None, str]:
    """Read type and id of the object a command is about."""
    kind = object_type(group_object_type(message, "properties"))
    return kind, str(message["properties"]["objectId"])
