"""How many requests may be under way now, within the ceiling. Pure: no clock, no thread, no lock.

A far side that bears only so many requests at once, or so many a second, says so with 429. What it
bore is then known to the place: what was under way, less what it refused. That level is kept, and
the one above it tried again only now and then, since each 429 costs a pause and half the rate. A
503, or no answer in time, takes a place away too, but nothing is concluded from it: a flaky gateway
says the same at any level, and its level would go down and down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

HOLD_S: Final = 60.0
HOLD_S_MAX: Final = 300.0
"""How long a level that met a 429 is left alone; twice as long each time it meets another."""


class Load(Enum):
    """What the end of a request says of the load that the far side bears."""

    BORNE = "borne"
    TOO_MANY = "too many"
    """429: refused for the requests beside it, or before it."""
    STRAINED = "strained"
    """503, or no answer in time."""
    UNTOLD = "untold"
    """A lost connection, a fault of the far side: says nothing of the load."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that is under way."""

    at_s: float
    beside: int
    """Requests under way when it began, itself among them."""


@dataclass
class Senders:
    """At most `limit` requests are under way, and that is from 1 to `ceiling`.

    It begins with all: a ceiling is what somebody allowed, and where the first request hangs for
    its whole deadline, the others need not wait for it.
    """

    ceiling: int
    limit: int = field(init=False)
    under_way: int = field(init=False, default=0)
    _borne: int = 0
    """Requests borne in a row while every place was taken."""
    _shrunk_s: float = float("-inf")
    _refused: int | None = None
    """The level that met a 429."""
    _held_until_s: float = float("-inf")
    _hold_s: float = HOLD_S

    def __post_init__(self) -> None:
        self.limit = self.ceiling

    @property
    def free(self) -> int:
        """How many more requests may begin; after a shrinking it may take a while until one may."""
        return max(self.limit - self.under_way, 0)

    def begin(self, now_s: float) -> Begun:
        """Note a request that begins, where one is free."""
        self.under_way += 1
        return Begun(now_s, self.under_way)

    def end(self, begun: Begun, load: Load, now_s: float) -> None:
        """Note that a request ended, and take what its end says of the load into account."""
        level = max(begun.beside, self.under_way)
        is_full = self.under_way >= self.limit
        self.under_way -= 1
        match load:
            case Load.BORNE if is_full:
                self._bear(now_s)
            case Load.TOO_MANY:
                self._shrink(begun, level, now_s)
            case Load.STRAINED:
                self.limit, self._borne = max(self.limit - 1, 1), 0
            case Load.BORNE | Load.UNTOLD:
                pass

    def _bear(self, now_s: float) -> None:
        """Give one place more for each round of requests that were borne."""
        self._borne += 1
        if self._borne < self.limit:
            return
        self._borne = 0
        if self._refused is not None and self.limit >= self._refused:
            self._refused, self._hold_s = None, HOLD_S  # what was refused once is borne now
        is_held = self.limit + 1 == self._refused and now_s < self._held_until_s
        if self.limit < self.ceiling and not is_held:
            self.limit += 1

    def _shrink(self, begun: Begun, level: int, now_s: float) -> None:
        """Go down to what was borne: each request that was refused with others is one too many.

        Level 1 is never held: a request refused alone says nothing of how many there are.
        """
        self._borne = 0
        if begun.at_s <= self._shrunk_s:
            self.limit = max(self.limit - 1, 1)
            return
        self._shrunk_s = now_s
        self._hold_s = min(self._hold_s * 2, HOLD_S_MAX) if level == self._refused else HOLD_S
        self._refused, self._held_until_s = level, now_s + self._hold_s
        self.limit = max(min(self.limit, level) - 1, 1)
