"""Any time column → UTC instants in milliseconds. What cannot be read is a mask; no guesses.

Instants are `timestamp[ms]` without a zone and mean UTC. Finer digits are cut, never rounded up.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.clock import clock_texts
from backfill.codes import Code
from backfill.columns import EMPTY, NO_TEXT, STRING, join, lengths, mask, nulled, offsets, valid
from backfill.jsontext import Typed, plain, raw
from backfill.zone import MS, UTC_MS, Instants, localized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ISO: Final = (
    r"^(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<clock>[0-9]{2}:[0-9]{2})(?P<second>:[0-9]{2}(?:[.,][0-9]{1,3})?)?)?"
    r"(?P<rest>[0-9]*) ?(?P<zone>[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?$"
)
FULL_SECOND: Final = len(":56.123")
ZULU_SIZES: Final = [len("2022-01-01T00:00:56Z") + n for n in (0, 2, 3, 4)]
NAIVE_SIZES: Final = [10, 16, *(len("2022-01-01T00:00:56") + n for n in (0, 2, 3, 4))]
EPOCH: Final = r"^(?P<whole>-?[0-9]{1,18})(?:\.(?P<part>[0-9]+))?$"
PER_MS: Final = {"unix_s": (1000, 1), "unix_ms": (1, 1), "unix_us": (1, 1000)}
EPOCH_DIGITS: Final = {(1000, 1): 13, (1, 1): 16, (1, 1000): 18}
"""More digits (a sign counts) are beyond the year 9999, and might not fit 64 bits."""

SIMPLE: Final = {  # what Arrow's strptime reads as Python's does, and the shape it must have
    "%Y": "[0-9]{4}",
    "%m": "[0-9]{1,2}",
    "%d": "[0-9]{1,2}",
    "%H": "[0-9]{1,2}",
    "%M": "[0-9]{1,2}",
    "%S": "[0-9]{1,2}",
}
EXACT: Final = 1e9
"""Floats from here on are written with an exponent, sooner or later."""

OLDEST: Final = pa.scalar(-62_135_596_800_000, pa.int64())  # 0001-01-01
NEWEST: Final = pa.scalar(253_402_300_799_999, pa.int64())  # 9999-12-31


def read(
    data: pa.Array, formats: Sequence[str], *, timezone: str | None, ambiguous: str
) -> Instants:
    """Read a column of texts, numbers, dates or timestamps.

    formats: tried in order. timezone: for times without a zone; without it such a time fails.
    ambiguous: reject | earliest | latest, for the hour that happens twice in autumn.
    """
    place = partial(localized, timezone=timezone, ambiguous=ambiguous)
    if pa.types.is_timestamp(data.type):
        near = _in_range(Instants(_floored(data)))
        return near if data.type.tz else _placed(near, place)
    if pa.types.is_date(data.type):
        return _placed(_in_range(Instants(data.cast(pa.timestamp("s")).cast(MS))), place)
    if not pa.types.is_string(data.type):
        if not any(is_kind(data.type) for is_kind in NUMBERS):
            return _none(data)
        data = _digits(data)
    found = _read_text(data, formats[0], place)
    for pattern in formats[1:]:
        if not found.failed:
            break
        found = _second_try(found, _read_text(data, pattern, place))
    return found


NUMBERS: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


def _placed(near: Instants, place: Callable[[pa.Array], Instants]) -> Instants:
    found = place(near.data)
    return _in_range(Instants(found.data, [*near.failed, *found.failed]))


def _digits(data: pa.Array) -> pa.StringArray:
    """Numbers as digits with a point; a large float has no part that means anything."""
    texts = data.cast(pa.string())
    if not pa.types.is_floating(data.type):
        return texts
    large = mask(pc.greater(pc.abs(data), pa.scalar(EXACT, data.type)))
    large &= mask(pc.less(pc.abs(data), pa.scalar(2.0**62, data.type)))
    whole = nulled(pc.floor(data), ~large).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(whole, texts)


def iso(instants: pa.Array) -> Typed:
    """Write `2022-01-01T00:00:56.000Z`."""
    return plain(clock_texts(instants), "Z")


def unix(instants: pa.Array) -> Typed:
    """Write whole seconds since 1970; parts of a second are cut."""
    seconds = pc.floor_temporal(instants, unit="second").cast(pa.int64())
    return raw(pc.divide(seconds, pa.scalar(1000, pa.int64())).cast(pa.string()))


def dates(instants: pa.Array) -> Typed:
    """Write `2022-01-01`."""
    return plain(instants.cast(pa.date32()).cast(pa.string()))


def _none(data: pa.Array) -> Instants:
    found = Instants(pa.nulls(len(data), MS))
    found.fail(Code.TIME_UNREADABLE, valid(data))
    return found


def _second_try(first: Instants, second: Instants) -> Instants:
    """Keep what the first format read; where it failed, the second one's word counts."""
    merged = Instants(pc.coalesce(first.data, second.data))
    missed = np.logical_or.reduce([at for _, at in first.failed])
    for code, at in second.failed:
        if (still := at & missed).any():
            merged.failed.append((code, still))
    return merged


