"""What is left of a run is told from what the destination bears and what the rate allows."""

from __future__ import annotations

import pytest

from backfill.cli.progress import Bar, Pace, fitting, short, told
from backfill.cli.status import as_screen


def test_what_is_left_follows_the_pace_of_late_not_that_of_the_whole_run() -> None:
    pace = Pace(100_000, None)
    for second in range(100):
        pace.step(second, second * 100, second)
    for second in range(100, 140):
        pace.step(second, 9_900 + (second - 99) * 1000, second)
    assert pace.speeds(139)[0] == pytest.approx(1000)
    left_s = pace.left_s(139)
    assert left_s == pytest.approx((100_000 - 49_900) / 1000)


def test_a_rate_limit_says_at_least_how_long_the_rest_takes() -> None:
    pace = Pace(1_000_000, 2.0)
    pace.step(0.0, 0, 0)
    pace.step(1.0, 10_000, 10)  # a burst: the rest goes at two requests a second
    assert pace.left_s(1.0) == pytest.approx(990_000 / 10_000 * 10 / 2.0)


def test_a_guess_that_was_too_low_is_dropped() -> None:
    pace = Pace(10, None)
    pace.step(0.0, 5, 1)
    pace.step(1.0, 11, 2)
    assert (pace.total, pace.left_s(1.0)) == (None, None)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (9_999, "9,999"), (23_400, "23.4k"), (999_999, "1000k"), (1_204_000, "1.20M")],
)
def test_numbers_stay_short(number: float, words: str) -> None:
    assert short(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (65, "1:05 min"), (12_000, "3:20 h")]
)
def test_times_are_told_as_people_do(seconds: float, words: str) -> None:
    assert told(seconds) == words


def test_words_that_have_no_room_go_what_is_left_stays_longest() -> None:
    words = (
        "9,999/50.0k rows, 100/s, 2 rejects, 3:20 h left",
        "9,999/50.0k rows, 3:20 h left",
        "9",
    )
    assert fitting(words, 80) == words[0]
    assert fitting(words, 40) == words[1]
    assert fitting(words, 20) == words[2]
    assert fitting(("9,999 rows, answered 503, again in 12 s",), 20) == "9,999 rows, answere…"


def words_of(bar: Bar, settled: int) -> tuple[str, ...]:
    """Return what stands behind a bar, without drawing one."""
    return bar._words(settled)  # noqa: SLF001  what it says, not how tqdm draws it


def test_one_reject_is_told_as_one() -> None:
    bar = Bar(is_shown=False, clock=lambda: 1.0)
    for count, told_ in ((1, "5 rows, 1 reject"), (2, "5 rows, 2 rejects"), (0, "5 rows")):
        bar._rejects = count  # noqa: SLF001
        assert words_of(bar, 5)[0] == told_


def stream(name: str, phase: str, **more: object) -> dict[str, object]:
    """Return a stream as `status --json` has it."""
    rows = {"read": 1000, "pending": 0, "rejected": 2, "held": 0}
    known = {"saved_at": "2026-01-01T00:00:00Z", "destination": "https://cdp.example"}
    return {"stream": name, "exit_code": 0, "phase": phase, "rows": rows, **known, **more}


def test_all_streams_are_on_one_screen_the_running_ones_first() -> None:
    holder = {"host": "box", "pid": 7, "since": "2026-01-01T00:00:00Z"}
    running = stream(
        "orders",
        "unfinished",
        running=holder,
        rows_expected=50_000,
        rows_per_second=340.0,
        seconds_left=144,
    )
    found = [*(stream(f"done{n:02d}", "finished") for n in range(40)), running]
    lines = as_screen(found).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["orders", "running", "1,000", "~50,000", "2", "2", "min"]
    assert "and 24 more; `backfill status --json` tells them all" in lines
    assert "orders: process 7 on box since 2026-01-01T00:00:00Z, 340 rows/s" in lines


def test_a_long_name_and_a_long_address_are_told_whole_within_80_columns() -> None:
    name, holder = "orders_of_all_shops_since_2019", {"host": "a-machine.example.org", "pid": 30294}
    holder |= {"since": "2026-01-01T00:00:00Z"}
    running = stream(name, "unfinished", running=holder, rows_per_second=7278.0)
    stopped = stream("b" * 40, "unfinished", destination="https://cdp-eu.customer.io/v1")
    lines = as_screen([running, stopped]).splitlines()
    assert max(map(len, lines)) <= 80
    told_ = "\n".join(lines)
    assert f"{name}: process 30294 on a-machine.example.org since\n  2026" in told_
    assert "saved 2026-01-01T00:00:00Z →\n  https://cdp-eu.customer.io/v1; run it again" in told_


def test_a_running_stream_that_settles_nothing_says_since_when() -> None:
    holder = {"host": "box", "pid": 7, "since": "2026-01-01T00:00:00Z"}
    for idle_s, words in ((59, ""), (100, "; nothing settled for 100 s"), (900, "15 min")):
        found = as_screen(
            [stream("orders", "unfinished", running=holder, seconds_since_saved=idle_s)]
        )
        assert ("nothing settled for" in found) == bool(words)
        assert words in found
