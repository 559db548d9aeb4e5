"""What a run changed: people and objects it made, people it changed, events beside the run before.

People who are there from an earlier run keep what they were before this one (`changes`); what they
were after it is what the next run found, or what they are now.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backfill.sandbox.lists import PAGE, people_of
from backfill.sandbox.people import name_of

if TYPE_CHECKING:
    import sqlite3

Diff = list[tuple[str, str | None, str | None]]
"""Traits that differ: name, value before and after as JSON text, None where there was none."""


def runs(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Read all runs, the last first: {pk, run_id, stream, began_at, messages, new, changed}."""
    query = (
        "SELECT pk, run_id, stream, began_at,"
        " (SELECT sum(n) FROM tallies JOIN sources ON sources.pk = source WHERE run = runs.pk),"
        " (SELECT count(*) FROM people WHERE run = runs.pk),"
        " (SELECT count(*) FROM changes WHERE run = runs.pk)"
        " FROM runs ORDER BY pk DESC"
    )
    names = ("pk", "run_id", "stream", "began_at", "messages", "new", "changed")
    return [dict(zip(names, row, strict=True)) for row in db.execute(query)]


def run(db: sqlite3.Connection, pk: int) -> dict[str, Any] | None:
    """Read one run, with its files and the run of the same stream before it (`before`), or None."""
    query = "SELECT pk, run_id, stream, mapping, began_at FROM runs WHERE pk = ?"
    row = db.execute(query, (pk,)).fetchone()
    if row is None:
        return None
    found = dict(zip(("pk", "run_id", "stream", "mapping", "began_at"), row, strict=True))
    query = "SELECT DISTINCT file FROM sources WHERE run = ? AND file <> '' ORDER BY pk"
    found["files"] = [file for (file,) in db.execute(query, (pk,))]
    query = "SELECT max(pk) FROM runs WHERE pk < ? AND stream = ?"
    (found["before"],) = db.execute(query, (pk, found["stream"])).fetchone()
    for name, table in (("new", "people"), ("objects", "objects"), ("changed", "changes")):
        query = f"SELECT count(*) FROM {table} WHERE run = ?"  # noqa: S608  our own tables
        (found[name],) = db.execute(query, (pk,)).fetchone()
    return found


def messages(db: sqlite3.Connection, pk: int, before: int | None) -> list[dict[str, Any]]:
    """Count the messages of a run by type and name: {type, event, n, n_before}."""
    query = (
        "SELECT type, event, sum(n * (run = :run)), sum(n * (run = :before)) FROM tallies"
        " JOIN sources ON sources.pk = source WHERE run IN (:run, :before)"
        " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    )
    names = ("type", "event", "n", "n_before")
    rows = db.execute(query, {"run": pk, "before": before or 0})
    return [dict(zip(names, row, strict=True)) for row in rows]


def new_people(
    db: sqlite3.Connection, run: int, after: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Read people that a run made, from the one after the number `after`."""
    query = "SELECT pk, traits, updated FROM people WHERE run = ? AND pk > ? ORDER BY pk LIMIT ?"
    return people_of(db, query, (run, after, PAGE + 1))


def changed_people(
    db: sqlite3.Connection, run: int, after: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Read people that a run changed: {pk, name, what, diff}, and where the list goes on."""
    query = (
        "SELECT person, what, name, before FROM changes WHERE run = ? AND person > ?"
        " ORDER BY person LIMIT ?"
    )
    found = db.execute(query, (run, after, PAGE + 1)).fetchall()
    shown = []
    for pk, what, name, before in found[:PAGE]:
        diff = difference(before, _after(db, run, pk)) if what == "changed" else []
        is_there = what == "changed" and name_of(db, pk) is not None
        told = {"pk": pk, "name": name or name_of(db, pk), "what": what, "diff": diff}
        shown.append(told | {"is_there": is_there})
    return shown, shown[-1]["pk"] if len(found) > PAGE else None


def difference(before: str, after: str) -> Diff:
    """Compare two sets of traits, given as JSON texts."""
    old, new = json.loads(before), json.loads(after)
    return [
        (name, _text(old, name), _text(new, name))
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or old[name] != new[name]
    ]


def _text(traits: dict[str, Any], name: str) -> str | None:
    return json.dumps(traits[name], ensure_ascii=False) if name in traits else None


def _after(db: sqlite3.Connection, run: int, person: int) -> str:
    """Return the traits a run left: what the next one found, or what they are."""
    query = "SELECT before FROM changes WHERE person = ? AND run > ? ORDER BY run LIMIT 1"
    row = db.execute(query, (person, run)).fetchone()
    if row is None:
        row = db.execute("SELECT traits FROM people WHERE pk = ?", (person,)).fetchone()
    return "{}" if row is None else str(row[0])
