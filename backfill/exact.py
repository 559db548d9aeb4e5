"""Columns of exact decimal numbers, and Python's arithmetic on them. No mapping, no rows.

A column is whole units and one scale: value = units / 10^scale. Units are int64 where they and
what is computed with them surely fit, else Python's own integers; the results are the same, and
no value depends on its neighbours. What has no exact result of at most 400 digits before or after
the point is a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.columns import (
    EMPTY,
    STRING,
    flags,
    integers,
    lengths,
    nulled,
    numbers,
    strings,
    valid,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE_MAX: Final = 400
"""Digits before or after the point: more than any double has (5e-324, 1.8e308)."""

TEXT_MAX: Final = 2 * SIDE_MAX + 10
SAFE: Final = 1 << 62
DECIMAL_DIGITS: Final = 38
"""What decimal128 holds."""

DOUBLE: Final = 1 << 53
FLOAT_DIGITS: Final = 10**15
"""A decimal of up to 15 digits is the shortest that reads back as its double."""

ZERO: Final = pa.scalar("0", STRING)
FIXED_POINT: Final = pa.scalar(".", STRING)


@dataclass(frozen=True, slots=True)
class Exact:
    """n numbers: units (0 where not valid), their scale, and which are there."""

    units: np.ndarray
    scale: int
    valid: np.ndarray

    def keep(self, at: np.ndarray) -> Exact:
        """Return only the values of a mask."""
        at = np.logical_and(at, self.valid)
        return Exact(np.where(at, self.units, 0), self.scale, at)


def of_constant(value: int | Decimal) -> Exact:
    """Return one number, for every row."""
    made = _of_decimals([Decimal(value)])[0]
    assert made.valid.all(), "the parser takes no longer number"
    return made


def of_array(data: pa.Array) -> tuple[Exact, np.ndarray]:
    """Integers, finite floats, decimals, or the digits of JSON numbers; and which are too long."""
    kind = data.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        filled = pc.fill_null(data, pa.scalar(0, kind)).cast(pa.int64())
        return Exact(integers(filled), 0, valid(data)), np.zeros(len(data), bool)
    if pa.types.is_float64(kind) and (found := _of_doubles(data)) is not None:
        return found, np.zeros(len(data), bool)
    return _of_digits(data if pa.types.is_string(kind) else data.cast(STRING))


def _of_doubles(data: pa.Array) -> Exact | None:
    """Doubles of few digits, by arithmetic; None where some need their text to be looked at."""
    at = valid(data)
    filled = pc.fill_null(data, pa.scalar(0.0, pa.float64()))
    found = np.frombuffer(filled.buffers()[1], np.float64)[filled.offset :][: len(filled)]
    if len(found) and np.abs(found).max() >= FLOAT_DIGITS:
        return None
    for scale in (0, 1, 2, 3, 4, 6):
        units = np.rint(found * 10.0**scale)
        if (np.abs(units) < FLOAT_DIGITS).all() and (units / 10.0**scale == found).all():
            return Exact(units.astype(np.int64), scale, at)
    return None


def _of_digits(texts: pa.StringArray) -> tuple[Exact, np.ndarray]:
    filled = pc.fill_null(texts, ZERO)
    if len(filled) and not pc.any(pc.match_substring_regex(filled, "[eE]")).as_py():
        size = lengths(filled).astype(np.int64)
        point = integers(pc.find_substring(filled, ".").cast(pa.int64()))
        scale = int(np.where(point < 0, 0, size - point - 1).max())
        if int(np.where(point < 0, size, point).max()) + scale <= DECIMAL_DIGITS:
            data = filled.cast(pa.decimal128(DECIMAL_DIGITS, scale))
            return Exact(_units(data), scale, valid(texts)), np.zeros(len(texts), bool)
    return _of_decimals([None if text is None else _decimal(text) for text in texts.to_pylist()])


def _units(data: pa.Array) -> np.ndarray:
    """The units of a decimal128 array without nulls: two words each, the lower one first."""
    words = np.frombuffer(data.buffers()[1], np.int64).reshape(-1, 2)[data.offset :][: len(data)]
    low, high = words[:, 0], words[:, 1]
    if (high == low >> 63).all():
        return np.ascontiguousarray(low)
    found: np.ndarray = (_large(high) << 64) + _large(low.view(np.uint64))
    return found


def _decimal(text: str) -> Decimal | None:
    """The number of a JSON text; NaN where it is too long to look at."""
    try:
        return Decimal(text) if len(text) <= TEXT_MAX else Decimal("NaN")
    except InvalidOperation:  # an exponent beyond 10^18
        return Decimal("NaN")


def _of_decimals(values: list[Decimal | None]) -> tuple[Exact, np.ndarray]:
    """One by one: long numbers and exponents are rare."""
    long = np.array([value is not None and _is_long(value) for value in values], bool)
    kept = [value for value, is_long in zip(values, long.tolist(), strict=True) if not is_long]
    powers = [int(value.as_tuple().exponent) for value in kept if value]
    scale = max(0, -min(powers, default=0))
    units = np.zeros(len(values), object)
    for at, value in enumerate(values):
        if value and not long[at]:
            sign, digits, power = value.as_tuple()
            whole = int("".join(map(str, digits))) * 10 ** (int(power) + scale)
            units[at] = -whole if sign else whole
    there = np.array([value is not None for value in values], bool) & ~long
    return Exact(_small(units), scale, there), long


def _is_long(value: Decimal) -> bool:
    if not value.is_finite():
        return True
    power = int(value.as_tuple().exponent)
    return bool(value) and (value.adjusted() >= SIDE_MAX or power < -SIDE_MAX)


def _small(units: np.ndarray) -> np.ndarray:
    """As int64 where all fit."""
    return units.astype(np.int64) if _bound(units) < SAFE else units


def _bound(units: np.ndarray) -> int:
    """The largest magnitude."""
    return max(int(units.max(initial=0)), -int(units.min(initial=0)))


def _large(units: np.ndarray) -> np.ndarray:
    return units.astype(object)


def _times(units: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return units
    is_small = factor < SAFE and _bound(units) * factor < SAFE
    return (units if is_small else _large(units)) * factor


def aligned(left: Exact, right: Exact) -> tuple[np.ndarray, np.ndarray, int]:
    """Units of both at one scale, either both int64 below 2^62 or both of Python's integers."""
    scale = max(left.scale, right.scale)
    a, b = (_times(one.units, 10 ** (scale - one.scale)) for one in (left, right))
    if a.dtype == b.dtype == np.int64 and max(_bound(a), _bound(b)) < SAFE:
        return a, b, scale
    return _large(a), _large(b), scale


