"""The SQLite file of a sandbox: its tables, and opening it so that only its owner can read it."""

from __future__ import annotations

import os
import sqlite3
import stat
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from backfill.errors import UsageError
from backfill.private import refuse_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

APPLICATION_ID: Final = 0x62666C73  # "bfls"
VERSION: Final = 2
WAIT_S: Final = 30.0
"""How long to wait for another process that is writing to the file."""

_CHUNK: Final = 1000  # values in one IN (...); SQLite's bound is 32,766

SCHEMA: Final = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,        -- order of arrival, from 1
    message_id TEXT NOT NULL,       -- unique: see `seen`
    type TEXT NOT NULL,
    event TEXT,                     -- of a track; the name of a page or screen
    person INTEGER,                 -- on whose timeline it stands; minus that: whose profile it
                                    -- is about; null: neither
    at_ms INTEGER NOT NULL,         -- its timestamp, else when it came; ms since 1970 UTC
    received_at TEXT NOT NULL,
    effect TEXT NOT NULL,           -- applied, stale, suppressed, conflict
    body TEXT NOT NULL,             -- the message as it was sent
    source INTEGER,                 -- the run and file it came from; null: before these were kept
    "row" INTEGER                   -- of that file, from 0; null: not known
);
CREATE TABLE message_ids (          -- of the messages up to settled.seq
    message_id TEXT PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE settled (seq INTEGER NOT NULL);
INSERT INTO settled VALUES (0);
CREATE TABLE people (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again after a deletion
    traits TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    changed_ms INTEGER,             -- of the last identify; null: known from events only
    run INTEGER                     -- that made it; null: before runs were kept
);
CREATE TABLE identifiers (
    kind TEXT NOT NULL,             -- id, email, cio_id, anonymous_id
    value TEXT NOT NULL,
    person INTEGER NOT NULL,
    merged INTEGER NOT NULL DEFAULT 0,      -- 1: of a profile merged into this one
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE INDEX identifiers_person ON identifiers (person);
CREATE TABLE devices (
    person INTEGER NOT NULL, token TEXT NOT NULL, attributes TEXT NOT NULL, updated TEXT NOT NULL,
    PRIMARY KEY (person, token)
) WITHOUT ROWID;
CREATE TABLE objects (
    type TEXT NOT NULL, id TEXT NOT NULL, traits TEXT NOT NULL,
    created TEXT NOT NULL, updated TEXT NOT NULL,
    run INTEGER, seq INTEGER,       -- the run that made it, the message that was the last for it
    PRIMARY KEY (type, id)
) WITHOUT ROWID;
CREATE TABLE relationships (
    person INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, traits TEXT NOT NULL,
    updated TEXT NOT NULL, seq INTEGER,
    PRIMARY KEY (person, type, id)
) WITHOUT ROWID;
CREATE INDEX relationships_object ON relationships (type, id);
CREATE TABLE suppressed (
    kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE TABLE refused (
    n INTEGER PRIMARY KEY, received_at TEXT NOT NULL,
    strict INTEGER NOT NULL,        -- 1: the client was told; 0: it was answered 200
    reason TEXT NOT NULL, item TEXT NOT NULL,
    source INTEGER, "row" INTEGER
);
CREATE TABLE counters (
    name TEXT NOT NULL, key TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (name, key)
) WITHOUT ROWID;
"""

ORIGINS: Final = """
CREATE TABLE runs (
    pk INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,           -- as the run's own folder is called; '': sent from elsewhere
    stream TEXT NOT NULL, mapping TEXT NOT NULL, began_at TEXT NOT NULL
);
CREATE TABLE sources (              -- the files of the runs
    pk INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    file TEXT NOT NULL,             -- '': not known
    first_row INTEGER NOT NULL,     -- what a person calls row 0
    size_bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL, sha256 TEXT NOT NULL
);
CREATE TABLE changes (              -- of people who were there before the run
    run INTEGER NOT NULL, person INTEGER NOT NULL,
    what TEXT NOT NULL,             -- changed, merged, deleted
    name TEXT,                      -- of one who is gone
    before TEXT NOT NULL,           -- the traits
    PRIMARY KEY (run, person)
) WITHOUT ROWID;
CREATE INDEX changes_person ON changes (person, run);
CREATE TABLE tallies (              -- of the messages up to tallied.seq: see `tally`
    source INTEGER NOT NULL, type TEXT NOT NULL, event TEXT NOT NULL, day INTEGER NOT NULL,
    n INTEGER NOT NULL, PRIMARY KEY (source, type, event, day)
) WITHOUT ROWID;
CREATE TABLE tallied (seq INTEGER NOT NULL);
INSERT INTO tallied VALUES (0);
"""

ADDED: Final = """
ALTER TABLE messages ADD COLUMN source INTEGER;
ALTER TABLE messages ADD COLUMN "row" INTEGER;
ALTER TABLE people ADD COLUMN run INTEGER;
ALTER TABLE objects ADD COLUMN run INTEGER;
ALTER TABLE objects ADD COLUMN seq INTEGER;
ALTER TABLE relationships ADD COLUMN seq INTEGER;
ALTER TABLE refused ADD COLUMN source INTEGER;
ALTER TABLE refused ADD COLUMN "row" INTEGER;
"""
"""What version 1 lacks. None of it touches a row, so a file of any size is ready at once."""


def connect(path: Path, *, must_exist: bool = False) -> sqlite3.Connection:
    """Open the file, and make it where there is none, for its owner alone (0600).

    Transactions are begun by hand; the connection may be used by any thread, one at a time.
    Raises UsageError: missing though it must exist, not writable, no SQLite file, or one of
    something else.
    """
    is_new = _touch(path, must_exist=must_exist)
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path)
    except sqlite3.Error as error:
        db.close()
        fix = "name another file, or remove this one" if not is_new else "name a file elsewhere"
        raise UsageError(f"no usable SQLite file: {error}", where=path, fix=fix) from None
    except UsageError:
        db.close()
        raise
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return db


def select_in(
    db: sqlite3.Connection, query: str, values: Iterable[str]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `query IN (values)`, asking for many values at once."""
    pending = list(values)
    for start in range(0, len(pending), _CHUNK):
        part = pending[start : start + _CHUNK]
        yield from db.execute(f"{query} IN ({','.join('?' * len(part))})", part)


def index_timelines(db: sqlite3.Connection) -> None:
    """Make the index from people to their messages, where it is missing.

    It is made when first needed (some seconds for millions of messages), since keeping it costs
    each message that is stored a page written: an import into a new file goes faster without.
    """
    db.execute(
        "CREATE INDEX IF NOT EXISTS messages_person ON messages (person, at_ms)"
        " WHERE person IS NOT NULL"
    )


def insert_all(db: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, a thousand with one statement.

    `executemany` lets go of the interpreter's lock for each row, and threads that wait for it
    take it for 5 ms: with a few clients in one process that halves the rate.
    """
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        marks = f"({','.join('?' * len(part[0]))})"
        statement = f"INSERT INTO {table} VALUES {','.join([marks] * len(part))}"  # noqa: S608  our own table
        db.execute(statement, list(chain.from_iterable(part)))


def _touch(path: Path, *, must_exist: bool) -> bool:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        refuse_link(path.with_name(name))
    is_new = not path.exists()
    if is_new and must_exist:
        fix = "give the file a sandbox wrote, with --db"
        raise UsageError("there is no such sandbox file", where=path, fix=fix)
    try:
        # SQLite gives its -wal and -shm files the mode of this one.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        os.close(os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR))
    except OSError as error:
        fix = "name a file in a folder that exists and that you may write to"
        reason = error.strerror or str(error)
        raise UsageError(f"cannot be opened for writing: {reason}", where=path, fix=fix) from None
    return is_new


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and (owner != APPLICATION_ID or version not in {1, VERSION}):
        what = "is not the file of a sandbox of this version"
        raise UsageError(what, where=path, fix="name another file, or remove this one")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    # Message ids are looked up in no order: their table stays in memory (at most 256 MB), or
    # 3,000,000 of them cost a read each. The log is emptied every 64 MB, not at every batch.
    db.execute("PRAGMA cache_size = -262144")
    db.execute("PRAGMA wal_autocheckpoint = 16384")
    if not tables or version < VERSION:
        _build(db)


def _build(db: sqlite3.Connection) -> None:
    """Make the tables, or those that a file of version 1 lacks; another process may be as far."""
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        for statement in ((ADDED if version else SCHEMA) + ORIGINS).split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")
