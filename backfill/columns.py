"""Small things about Arrow arrays that several rooms need. No rules, no JSON."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

STRING: Final = pa.string()
NO_TEXT: Final = pa.scalar(None, STRING)


def mask(flags: Any) -> np.ndarray:
    """A boolean array as a mask; null is false."""
    made: np.ndarray = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return made


def valid(data: pa.Array) -> np.ndarray:
    """The mask of the values that are there."""
    return mask(data.is_valid())


def nulled(data: pa.Array, at: np.ndarray) -> pa.Array:
    """The same array with nulls at a mask."""
    return pc.if_else(pa.array(at), pa.scalar(None, data.type), data) if at.any() else data


def offsets(data: pa.Array) -> np.ndarray:
    """The n + 1 offsets of a (sliced) string or binary array, without a copy."""
    if len(data) == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(data.buffers()[1], np.int32)[data.offset : data.offset + len(data) + 1]


def raw_bytes(data: pa.StringArray) -> np.ndarray:
    """The value bytes of a (sliced) string array, without a copy."""
    if data.buffers()[2] is None:
        return np.empty(0, np.uint8)
    at = offsets(data)
    return np.frombuffer(data.buffers()[2], np.uint8)[at[0] : at[-1]]


def join(*parts: pa.StringArray | str) -> pa.StringArray:
    """Concatenate row by row; a row with a null is null.

    Never `null_handling="skip"`: that drops rows whose inputs are all null (pyarrow 26).
    """
    whole = [pa.scalar(part, STRING) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*whole, pa.scalar("", STRING))
