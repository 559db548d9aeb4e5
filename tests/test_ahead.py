"""Read ahead: in order, a few at a time, and what failed comes after what did not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.ahead import ITEMS_MAX, ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    assert threading.active_count() == before
