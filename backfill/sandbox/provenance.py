"""Where messages come from: which run, which file, which row. What is not known stays unknown.

A request does not say it, and a message id only does where rows have no key. So a run with an
embedded sandbox, in the same process, says beforehand which rows a body stands for. What others
send belongs to a run without a name.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from backfill.sandbox.wire import Received

BODIES_MAX: Final = 256
"""More than can be under way: twice the most connections."""

REFUSED_MAX: Final = 100_000
"""Messages of refused bodies whose rows are remembered: they come again in smaller bodies."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run of a stream, as the page names it."""

    run_id: str = ""
    stream: str = ""
    mapping: str = ""
    """The path of the mapping."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of a run."""

    path: str = ""
    first_row: int = 0
    """What a person calls row 0."""
    size_bytes: int = 0
    modified_ns: int = 0
    sha256: str = ""


class Provenance:
    """The run that is on, and the rows of the bodies it announced. Any thread may call it."""

    def __init__(self) -> None:
        self.facts = RunFacts()
        self.run: int | None = None
        """Its number, once something of it was stored."""
        self._sources: dict[FileFacts, int] = {}
        self._bodies: OrderedDict[bytes, tuple[FileFacts, list[int]]] = OrderedDict()
        self._refused: dict[str, tuple[FileFacts, int]] = {}
        self._lock = threading.Lock()

    def begin(self, facts: RunFacts) -> None:
        """Say what run all that comes from now on belongs to."""
        with self._lock:
            self.facts, self.run = facts, None
            self._sources.clear()
            self._bodies.clear()
            self._refused.clear()

    def announce(self, body: bytes, file: FileFacts, rows: list[int]) -> None:
        """Say of which rows the messages of a body are, in their order."""
        with self._lock:
            self._bodies[_digest(body)] = (file, rows)
            while len(self._bodies) > BODIES_MAX:
                self._bodies.popitem(last=False)

    def rows_of(
        self, body: bytes, messages: Sequence[Received]
    ) -> tuple[FileFacts, Iterable[int | None]]:
        """Return the file of a body, and the row of each of its messages."""
        if not self._bodies:
            return FileFacts(), repeat(None, len(messages))
        with self._lock:
            told = self._bodies.get(_digest(body))
            if told is not None and len(told[1]) == len(messages):
                return told
            known = [self._refused.get(_id(message)) for message in messages]
        files = [place[0] for place in known if place is not None]
        return (files or [FileFacts()])[0], [place and place[1] for place in known]

    def note_refused(self, body: bytes, messages: Sequence[Received]) -> None:
        """Remember the rows of a body that was refused: its messages come again without others."""
        file, rows = self.rows_of(body, messages)
        with self._lock:
            for message, row in zip(messages, rows, strict=True):
                if row is not None and len(self._refused) < REFUSED_MAX:
                    self._refused[_id(message)] = (file, row)

    def source(self, db: sqlite3.Connection, file: FileFacts, now: str) -> int:
        """Return the number of a file of the run, which is stored with its first message.

        Belongs into a transaction; one that fails has to `forget`.
        """
        found = self._sources.get(file)
        if found is None:
            found = self._sources[file] = _stored(db, self._run(db, now), file)
        return found

    def forget(self) -> None:
        """Drop the numbers: a transaction failed, and they may not be stored."""
        self.run = None
        self._sources.clear()

    def _run(self, db: sqlite3.Connection, now: str) -> int:
        """Return the number of the run; one that goes on keeps its own."""
        if self.run is not None:
            return self.run
        facts = self.facts
        row = None
        if facts.run_id:
            query = "SELECT pk FROM runs WHERE run_id = ? AND stream = ?"
            row = db.execute(query, (facts.run_id, facts.stream)).fetchone()
        if row is None:
            insert = "INSERT INTO runs (run_id, stream, mapping, began_at) VALUES (?, ?, ?, ?)"
            values = (facts.run_id, facts.stream, facts.mapping, now)
            self.run = db.execute(insert, values).lastrowid
        else:
            self.run = int(row[0])
        assert self.run is not None, "an insert has a row id"
        return self.run


def _stored(db: sqlite3.Connection, run: int, file: FileFacts) -> int:
    values = (run, file.path, file.first_row, file.size_bytes, file.modified_ns, file.sha256)
    query = (
        "SELECT pk FROM sources WHERE (run, file, first_row, size_bytes, modified_ns, sha256)"
        " = (?, ?, ?, ?, ?, ?)"
    )
    row = db.execute(query, values).fetchone()
    if row is not None:
        return int(row[0])
    insert = (
        "INSERT INTO sources (run, file, first_row, size_bytes, modified_ns, sha256)"
        " VALUES (?, ?, ?, ?, ?, ?)"
    )
    found = db.execute(insert, values).lastrowid
    assert found is not None, "an insert has a row id"
    return found


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def _id(message: Received) -> str:
    found = message.body.get("messageId") if isinstance(message.body, dict) else None
    return found if isinstance(found, str) else ""
