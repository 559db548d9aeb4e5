"""Whether a state fits the run that is asked for: go on with it, begin, or refuse. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backfill.errors import MismatchError

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.checkpoint import State
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


def _changed(state: State, plan: Plan) -> str:
    before = {f.path: f for f in state.files}
    told = []
    for shard in plan.shards:
        old = before.pop(shard.file.path, None)
        if old is None:
            told.append(f"{shard.file.path} is new")
        elif old.size_bytes != shard.file.size_bytes:
            told.append(f"{old.path} had {old.size_bytes:,} bytes, has {shard.file.size_bytes:,}")
        elif old.sha256 != shard.file.sha256:
            told.append(f"{old.path} has the same size but another content")
    told += [f"{path} is gone" for path in before]
    return "; ".join(told) or "its files are in another order"


def is_at_limit(state: State, limit: int | None) -> bool:
    """Whether the first `limit` rows are settled already."""
    return (
        limit is not None
        and sum(f.rows for f in state.files) >= limit
        and (state.counts.settled >= limit)
    )
