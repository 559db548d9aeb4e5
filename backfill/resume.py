"""Whether a state fits the run that is asked for: go on with it, begin, or refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.delivered import Picked, delivered_before, pick, place_of, with_hashes
from backfill.errors import MismatchError
from backfill.source import Place, begins_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backfill.checkpoint import State
    from backfill.mapping import Mapping
    from backfill.plan import Plan

REHEARSAL: Final = "sandbox"
"""The destination's name when it is the embedded sandbox: its state gives way to a real one."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a run finds."""

    state: State | None
    """The one to go on with; None to begin."""
    before: State | None
    """That of the run before one that begins."""
    picked: Picked


def past_of(
    before: State | None,
    plan: Plan,
    where: Path,
    *,
    is_new_only: bool,
    heed: Callable[[], None],
) -> tuple[Plan, Past]:
    """Return the plan of the files that are to be read, and the state that it goes on with.

    heed: called now and then while files are hashed. Raises MismatchError where the state fits
    neither a begin nor a resume.
    """
    picked = pick(list(plan.found), before, where.parent, is_new_only=is_new_only, watch=heed)
    known = [*delivered_before(where.parent, before), *before.files] if before else []
    plan = plan.only(with_hashes(picked.files, known, heed))
    state = fitting(before, plan, where)
    plan = _placed(plan, state)
    return plan, Past(state, before if state is None else None, picked)


def _placed(plan: Plan, state: State | None) -> Plan:
    """Return the plan whose files are read from where the state knows a row to begin."""
    if state is None or state.is_finished:
        return plan
    shards = [
        replace(shard, file=replace(shard.file, place=Place.load(file.place)))
        for shard, file in zip(plan.shards, state.files, strict=True)
    ]
    return replace(plan, shards=tuple(shards))


def same_destination(state: State | None, destination: str, where: Path) -> State | None:
    """Return the state of this destination; a rehearsal's gives way. Raises MismatchError."""
    if state is None or state.destination == destination:
        return state
    if state.destination == REHEARSAL:
        return None
    what = f"this state is of a run to {state.destination}, not to {destination}"
    fix = "give the other destination a --state of its own, or --restart to forget this one"
    raise MismatchError(what, where=where, fix=fix)


def fitting(state: State | None, plan: Plan, where: Path) -> State | None:
    """Return the state to go on with, None to begin. Raises MismatchError: neither is right.

    A finished state is gone on with where there is nothing new.
    """
    if state is None:
        return None
    if state.is_finished:
        if not _is_new(state, plan):
            return state
        _check_begins(state, plan, where)
        return None
    if not _is_same_source(state, plan):
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


def _is_same_source(state: State, plan: Plan) -> bool:
    now = [(shard.file.sha256, shard.file.size_bytes) for shard in plan.shards]
    return now == [(f.sha256, f.size_bytes) for f in state.files]


def _is_new(state: State, plan: Plan) -> bool:
    """Whether a run would send anything that the finished one has not."""
    document = plan.job.mapping.document
    if document.source.files == "new":
        return bool(plan.shards)
    # what another meaning of the mapping makes of the same rows differs from what is known of them
    is_other = document.mode == "changed" and state.mapping != plan.job.mapping.fingerprint
    return is_other or not _is_same_source(state, plan)


def identity_of(mapping: Mapping) -> str:
    """Return what the message ids of events depend on, beside the rows; of updates, nothing.

    While it stays the same, a row that was delivered has the same ids in every later run.
    """
    ids = [(at, message.type, repr(message.messageId)) for at, message in _events(mapping)]
    return json.dumps([list(mapping.key), ids], ensure_ascii=False)


def has_events(mapping: Mapping) -> bool:
    """Whether a mapping sends messages that are no updates: their ids outlive its changes."""
    return bool(_events(mapping))


def _events(mapping: Mapping) -> list[tuple[int, Any]]:
    """The messages that are no updates: sent twice under two ids, they count twice."""
    numbered = enumerate(mapping.document.messages)
    return [(at, one) for at, one in numbered if not spec.TYPES[one.type].is_ordered]


def _check_begins(state: State, plan: Plan, where: Path) -> None:
    """Raise MismatchError where a new run would double the events of the finished one.

    Every row of a changed source is sent, those delivered before among them. Under the ids they
    had that is no harm, so it is refused where they would get others. Of new files, rows that were
    delivered can only be in one that has changed; of `since`, rows that are known are left out.
    """
    mapping = plan.job.mapping
    events = _events(mapping)
    if not events:
        return
    document = mapping.document
    is_new_only = document.source.files == "new"
    if is_new_only and not _grown(state, plan, folder=where.parent):
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
    if (document.mode == "since" and state.watermark) or is_new_only:
        return  # a file that changed is sent whole on purpose, and `delivered.doubling` says so
    if told := _grown(state, plan, folder=None):
        what = (
            f"the source has changed since the run that finished ({told}), and without key: in the"
            " mapping every row would get another message id: rows that were delivered would be"
            " doubled"
        )
        raise MismatchError(what, where=where, fix=fix)


def _grown(state: State, plan: Plan, *, folder: Path | None) -> str:
    """Say which files may hold rows that were delivered from a file of another content.

    folder: the stream's, where the files of all its runs count; None: those of the last one.
    """
    files = state.files if folder is None else delivered_before(folder, state)
    kept = {shard.file.sha256 for shard in plan.shards}
    gone = [old for old in files if old.sha256 not in kept and (old.rows or folder)]
    known = {old.sha256 for old in files}
    told = []
    for shard in plan.shards:
        file = shard.file
        if file.sha256 in known:
            continue
        for old in gone:
            is_there = place_of(old.path) == place_of(file.path)
            if is_there or begins_with(file, old.size_bytes, old.sha256):
                sizes = f"had {old.size_bytes:,} bytes, {file.path} has {file.size_bytes:,}"
                told.append(f"{old.path} {sizes}")
    return "; ".join(told)


def _changed(state: State, plan: Plan) -> str:
    before = {place_of(f.path): f for f in state.files}
    told = []
    for shard in plan.shards:
        old = before.pop(place_of(shard.file.path), None)
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
