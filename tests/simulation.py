"""A world without threads, sleep or files, in which the real core runs: one seed is one run.

Real here: `runner._iterate` and `_commit`, `run_shard`, `Batcher`, `Watermark`, `State`, `errand`,
`narrowing`, `TokenBucket`, and of `Delivery` the lanes, the queue and the outcomes. Played: the
clock, the network, the destination, the disk, and what becomes of a row before it is sent. Two
things are mirrored, not called: `Delivery._carried_out` (it blocks; `SimDelivery` takes the same
steps as events) and what `runner._opened` does with files (`World._opened`).

Sets of rows are whole numbers, row n of the stream being bit n.
"""

# ruff: noqa: SLF001  the parts of the core are driven one by one
from __future__ import annotations

import errno
import random
import re
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa

from backfill import apart, runner, shard
from backfill.batch import Encodings, Limits
from backfill.checkpoint import FileState, State
from backfill.deliver import Delivery, Failed, Unsent
from backfill.errand import Post, Settings, Turn, Wait, errand
from backfill.errors import (
    BackfillError,
    DestinationError,
    InterruptedRun,
    RejectsError,
    ResumableError,
    UsageError,
)
from backfill.piece import CLOSE, OPEN
from backfill.plan import Job, Shard
from backfill.ratelimit import SHARE_MIN, TokenBucket
from backfill.reading import Read
from backfill.source import Span, files
from backfill.texts import Texts
from backfill.validate import NONE, REJECTS
from backfill.watermark import Watermark
from backfill.wire import Answer, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from backfill.apart import Encode
    from backfill.batch import Batch
    from backfill.errand import Came, Errand
    from backfill.shard import Told

GOOD, BAD, BIG, REJECTED, HELD = range(5)
"""What becomes of a row: delivered; refused with 400, or with 413; or never sent."""

STEPS_MAX: Final = 20_000
"""Events in one life: a run that takes more does not end."""

LIVES_WILD: Final = 4
"""After so many lives nothing goes wrong any more, so that the stream can be finished."""

LIVES_MAX: Final = 250
LANES_MAX: Final = 5
REQUEST_S: Final = 30.0
SLACK_S: Final = 1.0
"""What reading and late wake-ups may add to a limit in time."""

ROW: Final = re.compile(rb'"id":"(\d+)-0"')

BROKEN: Final = WireError("connection reset")


class Road(NamedTuple):
    """What becomes of one request: when it arrives, and what its sender hears and when."""

    says: Answer | WireError | None = None
    """What the sender hears; None: what the destination says to it."""
    is_there: bool = False
    """Whether it arrives at the destination all the same."""
    there_s: tuple[float, float] | None = None
    """Seconds until it arrives; None: as far as the destination is."""
    back_s: tuple[float, float] | None = None
    """Seconds until the sender hears; None: as far as the destination is."""
    is_twice: bool = False
    is_end: bool = False
    """Whether the run stops there."""


def _says(status: int, wait: str = "", body: bytes = b"", **how: Any) -> Road:
    return Road(Answer(status, {"Retry-After": wait} if wait else {}, body), **how)


ROADS: Final[dict[str, Road]] = {
    "lost": Road(BROKEN, back_s=(0, REQUEST_S)),
    "unanswered": Road(BROKEN, is_there=True, back_s=(REQUEST_S, REQUEST_S)),
    "late": Road(BROKEN, is_there=True, there_s=(0, 120), back_s=(0, REQUEST_S)),
    "doubled": Road(is_twice=True),
    "slow": Road(there_s=(0, REQUEST_S - 6)),
    "odd 400": _says(400, body=b'{"meta":{"errors":["batch[0] is odd"]}}'),
    "429": _says(429),
    "429 wait": _says(429, "7"),
    "429 long": _says(429, "90"),
    "429 soon": _says(429, "soon"),
    "408": _says(408),
    "503": _says(503, body=b"<html>busy</html>"),
    "503 wait": _says(503, "3"),
    "500 there": _says(500, is_there=True),
    "103 there": _says(103, is_there=True),
    "page": _says(200, body=b"<html>sign in</html>", is_end=True),
    "page there": _says(200, body=b"<html>", is_there=True, is_end=True),
    "cut there": Road(Answer(200, {}, b"{}", is_cut=True), is_there=True, is_end=True),
    "401": _says(401, is_end=True),
    "302": _says(302, is_end=True),
    "429 too long": _says(429, "301", is_end=True),
}
"""An answer that is not the destination's comes from something on the way."""

