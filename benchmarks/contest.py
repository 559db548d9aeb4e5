"""The contest: ours, the floor and the peers, in turn, pair by pair, in one go."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import page
from arena import tell
from entrants import CACHE, OURS, START_UP_ROWS, TITLES, Entrant, lacking
from figures import Target, after_start_up, cpu, of, peak, per, ratios, spread, wall, whole
from floor import floor, recorded
from loopback import BenchmarkError
from scale import SLOW_ROWS

if TYPE_CHECKING:
    from arena import Arena
    from figures import ByPair, Figures, Run
    from floor import Floor
    from loopback import Sink
    from scale import Scale

FORMATS = {"csv": "CSV", "parquet": "Parquet"}


def measured(arena: Arena, scale: Scale, names: list[str]) -> Figures:
    """Run who can run here; who cannot is left out, and said."""
    absent = {name: why for name in names if (why := lacking(name))}
    for name, why in absent.items():
        tell(f"left out: {TITLES[name]}: {why}")
    entrants = [Entrant(name, scale.rows_of(name)) for name in names if name not in absent]
    large = [Entrant(name, scale.rows_large) for name in names if name in FORMATS]
    arena.prepare([*entrants, *large])
    # a folder of its own, since another benchmark may run in this checkout
    with TemporaryDirectory(dir=CACHE, prefix="bodies-") as folder, arena.sink() as sink:
        turn = _Turn(arena, sink)
        if not scale.is_small:  # fails early, and warms the caches
            turn.run([Entrant(entrant.name, START_UP_ROWS) for entrant in entrants], 0)
        bodies = {entrant.name: recorded(arena, entrant, Path(folder)) for entrant in large}
        floors: list[Floor] = []
        for pair in range(1, scale.pairs + 1):
            turn.run([e for e in entrants if _runs(e, pair, scale)], pair)
            for entrant in large:
                arena.run(entrant, pair=pair, sink=sink)
                floors.append(floor(arena, entrant, bodies[entrant.name], pair=pair, sink=sink))
    runs = [run for run in arena.runs if run.pair and run.name not in turn.failed]
    figures = _figures(runs, floors, scale)
    left_out = absent | turn.failed
    figures["left_out"] = {TITLES[name]: why for name, why in left_out.items()}
    figures["failed"] = sorted(turn.failed)
    figures["floor_runs"] = [asdict(one) for one in floors]
    return figures


def _runs(entrant: Entrant, pair: int, scale: Scale) -> bool:
    return entrant.name not in SLOW_ROWS or pair <= scale.pairs_slow


@dataclass
class _Turn:
    """Runs entrants one after the other. A peer that fails leaves the contest; ours ends it."""

    arena: Arena
    sink: Sink
    failed: dict[str, str] = field(default_factory=dict)
    """Peers, and the first line of why."""

    def run(self, entrants: list[Entrant], pair: int) -> None:
        """Run each once, and with few rows before where its start-up is taken off later."""
        for entrant in entrants:
            if entrant.name in self.failed:
                continue
            try:
                self._run(entrant, pair)
            except BenchmarkError as error:
                if entrant.name in OURS:
                    raise
                tell(f"leaves the contest: {error}")
                why = str(error).splitlines()[0].removesuffix("; it said:")
                self.failed[entrant.name] = f"it failed: {why}"

    def _run(self, entrant: Entrant, pair: int) -> None:
        if pair and (entrant.name in OURS or entrant.name in SLOW_ROWS):
            self.arena.run(Entrant(entrant.name, START_UP_ROWS), pair=pair, sink=self.sink)
        self.arena.run(entrant, pair=pair, sink=self.sink)


def _figures(runs: list[Run], floors: list[Floor], scale: Scale) -> Figures:
    names = list(dict.fromkeys(run.name for run in runs if run.name in TITLES))
    entrants: dict[str, Any] = {}
    seconds: dict[str, dict[str, ByPair]] = {}
    for name in names:
        mine, starts = of(runs, name, scale.rows_of(name)), of(runs, name, START_UP_ROWS)
        is_slow = name in SLOW_ROWS
        took = _took(mine, starts if is_slow else None, scale)
        seconds[name] = took
        title = f"{TITLES[name]}, {mine[0].rows:,} rows" if is_slow else TITLES[name]
        entrants[name] = _entrant(title, mine, took)
        entrants[name]["start_up_s"] = spread(wall(s.usage) for s in starts) if starts else None
        if name in FORMATS:
            large = of(runs, name, scale.rows_large)
            took = _took(large, starts, scale)
            seconds[f"{name} large"] = took
            title = f"{TITLES[name]}, {scale.rows_large:,} rows, after start-up"
            entrants[f"{name} large"] = _entrant(title, large, took)
            seconds[f"{name} floor"] = _floor(floors, name, scale)
            entrants[f"{name} floor"] = _floor_entrant(floors, name, seconds, scale)
    return {
        "rows": scale.rows,
        "rows_large": scale.rows_large,
        "entrants": entrants,
        "ratios": _ratios(seconds),
        "targets": _targets(seconds),
    }


def _took(mine: list[Run], starts: list[Run] | None, scale: Scale) -> dict[str, ByPair]:
    """Seconds per million messages: wall and CPU; starts: what to take off first."""
    found = {}
    for key, what in (("wall", wall), ("cpu", cpu)):
        seconds = (
            whole(mine, what)
            if starts is None
            else after_start_up(mine, starts, what, is_trial=scale.is_trial)
        )
        off = START_UP_ROWS if starts is not None else 0
        found[key] = per(seconds, (mine[0].rows - off) / 1e6)
    return found


def _entrant(title: str, mine: list[Run], took: dict[str, ByPair]) -> Figures:
    counts = [run.counts for run in mine if run.counts is not None]
    return {
        "title": title,
        "rows": mine[0].rows,
        "messages_per_s": 1e6 / spread(took["wall"].values())["median"],
        "wall_s_per_million": spread(took["wall"].values()),
        "cpu_s_per_million": spread(took["cpu"].values()),
        "rss_bytes_max": spread(peak(run.usage) for run in mine)["median"],
        "requests": counts[0].requests,
        "bytes_per_message": counts[0].bytes / counts[0].messages,
    }


def _floor(floors: list[Floor], name: str, scale: Scale) -> dict[str, ByPair]:
    mine = [one for one in floors if one.name == name]
    count = scale.rows_large / 1e6
    return {
        "wall": per({one.pair: one.wall_s for one in mine}, count),
        "cpu": per({one.pair: one.cpu_s for one in mine}, count),
    }


def _floor_entrant(
    floors: list[Floor], name: str, seconds: dict[str, dict[str, ByPair]], scale: Scale
) -> Figures:
    took, count = seconds[f"{name} floor"], scale.rows_large / 1e6
    mine = [one for one in floors if one.name == name]
    return {
        "title": f"floor, {FORMATS[name]}: Arrow reads, then C sends the bytes",
        "rows": scale.rows_large,
        "messages_per_s": 1e6 / spread(took["wall"].values())["median"],
        "wall_s_per_million": spread(took["wall"].values()),
        "cpu_s_per_million": spread(took["cpu"].values()),
        "read_s_per_million": spread(one.read_s / count for one in mine),
        "send_s_per_million": spread(one.send_s / count for one in mine),
    }


COMPARED = (
    ("csv large", "csv floor", "CSV after start-up / floor"),
    ("parquet large", "parquet floor", "Parquet after start-up / floor"),
    ("csv", "per-row", "CSV, whole process / per-row script"),
    ("parquet", "per-row", "Parquet, whole process / per-row script"),
    ("csv", "dlt", "CSV, whole process / dlt"),
    ("csv", "official", "CSV, whole process / official Python client"),
)


def _ratios(seconds: dict[str, dict[str, ByPair]]) -> Figures:
    return {
        title: {key: spread(ratios(seconds[a][key], seconds[b][key])) for key in ("wall", "cpu")}
        for a, b, title in COMPARED
        if a in seconds and b in seconds
    }


def _targets(seconds: dict[str, dict[str, ByPair]]) -> list[Figures]:
    found = []
    for name, title in FORMATS.items():
        if name in seconds:
            ratio = ratios(seconds[f"{name} large"]["wall"], seconds[f"{name} floor"]["wall"])
            target = Target(f"{title}: wall after start-up / floor (aim 1.5)", 2.0)
            found.append(target.judged(spread(ratio)))
        if name in seconds and "per-row" in seconds:
            for key, words, limit in (("wall", "wall", 0.30), ("cpu", "CPU", 0.45)):
                ratio = ratios(seconds[name][key], seconds["per-row"][key])
                target = Target(f"{title}: {words} of the whole process / per-row script", limit)
                found.append(target.judged(spread(ratio)))
        if name in seconds and "official" in seconds:
            ratio = ratios(seconds["official"]["wall"], seconds[f"{name} large"]["wall"])
            words = f"{title}: messages/s against the official Python client, after start-up"
            found.append(Target(words, 60, is_least=True, unit=" x").judged(spread(ratio)))
    return found


def told(figures: Figures) -> list[str]:
    """Return the table of the contest and its ratios."""
    head = ("", "messages/s", "wall, s/million", "CPU, s/million", "peak MB", "requests")
    rows = [
        (
            one["title"],
            page.rounded(one["messages_per_s"]),
            f"{one['wall_s_per_million']['median']:.2f}",
            f"{one['cpu_s_per_million']['median']:.2f}",
            f"{one['rss_bytes_max'] / 1e6:.0f}" if "rss_bytes_max" in one else "",
            f"{one['requests']:,}" if "requests" in one else "",
        )
        for one in figures["entrants"].values()
    ]
    lines = page.table((f"{figures['rows']:,} rows", *head[1:]), rows)
    ratio_rows = [
        (title, page.spread_text(one["wall"]), page.spread_text(one["cpu"]))
        for title, one in figures["ratios"].items()
    ]
    if ratio_rows:
        lines += ["", *page.table(("ratio, pair by pair", "wall", "CPU"), ratio_rows)]
    return [*lines, *(f"\nLeft out: {name}: {why}." for name, why in figures["left_out"].items())]
