"""What the pictures of a run show, counted from what was acknowledged. Values; no file.

Bounded whatever the rows hold: so many names, days that become weeks, months, years and centuries
where they are too many, a series of moments that grow wider, the ten longest messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backfill.marks import (
    DAY_BITS,
    DAY_ZERO,
    NO_MARK,
    OTHERS,
    WORD_BITS,
    Name,
    number_of,
)

if TYPE_CHECKING:
    from backfill.errand import Settled
    from backfill.marks import Legend
    from backfill.reading import Read

LONGEST_SHOWN: Final = 10
PAIRS_MAX: Final = 60_000
"""Names and days that are counted one by one; where there are more, days go together."""

WAITING_MAX: Final = 500
MOMENTS_MAX: Final = 600
LEVELS: Final = ("day", "week", "month", "year", "century")
DAY_MASK: Final = (1 << DAY_BITS) - 1

Long = tuple[int, str, int]
"""Bytes, the file as dead letters name it, the row as a person counts."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What is counted of texts that were acknowledged together."""

    marks: np.ndarray
    """Ascending, each once; the legend has the names."""
    counts: np.ndarray
    traits: dict[tuple[str, str], int]
    """(type of message, trait) → how many messages had it."""
    longest: tuple[Long, ...]


def tallied(
    legend: Legend | None, read: Read, done: list[Settled], *, least_bytes: int = 0
) -> Tally | None:
    """Count the texts of batches, but for those that were refused.

    least_bytes: shorter messages are known not to be among the longest.
    """
    done = [one for one in done if len(one.batch.marks)]
    if legend is None or not done:
        return None
    kept = [_acknowledged(one) for one in done]
    marks = np.concatenate([part for part, _ in kept], axis=1)
    count = len(legend.kinds)
    found, counts = counted_marks(marks[1 : 1 + count])
    longest: list[Long] = []
    top = _highest(marks[0], least_bytes)
    ends = np.cumsum([len(places) for _, places in kept])
    for at in top.tolist():
        which = int(np.searchsorted(ends, at, "right"))
        batch, places = done[which].batch, kept[which][1]
        text = int(places[at - int(ends[which]) + len(places)])
        row = int(batch.rows_of(text)[0])
        span = next(span for span in batch.spans if span.start <= row < span.stop)
        called, label = read.called(span, row - span.start)
        longest.append((int(marks[0, at]), label, called))
    return Tally(found, counts, _traits(legend, marks[1 + count :]), tuple(longest))


def _highest(sizes: np.ndarray, least: int) -> np.ndarray:
    """Return the places of the longest texts, of equal ones the first; none below the least."""
    at = np.flatnonzero(sizes >= least)
    if len(at) <= LONGEST_SHOWN:
        return at
    order = np.argsort(-sizes[at], kind="stable")[:LONGEST_SHOWN]
    return np.sort(at[order])


def _acknowledged(settled: Settled) -> tuple[np.ndarray, np.ndarray]:
    """Return the marks of the texts that were not refused, and which texts those are."""
    batch = settled.batch
    places = np.arange(batch.count)
    if not settled.refusals:
        return batch.marks, places
    places = np.delete(places, [refusal.index for refusal in settled.refusals])
    return batch.marks[:, places], places


