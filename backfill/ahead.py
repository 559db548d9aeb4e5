"""What comes next is read while what came before is worked on, and what is made is finished beside.

Reading and joining are long calls of Arrow's, which let Python's other threads work. Encoding is
thousands of short ones: two threads that encode hand Python's one lock to and fro after each of
them, which costs more than the second core is worth (measured: as fast as one, for a quarter more
CPU).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")

ITEMS_MAX: Final = 1
"""How many are read ahead; each is a record batch in memory."""

_END: Any = object()


def ahead(items: Iterator[Item], most: int = ITEMS_MAX) -> Iterator[Item]:
    """Yield the items, which are taken in a thread of its own, a few ahead of who asks.

    most: how many. What taking one raises comes after those before it. Once nobody asks any more,
    the thread ends with the item that is being taken.
    """
    pool = ThreadPoolExecutor(1, "reader")
    coming: deque[Future[Item]] = deque()
    try:
        for _ in range(most):
            coming.append(pool.submit(next, items, _END))
        while (item := coming.popleft().result()) is not _END:
            coming.append(pool.submit(next, items, _END))
            yield item
            del item  # who asked for it alone decides how long it lives
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # the collector may be who stops it


def beside(items: Iterator[Item], finish: Callable[[Item], None]) -> Iterator[Item]:
    """Yield the items once they are finished: by a thread of its own, while the next one is made.

    What making one raises comes after those before it, and nothing after one that failed.
    """
    pool = ThreadPoolExecutor(1, "finisher")
    waiting: deque[tuple[Item, Future[None]]] = deque()
    fault: Exception | None = None
    is_over = False
    try:
        while not is_over:
            try:
                item = next(items, _END)
            except Exception as found:  # noqa: BLE001  raised below
                item, fault = _END, found
            is_over = item is _END
            if not is_over:
                waiting.append((item, pool.submit(finish, item)))
            del item
            if len(waiting) > (not is_over):
                made, done = waiting.popleft()
                done.result()
                yield made
                del made, done
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # the collector may be who stops it
    if fault is not None:
        raise fault
