"""Start-up: what `backfill --help` costs, and which heavy packages it imports."""

from __future__ import annotations

import re
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import page
from entrants import CACHE, START_UP_ROWS, Entrant
from figures import Target, cpu, of, spread, wall, whole

if TYPE_CHECKING:
    from arena import Arena
    from figures import Figures
    from scale import Scale

CPU_S = 0.15
HEAVY = ("pandas", "pyarrow", "numpy")
IMPORTED = re.compile(r"^import time:.*\|\s+([\w.]+)$", re.MULTILINE)


def heavy(output: str) -> list[str]:
    """Return which heavy packages `python -X importtime` tells of."""
    found = {name.partition(".")[0] for name in IMPORTED.findall(output)}
    return sorted(found & {*HEAVY})


def measured(arena: Arena, scale: Scale) -> Figures:
    """Ask for help a few times, and once with the imports told."""
    command = [sys.executable, "-m", "backfill", "--help"]
    bare = [sys.executable, "-c", "pass"]
    for pair in range(1, 2 * scale.pairs + 1):
        arena.script("python", bare, rows=0, pair=pair)
        arena.script("help", command, rows=0, pair=pair)
        _draw(arena, pair)
    telling = [sys.executable, "-X", "importtime", *command[1:]]
    told = arena.script("imports", telling, rows=0, pair=0).usage.output
    found = heavy(told)
    help_runs = [run.usage for run in arena.runs if run.name == "help"]
    took = spread(map(cpu, help_runs))
    return {
        "cpu_s": took,
        "wall_s": spread(map(wall, help_runs)),
        "python_cpu_s": spread(cpu(run.usage) for run in arena.runs if run.name == "python"),
        "pictures_cpu_s": spread(_more(arena)),
        "modules": len(IMPORTED.findall(told)),
        "heavy": found,
        "targets": [
            Target("`backfill --help`: CPU, interpreter included", CPU_S, unit=" s").judged(took),
            Target(f"`backfill --help`: of {', '.join(HEAVY)} imported", 0).judged(len(found)),
        ],
    }


def _draw(arena: Arena, pair: int) -> None:
    """Run a few rows without the pictures of report.html, and with them."""
    entrant = Entrant("csv", START_UP_ROWS)
    arena.prepare([entrant])
    with arena.sink() as sink, TemporaryDirectory(dir=CACHE, prefix="state-") as state:
        for drawn in ("no", "yes"):
            given = entrant.command(data=arena.data, port=sink.port, state=f"{state}/{drawn}")
            command = ["env", f"BACKFILL_PICTURES={drawn}", *given]
            arena.script(f"drawn {drawn}", command, rows=START_UP_ROWS, pair=pair)


def _more(arena: Arena) -> list[float]:
    """Return what the pictures cost, pair by pair."""
    plain, drawn = (whole(of(arena.runs, f"drawn {one}"), cpu) for one in ("no", "yes"))
    return [drawn[pair] - took for pair, took in plain.items()]


def told(figures: Figures) -> list[str]:
    """Return what there is to say beside the targets."""
    heavy_words = ", ".join(figures["heavy"]) or "none of the heavy packages"
    rows = [
        ("CPU, s", page.spread_text(figures["cpu_s"])),
        ("wall, s", page.spread_text(figures["wall_s"])),
        ("of it a bare interpreter, CPU s", page.spread_text(figures["python_cpu_s"])),
        ("the pictures of report.html, CPU s more", page.spread_text(figures["pictures_cpu_s"])),
        ("modules imported", str(figures["modules"])),
        ("heavy ones", heavy_words),
    ]
    return page.table(("`backfill --help`", ""), rows)
