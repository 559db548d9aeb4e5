"""Texts side by side: measured before they are joined, and the same whatever is taken of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.texts import Texts

WORDS = st.text(st.sampled_from('a"\\é😀,'), max_size=5)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Any], list[str]]:
    """Return parts, one of them a column, and the texts that they are."""
    count = draw(st.integers(0, 6))
    columns = draw(
        st.lists(st.lists(WORDS, min_size=count, max_size=count), min_size=1, max_size=4)
    )
    literals = draw(st.lists(WORDS, min_size=len(columns) + 1, max_size=len(columns) + 1))
    begin = draw(st.integers(0, 2))
    parts: list[Any] = [literals[0]]
    for column, literal in zip(columns, literals[1:], strict=True):
        cut = pa.array(["before"] * begin + column + ["behind"], pa.string())
        parts += [cut.slice(begin, count), literal]
    whole = [
        literals[0] + "".join(c[at] + b for c, b in zip(columns, literals[1:], strict=True))
        for at in range(count)
    ]
    return parts, whole


@given(table=tables(), is_joined=st.booleans(), data=st.data())
def test_any_part_of_the_texts_is_as_long_as_was_measured(
    table: tuple[list[Any], list[str]], data: st.DataObject, *, is_joined: bool
) -> None:
    parts, wanted = table
    made = Texts.of(*parts)
    if is_joined:
        made.join()
    first = data.draw(st.integers(0, len(wanted)))
    last = data.draw(st.integers(first, len(wanted)))
    assert made.joined().to_pylist() == wanted
    assert made.sizes.tolist() == [len(text.encode()) for text in wanted]
    assert bytes(made.bytes_of(first, last)) == "".join(wanted[first:last]).encode()
    assert made.slice(first, last).joined().to_pylist() == wanted[first:last]
    keep = np.array([at % 2 == 0 for at in range(len(wanted))], bool)
    assert made.filter(keep).joined().to_pylist() == wanted[::2]
    assert made.take(np.arange(len(wanted))[::-1]).joined().to_pylist() == wanted[::-1]


def test_a_null_is_no_text_and_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(AssertionError, match="a message is null"):
        Texts.of(",", pa.array(["a", None], pa.string()))