def _read_text(texts: pa.Array, pattern: str, place: Callable[[pa.Array], Instants]) -> Instants:
    if pattern == "iso8601":
        return _read_iso(texts, place)
    if pattern in PER_MS:
        return _read_epoch(texts, *PER_MS[pattern])
    return _read_pattern(texts, pattern, place)


def _read_iso(texts: pa.Array, place: Callable[[pa.Array], Instants]) -> Instants:
    """The two plain forms go straight through Arrow, which takes more than ISO 8601 knows."""
    size = lengths(texts)
    if texts.null_count:
        size = size[valid(texts)]
    try:
        if _are_all(size, ZULU_SIZES) and _all_zulu(texts):
            return _in_range(Instants(texts.cast(UTC_MS).cast(MS)))
        if _are_all(size, NAIVE_SIZES):
            return _in_range(place(texts.cast(MS)))
    except pa.ArrowInvalid:  # some are no times
        pass
    return _in_range(_read_iso_apart(pc.utf8_trim_whitespace(texts), place))


def _are_all(sizes: np.ndarray, known: list[int]) -> bool:
    if len(sizes) and sizes.min() == sizes.max():  # as in most columns
        return int(sizes[0]) in known
    return bool(np.isin(sizes, known).all())


def _all_zulu(texts: pa.Array) -> bool:
    last = offsets(texts)[1:] - 1
    if texts.null_count:
        last = last[valid(texts)]
    data = texts.buffers()[2]
    return data is None or bool((np.frombuffer(data, np.uint8)[last] == ord("Z")).all())


def _read_iso_apart(texts: pa.Array, place: Callable[[pa.Array], Instants]) -> Instants:
    """Read the wall time and the zone apart, so that one column may hold all the forms."""
    parts = pc.extract_regex(texts, ISO)
    day, clock, second, rest, zone = parts.flatten()
    odd = ~mask(_blank(rest)) & (lengths(second) < FULL_SECOND)  # digits with nothing before them
    clock = pc.if_else(_blank(clock), pa.scalar("00:00", STRING), clock)
    second = pc.replace_substring(pc.fill_null(second, EMPTY), ",", ".")
    wall = join(day, "T", clock, second)
    walls, unreadable = _walls(nulled(wall, odd))
    unreadable |= odd | (valid(texts) & ~valid(parts))
    is_naive = mask(_blank(zone)) & valid(walls)
    shifted = pc.subtract(walls, _offsets(zone))
    if not is_naive.any():
        found = Instants(shifted)
    else:
        found = place(nulled(walls, ~is_naive))
        found.data = pc.if_else(pa.array(is_naive), found.data, shifted)
    found.fail(Code.TIME_UNREADABLE, unreadable)
    return found