def counted_marks(marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the marks that are there, ascending, and how often each is."""
    marks = marks.reshape(-1)
    if marks.size and marks.min() == NO_MARK:
        marks = marks[marks != NO_MARK]
    if not marks.size:
        return marks, marks
    names, days = marks >> DAY_BITS, marks & DAY_MASK
    first = int(days.min())
    width = int(days.max()) - first + 1
    if width * (int(names.max()) + 1) < 4 * marks.size:  # counting is much faster than sorting
        counts = np.bincount(names * width + (days - first))
        at = np.flatnonzero(counts)
        return ((at // width) << DAY_BITS) | (at % width + first), counts[at]
    found: tuple[np.ndarray, np.ndarray] = np.unique(marks, return_counts=True)
    return found


def _traits(legend: Legend, words: np.ndarray) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    line = 0
    for index, kind in enumerate(legend.kinds):
        for bit, trait in enumerate(tuple(legend.traits[index])):
            word, shift = divmod(bit, WORD_BITS)
            has = np.count_nonzero(words[line + word] & (1 << shift))
            found[kind, trait] = found.get((kind, trait), 0) + int(has)
        line += legend.words[index]
    return found


@dataclass
class Figures:
    """All that a run's pictures show so far."""

    names: list[Name] = field(default_factory=lambda: [OTHERS])
    marks: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Ascending; their names are numbered by `names`."""
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    level: int = 0
    """Of `LEVELS`: what a day of `marks` stands for."""
    traits: dict[tuple[str, str], int] = field(default_factory=dict)
    longest: list[Long] = field(default_factory=list)
    moments: dict[int, list[int]] = field(default_factory=dict)
    """Seconds since 1970 → rows settled, requests, of those retried, bytes."""
    width_s: int = 1
    causes: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    """(bucket, code, column) → count, samples."""
    rows_expected: int | None = None
    """A guess at the rows of the source, made when the run began."""
    _numbers: dict[Name, int] = field(default_factory=lambda: {OTHERS: 0})
    _waiting: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _waiting_pairs: int = 0

    @property
    def messages(self) -> int:
        """How many messages are counted."""
        self.settle()
        return int(self.counts.sum())

    def numbered(self, marks: np.ndarray, names: list[Name]) -> np.ndarray:
        """Return the marks by our own numbers of names, days by our level; not ascending."""
        numbers = np.array([self._number(name) for name in names], np.int64)
        days = floored(marks & DAY_MASK, self.level)
        found: np.ndarray = (numbers[marks >> DAY_BITS] << DAY_BITS) | days
        return found

    def _number(self, name: Name) -> int:
        return number_of(name, self.names, self._numbers)

    def count(self, marks: np.ndarray, counts: np.ndarray) -> None:
        """Add marks that are numbered by our names."""
        self._waiting.append((marks, counts))
        self._waiting_pairs += len(marks)
        if self._waiting_pairs > PAIRS_MAX or len(self._waiting) > WAITING_MAX:
            self.settle()

    def settle(self) -> None:
        """Bring what was added together, and days too where they are too many."""
        if not self._waiting:
            return
        marks, counts = zip(*self._waiting, (self.marks, self.counts), strict=True)
        self._waiting, self._waiting_pairs = [], 0
        self.marks, self.counts = _summed(np.concatenate(marks), np.concatenate(counts))
        while len(self.marks) > PAIRS_MAX and self.level < len(LEVELS) - 1:
            self.coarsen(self.level + 1)

    def coarsen(self, level: int) -> None:
        """Let days stand for longer times."""
        self.level = max(self.level, level)
        days = floored(self.marks & DAY_MASK, self.level)
        self.marks, self.counts = _summed((self.marks & ~DAY_MASK) | days, self.counts)

    def add_long(self, longest: list[Long]) -> list[Long]:
        """Keep the longest messages. Returns those that are new among them."""
        before = set(self.longest)
        best = sorted({*self.longest, *longest}, key=lambda one: (-one[0], one[1:]))
        self.longest = best[:LONGEST_SHOWN]
        return [one for one in self.longest if one not in before]

    def add_moment(self, at_s: int, effort: list[int]) -> None:
        """Add what was done until a moment."""
        at_s -= at_s % self.width_s
        mine = self.moments.setdefault(at_s, [0] * len(effort))
        for place, number in enumerate(effort):
            mine[place] += number
        if len(self.moments) > MOMENTS_MAX:
            before, self.moments, self.width_s = self.moments, {}, 2 * self.width_s
            for moment, done in before.items():
                self.add_moment(moment, done)

    def add_traits(self, traits: dict[tuple[str, str], int]) -> None:
        """Add to the traits."""
        for name, count in traits.items():
            self.traits[name] = self.traits.get(name, 0) + count

    def days(self) -> dict[Name, list[tuple[int, int]]]:
        """Return for each name the days since 1970 and how many messages, without those of none."""
        self.settle()
        found: dict[Name, list[tuple[int, int]]] = {}
        for mark, count in zip(self.marks.tolist(), self.counts.tolist(), strict=True):
            day = mark & DAY_MASK
            if day:
                found.setdefault(self.names[mark >> DAY_BITS], []).append((day - DAY_ZERO, count))
        return found

    def by_name(self) -> dict[Name, int]:
        """Return how many messages of each name there are, the most first."""
        self.settle()
        sums = np.bincount(self.marks >> DAY_BITS, self.counts, len(self.names)).astype(int)
        found = zip(self.names, sums.tolist(), strict=True)
        return dict(sorted(found, key=lambda item: (-item[1], item[0])))


def _summed(marks: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, at = np.unique(marks, return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, at, counts)
    return found, sums


UNITS: Final = {2: "M", 3: "Y", 4: "Y"}


def floored(days: np.ndarray, level: int) -> np.ndarray:
    """Return the first day of what each day is in; 0, no time, stays. days: with `DAY_ZERO`."""
    if not level:
        return days
    since = days - DAY_ZERO
    if level == 1:
        first = since - (since + 3) % 7  # 1970-01-01 was a Thursday; weeks begin on Monday
    else:
        unit = UNITS[level]
        periods = since.astype("datetime64[D]").astype(f"datetime64[{unit}]")
        if level == len(LEVELS) - 1:
            years = periods.astype(np.int64) + 1970
            periods = (years - years % 100 - 1970).astype("datetime64[Y]")
        first = periods.astype("datetime64[D]").astype(np.int64)
    found: np.ndarray = np.where(days == 0, 0, np.maximum(first + DAY_ZERO, 1))
    return found
