"""People: who an id means, and what identify, alias and deletion do to a profile.

Works inside a transaction that is open; `store` opens and ends it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, Literal

from backfill.sandbox.database import index_timelines, select_in
from backfill.sandbox.rules import is_present, to_ms
from backfill.spec import INTERNAL_ID_PREFIX

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

Identifier = tuple[str, str]
"""Kind (id, email, cio_id, anonymous_id) and value."""

Effect = Literal["applied", "stale", "suppressed", "conflict"]
"""applied: as asked · stale: an identify older than the profile's last one, dropped · suppressed:
about a suppressed id, ignored · conflict: applied but for an email that another person has, or
that differs from the one this person has."""

ANONYMOUS: Final = "anonymous_id"
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def user_identifier(user_id: object) -> Identifier:
    """Read a userId the way the destination does: internal id, email, or plain id.

    Emails are compared without regard to case, ids are not. A number becomes its text.
    """
    value = str(user_id)
    if value.startswith(INTERNAL_ID_PREFIX):
        return "cio_id", value
    if "@" in value and _EMAIL.fullmatch(value):
        return "email", value.lower()
    return "id", value


def owner_of(message: Mapping[str, Any]) -> Identifier | None:
    """Say to whom a message is credited: userId before anonymousId; None: to no person."""
    if is_present(message.get("userId")):
        return user_identifier(message["userId"])
    if is_present(message.get("anonymousId")):
        return ANONYMOUS, str(message["anonymousId"])
    return None


def sent_ms(message: Mapping[str, Any], now_ms: int) -> int:
    """Say when a message happened: its timestamp, else when it came."""
    at_ms = to_ms(message.get("timestamp") or "")
    return now_ms if at_ms is None else at_ms


def merged_traits(old: str, new: Mapping[str, Any], *, removes: tuple[Any, ...] = (None,)) -> str:
    """Lay new members over old ones (JSON text in, JSON text out); those in `removes` go."""
    traits = json.loads(old)
    for name, value in new.items():
        if any(value is gone or (value == gone and isinstance(value, str)) for gone in removes):
            traits.pop(name, None)
        else:
            traits[name] = value
    return json.dumps(traits, separators=(",", ":"))


class People:
    """The profiles of one store, for the length of one transaction."""

    def __init__(
        self, db: sqlite3.Connection, *, now: str, now_ms: int, run: int | None = None
    ) -> None:
        """run: the one whose changes are noted; None: nobody asks for them."""
        self._db = db
        self._now = now
        self._now_ms = now_ms
        self._run = run
        self.about: int | None = None
        """Whose profile the last message was about."""

    def find(self, identifier: Identifier) -> int | None:
        """Look up the person an identifier means."""
        query = "SELECT person FROM identifiers WHERE kind = ? AND value = ?"
        row = self._db.execute(query, identifier).fetchone()
        return None if row is None else int(row[0])

    def ensure(self, identifier: Identifier) -> int:
        """Look up a person, or make one: a message about an unknown id creates its person."""
        person = self.find(identifier)
        return self._create(identifier) if person is None else person

    def ensure_all(self, identifiers: Iterable[Identifier]) -> dict[Identifier, int]:
        """Do the same for many, with a query for a thousand of them."""
        by_kind: defaultdict[str, set[str]] = defaultdict(set)
        for kind, value in identifiers:
            by_kind[kind].add(value)
        found: dict[Identifier, int] = {}
        for kind, values in by_kind.items():
            query = f"SELECT kind, value, person FROM identifiers WHERE kind = '{kind}' AND value"  # noqa: S608  one of our own four words
            for row in select_in(self._db, query, values):
                found[row[0], row[1]] = row[2]
            for value in sorted(values):
                if (kind, value) not in found:
                    found[kind, value] = self._create((kind, value))
        return found

    def identify(self, message: Mapping[str, Any]) -> Effect:
        """Upsert a profile; members of traits that are left out stay, a null removes."""
        traits = dict(message.get("traits") or {})
        if "createdAt" in traits:
            traits["created_at"] = traits.pop("createdAt")
        wanted = _wanted(message, traits)
        person = self._candidate(wanted)
        at_ms = sent_ms(message, self._now_ms)
        if person is not None and self._is_stale(person, at_ms):
            self.about = person
            return "stale"
        if person is None:
            person = self._create(wanted[0])
        self.about = person
        refused = [kind for kind, value in wanted if not self._link(person, (kind, value))]
        if "email" in refused:
            traits.pop("email", None)
        self._change(person, traits, at_ms)
        return "conflict" if refused else "applied"

    def alias(self, message: Mapping[str, Any]) -> Effect:
        """Merge previousId's profile and timeline into userId's, for ever."""
        person = self.about = self.ensure(user_identifier(message["userId"]))
        previous = user_identifier(message["previousId"])
        for identifier in (previous, (ANONYMOUS, previous[1])):
            other = self.find(identifier)
            if other is not None and other != person:
                self._merge(other, into=person)
        # Also where nobody bore it yet: later messages for it are this person's.
        insert = "INSERT INTO identifiers VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING"
        self._db.execute(insert, (*previous, person))
        return "applied"

    def delete(self, identifier: Identifier) -> None:
        """Remove a person with devices, relationships and every id; the timeline goes with it."""
        person = self.find(identifier)
        if person is None:
            return
        self._note(person, "deleted")
        for table in ("identifiers", "devices", "relationships"):
            self._db.execute(f"DELETE FROM {table} WHERE person = ?", (person,))  # noqa: S608
        index_timelines(self._db)
        update = "UPDATE messages SET person = NULL WHERE person IN (?, ?)"
        self._db.execute(update, (person, -person))
        self._db.execute("DELETE FROM people WHERE pk = ?", (person,))

    def _create(self, identifier: Identifier) -> int:
        insert = "INSERT INTO people (traits, created, updated, run) VALUES ('{}', ?, ?, ?)"
        person = self._db.execute(insert, (self._now, self._now, self._run)).lastrowid
        assert person is not None, "an insert has a row id"
        insert = "INSERT INTO identifiers VALUES (?, ?, ?, 0)"
        self._db.execute(insert, (*identifier, person))
        return person

    def _candidate(self, wanted: list[Identifier]) -> int | None:
        """Find whom an identify is about: by its first id, else one who lacks just that kind."""
        first = wanted[0]
        person = self.find(first)
        if person is not None:
            return person
        for identifier in wanted[1:]:
            other = self.find(identifier)
            if other is not None and self._may_join(other, {first[0]}, identifier[0]):
                return other
        return None

    def _may_join(self, other: int, kinds: set[str], through: str) -> bool:
        """Whether two profiles may become one: neither has an id the other has in another form.

        Through an anonymous id only a stranger joins: two people may share a browser.
        """
        own = self._kinds(other)
        return not own if through == ANONYMOUS else not own & kinds

    def _kinds(self, person: int) -> set[str]:
        query = "SELECT kind FROM identifiers WHERE person = ? AND merged = 0 AND kind <> ?"
        return {kind for (kind,) in self._db.execute(query, (person, ANONYMOUS))}

    def _is_stale(self, person: int, at_ms: int) -> bool:
        query = "SELECT changed_ms FROM people WHERE pk = ?"
        (changed_ms,) = self._db.execute(query, (person,)).fetchone()
        return changed_ms is not None and at_ms < changed_ms

    def _link(self, person: int, identifier: Identifier) -> bool:
        """Give a person an identifier, or the whole profile that bears it; False: a conflict."""
        owner = self.find(identifier)
        if owner == person:
            return True
        kind = identifier[0]
        own = self._kinds(person)
        if owner is None:
            if kind in own:
                return False  # changing an id that is set needs cio_<cio_id>
            self._db.execute("INSERT INTO identifiers VALUES (?, ?, ?, 0)", (*identifier, person))
        elif self._may_join(owner, own, kind):
            self._merge(owner, into=person)
        else:
            return kind == ANONYMOUS  # another's already: left with them
        return True

    def _merge(self, other: int, *, into: int) -> None:
        """Move everything of one profile to another; on a clash the receiver's own stays."""
        self._note(other, "merged")
        self._note(into, "changed")
        kept = self._kinds(into)
        query = "SELECT traits, changed_ms FROM people WHERE pk = ?"
        theirs, their_ms = self._db.execute(query, (other,)).fetchone()
        ours, our_ms = self._db.execute(query, (into,)).fetchone()
        marks = ",".join("?" * len(kept))
        update = f"UPDATE identifiers SET person = ?, merged = merged OR kind IN ({marks})"  # noqa: S608
        self._db.execute(f"{update} WHERE person = ?", (into, *kept, other))
        for table in ("devices", "relationships"):
            update = f"UPDATE OR IGNORE {table} SET person = ? WHERE person = ?"  # noqa: S608
            self._db.execute(update, (into, other))
            self._db.execute(f"DELETE FROM {table} WHERE person = ?", (other,))  # noqa: S608
        index_timelines(self._db)
        for sign in (1, -1):
            update = "UPDATE messages SET person = ? WHERE person = ?"
            self._db.execute(update, (sign * into, sign * other))
        self._db.execute("DELETE FROM people WHERE pk = ?", (other,))
        changed_ms = max((ms for ms in (their_ms, our_ms) if ms is not None), default=None)
        update = "UPDATE people SET traits = ?, changed_ms = ?, updated = ? WHERE pk = ?"
        traits = merged_traits(theirs, json.loads(ours))
        self._db.execute(update, (traits, changed_ms, self._now, into))

    def _change(self, person: int, traits: Mapping[str, Any], at_ms: int) -> None:
        query = "SELECT traits, run FROM people WHERE pk = ?"
        old, run = self._db.execute(query, (person,)).fetchone()
        new = merged_traits(old, traits)
        if run != self._run and new != old:
            self._note(person, "changed")
        update = "UPDATE people SET traits = ?, changed_ms = ?, updated = ? WHERE pk = ?"
        self._db.execute(update, (new, at_ms, self._now, person))

    def _note(self, person: int, what: str) -> None:
        """Keep what a person was before this run, unless it is the run that made them."""
        query = "SELECT traits, run FROM people WHERE pk = ?"
        before, run = self._db.execute(query, (person,)).fetchone()
        if self._run is None or run == self._run:
            return
        name = None if what == "changed" else name_of(self._db, person)
        upsert = (
            "INSERT INTO changes VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, person) DO UPDATE"
            " SET what = excluded.what, name = excluded.name"
        )
        self._db.execute(upsert, (self._run, person, what, name, before))


def name_of(db: sqlite3.Connection, person: int) -> str | None:
    """Name a person by the best identifier they have."""
    query = (
        "SELECT value FROM identifiers WHERE person = ? ORDER BY merged, kind = 'id' DESC,"
        " kind = 'email' DESC, kind = 'cio_id' DESC, kind = 'anonymous_id' DESC, value LIMIT 1"
    )
    row = db.execute(query, (person,)).fetchone()
    return None if row is None else str(row[0])


def _wanted(message: Mapping[str, Any], traits: Mapping[str, Any]) -> list[Identifier]:
    """List the identifiers of an identify, each once, in the order they are trusted."""
    wanted: list[Identifier] = []
    if is_present(message.get("userId")):
        wanted.append(user_identifier(message["userId"]))
    email = traits.get("email")
    if isinstance(email, str) and is_present(email):
        wanted.append(("email", email.lower()))
    if is_present(message.get("anonymousId")):
        wanted.append((ANONYMOUS, str(message["anonymousId"])))
    return list(dict.fromkeys(wanted))
