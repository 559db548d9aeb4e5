"""Measure how soon a run that was killed at 90 % sends its first request, against a full run.

    python benchmarks/resume.py [--rows 1000000] [--pairs 3] [--only csv|parquet]

Makes the data as run.py does. In each pair one process sends all rows; another sends them to a
destination that goes silent once 90 % have arrived, is killed (SIGKILL), and the same command again
is timed from its start to its first request. Prints Markdown. Exits 1 when rows are missing, or the
share is more than 10 % of 10,000,000 rows or more (of fewer, the start of Python counts for most).
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from loopback import BenchmarkError, Sink, build
from measure import measure
from run import CACHE, ROOT, Entrant, environment, prepare

if TYPE_CHECKING:
    from pathlib import Path

STOPPED_AT = 0.9
SHARE_MAX = 0.1
ROWS_JUDGED = 10_000_000
"""From here on the share is judged."""

POLL_S = 0.002


class Figure(NamedTuple):
    """One pair."""

    full_s: float
    """A whole run, from the start of its process to its end."""
    first_s: float
    """The resume, from the start of its process to its first request."""
    rest_s: float
    """The resume, to its end."""
    messages: int
    """That arrived from the run that was killed and from the resume, some of them twice."""

    @property
    def share(self) -> float:
        """The target of issue 5."""
        return self.first_s / self.full_s


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """Begin a command, in a session of its own."""
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def wait_for(sink: Sink, messages: int, running: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait until so many messages have arrived."""
    until_s = time.monotonic() + limit_s
    while sink.counts().messages < messages:
        if running.poll() is not None or time.monotonic() > until_s:
            running.kill()
            raise BenchmarkError(f"{messages:,} messages did not arrive")
        time.sleep(POLL_S)


def one(entrant: Entrant, *, data: Path, sink: Sink) -> Figure:
    """Run all; run and kill; resume."""
    limit_s = 120 + entrant.rows / 2_000
    with TemporaryDirectory(dir=CACHE, prefix="state-") as state:
        command = entrant.command(data=data, port=sink.port, state=state)
        usage = measure(command, name=entrant.name, cwd=ROOT, env=environment(), timeout_s=limit_s)
    with TemporaryDirectory(dir=CACHE, prefix="state-") as state:
        command = entrant.command(data=data, port=sink.port, state=state)
        sink.reset()
        running = started(command)
        wait_for(sink, int(STOPPED_AT * entrant.rows), running, limit_s)
        running.send_signal(signal.SIGKILL)
        running.wait()
        time.sleep(0.2)  # what the kernel still holds of its bytes arrives
        before = sink.reset().messages
        if before >= entrant.rows:
            raise BenchmarkError("the run was over before it was killed: take more rows")
        begin_s = time.perf_counter()
        running = started(command)
        wait_for(sink, 1, running, limit_s)
        first_s = time.perf_counter() - begin_s
        code = running.wait(timeout=limit_s)
        rest_s = time.perf_counter() - begin_s
        messages = before + sink.reset().messages
    if code or messages < entrant.rows:
        raise BenchmarkError(f"exit {code}, {messages:,} messages of {entrant.rows:,}")
    return Figure(usage.wall_s, first_s, rest_s, messages)


def page(figures: dict[str, list[Figure]], rows: int) -> str:
    """Write the table: medians, and the least and the most of the share."""
    lines = [
        f"Killed at {STOPPED_AT:.0%} of {rows:,} rows; medians, in seconds",
        "",
        "| source | full run | start to first request | share (least-most) | resume to its end |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in figures.items():
        shares = sorted(run.share for run in runs)
        full_s, first_s = (median(run[at] for run in runs) for at in (0, 1))
        span = f"{median(shares):.1%} ({shares[0]:.1%}-{shares[-1]:.1%})"
        rest_s = median(run.rest_s for run in runs)
        lines.append(f"| {name} | {full_s:.2f} | {first_s:.2f} | {span} | {rest_s:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Time from a restart to the first request.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the input")
    parser.add_argument("--pairs", type=int, default=3, help="how often")
    parser.add_argument("--only", choices=("csv", "parquet"), action="append")
    options = parser.parse_args()
    names = options.only or ["csv", "parquet"]
    try:
        data = prepare([options.rows], kind="events")
        with Sink(build(CACHE)) as sink:
            figures = {
                name: [
                    one(Entrant(name, options.rows), data=data, sink=sink)
                    for _ in range(options.pairs)
                ]
                for name in names
            }
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    print(page(figures, options.rows))
    worst = max(median(run.share for run in runs) for runs in figures.values())
    return int(options.rows >= ROWS_JUDGED and worst > SHARE_MAX)


if __name__ == "__main__":
    sys.exit(main())
