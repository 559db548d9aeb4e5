"""Events that could start campaigns are judged at the moment when they would be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from reference import NOW_MS, plan_for

from backfill.recent import NAMES_MAX, OTHERS, Moments, Recent
from backfill.survey import survey

if TYPE_CHECKING:
    from pathlib import Path

HOUR_MS: Final = 3_600_000
TRACK: Final = {"type": "track", "userId": "id", "event": "what", "timestamp": "at"}


def looked(folder: Path, rows: list[tuple[str, str]], *, rate: float | None, **more: Any) -> Recent:
    """Survey events given as (name, hours before now), one a request."""
    lines = [f"u{n},{name},{_at(hours)}" for n, (name, hours) in enumerate(rows)]
    (folder / "t.csv").write_text("id,what,at\n" + "\n".join(lines) + "\n")
    message = more.pop("message", TRACK)
    begin_ms = more.pop("begin_ms", NOW_MS)
    document = {
        "version": 1,
        "name": "t",
        "source": {"path": "t.csv"},
        "messages": [message],
        "delivery": {"batch_messages": 1},
        **more,
    }
    plan = plan_for(document, folder, now_ms=NOW_MS)
    recent = Recent(NOW_MS, rate, begin_ms)
    survey(plan, limit=None, recent=recent)
    return recent


def _at(hours: str) -> str:
    instant = NOW_MS / 1000 - 3600 * float(hours)
    return datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")


SENT: Final = {"guards": {"recent_events": "send", "future": "send"}}


def test_an_event_is_judged_when_its_request_goes_not_when_the_run_starts(tmp_path: Path) -> None:
    """One request an hour: the event that is 70 h old is 72 h old when the third request goes."""
    rows = [("A", "70"), ("A", "70"), ("A", "70"), ("A", "70")]
    recent = looked(tmp_path, rows, rate=1 / 3600, **SENT)
    assert recent.requests == 4
    assert recent.all == Moments(at_start=4, when_sent=2)


@pytest.mark.parametrize(("begin_hours", "when_sent"), [(0, 1), (1.9, 1), (2, 0), (3, 0)])
def test_streams_that_are_sent_before_make_a_later_one_older(
    tmp_path: Path, begin_hours: float, when_sent: int
) -> None:
    begin_ms = NOW_MS + int(begin_hours * HOUR_MS)
    recent = looked(tmp_path, [("A", "70")], rate=50, begin_ms=begin_ms, **SENT)
    assert recent.all == Moments(1, when_sent)


def test_without_a_rate_sending_takes_no_time(tmp_path: Path) -> None:
    recent = looked(tmp_path, [("A", "71.999"), ("A", "72")], rate=None, **SENT)
    assert recent.all == Moments(1, 1)


@pytest.mark.parametrize("guard", [{}, {"guards": {"recent_events": "hold"}}])
def test_a_held_event_is_judged_with_the_rows_around_it(
    tmp_path: Path, guard: dict[str, Any]
) -> None:
    """The events of 80 h are sent, one an hour; those of 70 h are held between them."""
    rows = [("A", "80"), ("B", "70"), ("A", "80"), ("B", "70"), ("A", "80"), ("B", "70")]
    recent = looked(tmp_path, rows, rate=1 / 3600, **guard)
    assert recent.requests == 3
    assert recent.by_name() == [("B", Moments(3, 2))]


def test_an_event_of_now_is_recent_whenever_it_is_sent(tmp_path: Path) -> None:
    now = {**TRACK, "timestamp": "now"}
    recent = looked(tmp_path, [("A", "0")] * 3, rate=1 / (100 * 3600), message=now, **SENT)
    assert recent.all == Moments(3, 3)


def test_future_ones_come_to_pass_on_the_way(tmp_path: Path) -> None:
    rows = [("A", "-1.5")] * 3
    recent = looked(tmp_path, rows, rate=1 / 3600, **SENT)
    assert recent.ahead == Moments(3, 2)
    assert recent.all == Moments(3, 3)


def test_events_are_counted_by_name_the_most_frequent_first(tmp_path: Path) -> None:
    rows = [("B", "1"), ("A", "71"), ("C", "2"), ("A", "71"), ("C", "90")]
    recent = looked(tmp_path, rows, rate=1 / 3600, **SENT)
    assert recent.by_name() == [
        ("A", Moments(2, 0)),
        ("B", Moments(1, 1)),
        ("C", Moments(1, 1)),
    ]


def test_names_without_end_are_counted_together(tmp_path: Path) -> None:
    rows = [(f"e{n}", "1") for n in range(NAMES_MAX + 7)]
    recent = looked(tmp_path, rows, rate=None, **SENT)
    assert recent.by_name()[0] == (OTHERS, Moments(7, 7))
    assert len(recent.by_name()) == NAMES_MAX + 1


def test_a_rejected_event_reaches_nobody(tmp_path: Path) -> None:
    recent = looked(tmp_path, [("User Deleted", "1"), ("", "1"), ("A", "1")], rate=50, **SENT)
    assert recent.by_name() == [("A", Moments(1, 1))]


def test_lanes_do_not_mix_up_the_moments(tmp_path: Path) -> None:
    """An identify beside the event makes lanes. A row a request: from the 30th on they are old."""
    both = [{"type": "identify", "userId": "id"}, TRACK]
    rows = [(f"u{n}", "71.5") for n in range(40)]
    lines = [f"{name},A,{_at(hours)}" for name, hours in rows]
    (tmp_path / "t.csv").write_text("id,what,at\n" + "\n".join(lines) + "\n")
    document = {
        "version": 1,
        "name": "t",
        "source": {"path": "t.csv"},
        "messages": both,
        **SENT,
        "delivery": {"batch_messages": 2},
    }
    plan = plan_for(document, tmp_path, now_ms=NOW_MS).judged_at(NOW_MS, lanes=4)
    recent = Recent(NOW_MS, 1 / 60, NOW_MS)
    survey(plan, limit=None, recent=recent)
    assert recent.requests == 40
    assert recent.all == Moments(40, 30)
