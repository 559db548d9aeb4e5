"""The token bucket: never over the rate, whatever the clock does, and a pause is for everyone."""

from __future__ import annotations

from bisect import bisect_right
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from backfill.ratelimit import TokenBucket

RATES = st.one_of(st.integers(1, 1000).map(float), st.floats(0.1, 1000))
STEPS = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 0.01), st.floats(0, 2), st.just(3600.0)), max_size=300
)
"""Seconds between calls: at once, busy, idle, and a machine that was suspended."""


def starts(bucket: TokenBucket, steps: list[float], begin_s: float = 0.0) -> list[float]:
    """Take a place after each step and return when each request may begin."""
    now_s, found = begin_s, []
    for step in steps:
        now_s += step
        wait_s = bucket.take(now_s)
        assert wait_s >= 0
        found.append(now_s + wait_s)
    return found


@given(RATES, STEPS, st.floats(-1e6, 1e6))
def test_no_second_holds_more_requests_than_the_rate_and_a_burst_of_one(
    rate: float, steps: list[float], begin_s: float
) -> None:
    found = starts(TokenBucket(rate), steps, begin_s)
    assert found == sorted(found)
    for at, first in enumerate(found):
        in_window = bisect_right(found, first + 1 - 1e-6) - at
        assert in_window <= floor(rate) + 1


@given(RATES, st.integers(2, 50))
def test_a_busy_run_reaches_its_rate(rate: float, count: int) -> None:
    found = starts(TokenBucket(rate), [0.0] * count)
    assert abs(found[-1] - found[0] - (count - 1) / rate) < 1e-6 * count


def test_time_that_passed_unused_is_not_saved_up() -> None:
    bucket = TokenBucket(10.0)
    assert bucket.take(0.0) == 0.0
    assert [round(bucket.take(3600.0), 9) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]


def test_unlimited_waits_for_nothing() -> None:
    assert starts(TokenBucket(None), [0.0] * 1000) == [0.0] * 1000


@given(RATES, st.floats(0, 400), st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_after_a_pause_nobody_begins_before_its_end(
    rate: float, wait_s: float, steps: list[float]
) -> None:
    bucket = TokenBucket(rate)
    bucket.take(0.0)
    bucket.pause(0.0, wait_s)
    for begin_s in starts(bucket, steps):
        assert begin_s >= wait_s - 1e-9
        assert bucket.is_open(begin_s + 1e-6)


def test_a_pause_holds_without_a_rate_too() -> None:
    bucket = TokenBucket(None)
    bucket.pause(5.0, 2.0)
    assert [bucket.take(5.0), bucket.take(6.5), bucket.take(7.5)] == [2.0, 0.5, 0.0]


def test_a_place_reserved_before_a_pause_is_no_longer_good_in_it() -> None:
    bucket = TokenBucket(1.0)
    waits = [bucket.take(0.0) for _ in range(3)]
    bucket.pause(0.5, 10.0)
    assert waits == [0.0, 1.0, 2.0]
    assert [bucket.is_open(at) for at in (1.0, 2.0, 10.4, 10.5)] == [False, False, False, True]


@given(st.floats(0, 300), st.floats(0, 300), st.floats(0, 300))
def test_a_shorter_pause_does_not_end_a_longer_one(
    first: float, later: float, short: float
) -> None:
    bucket = TokenBucket(None)
    bucket.pause(0.0, first)
    bucket.pause(later, short)
    assert abs(later + bucket.take(later) - max(first, later + short, later)) < 1e-9
