"""Figures and pages from runs: medians, ratios pair by pair, and how noisy the machine was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from loopback import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loopback import Counts
    from measure import Quiet, Usage

Figures = dict[str, Any]
"""What goes to the JSON file as it is."""

TITLES = {
    "csv": "backfill, CSV",
    "parquet": "backfill, Parquet",
    "users": "backfill, CSV of people (identify)",
    "per-row": "per-row script (csv, orjson, requests)",
    "official": "official Python client",
}
SHORT = {
    "csv": "backfill CSV",
    "parquet": "backfill Parquet",
    "per-row": "per-row script",
    "official": "official client",
}
VERSIONS = ("pyarrow", "orjson", "requests", "customerio-cdp-analytics")
RATIOS = (
    ("csv", "per-row"),
    ("parquet", "per-row"),
    ("csv", "official"),
    ("per-row", "official"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One entrant, once."""

    name: str
    pair: int
    rows: int
    usage: Usage
    counts: Counts
    quiet: Quiet
    sink_cpu_before_s: float

    def figures(self) -> Figures:
        """Everything, flat enough for a spreadsheet."""
        usage = asdict(self.usage) | {"cpu_s": self.usage.cpu_s}
        counts = asdict(self.counts)
        counts["cpu_s"] -= self.sink_cpu_before_s
        head = {"name": self.name, "pair": self.pair, "rows": self.rows}
        return head | usage | {"sink": counts} | {"machine": asdict(self.quiet)}


def progress(run: Run) -> str:
    """One line while the benchmark runs."""
    return (
        f"{run.pair:2} {run.name:8} {run.rows:>9,} rows {run.usage.wall_s:7.2f} s wall "
        f"{run.usage.cpu_s:7.2f} s CPU {run.usage.rss_bytes_max / 1e6:6.0f} MB "
        f"{run.counts.requests:>6,} requests   others {run.quiet.busy:4.0%}"
    )


def contest(runs: list[Run], *, start_up: dict[str, Run], rows: int) -> Figures:
    """Medians for each entrant and ratios for each pair of runs.

    Seconds per million messages are those of the whole process. Only an entrant that ran fewer rows
    than the others has its start-up taken off first, or it would weigh more on it than on them.
    """
    names = list(dict.fromkeys(run.name for run in runs))
    wall = {n: _per_million(runs, n, start_up[n], rows, of=lambda u: u.wall_s) for n in names}
    cpu = {n: _per_million(runs, n, start_up[n], rows, of=lambda u: u.cpu_s) for n in names}
    entrants = {
        name: {
            "rows": mine[0].rows,
            "messages_per_s": 1e6 / median(wall[name]),
            "wall_s_per_million": median(wall[name]),
            "cpu_s_per_million": median(cpu[name]),
            "rss_bytes_max": median(r.usage.rss_bytes_max for r in mine),
            "start_up_s": start_up[name].usage.wall_s,
            "requests": median(r.counts.requests for r in mine),
            "bytes_per_message": median(r.counts.bytes / r.counts.messages for r in mine),
        }
        for name in names
        if (mine := [r for r in runs if r.name == name])
    }
    ratios = {
        f"{SHORT[a]} / {SHORT[b]}": {
            "wall": _ratio(wall[a], wall[b]),
            "cpu": _ratio(cpu[a], cpu[b]),
        }
        for a, b in RATIOS
        if a in names and b in names
    }
    return _head(runs, rows) | {"entrants": entrants, "ratios": ratios} | _raw(runs)


def memory(runs: list[Run], *, rows: int) -> Figures:
    """Peak memory at rows and 3 x rows, and the speed between the two: start-up cancels out."""
    entrants: Figures = {}
    for name in dict.fromkeys(run.name for run in runs):
        small, large = (
            [r.usage for r in runs if r.name == name and r.rows == n] for n in (rows, 3 * rows)
        )
        rss = [float(u.rss_bytes_max) for u in small], [float(u.rss_bytes_max) for u in large]
        added_s = median(b.wall_s - a.wall_s for a, b in zip(small, large, strict=True))
        entrants[name] = {
            "rss_bytes_max": median(rss[0]),
            "rss_bytes_max_3x": median(rss[1]),
            "ratio": _ratio(rss[1], rss[0]),
            "messages_per_s_steady": 2 * rows / added_s if added_s > 0 else None,
        }
    return _head(runs, rows) | {"entrants": entrants} | _raw(runs)


