"""All shards on this machine, one after the other: order across files is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.shard import run_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.plan import Plan
    from backfill.shard import Progress, Run
    from backfill.watermark import Watermark


def run(
    plan: Plan, run_: Run, marks: dict[int, Watermark], stops: dict[int, int | None]
) -> Iterator[Progress]:
    """Run the shards that have a mark. stops: for each the row to stop before, None for all."""
    for shard in plan.shards:
        if shard.index not in marks or run_.stop.is_set():
            continue
        yield from run_shard(plan.job, shard, run_, marks[shard.index], row_stop=stops[shard.index])
