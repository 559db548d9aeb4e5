"""Whether a state fits the run that is asked for: go on with it, begin, or refuse."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.errors import MismatchError
from backfill.mapping.uri import is_uri
from backfill.source import begins_with

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.checkpoint import State
    from backfill.mapping import Mapping
    from backfill.plan import Plan

REHEARSAL: Final = "sandbox"
"""The destination's name when it is the embedded sandbox: its state gives way to a real one."""


def fitting(state: State | None, plan: Plan, destination: str, where: Path) -> State | None:
    """Return the state to go on with, None to begin. Raises MismatchError: neither is right."""
    if state is None:
        return None
    if state.destination != destination:
        if state.destination == REHEARSAL:
            return None
        what = f"this state is of a run to {state.destination}, not to {destination}"
        fix = "give the other destination a --state of its own, or --restart to forget this one"
        raise MismatchError(what, where=where, fix=fix)
    now = [(shard.file.sha256, shard.file.size_bytes) for shard in plan.shards]
    is_same_source = now == [(f.sha256, f.size_bytes) for f in state.files]
    if state.is_finished:
        if not is_same_source:
            _check_begins(state, plan, where)
        return state if is_same_source else None
    if not is_same_source:
        raise MismatchError(
            f"the run is not finished, and its source has changed: {_changed(state, plan)}",
            where=where,
            fix="put the source back and run again to resume, or --restart to send all again",
        )
    if state.mapping != plan.job.mapping.fingerprint:
        raise MismatchError(
            "the run is not finished, and the meaning of its mapping has changed",
            where=plan.job.mapping.path,
            fix="put the mapping back and run again to resume, or --restart to send all again",
        )
    return state


def identity_of(mapping: Mapping) -> str:
    """Return what the message ids of events depend on, beside the rows; of updates, nothing.

    While it stays the same, a row that was delivered has the same ids in every later run.
    """
    ids = [(at, message.type, repr(message.messageId)) for at, message in _events(mapping)]
    return json.dumps([list(mapping.key), ids], ensure_ascii=False)


def _events(mapping: Mapping) -> list[tuple[int, Any]]:
    """The messages that are no updates: sent twice under two ids, they count twice."""
    numbered = enumerate(mapping.document.messages)
    return [(at, one) for at, one in numbered if not spec.TYPES[one.type].is_ordered]


def _check_begins(state: State, plan: Plan, where: Path) -> None:
    """Raise MismatchError where a new run would double the events of the finished one.

    Every row of a changed source is sent, those delivered before among them. Under the ids they
    had that is no harm, so it is refused where they would get others.
    """
    mapping = plan.job.mapping
    events = _events(mapping)
    if not events:
        return
    fix = "--restart to send all rows as new messages, or put the new rows in a file of their own"
    is_same = state.mapping == mapping.fingerprint
    if state.identity:
        is_same = state.identity == identity_of(mapping)
    if not is_same:
        what = (
            "the source has changed since the run that finished, and so has what the mapping"
            " makes message ids of: rows that were delivered would be doubled"
        )
        raise MismatchError(what, where=mapping.path, fix=fix)
    if mapping.key or all(one.messageId is not None for _, one in events):
        return
    if told := _grown(state, plan):
        what = (
            f"the source has changed since the run that finished ({told}), and without key: in the"
            " mapping every row would get another message id: rows that were delivered would be"
            " doubled"
        )
        raise MismatchError(what, where=where, fix=fix)


def _grown(state: State, plan: Plan) -> str:
    """Say which files may hold rows that were delivered from a file of another content."""
    kept = {shard.file.sha256 for shard in plan.shards}
    gone = [old for old in state.files if old.sha256 not in kept and old.rows]
    known = {old.sha256 for old in state.files}
    told = []
    for shard in plan.shards:
        file = shard.file
        if file.sha256 in known:
            continue
        for old in gone:
            is_there = _place(old.path) == _place(file.path)
            if is_there or begins_with(file, old.size_bytes, old.sha256):
                sizes = f"had {old.size_bytes:,} bytes, {file.path} has {file.size_bytes:,}"
                told.append(f"{old.path} {sizes}")
    return "; ".join(told)


def _place(path: str) -> str:
    """A path as it is the same from wherever the command is given in one folder."""
    return path if is_uri(path) else os.path.abspath(path)  # noqa: PTH100  a link is a place of its own


def _changed(state: State, plan: Plan) -> str:
    before = {_place(f.path): f for f in state.files}
    told = []
    for shard in plan.shards:
        old = before.pop(_place(shard.file.path), None)
        if old is None:
            told.append(f"{shard.file.path} is new")
        elif old.size_bytes != shard.file.size_bytes:
            told.append(f"{old.path} had {old.size_bytes:,} bytes, has {shard.file.size_bytes:,}")
        elif old.sha256 != shard.file.sha256:
            told.append(f"{old.path} has the same size but another content")
    told += [f"{old.path} is gone" for old in before.values()]
    return "; ".join(told) or "its files are in another order"


def is_at_limit(state: State, limit: int | None) -> bool:
    """Whether the first `limit` rows are settled already."""
    return (
        limit is not None
        and sum(f.rows for f in state.files) >= limit
        and (state.counts.settled >= limit)
    )
