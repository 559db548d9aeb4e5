"""Where the time of one run goes: CPU nanoseconds a row by stage, which add up to the whole.

    python benchmarks/breakdown.py [ENTRANT] [--rows 500000] [--out DIR]

ENTRANT: csv (the default), parquet, users, expressions, where, keys, wide. One run inside this
process, and the one it forks to encode, against the C sink, after a small one that pays for
start-up. The public functions of the rooms are wrapped: each stage is the CPU time of its own
thread without the stages that it calls. What no stage claims is named, too: the rest of Python's
threads (glue between the rooms), of the process that encodes, and the threads of Arrow. Wrapping
costs some 2 µs a call, a few calls a record batch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mmap
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import page
from arena import Arena
from entrants import CACHE, HERE, OURS, START_UP_ROWS, Entrant
from loopback import BenchmarkError
from measure import Patience
from stages import Stages, Threads, put

if TYPE_CHECKING:
    from figures import Figures

STAGES = (
    ("plan: fingerprint, dialect", "launch", "input_of"),
    ("plan: fingerprint, dialect", "launch", "make_plan"),
    ("plan: fingerprint, dialect", "resume", "past_of"),
    ("plan: fingerprint, dialect", "reading", "open_shard"),
    ("read", "reading", "spans"),
    ("cells: blanks, UTF-8", "cells", "frame_of"),
    ("cells: blanks, UTF-8", "cells", "Frame.cells"),
    ("cells: blanks, UTF-8", "cells", "texts_of"),
    ("where, when, expressions", "evaluate", "evaluate"),
    ("where, when, expressions", "evaluate", "is_true"),
    ("member: ids of people", "message", "identifier"),
    ("member: event name", "message", "label"),
    ("column: timestamp", "convert", "times"),
    ("validate", "validate", "validate"),
    ("message ids, lanes", "identity", "row_digits"),
    ("message ids, lanes", "identity", "keyed"),
    ("message ids, lanes", "identity", "lanes"),
    ("escape", "jsontext", "escape"),
    ("join", "columns", "join"),
    ("join", "columns", "interleaved"),
    ("encode: the rest", "encode", "encode"),
    ("transform: the rest", "message", "draft"),
    ("rows to messages: the rest", "pipeline", "encodings"),
    ("between the processes", "slots", "Way.put"),
    ("between the processes", "slots", "Way.get"),
    ("batch", "batch", "Batcher.add"),
    ("batch", "batch", "Batcher.flush"),
    ("post", "wire", "Wire.post"),
    ("errand: answers, log", "errand", "errand"),
    ("errand: answers, log", "log", "Log.note"),
    ("books: counts of what is settled", "shard", "run_shard"),
    ("report", "report", "write_report"),
    ("report", "ending", "write_page"),
    ("figures of the report", "marks", "marked"),
    ("figures of the report", "figures", "tallied"),
    ("figures of the report", "tallies", "Tallies.note"),
    ("commit", "checkpoint", "Store.save"),
    ("commit", "memory", "Memory.note"),
    ("commit", "rejects", "RejectsFile.append"),
)
"""What to call it, the room, and its public function or method."""

GLUE = "glue of Python's threads (launch, runner, senders)"
ARROW = "Arrow's own threads (reading ahead)"
APART = "glue of the process that encodes"


def watched(stages: Stages) -> None:
    """Wrap every stage, and each kind of column."""
    for name, room, path in STAGES:
        owner = importlib.import_module(f"backfill.{room}")
        *classes, attribute = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        put(stages, name, owner, attribute)
    table = importlib.import_module("backfill.convert").TYPES
    for kind, function in list(table.items()):
        table[kind] = stages.timed(f"column: {kind or 'as it is'}", function)


def run(source: Path, mapping: Path, port: int) -> None:
    """Run one stream as the command line does. Raises BenchmarkError unless it went well."""
    from backfill.launch import Settings, run_all  # noqa: PLC0415  after make_arrow_light
    from backfill.mapping import load_mapping  # noqa: PLC0415
    from backfill.runner import Stop  # noqa: PLC0415

    os.environ["BACKFILL_PICTURES"] = "no"  # as in every run that is timed
    with TemporaryDirectory(dir=CACHE, prefix="state-") as state:
        settings = Settings(
            sources=(str(source),),
            to=f"http://127.0.0.1:{port}",
            rate="unlimited",
            batch_messages=100_000,
            state=Path(state),
            key_file=str(_key()),
            is_alone=True,
        )
        (report,) = run_all([load_mapping(mapping)], settings, Stop())
    if report.exit_code:
        raise BenchmarkError(f"the run ended with {report.exit_code}: {report.error}")


def _key() -> Path:
    path = CACHE / "key"
    path.write_text("bench\n", encoding="ascii")
    path.chmod(0o600)
    return path


def measured(name: str, rows: int) -> Figures:
    """Run once and return nanoseconds a row: stages, what is left, and the whole."""
    from backfill.cli.options import make_arrow_light  # noqa: PLC0415  not needed for --help

    make_arrow_light()
    arena = Arena(Patience(5.0, 60.0))
    entrant, first = Entrant(name, rows), Entrant(name, START_UP_ROWS)
    arena.prepare([entrant])
    stages, threads = Stages(), Threads()
    mapping = HERE / "mappings" / entrant.mapping
    importlib.import_module("backfill.launch")
    watched(stages)
    apart = Told(stages)
    with arena.sink() as sink:
        run(first.source(arena.data), mapping, sink.port)
        stages.spent_s.clear()
        apart.begin()
        arena.patience.quiet()
        threads.watch()
        started_s, before_s = time.perf_counter(), _process_s()
        run(entrant.source(arena.data), mapping, sink.port)
        whole_s, wall_s = _process_s() - before_s, time.perf_counter() - started_s
        python_s = threads.spent_s()
        counts = sink.counts()
    there = apart.spent_s(_children_s())
    here_s = whole_s - sum(there.values())
    found = added_up(stages.spent_s, python_s=python_s, whole_s=here_s)
    for stage, spent_s in there.items():
        found[stage] = found.get(stage, 0.0) + spent_s
    per_row = {stage: spent_s / rows * 1e9 for stage, spent_s in found.items()}
    return {
        "entrant": name,
        "rows": rows,
        "bytes_per_row": counts.bytes / rows,
        "ns_per_row": per_row,
        "whole_ns_per_row": whole_s / rows * 1e9,
        "wall_ns_per_row": wall_s / rows * 1e9,
    }


class Told:
    """What the process that encodes spends, by stage; it tells after each span."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._board = mmap.mmap(-1, 1 << 16)
        self._before_s = 0.0
        room = importlib.import_module("backfill.apart")
        self._outcome, room.__dict__["_outcome"] = vars(room)["_outcome"], self._told
        self._begun = 0

    def begin(self) -> None:
        """Forget what was spent so far."""
        self._before_s = _children_s()
        self._board[:2] = b"{}"

    def _told(self, job: Any, task: Any) -> Any:
        if self._begun != os.getpid():  # what the other process spent before the fork is its own
            self._begun = os.getpid()
            self._stages.spent_s.clear()
        found = self._outcome(job, task)
        text = json.dumps(self._stages.spent_s).encode()
        self._board[: len(text) + 1] = text + b"\0"
        return found

    def spent_s(self, children_s: float) -> dict[str, float]:
        """Return seconds by stage, with what no stage claims; of no process, nothing."""
        whole_s = children_s - self._before_s
        text = self._board[:].split(b"\0")[0]
        found: dict[str, float] = json.loads(text or b"{}")
        return {**found, APART: whole_s - sum(found.values())} if whole_s > 0 else {}


