"""Faults on purpose: which answers go wrong, drawn from a seed so that a run can be repeated.

Only the choice lives here; `app` acts on it.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Final, Literal

from backfill.errors import UsageError

SLOW_S: Final = 1.0
"""How long a slow answer waits."""

RETRY_AFTER_S: Final = 1
"""What Retry-After says, on the half of the 429s that carry it."""

Moment = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request. `Fault()` is none."""

    status: int = 0
    """The status to answer, 0: the true one."""
    is_reset: bool = False
    """Close the connection without an answer."""
    moment: Moment = "before"
    """Whether it strikes before the request is looked at, or after its messages were stored."""
    retry_after_s: int | None = None
    wait_s: float = 0.0
    """Seconds to wait first."""

    @property
    def is_failure(self) -> bool:
        """Whether the client misses the true answer."""
        return self.is_reset or bool(self.status)


@dataclass(slots=True)
class Faults:
    """Draws one `Fault` a request. Safe to share between threads.

    chances: kind -> probability; kinds are a status 400..599 as text, and `reset`. At most one of
    them strikes a request. `slow_chance` is drawn apart, so a failure may be slow as well.
    Half of the resets and of the 5xx strike after the messages were stored, as in life; a 4xx
    never stores. The n-th request meets the same fault for the same seed, whatever it carries.
    """

    chances: dict[str, float]
    slow_chance: float = 0.0
    seed: int = 0
    _random: random.Random = field(init=False, repr=False)
    _lock: threading.Lock = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  repeatable is the point
        self._lock = threading.Lock()

    @classmethod
    def parse(cls, text: str, *, seed: int = 0) -> Faults:
        """Read `429:0.05,500:0.02,reset:0.01,slow:0.5`. Raises UsageError naming the wrong part."""
        chances: dict[str, float] = {}
        for part in text.split(","):
            kind, _, chance = (piece.strip() for piece in part.strip().partition(":"))
            if kind in chances:
                raise _wrong(part, f"'{kind}' stands twice", "name each kind once")
            _check_kind(part, kind)
            chances[kind] = _chance(part, chance)
        slow_chance = chances.pop("slow", 0.0)
        if sum(chances.values()) > 1:
            fix = "lower them; one request meets at most one of them"
            raise _wrong(text, "the probabilities add up to more than 1", fix)
        return cls(chances, slow_chance, seed)

    def draw(self) -> Fault:
        """Choose the fate of the next request."""
        with self._lock:
            # Always as many numbers a request, so that one kind's chance moves no other's draw.
            which, side, with_header, slow = (self._random.random() for _ in range(4))
        wait_s = SLOW_S if slow < self.slow_chance else 0.0
        moment: Moment = "after" if side < 0.5 else "before"  # noqa: PLR2004  half of them
        for kind, chance in self.chances.items():
            if which < chance:
                return _fault(kind, moment, wait_s, has_header=with_header < 0.5)  # noqa: PLR2004
            which -= chance
        return Fault(wait_s=wait_s)


def _fault(kind: str, moment: Moment, wait_s: float, *, has_header: bool) -> Fault:
    if kind == "reset":
        return Fault(is_reset=True, moment=moment, wait_s=wait_s)
    retry_after_s = RETRY_AFTER_S if kind == "429" and has_header else None
    when: Moment = moment if kind.startswith("5") else "before"
    return Fault(int(kind), moment=when, retry_after_s=retry_after_s, wait_s=wait_s)


def _check_kind(part: str, kind: str) -> None:
    is_status = len(kind) == 3 and kind.isascii() and kind.isdigit() and kind[0] in "45"  # noqa: PLR2004
    if not is_status and kind not in {"reset", "slow"}:
        fix = "use a status from 400 to 599, reset or slow, as in 429:0.05,reset:0.01"
        raise _wrong(part, f"unknown kind '{kind}'", fix)


def _chance(part: str, text: str) -> float:
    try:
        chance = float(text)
    except ValueError:
        chance = -1.0
    if not 0 <= chance <= 1:
        fix = "give a number from 0 to 1 after the colon, as in 429:0.05"
        raise _wrong(part, f"'{text}' is no probability", fix)
    return chance


def _wrong(part: str, what: str, fix: str) -> UsageError:
    return UsageError(what, where=f"faults '{part.strip()}'", fix=fix)
