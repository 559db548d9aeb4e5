"""Work ahead: in order, a few at a time, and nothing after what failed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import ahead as ahead_
from backfill.ahead import THREADS_MAX, ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_, "cores", lambda: 8)


@settings(max_examples=30, deadline=None)
@given(waits_s=st.lists(st.floats(0, 0.004), max_size=12), in_order=st.booleans())
def test_results_come_in_the_order_of_the_items_however_long_each_takes(
    waits_s: list[float], *, in_order: bool
) -> None:
    def work(given: tuple[int, float]) -> int:
        time.sleep(given[1])
        return given[0]

    assert list(ahead(work, iter(enumerate(waits_s)), in_order=in_order)) == [*range(len(waits_s))]


def test_several_items_are_worked_on_at_once_and_in_order_only_one() -> None:
    for in_order, most in ((False, THREADS_MAX), (True, 1)):
        meet, lock, now, seen = threading.Barrier(most), threading.Lock(), [0], [0]

        def work(at: int, meet: threading.Barrier = meet, now: list[int] = now) -> int:
            with lock:  # noqa: B023  of this turn
                now[0] += 1
                seen[0] = max(seen[0], now[0])  # noqa: B023
            meet.wait(20)  # passes only where so many work at once
            with lock:  # noqa: B023
                now[0] -= 1
            return at

        assert list(ahead(work, iter(range(6)), in_order=in_order)) == [*range(6)]
        assert seen[0] == most


def test_no_more_items_are_taken_than_are_worked_on_and_wait_to_be_used() -> None:
    taken = []

    def items() -> Iterator[int]:
        for at in range(50):
            taken.append(at)
            yield at

    found = ahead(lambda at: at, items())
    for at in range(40):
        assert next(found) == at
        assert len(taken) <= at + 1 + THREADS_MAX


def test_a_source_that_fails_gives_what_came_before_and_then_its_fault() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("gone")

    found = ahead(lambda at: at, items())
    seen: list[int] = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(found)
    assert seen == [*range(5)]


def test_nothing_comes_after_an_item_whose_work_failed() -> None:
    def work(at: int) -> int:
        if at == 3:
            raise ValueError("three")
        return at

    found = ahead(work, iter(range(9)))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert next(found, None) is None


def test_who_stops_asking_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    found = ahead(lambda at: at, iter(range(1000)))
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