CALM: Final = Road()
HONEST: Final = frozenset(name for name, road in ROADS.items() if road.says is None)
ENDS: Final = ("crash", "crash", "stop", "disk full", "jump")


class Crash(BaseException):
    """The machine is gone. Not an error: nothing of ours may catch it."""


@dataclass(frozen=True)
class Stream:
    """The rows of a source: lane, fate and text of each, and where its files begin."""

    bases: tuple[int, ...]
    lane: np.ndarray
    fate: np.ndarray
    texts: list[str]
    column: pa.StringArray
    per_row: int

    @property
    def rows(self) -> int:
        """How many there are in all files."""
        return len(self.texts)

    @cached_property
    def having(self) -> list[int]:
        """The set of rows of each fate."""
        return [mask_of(np.flatnonzero(self.fate == fate).tolist()) for fate in range(5)]

    @cached_property
    def of_lane(self) -> list[int]:
        """The set of rows of each lane."""
        return [mask_of(np.flatnonzero(self.lane == at).tolist()) for at in range(LANES_MAX)]


def mask_of(rows: list[int]) -> int:
    return sum(1 << row for row in rows)


def rows_of(mask: int) -> list[int]:
    return [row for row in range(mask.bit_length()) if mask >> row & 1]


def stream_of(draw: random.Random, *, lanes: int) -> Stream:
    """Make a source of one or two files."""
    sizes = [draw.randrange(1, 60) for _ in range(draw.choice([1, 1, 1, 2]))]
    rows, per_row = sum(sizes), draw.choice([1, 1, 2])
    odds = [40, *(draw.choice([0, 0, 1, 3, 8]) for _ in range(4))]
    fate = draw.choices(range(5), odds, k=rows)
    texts = []
    for row in range(rows):
        pad = "x" * (2600 if fate[row] == BIG else draw.choice([0, 5, 40]))
        texts.append("".join(f',{{"id":"{row}-{n}","pad":"{pad}"}}' for n in range(per_row)))
    lane = np.array([draw.randrange(lanes) for _ in range(rows)], np.int64)
    bases = tuple(accumulate(sizes, initial=0))
    return Stream(bases, lane, np.array(fate), texts, pa.array(texts, pa.string()), per_row)


@dataclass
class Letters:
    """A dead-letter file: a line a row."""

    world: World
    path: Path
    data: bytearray = field(default_factory=bytearray)

    @property
    def length(self) -> int:
        """Bytes."""
        return len(self.data)

    def cut_back(self, length: int) -> None:
        """Forget what was written after the last save."""
        assert len(self.data) >= length, "dead letters are gone that the state counts"
        del self.data[length:]

    def append(self, tolds: tuple[Told, ...], read: Read) -> None:
        """Write the rows whose cells are in the spans, as the real forms do."""
        if not tolds:
            return
        base = int(read.file)
        lines = b"".join(
            b"%d\n" % (base + row)
            for told in tolds
            for span in told.spans
            for row in told.table["row"].to_pylist()
            if span.start <= row < span.stop
        )
        try:
            self.world.step(f"write {self.path}")
            self.world.disk()
        except BaseException:  # a part of it may be on the disk
            self.data += lines[: self.world.draw.randrange(len(lines) + 1)]
            raise
        self.data += lines
        self.world.step(f"wrote {self.path}")

    def rows(self, length: int) -> int:
        """Return the rows told in the first so many bytes; each once."""
        found = [int(line) for line in bytes(self.data[:length]).split()]
        assert len(set(found)) == len(found), f"rows told twice in {self.path}"
        return mask_of(found)


class SimStore:
    """The disk with the state on it."""

    folder = Path("state")
    path = folder / "checkpoint.json"

    def __init__(self, world: World) -> None:
        self._world = world
        self.data: bytes | None = None

    def save(self, state: State) -> None:
        """Make a state durable, or fail, or not come back from it."""
        data = state.dump()
        self._world.step("save")
        self._world.disk()
        self.data = data
        self._world.saved(state)
        self._world.step("saved")


