"""Memory and growth: the same work with more and more rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import page
from entrants import START_UP_ROWS, Entrant
from figures import Target, after_start_up, exponent, of, peak, spread, wall
from measure import LOOK_S

if TYPE_CHECKING:
    from arena import Arena
    from figures import Figures
    from scale import Scale

FORMATS = {"csv": "CSV", "parquet": "Parquet"}
PEAK_MB = 256
PEAK_RATIO = 1.15
EXPONENT = 1.03
OFTEN_S = 0.1
"""How often memory is looked at where no time is judged."""


def _run(arena: Arena, sizes: list[int], pairs: int, look_s: float) -> None:
    entrants = [Entrant(name, rows) for name in FORMATS for rows in sizes]
    arena.prepare(entrants)
    with arena.sink() as sink:
        for pair in range(1, pairs + 1):
            for entrant in entrants:
                arena.run(entrant, pair=pair, sink=sink, look_s=look_s)


def memory(arena: Arena, scale: Scale) -> Figures:
    """Peak memory at two sizes, ten times apart."""
    sizes = [scale.rows, scale.rows_huge]
    _run(arena, sizes, scale.pairs_slow, OFTEN_S)
    entrants: dict[str, Any] = {}
    targets = []
    for name, title in FORMATS.items():
        small, large = ([peak(r.usage) / 1e6 for r in of(arena.runs, name, n)] for n in sizes)
        ratio = [b / a for a, b in zip(small, large, strict=True)]
        entrants[name] = {
            "title": f"backfill, {title}",
            "peak_mb": [spread(small), spread(large)],
            "ratio": spread(ratio),
        }
        limit = Target(f"{title}: peak memory at any number of rows", PEAK_MB, unit=" MB")
        targets.append(limit.judged(max(small + large)))
        same = Target(f"{title}: peak at {sizes[1]:,} rows / at {sizes[0]:,}", PEAK_RATIO)
        targets.append(same.judged(spread(ratio)))
    return {"sizes": sizes, "entrants": entrants, "targets": targets}


def told_memory(figures: Figures) -> list[str]:
    """Return the table of the peaks."""
    small, large = figures["sizes"]
    head = ("peak memory", f"MB, {small:,} rows", f"MB, {large:,} rows", "ratio")
    rows = [
        (one["title"], *map(page.spread_text, one["peak_mb"]), page.spread_text(one["ratio"]))
        for one in figures["entrants"].values()
    ]
    return page.table(head, rows)


def growth(arena: Arena, scale: Scale) -> Figures:
    """Time against rows, a tenth to ten times as many; the start-up of each pair is taken off."""
    between = [] if scale.is_small else [scale.rows * 3 // 10, scale.rows * 3]
    sizes = sorted([scale.rows // 10, scale.rows, scale.rows_huge, *between])
    _run(arena, [START_UP_ROWS, *sizes], scale.pairs_slow, LOOK_S)
    entrants: dict[str, Any] = {}
    targets = []
    for name, title in FORMATS.items():
        starts = of(arena.runs, name, START_UP_ROWS)
        seconds = [
            spread(
                after_start_up(
                    of(arena.runs, name, n), starts, wall, is_trial=scale.is_trial
                ).values()
            )
            for n in sizes
        ]
        peaks = [spread(peak(r.usage) / 1e6 for r in of(arena.runs, name, n)) for n in sizes]
        found = exponent(sizes, [one["median"] for one in seconds])
        entrants[name] = {
            "title": f"backfill, {title}",
            "seconds": seconds,
            "peak_mb": peaks,
            "start_up_s": spread(wall(run.usage) for run in starts),
            "exponent": found,
        }
        words = f"{title}: exponent of growth, {sizes[0]:,} to {sizes[-1]:,} rows, after start-up"
        targets.append(Target(words, EXPONENT).judged(found))
    return {"sizes": sizes, "entrants": entrants, "targets": targets}


def told_growth(figures: Figures) -> list[str]:
    """Return the table of the sizes."""
    head = ("rows", *(f"{one['title']}, s" for one in figures["entrants"].values()), "MB")
    rows = [
        (
            f"{size:,}",
            *(page.spread_text(one["seconds"][at]) for one in figures["entrants"].values()),
            " / ".join(
                f"{one['peak_mb'][at]['median']:.0f}" for one in figures["entrants"].values()
            ),
        )
        for at, size in enumerate(figures["sizes"])
    ]
    return page.table(head, rows)
