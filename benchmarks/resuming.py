"""Resuming: kill -9 near the end of a file; how long the resume takes to its first request."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import page
from arena import report_in, tell
from entrants import CACHE, ROOT, Entrant, environment
from figures import Target, spread
from loopback import BenchmarkError
from measure import measure

if TYPE_CHECKING:
    from arena import Arena
    from figures import Figures
    from loopback import Sink
    from scale import Scale

FORMATS = {"csv": "CSV", "parquet": "Parquet"}
SHARE = 0.9
"""Of the messages that have arrived when the run is killed."""
RATIO = 0.10
AGAIN_MAX = 16
"""Batches that a resume may send again: 2 x connections were between sent and durably recorded."""


def measured(arena: Arena, scale: Scale) -> Figures:
    """For each format and pair: a whole run, one that is killed, and its resume."""
    entrants = [Entrant(name, scale.rows_huge) for name in FORMATS]
    arena.prepare(entrants)
    found: dict[str, Any] = {
        name: {"full_s": [], "first_s": [], "whole_s": [], "again": []} for name in FORMATS
    }
    with arena.sink() as sink:
        for pair in range(1, scale.pairs_slow + 1):
            for entrant in entrants:
                one = found[entrant.name]
                one["full_s"].append(arena.run(entrant, pair=pair, sink=sink).usage.wall_s)
                for key, value in _resumed(arena, entrant, sink).items():
                    one[key].append(value)
    targets = []
    for name, title in FORMATS.items():
        one = found[name]
        one["ratio"] = [a / b for a, b in zip(one["first_s"], one["full_s"], strict=True)]
        words = f"{title}: killed at {SHARE:.0%} of {scale.rows_huge:,} rows, the resume's time to"
        words += " its first request / a full run"
        targets.append(Target(words, RATIO).judged(spread(one["ratio"])))
    return {"rows": scale.rows_huge, "entrants": found, "targets": targets}


def _resumed(arena: Arena, entrant: Entrant, sink: Sink) -> Figures:
    """Kill a run of its own and resume it; every row must have arrived in the end."""
    arena.patience.quiet()
    with TemporaryDirectory(dir=CACHE, prefix="state-") as state:
        command = entrant.command(data=arena.data, port=sink.port, state=state)
        sink.reset()
        before = _killed(command, entrant, sink)
        arena.patience.quiet()
        sink.reset()
        started_s = time.monotonic()
        timeout_s = 120 + entrant.rows / 2_000
        usage = measure(
            command, name="the resume", cwd=ROOT, env=environment(), timeout_s=timeout_s
        )
        counts = sink.counts()
        report = report_in(Path(state))
    again = before + counts.messages - entrant.rows
    per_batch = counts.messages / max(counts.requests, 1)
    if not 0 <= again <= (AGAIN_MAX + 1) * per_batch or not report["resumed_from"]:
        raise BenchmarkError(
            f"{entrant.name}: {before:,} messages arrived before the kill and {counts.messages:,} "
            f"after it, of {entrant.rows:,}"
        )
    first_s = counts.first_s - started_s
    tell(f"   {entrant.name}: killed at {before / entrant.rows:.0%}, first request {first_s:.2f} s")
    return {"first_s": first_s, "whole_s": usage.wall_s, "again": again}


def _killed(command: list[str], entrant: Entrant, sink: Sink) -> int:
    """Start a run, end it by SIGKILL when most has arrived; returns how many messages have."""
    until_s = time.monotonic() + 120 + entrant.rows / 2_000
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while sink.counts().messages < SHARE * entrant.rows:
            if child.poll() is not None or time.monotonic() > until_s:
                raise BenchmarkError(f"{entrant.name} was over before it could be killed")
            time.sleep(0.005)
    finally:
        child.kill()
        child.wait()
    return _still(sink)


def _still(sink: Sink) -> int:
    """Wait until the sink has read what the kernel still held; returns its count."""
    messages = -1
    while (now := sink.counts().messages) != messages:
        messages = now
        time.sleep(0.05)
    return messages


def told(figures: Figures) -> list[str]:
    """Return the table."""
    head = (
        f"{figures['rows']:,} rows",
        "full run, s",
        "resume to first request, s",
        "to its end, s",
    )
    rows = [
        (
            f"backfill, {FORMATS[name]}",
            *(page.spread_text(spread(one[key])) for key in ("full_s", "first_s", "whole_s")),
        )
        for name, one in figures["entrants"].items()
    ]
    return page.table(head, rows)
