"""Counts a day → the bars of a histogram. Pure; the template draws them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH: Final = 720
HEIGHT: Final = 140
BARS_MAX: Final = 72
BAR_MIN: Final = 1.5
"""A bar that is not empty is seen."""

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it is called, how many, and where it stands."""

    label: str
    n: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram over time."""

    unit: str
    """What a bar stands for: day, week, month, quarter, year, decade, century."""
    bars: tuple[Bar, ...]
    most: int

    @property
    def words(self) -> str:
        """Say what it shows, for those who do not see it."""
        if not self.bars:
            return "There is nothing to show over time."
        top = max(self.bars, key=lambda bar: bar.n)
        empty = sum(not bar.n for bar in self.bars)
        total = sum(bar.n for bar in self.bars)
        span = self.bars[0].label
        if len(self.bars) > 1:
            span += f" to {self.bars[-1].label}"
        holes = f" Nothing in {empty:,} of {len(self.bars):,} {self.unit}s." if empty else ""
        return f"{total:,} by {self.unit}, {span}. Most: {top.n:,} ({top.label}).{holes}"


def chart(days: Sequence[tuple[int, int]]) -> Chart:
    """Make a histogram of (days since 1970, how many), ascending; units as short as fit."""
    if not days:
        return Chart("day", (), 0)
    first, last = _date(days[0][0]), _date(days[-1][0])
    fitting = (one for one in _UNITS if one.number(last) - one.number(first) < BARS_MAX)
    unit = next(fitting)
    low, high = unit.number(first), unit.number(last)
    counts = [0] * (high - low + 1)
    for day, n in days:
        counts[unit.number(_date(day)) - low] += n
    most, step = max(counts), WIDTH / len(counts)
    bars = []
    for at, n in enumerate(counts):
        height = max(n / most * HEIGHT, BAR_MIN) if n else 0.0
        place = (round(at * step, 2), round(HEIGHT - height, 2))
        bars.append(Bar(unit.named(low + at), n, *place, round(step * 0.85, 2), round(height, 2)))
    return Chart(unit.name, tuple(bars), most)


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _month(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


class _Unit(NamedTuple):
    """Days, months …: from a date to the number of its unit, and from that to its name."""

    name: str
    number: Callable[[date], int]
    named: Callable[[int], str]


_UNITS: Final = (
    _Unit("day", date.toordinal, lambda n: date.fromordinal(n).isoformat()),
    _Unit(
        "week",  # from Monday: the first day of all, 0001-01-01, is one
        lambda at: (at.toordinal() - 1) // 7,
        lambda n: f"week of {date.fromordinal(n * 7 + 1).isoformat()}",
    ),
    _Unit("month", lambda at: at.year * 12 + at.month - 1, _month),
    _Unit(
        "quarter",
        lambda at: at.year * 4 + (at.month - 1) // 3,
        lambda n: f"{n // 4:04} Q{n % 4 + 1}",
    ),
    _Unit("year", lambda at: at.year, lambda n: f"{n:04}"),
    _Unit("decade", lambda at: at.year // 10, lambda n: f"{n:03}0s"),
    _Unit("century", lambda at: at.year // 100, lambda n: f"{n:02}00s"),
    _Unit("millennium", lambda at: at.year // 1000, lambda n: f"{n}000s"),
)
"""The last one always fits: years end at 9999."""
