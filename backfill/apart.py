"""Spans → encodings, in threads of ours or in a process apart from them: the same, in order.

Encoding is thousands of short calls that need Python's one lock. With a lock of its own, beside the
process that reads, sends and keeps the books, it costs a fifth less time. The process holds nothing
that matters: no file, no socket, no state. Whenever and however it ends, a resume goes on.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from backfill.ahead import ahead, beside
from backfill.batch import Encodings
from backfill.errors import BackfillError, ResumableError
from backfill.pipeline import encodings
from backfill.slots import GoneError, Way
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backfill.marks import Learnt
    from backfill.plan import Job, Plan, Shard
    from backfill.source import Span

    Encode = Callable[[Job, Shard, Iterator[Span], Watermark], Iterator[Encodings]]

LEAST_BYTES: Final = 8 << 20
"""Of files that are worth a process: it takes a fiftieth of a second, and 30 MB of memory."""

SPANS_MAX: Final = 2
"""How many are under way to the process or back before one is waited for."""

SPAN_SLOTS: Final = SPANS_MAX + 1
"""So that one more than that can be sent while nothing comes back."""

TEXT_SLOTS: Final = 4
TEXTS_KEPT: Final = 2
"""The texts of so many spans wait in their slots for a body to be full; of more, elsewhere."""

TEXT_BYTES: Final = 1 << 18
CELL_BYTES: Final = 1 << 12
"""Smaller buffers are copied rather than kept."""

OPENED: Final = Path("/proc/self/fd")

DEAF_TO: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal or a supervisor sends these to all processes; ours drains, and ends the other."""

HERE_ONLY: Final = {"span", "made"}
"""What of `Encodings` does not travel: the rows are here, and what they became nobody asks for."""


def here(job: Job, shard: Shard, spans: Iterator[Span], mark: Watermark) -> Iterator[Encodings]:
    """Encode in this process: what comes next is read, and what is made is joined, beside it."""
    made = (encodings(job, shard, span, mark) for span in ahead(spans))
    return beside(made, lambda given: given.texts.join())


@contextmanager
def encoder(plan: Plan, *, is_alone: bool) -> Iterator[Encode]:
    """Yield what encodes the spans of a plan.

    is_alone: whether this process may be forked: it is a command's own, with no threads of a host.
    """
    is_wanted = is_alone and is_possible() and _size_of(plan) >= LEAST_BYTES
    process = _begun(plan.job) if is_wanted else None
    if process is None:
        yield here
        return
    try:
        yield process.encoded
    finally:
        process.close()


def _begun(job: Job) -> Apart | None:
    """Return a process, None where there can be no other one: it is only faster."""
    try:
        return Apart(job)
    except OSError:
        return None


def _size_of(plan: Plan) -> int:
    return sum(shard.file.size_bytes for shard in plan.shards)


def is_possible() -> bool:
    """Whether the system forks without harm, and has a second core to offer."""
    return sys.platform == "linux" and OPENED.is_dir() and len(os.sched_getaffinity(0)) > 1


@dataclass(frozen=True, slots=True)
class _Task:
    shard: Shard
    mark: Watermark
    span: Span


@dataclass(frozen=True, slots=True)
class _Done:
    made: dict[str, Any]
    """`Encodings` but for `HERE_ONLY`."""
    learnt: Learnt | None


@dataclass(frozen=True, slots=True)
class _Failed:
    kind: str
    """The name of what was raised."""


