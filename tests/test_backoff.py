"""How long to wait: full jitter after the cap, Retry-After in both its forms, nonsense as none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.backoff import BASE_S, CAP_S, RETRY_AFTER_S_MAX, pause_s, retry_after_s

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_a_share_of_a_doubling_time_with_a_cap(attempt: int, share: float) -> None:
    ceiling_s = min(CAP_S, BASE_S * 2.0 ** min(attempt, 100))
    assert pause_s(attempt, lambda: share) == pytest.approx(ceiling_s * share)


def test_the_figures_are_those_that_are_promised() -> None:
    assert (BASE_S, CAP_S, RETRY_AFTER_S_MAX) == (0.5, 60.0, 300.0)
    assert pause_s(1, lambda: 0.999) < 1.0


def test_at_the_cap_senders_still_wake_apart() -> None:
    waits = {pause_s(50, lambda share=share: share) for share in (0.1, 0.5, 0.9)}  # type: ignore[misc]
    assert waits == {6.0, 30.0, 54.0}


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("301", 301.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT", 120.0),
        ("Saturday, 21-Nov-26 12:02:00 GMT", 120.0),
        ("Sat, 21 Nov 2026 13:02:00 +0100", 120.0),
        ("Sat, 21 Nov 2026 12:02:00 -0000", 120.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        (
            "Fri, 31 Dec 9999 23:59:59 GMT",
            (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - NOW).total_seconds(),
        ),
    ],
)
def test_seconds_and_dates_are_read(header: str, wait_s: float) -> None:
    found = retry_after_s(header, NOW)
    assert found is not None
    assert found == pytest.approx(wait_s, rel=1e-6)


@pytest.mark.parametrize(
    "header",
    [None, "", " ", "soon", "-5", "1.5", "+5", "1e3", "0x10", "١٢", "12 13", "Sat, 41 Nov 2026"],
)
def test_nonsense_counts_as_none(header: str | None) -> None:
    assert retry_after_s(header, NOW) is None


def test_any_number_of_digits_is_a_number_of_seconds() -> None:
    found = retry_after_s("10000000000", NOW)
    assert found is not None
    assert found > RETRY_AFTER_S_MAX


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ .*")))
def test_no_header_is_a_fault_of_the_program(header: str) -> None:
    found = retry_after_s(header, NOW)
    assert found is None or found >= 0


@given(
    st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2100-01-01")),
    st.integers(-720, 720),
)
def test_a_date_means_the_same_instant_in_every_zone(at: datetime, offset_min: int) -> None:
    there = at.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_min)))
    wanted_s = max(0.0, (there - NOW).total_seconds())
    assert retry_after_s(format_datetime(there), NOW) == wanted_s
