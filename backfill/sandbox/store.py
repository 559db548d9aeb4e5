"""Where a sandbox keeps what it received: one transaction a batch.

Writing is here; what messages do to people and objects is in `acts` and `people`, reading back
in `view`.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from backfill.sandbox import tally, view
from backfill.sandbox.batch import Batch
from backfill.sandbox.database import connect, index_timelines
from backfill.sandbox.provenance import FileFacts, Provenance
from backfill.sandbox.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Concatenate, Self

    from backfill.sandbox.wire import Received

ITEM_CHARS_MAX: Final = 4_000
"""How much of a refused item is kept."""

NO_FILE: Final = FileFacts()
WAITING_MAX: Final = 1_000_000
"""Messages that a person waits for while they are counted: some seconds."""

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
        self._kept: dict[Callable[..., Any], Any] = {}
        self._version: int | None = None
        self._preparing: threading.Thread | None = None
        self._is_closed = False
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
        self._is_closed = True
        if (preparing := self._preparing) is not None:
            self._writer.interrupt()
            preparing.join()
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
            batch = Batch(db, self._seen, (run, source), now=told, now_ms=now_ms)
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

    def look(
        self,
        query: Callable[Concatenate[sqlite3.Connection, _P], _T],
        *args: _P.args,
        **kw: _P.kwargs,
    ) -> _T:
        """Read what the page shows; what is counted and indexed for it is brought up to date."""
        self.prepare()
        return self._read(query, *args, **kw)

    def kept(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do the same for what takes a while: it is kept until something new comes."""
        self._flush_counts()
        self.prepare()
        with self._read_lock:
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._kept.clear()
                self._version = version
            if query not in self._kept:
                self._kept[query] = query(self._reader)
            found: _T = self._kept[query]
            return found

    def waiting(self) -> int:
        """Return how many messages the next look will have to count."""
        return self._read(tally.waiting)

    def is_preparing(self) -> bool:
        """Whether a look would wait for long; then all is got ready meanwhile, by a thread."""
        if self._preparing is None and self.waiting() > WAITING_MAX:
            self._preparing = threading.Thread(target=self._prepare_all, daemon=True)
            self._preparing.start()
        return self._preparing is not None

    def _prepare_all(self) -> None:
        try:
            self.prepare()
        except sqlite3.Error:
            pass  # the sandbox ends, or the next look meets it again and can say so
        finally:
            self._preparing = None

    def prepare(self) -> None:
        """Index and count what came since the last look."""
        if not self._is_indexed:
            for statement in tally.INDEXES:
                with self._transaction() as db:
                    db.execute(statement)
            self._index_timelines()
        while self.waiting() and not self._is_closed:
            with self._transaction() as db:
                tally.count(db)

    def _index_timelines(self) -> None:
        if not self._is_indexed:
            with self._transaction() as db:
                index_timelines(db)

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


def cause_of(reason: str) -> str:
    """Return a reason without what is of the one item: its place and its size."""
    return _AT.sub(lambda found: f"{found[1]}too many" if found[1] else "", reason)


def _iso(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
