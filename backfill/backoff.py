"""How many seconds to wait after a failed attempt, or how long the answer asks for. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_S: Final = 0.5
CAP_S: Final = 60.0
RETRY_AFTER_S_MAX: Final = 300.0


def pause_s(attempt: int, random: Callable[[], float]) -> float:
    """Full jitter after a capped exponential. attempt: the first is 1; random: from [0, 1)."""
    ceiling_s: float = min(CAP_S, BASE_S * 2.0 ** min(attempt, 30))
    return ceiling_s * random()  # jitter after the cap, or all senders wake together


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Read a Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3). Nonsense counts as none."""
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0.0, (at - now).total_seconds())