def _bounded(units: np.ndarray, scale: int, there: np.ndarray) -> tuple[Exact, np.ndarray]:
    """Return a result that keeps to the digits, and the mask of what does not."""
    long = np.zeros(len(units), bool)
    if units.dtype == np.int64 and scale <= SIDE_MAX:
        return Exact(np.where(there, units, 0), scale, there), long
    units = np.where(there, _large(units), 0)
    if scale > SIDE_MAX:
        cut = 10 ** (scale - SIDE_MAX)
        long |= (units % cut != 0).astype(bool)
        units, scale = units // cut, SIDE_MAX
    long |= (np.abs(units) >= 10 ** (SIDE_MAX + scale)).astype(bool)
    there = there & ~long
    return Exact(_small(np.where(there, units, 0)), scale, there), long


def arithmetic(operator: str, left: Exact, right: Exact) -> tuple[Exact, np.ndarray]:
    """`+ - * // %` as Python has them; and the mask of what is too long. No divisor is 0."""
    there = left.valid & right.valid
    if operator == "*":
        a, b = left.units, right.units
        if a.dtype != np.int64 or b.dtype != np.int64 or _bound(a) * _bound(b) >= SAFE:
            a, b = _large(a), _large(b)
        return _bounded(a * b, left.scale + right.scale, there)
    a, b, scale = aligned(left, right)
    if operator in {"//", "%"}:
        b = np.where(there, b, 1)
        if operator == "//":
            return _bounded(a // b, 0, there)
        return _bounded(a % b, scale, there)
    return _bounded(a + b if operator == "+" else a - b, scale, there)


def quotient(left: Exact, right: Exact) -> tuple[pa.Array, np.ndarray]:
    """`/`: the doubles nearest to the true quotients; and the mask of those beyond any double."""
    there = left.valid & right.valid
    a, b, _ = aligned(left, right)
    b = np.where(there, b, 1)
    if a.dtype == np.int64 and max(_bound(a), _bound(b)) <= DOUBLE:
        return numbers(a / b, there), np.zeros(len(there), bool)
    wide = np.broadcast_to(a, there.shape)
    found = [_divided(int(x), int(y)) for x, y in zip(wide.tolist(), b.tolist(), strict=True)]
    endless = there & np.array([value is None for value in found], bool)
    made = np.array([0.0 if value is None else value for value in found])
    return numbers(made, there & ~endless), endless


def _divided(a: int, b: int) -> float | None:
    try:
        return a / b
    except OverflowError:
        return None


COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def compared(operator: str, left: Exact, right: Exact) -> tuple[np.ndarray, np.ndarray]:
    """Return which hold, and which could be compared at all."""
    a, b, _ = aligned(left, right)
    return COMPARE[operator](a, b).astype(bool), left.valid & right.valid


def chosen(at: np.ndarray, left: Exact, right: Exact) -> Exact:
    """Return left where the mask is, else right."""
    a, b, scale = aligned(left, right)
    return Exact(np.where(at, a, b), scale, np.where(at, left.valid, right.valid))


def negative(value: Exact) -> Exact:
    """`-x`."""
    return Exact(-_roomy(value.units), value.scale, value.valid)


def absolute(value: Exact) -> Exact:
    """`abs(x)`."""
    return Exact(np.abs(_roomy(value.units)), value.scale, value.valid)


def _roomy(units: np.ndarray) -> np.ndarray:
    """Units whose opposites fit too."""
    return units if _bound(units) < SAFE else _large(units)


def rounded(value: Exact, digits: int, how: str = "even") -> Exact:
    """Round to digits after the point (or before it, where negative): even, floor or ceil."""
    cut = value.scale - digits
    if cut <= 0:
        return value
    power = 10**cut
    units = value.units if power < SAFE else _large(value.units)
    found = units // power if how != "ceil" else -(-units // power)
    if how == "even":
        twice = 2 * (units - found * power)
        up = (twice > power) | ((twice == power) & (found % 2 == 1))
        found = found + up.astype(units.dtype)
    if digits < 0:
        found, digits = _times(found, 10**-digits), 0
    return Exact(_small(found), digits, value.valid)


def digits_of(value: Exact) -> pa.StringArray:
    """Write each number as its shortest digits: no exponent, no zeros at the end."""
    units, none = value.units, ~value.valid
    if not value.scale:
        return _texts(units, none)
    power, size = _power(units, value.scale), np.abs(_roomy(units))
    whole, part = size // power, size % power
    parts = pc.utf8_rtrim(pc.utf8_lpad(_texts(part, none), value.scale, "0"), characters="0")
    sign = pc.if_else(flags((units < 0).astype(bool)), pa.scalar("-", STRING), EMPTY)
    point = pc.if_else(pc.equal(parts, EMPTY), EMPTY, FIXED_POINT)
    return pc.binary_join_element_wise(sign, _texts(whole, none), point, parts, EMPTY)


def _power(units: np.ndarray, scale: int) -> Any:
    """10^scale, as something that divides the units."""
    return 10**scale if units.dtype == object or 10**scale < SAFE else np.array(10**scale, object)


def _texts(units: np.ndarray, none: np.ndarray) -> pa.StringArray:
    if units.dtype == np.int64:
        return numbers(units, ~none).cast(STRING)
    return nulled(strings([str(int(unit)) for unit in units.tolist()]), none)


def int64s(value: Exact) -> pa.Array | None:
    """Return integers as Arrow has them; None where they are longer, or are none."""
    if value.scale or value.units.dtype != np.int64:
        return None
    return numbers(value.units, value.valid)


def is_zero(value: Exact) -> np.ndarray:
    """Return which values are 0."""
    found: np.ndarray = np.logical_and(value.valid, value.units == 0)
    return found
