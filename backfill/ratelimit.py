"""When the next request may begin, for all senders together. Pure: no sleep, no clock, no lock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SLOWED: Final = 0.5
CLIMB_PER_S: Final = 0.05
"""After a 429 half the rate, then so much of the full rate more each second, until it is whole."""

SHARE_MIN: Final = 1 / 64
LATE_SHARE: Final = 0.5
"""A sender that wakes up late by no more of its interval is made up for; an idle one is not."""

EARLY_S: Final = 1e-6
"""Less than this is no wait: a sum of floats may fall short of the instant it was meant to be."""

GUESSED_RATE: Final = 10.0
"""What an unlimited run was doing, where its very first request met a 429."""

SEEN: Final = 64
"""Begins that are remembered, to know what an unlimited run was doing when it met a 429."""


@dataclass
class TokenBucket:
    """At most `rate` requests in any second and one more, whoever asks; None is unlimited.

    Seconds are of a monotonic clock, so that a change of the wall clock makes no burst. Nothing is
    reserved: whoever asks is let in now or asks again, so that senders which wake up together,
    after the machine was suspended, still go one by one.
    """

    rate: float | None
    _next_s: float = float("-inf")
    _paused_until_s: float = float("-inf")
    _share: float = 1.0
    """Of the full rate, when the climb began."""
    _slowed_s: float = float("-inf")
    _full: float | None = None
    """The full rate of a climb, where the run itself has none."""
    _begun_s: deque[float] = field(default_factory=lambda: deque(maxlen=SEEN))

    def wait_s(self, now_s: float) -> float:
        """Return the seconds to wait before asking again; 0: begin now, the place is taken."""
        at_s = max(self._next_s, self._paused_until_s)
        if now_s < at_s - EARLY_S:
            return at_s - now_s
        rate = self.rate_at(now_s)
        if rate is not None:
            late_s = now_s - self._next_s
            is_made_up = 0 < late_s <= LATE_SHARE / rate
            self._next_s = (self._next_s if is_made_up else now_s) + 1 / rate
        self._begun_s.append(now_s)
        return 0.0

    def rate_at(self, now_s: float) -> float | None:
        """Return the requests a second that hold now; None is unlimited."""
        share = self._share_at(now_s)
        full = self._full if self.rate is None else self.rate
        if share >= 1.0 or full is None:
            return self.rate
        return full * share

    def _share_at(self, now_s: float) -> float:
        since_s = max(self._slowed_s, self._paused_until_s)
        return min(1.0, self._share + CLIMB_PER_S * max(now_s - since_s, 0.0))

    def pause(self, now_s: float, wait_s: float) -> None:
        """Let nobody begin a request before `wait_s` seconds have passed."""
        self._paused_until_s = max(self._paused_until_s, now_s + wait_s)

    def slow_down(self, begun_s: float, now_s: float) -> None:
        """Halve the rate after a 429 to a request that began at `begun_s`.

        Requests that began before the last halving say nothing about the rate after it.
        """
        if begun_s <= self._slowed_s:
            return
        share = self._share_at(now_s)
        if self.rate is None and share >= 1.0:
            self._full = self._seen_rate(now_s)
        self._share = max(share * SLOWED, SHARE_MIN)
        self._slowed_s = now_s

    def _seen_rate(self, now_s: float) -> float:
        if len(self._begun_s) < 2:  # noqa: PLR2004  one begin has no distance
            return GUESSED_RATE
        return max(len(self._begun_s) / max(now_s - self._begun_s[0], 0.001), 1.0)
