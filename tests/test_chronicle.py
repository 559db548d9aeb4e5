"""Days of a history that stand out are told in words, not only seen in the picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backfill.chronicle import EPOCH, Outstanding, outstanding_of


def days(count: int, a_day: int = 10) -> np.ndarray:
    """Return a history of as many events each day, from 1970-01-01, a Thursday, on."""
    return np.full(count, a_day, np.int64)


def told(totals: np.ndarray) -> list[tuple[str, str, bool]]:
    """Return what stands out: from, to, and whether it is a hole."""
    return [(one.first, one.last, one.is_hole) for one in outstanding_of(totals, 0)]


def test_a_hole_of_weeks_is_one_hole_from_its_first_to_its_last_day() -> None:
    totals = days(200)
    totals[68:87] = 0
    assert outstanding_of(totals, 0) == [Outstanding("1970-03-10", "1970-03-28", 19, 0, 10, True)]


def test_a_hole_of_months_is_found_however_little_history_is_around_it() -> None:
    totals = days(400)
    totals[20:380] = 0
    assert told(totals) == [("1970-01-21", "1971-01-15", True)]


def test_a_day_in_the_middle_of_a_hole_makes_two_of_it_and_is_no_spike() -> None:
    totals = days(120, 30)
    totals[40:60] = 0
    totals[50] = 30
    assert told(totals) == [("1970-02-10", "1970-02-19", True), ("1970-02-21", "1970-03-01", True)]


def test_a_weekend_as_every_week_is_no_hole_and_does_not_lengthen_one() -> None:
    totals = days(140)
    totals[2::7] = totals[3::7] = 0  # Saturdays and Sundays
    assert told(totals) == []
    totals[99] = 0  # a Friday before them
    assert told(totals) == [("1970-04-10", "1970-04-10", True)]


def test_a_date_that_is_far_from_all_others_makes_no_hole() -> None:
    totals = np.concatenate([days(1, 1), days(3000, 0), days(60)])
    assert told(totals) == []


def test_a_spike_is_told_with_what_is_usual_around_it() -> None:
    totals = days(100)
    totals[50] = 300
    assert outstanding_of(totals, 0) == [Outstanding("1970-02-20", "1970-02-20", 1, 300, 10, False)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=120))
def test_a_hole_has_no_event_and_lies_between_days_that_have(counts: list[int]) -> None:
    totals = np.array(counts, np.int64)
    busy = np.flatnonzero(totals)
    for one in outstanding_of(totals, 0):
        first = int((np.datetime64(one.first) - np.datetime64(EPOCH)).astype(int))
        here = totals[first : first + one.days]
        assert here.sum() == one.events
        assert not one.is_hole or busy[0] < first < first + one.days <= busy[-1]