class Apart:
    """A process that encodes the spans of one job, whichever file they are of."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tasks = Way(SPAN_SLOTS, kept_bytes=CELL_BYTES, kept_max=SPAN_SLOTS)
        self._results = Way(TEXT_SLOTS, kept_bytes=TEXT_BYTES, kept_max=TEXTS_KEPT)
        self._process: int | None = self._forked()
        self._tasks.putting()
        self._results.getting()

    def _forked(self) -> int:
        gc.freeze()  # or its collector would write to, and so copy, all that is shared
        before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
        try:
            with warnings.catch_warnings():
                # 3.12 and later warn of any thread. Those here are of libraries that know of forks
                # (Arrow, jemalloc, OpenBLAS), or wait outside of every lock that encoding takes.
                warnings.simplefilter("ignore", DeprecationWarning)
                process = os.fork()
            if not process:
                _live(self._job, self._tasks, self._results)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            gc.unfreeze()
        return process

    def encoded(
        self, _job: Job, shard: Shard, spans: Iterator[Span], mark: Watermark
    ) -> Iterator[Encodings]:
        """Encode the spans of a file. What reading one raises comes after those before it."""
        sent = ahead(self.sent(shard, spans, Watermark.load(mark.dump())), SPAN_SLOTS)
        waiting: deque[_Task] = deque()
        fault: BackfillError | None = None
        is_over = False
        while waiting or not is_over:
            try:
                task = None if is_over else next(sent, None)
            except GoneError:
                raise self._died(shard) from None
            except BackfillError as found:
                task, fault = None, found
            is_over = task is None
            if task is not None:
                waiting.append(task)
            del task
            if waiting and (is_over or len(waiting) > SPANS_MAX):
                yield self._received(waiting.popleft())
        if fault is not None:
            raise fault

    def sent(self, shard: Shard, spans: Iterator[Span], mark: Watermark) -> Iterator[_Task]:
        """Send the spans to the process and yield each once it is under way."""
        for span in spans:
            task = _Task(shard, mark, span)
            self._tasks.put(task)
            yield task

    def _received(self, task: _Task) -> Encodings:
        try:
            found = self._results.get()
        except GoneError:
            raise self._died(task.shard) from None
        if isinstance(found, _Failed):
            _encoded(self._job, task)  # raises the same, but with its place in our code
            what = f"encoding failed: {found.kind}"
            fix = "this is a fault of backfill: please report it"
            raise BackfillError(what, where=task.shard.file.path, fix=fix)
        assert isinstance(found, _Done)
        if found.learnt is not None and self._job.legend is not None:
            self._job.legend.learn(found.learnt)
        return Encodings(span=task.span, **found.made)

    def _died(self, shard: Shard) -> ResumableError:
        status = self._reaped()
        code = 1 if status is None else os.waitstatus_to_exitcode(status)
        how = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
        what = f"the process that encodes {how}, as happens when memory runs out"
        fix = "run the same command again; it goes on where it stopped"
        return ResumableError(what, where=shard.file.path, fix=fix)

    def close(self) -> None:
        """End the process, whatever it does; it holds nothing that would be lost."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            self._reaped()

    def _reaped(self) -> int | None:
        """Return how the process ended; None where the system does not tell it."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return os.waitpid(process, 0)[1]
        except ChildProcessError:  # who began us ignores the ends of children, and so do we
            return None


def _live(job: Job, tasks: Way, results: Way) -> NoReturn:
    """Encode what comes until nothing can come any more. In the process, after the fork."""
    try:
        for number in DEAF_TO:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)
        tasks.getting()
        results.putting()
        _close_others(tasks.descriptors | results.descriptors)
        while True:
            results.put(_outcome(job, tasks.get()))
    except GoneError:
        os._exit(0)
    finally:
        os._exit(1)


def _close_others(kept: set[int]) -> None:
    """Close what was inherited: a lock must be free, and a connection end, with who opened it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for number in [int(path.name) for path in OPENED.iterdir()]:
        if number > 2 and number not in kept:  # noqa: PLR2004
            with suppress(OSError):  # the one that listed them
                os.close(number)


def _encoded(job: Job, task: _Task) -> Encodings:
    given = encodings(job, task.shard, task.span, task.mark)
    given.texts.join()
    return given


def _outcome(job: Job, task: _Task) -> _Done | _Failed:
    try:
        given = _encoded(job, task)
    except Exception as fault:  # noqa: BLE001  raised where its rows are waited for
        return _Failed(type(fault).__name__)
    names = (at.name for at in fields(Encodings) if at.name not in HERE_ONLY)
    learnt = None if job.legend is None else job.legend.news()
    return _Done({name: getattr(given, name) for name in names}, learnt)