class SimDelivery(Delivery):
    """A delivery whose senders are events, not threads."""

    def __init__(self, world: World, bucket: TokenBucket, settings: Settings) -> None:
        super().__init__(_no_connection, bucket, settings)
        self.world = world
        self._threads = [threading.Thread() for _ in range(settings.connections)]  # so none starts
        self._idle = settings.connections
        self._asleep: dict[int, Callable[[], None]] = {}
        self._queued: dict[Turn, Callable[[], None]] = {}
        self._was_quiet = False

    def submit(self, batch: Batch, *, is_ordered: bool) -> None:
        """Queue a batch as the real one does."""
        self.world.submitted(batch)
        super().submit(batch, is_ordered=is_ordered)
        self._take()

    def outcomes(self, timeout_s: float | None) -> list[Any]:
        """Let the world go on until something came back; quiet after a quiet call is not told."""
        assert timeout_s is not None
        if timeout_s and self._was_quiet and not self.world.is_stopping:
            timeout_s = float("inf")
        self.world.go_on(timeout_s, lambda: not self._outcomes.empty())
        found = super().outcomes(0)
        self._was_quiet = not found
        return found

    def stop(self) -> None:
        """Wake the senders that wait."""
        super().stop()
        for wake in [*self._asleep.values()]:
            wake()
        self._take_turns()

    def _take(self) -> None:
        while self._idle and not self._ready.empty():
            given = self._ready.get_nowait()
            assert given is not None
            batch, lane = given
            self._idle -= 1
            steps = errand(batch, self._line, is_ordered=lane is not None)
            self.world.after(self.world.moment(), lambda: self._go(batch, lane, steps, None))  # noqa: B023

    def _go(self, batch: Batch, lane: int | None, steps: Errand, came: Came) -> None:
        """Take one step of an errand: what `_carried_out` does in a thread."""
        if self._stop.is_set():
            self._end(Unsent(batch), lane)
            return
        try:
            step = steps.send(came)
        except StopIteration as end:
            self.world.heard(came)
            self._end(end.value, lane)
            return
        except BackfillError as fault:
            self._end(Failed(batch, fault), lane)
            return
        self._take_turns()
        if not isinstance(step, Wait):
            self.world.heard(came)
        match step:
            case Post(body):
                self.world.post(batch, body, lambda came: self._go(batch, lane, steps, came))
            case Turn():
                self._queued[step] = lambda: self._go(batch, lane, steps, None)
            case Wait(wait_s):
                self.world.failed(came, wait_s)
                self._sleep(id(steps), wait_s, lambda: self._go(batch, lane, steps, None))

    def _take_turns(self) -> None:
        """Let those go on whose turn has come."""
        for turn in [turn for turn in self._queued if turn.is_come.is_set()]:
            self.world.after(self.world.moment(), self._queued.pop(turn))

    def _sleep(self, sleeper: int, wait_s: float, go: Callable[[], None]) -> None:
        def wake() -> None:
            if self._asleep.get(sleeper) is wake:
                del self._asleep[sleeper]
                go()

        self._asleep[sleeper] = wake
        self.world.after(wait_s + self.world.moment(), wake)

    def _end(self, outcome: Any, lane: int | None) -> None:
        self._finish(outcome, lane)
        self._take_turns()
        self._idle += 1
        self._take()


def _no_connection() -> Any:
    raise AssertionError("a simulation has no connection")


