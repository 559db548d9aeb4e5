"""What to do next with one batch: wait, take turns, post, or done. No thread, no sleep, no network.

A generator of steps that a sender carries out, and the simulation of the tests too. What all
senders share (rate, pause, patience, how many at once) is their `Line`.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from backfill.answer import is_answer, named, unrepeated, words
from backfill.backoff import RETRY_AFTER_S_MAX, pause_s, retry_after_s
from backfill.errors import DestinationError, ResumableError
from backfill.narrow import Heard, Refusal, narrowing
from backfill.senders import Begun, Load, Senders
from backfill.wire import Answer, LateError, TrustError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.batch import Batch
    from backfill.ratelimit import TokenBucket

RESUME = "run the same command again later; it goes on where it stopped"
WAIT_S_MAX = 1e9
"""No wait is told as longer: a Retry-After may have any number of digits."""

LEAVE_GZIP = "leave --gzip (or gzip: in the mapping) away: the destination does not take it"
PACKING: Final = re.compile("gzip|deflate|compress|content-encoding", re.IGNORECASE)
"""What an answer speaks of that is about the packing of a body, not about a row."""

UNREADABLE: Final = re.compile("json|utf-?8|unicode|pars|decod|unexpected|character", re.IGNORECASE)
"""And what one may speak of who read a packed body as text; so long as none was ever taken."""

STRAINED: Final = {408, 503, 504}
"""What a far side answers that has too much to do; 429 has a meaning of its own."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    wait_s: float


@dataclass(eq=False, slots=True)
class Turn:
    """Do nothing until a request that is under way has ended, and it is the turn of this one."""

    is_come: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Post:
    """Send a body; what comes back is sent into the generator."""

    body: bytes


Came = Answer | WireError | TrustError | None
Step = Wait | Turn | Post
Errand = Generator[Step, Came, "Settled"]


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
class Settings:
    """How to deliver; the last four are injected by tests."""

    connections: int
    max_outage_s: float
    origin: str
    scrub: Callable[[str], str] = str
    """Takes every form of the key out of the destination's words."""
    pack: Callable[[bytes], bytes] | None = None
    """Packs the bodies that are sent."""
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    random: Callable[[], float] = random.random
    note: Callable[[str, dict[str, Any]], None] = field(default=lambda _what, _facts: None)
    """Told of each thing worth a line in the log; facts hold no cell and no key."""


class Line:
    """What the senders of one run share: rate, pause, turns, and how long nothing succeeded."""

    def __init__(self, bucket: TokenBucket, settings: Settings) -> None:
        self.settings = settings
        self._bucket = bucket
        self._lock = threading.Lock()
        self._senders = Senders(settings.connections)
        self._turns: list[Turn] = []
        self._failing_since_s: float | None = None
        self._succeeded_s = float("-inf")
        self._has_taken = False

    def is_unread(self, reason: str) -> bool:
        """Whether a body was refused for its packing, and so its rows were not looked at."""
        if self.settings.pack is None:
            return False
        is_odd = not self._has_taken and UNREADABLE.search(reason)
        return bool(is_odd or PACKING.search(reason))

    def wait_s(self) -> float:
        """Return how long to wait before asking again; 0: begin a request now."""
        with self._lock:
            return self._bucket.wait_s(self.settings.clock())

    def begin(self, turn: Turn) -> Begun | Wait | Turn:
        """Begin a request, or say what to do before asking again.

        Who asked first goes first, or a batch could wait for ever while others pass it by.
        """
        with self._lock:
            if turn not in self._turns:
                self._turns.append(turn)
            if self._turns.index(turn) >= self._senders.free:
                turn.is_come.clear()
                return turn
            now_s = self.settings.clock()
            if (wait_s := self._bucket.wait_s(now_s)) > 0:
                return Wait(wait_s)
            self._turns.remove(turn)
            return self._senders.begin(now_s)

    def ended(self, begun: Begun, came: Came) -> None:
        """Note that a request ended, however it did, and let others begin."""
        with self._lock:
            before = self._senders.limit
            self._senders.end(begun, _load(came), self.settings.clock())
            limit = self._senders.limit
            for turn in self._turns[: self._senders.free]:
                turn.is_come.set()
        if limit < before:
            self.settings.note("fewer", {"connections": limit})

    def stop(self) -> None:
        """Let nobody wait for a turn that will not come."""
        with self._lock:
            for turn in self._turns:
                turn.is_come.set()

    def succeeded(self, *, is_taken: bool = False) -> None:
        """Note that the destination answered as it should. is_taken: it took what was sent."""
        with self._lock:
            self._has_taken = self._has_taken or is_taken
            self._failing_since_s = None
            self._succeeded_s = self.settings.clock()

    def failed(self, answer: Answer | None, *, attempt: int, begun_s: float, reason: str) -> float:
        """Return the seconds until the next attempt. Raises ResumableError where patience ends.

        A 429 and a Retry-After are for all senders, not only for the one that met them.
        """
        settings = self.settings
        now_s = settings.clock()
        asked_s = None
        if answer is not None:
            asked_s = retry_after_s(answer.headers.get("Retry-After"), datetime.now(UTC))
        wait_s = min(asked_s or pause_s(attempt, settings.random), WAIT_S_MAX)
        facts = {"attempt": attempt, "reason": reason, "wait_s": round(wait_s, 3)}
        settings.note("retry", facts)
        if wait_s > RETRY_AFTER_S_MAX or (asked_s or 0.0) > settings.max_outage_s:
            what = f"the destination asks to wait {wait_s:.0f} s ({reason})"
            raise ResumableError(what, where=settings.origin, fix=RESUME)
        is_too_fast = answer is not None and answer.status == 429  # noqa: PLR2004
        with self._lock:
            if self._failing_since_s is None:
                # a request that hung for its whole deadline began to fail when it began
                self._failing_since_s = max(begun_s, self._succeeded_s)
            failing_s = now_s - self._failing_since_s
            if is_too_fast:
                self._bucket.slow_down(begun_s, now_s)
            if is_too_fast or asked_s:
                self._bucket.pause(now_s, wait_s)
        if failing_s + wait_s > settings.max_outage_s:
            what = f"nothing was delivered for {failing_s:.0f} s ({reason})"
            raise ResumableError(what, where=settings.origin, fix=RESUME)
        return wait_s


