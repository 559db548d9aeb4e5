"""Which message ids were received, for ever, without a page written for each of them.

Message ids come in no order, so a unique index on the messages would write one page of 4 KB for
each new message: from some 500,000 on that halves the rate. Here the newest ids are in memory,
and go to a table of their own in sorted runs. The messages are the truth: what memory held is
read again from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backfill.sandbox.database import select_in

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

RECENT_MAX: Final = 250_000
"""Ids held in memory (about 30 MB); the run that empties it takes a second or two."""


class Seen:
    """The message ids of one store. All calls but `forget` belong into a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._recent: set[str] = set()
        self._version: int | None = None

    def known(self, message_ids: Collection[str]) -> set[str]:
        """Say which of these were received."""
        # The number changes when another connection, that is another process, wrote to the file.
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            query = "SELECT message_id FROM messages WHERE seq > ?"
            self._recent = {row[0] for row in self._db.execute(query, (self._upto(),))}
            self._version = version
        query = "SELECT message_id FROM message_ids WHERE message_id"
        settled = {row[0] for row in select_in(self._db, query, message_ids)}
        return settled | self._recent.intersection(message_ids)

    def add(self, message_ids: Collection[str]) -> None:
        """Remember ids whose messages were stored in this transaction."""
        self._recent.update(message_ids)
        if len(self._recent) >= RECENT_MAX:
            insert = (
                "INSERT INTO message_ids SELECT message_id FROM messages WHERE seq > ?"
                " ORDER BY message_id"
            )
            self._db.execute(insert, (self._upto(),))
            self._db.execute("UPDATE settled SET seq = (SELECT max(seq) FROM messages)")
            self._recent.clear()

    def forget(self) -> None:
        """Drop what memory holds; to be called when a transaction failed."""
        self._version = None

    def _upto(self) -> int:
        """Read the last seq whose id is in the table."""
        (seq,) = self._db.execute("SELECT seq FROM settled").fetchone()
        return int(seq)
