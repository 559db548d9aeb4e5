"""The token bucket: never over the rate, whatever the clock does, and a pause is for everyone."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heapify, heappop, heappush
from math import floor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.ratelimit import CLIMB_PER_S, SHARE_MIN, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

RATES = st.one_of(st.integers(1, 1000).map(float), st.floats(0.1, 1000))
LATE = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 0.01), st.floats(0, 2), st.just(3600.0)),
    min_size=1,
    max_size=300,
)
"""Seconds by which a sender wakes up late: not, a little, on a busy machine, after a suspension."""


def begins(bucket: TokenBucket, late: Iterable[float], begin_s: float = 0.0) -> list[float]:
    """Let eight senders ask side by side, each waking up late in turn, and say who began when."""
    waiting = [(begin_s, at) for at in range(8)]
    heapify(waiting)
    found: list[float] = []
    now_s = begin_s
    for late_s in late:
        at_s, sender = heappop(waiting)
        now_s = max(now_s, at_s)  # after a suspension all clocks have gone on
        wait_s = bucket.wait_s(now_s)
        assert wait_s >= 0
        if wait_s == 0:
            found.append(now_s)
        heappush(waiting, (now_s + wait_s + late_s, sender))
    return found


def most_in_a_second(found: list[float]) -> int:
    return max(bisect_right(found, at + 1 - 1e-6) - n for n, at in enumerate(found))


@given(RATES, LATE, st.floats(-1e6, 1e6))
def test_no_second_holds_more_requests_than_the_rate_and_a_burst_of_one(
    rate: float, late: list[float], begin_s: float
) -> None:
    found = begins(TokenBucket(rate), late, begin_s)
    assert found == sorted(found)
    assert most_in_a_second(found) <= floor(rate) + 1


@given(RATES, st.integers(2, 50))
def test_a_busy_run_reaches_its_rate(rate: float, count: int) -> None:
    found = begins(TokenBucket(rate), [0.0] * count * 20)[:count]
    assert abs(found[-1] - found[0] - (len(found) - 1) / rate) < 1e-5 * count


@given(st.floats(1, 200), st.floats(0, 0.4))
def test_senders_that_wake_up_a_little_late_still_reach_the_rate(rate: float, share: float) -> None:
    bucket, now_s, count = TokenBucket(rate), 0.0, 0
    while now_s < 100:
        wait_s = bucket.wait_s(now_s)
        count += wait_s == 0
        now_s += wait_s + (share / rate if wait_s else 0.0)
    assert count >= floor(0.99 * 100 * rate)


def test_time_that_passed_unused_is_not_saved_up() -> None:
    bucket = TokenBucket(10.0)
    assert bucket.wait_s(0.0) == 0.0
    assert bucket.wait_s(3600.0) == 0.0
    assert round(bucket.wait_s(3600.0), 9) == 0.1


def test_senders_that_slept_through_a_suspension_go_one_by_one() -> None:
    bucket = TokenBucket(1.0)
    found = begins(bucket, [0.0, *[3600.0] * 8, *[0.0] * 60])
    after = [at for at in found if at > 3000]
    assert len(after) > 5
    assert most_in_a_second(after) <= 2


def test_unlimited_waits_for_nothing() -> None:
    bucket = TokenBucket(None)
    assert [bucket.wait_s(0.0) for _ in range(1000)] == [0.0] * 1000


@given(RATES, st.floats(0, 400), LATE)
def test_after_a_pause_nobody_begins_before_its_end(
    rate: float, wait_s: float, late: list[float]
) -> None:
    bucket = TokenBucket(rate)
    bucket.wait_s(0.0)
    bucket.pause(0.0, wait_s)
    assert all(at >= wait_s - 1e-5 for at in begins(bucket, late))


def test_a_pause_holds_without_a_rate_too() -> None:
    bucket = TokenBucket(None)
    bucket.pause(5.0, 2.0)
    assert [bucket.wait_s(5.0), bucket.wait_s(6.5), bucket.wait_s(7.0)] == [2.0, 0.5, 0.0]


@given(st.floats(0, 300), st.floats(0, 300), st.floats(0, 300))
def test_a_shorter_pause_does_not_end_a_longer_one(
    first: float, later: float, short: float
) -> None:
    bucket = TokenBucket(None)
    bucket.pause(0.0, first)
    bucket.pause(later, short)
    assert abs(later + bucket.wait_s(later) - max(first, later + short, later)) < 1e-5


# After a 429


def test_a_429_halves_the_rate_and_it_climbs_back_a_twentieth_a_second() -> None:
    bucket = TokenBucket(100.0)
    bucket.wait_s(0.0)
    bucket.slow_down(0.0, 1.0)
    rates = [bucket.rate_at(1.0 + s) for s in (0, 1, 5, 10, 99)]
    assert rates == pytest.approx([50, 55, 75, 100, 100])


def test_the_climb_begins_when_the_pause_is_over() -> None:
    bucket = TokenBucket(100.0)
    bucket.wait_s(0.0)
    bucket.slow_down(0.0, 1.0)
    bucket.pause(1.0, 30.0)
    assert [bucket.rate_at(at) for at in (20.0, 31.0, 33.0)] == pytest.approx([50, 50, 60])


def test_requests_that_met_the_same_429_halve_the_rate_once() -> None:
    bucket = TokenBucket(100.0)
    for begun_s in (0.0, 0.01, 0.02, 0.03):
        bucket.wait_s(begun_s)
    for begun_s in (0.0, 0.01, 0.02, 0.03):
        bucket.slow_down(begun_s, 0.5)
    bucket.slow_down(0.5, 0.5)  # at the very instant: it was let in at the old rate
    assert bucket.rate_at(0.5) == 50
    bucket.slow_down(0.6, 0.7)  # one that began after it
    assert bucket.rate_at(0.7) == 100 * (0.5 + 0.2 * CLIMB_PER_S) / 2


def test_however_often_it_is_halved_the_rate_never_reaches_nothing() -> None:
    bucket = TokenBucket(64.0)
    for at in range(1, 100):
        bucket.slow_down(at / 100, at / 100)
    rate = bucket.rate_at(1.0)
    assert rate is not None
    assert rate >= 64 * SHARE_MIN
    assert SHARE_MIN == 1 / 64
    assert bucket.rate_at(30.0) == 64


def test_an_unlimited_run_that_meets_a_429_halves_what_it_was_doing() -> None:
    bucket = TokenBucket(None)
    for at in range(40):
        assert bucket.wait_s(at / 20) == 0.0
    bucket.slow_down(1.9, 2.0)
    assert bucket.rate_at(2.0) == 10
    assert bucket.rate_at(7.0) == 15
    assert bucket.rate_at(12.0) is None


def test_two_begins_tell_an_unlimited_run_how_fast_it_was() -> None:
    bucket = TokenBucket(None)
    for at_s in (0.0, 0.5):
        assert bucket.wait_s(at_s) == 0.0
    bucket.slow_down(0.5, 1.0)
    assert bucket.rate_at(1.0) == 1.0  # half of two in a second


def test_an_unlimited_run_that_meets_a_429_at_once_goes_slowly() -> None:
    bucket = TokenBucket(None)
    bucket.wait_s(0.0)
    bucket.slow_down(0.0, 0.1)
    assert bucket.rate_at(0.1) == 5


@given(RATES, st.lists(st.floats(0.001, 3), min_size=1, max_size=20))
def test_a_slowed_run_keeps_its_slower_rate(rate: float, gaps: list[float]) -> None:
    """Between two 429s no second holds more than the rate of its end allows."""
    bucket = TokenBucket(rate)
    now_s = 0.0
    bucket.wait_s(now_s)
    for gap in gaps:
        bucket.slow_down(now_s, now_s)
        now_s += gap
        bucket.pause(now_s, 0.0)
        found = []
        until_s = now_s + 2
        while now_s < until_s:
            wait_s = bucket.wait_s(now_s)
            if wait_s == 0:
                found.append(now_s)
            now_s += wait_s
        top = bucket.rate_at(now_s)
        assert top is not None
        assert most_in_a_second(found) <= floor(top) + 2 if found else True


def test_a_sender_later_than_half_an_interval_is_not_made_up_for() -> None:
    bucket = TokenBucket(10.0)
    assert bucket.wait_s(0.0) == 0.0
    assert bucket.wait_s(0.24) == 0.0  # its place was at 0.1
    assert bucket.wait_s(0.24) == pytest.approx(0.1)


def test_what_an_unlimited_run_was_doing_is_counted_up_to_now() -> None:
    bucket = TokenBucket(None)
    for at in range(40):
        bucket.wait_s(1000 + at / 20)
    bucket.slow_down(1001.9, 1004.0)
    assert bucket.rate_at(1004.0) == 5
    bucket.slow_down(1004.5, 1004.5)  # the second time halves what the first one left
    assert bucket.rate_at(1004.5) == pytest.approx(10 * (0.5 + 0.5 * CLIMB_PER_S) / 2)


def test_an_unlimited_run_is_never_taken_for_slower_than_one_a_second() -> None:
    bucket = TokenBucket(None)
    for at_s in (0.0, 50.0):
        bucket.wait_s(at_s)
    bucket.slow_down(50.0, 60.0)
    assert bucket.rate_at(60.0) == 0.5
