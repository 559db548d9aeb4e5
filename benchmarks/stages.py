"""CPU time by stage, in every thread at once, so that nothing is counted twice and all adds up."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from loopback import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stages:
    """A stopwatch a thread. What a stage calls that is a stage, too, counts for that one alone."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        """clock: CPU seconds of the thread that asks."""
        self._clock = clock
        self._local = threading.local()
        self._lock = threading.Lock()
        self.spent_s: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as this stage's."""
        inner: list[float] = getattr(self._local, "inner", [])
        self._local.inner = inner
        inner.append(0.0)
        started_s = self._clock()
        try:
            yield
        finally:
            took_s = self._clock() - started_s
            own_s = took_s - inner.pop()
            if inner:
                inner[-1] += took_s
            with self._lock:
                self.spent_s[name] += own_s
                self.calls[name] += 1

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted."""

        @wraps(function)
        def counted(*args: Any, **named: Any) -> Any:
            with self.stage(name):
                found = function(*args, **named)
            return self._steps(name, found) if isinstance(found, Generator) else found

        return counted

    def _steps(self, name: str, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Count what a generator does, and not what is done between two of its steps."""
        came: Any = None
        while True:
            with self.stage(name):
                try:
                    value = steps.send(came)
                except StopIteration as end:
                    return end.value
            came = yield value


def put(stages: Stages, name: str, owner: Any, attribute: str) -> None:
    """Count a function of a module wherever backfill has a reference to it, or one of a class.

    Raises BenchmarkError where there is no such function: the list of stages is out of date.
    """
    original = getattr(owner, attribute, None)
    if original is None:
        raise BenchmarkError(f"{owner.__name__} has no {attribute}: mend STAGES in breakdown.py")
    counted = stages.timed(name, original)
    setattr(owner, attribute, counted)
    if isinstance(owner, type):
        return
    for module in [m for n, m in sys.modules.items() if n.startswith("backfill.")]:
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, counted)
            elif isinstance(value, dict):
                replace_in(value, original, counted)


def replace_in(table: dict[Any, Any], original: Any, counted: Any) -> None:
    """Replace a function in a table of functions."""
    for key in [key for key, value in table.items() if value is original]:
        table[key] = counted


class Threads:
    """CPU time of all threads of Python since the begin: those that ended and those that live."""

    def __init__(self) -> None:
        self._ended: dict[threading.Thread, float] = {}
        self._lock = threading.Lock()
        self._run = threading.Thread.run
        self._before_s = 0.0

    def watch(self) -> None:
        """Begin: what the threads of now have used so far does not count."""
        threads = self

        def run(thread: threading.Thread) -> None:
            try:
                threads._run(thread)
            finally:
                with threads._lock:
                    threads._ended[thread] = time.thread_time()

        threading.Thread.run = run  # type: ignore[method-assign,assignment]
        self._before_s = self._alive_s()

    def spent_s(self) -> float:
        """Return what they have used since."""
        with self._lock:
            return sum(self._ended.values()) + self._alive_s() - self._before_s

    def _alive_s(self) -> float:
        alive = [thread for thread in threading.enumerate() if thread not in self._ended]
        idents = [thread.ident for thread in alive if thread.ident is not None]
        return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents)
