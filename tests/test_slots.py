"""Objects between two processes: what was put is got, in order, and stays while it is used."""

from __future__ import annotations

import gc
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.slots import SLOT_BYTES, GoneError, Way

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = st.lists(st.text(max_size=40) | st.none(), max_size=60)


def through(items: list[Any], *, slots: int = 3, kept_bytes: int = 64, kept_max: int = 1) -> Any:
    """Put the items in a thread and yield them as they come."""
    way = Way(slots, kept_bytes=kept_bytes, kept_max=kept_max)

    def put() -> None:
        for item in items:
            way.put(item)

    putting = threading.Thread(target=put, daemon=True)
    putting.start()
    for _ in items:
        yield way.get()
    putting.join(20)
    assert not putting.is_alive()


@settings(max_examples=60, deadline=None)
@given(columns=st.lists(COLUMNS, min_size=1, max_size=12), kept_bytes=st.sampled_from([0, 64, 999]))
def test_what_was_put_is_got_in_order_and_stays_so_while_all_of_it_is_used(
    columns: list[list[str | None]], kept_bytes: int
) -> None:
    items = [(pa.array(c, pa.string()), np.arange(len(c)), {"n": len(c)}) for c in columns]
    found = list(through(items, kept_bytes=kept_bytes))
    for (texts, places, rest), (texts_found, places_found, rest_found) in zip(
        items, found, strict=True
    ):
        texts_found.validate(full=True)
        assert texts_found.equals(texts)
        assert places_found.tolist() == places.tolist()
        assert rest_found == rest


def test_a_large_buffer_is_used_where_it_lies_and_its_slot_is_not_used_again_meanwhile() -> None:
    way = Way(2, kept_bytes=1_000, kept_max=1)
    way.put(np.full(2_000, 1))
    first = way.get()
    for n in range(2, 9):  # the other slot goes to and fro
        way.put(np.full(2_000, n))
        assert set(way.get().tolist()) == {n}
    assert set(first.tolist()) == {1}
    del first
    gc.collect()
    way.put(np.full(2_000, 9))
    way.put(np.full(2_000, 10))  # both are free: else this would wait for ever
    assert [way.get()[0], way.get()[0]] == [9, 10]


def test_an_item_larger_than_a_slot_arrives_and_the_slot_is_as_small_as_before_afterwards() -> None:
    way = Way(1, kept_bytes=1_000, kept_max=1)
    large = np.arange(SLOT_BYTES // 8 + 5_000)
    for item in (large, np.arange(3), large[::-1].copy()):
        way.put(item)
        got = way.get()
        assert np.array_equal(got, item)
        del got
    way.put(None)
    assert way.get() is None
    assert max(os.fstat(number).st_size for number in way.descriptors) == SLOT_BYTES


def test_an_empty_column_and_an_empty_array_arrive() -> None:
    items = [pa.array([], pa.string()), np.empty(0, np.int64), pa.table({"a": pa.array([])})]
    found = list(through(items))
    assert found[0].equals(items[0])
    assert found[1].size == 0
    assert found[2].equals(items[2])


def forked(work: Callable[[], None]) -> int:
    """Do something in another process."""
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def asked(questions: int) -> tuple[int, Way]:
    """Ask another process some questions, and leave. Returns it, and the way back."""
    there, back = (Way(2, kept_bytes=1_000, kept_max=1) for _ in range(2))

    def answer() -> None:
        there.getting()
        back.putting()
        try:
            while True:
                back.put(there.get() * 2)
        except GoneError:
            os._exit(7)

    pid = forked(answer)
    there.putting()
    back.getting()
    for n in range(questions):
        there.put(np.full(100_000, n))
        assert set(back.get().tolist()) == {2 * n}
    return pid, back


def test_an_answer_comes_from_another_process_and_both_hear_of_the_end() -> None:
    pid, back = asked(5)
    gc.collect()
    assert ended(pid) == 7
    with pytest.raises(GoneError):
        back.get()


def test_who_puts_hears_that_nobody_gets_any_more_also_while_it_waits_for_a_slot() -> None:
    way = Way(1, kept_bytes=1_000, kept_max=1)

    def sleep() -> None:
        way.getting()
        signal.pause()

    pid = forked(sleep)
    way.putting()
    way.put("fills the only slot")
    killing = threading.Timer(0.1, os.kill, (pid, signal.SIGKILL))
    killing.start()
    with pytest.raises(GoneError):
        way.put("waits for it")
    assert ended(pid) == -signal.SIGKILL
    with pytest.raises(GoneError):
        way.put("and ever after")


def test_what_cannot_travel_takes_no_slot() -> None:
    way = Way(1, kept_bytes=1_000, kept_max=1)
    for _ in range(3):
        with pytest.raises(Exception, match="pickle"):
            way.put(lambda: None)
    way.put("still free")
    assert way.get() == "still free"
