"""The course of a run is drawn over the time in which it ran."""

from __future__ import annotations

import numpy as np
import pytest

from backfill.history import History, course_of


def test_the_days_between_a_stop_and_its_resume_are_not_drawn() -> None:
    moments = {0: [100], 1: [100], 2: [100], 90_000: [50], 90_001: [50]}
    history = History(starts_s=[0.0, 90_000.0], ends=2, retried_s=[1.5, 90_001.5])
    course = course_of(moments, 1, history)
    assert course.unit == "seconds"
    assert course.edges.tolist() == [0, 1, 2, 3, 4, 5]
    assert course.speeds.tolist() == [100, 100, 100, 50, 50]
    assert course.retried.tolist() == pytest.approx([1.5, 4.5])


def test_a_wait_for_the_destination_is_drawn_since_the_run_was_there() -> None:
    course = course_of({0: [10], 60: [10]}, 1, History(starts_s=[0.0]))
    assert course.edges.tolist() == [0, 1, 61]
    assert course.speeds.tolist() == pytest.approx([10, 10 / 60])


@pytest.mark.parametrize(
    ("last_s", "unit", "end"),
    [(200, "seconds", 201), (600, "minutes", 601 / 60), (86_399, "hours", 24)],
)
def test_the_unit_grows_with_the_run(last_s: int, unit: str, end: float) -> None:
    course = course_of({0: [1], last_s: [1]}, 1, History())
    assert (course.unit, course.edges[-1]) == (unit, pytest.approx(end))


def test_a_run_that_was_killed_twice_in_a_second_draws_no_time_backwards() -> None:
    history = History(starts_s=[5.2, 5.6, 6.1, 9.0], retried_s=[5.3, 5.7])
    course = course_of({5: [10], 6: [10], 9: [10]}, 1, history)
    assert np.all(np.diff(course.edges) >= 0)
    assert course.edges[-1] <= 5
    assert np.all(course.retried >= 0)
