"""What comes next is read while what came before is worked on: one thread that reads, no more.

Reading is one long call of Arrow's, which lets Python's other threads work. Encoding is thousands
of short ones: two threads that encode hand Python's one lock to and fro after each of them, which
costs more than the second core is worth (measured: as fast as one, for a quarter more CPU).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")

ITEMS_MAX: Final = 1
"""How many are read ahead; each is a record batch in memory."""

_END: Any = object()


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items, which are taken in a thread of its own, a few ahead of who asks.

    What taking one raises comes after those before it. Who stops asking waits for the item that is
    being taken, and leaves no thread behind.
    """
    pool = ThreadPoolExecutor(1, "reader")
    coming: deque[Future[Item]] = deque()
    try:
        for _ in range(ITEMS_MAX):
            coming.append(pool.submit(next, items, _END))
        while (item := coming.popleft().result()) is not _END:
            coming.append(pool.submit(next, items, _END))
            yield item
            del item  # who asked for it alone decides how long it lives
    finally:
        pool.shutdown(cancel_futures=True)
