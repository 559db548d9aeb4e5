"""The core against everything that goes wrong at once: thousands of worlds, each from one seed.

    SIMULATION_SEED=4711 pytest tests/test_simulation.py -k seed    # one world, with what happened
    SIMULATION_SEEDS=2000 pytest tests/test_simulation.py -k seed   # more than the usual 500
    pytest tests/test_simulation.py -m large                       # fifty thousand: ten minutes

What is checked at every step stands in `simulation.World` and `simulation.Life`; the breakages
below prove that it is.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections import Counter
from operator import attrgetter
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pytest
import simulation
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulation import World

import backfill
from backfill.batch import Batcher, Encodings, Limits
from backfill.checkpoint import FileState, State
from backfill.source import Span
from backfill.texts import Texts
from backfill.validate import NONE
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backfill.batch import Batch

SEEDS: Final = int(os.environ.get("SIMULATION_SEEDS", "500"))
CHUNKS: Final = 2
LARGE_SEEDS: Final = 50_000
BREAKAGE_SEEDS: Final = 400
MANY: Final = 200
"""In so many worlds everything that can go wrong does."""


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[World], None]]:
    """Put the world in place; what was imported before is no garbage, which halves the time."""
    gc.collect()
    gc.freeze()
    yield simulation.install(monkeypatch)
    gc.unfreeze()


def live(seed: int, enter: Callable[[World], None], trace: list[str] | None = None) -> World:
    """Run one world to its end. Raises AssertionError with the seed, whatever went wrong."""
    world = World(seed, trace)
    enter(world)
    try:
        world.run()
    except Exception as fault:
        how = f"SIMULATION_SEED={seed} pytest tests/test_simulation.py -k seed"
        told = "\n".join(["", *trace]) if trace else ""
        raise AssertionError(f"seed {seed}: {fault!r}; replay: {how}{told}") from fault
    return world


def every(seeds: range, enter: Callable[[World], None]) -> None:
    """Run many worlds."""
    for seed in seeds:
        live(seed, enter)


def seeds_of(chunk: int) -> range:
    """Return a part of all seeds, or the one that is asked for."""
    if asked := os.environ.get("SIMULATION_SEED"):
        return range(int(asked), int(asked) + (chunk == 0))
    return range(chunk * SEEDS // CHUNKS, (chunk + 1) * SEEDS // CHUNKS)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_seed_breaks_a_promise(enter: Callable[[World], None], chunk: int) -> None:
    seen: Counter[str] = Counter()
    seeds = seeds_of(chunk)
    for seed in seeds:
        trace: list[str] | None = [] if "SIMULATION_SEED" in os.environ else None
        world = live(seed, enter, trace)
        seen += world.seen
        if trace:
            print("\n".join(trace))  # noqa: T201  for the person who replays a seed
    if len(seeds) >= MANY:
        wanted = {*simulation.ROADS, *simulation.ENDS, "none"}
        assert set(seen) == wanted, "a fault that never happens"


@pytest.mark.large
def test_no_seed_of_very_many_breaks_a_promise(enter: Callable[[World], None]) -> None:
    every(range(10**6, 10**6 + LARGE_SEEDS), enter)


def test_one_seed_is_one_run(enter: Callable[[World], None]) -> None:
    for seed in range(20):
        traces: tuple[list[str], list[str]] = ([], [])
        for trace in traces:
            live(seed, enter, trace)
        assert traces[0] == traces[1]
        assert len(traces[0]) > 3


# ---- it can fail

BREAKAGES: Final[dict[str, tuple[str, str, str]]] = {
    "an answer of 500 counts as delivered": (
        "errand._judged",
        "status != 501):  # noqa: PLR2004\n            return None",
        "status != 501):\n            return Heard()",
    ),
    "no answer counts as delivered": (
        "errand._sent",
        "if isinstance(came, Answer) else None\n        if heard",
        "if isinstance(came, Answer) else Heard()\n        if heard",
    ),
    "a page counts as delivered": ("errand._judged", "not is_answer(answer.body)", "False"),
    "an answer that was cut counts as delivered": ("errand._judged", "answer.is_cut or", ""),
    "what is given back counts as delivered": (
        "shard._collect",
        "pass  # pending",
        "done.append(_silently(outcome.batch))  # pending",
    ),
    "credit returns with the answer": (
        "shard.run_shard",
        "settled += [*map(_silently, quiet), *done]",
        "settled += [*map(_silently, quiet), *done]; credit += len(done)",
    ),
    "credit never returns": ("shard.run_shard", "credit += len(settled)", "pass"),
    "credit is never asked for": (
        "shard.run_shard",
        "credit -= len(quiet) + sent",
        "credit -= len(quiet)",
    ),
    "a stop stops no sender": ("shard.run_shard", "run.delivery.stop()", "pass"),
    "a drain has no end": ("shard.run_shard", "+ DRAIN_S", "+ 1e9"),
    "an error is not told": ("shard._collect", "flow.error = flow.error or fault", "pass"),
    "rows are counted twice": (
        "shard._progress",
        "counts.add(_counts(",
        "counts.add(_counts(settled, refused, 0)); counts.add(_counts(",
    ),
    "rows without a reject lose their reason": (
        "shard._progress",
        "(batch.rejects, refused)",
        "(batch.rejects,)",
    ),
    "a row is refused for its name": ("narrow._Search._named", "yield one", "Heard('named')"),
    "a row is refused by exclusion": ("narrow._Search._halves", "yield part", "Heard('left over')"),
    "the second half is dropped": ("narrow.narrowing", "reversed(left) if one", "left[:1] if one"),
    "a named row jumps ahead": ("errand.errand", "is_ordered=is_ordered", "is_ordered=False"),
    "a lane forgets its order": ("deliver.Delivery.submit", "batch.lane not in self._busy", "True"),
    "a lane is never free again": ("deliver.Delivery._finish", "self._free(lane)", "pass"),
    "a pause is ignored": ("ratelimit.TokenBucket.pause", "now_s + wait_s)", "now_s)"),
    "a pause is for one sender only": ("errand.Line.failed", "or asked_s:", "and False:"),
    "a 429 slows nobody": ("ratelimit.TokenBucket.slow_down", "* SLOWED", "* 1.0"),
    "a place is never free again": ("senders.Senders.end", "self.under_way -= 1", "pass"),
    "a turn never comes": ("errand.Line.ended", "turn.is_come.set()", "pass"),
    "an idle sender makes up for lost time": (
        "ratelimit.TokenBucket.wait_s",
        "0 < late_s <= LATE_SHARE / rate",
        "0 < late_s < 10",
    ),
    "patience has no end": (
        "errand.Line.failed",
        "wait_s > settings.max_outage_s",
        "wait_s > 1e12",
    ),
    "a watermark jumps over a gap": (
        "watermark.Watermark.settle",
        "while merged and",
        "while merged or",
    ),
    "a resume forgets what was settled ahead": (
        "watermark.Watermark.is_settled",
        "[(0, lane.low), *lane.done]",
        "[(0, lane.low)]",
    ),
    "a state forgets what is ahead": ("watermark.Watermark.dump", "in lane.done]", "in ()]"),
    "a state does not know its dead letters": (
        "runner._commit",
        "lengths[file.path.stem] = file.length",
        "lengths[''] = file.length",
    ),
    "a state is saved before its rows": (
        "runner._commit",
        "file_state.lanes = mark.dump()\n    _save(books)",
        "_save(books)\n    file_state.lanes = mark.dump()",
    ),
    "a part of a batch is another part": (
        "batch.Batch.part",
        "self.bounds[last] - 1",
        "self.bounds[last] - 2",
    ),
    "a checkpoint loads as a fresh start": (
        "checkpoint.State.load",
        "counts=counts",
        "counts=Counts()",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_breakage_of_the_core_is_caught(
    name: str, enter: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, old, new = BREAKAGES[name]
    function = attrgetter(path)(backfill)
    source = dedent(inspect.getsource(function))
    assert source.count(old) == 1, "the code has changed: this breakage needs new words"
    found: dict[str, Any] = {}
    text = "from __future__ import annotations\n" + source.replace(old, new)
    exec(compile(text, function.__code__.co_filename, "exec"), function.__globals__ | {}, found)
    made = found[function.__name__]
    monkeypatch.setattr(function, "__code__", getattr(made, "__func__", made).__code__)
    with pytest.raises(AssertionError, match=r"^seed \d+: AssertionError|^seed \d+: IndexError"):
        every(range(BREAKAGE_SEEDS), enter)


# ---- small enough to shrink

ROWS: Final = 24
WINDOW: Final = 4


class Resumes(RuleBasedStateMachine):
    """Batches of lanes are sent, answered in any order, saved, and forgotten by crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: set[int] = set()
        self.heard: set[int] = set()

    @initialize(lanes=st.integers(1, 3), draw=st.randoms(use_true_random=False))
    def begin(self, lanes: int, draw: Any) -> None:
        """Take a source whose rows have lanes, and nothing settled."""
        self.lane = np.array([draw.randrange(lanes) for _ in range(ROWS)])
        files = [FileState("x", 1, 1, "0", lanes=Watermark(lanes).dump())]
        self.state = State("s", "r", "", 0, "m", "d", lanes, files)
        self.save()
        self.crash(3)

    @rule(rows_max=st.integers(1, 7))
    def crash(self, rows_max: int) -> None:
        """Lose all that is not saved, and cut what is left into batches of another size."""
        self.state = State.load(self.durable, Path("x"))
        self.mark = Watermark.load(self.state.files[0].lanes)
        is_single = self.state.lane_count == 1
        left = np.flatnonzero(~self.mark.is_settled(0, ROWS, None if is_single else self.lane))
        texts = pa.array([f',{{"row":{row}}}' for row in left], pa.string())
        span = Span(0, pa.record_batch({"row": pa.array(range(ROWS))}))
        lane = None if is_single else self.lane
        batcher = Batcher(self.mark.starts, Limits(10**6, rows_max))
        given = Encodings(span, lane, left, Texts.of(texts), [], NONE, NONE)
        self.ahead = [*batcher.add(given), *batcher.flush()]
        self.in_flight: list[Batch] = []
        self.heard = set()
        self.unsaved = 0

    @precondition(lambda self: self.ahead and len(self.in_flight) + self.unsaved < WINDOW)
    @rule()
    def submit(self) -> None:
        """Send a batch, of rows that no state calls settled."""
        one = self.ahead.pop(0)
        assert not set(one.rows.tolist()) & self.settled()
        self.in_flight.append(one)

    @precondition(lambda self: self.in_flight)
    @rule(at=st.integers(0, WINDOW - 1))
    def answer(self, at: int) -> None:
        """One of the batches in flight is delivered."""
        one = self.in_flight.pop(at % len(self.in_flight))
        self.mark.settle(one.lane, one.start, one.stop)
        self.heard |= set(one.rows.tolist())
        self.answered |= self.heard
        self.unsaved += 1
        self.state.files[0].lanes = self.mark.dump()

    @rule()
    def save(self) -> None:
        """Make it durable, and with it every answer of this life."""
        self.durable = self.state.dump()
        self.unsaved = 0
        assert self.heard <= self.settled()

    def settled(self) -> set[int]:
        """Return the rows that the durable state calls settled."""
        marks = State.load(self.durable, Path("x")).files[0].lanes
        of_row = [marks[lane] for lane in self.lane]
        return {
            row
            for row, mark in enumerate(of_row)
            if row < mark["low"] or any(first <= row < last for first, last in mark["done"])
        }

    @invariant()
    def check_settled(self) -> None:
        """No row is settled that was not answered."""
        if hasattr(self, "durable"):
            assert self.settled() <= self.answered

    def teardown(self) -> None:
        """Go on to the end: every row is answered."""
        if hasattr(self, "durable"):
            self.crash(5)
            while self.ahead:
                self.submit()
                self.answer(0)
                self.save()
            assert self.answered == set(range(ROWS))
            assert self.mark.low == ROWS


Resumes.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
test_any_order_of_answers_saves_and_crashes_loses_no_row = Resumes.TestCase
