"""The values of a group's rows → one value a group. Typed in, typed out; no rules of the mapping.

Blanks take no part. A sum is exact, digit by digit, and is written in its shortest form (`14`, not
`14.00`), so that it does not depend on what other groups stand beside it.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.columns import STRING, integers, mask, offsets
from backfill.jsontext import Typed, array_of, raw

if TYPE_CHECKING:
    from collections.abc import Callable

EXACT: Final = Context(prec=2_000)
DIGITS_MAX: Final = 14
"""So that the sum of as many as a group may hold fits 64 bits."""

SCALE_PLAIN: Final = 5


def aggregate(how: str, values: Typed, parents: np.ndarray, count: int) -> Typed:
    """Return one value a group. parents: the group of each value, ascending.

    how: sum | count | min | max | first | last | distinct. min and max compare numbers as numbers
    and everything else as text, which is right for times as they are written.
    """
    keep = values.data.is_valid()
    present = Typed(values.data.filter(keep), values.before, values.after, values.is_free)
    return WAYS[how](present, parents[mask(keep)], count)


def _count(values: Typed, parents: np.ndarray, count: int) -> Typed:
    del values
    return raw(pa.array(np.bincount(parents, minlength=count)).cast(STRING))


def _first(values: Typed, parents: np.ndarray, count: int) -> Typed:
    return _chosen(values, parents, np.arange(len(parents)), count)


def _last(values: Typed, parents: np.ndarray, count: int) -> Typed:
    return _chosen(values, parents, np.arange(len(parents))[::-1], count)


def _min(values: Typed, parents: np.ndarray, count: int) -> Typed:
    return _chosen(values, parents, _ranked(values), count)


def _max(values: Typed, parents: np.ndarray, count: int) -> Typed:
    return _chosen(values, parents, _ranked(values)[::-1], count)


def _chosen(values: Typed, parents: np.ndarray, order: np.ndarray, count: int) -> Typed:
    """Return for each group the value that comes first in an order of all values."""
    groups, at = np.unique(parents[order], return_index=True)
    places = np.zeros(count, np.int64)
    has_one = np.zeros(count, bool)
    places[groups], has_one[groups] = order[at], True
    data = values.data.take(pa.array(places, mask=~has_one))
    return Typed(data, values.before, values.after, values.is_free)


def _ranked(values: Typed) -> np.ndarray:
    """Return the places of the values, the smallest first."""
    if values.before or values.is_free or not len(values.data):  # texts and times
        return integers(pc.sort_indices(values.data).cast(pa.int64()))
    try:
        keys = values.data.cast(pa.decimal256(76, 38))
    except pa.ArrowInvalid:  # more digits, or an exponent
        found = values.data.to_pylist()
        return np.array(sorted(range(len(found)), key=lambda at: Decimal(found[at])), np.int64)
    return integers(pc.sort_indices(keys).cast(pa.int64()))


def _distinct(values: Typed, parents: np.ndarray, count: int) -> Typed:
    """Return the different values in the order in which they come."""
    encoded = values.data.dictionary_encode()
    size = max(len(encoded.dictionary), 1)
    _, at = np.unique(
        parents * size + integers(encoded.indices.cast(pa.int64())), return_index=True
    )
    at.sort()
    taken = Typed(values.data.take(pa.array(at)), values.before, values.after, values.is_free)
    return array_of(taken, parents[at], count)


def _sum(values: Typed, parents: np.ndarray, count: int) -> Typed:
    """Add JSON numbers; a group without any has none."""
    groups = np.unique(parents)
    begins = np.searchsorted(parents, groups)
    texts = _small_sums(values.data, begins)
    if texts is None:
        added = _added(values.data.to_pylist(), parents)
        texts = pa.array([_shortest(total) for total in added.values()], STRING)
    places = np.zeros(count, np.int64)
    has_one = np.zeros(count, bool)
    places[groups], has_one[groups] = np.arange(len(groups)), True
    return raw(texts.take(pa.array(places, mask=~has_one)))


def _small_sums(data: pa.StringArray, begins: np.ndarray) -> pa.StringArray | None:
    """Add with whole numbers of 64 bits; None where they are too small for these digits."""
    if not len(data):
        return pa.array([], STRING)
    if pc.any(pc.match_substring_regex(data, "[eE]")).as_py():
        return None
    points = integers(pc.find_substring(data, ".").cast(pa.int64()))
    size = np.diff(offsets(data))
    scale = int(np.where(points < 0, 0, size - points - 1).max())
    if scale + int(np.where(points < 0, size, points).max()) > DIGITS_MAX:
        return None
    kind = pa.decimal128(38, scale)
    low = np.frombuffer(data.cast(kind).buffers()[1], np.int64)[::2]  # the high words are signs
    sums = np.add.reduceat(low, begins)
    words = np.stack([sums, sums >> 63], axis=1)
    made = pa.Array.from_buffers(kind, len(sums), [None, pa.py_buffer(words.tobytes())])
    texts = made.cast(STRING)
    if scale > SCALE_PLAIN:  # Arrow writes 0.0000001 as 1E-7
        return pa.array([_shortest(Decimal(text)) for text in texts.to_pylist()], STRING)
    return pc.replace_substring_regex(texts, r"\.?0+$", "") if scale else texts


def _added(numbers: list[str], parents: np.ndarray) -> dict[int, Decimal]:
    """Add numbers that do not fit Arrow's decimals, one by one."""
    found: dict[int, Decimal] = {}
    for number, group in zip(numbers, parents.tolist(), strict=True):
        found[group] = EXACT.add(found.get(group, Decimal(0)), Decimal(number))
    return found


def _shortest(total: Decimal) -> str:
    text = f"{total:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


WAYS: Final[dict[str, Callable[[Typed, np.ndarray, int], Typed]]] = {
    "sum": _sum,
    "count": _count,
    "min": _min,
    "max": _max,
    "first": _first,
    "last": _last,
    "distinct": _distinct,
}