def _children_s() -> float:
    """Return the CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _process_s() -> float:
    return time.process_time() + _children_s()


def added_up(spent_s: dict[str, float], *, python_s: float, whole_s: float) -> dict[str, float]:
    """Name what no stage claims, so that all adds up to the whole process."""
    claimed_s = sum(spent_s.values())
    return {**spent_s, GLUE: python_s - claimed_s, ARROW: whole_s - python_s}


def told(figures: Figures) -> str:
    """Return the table, in the order of the stages."""
    order = [name for name, _, _ in STAGES]
    kinds = sorted(n for n in figures["ns_per_row"] if n.startswith("column: "))
    at = order.index("member: ids of people")
    names = [*dict.fromkeys([*order[:at], *kinds, *order[at:], GLUE, APART, ARROW])]
    whole = figures["whole_ns_per_row"]
    rows = [
        (name, f"{ns:.0f}", f"{ns / whole:.0%}")
        for name in names
        if (ns := figures["ns_per_row"].get(name)) is not None
    ]
    rows.append(("**the whole process**", f"{whole:.0f}", "100%"))
    rows.append(("wall, of all cores in use", f"{figures['wall_ns_per_row']:.0f}", ""))
    head = (f"{figures['entrant']}, {figures['rows']:,} rows", "CPU, ns/row", "share")
    return "\n".join([*page.table(head, rows), ""])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU nanoseconds a row by stage.")
    parser.add_argument("entrant", nargs="?", choices=tuple(OURS), default="csv")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--out", type=Path, default=CACHE / "results", help="folder of the results")
    options = parser.parse_args()
    try:
        figures = measured(options.entrant, options.rows)
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    text = told(figures)
    name = f"breakdown-{options.entrant}"
    (options.out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    (options.out / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
