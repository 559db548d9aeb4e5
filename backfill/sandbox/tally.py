"""Counts and indexes for looking, made when somebody looks: an import must not pay for them.

Counts are of messages up to `tallied.seq`; each look adds what came since, so that no page counts
millions of messages twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

STEP: Final = 200_000
"""Messages counted in one transaction, so that one who writes never waits long."""

DAY_MS: Final = 86_400_000

INDEXES: Final = (
    (
        "CREATE INDEX IF NOT EXISTS messages_event ON messages (type, event, at_ms)"
        " WHERE event IS NOT NULL"
    ),
    "CREATE INDEX IF NOT EXISTS people_run ON people (run)",
    "CREATE INDEX IF NOT EXISTS objects_run ON objects (run)",
)
"""Made when they are first needed, beside that of the timelines."""

_COUNT: Final = f"""
INSERT INTO tallies
SELECT coalesce(source, 0), type, coalesce(event, ''),
       (at_ms - CASE WHEN at_ms < 0 THEN {DAY_MS - 1} ELSE 0 END) / {DAY_MS}, count(*)
FROM messages WHERE seq > ? AND seq <= ? GROUP BY 1, 2, 3, 4
ON CONFLICT (source, type, event, day) DO UPDATE SET n = n + excluded.n
"""  # noqa: S608  our own numbers; the division of negative numbers must round down, too


def waiting(db: sqlite3.Connection) -> int:
    """Return how many messages are not counted yet."""
    query = "SELECT (SELECT max(seq) FROM messages), seq FROM tallied"
    last, upto = db.execute(query).fetchone()
    return (last or 0) - int(upto)


def count(db: sqlite3.Connection) -> None:
    """Count the next messages, at most STEP. Belongs into a transaction."""
    (upto,) = db.execute("SELECT seq FROM tallied").fetchone()
    stop = min(upto + STEP, upto + waiting(db))
    if stop > upto:
        db.execute(_COUNT, (upto, stop))
        db.execute("UPDATE tallied SET seq = ?", (stop,))
