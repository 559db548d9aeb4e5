"""Text columns → JSON numbers, digit by digit. What cannot be read is a mask; no rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.codes import Code
from backfill.columns import FALSE, STRING, mask, nulled, offsets, valid

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON_NUMBER: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
JSON_INTEGER: Final = r"^-?(0|[1-9][0-9]*)$"
NUMBER: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
INTEGER: Final = r"^[+-]?[0-9]+(\.0*)?$"
NOT_FINITE: Final = r"(?i)^[+-]?(nan|inf|infinity)$"

Failed = tuple[Code, np.ndarray]
"""A code and the mask of the rows that failed with it."""


def numbers(
    texts: pa.StringArray, *, decimal: str = ".", thousands: str | None = None, whole: bool = False
) -> tuple[pa.StringArray, list[Failed]]:
    """Return the numbers as JSON text (nulls where blank or failed), and what failed.

    texts: n texts. `12.30` stays `12.30`; `+5`, `.5`, `007` become `5`, `0.5`, `7`.
    whole: only integers, `17850.0` among them, exact at any length.
    """
    if decimal == "." and thousands is None and _is_plain(texts, whole=whole):
        return texts, []
    found = _marks(pc.utf8_trim_whitespace(texts), decimal, thousands)
    is_json = _matches(found, JSON_INTEGER if whole else JSON_NUMBER)
    if not is_json.all():
        found = pc.if_else(pa.array(is_json), found, _canonical(found, whole=whole))
    failed = list(_failed(texts, found, whole=whole))
    for _, at in failed:
        found = nulled(found, at)
    return found, failed


def _is_plain(texts: pa.StringArray, *, whole: bool) -> bool:
    """Whether every value is surely a JSON number: digits, a point inside, no odd zeros.

    A few passes over the bytes; what they do not understand goes the careful way.
    """
    at = offsets(texts)
    if texts.null_count or not len(texts) or (np.diff(at) == 0).any():
        return False
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    part, first, last = data[at[0] : at[-1]], data[at[:-1]], data[at[1:] - 1]
    if part.max() > ord("9") or part.min() < (ord("0") if whole else ord(".")):
        return False
    if not whole:
        if (part == ord("/")).any() or (first == ord(".")).any() or (last == ord(".")).any():
            return False
        if _has_two_points(np.flatnonzero(part == ord(".")) + at[0], at):
            return False
    zeros = np.flatnonzero(first == ord("0"))
    longer = zeros[at[zeros + 1] - at[zeros] > 1]
    return not (data[at[longer] + 1] != ord(".")).any()


def _has_two_points(points: np.ndarray, at: np.ndarray) -> bool:
    """Whether two points stand in one value. points: places, ascending; at: where values begin."""
    if len(points) == len(at) - 1 and ((at[:-1] <= points) & (points < at[1:])).all():
        return False  # one in each, as in most columns of money
    return bool((np.diff(np.searchsorted(at, points, "right")) == 0).any())


def _marks(texts: pa.StringArray, decimal: str, thousands: str | None) -> pa.StringArray:
    """Take the marks of a country out: `1.234,56` → `1234.56`, `1,2,3` stays unreadable."""
    if thousands is not None:
        mark, point = _quoted(thousands), _quoted(decimal)
        grouped = _matches(texts, rf"^[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({point}[0-9]*)?$")
        texts = pc.if_else(pa.array(grouped), pc.replace_substring(texts, thousands, ""), texts)
    if decimal != ".":
        foreign = pc.match_substring(texts, ".").fill_null(FALSE)
        texts = pc.if_else(
            foreign, pa.scalar("?", STRING), pc.replace_substring(texts, decimal, ".")
        )
    return texts


def _quoted(mark: str) -> str:
    return "".join(f"\\x{{{ord(char):x}}}" for char in mark)


def _canonical(texts: pa.StringArray, *, whole: bool) -> pa.StringArray:
    """Write readable numbers as JSON does; leave the others as they are."""
    readable = _matches(texts, INTEGER if whole else NUMBER)
    fixed = texts
    if whole:
        fixed = pc.replace_substring_regex(fixed, r"\.0*$", "")
    for pattern, by in (
        (r"^\+", ""),
        (r"^(-?)0+([0-9])", r"\1\2"),
        (r"^(-?)\.", r"\10."),
        (r"\.([eE]|$)", r"\1"),
    ):
        fixed = pc.replace_substring_regex(fixed, pattern, by)
    return pc.if_else(pa.array(readable), fixed, texts)


def _failed(
    texts: pa.StringArray, found: pa.StringArray, *, whole: bool
) -> Iterator[tuple[Code, np.ndarray]]:
    bad = ~_matches(found, JSON_INTEGER if whole else JSON_NUMBER) & valid(texts)
    if not bad.any():
        if not whole and (huge := _overflows(found)).any():
            yield Code.NUMBER_NOT_FINITE, huge
        return
    endless = _matches(found, NOT_FINITE) & bad
    if endless.any():
        yield Code.NUMBER_NOT_FINITE, endless
    if (unread := bad & ~endless).any():
        yield (Code.INTEGER_UNREADABLE if whole else Code.NUMBER_UNREADABLE), unread
    if not whole:
        rest = nulled(found, bad)
        if (huge := _overflows(rest)).any():
            yield Code.NUMBER_NOT_FINITE, huge


def _overflows(numbers_: pa.StringArray) -> np.ndarray:
    """Whether a reader that takes doubles would see infinity (`1e400`)."""
    powers = pc.match_substring_regex(numbers_, "[eE]").fill_null(FALSE)
    if not pc.any(powers).as_py():
        return np.zeros(len(numbers_), bool)
    values = pc.if_else(powers, numbers_, pa.scalar("0", STRING)).cast(pa.float64())
    return mask(pc.is_inf(values))


def _matches(texts: pa.StringArray, pattern: str) -> np.ndarray:
    return mask(pc.match_substring_regex(texts, pattern))
