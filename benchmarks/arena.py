"""Where runs happen: data and programs made when needed, a sink, one process at a time, checked."""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from entrants import (
    BODY_BYTES_MAX,
    CACHE,
    HERE,
    NODE,
    OURS,
    PROGRAMS,
    ROOT,
    START_UP_ROWS,
    Entrant,
    environment,
)
from figures import Run
from loopback import BenchmarkError, Manner, Sink, build
from measure import LOOK_S, measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loopback import Counts
    from measure import Patience

NPM = ("install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
NPM_S = 600
GENERATORS = ("data.py", "wide.py")


@dataclass
class Arena:
    """Runs what it is given, one after the other, and says so on stderr."""

    patience: Patience

    def __post_init__(self) -> None:
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", encoding="ascii")
        made_by = b"".join((HERE / name).read_bytes() for name in GENERATORS)
        self.data = CACHE / f"data-{zlib.crc32(made_by):08x}"
        self.runs: list[Run] = []

    def prepare(self, entrants: Iterable[Entrant]) -> None:
        """Make what is not there yet: their data, and the programs of Node."""
        wanted = list(entrants)
        for kind, rows in sorted({(e.kind, n) for e in wanted for n in (START_UP_ROWS, e.rows)}):
            if all((self.data / f"{kind}-{rows}.{end}").exists() for end in ("csv", "parquet")):
                continue
            tell(f"making {rows:,} {kind}")
            script = HERE / ("wide.py" if kind == "wide" else "data.py")
            command = [sys.executable, str(script), str(self.data), "--rows", str(rows)]
            command += [] if kind == "wide" else ["--only", kind]
            self._make(command, "the generator of the data", 60 + rows / 10_000)
        if any(entrant.name in PROGRAMS for entrant in wanted):
            self._install()

    def _install(self) -> None:
        """Install the programs of package.json into .bench/node, unless they are there."""
        wanted = (HERE / "package.json").read_text(encoding="utf-8")
        done = NODE / "installed.json"
        if done.exists() and done.read_text(encoding="utf-8") == wanted:
            return
        tell("installing the Node peers into .bench/node")
        NODE.mkdir(exist_ok=True)
        shutil.copy(HERE / "package.json", NODE)
        self._make([shutil.which("npm") or "npm", *NPM, "--prefix", str(NODE)], "npm", NPM_S)
        done.write_text(wanted, encoding="utf-8")

    @staticmethod
    def _make(command: list[str], name: str, timeout_s: float) -> None:
        measure(command, name=name, cwd=ROOT, env=environment(), timeout_s=timeout_s)

    @contextmanager
    def sink(self, manner: Manner | None = None) -> Iterator[Sink]:
        """Yield a running sink."""
        with Sink(build("sink", CACHE), manner or Manner()) as sink:
            yield sink

    def run(self, entrant: Entrant, *, pair: int, sink: Sink, look_s: float = LOOK_S) -> Run:
        """Run one entrant once, in a fresh process and with a fresh state folder; check counts.

        look_s: how often the memory of several processes is looked at.
        """
        quiet = self.patience.quiet()
        before = sink.reset()
        with TemporaryDirectory(dir=CACHE, prefix="state-") as state:
            usage = measure(
                entrant.command(data=self.data, port=sink.port, state=state),
                name=entrant.name,
                cwd=ROOT,
                env=environment(),
                timeout_s=120 + entrant.rows / 2_000,
                look_s=look_s,
            )
            counts = sink.counts()
            check(entrant, counts, report_in(Path(state)) if entrant.name in OURS else None)
        run = Run(entrant.name, pair, entrant.rows, usage, counts, quiet, before.cpu_s)
        return self._told(run)

    def script(self, name: str, command: list[str], *, rows: int, pair: int) -> Run:
        """Run a program that sends nothing that must be counted."""
        quiet = self.patience.quiet()
        timeout_s = 120 + rows / 2_000
        usage = measure(command, name=name, cwd=ROOT, env=environment(), timeout_s=timeout_s)
        return self._told(Run(name, pair, rows, usage, None, quiet))

    def _told(self, run: Run) -> Run:
        self.runs.append(run)
        requests = "" if run.counts is None else f"{run.counts.requests:>6,} requests   "
        tell(
            f"{run.pair:2} {run.name:11} {run.rows:>10,} rows {run.usage.wall_s:7.2f} s wall "
            f"{run.usage.cpu_s:7.2f} s CPU {run.usage.rss_bytes_max / 1e6:6.0f} MB "
            f"{requests}others {run.quiet.busy:4.0%} stolen {run.usage.stolen:4.0%}"
        )
        return run


def tell(words: str) -> None:
    """Say what goes on."""
    print(words, file=sys.stderr, flush=True)


def check(entrant: Entrant, counts: Counts, report: dict[str, Any] | None) -> None:
    """Raise BenchmarkError unless what arrived is what the entrant had to send.

    report: of ours. It says itself how many rows it delivered; the sink must have seen as many.
    """
    wanted = entrant.rows if report is None else report["rows"]["delivered"]
    if counts.messages != wanted or counts.refused or not wanted:
        raise BenchmarkError(
            f"{entrant.name}: {counts.messages:,} messages arrived of {wanted:,}, "
            f"{counts.refused} requests of {counts.requests} refused"
        )
    if report is not None:
        rows = report["rows"]
        if rows["read"] != entrant.rows or rows["delivered"] + rows["filtered"] != rows["read"]:
            raise BenchmarkError(f"{entrant.name}: of {entrant.rows:,} rows it says {rows}")
    if counts.body_bytes_max > BODY_BYTES_MAX:
        raise BenchmarkError(f"{entrant.name} sent a body of {counts.body_bytes_max:,} bytes")


def report_in(state: Path) -> dict[str, Any]:
    """Return the report that a run of ours has left."""
    found = list(state.glob("*/runs/*/report.json"))
    if len(found) != 1:
        raise BenchmarkError(f"{len(found)} reports in {state}, where one run was")
    report: dict[str, Any] = json.loads(found[0].read_bytes())
    return report
