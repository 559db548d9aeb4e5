"""Wall times → UTC instants, by the rules of a zone. What happens twice or never is a mask.

Instants are `timestamp[ms]` without a zone and mean UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.codes import Code
from backfill.columns import mask, nulled, valid

MS: Final = pa.timestamp("ms")
UTC_MS: Final = pa.timestamp("ms", "UTC")
RULES_END: Final = pa.scalar(2_114_380_800_000, pa.int64())  # 2037-01-01
EPOCH_DAY: Final = datetime(1970, 1, 1)  # noqa: DTZ001  a wall time


@dataclass
class Instants:
    """What could be read of n values, and what failed with which code."""

    data: pa.Array
    failed: list[tuple[Code, np.ndarray]] = field(default_factory=list)

    def fail(self, code: Code, at: np.ndarray) -> None:
        """Take these rows out."""
        if at.any():
            self.failed.append((code, at))
            self.data = nulled(self.data, at)


def localized(walls: pa.Array, *, timezone: str | None, ambiguous: str) -> Instants:
    """Wall times → instants, by the rules of a zone."""
    if timezone is None:
        found = Instants(walls)
        found.fail(Code.TIME_NAIVE, valid(walls))
        return found
    if timezone == "UTC":
        return Instants(walls)
    far = mask(pc.greater(walls.cast(pa.int64()), RULES_END)) if len(walls) else np.zeros(0, bool)
    if far.any():
        near = localized(nulled(walls, far), timezone=timezone, ambiguous=ambiguous)
        return _far_localized(walls, far, near, timezone, ambiguous)
    try:
        return Instants(pc.assume_timezone(walls, timezone).cast(UTC_MS).cast(MS))
    except pa.ArrowInvalid:  # a clock change is among them
        pass
    first, last = (
        pc.assume_timezone(walls, timezone, ambiguous=side, nonexistent=side)
        for side in ("earliest", "latest")
    )
    differs = mask(pc.not_equal(first, last))
    skipped = differs & mask(pc.not_equal(pc.local_timestamp(first), walls))
    found = Instants((last if ambiguous == "latest" else first).cast(UTC_MS).cast(MS))
    found.fail(Code.TIME_SKIPPED, skipped)
    if ambiguous == "reject":
        found.fail(Code.TIME_AMBIGUOUS, differs & ~skipped)
    return found


def _far_localized(
    walls: pa.Array, far: np.ndarray, near: Instants, timezone: str, ambiguous: str
) -> Instants:
    """Localize one by one with zoneinfo: Arrow knows no clock change after 2037."""
    zone = ZoneInfo(timezone)
    made: list[int | None] = [None] * len(walls)
    codes = (Code.TIME_SKIPPED, Code.TIME_AMBIGUOUS, Code.TIME_UNREADABLE)
    failed = {code: np.zeros(len(walls), bool) for code in codes}
    stamps = walls.cast(pa.int64())
    for at in np.flatnonzero(far).tolist():
        wall = EPOCH_DAY + timedelta(milliseconds=stamps[at].as_py())
        first, last = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        back = _there_and_back(first)
        if back is None:
            failed[Code.TIME_UNREADABLE][at] = True
            continue
        if back != wall:
            failed[Code.TIME_SKIPPED][at] = True
            continue
        if first.utcoffset() != last.utcoffset() and ambiguous == "reject":
            failed[Code.TIME_AMBIGUOUS][at] = True
            continue
        chosen = (last if ambiguous == "latest" else first).utcoffset() or timedelta()
        made[at] = stamps[at].as_py() - int(chosen.total_seconds() * 1000)
    found = pa.array(made, pa.int64()).cast(MS)
    both = Instants(pc.coalesce(near.data, found), near.failed)
    for code, at_rows in failed.items():
        both.fail(code, at_rows)
    return both


def _there_and_back(time: datetime) -> datetime | None:
    """Return the wall time of an instant; None where UTC is in the year 10000 by then."""
    try:
        return time.astimezone(UTC).astimezone(time.tzinfo).replace(tzinfo=None)
    except OverflowError:
        return None