def _per_million(
    runs: list[Run], name: str, start_up: Run, rows: int, *, of: Callable[[Usage], float]
) -> list[float]:
    """Seconds per million messages of each run of one entrant, in the order of the pairs."""
    mine = [run for run in runs if run.name == name]
    fixed_s = of(start_up.usage) if mine[0].rows < rows else 0.0
    seconds = [of(run.usage) - fixed_s for run in mine]
    if min(seconds) <= 0:
        raise BenchmarkError(f"{name} took no longer than its start-up: the machine is too noisy")
    return [s / run.rows * 1e6 for s, run in zip(seconds, mine, strict=True)]


def _ratio(mine: list[float], theirs: list[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return {"median": median(ratios), "min": min(ratios), "max": max(ratios)}


def _head(runs: list[Run], rows: int) -> Figures:
    loops = [run.quiet.loop_s for run in runs]
    busy = [run.quiet.busy for run in runs]
    return {
        "version": 1,
        "rows": rows,
        "pairs": max(run.pair for run in runs),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in VERSIONS},
        "noise": {
            "loop_s": {"min": min(loops), "median": median(loops), "max": max(loops)},
            "busy": {"min": min(busy), "median": median(busy), "max": max(busy)},
        },
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _raw(runs: list[Run]) -> Figures:
    return {"runs": [run.figures() for run in runs]}


def contest_page(figures: Figures) -> str:
    """Show a contest as Markdown."""
    head = ("", "messages/s", "wall, s/million", "CPU, s/million", "peak MB", "requests")
    rows = [
        (
            _title(name, figures),
            _round(e["messages_per_s"]),
            f"{e['wall_s_per_million']:.2f}",
            f"{e['cpu_s_per_million']:.2f}",
            f"{e['rss_bytes_max'] / 1e6:.0f}",
            f"{e['requests']:,.0f}",
            f"{e['bytes_per_message']:.0f}",
            f"{e['start_up_s']:.2f}",
        )
        for name, e in figures["entrants"].items()
    ]
    lines = table((*head, "bytes/message", "start-up s"), rows)
    ratios = [
        (names, _spread(r["wall"]), _spread(r["cpu"]), f"{1 / r['wall']['median']:.1f} x")
        for names, r in figures["ratios"].items()
    ]
    if ratios:
        lines += ["", *table(("ratio, pair by pair", "wall", "CPU", "as fast"), ratios)]
    return "\n".join([*lines, "", *_setting(figures)])


def memory_page(figures: Figures) -> str:
    """Show the peaks of memory as Markdown."""
    n = figures["rows"]
    head = ("peak memory", f"MB, {n:,} rows", f"MB, {3 * n:,} rows", "ratio", "messages/s between")
    rows = [
        (
            TITLES[name],
            f"{e['rss_bytes_max'] / 1e6:.0f}",
            f"{e['rss_bytes_max_3x'] / 1e6:.0f}",
            _spread(e["ratio"]),
            _round(e["messages_per_s_steady"]) if e["messages_per_s_steady"] else "-",
        )
        for name, e in figures["entrants"].items()
    ]
    return "\n".join([*table(head, rows), "", *_setting(figures)])


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table: the first column is text, the others are figures."""
    rule = ("---", *["---:"] * (len(head) - 1))
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _title(name: str, figures: Figures) -> str:
    title, rows = TITLES[name], figures["entrants"][name]["rows"]
    return title if rows == figures["rows"] else f"{title}, {rows:,} rows"


def _round(n: float) -> str:
    """Three digits are more than a shared machine can promise."""
    return f"{float(f'{n:.3g}'):,.0f}"


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.3g} ({ratio['min']:.3g}-{ratio['max']:.3g})"


def _setting(figures: Figures) -> list[str]:
    packages = ", ".join(f"{name} {v}" for name, v in figures["packages"].items() if v)
    loop_ms = " / ".join(f"{s * 1000:.0f}" for s in figures["noise"]["loop_s"].values())
    busy = " / ".join(f"{share:.0%}" for share in figures["noise"]["busy"].values())
    work = f"{figures['rows']:,} rows, medians of {figures['pairs']}"
    machine = f"{figures['cores']} cores, Python {figures['python']}, {packages}"
    noise = f"a fixed loop took {loop_ms} ms, others used {busy} of the cores"
    lines = [f"{work}; {machine}.", "", f"Noise before each run, min / median / max: {noise}."]
    if figures["pairs"] < 3 or figures["rows"] < 500_000:
        lines += ["", "A trial: too few rows or pairs for these ratios to mean anything."]
    return lines
