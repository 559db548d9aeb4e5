"""Pure arithmetic of runs: medians, ratios pair by pair, exponents, and whether a target is met."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from loopback import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loopback import Counts
    from measure import Quiet, Usage

Figures = dict[str, Any]
"""What goes to a JSON file as it is."""

ByPair = dict[int, float]
"""A figure for each pair of runs."""

LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Run:
    """One entrant, once."""

    name: str
    pair: int
    rows: int
    usage: Usage
    counts: Counts | None
    """What arrived at the sink; None for a program that sends nothing."""
    quiet: Quiet
    sink_cpu_before_s: float = 0.0

    def figures(self) -> Figures:
        """Everything, flat enough for a spreadsheet."""
        usage = asdict(self.usage) | {"cpu_s": self.usage.cpu_s}
        del usage["output"]
        found = {"name": self.name, "pair": self.pair, "rows": self.rows} | usage
        if self.counts is not None:
            counts = asdict(self.counts)
            counts["cpu_s"] -= self.sink_cpu_before_s
            found["sink"] = counts
        return found | {"machine": asdict(self.quiet)}


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must be."""

    title: str
    limit: float
    is_least: bool = False
    """Whether the figure must be at least the limit; else at most."""
    unit: str = ""

    def judged(self, found: Figures | float) -> Figures:
        """Put a figure, or the median of a spread, beside the limit."""
        value = found["median"] if isinstance(found, dict) else found
        is_met = value >= self.limit if self.is_least else value <= self.limit
        return {
            "title": self.title,
            "limit": self.limit,
            "is_least": self.is_least,
            "unit": self.unit,
            "value": value,
            "spread": found if isinstance(found, dict) else None,
            "is_met": is_met,
        }


def wall(usage: Usage) -> float:
    """Return seconds from the start of a process to its end."""
    return usage.wall_s


def cpu(usage: Usage) -> float:
    """Return seconds of all its threads."""
    return usage.cpu_s


def peak(usage: Usage) -> float:
    """Return its highest resident size in bytes."""
    return float(usage.rss_bytes_max)


def of(runs: Iterable[Run], name: str, rows: int | None = None) -> list[Run]:
    """Return the runs of one entrant, in the order of the pairs."""
    found = [run for run in runs if run.name == name and rows in (None, run.rows)]
    return sorted(found, key=lambda run: run.pair)


def whole(runs: Iterable[Run], what: Callable[[Usage], float]) -> ByPair:
    """Return what each run took, from its start to its end."""
    return {run.pair: what(run.usage) for run in runs}


def after_start_up(
    runs: Iterable[Run], starts: Iterable[Run], what: Callable[[Usage], float], *, is_trial: bool
) -> ByPair:
    """Take the start-up off each run: what the entrant took for START_UP_ROWS in the same pair.

    Raises BenchmarkError where nothing is left: the machine is too noisy for so few rows. A trial
    goes on with LEAST_S, since its figures mean nothing anyway.
    """
    mine, first = whole(runs, what), whole(starts, what)
    found = {pair: value - first[pair] for pair, value in mine.items()}
    if min(found.values()) <= 0 and not is_trial:
        raise BenchmarkError("a run took no longer than its start-up: the machine is too noisy")
    return {pair: max(value, LEAST_S) for pair, value in found.items()}


def per(values: ByPair, count: float) -> ByPair:
    """Divide each by the same number, such as seconds by millions of messages."""
    return {pair: value / count for pair, value in values.items()}


def ratios(mine: ByPair, theirs: ByPair) -> list[float]:
    """Divide pair by pair, where both have run."""
    return [value / theirs[pair] for pair, value in mine.items() if pair in theirs]


def spread(values: Iterable[float]) -> Figures:
    """Return the median with the smallest and the largest."""
    values = list(values)
    return {"median": median(values), "min": min(values), "max": max(values)}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line through (log size, log value), by least squares: 1 is linear."""
    x, y = [math.log(v) for v in sizes], [math.log(v) for v in values]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return over / sum((a - x_mean) ** 2 for a in x)


def noise(runs: Iterable[Run]) -> Figures:
    """Say how noisy the machine was before the runs, and what the host took away during them."""
    runs = list(runs)
    found = [run.quiet for run in runs]
    return {
        "stolen": spread([run.usage.stolen for run in runs]),
        "loop_s": spread([quiet.loop_s for quiet in found]),
        "busy": spread([quiet.busy for quiet in found]),
    }
