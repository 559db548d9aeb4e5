"""Measure backfill against a hand-written script and the official client, on this machine.

    python benchmarks/run.py [--rows 1000000] [--pairs 5] [--small] [--out DIR] [--memory]

Makes the data once in .bench/ (git-ignored), builds and starts the sink, and runs every entrant in
turn, pairs times over: a fresh process each, the sink reset before and its counts checked after.
Prints Markdown; writes it and the raw figures as JSON to --out. Exits 1 when any count is wrong,
any entrant fails, or any takes too long. Load goes to 127.0.0.1 only.

This process stays small on purpose (see measure.py): only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import report
from loopback import BenchmarkError, Sink, build
from measure import measure, quiet
from report import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".bench"

REHEARSAL_ROWS = 1_000
OFFICIAL_ROWS_MAX = 100_000
BODY_BYTES_MAX = 475_000
ENTRANTS = ("csv", "parquet", "per-row", "official")
PACKAGES = {"per-row": ("orjson", "requests"), "official": ("customerio",)}

HIDDEN = ("BACKFILL_", "CUSTOMERIO_", "PYTHONDONTWRITEBYTECODE", "COVERAGE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Entrant:
    """One program with its input."""

    name: str
    rows: int
    """Rows of its input, and so the messages that must arrive."""

    def command(self, *, data: Path, port: int, state: str) -> list[str]:
        """How to start it; data is the folder of events-N.csv and events-N.parquet."""
        csv, parquet = data / f"events-{self.rows}.csv", data / f"events-{self.rows}.parquet"
        match self.name:
            case "csv":
                return _backfill("events.yaml", csv, port=port, state=state)
            case "parquet":
                return _backfill("events_parquet.yaml", parquet, port=port, state=state)
            case "users":
                csv = data / f"users-{self.rows}.csv"
                return _backfill("users.yaml", csv, port=port, state=state)
            case "per-row":
                return [sys.executable, str(HERE / "per_row.py"), str(csv), str(port)]
            case "official":
                script = str(HERE / "official.py")
                return [sys.executable, script, str(csv), str(port), str(self.rows)]
            case _:
                raise ValueError(self.name)


def _backfill(mapping: str, source: Path, *, port: int, state: str) -> list[str]:
    return [
        *(sys.executable, "-m", "backfill", "run", str(HERE / "mappings" / mapping)),
        *("--source", str(source)),
        *("--to", f"http://127.0.0.1:{port}"),
        *("--rate", "unlimited", "--batch-messages", "100000"),  # fill bodies by bytes, as theirs
        *("--state", state),
        *("--no-progress", "--quiet"),
    ]


def environment() -> dict[str, str]:
    """Ours, without what would change a run: settings of backfill, proxies, no .pyc files."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(HIDDEN) and name.upper() not in PROXIES
    }
    return {**kept, "CUSTOMERIO_WRITE_KEY": "bench"}


