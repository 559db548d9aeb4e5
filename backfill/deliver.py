"""`Batch` → `Outcome`: post, classify, retry, halve. Sender threads; no file is written here.

An outcome is a value and every batch that is submitted comes back as exactly one, so none can be
dropped: `Settled`, `Unsent` or `Failed`.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from backfill.answer import is_answer, words
from backfill.backoff import RETRY_AFTER_S_MAX, pause_s, retry_after_s
from backfill.errors import BackfillError, DestinationError, ResumableError
from backfill.wire import Answer, TrustError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.batch import Batch
    from backfill.ratelimit import TokenBucket


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the destination refused when it was sent alone. index: its place in the batch."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Effort:
    """What it took."""

    sent: int
    """Requests, retries among them."""
    retried: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Every row of the batch is delivered, but for those refused."""

    batch: Batch
    refusals: tuple[Refusal, ...]
    effort: Effort


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


@dataclass(frozen=True, slots=True)
class Settings:
    """How to deliver; the last three are injected by tests."""

    connections: int
    max_outage_s: float
    origin: str
    scrub: Callable[[str], str] = str
    """Takes every form of the key out of the destination's words."""
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    random: Callable[[], float] = random.random
    note: Callable[[str, dict[str, Any]], None] = field(default=lambda _what, _facts: None)
    """Told of each thing worth a line in the log; facts hold no cell and no key."""


class _Stopping(Exception):  # noqa: N818  no error: the run was asked to stop
    pass


