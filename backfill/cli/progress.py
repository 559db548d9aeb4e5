"""The progress bar: rows, rows/s, requests, rejects, ETA. On a terminal only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backfill.source import estimate_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.plan import Plan
    from backfill.shard import Counts


class Bar:
    """One bar a stream."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._bar: Any = None

    def watch(self, plan: Plan) -> Callable[[Counts], None]:
        """Return what is to be called after each step of this stream."""
        if not self._is_shown:
            return lambda _counts: None
        from tqdm import tqdm  # noqa: PLC0415  only where a bar is seen

        rows = [estimate_rows(shard.file) for shard in plan.shards]
        total = None if None in rows else sum(n for n in rows if n is not None)
        self._bar = tqdm(
            total=total,
            desc=plan.job.mapping.name,
            unit=" rows",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.5,
            leave=False,
        )
        return self._step

    def _step(self, counts: Counts) -> None:
        if self._bar.total is not None and counts.settled > self._bar.total:
            self._bar.total = None  # the estimate was too low: better none than a wrong one
        self._bar.set_postfix(requests=counts.sent, rejects=counts.rejected, refresh=False)
        self._bar.update(counts.settled - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
