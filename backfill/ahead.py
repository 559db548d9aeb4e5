"""What comes next is worked on while what came before is used: an ordered map over threads."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

Given = TypeVar("Given")
Made = TypeVar("Made")

THREADS_MAX: Final = 3
"""Reading is not split, and takes a third of the time of encoding: more would wait for it."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(
    work: Callable[[Given], Made], items: Iterator[Given], *, in_order: bool = False
) -> Iterator[Made]:
    """Yield what `work` makes of each item, in their order, a few items ahead of who asks.

    in_order: work on the items one after the other, not on several at a time. Items are taken in
    the thread that asks. What taking one raises comes after what was made of those before it; what
    working on one raises ends all.
    """
    threads = 1 if in_order else min(THREADS_MAX, cores())
    pool = ThreadPoolExecutor(threads, "encoder")
    made: deque[Future[Made]] = deque()
    fault: Exception | None = None
    try:
        while True:
            try:
                item = next(items, None)
            except Exception as found:  # noqa: BLE001  raised below
                fault = found
                break
            if item is None:
                break
            made.append(pool.submit(work, item))
            del item  # the work alone decides how long it lives
            if len(made) >= threads:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    if fault is not None:
        raise fault
