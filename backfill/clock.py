"""Instants → the text of a time in JSON, by tables of days, seconds and milliseconds. No reading.

Arrow's cast to text costs four times as much: it divides for each digit.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.columns import NEVER, STRING, flags, integers, valid

DAY_MS: Final = 86_400_000
BLOCK_DAYS: Final = 1024
BLOCKS_MAX: Final = 64
"""Instants of a record batch that lie further apart are left to Arrow: the table would be large."""

FIRST_DAY: Final = np.datetime64("0001-01-01")
LAST_DAY: Final = np.datetime64("9999-12-31")

TEXT: Final = np.dtype([("day", "V11"), ("second", "V8"), ("part", "V4")])
"""`2022-01-01T`, `00:00:56`, `.123`"""


def clock_texts(instants: pa.Array) -> pa.StringArray:
    """Return `2022-01-01T00:00:56.123` for n instants (`timestamp[ms]`) of years 1 to 9999."""
    at = integers(pc.fill_null(instants.cast(pa.int64()), NEVER))
    there = valid(instants) if instants.null_count else None
    known = at if there is None else at[there]
    if not len(known):
        return pa.nulls(len(at), STRING)
    first, last = (int(end) // DAY_MS // BLOCK_DAYS for end in (known.min(), known.max()))
    if last - first >= BLOCKS_MAX:
        return pc.binary_replace_slice(instants.cast(STRING), 10, 11, "T")
    day = known // DAY_MS
    rest = known - day * DAY_MS
    second = rest // 1000
    made = np.empty(len(known), TEXT)
    made["day"] = _days(first, last)[day - first * BLOCK_DAYS]
    made["second"] = _seconds()[second]
    made["part"] = _parts()[rest - second * 1000]
    return _spread(made, there)


def _spread(made: np.ndarray, there: np.ndarray | None) -> pa.StringArray:
    """Return the texts in their places; one that is not there is null."""
    width = made.dtype.itemsize
    if there is None:
        ends, bits = np.arange(0, (len(made) + 1) * width, width, dtype=np.int32), None
    else:
        ends = np.zeros(len(there) + 1, np.int32)
        np.cumsum(there * np.int32(width), out=ends[1:])
        bits = flags(there).buffers()[1]
    buffers = [bits, pa.py_buffer(ends), pa.py_buffer(made)]
    return pa.Array.from_buffers(STRING, len(ends) - 1, buffers)


@lru_cache(maxsize=8)
def _days(first: int, last: int) -> np.ndarray:
    """Return the texts of the days of the blocks [first, last]."""
    start = np.datetime64("1970-01-01") + first * BLOCK_DAYS
    days = np.clip(start + np.arange((last - first + 1) * BLOCK_DAYS), FIRST_DAY, LAST_DAY)
    return np.char.add(np.datetime_as_string(days), "T").astype("S11").view("V11")


@cache
def _seconds() -> np.ndarray:
    n = np.arange(86_400)
    return _written(
        "00:00:00",
        {0: n // 36_000, 1: n // 3600 % 10, 3: n // 600 % 6}
        | {4: n // 60 % 10, 6: n // 10 % 6, 7: n % 10},
    )


@cache
def _parts() -> np.ndarray:
    n = np.arange(1000)
    return _written(".000", {1: n // 100, 2: n // 10 % 10, 3: n % 10})


def _written(form: str, digits: dict[int, np.ndarray]) -> np.ndarray:
    """Return texts like `form`, with these digits at their places."""
    count = len(next(iter(digits.values())))
    texts = np.tile(np.frombuffer(form.encode(), np.uint8), (count, 1))
    for at, digit in digits.items():
        texts[:, at] += digit.astype(np.uint8)
    return texts.view(f"V{len(form)}").reshape(-1)
