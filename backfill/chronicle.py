"""Days and counts → what a picture of a history shows: bars, a calendar, days that stand out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from backfill.figures import LEVELS, floored
from backfill.marks import DAY_ZERO, OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.figures import Figures
    from backfill.marks import Name

SERIES_MAX: Final = 8
BARS_MAX: Final = 200
YEARS_MAX: Final = 12
STEPS: Final = (0.5, 0.8, 1.4, 4.0)
"""Shares of the median of busy days at which a day in the calendar has another shade."""

SHADES: Final = len(STEPS) + 1
OUTSTANDING_MAX: Final = 12
DAYS_OF: Final = (1.0, 7.0, 30.4, 365.2, 36_524.0)
EPOCH: Final = date(1970, 1, 1)
AROUND_DAYS: Final = 14
HOLE_MIN: Final = 5
"""So many events a day must be usual around a day without any, before that is worth a word."""
OPEN_SHARE: Final = 0.5
"""A day without events is no hole where fewer of its weekdays have any."""
SPIKE: Final = 5.0
"""So many times what is usual around it makes a day a spike."""
SPIKE_MIN: Final = 20


class Year(NamedTuple):
    """The days of one year: (week, weekday, shade), shade 0 for no event."""

    year: int
    squares: list[tuple[int, int, int]]


class Outstanding(NamedTuple):
    """Days in a row that differ from those around them."""

    first: str
    last: str
    days: int
    events: int
    """Events of all these days."""
    usual: int
    """Events that a day around them has, the median."""
    is_hole: bool


@dataclass
class Chronicle:
    """The events of a run over the time when they happened."""

    starts: list[int] = field(default_factory=list)
    """First day of each bar, since 1970."""
    bar_days: float = 1.0
    bar_name: str = "day"
    series: list[tuple[str, list[int]]] = field(default_factory=list)
    """The names with most events, each with a count a bar; the last one may be all others."""
    calendar: list[Year] = field(default_factory=list)
    """Empty where there are too many years."""
    outstanding: list[Outstanding] = field(default_factory=list)
    names: list[tuple[str, int, str, str]] = field(default_factory=list)
    """Every name: how it is shown, messages, first and last day."""


def day_text(day: int) -> str:
    """`2020-01-31`, also of years beyond 9999."""
    try:
        return (EPOCH + timedelta(days=day)).isoformat()
    except OverflowError:
        return "far away"


def chronicle_of(figures: Figures, shown: Callable[[Name], str]) -> Chronicle:
    """Arrange the events of a run. shown: how a name is written."""
    days = figures.days()
    found = Chronicle()
    for name, count in figures.by_name().items():
        if count:
            mine = days.get(name, [])
            ends = (day_text(mine[0][0]), day_text(mine[-1][0])) if mine else ("", "")
            found.names.append((shown(name), count, *ends))
    if not days:
        return found
    every = [day for mine in days.values() for day, _ in mine]
    first, last = min(every), max(every)
    _put_bars(found, days, figures.level, (first, last), shown)
    if figures.level == 0 and last - first <= YEARS_MAX * 366:
        totals = np.zeros(last - first + 1, np.int64)
        for mine in days.values():
            for day, count in mine:
                totals[day - first] += count
        found.calendar = _calendar(totals, first)
        found.outstanding = outstanding_of(totals, first)
    return found


def _put_bars(
    found: Chronicle,
    days: dict[Name, list[tuple[int, int]]],
    level: int,
    ends: tuple[int, int],
    shown: Callable[[Name], str],
) -> None:
    first, last = ends
    while (last - first) / DAYS_OF[level] > BARS_MAX and level < len(LEVELS) - 1:
        level += 1
    found.bar_days, found.bar_name = DAYS_OF[level], LEVELS[level]
    sums = {name: sum(count for _, count in mine) for name, mine in days.items()}
    order = sorted(sums, key=lambda name: (name == OTHERS, -sums[name], name))
    top = order if len(order) <= SERIES_MAX else order[: SERIES_MAX - 1]
    bars: dict[str, dict[int, int]] = {}
    for name in order:
        label = shown(name) if name in top else "all others"
        mine = bars.setdefault(label, {})
        at = np.array([day + DAY_ZERO for day, _ in days[name]], np.int64)
        starts = (floored(at, level) - DAY_ZERO).tolist()
        for start, (_, count) in zip(starts, days[name], strict=True):
            mine[start] = mine.get(start, 0) + count
    found.starts = sorted({start for mine in bars.values() for start in mine})
    found.series = [
        (label, [mine.get(start, 0) for start in found.starts]) for label, mine in bars.items()
    ]


def _calendar(totals: np.ndarray, first: int) -> list[Year]:
    """Shade by how many times what a busy day has: usual days are alike, others stand out."""
    busy = totals[totals > 0]
    usual = float(np.median(busy)) if len(busy) else 1.0
    shades = np.where(totals == 0, 0, 1 + np.searchsorted(STEPS, totals / usual, "right"))
    years: dict[int, list[tuple[int, int, int]]] = {}
    for offset, shade in enumerate(shades.tolist()):
        day = EPOCH + timedelta(days=first + offset)
        begin = date(day.year, 1, 1)
        week = ((day - begin).days + begin.weekday()) // 7
        years.setdefault(day.year, []).append((week, day.weekday(), shade))
    return [Year(year, squares) for year, squares in sorted(years.items())]


def outstanding_of(totals: np.ndarray, first: int) -> list[Outstanding]:
    """Return the holes and spikes of a history, the widest from what is usual first.

    totals: events of each day from `first` on. Usual is the median of the nearest days that have
    events: the days of a hole of weeks say nothing of what is missing there.
    """
    busy = np.flatnonzero(totals)
    if len(busy) < AROUND_DAYS:
        return []
    padded = np.pad(totals[busy].astype(float), AROUND_DAYS, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND_DAYS + 1)
    usual = np.zeros(len(totals))
    usual[busy] = np.nanmedian(windows, axis=1)
    is_spike = (totals >= SPIKE_MIN) & (totals > SPIKE * np.maximum(usual, 1))
    found = []
    for start, stop in _runs(is_spike):
        told = (int(totals[start:stop].sum()), int(np.median(usual[start:stop])), False)
        found.append(_outstanding(first, start, stop, told))
    found += _holes(totals, busy, first)
    found.sort(key=lambda one: -abs(one.events - one.usual * one.days))
    return found[:OUTSTANDING_MAX]


def _holes(totals: np.ndarray, busy: np.ndarray, first: int) -> list[Outstanding]:
    """Return the days in a row without events, where there are enough before and after them."""
    is_open = _open(totals)
    found = []
    for start, stop in _runs(totals == 0):
        days = np.flatnonzero(is_open[start:stop])
        if not len(days):
            continue  # a weekend, as every week
        at = int(np.searchsorted(busy, start))
        before, after = busy[max(at - AROUND_DAYS, 0) : at], busy[at : at + AROUND_DAYS]
        if not (len(before) and len(after)):
            continue
        usual = int(min(np.median(totals[before]), np.median(totals[after])))
        if usual >= HOLE_MIN:
            ends = (start + int(days[0]), start + int(days[-1]) + 1)
            found.append(_outstanding(first, *ends, (0, usual, True)))
    return found


def _open(totals: np.ndarray) -> np.ndarray:
    """Tell the days whose weekday has events as a rule; weeks without any event do not count."""
    weeks = np.pad(totals, (0, -len(totals) % 7)).reshape(-1, 7) > 0
    share = weeks[weeks.any(axis=1)].mean(axis=0)
    found: np.ndarray = (share >= OPEN_SHARE)[np.arange(len(totals)) % 7]
    return found


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return where flags are set in a row, as [start, stop)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _outstanding(first: int, start: int, stop: int, told: tuple[int, int, bool]) -> Outstanding:
    return Outstanding(day_text(first + start), day_text(first + stop - 1), stop - start, *told)
