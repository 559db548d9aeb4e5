"""Where a sandbox keeps what it received: one transaction a batch.

Writing is here; what messages do to people and objects is in `acts` and `people`, reading back
in `view`.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, groupby, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from backfill.sandbox import view
from backfill.sandbox.acts import Acts, event_name, is_history
from backfill.sandbox.database import connect, index_timelines, insert_all, select_in
from backfill.sandbox.people import People, owner_of, sent_ms
from backfill.sandbox.provenance import FileFacts, Provenance
from backfill.sandbox.seen import Seen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Concatenate, Self

    from backfill.sandbox.people import Effect, Identifier
    from backfill.sandbox.wire import Received

ITEM_CHARS_MAX: Final = 4_000
"""How much of a refused item is kept."""

NO_FILE: Final = FileFacts()
_AT: Final = re.compile(r"^batch\[[0-9]+\]: |\b(is )[0-9,]+(?= bytes)")
_P = ParamSpec("_P")
_T = TypeVar("_T")


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


class Store:
    """A sandbox's SQLite file. Any thread may call it; threads that write take turns.

    path: made where it is missing (0600), unless `must_exist`. now: the clock.
    Raises UsageError where the file cannot be used.
    """

    def __init__(
        self, path: Path, *, must_exist: bool = False, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.path = path
        self._now = now
        self._writer = connect(path, must_exist=must_exist)
        self._reader = connect(path)  # so that a look at a person never waits for a batch
        self._seen = Seen(self._writer)
        self.provenance = Provenance()
        """Told by the run that this sandbox is embedded in, where there is one."""
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._pending: Counter[tuple[str, str]] = Counter()
        self._is_indexed = False
        self._pending_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the last counts and close the file; again does nothing."""
        try:
            self._flush_counts()
        finally:
            with self._write_lock, self._read_lock:
                self._reader.close()
                self._writer.close()

    def accept(
        self,
        messages: Sequence[Received],
        file: FileFacts = NO_FILE,
        rows: Iterable[int | None] = repeat(None),
    ) -> None:
        """Store and apply messages that `rules` found no fault with, all or none of them.

        A message whose messageId is known, from whenever, is counted and has no effect. One
        without a messageId is given one. file, rows: what is known of where they come from.
        """
        with self._transaction() as db:
            now = self._now()
            told, now_ms = _iso(now), int(now.timestamp() * 1000)
            source = self.provenance.source(db, file, told)
            run = self.provenance.run
            batch = _Batch(db, self._seen, (run, source), now=told, now_ms=now_ms)
            batch.run(messages, rows)
            self._add(db, batch.counts)

    def refuse(
        self,
        items: Sequence[tuple[str, str]],
        *,
        is_strict: bool,
        file: FileFacts = NO_FILE,
        rows: Iterable[int | None] = repeat(None),
    ) -> None:
        """Log refused items as (reason, item text). is_strict: the client was told."""
        now = _iso(self._now())
        insert = (
            'INSERT INTO refused (received_at, strict, reason, item, source, "row")'
            " VALUES (?, ?, ?, ?, ?, ?)"
        )
        with self._transaction() as db:
            source = self.provenance.source(db, file, now)
            values = [
                (now, is_strict, reason, item[:ITEM_CHARS_MAX], source, row)
                for (reason, item), row in zip(items, rows, strict=False)
            ]
            db.executemany(insert, values)
            self._add(db, Counter(("cause", cause_of(reason)) for reason, _ in items))

    def count_request(self, answer: str, body_bytes: int) -> None:
        """Count a request by its answer, a status or `reset`; written with the next batch."""
        with self._pending_lock:
            self._pending["request", answer] += 1
            self._pending["bytes", ""] += body_bytes

    def person(self, person_id: str) -> dict[str, Any] | None:
        """Read a person by id, email, cio_id or anonymous id: see `view.person`."""
        self._index_timelines()
        return self._read(view.person, person_id)

    def timeline(self, person_id: str, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """Read events, pages and screens of a person, oldest first: see `view.timeline`."""
        self._index_timelines()
        return self._read(view.timeline, person_id, limit, offset)

    def object_(self, object_type: str, object_id: str) -> dict[str, Any] | None:
        """Read an object and who is related to it: see `view.object_`."""
        return self._read(view.object_, object_type, object_id)

    def messages(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Read messages as they were sent, in order of arrival, from the one after seq `after`."""
        return self._read(view.messages, after, limit)

    def refused(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Read what was refused, in order of arrival, from the one after `after`."""
        return self._read(view.refused, after, limit)

    def stats(self) -> dict[str, Any]:
        """Count everything: see `view.stats`."""
        self._flush_counts()
        return self._read(view.stats)

    def _index_timelines(self) -> None:
        if not self._is_indexed:
            with self._transaction() as db:
                index_timelines(db)
            self._is_indexed = True

    def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, _P], _T],
        *args: _P.args,
        **kw: _P.kwargs,
    ) -> _T:
        with self._read_lock:
            return query(self._reader, *args, **kw)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                self._seen.forget()
                self.provenance.forget()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _add(self, db: sqlite3.Connection, counts: Counter[tuple[str, str]]) -> None:
        """Add to the counters, with what was counted since the last time."""
        with self._pending_lock:
            pending, self._pending = self._pending, Counter()
        upsert = (
            "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT (name, key) DO UPDATE"
            " SET n = n + excluded.n"
        )
        rows = [(*key, n) for key, n in (counts + pending).items()]
        db.executemany(upsert, rows)

    def _flush_counts(self) -> None:
        if self._pending:
            with self._transaction() as db:
                self._add(db, Counter())


class _Entry(NamedTuple):
    """What the tables want to know of a message."""

    message_id: str
    kind: str
    event: str | None
    owner: Identifier | None
    at_ms: int
    message: Received
    row: int | None


class _Batch:
    """The messages of one request on their way into the tables, in their order."""

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


def cause_of(reason: str) -> str:
    """Return a reason without what is of the one item: its place and its size."""
    return _AT.sub(lambda found: f"{found[1]}too many" if found[1] else "", reason)


def _iso(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
