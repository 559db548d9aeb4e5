"""`Batch` → `Outcome`: threads that carry out errands. No file is written here.

An outcome is a value and every batch that is submitted comes back as exactly one, so none can be
dropped: `Settled`, `Unsent` or `Failed`.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from backfill.errand import Came, Line, Post, Settled, Turn, Wait, errand
from backfill.errors import BackfillError
from backfill.wire import Answer, TrustError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.batch import Batch
    from backfill.errand import Settings
    from backfill.ratelimit import TokenBucket


@dataclass(frozen=True, slots=True)
class Unsent:
    """Given back because the run stops; it may have arrived, and will be sent again."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing more can be delivered: the run stops with this error."""

    batch: Batch
    error: BackfillError


Outcome = Settled | Unsent | Failed


class Poster(Protocol):
    """A sender's connection."""

    def post(self, body: bytes) -> Answer:
        """Send one body."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Delivery:
    """Sender threads with one rate, one pause, one queue and one stop for all of them."""

    def __init__(
        self, connect: Callable[[], Poster], bucket: TokenBucket, settings: Settings
    ) -> None:
        self._connect = connect
        self._line = Line(bucket, settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[tuple[Batch, int | None] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._busy: set[int] = set()
        self._waiting: dict[int, deque[Batch]] = defaultdict(deque)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.in_flight = 0

    def submit(self, batch: Batch, *, is_ordered: bool) -> None:
        """Send a batch when a sender is free; an ordered one after those of its lane before it."""
        self.in_flight += 1
        if len(self._threads) < self._settings.connections:
            sender = threading.Thread(target=self._send, daemon=True, name="sender")
            self._threads.append(sender)
            sender.start()
        if not is_ordered:
            self._ready.put((batch, None))
            return
        with self._lock:
            is_free = batch.lane not in self._busy
            self._busy.add(batch.lane)
            if not is_free:
                self._waiting[batch.lane].append(batch)
        if is_free:
            self._ready.put((batch, batch.lane))

    def outcomes(self, timeout_s: float | None) -> list[Outcome]:
        """Wait for an outcome and return all there are; none after `timeout_s`."""
        found: list[Outcome] = []
        try:
            found.append(self._outcomes.get(timeout=timeout_s))
            while True:
                found.append(self._outcomes.get_nowait())
        except queue.Empty:
            self.in_flight -= len(found)
            return found

    def stop(self) -> None:
        """Begin no request any more; what is on its way may still arrive."""
        self._stop.set()
        self._line.stop()

    def close(self) -> None:
        """End the threads that are idle."""
        self.stop()
        for _ in self._threads:
            self._ready.put(None)

    def _send(self) -> None:
        poster: Poster | None = None
        while (given := self._ready.get()) is not None:
            batch, lane = given
            try:
                poster = poster or self._connect()
                outcome = self._carried_out(batch, poster, is_ordered=lane is not None)
            except BackfillError as error:
                outcome = Failed(batch, error)
            except Exception as error:  # noqa: BLE001  whatever it is, the batch comes back
                outcome = Failed(batch, _own_fault(error))
            self._finish(outcome, lane)
        if poster is not None:
            poster.close()

    def _finish(self, outcome: Outcome, lane: int | None) -> None:
        """Give a batch back; a run that failed stops before anyone takes the next one."""
        if isinstance(outcome, Failed):
            self.stop()
        if lane is not None:
            self._free(lane)
        self._outcomes.put(outcome)

    def _free(self, lane: int) -> None:
        with self._lock:
            if waiting := self._waiting[lane]:
                self._ready.put((waiting.popleft(), lane))
            else:
                self._busy.discard(lane)

    def _carried_out(self, batch: Batch, poster: Poster, *, is_ordered: bool) -> Outcome:
        """Take the steps of an errand until it is done, or the run is asked to stop."""
        steps = errand(batch, self._line, is_ordered=is_ordered)
        came: Came = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                settled: Settled = end.value
                return settled
            if self._stop.is_set():  # not before: an answer that came while draining counts
                return Unsent(batch)
            came = None
            match step:
                case Wait(wait_s):
                    if self._settings.wait(self._stop, wait_s):
                        return Unsent(batch)
                case Turn(is_come):
                    is_come.wait()
                case Post(body):
                    came = _answer(poster, body)


def _answer(poster: Poster, body: bytes) -> Came:
    try:
        return poster.post(body)
    except (WireError, TrustError) as fault:
        return fault


def _own_fault(error: Exception) -> BackfillError:
    """A fault of ours must reach the exit code."""
    fix = "this is a fault of backfill: please report it"
    return BackfillError(f"a sender failed: {type(error).__name__}", fix=fix)
