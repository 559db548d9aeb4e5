"""How many seconds to wait before the next request. Pure: it never sleeps and reads no clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TokenBucket:
    """At most `rate` requests a second with a burst of 1, whoever asks; None is unlimited.

    Seconds are of a monotonic clock, so that a change of the wall clock, or a suspended machine,
    makes no burst: time that passed unused is not saved up.
    """

    rate: float | None
    next_s: float = float("-inf")
    paused_until_s: float = float("-inf")

    def take(self, now_s: float) -> float:
        """Reserve the next place and return the seconds to wait for it."""
        at = max(self.next_s, self.paused_until_s, now_s)
        self.next_s = at + (1 / self.rate if self.rate else 0.0)
        return at - now_s

    def is_open(self, now_s: float) -> bool:
        """Whether a place that was reserved before may still be used."""
        return now_s >= self.paused_until_s

    def pause(self, now_s: float, wait_s: float) -> None:
        """Let nobody begin a request before `wait_s` seconds have passed (after a 429)."""
        self.paused_until_s = max(self.paused_until_s, now_s + wait_s)