def prepare(rows: Iterable[int], *, kind: str) -> Path:
    """Make the data that is not there yet; returns its folder, one for each version of data.py."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="ascii")
    folder = CACHE / f"data-{zlib.crc32((HERE / 'data.py').read_bytes()):08x}"
    for n in sorted(set(rows)):
        if all((folder / f"{kind}-{n}.{ending}").exists() for ending in ("csv", "parquet")):
            continue
        print(f"making {n:,} {kind}", file=sys.stderr, flush=True)
        command = [sys.executable, str(HERE / "data.py"), str(folder), "--rows", str(n)]
        command += ["--only", kind]
        name = "the generator of the data"
        measure(command, name=name, cwd=ROOT, env=environment(), timeout_s=60 + n / 10_000)
    return folder


def run_one(entrant: Entrant, *, pair: int, data: Path, sink: Sink) -> Run:
    """Run one entrant once, in a fresh process and with a fresh state folder, and check counts."""
    how_quiet = quiet()
    before = sink.reset()
    with TemporaryDirectory(dir=CACHE, prefix="state-") as state:
        usage = measure(
            entrant.command(data=data, port=sink.port, state=state),
            name=entrant.name,
            cwd=ROOT,
            env=environment(),
            timeout_s=120 + entrant.rows / 2_000,
        )
    counts = sink.counts()
    if counts.messages != entrant.rows or counts.refused:
        raise BenchmarkError(
            f"{entrant.name}: {counts.messages:,} messages arrived of {entrant.rows:,}, "
            f"{counts.refused} requests of {counts.requests} refused"
        )
    if counts.body_bytes_max > BODY_BYTES_MAX:
        raise BenchmarkError(f"{entrant.name} sent a body of {counts.body_bytes_max:,} bytes")
    run = Run(entrant.name, pair, entrant.rows, usage, counts, how_quiet, before.cpu_s)
    print(report.progress(run), file=sys.stderr, flush=True)
    return run


def rehearse(names: Iterable[str], *, data: Path, sink: Sink) -> dict[str, Run]:
    """Run all with few rows, twice: fails early, warms the caches, and shows what start-up costs.

    Returns the second run of each.
    """
    entrants = [Entrant(name, REHEARSAL_ROWS) for name in names]
    runs = [run_one(e, pair=0, data=data, sink=sink) for _ in range(2) for e in entrants]
    return {run.name: run for run in runs}


def contest(names: list[str], *, rows: int, pairs: int) -> dict[str, str]:
    """Compare the entrants, in turn and pairs times over; files by name."""
    entrants = [
        Entrant(n, min(rows, OFFICIAL_ROWS_MAX) if n == "official" else rows) for n in names
    ]
    sizes = [REHEARSAL_ROWS, *(e.rows for e in entrants)]
    data = prepare(sizes, kind="events")
    if "users" in names:
        prepare(sizes, kind="users")
    with Sink(build(CACHE)) as sink:
        start_up = rehearse(names, data=data, sink=sink)
        runs = [
            run_one(entrant, pair=pair, data=data, sink=sink)
            for pair in range(1, pairs + 1)
            for entrant in entrants
        ]
    figures = report.contest(runs, start_up=start_up, rows=rows)
    return {"benchmark.md": report.contest_page(figures), "benchmark.json": as_json(figures)}


def memory(names: list[str], *, rows: int, pairs: int) -> dict[str, str]:
    """Run ours with rows and with three times as many: the peak must not grow."""
    names = [n for n in names if n in {"csv", "parquet", "users"}]
    sizes = [REHEARSAL_ROWS, rows, 3 * rows]
    data = prepare(sizes, kind="events")
    if "users" in names:
        prepare(sizes, kind="users")
    with Sink(build(CACHE)) as sink:
        rehearse(names, data=data, sink=sink)
        runs = [
            run_one(Entrant(name, n), pair=pair, data=data, sink=sink)
            for pair in range(1, pairs + 1)
            for name in names
            for n in (rows, 3 * rows)
        ]
    figures = report.memory(runs, rows=rows)
    return {"memory.md": report.memory_page(figures), "memory.json": as_json(figures)}


def as_json(figures: report.Figures) -> str:
    """Figures as a file."""
    return json.dumps(figures, indent=1) + "\n"


def missing(names: list[str]) -> Iterator[str]:
    """Find the packages that entrants need and that are not installed."""
    for name in names:
        for package in PACKAGES.get(name, ()):
            if importlib.util.find_spec(package) is None:
                yield package


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare backfill with its peers on loopback.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the input")
    parser.add_argument("--pairs", type=int, default=5, help="how often each entrant runs")
    parser.add_argument("--small", action="store_true", help="50,000 rows, 1 pair: only a trial")
    parser.add_argument("--memory", action="store_true", help="peak memory at N and 3 N rows")
    parser.add_argument("--out", type=Path, default=CACHE / "results", help="folder of the results")
    parser.add_argument(
        "--only",
        choices=(*ENTRANTS, "users"),
        action="append",
        help="run only these; repeatable (users: people instead of events, not part of the table)",
    )
    options = parser.parse_args()
    if options.small:
        options.rows, options.pairs = 50_000, 1
    if options.rows < REHEARSAL_ROWS or options.pairs < 1:
        parser.error(f"at least {REHEARSAL_ROWS} rows and 1 pair")
    return options


def main() -> int:
    """Run what the arguments ask for."""
    options = arguments()
    names = options.only or list(ENTRANTS)
    lacking = sorted(set(missing(names)))
    if lacking:
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        print("  fix: pip install -e '.[bench]', or leave it out with --only", file=sys.stderr)
        return 1
    try:
        files = (memory if options.memory else contest)(
            names, rows=options.rows, pairs=options.pairs
        )
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.out / name).write_text(text, encoding="utf-8")
        if name.endswith(".md"):
            print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