def errand(batch: Batch, line: Line, *, is_ordered: bool) -> Errand:
    """Deliver a batch; where it is refused, what it is made of, down to the row.

    Raises BackfillError where nothing more can be delivered.
    """
    tally = _Tally()
    steps = narrowing(batch.count, is_ordered=is_ordered)
    part = next(steps)
    while True:
        is_whole = part == ((0, batch.count),)
        heard = yield from _sent(batch.body if is_whole else batch.part(*part), line, tally)
        if heard.reason is not None:
            rows = sum(int(batch.sizes[first:last].sum()) for first, last in part)
            line.settings.note("refused", {"rows": rows, "named": len(heard.named)})
            told = batch.texts_of(heard.named, part)
            heard = Heard(heard.reason, is_size=heard.is_size, named=tuple(told))
        try:
            part = steps.send(heard)
        except StopIteration as end:
            batch.drop()
            return Settled(batch, end.value, tally.effort())


def _sent(body: bytes, line: Line, tally: _Tally) -> Generator[Step, Came, Heard]:
    """Send one body until it is answered."""
    attempt = 0
    turn = Turn()
    packed = line.settings.pack(body) if line.settings.pack else body  # once, for all attempts
    while True:
        while not isinstance(begun := line.begin(turn), Begun):
            yield begun
        attempt += 1
        tally.add(packed, is_retry=attempt > 1)
        came = yield Post(packed)
        line.ended(begun, came)
        if isinstance(came, TrustError):
            raise _stopped(f"the connection cannot be trusted: {came}", line.settings)
        heard = _judged(came, body, line.settings) if isinstance(came, Answer) else None
        if heard is not None:
            line.succeeded(is_taken=heard.reason is None)
            if heard.reason is not None and line.is_unread(heard.reason):
                what = f"answered 400: {unrepeated(heard.reason, body)}"
                raise _stopped(what, line.settings, fix=LEAVE_GZIP)
            return heard
        answer = came if isinstance(came, Answer) else None
        reason = f"answered {answer.status}" if answer else str(came)
        yield Wait(line.failed(answer, attempt=attempt, begun_s=begun.at_s, reason=reason))


def _load(came: Came) -> Load:
    """Say what the end of a request tells of the load."""
    match came:
        case Answer(status=429):
            return Load.TOO_MANY
        case Answer(status=status) if status in STRAINED:
            return Load.STRAINED
        case Answer(status=200 | 400 | 413):
            return Load.BORNE
        case LateError():
            return Load.STRAINED
        case _:
            return Load.UNTOLD


def _judged(answer: Answer, body: bytes, settings: Settings) -> Heard | None:
    """Say what an answer means: delivered, refused, None to try again. Raises DestinationError."""
    told = "" if answer.status == 200 else _words(answer, settings)  # noqa: PLR2004
    match answer.status:
        case 200:
            if answer.is_cut or not is_answer(answer.body):
                raise _stopped("answered 200 with a page that is not the API's", settings)
            return Heard()
        case 400:
            return Heard(told, named=named(answer.body))
        case 413:
            return Heard(told, is_size=True)
        case 408 | 429:
            return None
        case 401 | 403:
            what = f"refused the key ({answer.status}: {unrepeated(told, body)})"
            fix = "check the write key and its region (--to us | eu)"
            raise _stopped(what, settings, fix=fix)
        case status if status < 200 or (status >= 500 and status != 501):  # noqa: PLR2004
            return None
        case status:
            fix = LEAVE_GZIP if status == 415 and settings.pack else ""  # noqa: PLR2004
            raise _stopped(f"answered {status}: {unrepeated(told, body)}", settings, fix=fix)


def _stopped(what: str, settings: Settings, fix: str = "") -> DestinationError:
    fix = fix or "check the address given with --to, and proxies on the way"
    return DestinationError(settings.scrub(what), where=settings.origin, fix=fix)


def _words(answer: Answer, settings: Settings) -> str:
    told = words(answer.body, settings.scrub)
    return told or ("the request is too large" if answer.status == 413 else "no reason given")  # noqa: PLR2004


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
