"""Times by tables are what Arrow writes, digit by digit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.clock import BLOCK_DAYS, BLOCKS_MAX, DAY_MS, clock_texts

MS: Final = pa.timestamp("ms")
OLDEST: Final = -62_135_596_800_000
NEWEST: Final = 253_402_300_799_999
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SPAN_MS: Final = BLOCK_DAYS * BLOCKS_MAX * DAY_MS


def python_text(at_ms: int) -> str:
    at = EPOCH + timedelta(milliseconds=at_ms)
    return f"{at:%m-%dT%H:%M:%S}".join((f"{at.year:04}-", f".{at_ms % 1000:03}"))


@given(
    st.integers(OLDEST, NEWEST).flatmap(
        lambda near: st.lists(
            st.none()
            | st.integers(max(OLDEST, near - SPAN_MS // 3), min(NEWEST, near + SPAN_MS // 3))
            | st.integers(OLDEST, NEWEST)
            | st.just(near),
            max_size=9,
        )
    ),
    st.integers(0, 3),
)
@example([OLDEST, OLDEST + 1], 0)
@example([NEWEST, NEWEST - 1], 0)
@example([-1, 0, 999, 1000, DAY_MS - 1, DAY_MS, None], 1)
@example([OLDEST, NEWEST], 0)
def test_times_are_written_as_python_writes_them(found: list[int | None], cut: int) -> None:
    column = pa.array([*[0] * cut, *found], MS).slice(cut)
    made = clock_texts(column)
    made.validate(full=True)
    assert made.to_pylist() == [None if at is None else python_text(at) for at in found]


@pytest.mark.parametrize("first", [OLDEST, -DAY_MS, 1_640_995_200_000, NEWEST - 2 * DAY_MS])
def test_every_second_of_two_days_is_what_arrow_writes(first: int) -> None:
    times = range(first, min(first + 2 * DAY_MS, NEWEST + 1), 977)
    column = pa.array(times, pa.int64()).cast(MS)
    wanted = [text.replace(" ", "T") for text in column.cast(pa.string()).to_pylist()]
    assert clock_texts(column).to_pylist() == wanted
