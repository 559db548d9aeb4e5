"""Small things about Arrow arrays that several rooms need. No rules, no JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

STRING: Final = pa.string()
ASCII_END: Final = 0x80
NO_TEXT: Final = pa.scalar(None, STRING)
EMPTY: Final = pa.scalar("", STRING)
FALSE: Final = pa.scalar(False, pa.bool_())
BLANK_MS: Final = int(np.iinfo(np.int64).min)
NEVER: Final = pa.scalar(BLANK_MS, pa.int64())
"""Scalars have their types, and `to_numpy` is not used: both make Arrow import pandas, which is a
quarter of a second that `backfill run` has better use for."""


def mask(flags: Any) -> np.ndarray:
    """A boolean array as a mask; null is false."""
    if isinstance(flags, pa.ChunkedArray):
        flags = flags.combine_chunks()
    made = pc.fill_null(flags, FALSE) if flags.null_count else flags
    if not len(made):
        return np.zeros(0, bool)
    bits = np.frombuffer(made.buffers()[1], np.uint8)
    last = made.offset + len(made)
    return np.unpackbits(bits, count=last, bitorder="little")[made.offset :].view(bool)


def integers(data: pa.Array) -> np.ndarray:
    """An int64 array without nulls as numbers, without a copy."""
    if isinstance(data, pa.ChunkedArray):
        data = data.combine_chunks()
    assert data.type == pa.int64()
    assert not data.null_count
    if not len(data):
        return np.zeros(0, np.int64)
    return np.frombuffer(data.buffers()[1], np.int64)[data.offset : data.offset + len(data)]


def valid(data: pa.Array) -> np.ndarray:
    """The mask of the values that are there."""
    return mask(data.is_valid())


def nulled(data: pa.Array, at: np.ndarray) -> pa.Array:
    """The same array with nulls at a mask."""
    return pc.if_else(flags(at), pa.scalar(None, data.type), data) if at.any() else data


def hidden(data: pa.Array, there: np.ndarray) -> pa.Array:
    """The same texts or bytes, but null where a mask is false; no value is copied."""
    _, ends, values = data.buffers()
    if data.offset:
        ends = ends.slice(data.offset * 4)
    return pa.Array.from_buffers(data.type, len(data), [flags(there).buffers()[1], ends, values])


def flags(at: np.ndarray) -> pa.BooleanArray:
    """A mask as an array; `pa.array` would make Arrow import pandas, as would the like below."""
    bits = pa.py_buffer(np.packbits(at, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(at), [None, bits])


def numbers(data: np.ndarray, there: np.ndarray | None = None) -> pa.Array:
    """Numbers as an array of their own type, nulls where they are not there."""
    bits = None if there is None else flags(there).buffers()[1]
    kind = NUMBERS[data.dtype.name]
    return pa.Array.from_buffers(kind, len(data), [bits, pa.py_buffer(np.ascontiguousarray(data))])


NUMBERS: Final = {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}


def strings(texts: Sequence[str | None]) -> pa.StringArray:
    """Texts as an array."""
    parts = [b"" if text is None else text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    assert ends[-1] < 1 << 31, "a record batch has less"
    there = np.array([text is not None for text in texts], bool)
    at, data = pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(parts))
    return pa.Array.from_buffers(STRING, len(parts), [flags(there).buffers()[1], at, data])


def offsets(data: pa.Array) -> np.ndarray:
    """The n + 1 offsets of a (sliced) string or binary array, without a copy."""
    if len(data) == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(data.buffers()[1], np.int32)[data.offset : data.offset + len(data) + 1]


def lengths(data: pa.Array) -> np.ndarray:
    """The bytes of each value of a string or binary array; 0 where it is null."""
    found: np.ndarray = np.diff(offsets(data))
    return np.where(valid(data), found, 0) if data.null_count else found


def raw_bytes(data: pa.StringArray) -> np.ndarray:
    """The value bytes of a (sliced) string array, without a copy."""
    if data.buffers()[2] is None:
        return np.empty(0, np.uint8)
    at = offsets(data)
    return np.frombuffer(data.buffers()[2], np.uint8)[at[0] : at[-1]]


def is_ascii(data: pa.Array) -> bool:
    """Whether a string or binary array surely holds nothing but ASCII."""
    found = raw_bytes(data)
    return not len(found) or bool(found.max() < ASCII_END)


def is_utf8(data: pa.BinaryArray) -> bool:
    """Whether all the values of a binary array are surely UTF-8, looked at as one text."""
    found = raw_bytes(data)
    at = offsets(data)
    begins = at[:-1][at[:-1] < at[-1]] - at[0]
    if ((found[begins] & 0xC0) == 0x80).any():  # noqa: PLR2004  one begins inside of a letter
        return False
    ends = pa.py_buffer(np.array([0, len(found)], np.int32))
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, ends, pa.py_buffer(found)])
    try:
        whole.cast(STRING)
    except pa.ArrowInvalid:
        return False
    return True


def spread(texts: pa.StringArray, at: np.ndarray) -> pa.StringArray:
    """Put texts without nulls at the places of a mask; the others are empty, not null."""
    sizes = np.zeros(len(at) + 1, np.int32)
    sizes[1:][at] = np.diff(offsets(texts))
    begin = offsets(texts)[:1]
    ends = pa.py_buffer(np.cumsum(sizes, dtype=np.int32) + begin)
    return pa.Array.from_buffers(STRING, len(at), [None, ends, texts.buffers()[2]])


def join(*parts: pa.StringArray | str) -> pa.StringArray:
    """Concatenate row by row; a row with a null is null.

    Never `null_handling="skip"`: that drops rows whose inputs are all null (pyarrow 26).
    """
    whole = [pa.scalar(part, STRING) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*whole, EMPTY)


def interleaved(*parts: pa.StringArray | str) -> pa.StringArray:
    """Concatenate row by row as `join` does, of parts without nulls, one of them a column.

    Texts are taken from all columns in the order of the output, whose buffer is the joined one:
    two thirds of what `binary_join_element_wise` costs. A literal is one text, taken n times.
    """
    columns = [part for part in parts if not isinstance(part, str)]
    assert not any(part.null_count for part in columns), "a null would become an empty text"
    count = len(columns[0])
    literals = pa.array([part for part in parts if isinstance(part, str)], STRING)
    begins, column, literal = np.empty(len(parts), np.int32), 0, count * len(columns)
    steps = np.zeros(len(parts), np.int32)
    for at, part in enumerate(parts):
        if isinstance(part, str):
            begins[at], literal = literal, literal + 1
        else:
            begins[at], steps[at], column = column, 1, column + count
    order = np.arange(count, dtype=np.int32)[:, None] * steps
    order += begins
    flat = pa.concat_arrays([*columns, literals])
    made = pc.call_function("array_take", [flat, numbers(order.reshape(-1))], UNCHECKED)
    ends = pa.py_buffer(np.ascontiguousarray(offsets(made)[:: len(parts)]))
    return pa.Array.from_buffers(STRING, count, [None, ends, made.buffers()[2]])


UNCHECKED: Final = pc.TakeOptions(boundscheck=False)
