"""What a run's log tells of its answers and interruptions, counted. Reads `log.jsonl` alone."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOG_BYTES_MAX: Final = 64 << 20
"""Of a longer log only the end is read; a line is about 130 bytes."""

REASONS_MAX: Final = 12
MARKS_MAX: Final = 2000
"""Requests sent again that a picture shows."""

UNITS: Final = (("seconds", 1), ("minutes", 60), ("hours", 3600))
UNIT_MAX: Final = 240
"""So many of a unit, and the next one is easier to read."""
ANSWERED: Final = re.compile(r"answered [0-9]{3}")


@dataclass
class History:
    """What happened on the way."""

    retries: dict[str, int] = field(default_factory=dict)
    """What was answered → how many requests were sent again because of it."""
    refused: int = 0
    """Requests that were refused and narrowed down."""
    starts_s: list[float] = field(default_factory=list)
    """When the run was begun and resumed, in seconds since 1970."""
    ends: int = 0
    retried_s: list[float] = field(default_factory=list)
    """When requests had to be sent again."""

    @property
    def cuts(self) -> int:
        """How often the process ended without a word: killed, or the machine went down."""
        return max(len(self.starts_s) - self.ends, 0)

    def add(self, line: dict[str, Any]) -> None:
        """Count one line."""
        at_s = datetime.fromisoformat(line["at"]).timestamp()
        match line["event"]:
            case "start":
                self.starts_s.append(at_s)
            case "end":
                self.ends += 1
            case "refused":
                self.refused += 1
            case "retry":
                self.retried_s.append(at_s)
                known = ANSWERED.match(str(line["reason"]))
                reason = known[0] if known else str(line["reason"])[:60]
                if reason not in self.retries and len(self.retries) >= REASONS_MAX:
                    reason = "other faults"
                self.retries[reason] = self.retries.get(reason, 0) + 1
            case _:
                pass


def history_of(path: Path) -> History:
    """Read a log; what is no line of ours is left out, and a log that is not there is empty."""
    found = History()
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            stream.seek(max(os.fstat(stream.fileno()).st_size - LOG_BYTES_MAX, 0))
            for line in stream:
                try:
                    found.add(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue
    except OSError:
        pass
    return found


class Course(NamedTuple):
    """How a run went on, over the time in which it ran: what lay between its processes is cut."""

    unit: str
    edges: np.ndarray
    """n + 1 times in this unit, from 0."""
    speeds: np.ndarray
    """n times rows a second, from edge to edge."""
    retried: np.ndarray
    """When requests were sent again."""


def course_of(moments: Mapping[int, Sequence[int]], width_s: int, history: History) -> Course:
    """Return how a run went on. moments: second → rows settled in it and the width_s - 1 after."""
    at = np.array(sorted(moments), float)
    rows = np.array([moments[int(one)][0] for one in at], float)
    ends = at + width_s
    begin = min([float(at[0]), *history.starts_s])
    clock, ran = [begin], [0.0]
    for start in sorted(history.starts_s):
        last = max([clock[-1], *ends[ends <= start].tolist()])
        if start > last:
            clock += [last, start]
            ran += [ran[-1] + last - clock[-3]] * 2
    clock.append(max(float(ends[-1]), clock[-1]))
    ran.append(ran[-1] + clock[-1] - clock[-2])
    edges = np.maximum.accumulate(np.concatenate(([0.0], np.interp(ends, clock, ran))))
    speeds = rows / np.maximum(np.diff(edges), 1.0)
    unit, size = next((u for u in UNITS if edges[-1] / u[1] <= UNIT_MAX), UNITS[-1])
    retried = np.interp(history.retried_s[-MARKS_MAX:], clock, ran) / size
    return Course(unit, edges / size, speeds, retried)
