"""A far side that is slower than us: answers after tens of milliseconds, or 429 above a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import page
from entrants import Entrant
from figures import Target, cpu, spread
from loopback import Manner

if TYPE_CHECKING:
    from arena import Arena
    from figures import Figures, Run
    from scale import Scale

CONNECTIONS = (1, 2, 4, 8, 16)
RATIO = 0.9
ROWS_SMALL = 5_000


@dataclass(frozen=True, slots=True)
class Side:
    """A far side, and what is asked of it."""

    title: str
    manner: Manner

    def entrants(self, rows: int) -> dict[str, Entrant]:
        """Return one entrant for each setting, by its words."""
        fixed = {f"{n}": Entrant("csv", rows, ("--connections", str(n))) for n in CONNECTIONS}
        return {**fixed, "default": Entrant("csv", rows)}


SIDES = (
    Side("20 ms", Manner(delay_ms=20)),
    Side("100 ms", Manner(delay_ms=100)),
    Side("20 ms, 429 above 4 at a time", Manner(delay_ms=20, waiting_limit=4)),
    Side("100 ms, 429 above 6 at a time", Manner(delay_ms=100, waiting_limit=6)),
)


def measured(arena: Arena, scale: Scale) -> Figures:
    """Scan the settings once, then run the default and the best of them in turn."""
    rows = ROWS_SMALL if scale.is_small else scale.rows
    sides = SIDES[2:3] if scale.is_small else SIDES
    arena.prepare([Entrant("csv", rows)])
    found: dict[str, Any] = {}
    targets = []
    for side in sides:
        one = _side(arena, side, rows, scale)
        found[side.title] = one
        words = f"far side, {side.title}: events/s by default / the best setting ({one['best']})"
        targets.append(Target(words, RATIO, is_least=True).judged(one["ratio"]))
    return {"rows": rows, "sides": found, "targets": targets}


def _side(arena: Arena, side: Side, rows: int, scale: Scale) -> Figures:
    entrants = side.entrants(rows)
    if scale.is_small:
        entrants = {name: entrants[name] for name in ("4", "default")}
    with arena.sink(side.manner) as sink:
        scanned = {
            name: arena.run(entrant, pair=0, sink=sink) for name, entrant in entrants.items()
        }
        fixed = [name for name in scanned if name != "default"]
        best = min(fixed, key=lambda name: scanned[name].usage.wall_s)
        ratio = []
        for pair in range(1, scale.pairs_slow + 1):
            mine = arena.run(entrants["default"], pair=pair, sink=sink)
            theirs = arena.run(entrants[best], pair=pair, sink=sink)
            ratio.append(theirs.usage.wall_s / mine.usage.wall_s)
    return {
        "settings": {name: _setting(run) for name, run in scanned.items()},
        "best": f"--connections {best}",
        "ratio": spread(ratio),
    }


def _setting(run: Run) -> Figures:
    """Whole process: at these speeds start-up is little, and ramping up is part of the figure."""
    assert run.counts is not None
    return {
        "events_per_s": run.rows / run.usage.wall_s,
        "cpu_s": cpu(run.usage),
        "requests": run.counts.requests,
        "limited": run.counts.limited,
        "waiting_max": run.counts.waiting_max,
        "connections": run.counts.connections,
    }


def told(figures: Figures) -> list[str]:
    """Return a row for each far side and setting of connections."""
    names = list(next(iter(figures["sides"].values()))["settings"])
    rows = [
        (
            title,
            *(
                page.rounded(one["settings"][name]["events_per_s"])
                + (f" ({n:,} × 429)" if (n := one["settings"][name]["limited"]) else "")
                for name in names
            ),
            page.spread_text(one["ratio"]),
        )
        for title, one in figures["sides"].items()
    ]
    return page.table(("events/s, connections:", *names, "default / best"), rows)