class World:
    """One seed: a stream, a destination, a disk, and the lives of a run until it is finished."""

    def __init__(self, seed: int, trace: list[str] | None = None) -> None:
        self.draw = random.Random(seed)
        draw = self.draw
        self.trace = trace
        self.now_s = draw.choice([0.0, 1e3, 1e6])
        self.is_ordered = draw.random() < 0.6
        self.lanes = draw.choice([1, 2, 3, 5]) if self.is_ordered else 1
        self.stream = stream_of(draw, lanes=self.lanes)
        self.witness = draw.choice(["nobody", "truth", "first", "lie", "all", "mixed"])
        self.body_bytes_max = draw.choice([200, 900, 2500])
        self.distances_s = draw.choice([[0.01], [0.01, 0.1, 5.0]])
        self.faults = self._swarm()
        self.store = SimStore(self)
        self.letters = [Letters(self, Path(name)) for name in ("rejects", "held")]
        self._events: list[tuple[float, int, int | None, Callable[[], object]]] = []
        self._count = 0
        self._asked = 0
        self.lives = 0
        self.steps = 0
        self.seen: Counter[str] = Counter()
        self.acked = self.refused = self.settled = self.arrived = 0
        self.last_of: Counter[int] = Counter(dict.fromkeys(range(self.lanes), -1))
        self.life: Life | None = None
        self.is_complete = False
        ranges = pairwise(self.stream.bases)
        self.shards = [Shard(at, _named(a, b)) for at, (a, b) in enumerate(ranges)]

    def _swarm(self) -> dict[str, float]:
        """Choose which faults this world has, so that each is seen often and alone too."""
        found = {"none": 1.0}
        for name, road in ROADS.items():
            if self.draw.random() < 0.3:
                found[name] = self.draw.uniform(0.01, 0.05 if road.is_end else 0.4)
        if self.draw.random() < 0.1:
            found["503"] = 1e3  # an outage
        return found

    # ---- time

    def clock(self) -> float:
        """Return the seconds of a monotonic clock."""
        self._asked += 1
        assert self._asked < STEPS_MAX, "the run asks for the time and nothing happens"
        return self.now_s

    def moment(self) -> float:
        """How late a sender wakes up."""
        return self.draw.choice([0.0, 0.0, 0.0, 0.001, 0.02, 0.3])

    def after(self, wait_s: float, what: Callable[[], object], *, is_far: bool = False) -> None:
        """Let something happen later. is_far: whether or not the run still lives."""
        self._count += 1
        life = None if is_far else self.lives
        heappush(self._events, (self.now_s + wait_s, self._count, life, what))

    def go_on(self, limit_s: float, is_there: Callable[[], bool]) -> None:
        """Let things happen until something is there, or for so long."""
        until_s = self.now_s + limit_s
        while not is_there():
            if self.is_stopping and until_s == float("inf"):
                return
            assert self._events, "deadlock: batches are in flight and nothing can happen"
            if self._events[0][0] > until_s:
                self.now_s = max(self.now_s, until_s)
                break
            at_s, _, life, what = heappop(self._events)
            self.now_s = max(self.now_s, at_s)
            if life is None or (self.life is not None and life == self.lives):
                self.step("")
                what()

    def step(self, what: str) -> None:
        """One thing happens; here a run may end, or the clock jump."""
        life = self.life
        assert life is not None
        self.steps += 1
        self._asked = 0
        life.steps += 1
        assert life.steps < STEPS_MAX, "the run does not end"
        if what:
            self.say(what)
        life.check_time(self.now_s)
        if life.steps < life.end_at:
            return
        life.end_at = STEPS_MAX
        self.seen[life.end] += 1
        self.say(life.end.upper())
        if life.end == "crash":
            raise Crash
        if life.end == "stop":
            life.stop_asked(self.now_s)
        elif life.end == "disk full":
            life.is_full = True
        else:
            jump_s = self.draw.uniform(1, 7200)
            self.now_s += jump_s
            life.jumped_s += jump_s
            life.end_at = life.steps + self.draw.randrange(1, 80)
            life.end = self.draw.choice(ENDS)

    @property
    def is_stopping(self) -> bool:
        """Whether the run was asked to stop."""
        return self._alive().stop.event.is_set()

    def disk(self) -> None:
        """Raise where the disk is full."""
        assert self.life is not None
        if self.life.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def say(self, what: str, rows: int = 0) -> None:
        """Leave a line for the person who replays the seed."""
        if self.trace is not None:
            told = f"{what} {rows_of(rows)}" if rows else what
            self.trace.append(f"{self.lives}:{self.steps:>5} {self.now_s:12.3f} {told}")

    # ---- the lives of the run

    def run(self) -> None:
        """Run, be interrupted and resume, until all is done; then look at the end."""
        while not self.is_complete:
            self.lives += 1
            assert self.lives < LIVES_MAX, "the stream is never finished"
            self._live()
            self._rest()
        every = (1 << self.stream.rows) - 1
        assert self.settled == every, f"lost rows {rows_of(every & ~self.settled)}"
        assert self.arrived == self.stream.having[GOOD]

    def _live(self) -> None:
        draw = self.draw
        self.life = life = Life(self, is_wild=self.lives <= LIVES_WILD)
        self.say(f"BEGIN {life.connections} connections, rate {life.rate}, {life.limits}")
        settings = Settings(
            connections=life.connections,
            max_outage_s=life.max_outage_s,
            origin="sim",
            clock=self.clock,
            random=draw.random,
        )
        delivery = SimDelivery(self, TokenBucket(life.rate), settings)
        try:
            books = self._opened(life)
            runner._iterate(books, delivery, life.stop)
            self.is_complete = all(file.is_finished for file in books.state.files)
            assert self.is_complete, "the run ended early and said nothing"
        except Crash:
            pass
        except BackfillError as fault:
            self.say(f"ENDED {fault.what}")
            life.check_end(fault)
        self.life = None

    def _opened(self, life: Life) -> Any:
        """Load, cut back what the state does not know, save: as `runner._opened` does."""
        data = self.store.data
        state = self._begun() if data is None else State.load(data, self.store.folder)
        for letters in self.letters:
            letters.cut_back(state.lengths.get(letters.path.stem, 0))
        job = Job(
            mapping=SimpleNamespace(  # type: ignore[arg-type]
                path="sim.yaml"
            ),
            rules=SimpleNamespace(now_ms=0),  # type: ignore[arg-type]
            is_ordered=self.is_ordered,
            lanes=self.lanes,
            limits=life.limits,
            open=lambda _file: self.stream,  # type: ignore[arg-type,return-value]
            is_many=False,
        )
        marks = {
            at: Watermark.load(file.lanes) if file.lanes else Watermark(self.lanes)
            for at, file in enumerate(state.files)
            if not file.is_finished
        }
        plan: Any = SimpleNamespace(job=job, shards=self.shards)
        options = runner.Options(Path("state"), "sim", connections=life.connections)
        store: Any = self.store
        rejects, held = cast("list[Any]", self.letters)
        try:
            self.store.save(state)
        except OSError as fault:
            raise UsageError(str(fault)) from None
        return runner._Books(plan, options, store, state, store.folder, rejects, held, marks=marks)

    def _begun(self) -> State:
        files = [FileState(shard.file.path, 1, 1, "0") for shard in self.shards]
        return State("sim", "run", "", 0, "m", "sim", self.lanes, files)

    def _rest(self) -> None:
        """Between two lives: what is on its way still arrives."""
        self.now_s += self.draw.choice([1.0, 1.0, 5.0, 60.0, 1000.0])
        while self._events and self._events[0][0] <= self.now_s:
            _, _, life, what = heappop(self._events)
            if life is None:
                what()

    # ---- the source

    def encodings(self, shard_: Shard, span: Span, mark: Watermark) -> Encodings:
        """What the pipeline makes of a span: rows that are settled are left out."""
        self.step("")
        self.now_s += self.draw.choice([0.0, 0.0, 0.01])
        base = self.stream.bases[shard_.index]
        here = slice(base + span.start, base + span.stop)
        lane = None if self.lanes == 1 else self.stream.lane[here]
        fate = self.stream.fate[here]
        left = ~mark.is_settled(span.start, len(fate), lane)
        keep = left & (fate <= BIG)
        texts = self.stream.column.slice(here.start, len(fate))
        if not keep.all():
            texts = texts.filter(pa.array(keep))
        tables = [
            _told(np.flatnonzero(left & (fate == why)) + span.start) for why in (REJECTED, HELD)
        ]
        messages = np.full(len(texts), self.stream.per_row)
        rows = np.flatnonzero(keep) + span.start
        rejects, held = tables
        made = Texts.of(texts)
        return Encodings(span, lane, rows, made, [], rejects, held, messages=messages)

    # ---- the network

    def submitted(self, batch: Batch) -> None:
        """A batch is given to the delivery."""
        life = self._alive()
        life.unsaved.append(batch)
        assert len(life.unsaved) <= life.window, (
            f"{len(life.unsaved)} batches are unsaved, the window is {life.window}"
        )

    def post(self, batch: Batch, body: bytes, reply: Callable[[Came], None]) -> None:
        """A request begins; the road it takes is drawn."""
        life = self._alive()
        sent = self._read(body)
        life.begins(self.now_s, batch.lane if self.is_ordered else None)
        assert not sent & self.settled, f"sent again though durable: {rows_of(sent & self.settled)}"
        faults = self.faults if life.is_wild else {"none": 1.0}
        name = self.draw.choices([*faults], [*faults.values()])[0]
        if name == "odd 400" and not sent & (sent - 1):
            name = "none"  # alone, a row is refused for itself only
        self.seen[name] += 1
        self.say(f"POST lane {batch.lane} ({name})", sent)
        lane = batch.lane if self.is_ordered else None

        def hears(came: Came, wait_s: float) -> None:
            def now() -> None:
                life.returned(lane)
                self._judged(came, sent, name)
                reply(came)

            if self.life is life:
                self.after(wait_s, now)

        self._travels(ROADS.get(name, CALM), lambda: self._arrives(body, sent), hears)

    def _travels(
        self, road: Road, arrives: Callable[[], Answer], hears: Callable[[Came, float], None]
    ) -> None:
        """Let a request arrive, its sender hear of it, or not."""
        there_s, back_s = (
            self.draw.choice(self.distances_s) if span is None else self.draw.uniform(*span)
            for span in (road.there_s, road.back_s)
        )
        if road.says is not None:
            hears(road.says, back_s)
            if road.is_there:
                self.after(there_s, arrives, is_far=True)
            return
        self.after(there_s, lambda: hears(arrives(), back_s), is_far=True)
        if road.is_twice:
            self.after(self.draw.uniform(0, 100), arrives, is_far=True)

    def _read(self, body: bytes) -> int:
        """Return the rows of a body, which must be exactly their own texts, in order."""
        rows = [int(found) for found in ROW.findall(body)]
        texts = "".join(self.stream.texts[row] for row in rows)[1:]
        assert body == OPEN + texts.encode() + CLOSE, f"not the texts of rows {rows}"
        assert rows, "an empty body"
        assert all(a < b for a, b in pairwise(rows)), f"out of order: {rows}"
        assert all(self.stream.fate[row] <= BIG for row in rows), "a rejected or held row is sent"
        return mask_of(rows)

    def _arrives(self, body: bytes, sent: int) -> Answer:
        """What the destination makes of a request, whether or not anyone waits for it."""
        if len(body) > self.body_bytes_max:
            return Answer(413, {}, b"")
        faulty = sent & self.stream.having[BAD]
        if faulty:
            return Answer(400, {}, self._words(rows_of(sent), faulty))
        fresh = rows_of(sent & ~self.arrived)
        self.arrived |= sent
        if self.is_ordered:
            for row in fresh:
                lane = int(self.stream.lane[row])
                assert row > self.last_of[lane], f"row {row} arrives after {self.last_of[lane]}"
                self.last_of[lane] = row
        return Answer(200, {}, self.draw.choice([b"", b"{}"]))

    def _words(self, rows: list[int], faulty: int) -> bytes:
        """Name messages: the right ones, some of them, wrong ones, or none."""
        kind = self.witness
        if kind == "mixed":
            kind = self.draw.choice(["nobody", "truth", "first", "lie", "all"])
        per_row = self.stream.per_row
        right = [at * per_row for at, row in enumerate(rows) if faulty >> row & 1]
        lies = [self.draw.randrange(len(rows) * per_row + 2) for _ in range(2)]
        named: list[int] = {
            "nobody": [],
            "truth": right,
            "first": right[:1],
            "lie": lies,
            "all": [*range(len(rows) * per_row)],
        }[kind]
        told = ",".join(f'"batch[{at}]: invalid"' for at in named)
        return f'{{"meta":{{"errors":[{told}]}}}}'.encode()

    def _judged(self, came: Came, sent: int, name: str) -> None:
        """Note what the run may now believe of the rows it sent."""
        life = self._alive()
        if not isinstance(came, Answer):
            return
        self.say(f"ANSWER {came.status}", sent)
        if came.status == 200 and name in {"none", *HONEST}:
            self.acked |= sent
        elif came.status in {400, 413} and not sent & (sent - 1):
            self.refused |= sent
        life.met.add(name)

    def heard(self, came: Came) -> None:
        """The destination answered as it should."""
        if came is not None:
            self._alive().failing_since_s = None

    def failed(self, came: Came, wait_s: float) -> None:
        """A sender waits, for a passing fault that it met or for its place."""
        if came is None:
            return
        life = self._alive()
        if isinstance(came, Answer) and came.status in {400, 413, 200}:
            life.failing_since_s = None  # it was heard, and the next part waits for its place
            return
        if life.failing_since_s is None:
            life.failing_since_s, life.jumped_then_s = self.now_s, life.jumped_s
        if not isinstance(came, Answer):
            return
        asked = came.headers.get("Retry-After", "")
        asked_s = float(asked) if asked.isdigit() else 0.0
        assert wait_s >= asked_s, f"asked to wait {asked_s} s, waits {wait_s}"
        if came.status == 429 or asked_s:
            life.paused_until_s = max(life.paused_until_s, self.now_s + wait_s)
        if came.status == 429 and life.slowed_s is None:
            life.slowed_s = self.now_s
            life.slow_until_s = max(self.now_s, life.paused_until_s) + 1

    # ---- the books

    def saved(self, state: State) -> None:
        """A state is durable: what it says must be so."""
        life = self._alive()
        settled = self._durable(state)
        good, bad, big, rejected, held = (settled & rows for rows in self.stream.having)
        gone = self.settled & ~settled
        assert not gone, f"no longer settled: {rows_of(gone)}"
        unproven = good & ~self.acked
        assert not unproven, f"settled, never acknowledged: {rows_of(unproven)}"
        blamed = (bad | big) & ~self.refused
        assert not blamed, f"settled, never refused alone: {rows_of(blamed)}"
        counts, per_row = state.counts, self.stream.per_row
        wanted = {
            "delivered": good.bit_count(),
            "rejected": (bad | big | rejected).bit_count(),
            "held": held.bit_count(),
            "settled": settled.bit_count(),
            "delivered_messages": per_row * good.bit_count(),
            "refused_messages": per_row * (bad | big).bit_count(),
        }
        found = {name: getattr(counts, name) for name in wanted}
        assert found == wanted, f"the books do not balance: {found}, should be {wanted}"
        assert sum(counts.by_code.values()) == counts.rejected
        assert sum(file.rows for file in state.files) >= counts.settled, "settled, never read"
        told = [one.rows(state.lengths.get(one.path.stem, 0)) for one in self.letters]
        assert told == [bad | big | rejected, held], "dead letters are missing or too many"
        self.settled = settled
        life.unsaved = [batch for batch in life.unsaved if not self._is_durable(state, batch)]

    def _is_durable(self, state: State, batch: Batch) -> bool:
        at = next((n for n, file in enumerate(state.files) if not file.is_finished), None)
        if at is None or not state.files[at].lanes:
            return True
        lane = state.files[at].lanes[batch.lane]
        ranges = [(0, lane["low"]), *lane["done"]]
        return any(first <= batch.start and batch.stop <= last for first, last in ranges)

    def _durable(self, state: State) -> int:
        """Return the rows that a state calls settled."""
        found = 0
        for at, file in enumerate(state.files):
            base, end = self.stream.bases[at : at + 2]
            if file.is_finished:
                found |= (1 << end) - (1 << base)
            for lane, mark in enumerate(file.lanes):
                ranges = [(0, mark["low"]), *mark["done"]]
                assert all(last <= end - base for _, last in ranges), "settled beyond the end"
                rows = sum((1 << last) - (1 << first) for first, last in ranges) << base
                found |= rows & self.stream.of_lane[lane]
        return found

    def _alive(self) -> Life:
        assert self.life is not None
        return self.life