def _walls(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Cast well-formed wall times; the days that no calendar has are found one by one."""
    try:
        return texts.cast(MS), np.zeros(len(texts), bool)
    except pa.ArrowInvalid:
        bad = np.array([not _is_castable(text) for text in texts.to_pylist()])
        return nulled(texts, bad).cast(MS), bad


def _is_castable(text: str | None) -> bool:
    try:
        pa.scalar(text, pa.string()).cast(MS)
    except pa.ArrowInvalid:
        return False
    return True


def _offsets(zone: pa.Array) -> pa.Array:
    """`+05:30` → that duration; Z and blank → none."""
    digits = pc.replace_substring(pc.fill_null(zone, pa.scalar("Z", STRING)), ":", "")
    digits = pc.if_else(
        pc.match_substring_regex(digits, "^[+-]"), digits, pa.scalar("+0000", STRING)
    )
    digits = pc.utf8_rpad(digits, 5, "0")
    hours = pc.utf8_slice_codeunits(digits, 1, 3).cast(pa.int64())
    minutes = pc.add(
        pc.multiply(hours, pa.scalar(60, pa.int64())),
        pc.utf8_slice_codeunits(digits, 3, 5).cast(pa.int64()),
    )
    sign = pc.if_else(
        pc.starts_with(digits, "-"), pa.scalar(-60_000, pa.int64()), pa.scalar(60_000, pa.int64())
    )
    return pc.multiply(minutes, sign).cast(pa.duration("ms"))


def _read_epoch(texts: pa.Array, times: int, over: int) -> Instants:
    """Whole numbers with or without a part; times * value / over are milliseconds."""
    texts = pc.utf8_trim_whitespace(texts)
    parts = pc.extract_regex(texts, EPOCH)
    whole, part = parts.flatten()
    found = Instants(pa.nulls(len(texts), MS))
    far = lengths(whole) > EPOCH_DIGITS[times, over]  # beyond any year
    scale = pa.scalar(times, pa.int64())
    value = pc.multiply(nulled(whole, far).cast(pa.int64()), scale)
    is_negative = pc.starts_with(whole, "-")
    used = 3 if times > 1 else 0
    digits = pc.utf8_rpad(pc.fill_null(part, EMPTY), 3, "0")
    if used:  # the thousandths of a second
        small = pc.utf8_slice_codeunits(digits, 0, 3).cast(pa.int64())
        value = pc.if_else(is_negative, pc.subtract(value, small), pc.add(value, small))
    cut = pc.match_substring_regex(pc.utf8_slice_codeunits(digits, used), "[1-9]")
    less = pc.subtract(value, pa.scalar(1, pa.int64()))  # what is cut lies before, also before 1970
    value = pc.if_else(pc.and_(is_negative, cut), less, value)
    found.data = _floored(value.cast(pa.timestamp("us"))) if over > 1 else value.cast(MS)
    found.fail(Code.TIME_UNREADABLE, far | (valid(texts) & ~valid(parts)))
    return _in_range(found)


def _read_pattern(texts: pa.Array, pattern: str, place: Callable[[pa.Array], Instants]) -> Instants:
    texts = pc.utf8_trim_whitespace(texts)
    if (shape := _shape(pattern)) is not None:
        shaped = pc.if_else(pc.match_substring_regex(texts, shape), texts, NO_TEXT)
        walls = pc.strptime(shaped, format=pattern, unit="s", error_is_null=True).cast(MS)
        walls = pc.if_else(_is_real_day(walls, shaped, pattern), walls, pa.scalar(None, MS))
        has_zone = False
    else:
        walls, has_zone = _read_by_pandas(texts, pattern)
    unreadable = valid(texts) & ~valid(walls)
    found = Instants(walls) if has_zone else place(walls)
    found.fail(Code.TIME_UNREADABLE, unreadable)
    return _in_range(found)


def _shape(pattern: str) -> str | None:
    """Return the shape of a pattern that Arrow reads faithfully, else None."""
    parts = [part for part in re.split(r"(%.)", pattern) if part]
    if any(part.startswith("%") and part not in SIMPLE for part in parts) or "%Y" not in parts:
        return None
    if any(a.startswith("%") and b.startswith("%") for a, b in pairwise(parts)):
        return None  # 2020111 could be cut in two ways
    if len(set(parts)) < len([part for part in parts if part.startswith("%")]):
        return None
    return "^" + "".join(SIMPLE.get(part, re.escape(part)) for part in parts) + "$"


def _is_real_day(walls: pa.Array, texts: pa.Array, pattern: str) -> pa.Array:
    """Arrow's strptime turns 30 February into 1 March: the day must be the one that was written."""
    if "%d" not in pattern:
        return walls.is_valid()
    return pc.equal(pc.day(walls), _day_written(texts, pattern))


def _day_written(texts: pa.Array, pattern: str) -> pa.Array:
    parts = re.split(r"(%.)", pattern)
    shape = "".join(
        f"(?P<day>{SIMPLE[part]})" if part == "%d" else SIMPLE.get(part, re.escape(part))
        for part in parts
    )
    return pc.extract_regex(texts, f"^{shape}$").flatten()[0].cast(pa.int64())


def _read_by_pandas(texts: pa.Array, pattern: str) -> tuple[pa.Array, bool]:
    """Month names, fractions, %z and the like: pandas reads strptime patterns as Python does."""
    import pandas as pd  # noqa: PLC0415  only for the formats that Arrow cannot read

    has_zone = "%z" in pattern or "%Z" in pattern
    # pandas takes `now` and `today` for the clock, whatever the format
    texts = nulled(texts, ~mask(pc.match_substring_regex(texts, "[0-9]")))
    series: Any = texts.to_pandas().astype(object)
    found = pd.to_datetime(series, format=pattern, errors="coerce", utc=has_zone)
    walls = pa.Array.from_pandas(found)
    if not pa.types.is_timestamp(walls.type):
        walls = pa.nulls(len(texts), MS)
    return _floored(walls), has_zone


def _floored(data: pa.Array) -> pa.Array:
    """Timestamps of any unit and zone → instants (or wall times) in whole milliseconds."""
    naive = data.cast(pa.timestamp(data.type.unit))
    if data.type.unit in {"us", "ns"}:
        naive = pc.floor_temporal(naive, unit="millisecond")
    return naive.cast(MS)


def _in_range(found: Instants) -> Instants:
    """Years 1 to 9999: what four digits can say."""
    value = found.data.cast(pa.int64())
    far = pc.or_(pc.less(value, OLDEST), pc.greater(value, NEWEST))
    if pc.any(far).as_py():
        found.fail(Code.TIME_UNREADABLE, mask(far))
    return found


def _blank(texts: pa.Array) -> pa.Array:
    return pc.equal(pc.fill_null(texts, EMPTY), EMPTY)
