"""Which format the times of a column have: proved by all values, or not said at all. Pure.

Never a guess between day and month: 03/04/2020 alone proves nothing, 13/04/2020 does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import timestamp
from backfill.columns import mask, valid
from backfill.propose.names import TIME_WORDS, has_word, is_nameless, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.propose.facts import Column

CLOCK: Final = (
    r"(?P<gap>,? |T)(?P<hour>[0-9]{1,2}):[0-9]{2}(?P<second>:[0-9]{2})?(?P<part>\.[0-9]{1,9})?"
    r"(?P<half> ?[AaPp][Mm])?(?P<zone> ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))?"
)
DAY: Final = rf"^(?P<a>[0-9]+)(?P<mark>[./-])(?P<b>[0-9]+)[./-](?P<c>[0-9]+)(?:{CLOCK})?$"
SHAPES_MAX: Final = 4
ENOUGH: Final = 0.95
"""From this share of readable values on, the others are faults of the data, not of the format."""

ORDERS: Final = {
    "%d %m %Y": "day-first",
    "%m %d %Y": "month-first",
    "%d %m %y": "day-first, years of two digits",
    "%m %d %y": "month-first, years of two digits",
    "%y %m %d": "year-first, of two digits",
}
NAMED: Final = tuple(
    day + clock
    for day, clock in product(
        (
            *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y"),
            *("%b %d %Y", "%d/%b/%Y", "%a, %d %b %Y", "%a %d %b %Y", "%Y-%b-%d"),
        ),
        ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z", ":%H:%M:%S %z"),
    )
)
COMPACT: Final = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}
NAMELESS_MIN: Final = 20
"""Of 8 random digits one number of 300 is a day: so many different ones are no chance."""

EPOCHS: Final = {"unix_s": 1, "unix_ms": 1_000, "unix_us": 1_000_000}
EPOCH_RANGE: Final = (631_152_000, 2_145_916_800)
"""1990 to 2038 in seconds: no other unit makes plausible times of such numbers."""


@dataclass(frozen=True, slots=True)
class Times:
    """What is known of a column of times."""

    formats: tuple[str, ...]
    """Proved; empty where day and month cannot be told apart."""
    why: str
    is_naive: bool = True
    """Whether a value has no zone of its own."""
    is_days: bool = False
    """Whether every value is a day without a time, or with 00:00."""
    choices: tuple[str, ...] = ()
    """Formats that all values allow, where that are several."""
    failing: int = 0
    """Rows whose value no format reads."""


def prove(column: Column, prefer: str | None = None) -> Times | None:
    """Judge texts as times; None: they are none.

    prefer: `day-first` or `month-first` where a person said so; it decides what nothing proves,
    and never goes against what is proved.
    """
    if not column.distinct:
        return None
    iso = _reads(column.texts, "iso8601")
    if column.share(iso) >= ENOUGH:
        failing = column.filled - column.count(iso)
        return _described(column, ("iso8601",), "ISO 8601", failing)
    found = _of_shapes(column, prefer)
    return found or _named(column) or _of_digits(column)


def of_numbers(column: Column) -> Times | None:
    """Judge whole numbers as times since 1970, or as days such as 20200131, by name and range."""
    return _of_digits(column)


def _reads(texts: pa.Array, pattern: str) -> np.ndarray:
    found = timestamp.read(texts, [pattern], timezone="UTC", ambiguous="earliest")
    return valid(found.data)


def _of_shapes(column: Column, prefer: str | None) -> Times | None:
    """Split values by shape; each shape has its own candidates, and must be proved for itself."""
    shapes: dict[tuple[str, ...], list[int]] = {}
    for at, text in enumerate(column.texts.to_pylist()):
        candidates = _candidates(text.strip())
        if candidates:
            shapes.setdefault(candidates, []).append(at)
    covered = sum(column.count(np.array(rows)) for rows in shapes.values())
    if covered < ENOUGH * column.filled or not 0 < len(shapes) <= SHAPES_MAX:
        return None
    parts = [_judged(column, candidates, rows, prefer) for candidates, rows in shapes.items()]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    doubtful = [part for part in known if part.choices]
    if doubtful:
        return doubtful[0]
    formats = tuple(dict.fromkeys(one for part in known for one in part.formats))
    why = "; ".join(dict.fromkeys(part.why for part in known))
    failing = column.filled - covered + sum(part.failing for part in known)
    return _described(column, formats, why, failing)


def _candidates(text: str) -> tuple[str, ...]:
    """Return every pattern that a value such as 03/04/2020 10:15 may have."""
    found = re.match(DAY, text)
    if found is None:
        return ()
    widths = tuple(len(found[part]) for part in "abc")
    if max(widths[:2]) > 2 and widths[0] != 4:  # noqa: PLR2004  digits of a day and of a year
        return ()
    mark, clock = found["mark"], _clock(found)
    if widths[0] == 4:  # noqa: PLR2004  digits of a year
        return (f"%Y{mark}%m{mark}%d{clock}",) if max(widths[1:]) <= 2 else ()  # noqa: PLR2004
    year = {4: "%Y", 2: "%y"}.get(widths[2])
    if year is None:
        return ()
    orders = [order for order in ORDERS if year in order]
    return tuple(order.replace(" ", mark) + clock for order in orders)


def _clock(found: re.Match[str]) -> str:
    if found["hour"] is None:
        return ""
    parts = [found["gap"], "%I" if found["half"] else "%H", ":%M"]
    parts.append(":%S" if found["second"] else "")
    parts.append(".%f" if found["part"] else "")
    if half := found["half"]:
        parts.append(" %p" if half.startswith(" ") else "%p")
    if zone := found["zone"]:
        parts.append(" %z" if zone.startswith(" ") else "%z")
    return "".join(parts)


def _order(pattern: str) -> str:
    """`%d/%m/%Y %H:%M` → day-first."""
    parts = " ".join(re.findall(r"%[dmyY]", pattern))
    return ORDERS.get(parts, "year-first")


def _judged(
    column: Column, candidates: tuple[str, ...], rows: Sequence[int], prefer: str | None
) -> Times | None:
    """Prove one shape: the candidate that reads all while no other does."""
    at = np.array(rows)
    texts, counts = column.texts.take(pa.array(at)), column.counts[at]
    reads = {pattern: _reads(texts, pattern) for pattern in candidates}
    full = [p for p in candidates if counts[reads[p]].sum() >= ENOUGH * counts.sum()]
    whole = [p for p in full if reads[p].all()]
    if len(whole) > 1:
        return _undecided(whole, int(counts.sum()), prefer)
    if not full:
        return None
    best = whole[0] if whole else max(full, key=lambda p: counts[reads[p]].sum())
    others = [reads[p] for p in candidates if p != best]
    elsewhere = np.logical_or.reduce(others) if others else np.zeros(len(at), bool)
    against = int(counts[elsewhere & ~reads[best]].sum())
    if against:  # some can only be this, some only that: nobody knows what the rest is
        return None
    only = int(counts[reads[best] & ~elsewhere].sum())
    why = (
        "year-first"
        if not others
        else f"{only:,} values can only be {_order(best)}, none contradicts"
    )
    return Times((best,), why, failing=int(counts[~reads[best]].sum()))


def _undecided(whole: list[str], count: int, prefer: str | None) -> Times:
    wanted = [p for p in whole if prefer and _order(p).startswith(prefer)]
    if len(wanted) == 1:
        return Times((wanted[0],), f"{prefer}, as you said; no value contradicts")
    ways = " and ".join(_order(pattern) for pattern in whole)
    return Times((), f"all {count:,} values can be read {ways}", choices=tuple(whole))


def _named(column: Column) -> Times | None:
    """Months with names: what fits one value is tried on all."""
    if not column.matching("[A-Za-z]{3}").all():
        return None
    first = column.texts[0].as_py().strip()
    for pattern in NAMED:
        try:
            datetime.strptime(first, pattern)  # noqa: DTZ007  only to know whether it fits
        except ValueError:
            continue
        reads = _reads(column.texts, pattern)
        if column.share(reads) >= ENOUGH:
            failing = column.filled - column.count(reads)
            return _described(column, (pattern,), "months by name", failing)
    return None


def _of_digits(column: Column) -> Times | None:
    """20200131, or seconds, milliseconds, microseconds since 1970; only under a name of times."""
    may_be = has_word(column.name, TIME_WORDS) or is_nameless(column.name)
    if not may_be or not column.all_match(r"^[0-9]{8,17}(\.[0-9]+)?$"):
        return None
    widths = {len(text) for text in column.texts.to_pylist()}
    pattern = COMPACT.get(next(iter(widths))) if len(widths) == 1 else None
    if pattern is not None:
        days = _compact(column, pattern)
        return _described(column, (days,), "year, month and day in one number") if days else None
    values = pc.floor(column.texts.cast(pa.float64()))
    low, high = pc.min(values).as_py(), pc.max(values).as_py()
    for name, times in EPOCHS.items():
        if EPOCH_RANGE[0] * times <= low and high <= EPOCH_RANGE[1] * times:
            unit = {"unix_s": "seconds", "unix_ms": "milliseconds", "unix_us": "microseconds"}[name]
            why = f"{unit} since 1970: as another unit they would be no times of 1990 to 2037"
            return Times((name,), why, is_naive=False)
    return None


def _compact(column: Column, pattern: str) -> str:
    reads = _reads(column.texts, pattern)
    years = [int(text[:4]) for text in column.texts.to_pylist()]
    is_near = min(years) >= 1900 and max(years) < 2100  # noqa: PLR2004  years people write
    if is_nameless(column.name) and column.distinct < NAMELESS_MIN:
        return ""
    return pattern if is_near and reads.all() else ""


def _described(column: Column, formats: tuple[str, ...], why: str, failing: int = 0) -> Times:
    """Say whether the values have zones, and whether they are whole days."""
    bare = timestamp.read(column.texts, formats, timezone=None, ambiguous="reject")
    known = timestamp.read(column.texts, formats, timezone="UTC", ambiguous="earliest")
    is_naive = bool((valid(known.data) & ~valid(bare.data)).any())
    clocks = pc.fill_null(pc.equal(pc.floor_temporal(known.data, unit="day"), known.data), True)
    return Times(formats, why, is_naive, bool(mask(clocks).all()) and is_naive, failing=failing)


def is_time_name(name: str) -> bool:
    """Whether a name speaks of a time."""
    return has_word(name, TIME_WORDS) and bool(words_of(name))
