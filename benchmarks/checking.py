"""`check` against reading and encoding alone (drive.py), both after their start-up."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import page
from entrants import CACHE, HERE, START_UP_ROWS, Entrant
from figures import Target, after_start_up, cpu, of, ratios, spread, wall

if TYPE_CHECKING:
    from arena import Arena
    from figures import Figures
    from scale import Scale

RATIO = 1.2
WORK = {"CSV": ("csv",), "Parquet": ("parquet",), "CSV, joined with people": ("users", "csv")}
"""What is checked together. Where people are there, `check` looks whom each event would reach."""


def measured(arena: Arena, scale: Scale) -> Figures:
    """Run both in turn."""
    names = {name for work in WORK.values() for name in work}
    arena.prepare(Entrant(n, _rows(n, scale.rows_large)) for n in sorted(names))
    with TemporaryDirectory(dir=CACHE, prefix="check-") as folder:
        for pair in range(1, scale.pairs_slow + 1):
            for title, work in WORK.items():
                for rows in (START_UP_ROWS, scale.rows_large):
                    entrants = [Entrant(name, _rows(name, rows)) for name in work]
                    for kind, command in _commands(entrants, arena.data, Path(folder)).items():
                        arena.script(f"{kind} {title}", command, rows=rows, pair=pair)
    found: dict[str, Any] = {}
    targets = []
    for title in WORK:
        one = _compared(arena, scale, title)
        found[title] = one
        words = f"{title}: `check` of {scale.rows_large:,} rows / reading and encoding them"
        # wall alone would praise a check on two threads for what one thread takes to encode
        targets.append(Target(f"{words}, wall", RATIO).judged(one["wall"]))
        targets.append(Target(f"{words}, CPU", RATIO).judged(one["cpu"]))
    return {"rows": scale.rows_large, "work": found, "targets": targets}


def _rows(name: str, rows: int) -> int:
    """Return fewer people than events: each has several."""
    return max(rows // 10, START_UP_ROWS) if name == "users" else rows


def _commands(entrants: list[Entrant], data: Path, folder: Path) -> dict[str, list[str]]:
    """Return both commands. The mappings are copies that name the files: --source is but one."""
    copies: list[str] = []
    pairs: list[str] = []
    for entrant in entrants:
        source, mapping = entrant.source(data), HERE / "mappings" / entrant.mapping
        text = mapping.read_text(encoding="utf-8")
        lines = [
            f"  path: {source}" if line.startswith("  path: ") else line
            for line in text.splitlines()
        ]
        copy = folder / f"{entrant.rows}-{entrant.mapping}"
        copy.write_text("\n".join(lines) + "\n", encoding="utf-8")
        copies.append(str(copy))
        pairs += [str(source), str(copy)]
    return {
        "check": [sys.executable, "-m", "backfill", "check", *copies],
        "drive": [sys.executable, str(HERE / "drive.py"), *pairs],
    }


def _compared(arena: Arena, scale: Scale, title: str) -> Figures:
    found = {}
    for key, what in (("wall", wall), ("cpu", cpu)):
        check, drive = (
            after_start_up(
                of(arena.runs, f"{kind} {title}", scale.rows_large),
                of(arena.runs, f"{kind} {title}", START_UP_ROWS),
                what,
                is_trial=scale.is_trial,
            )
            for kind in ("check", "drive")
        )
        found[key] = spread(ratios(check, drive))
        found[f"check_{key}_s"] = spread(check.values())
        found[f"drive_{key}_s"] = spread(drive.values())
    return found


def told(figures: Figures) -> list[str]:
    """Return the table."""
    head = (f"{figures['rows']:,} rows", "check, s", "read and encode, s", "wall", "CPU")
    rows = [
        (
            title,
            *(page.spread_text(one[k]) for k in ("check_wall_s", "drive_wall_s", "wall", "cpu")),
        )
        for title, one in figures["work"].items()
    ]
    return page.table(head, rows)
