"""Measure how backfill adapts to a far side that is slower than it, or bears only so much.

    python benchmarks/far.py [--rows 100000] [--batch 200] [--small] [--only NAME] [--out DIR]

For each far side: events a second with fixed numbers of connections, with 16 that adapt, and the
ratio of the latter to the best fixed number. Small batches, so that the far side is what is waited
for. A fixed number is ours with the adapting turned off; over what the far side bears it is slow,
so it gets a fifth of the rows. Seconds count at the sink, from the first request on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from loopback import BenchmarkError, Counts, Sink, build
from measure import measure
from report import table
from run import CACHE, HERE, ROOT, environment, prepare

CEILING = 16
FIXED = (1, 2, 3, 4, 8, 16)
FIXED_CODE = """
import runpy, sys
from backfill import senders
end = senders.Senders.end
senders.Senders.end = lambda self, begun, load, now_s: end(self, begun, senders.Load.UNTOLD, now_s)
runpy.run_module("backfill", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Far:
    """A far side; 0: no delay, no limit."""

    name: str
    delay_ms: int = 0
    at_once: int = 0
    per_s: int = 0

    def bears(self, connections: int) -> bool:
        """Whether so many connections meet no 429."""
        is_few = not self.at_once or connections <= self.at_once
        return is_few and (not self.per_s or connections * 1000 / self.delay_ms <= self.per_s)


FARS = (
    Far("0 ms"),
    Far("20 ms", 20),
    Far("100 ms", 100),
    Far("100 ms, 3 at once", 100, at_once=3),
    Far("100 ms, 45 a second", 100, per_s=45),
)


@dataclass(frozen=True, slots=True)
class Found:
    """One run."""

    far: str
    connections: int
    is_fixed: bool
    events_per_s: float
    counts: Counts


def run(far: Far, connections: int, *, is_fixed: bool, rows: int, batch: int) -> Found:
    """Run once, in a fresh process with a fresh state folder, against a sink of its own."""
    data = prepare([rows], kind="events")
    start = ["-c", FIXED_CODE] if is_fixed else ["-m", "backfill"]
    with (
        Sink(build(CACHE), delay_ms=far.delay_ms, at_once=far.at_once, per_s=far.per_s) as sink,
        TemporaryDirectory(dir=CACHE, prefix="state-") as state,
    ):
        command = [
            *(sys.executable, *start, "run", str(HERE / "mappings" / "events.yaml")),
            *("--source", str(data / f"events-{rows}.csv")),
            *("--to", f"http://127.0.0.1:{sink.port}", "--rate", "unlimited"),
            *("--connections", str(connections), "--batch-messages", str(batch)),
            *("--state", state, "--no-progress", "--quiet"),
        ]
        measure(command, name=far.name, cwd=ROOT, env=environment(), timeout_s=900)
        counts = sink.counts()
    if counts.messages != rows or counts.refused or counts.at_once_max > connections:
        raise BenchmarkError(f"{far.name}: {counts} with {connections} connections, {rows} rows")
    speed = rows / (counts.span_s + far.delay_ms / 1000)
    found = Found(far.name, connections, is_fixed, speed, counts)
    kind = "fixed" if is_fixed else "adapting"
    told = (
        f"{far.name:22} {connections:3} {kind:9} {speed:10,.0f} events/s {counts.too_many:5} x 429"
    )
    print(told, file=sys.stderr, flush=True)
    return found


def contest(far: Far, *, rows: int, batch: int) -> list[Found]:
    """Run one far side with every fixed number, and then with what adapts."""
    found = []
    if far.at_once or far.per_s:
        batch //= 2  # finding out takes a second or two, of a run that should be long
    for connections in FIXED:
        few = rows if far.bears(connections) else rows // 5
        found.append(run(far, connections, is_fixed=True, rows=few, batch=batch))
    return [*found, run(far, CEILING, is_fixed=False, rows=rows, batch=batch)]


def page(runs: list[list[Found]], *, rows: int, batch: int) -> str:
    """Show all as Markdown."""
    head = ("events/s", *(f"{n} fixed" for n in FIXED), f"up to {CEILING}, adapting", "429s")
    lines = []
    for found in runs:
        *fixed, ours = found
        best = max(one.events_per_s for one in fixed)
        speeds = [f"{one.events_per_s:,.0f}" for one in fixed]
        told = f"{ours.events_per_s:,.0f}"
        ratio = f"{ours.events_per_s / best:.2f}"
        lines.append((ours.far, *speeds, told, str(ours.counts.too_many), ratio))
    made = table((*head, "ratio to the best fixed"), lines)
    work = f"{rows:,} rows in batches of {batch} messages ({batch // 2} where 429 is answered), "
    work += "rate unlimited, one run each."
    return "\n".join([*made, "", work])


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Measure how backfill adapts to the far side.")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the input")
    parser.add_argument("--batch", type=int, default=200, help="messages a request")
    parser.add_argument("--small", action="store_true", help="10,000 rows: only a trial")
    parser.add_argument("--only", action="append", choices=[far.name for far in FARS])
    parser.add_argument("--out", type=Path, default=CACHE / "results", help="folder of the results")
    options = parser.parse_args()
    how = {"rows": 10_000 if options.small else options.rows, "batch": options.batch}
    try:
        runs = [contest(far, **how) for far in FARS if not options.only or far.name in options.only]
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    text = page(runs, **how)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "far.md").write_text(text + "\n", encoding="utf-8")
    raw = [asdict(one) for found in runs for one in found]
    (options.out / "far.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
