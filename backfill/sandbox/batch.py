"""The messages of one request on their way into the tables, in their order.

Works inside a transaction that is open; `store` opens and ends it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from itertools import count, groupby
from typing import TYPE_CHECKING, NamedTuple

from backfill.sandbox.acts import Acts, event_name, is_history
from backfill.sandbox.database import insert_all, select_in
from backfill.sandbox.people import People, owner_of, sent_ms

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from backfill.sandbox.people import Effect, Identifier
    from backfill.sandbox.seen import Seen
    from backfill.sandbox.wire import Received


class _Entry(NamedTuple):
    """What the tables want to know of a message."""

    message_id: str
    kind: str
    event: str | None
    owner: Identifier | None
    at_ms: int
    message: Received
    row: int | None


class Batch:
    """The messages of one request."""

    def __init__(
        self,
        db: sqlite3.Connection,
        seen: Seen,
        origin: tuple[int | None, int],
        *,
        now: str,
        now_ms: int,
    ) -> None:
        """origin: the numbers of the run and of the source."""
        self.counts: Counter[tuple[str, str]] = Counter()
        self._db = db
        self._seen = seen
        self._now = now
        self._now_ms = now_ms
        run, self._source = origin
        self._people = People(db, now=now, now_ms=now_ms, run=run)
        self._acts = Acts(db, self._people, now=now, run=run)
        (last,) = db.execute("SELECT max(seq) FROM messages").fetchone()
        self._seq = last or 0

    def run(self, messages: Sequence[Received], rows: Iterable[int | None]) -> None:
        """Store what is new."""
        pairs = zip(messages, rows, strict=False)
        entries = self._fresh([self._entry(message, row) for message, row in pairs])
        self.counts["duplicate", ""] = len(messages) - len(entries)
        for is_plain, group in groupby(entries, key=lambda e: is_history(e.kind, e.event)):
            self._store(list(group), is_plain=is_plain)
        self._seen.add({entry.message_id for entry in entries})

    def _entry(self, message: Received, row: int | None) -> _Entry:
        body = message.body
        message_id = body.get("messageId") or str(uuid.uuid4())
        at_ms = sent_ms(body, self._now_ms)
        kind, event, owner = body["type"], event_name(body), owner_of(body)
        return _Entry(message_id, kind, event, owner, at_ms, message, row)

    def _fresh(self, entries: list[_Entry]) -> list[_Entry]:
        """Drop what was received before, and what stands twice in this batch."""
        by_id: dict[str, _Entry] = {}
        for entry in entries:
            by_id.setdefault(entry.message_id, entry)
        known = self._seen.known(by_id.keys())
        return [entry for entry in by_id.values() if entry.message_id not in known]

    def _store(self, run: list[_Entry], *, is_plain: bool) -> None:
        """Store a run of mere history with few statements, of others one by one."""
        if is_plain:
            effects, known = self._credit(run)
            people = [known.get(entry.owner) if entry.owner else None for entry in run]
        else:
            told = [
                self._acts.apply(entry.message.body, seq)
                for seq, entry in enumerate(run, self._seq + 1)
            ]
            effects = [effect for effect, _ in told]
            people = [None if about is None else -about for _, about in told]
        self._insert(run, effects, people)

    def _credit(self, run: list[_Entry]) -> tuple[list[Effect], dict[Identifier, int]]:
        """Find or make the people of a run of history."""
        owners = {entry.owner for entry in run if entry.owner is not None}
        void = self._suppressed(owners)
        effects: list[Effect] = ["applied"] * len(run)
        if void:
            effects = ["suppressed" if entry.owner in void else "applied" for entry in run]
        return effects, self._people.ensure_all(owners - void)

    def _suppressed(self, owners: set[Identifier]) -> set[Identifier]:
        if not self._db.execute("SELECT EXISTS (SELECT 1 FROM suppressed)").fetchone()[0]:
            return set()
        query = "SELECT value, kind FROM suppressed WHERE value"
        values = {value for _, value in owners}
        return {(kind, value) for value, kind in select_in(self._db, query, values)} & owners

    def _insert(self, run: list[_Entry], effects: list[Effect], people: list[int | None]) -> None:
        columns = zip(count(self._seq + 1), run, effects, people, strict=False)
        rows = [
            (
                n,
                e.message_id,
                e.kind,
                e.event,
                person,
                e.at_ms,
                self._now,
                effect,
                e.message.text,
                self._source,
                e.row,
            )
            for n, e, effect, person in columns
        ]
        insert_all(self._db, "messages", rows)
        self._seq += len(rows)
        self.counts.update(("type", entry.kind) for entry in run)
        self.counts.update(("effect", effect) for effect in effects)
        self.counts.update(("event", e.event) for e in run if e.kind == "track" and e.event)