class Delivery:
    """Sender threads with one rate, one pause and one stop for all of them."""

    def __init__(
        self, connect: Callable[[], Poster], bucket: TokenBucket, settings: Settings
    ) -> None:
        self._connect = connect
        self._bucket = bucket
        self._settings = settings
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[tuple[Batch, int | None] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._busy: set[int] = set()
        self._waiting: dict[int, deque[Batch]] = defaultdict(deque)
        self._failing_since_s: float | None = None
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
                outcome = self._outcome(batch, poster)
            except Exception as error:  # noqa: BLE001  whatever it is, the batch comes back
                outcome = Failed(batch, _own_fault(error))
            if isinstance(outcome, Failed):
                self.stop()
            if lane is not None:
                self._free(lane)
            self._outcomes.put(outcome)
        if poster is not None:
            poster.close()

    def _free(self, lane: int) -> None:
        with self._lock:
            if waiting := self._waiting[lane]:
                self._ready.put((waiting.popleft(), lane))
            else:
                self._busy.discard(lane)

    def _outcome(self, batch: Batch, poster: Poster) -> Outcome:
        try:
            return self._deliver(batch, poster)
        except _Stopping:
            return Unsent(batch)
        except BackfillError as error:
            return Failed(batch, error)

    def _deliver(self, batch: Batch, poster: Poster) -> Settled:
        """Send a batch; where it is refused, its halves, down to the row."""
        refusals: list[Refusal] = []
        tally = _Tally()
        pending = [(0, len(batch.rows))]
        while pending:
            first, last = pending.pop()
            is_whole = last - first == len(batch.rows)
            body = batch.body if is_whole else batch.part(first, last)
            reason = self._post(body, poster, tally)
            if reason is None:
                continue
            if last - first == 1:
                refusals.append(Refusal(first, reason))
                continue
            self._settings.note("halved", {"rows": last - first})
            middle = (first + last) // 2
            pending += [(middle, last), (first, middle)]  # the first half goes first
        return Settled(batch, tuple(refusals), tally.effort())

    def _post(self, body: bytes, poster: Poster, tally: _Tally) -> str | None:
        """Send one body until it is answered. Returns None, or why the destination refused it."""
        attempt = 0
        while True:
            self._admit()
            tally.add(body, is_retry=attempt > 0)
            attempt += 1
            try:
                answer = poster.post(body)
            except TrustError as fault:
                raise self._refused(f"the connection cannot be trusted: {fault}") from None
            except WireError as fault:
                self._pause(None, attempt, str(fault))
                continue
            verdict = self._judge(answer)
            if verdict is not None:
                self._failing_since_s = None
                return verdict or None
            self._pause(answer, attempt, f"answered {answer.status}")

    def _judge(self, answer: Answer) -> str | None:
        """Return "" where it is delivered, the words of a refusal, None where to try again."""
        match answer.status:
            case 200:
                if answer.is_cut or not is_answer(answer.body):
                    raise self._refused("answered 200 with a page that is not the API's")
                return ""
            case 400 | 413:
                return self._words(answer)
            case 408 | 429:
                return None
            case 501:
                raise self._refused(f"answered 501: {self._words(answer)}")
            case 401 | 403:
                what = f"refused the key ({answer.status}: {self._words(answer)})"
                raise self._refused(what, fix="check the write key and its region (--to us | eu)")
            case status if status >= 500 or status < 200:  # noqa: PLR2004
                return None
            case status:
                raise self._refused(f"answered {status}: {self._words(answer)}")

    def _refused(self, what: str, fix: str = "") -> DestinationError:
        fix = fix or "check the address given with --to, and proxies on the way"
        return DestinationError(self._settings.scrub(what), where=self._settings.origin, fix=fix)

    def _words(self, answer: Answer) -> str:
        told = words(answer.body, self._settings.scrub)
        return told or ("the request is too large" if answer.status == 413 else "no reason given")  # noqa: PLR2004

    def _admit(self) -> None:
        """Wait for a place of the rate; after a pause a place reserved before it counts no more."""
        settings = self._settings
        while True:
            if self._stop.is_set():
                raise _Stopping
            with self._lock:
                wait_s = self._bucket.take(settings.clock())
            if wait_s > 0 and settings.wait(self._stop, wait_s):
                raise _Stopping
            with self._lock:
                if self._bucket.is_open(settings.clock()):
                    return

    def _pause(self, answer: Answer | None, attempt: int, reason: str) -> None:
        """Wait before the next attempt. Raises ResumableError where patience ends."""
        settings = self._settings
        now_s = settings.clock()
        asked_s = None
        if answer is not None:
            asked_s = retry_after_s(answer.headers.get("Retry-After"), datetime.now(UTC))
        wait_s = pause_s(attempt, settings.random) if asked_s is None else asked_s
        settings.note("retry", {"attempt": attempt, "reason": reason, "wait_s": round(wait_s, 3)})
        if wait_s > RETRY_AFTER_S_MAX:
            raise ResumableError(
                f"the destination asks to wait {wait_s:.0f} s ({reason})",
                where=settings.origin,
                fix="run the same command again later; it goes on where it stopped",
            )
        with self._lock:
            if self._failing_since_s is None:
                self._failing_since_s = now_s
            failing_s = now_s - self._failing_since_s
            if answer is not None and answer.status == 429:  # noqa: PLR2004
                self._bucket.pause(now_s, wait_s)
        if failing_s + wait_s > settings.max_outage_s:
            raise ResumableError(
                f"nothing was delivered for {failing_s:.0f} s ({reason})",
                where=settings.origin,
                fix="run the same command again later; it goes on where it stopped",
            )
        if wait_s > 0 and settings.wait(self._stop, wait_s):
            raise _Stopping


@dataclass
class _Tally:
    sent: int = 0
    retried: int = 0
    body_bytes: int = 0

    def add(self, body: bytes, *, is_retry: bool) -> None:
        self.sent += 1
        self.retried += is_retry
        self.body_bytes += len(body)

    def effort(self) -> Effort:
        return Effort(self.sent, self.retried, self.body_bytes)


def _own_fault(error: Exception) -> BackfillError:
    """A fault of ours must reach the exit code."""
    fix = "this is a fault of backfill: please report it"
    return BackfillError(f"a sender failed: {type(error).__name__}", fix=fix)
