"""Measure backfill against the floor, against its peers and against its own targets.

    python benchmarks/run.py [PART …] [--all] [--small] [--rows 1000000] [--pairs 5] [--out DIR]

Parts: contest (the default), memory, start-up, check, resume, shapes, growth, far. Makes the seeded
data once in .bench/ (git-ignored), builds the C sink and the C sender, and runs everything in turn,
pairs times over: a fresh process each, the sink reset before and its counts checked after. Prints
Markdown with each target met or not met; writes it and every single run as JSON to --out, which
publish.py turns into the README's table and the pictures. Exits 1 when any count is wrong, any
entrant fails, or any takes too long; a target that is not met is a figure, not a failure. Load goes
to 127.0.0.1 only.

This process stays small on purpose (see measure.py): only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import checking
import contest
import far
import page
import resuming
import shapes
import sizes
import startup
from arena import Arena, tell
from entrants import CACHE, START_UP_ROWS, TITLES, lacking
from figures import noise
from loopback import BenchmarkError, build
from measure import Patience
from scale import FULL, SMALL, Scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from figures import Figures

VERSION = 2
"""Of the JSON files."""

PATIENT = Patience(once_s=5.0, left_s=240.0)
HASTY = Patience(once_s=0.0, left_s=0.0)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is measured, and how it is told."""

    title: str
    measured: Callable[[Arena, Scale], Figures]
    told: Callable[[Figures], list[str]]


def parts(names: list[str]) -> dict[str, Part]:
    """Return all parts by name. names: the entrants of the contest."""
    return {
        "contest": Part(
            "Contest", lambda arena, scale: contest.measured(arena, scale, names), contest.told
        ),
        "start-up": Part("Start-up", startup.measured, startup.told),
        "memory": Part("Memory", sizes.memory, sizes.told_memory),
        "check": Part("Check", checking.measured, checking.told),
        "shapes": Part("Shapes of mappings", shapes.measured, shapes.told),
        "far": Part("A slow far side", far.measured, far.told),
        "growth": Part("Growth", sizes.growth, sizes.told_growth),
        "resume": Part("Resuming", resuming.measured, resuming.told),
    }


PARTS = tuple(parts([]))


def measured(name: str, part: Part, scale: Scale, patience: Patience) -> Figures:
    """Run one part in an arena of its own."""
    arena = Arena(patience)
    found = part.measured(arena, scale)
    return {
        "version": VERSION,
        "part": name,
        "pairs": max(run.pair for run in arena.runs),
        "is_trial": scale.is_trial,
        "setting": page.setting(),
        "noise": noise(arena.runs),
        **found,
        "runs": [run.figures() for run in arena.runs],
    }


def markdown(part: Part, figures: Figures) -> str:
    """Tell one part."""
    targets = page.target_rows(figures["targets"], is_trial=figures["is_trial"])
    lines = [f"## {part.title}", "", *part.told(figures), *targets]
    return "\n".join([*lines, *page.setting_lines(figures), ""])


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Compare backfill with the floor, its peers and its targets on loopback."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}")
    parser.add_argument("--all", action="store_true", help="every part")
    parser.add_argument("--small", action="store_true", help="every part, small: only a trial")
    parser.add_argument("--rows", type=int, default=FULL.rows, help="rows, where not 5 or 10 x")
    parser.add_argument("--pairs", type=int, default=FULL.pairs, help="how often each runs")
    parser.add_argument("--out", type=Path, default=CACHE / "results", help="folder of the results")
    parser.add_argument(
        "--only", choices=tuple(TITLES), action="append", help="entrants of the contest; repeatable"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.rows < 10 * START_UP_ROWS or options.pairs < 1:
        parser.error(f"at least {10 * START_UP_ROWS:,} rows and 1 pair")
    if not options.parts:
        options.parts = list(PARTS) if options.all or options.small else ["contest"]
    return options


def refused(names: list[str]) -> int:
    """Say why entrants that were asked for by name cannot run; 1 where there is one."""
    found = {name: why for name in names if (why := lacking(name))}
    for name, why in found.items():
        tell(f"{name}: {why}")
    return 1 if found else 0


def main() -> int:
    """Run what the arguments ask for."""
    options = arguments()
    scale = SMALL if options.small else Scale(options.rows, options.pairs)
    patience = HASTY if options.small else PATIENT
    if refused(options.only or []):
        return 1
    every = parts(options.only or list(TITLES))
    options.out.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    try:
        CACHE.mkdir(exist_ok=True)
        for program in ("sink", "send"):
            build(program, CACHE)
        for name in options.parts:
            figures = measured(name, every[name], scale, replace(patience))
            text = markdown(every[name], figures)
            (options.out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
            (options.out / f"{name}.md").write_text(text, encoding="utf-8")
            print(text, flush=True)
            failed += figures.get("failed", [])
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
