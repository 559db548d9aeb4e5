"""Read ahead, finish beside: in order, a few at a time; what failed comes after what did not."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.ahead import ITEMS_MAX, ahead, beside

if TYPE_CHECKING:
    from collections.abc import Iterator


def ended(before: int) -> bool:
    """Wait until there are no more threads than before."""
    until_s = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < until_s:
        time.sleep(0.001)
    return threading.active_count() <= before


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.integers() | st.none(), max_size=12))
def test_items_come_in_their_order_whatever_they_are(items: list[int | None]) -> None:
    assert list(ahead(iter(items))) == items


def test_the_next_item_is_taken_while_the_one_before_is_worked_on() -> None:
    met = threading.Event()

    def items() -> Iterator[str]:
        yield "first"
        met.set()
        yield "second"

    found = ahead(items())
    assert next(found) == "first"
    assert met.wait(20)  # nobody asked for the second one
    assert next(found) == "second"


def test_items_are_taken_by_one_thread_that_is_not_the_one_that_asks() -> None:
    def items() -> Iterator[int]:
        for _ in range(5):
            yield threading.get_ident()

    (reader,) = set(ahead(items()))
    assert reader != threading.get_ident()


def test_no_more_items_are_taken_than_may_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for at in range(50):
            taken.append(at)
            yield at

    found = ahead(items())
    for at in range(40):
        assert next(found) == at
        assert len(taken) <= at + 1 + ITEMS_MAX


def test_a_source_that_fails_gives_what_came_before_and_then_its_fault() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("gone")

    found = ahead(items())
    seen: list[int] = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(found)
    assert seen == [*range(5)]
    assert next(found, None) is None


def test_who_stops_asking_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    found = ahead(iter(range(1000)))
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert ended(before)


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.integers(), max_size=12))
def test_what_is_made_comes_in_its_order_and_finished(items: list[int]) -> None:
    finished: list[int] = []
    for at, made in enumerate(beside(iter(items), finished.append)):
        assert made == items[at]
        assert finished[at] == made
    assert finished == items


def test_one_item_is_finished_while_the_next_one_is_made() -> None:
    made, finishing = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert finishing.wait(20)
        made.set()
        yield 2

    def finish(item: int) -> None:
        if item == 1:
            finishing.set()
            assert made.wait(20)

    assert list(beside(items(), finish)) == [1, 2]


def test_what_cannot_be_made_comes_after_all_that_was_finished() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("gone")

    seen: list[int] = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(beside(items(), lambda _item: None))
    assert seen == [0, 1, 2]


def test_nothing_comes_after_an_item_that_could_not_be_finished() -> None:
    def finish(item: int) -> None:
        if item == 3:
            raise ValueError("three")

    found = beside(iter(range(9)), finish)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert next(found, None) is None


def test_who_stops_asking_for_what_is_finished_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    found = beside(iter(range(1000)), lambda _item: None)
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert ended(before)
