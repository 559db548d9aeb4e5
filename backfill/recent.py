"""Events that could start campaigns: by name, at the start of a run and when they would be sent.

The guard judges by the start, so that a resume judges the same; a person wants to know both. Pure:
the clock and the rate are given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.columns import integers
from backfill.jsontext import Fixed, Typed
from backfill.message import instants_of
from backfill.spec import RECENT_S

if TYPE_CHECKING:
    from backfill.batch import Batch, Encodings
    from backfill.message import Draft, Made

NAMES_MAX: Final = 1_000
"""A column taken for the event's name may have any number of values: the rest goes together."""

OTHERS: Final = "(other events)"


class Moments(NamedTuple):
    """How many events are counted at two moments."""

    at_start: int
    when_sent: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Events whose moment of sending is not known yet: rows of the file, ascending."""

    rows: np.ndarray
    names: np.ndarray
    instants: np.ndarray

    def part(self, keep: np.ndarray) -> _Waiting:
        return _Waiting(self.rows[keep], self.names[keep], self.instants[keep])


@dataclass
class Recent:
    """Counts the track events of one stream that are newer than 72 hours, also those ahead of us.

    The n-th request (from 0) is sent n / rate seconds after the stream begins; a row that is held
    is judged as if it went with the rows around it. Memory: a thousand names, and the recent events
    of the record batches that wait for their request.
    """

    start_ms: int
    """When the run begins: the guard judges by it."""
    rate: float | None
    """Requests a second; None where there is no limit: then sending takes no time."""
    begin_ms: int
    """When the first request of this stream is sent."""
    requests: int = 0
    _names: dict[str, int] = field(default_factory=dict)
    _recent: np.ndarray = field(default_factory=lambda: np.zeros((2, NAMES_MAX + 1), np.int64))
    _ahead: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    _waiting: dict[int, list[_Waiting]] = field(default_factory=dict)

    @property
    def next_ms(self) -> float:
        """When the next request is sent."""
        return self.begin_ms + (1000 * self.requests / self.rate if self.rate else 0)

    def add(self, given: Encodings) -> None:
        """Take the events of one span. Those of `timestamp: now` are recent whenever they go."""
        made = given.made
        assert made is not None
        sent = made.keep | made.held
        for draft in made.drafts:
            if draft.kind.name != "track":
                continue
            mine = sent if draft.rows is None else sent[draft.rows]
            if draft.instants is None:
                at = np.flatnonzero(mine)
                self._recent += np.bincount(self._named(draft, at), minlength=NAMES_MAX + 1)
                continue
            oldest_ms = self.start_ms - 1000 * RECENT_S
            newest_ms = pc.max(draft.instants.cast(pa.int64())).as_py()
            if newest_ms is None or newest_ms <= oldest_ms:
                continue  # history, as nearly all of it is
            instants = instants_of(draft.instants)
            at = np.flatnonzero(mine & (instants > oldest_ms))
            if len(at):
                self._wait(given, made, draft, at, instants[at])

    def _wait(
        self, given: Encodings, made: Made, draft: Draft, at: np.ndarray, instants: np.ndarray
    ) -> None:
        rows = made.rows[at if draft.rows is None else draft.rows[at]]
        names = self._named(draft, at)
        self._recent[0] += np.bincount(names, minlength=NAMES_MAX + 1)
        self._ahead[0] += (instants > self.start_ms).sum()
        found = _Waiting(rows, names, instants)
        if given.lane is None:
            self._waiting.setdefault(0, []).append(found)
            return
        lane = given.lane[rows - given.span.start]
        for one in np.unique(lane).tolist():
            self._waiting.setdefault(one, []).append(found.part(lane == one))

    def _named(self, draft: Draft, at: np.ndarray) -> np.ndarray:
        """Return the numbers of the event names of some messages."""
        found = draft.members["event"]
        if isinstance(found, Fixed):
            return np.full(len(at), self._number(str(json.loads(found.text))))
        assert isinstance(found, Typed)
        encoded = found.data.take(pa.array(at)).dictionary_encode()
        numbers = [self._number(str(name)) for name in encoded.dictionary.to_pylist()]
        places: np.ndarray = integers(encoded.indices.cast(pa.int64()))
        named: np.ndarray = np.array(numbers, np.int64)[places]
        return named

    def _number(self, name: str) -> int:
        if name not in self._names and len(self._names) >= NAMES_MAX:
            return NAMES_MAX
        return self._names.setdefault(name, len(self._names))

    def send(self, batch: Batch) -> None:
        """Judge what goes with a batch at the moment when that is sent."""
        at_ms = self.next_ms
        self.requests += bool(batch.count)
        waiting = self._waiting.pop(batch.lane, [])
        later: list[_Waiting] = []
        for one in waiting:
            is_now = one.rows < batch.stop
            if not is_now.all():
                later.append(one.part(~is_now))
            mine = one.part(is_now)
            names = mine.names[mine.instants > at_ms - 1000 * RECENT_S]
            self._recent[1] += np.bincount(names, minlength=NAMES_MAX + 1)
            self._ahead[1] += (mine.instants > at_ms).sum()
        if later:
            self._waiting[batch.lane] = later

    @property
    def all(self) -> Moments:
        """The events newer than 72 hours."""
        return Moments(*self._recent.sum(axis=1).tolist())

    @property
    def ahead(self) -> Moments:
        """Those of them whose time is yet to come."""
        return Moments(*self._ahead.tolist())

    def by_name(self) -> list[tuple[str, Moments]]:
        """Return the events by name, the most frequent first."""
        names = [*self._names, *[""] * (NAMES_MAX - len(self._names)), OTHERS]
        counts: Any = zip(names, self._recent.T.tolist(), strict=True)
        found = [(name, Moments(*seen)) for name, seen in counts if seen[0]]
        return sorted(found, key=lambda one: (-one[1].at_start, one[0]))
