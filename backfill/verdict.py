"""When a run is stopped because its mapping is wrong, not its rows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.errors import RejectsError

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.shard import Counts

FIRST_BATCHES = 3
PERCENT_AFTER = 1_000


def check_first(refused_whole: list[bool], mapping: str, rejects: Path) -> None:
    """Raise RejectsError where the first batches were refused entirely."""
    if len(refused_whole) == FIRST_BATCHES and all(refused_whole):
        raise RejectsError(
            f"the first {FIRST_BATCHES} batches were refused entirely: the mapping is wrong",
            where=mapping,
            fix=f"read the reasons in {rejects}, correct the mapping, then --restart",
        )


def check_rejects(
    counts: Counts, allowed: str | None, rejects: Path, *, is_over: bool = False
) -> None:
    """Raise RejectsError over the limit; a share counts once enough rows are settled, or all."""
    if allowed is None or not counts.rejected:
        return
    if allowed.endswith("%"):
        share = 100 * counts.rejected / counts.settled
        is_enough = is_over or counts.settled >= PERCENT_AFTER
        is_too_many = is_enough and share > float(allowed[:-1])
    else:
        is_too_many = counts.rejected > int(allowed)
    if is_too_many:
        raise RejectsError(
            f"{counts.rejected:,} rows are rejected, more than --max-rejects {allowed}",
            where=rejects,
            fix="read the reasons there; the same command with a higher limit goes on",
        )
