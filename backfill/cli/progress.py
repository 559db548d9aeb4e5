"""The progress line: which stream, rows, pace, rejects, what is left. On a terminal only."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.plan import Plan
    from backfill.shard import Counts

RECENT_S: Final = 30.0
"""The pace is that of so many seconds: steady, but not that of an hour ago."""

COLUMNS: Final = 80
"""Of a terminal that does not say how wide it is."""
BAR_MIN: Final = 6
"""Columns that a bar needs to be one."""
MEASURED: Final = "{desc} {percentage:3.0f}% {bar} {words}"
UNMEASURED: Final = "{desc} {words}"
MINUTE_S: Final = 60


class Pace:
    """How fast rows are settled, and how long the rest takes. The clock is given."""

    def __init__(self, total: int | None, rate: float | None) -> None:
        """total: rows, a guess. rate: requests a second at most; None: no limit."""
        self.total = total
        self._rate = rate
        self._seen: deque[tuple[float, int, int]] = deque()
        self._first: tuple[float, int, int] | None = None

    def step(self, now_s: float, rows: int, requests: int) -> None:
        """Note how far the run is."""
        self._first = self._first or (now_s, rows, requests)
        self._seen.append((now_s, rows, requests))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - RECENT_S:  # noqa: PLR2004  a span
            self._seen.popleft()
        if self.total is not None and rows > self.total:
            self.total = None  # the guess was too low: better none than a wrong one

    def speeds(self, now_s: float) -> tuple[float, float]:
        """Return rows and requests a second, lately."""
        if not self._seen:
            return 0.0, 0.0
        begin_s, rows, requests = self._seen[0]
        took_s = max(now_s - begin_s, 1e-9)
        return (self._seen[-1][1] - rows) / took_s, (self._seen[-1][2] - requests) / took_s

    def left_s(self, now_s: float) -> float | None:
        """Return how long the rest takes; None where that is not known.

        The slower of two counts: what the destination took lately, and what the rate allows.
        """
        if self.total is None or not self._seen or self._first is None:
            return None
        rows = self._seen[-1][1]
        rest = max(self.total - rows, 0)
        speed, _ = self.speeds(now_s)
        begun, sent = rows - self._first[1], self._seen[-1][2] - self._first[2]
        allowed_s = rest / begun * sent / self._rate if self._rate and begun and sent else 0.0
        if not speed:
            return None if rest else 0.0
        return max(rest / speed, allowed_s)


def told(seconds: float) -> str:
    """`45 s`, `1:05 min`, `3:20 h`."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), MINUTE_S)
    if minutes < MINUTE_S:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // MINUTE_S}:{minutes % MINUTE_S:02d} h"


def short(number: float) -> str:
    """`812`, `23.4k`, `1.20M`: at most five characters."""
    for size, unit, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e4, "k", 1)):
        if number >= size:
            value = number / (1e3 if unit == "k" else size)
            return f"{value:.{digits if value < 100 else 0}f}{unit}"  # noqa: PLR2004  three digits
    return f"{number:,.0f}"


class Bar:
    """One line for each stream in turn."""

    def __init__(
        self,
        *,
        is_shown: bool,
        streams: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """streams: how many there will be."""
        self._is_shown = is_shown
        self._streams = streams
        self._number = 0
        self.rate_of: Callable[[Plan], float | None] = lambda _plan: None
        """Requests a second of a stream, at most."""
        self._clock = clock
        self._bar: Any = None
        self._pace = Pace(None, None)
        self._trouble = ""
        self._rejects = 0

    def watch(self, plan: Plan) -> Callable[[Counts], None]:
        """Return what is to be called after each step of this stream."""
        self._number += 1
        if not self._is_shown:
            return lambda _counts: None
        from tqdm import tqdm  # noqa: PLC0415  only where a bar is seen

        class Line(tqdm):  # type: ignore[type-arg]
            """A bar with words of ours behind it, as many as there is room for."""

            words: tuple[str, ...] = ("",)

            @property
            def format_dict(self) -> Any:
                known = super().format_dict
                columns = known["ncols"] or COLUMNS
                room = columns - len(self.desc) - (len(" 100%  ") + BAR_MIN if self.total else 1)
                return {**known, "words": fitting(self.words, room)}

        self._pace = Pace(plan.rows_expected(), self.rate_of(plan))
        self._trouble, self._rejects = "", 0
        of = f"{self._number}/{self._streams} " if self._streams > 1 else ""
        self._bar = Line(
            total=self._pace.total,
            desc=f"{of}{_short_name(plan.job.mapping.name)}",
            dynamic_ncols=True,
            mininterval=1.0,
            miniters=0,
            leave=False,
            bar_format=MEASURED if self._pace.total else UNMEASURED,
        )
        self._say()
        return self._step

    def hear(self, what: str, facts: dict[str, Any]) -> None:
        """Show what the senders wait for; called by their threads."""
        if self._bar is not None and what == "retry":
            self._trouble = f"{facts['reason']}, again in {told(facts['wait_s'])}"
            self._say()

    def _step(self, counts: Counts) -> None:
        self._trouble = ""
        self._rejects = counts.rejected
        self._pace.step(self._clock(), counts.settled, counts.sent)
        if self._pace.total is None and self._bar.total is not None:
            self._bar.total, self._bar.bar_format = None, UNMEASURED
        self._bar.n = counts.settled
        self._say()

    def _say(self) -> None:
        if (bar := self._bar) is not None:  # a sender may speak when it is closed
            bar.words = self._words(bar.n)
            bar.update(0)

    def _words(self, settled: int) -> tuple[str, ...]:
        """Return what stands behind the bar, ever shorter: what is left is said to the last."""
        now_s = self._clock()
        speed, requests = self._pace.speeds(now_s)
        rows = short(settled)
        rows = f"{rows}/{short(self._pace.total)} rows" if self._pace.total else f"{rows} rows"
        if self._trouble:
            return (f"{rows}, {self._trouble}", self._trouble)
        rejects = f"{short(self._rejects)} {'reject' if self._rejects == 1 else 'rejects'}"
        left_s = self._pace.left_s(now_s)
        parts = {
            "rows": rows,
            "speed": f"{short(speed)}/s" if speed else "",
            "requests": f"{requests:.0f} req/s" if speed else "",
            "rejects": rejects if self._rejects else "",
            "left": "" if left_s is None else f"{told(left_s)} left",
        }
        shorter = []
        for gone in ("", "requests", "speed", "rejects", "left"):
            parts[gone] = ""
            shorter.append(", ".join(part for part in parts.values() if part))
        return tuple(shorter)

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def fitting(words: tuple[str, ...], room: int) -> str:
    """Return the first of the words, longest first, that has room; the last one is cut."""
    found = next((one for one in words if len(one) <= room), words[-1])
    return found if len(found) <= room else found[: max(room - 1, 0)] + "…"


def _short_name(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"  # noqa: PLR2004  room for the numbers