class Life:
    """One process, from its start to its end, and what it must keep to."""

    def __init__(self, world: World, *, is_wild: bool) -> None:
        draw = world.draw
        self.is_wild = is_wild
        self.connections = draw.choice([1, 2, 3, 5])
        self.window = 2 * self.connections
        self.rate = draw.choice([None, 1.0, 3.0, 10.0, 40.0])
        self.max_outage_s = draw.choice([5.0, 60.0, 900.0]) if is_wild else 1e9
        self.limits = Limits(draw.choice([120, 400, 1200]), draw.choice([1, 3, 8, 20]))
        self.end = draw.choice(ENDS)
        self.end_at = draw.choice([20, 60, 200]) if is_wild else STEPS_MAX
        self.end_at = draw.randrange(1, self.end_at + 1) if is_wild else STEPS_MAX
        self.steps = 0
        self.stop = runner.Stop()
        self.is_full = False
        self.unsaved: list[Batch] = []
        self.met: set[str] = set()
        self.jumped_s = 0.0
        self.failing_since_s: float | None = None
        self.jumped_then_s = 0.0
        self.paused_until_s = float("-inf")
        self.slowed_s: float | None = None
        self.slow_until_s = float("-inf")
        self._begun_s: deque[float] = deque()
        self._on_the_way: Counter[int] = Counter()
        self._under_way = 0
        self._stop_until_s = float("inf")

    def begins(self, now_s: float, lane: int | None) -> None:
        """Check that a request may begin."""
        assert now_s >= self.paused_until_s - 1e-5, "a request began within a pause"
        self._under_way += 1
        assert self._under_way <= self.connections, f"{self._under_way} requests at once"
        if lane is not None:
            self._on_the_way[lane] += 1
            assert self._on_the_way[lane] == 1, f"two requests of lane {lane}"
        if self.stop.event.is_set():
            assert now_s <= self._stop_until_s, "a request began after the stop was noticed"
        if self.rate is not None:
            self._check_rate(now_s, self.rate)
        if self.failing_since_s is not None:
            slowest_s = 1 / (SHARE_MIN * self.rate) if self.rate else 1 / (SHARE_MIN * 1.0)
            slack_s = REQUEST_S + slowest_s + self.jumped_s - self.jumped_then_s + SLACK_S
            failing_s = now_s - self.failing_since_s
            assert failing_s <= self.max_outage_s + slack_s, f"patient for {failing_s} s"

    def _check_rate(self, now_s: float, rate: float) -> None:
        begun = self._begun_s
        begun.append(now_s)
        while begun[0] <= now_s - 1 + 1e-5:
            begun.popleft()
        assert len(begun) <= rate + 1, f"{len(begun)} requests began in a second, rate {rate}"
        # later 429s pause again, when the rate has climbed back: only the first is judged
        if self.slowed_s is not None and now_s <= self.slow_until_s:
            slowly = [at_s for at_s in begun if at_s > self.slowed_s]
            for count, at_s in enumerate(reversed(slowly), 1):  # half a place may be made up for
                allowed = 0.55 * rate * (now_s - at_s) + 1.5
                assert count <= allowed, f"{count} in {now_s - at_s} s after a 429, rate {rate}"

    def returned(self, lane: int | None) -> None:
        """A request of a lane is answered, or given up."""
        self._under_way -= 1
        if lane is not None:
            self._on_the_way[lane] -= 1

    def stop_asked(self, now_s: float) -> None:
        """SIGTERM."""
        self.stop.event.set()
        self._stop_until_s = now_s + shard.TICK_S + SLACK_S

    def check_time(self, now_s: float) -> None:
        """A stop waits no longer than it says."""
        until_s = self._stop_until_s + shard.DRAIN_S + shard.TICK_S
        assert now_s <= until_s, "the drain takes too long"

    def check_end(self, fault: BackfillError) -> None:
        """A run ends early only where something happened that explains it."""
        assert self._explains(fault), f"nothing led to: {fault.what}"

    def _explains(self, fault: BackfillError) -> bool:
        match fault:
            case DestinationError():
                return bool(self.met & {"page", "401", "302", "cut there", "page there"})
            case InterruptedRun():
                return self.stop.event.is_set()
            case UsageError():
                return self.is_full
            case ResumableError():
                return self.is_full or "429 too long" in self.met or self.is_wild
            case _:
                return isinstance(fault, RejectsError)


class Source:
    """A reader of the rows of one file, in spans of any size."""

    columns: list[str]
    has_all_columns = True
    has_nulls = False
    schema: Any = None
    first_row = 0

    def __init__(self, world: World, rows: int) -> None:
        self.columns = ["row"]
        self._draw = world.draw
        self._rows = rows

    def spans(self, start: int) -> Iterator[Span]:
        """Tile the rows from `start` on."""
        while start < self._rows:
            stop = min(start + self._draw.choice([2, 9, 30]), self._rows)
            yield Span(start, WIDE.slice(0, stop - start))
            start = stop


WIDE: Final = pa.record_batch({"row": pa.array(range(30))})


def _named(start: int, stop: int) -> Any:
    return SimpleNamespace(path=str(start), rows=stop - start, address=None, place=None)


def _told(rows: np.ndarray) -> pa.Table:
    if not len(rows):
        return NONE
    told = [["x"] * len(rows)] * 3
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), *map(pa.array, told)], schema=REJECTS)


def finished(items: Iterator[Any], finish: Callable[[Any], None]) -> Iterator[Any]:
    """Finish each item where it is asked for, as `ahead.beside` does in a thread of its own."""
    for item in items:
        finish(item)
        yield item


def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], None]:
    """Put the world in the place of files and of the clock; returns what tells which world."""
    worlds: list[World] = []

    def open_shard(_job: Job, shard_: Shard) -> Read:
        file: Any = shard_.file
        return Read(Source(worlds[-1], file.rows), file)

    def encodings(_job: Job, shard_: Shard, span: Span, mark: Watermark) -> Encodings:
        return worlds[-1].encodings(shard_, span, mark)

    def run(delivery: Delivery, window: int, stop: threading.Event, encode: Encode) -> shard.Run:
        return shard.Run(delivery, window, stop, encode, worlds[-1].clock)

    monkeypatch.setattr(shard, "open_shard", open_shard)
    monkeypatch.setattr(apart, "encodings", encodings)
    # a world has one clock and one thread: what comes next waits for its turn
    monkeypatch.setattr(apart, "ahead", iter)
    monkeypatch.setattr(apart, "beside", finished)
    monkeypatch.setattr(files, "check_unchanged", lambda _file: None)  # there are no files
    monkeypatch.setattr(runner, "Run", run)
    monkeypatch.setattr(runner, "now_text", lambda: "2026-11-21T12:00:00Z")
    return worlds.append
