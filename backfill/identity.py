"""Message ids and lanes: pure functions of what identifies a row, computed by columns.

A message id has the shape of a ULID (26 characters of Crockford's base32), since the destination
may ignore repeats of such ids and refuse others. It never depends on clock, order or version of a
library: golden tests pin it.

With a key: the 128 bits of MurmurHash3_x64_128 (seed 0) over the JSON text
`["stream",index,"key",…]`; for identify, group and alias the message follows, without its id, as
the last item, since an update is a new message and an event is one event. Where it changes what is
known under its key, the number of the change follows: one that is taken back is a new message.
Without a key: 78 bits of BLAKE2b over `["stream","sha256 of the file",index]`, then the row
(from 0) in 10 digits.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import numpy as np
import pyarrow as pa

from backfill.columns import STRING, join, offsets
from backfill.jsontext import escape

ALPHABET: Final = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
PAIRS: Final = np.stack([ALPHABET.repeat(32), np.tile(ALPHABET, 32)], axis=1).reshape(-1).view("u2")
"""Two characters for every ten bits."""
ID_CHARS: Final = 26
ROW_CHARS: Final = 10
WORD_BITS: Final = 64
C1: Final = np.uint64(0x87C37B91114253D5)
C2: Final = np.uint64(0x4CF5AD432745937F)


def keyed(
    stream: str, index: int, keys: list[pa.StringArray], content: pa.StringArray | None
) -> pa.StringArray:
    """Return the ids of n rows with a key. keys: n texts each, no nulls; content: n messages."""
    parts: list[pa.StringArray | str] = [f'[{json.dumps(stream)},{index},"']
    for at, key in enumerate(keys):
        parts += ['","', escape(key)] if at else [escape(key)]
    parts.append('"')
    parts += [",", content, "]"] if content is not None else ["]"]
    high, low = murmur3(join(*parts))
    return _texts(_digits(high, low))


def prefix(stream: str, sha256: str, index: int) -> str:
    """Return the first 16 characters of the ids of a file's rows that have no key."""
    text = json.dumps([stream, sha256, index], separators=(",", ":"))
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=10).digest()) >> 2
    digits = bytearray()
    for at in range(ID_CHARS - ROW_CHARS - 1, -1, -1):
        digits.append(int(ALPHABET[(number >> (5 * at)) & 31]))
    return digits.decode()


def row_digits(rows: np.ndarray) -> pa.StringArray:
    """Return the last 10 characters of the ids: the rows (from 0) in base 32."""
    pairs = np.empty((len(rows), ROW_CHARS // 2), "u2")
    lowest, highest = (int(rows.min()), int(rows.max())) if len(rows) else (0, 0)
    for at in range(ROW_CHARS // 2):
        shift = 10 * (ROW_CHARS // 2 - 1 - at)
        first, last = lowest >> shift, highest >> shift
        # the upper digits are the same in a whole record batch
        pairs[:, at] = PAIRS[first & 1023] if first == last else PAIRS[(rows >> shift) & 1023]
    return _texts(pairs.view(np.uint8))


def lanes(ids: pa.StringArray, count: int) -> np.ndarray:
    """Return the lane of each row: one id always travels in one lane. Blank ids share one."""
    if count == 1:
        return np.zeros(len(ids), np.int64)
    high, _ = murmur3(ids.fill_null(""))
    return (high % np.uint64(count)).astype(np.int64)


def murmur3(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Return MurmurHash3_x64_128 with seed 0 of n texts, as two columns of 64 bits.

    The blocks of all rows are mixed side by side; rows are sorted by length so that those still
    running are always the first ones. Where all have as many blocks there is nothing to sort.
    """
    at = offsets(texts).astype(np.int64)
    start, size = at[:-1], np.diff(at)
    if not len(size) or size.min() // 16 == size.max() // 16:
        return _hashed(texts, start, size)
    order = np.argsort(-size, kind="stable")
    high, low = _hashed(texts, start[order], size[order])
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return high[back], low[back]


def _hashed(
    texts: pa.StringArray, start: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hash texts by where they begin and their bytes; those with more blocks come first."""
    words = _words(texts)
    blocks = size // 16
    high, low = np.zeros(len(size), np.uint64), np.zeros(len(size), np.uint64)
    with np.errstate(over="ignore"):
        for block in range(int(blocks[0]) if len(blocks) else 0):
            running = int(np.searchsorted(-blocks, -block, "left"))
            where = start[:running] + 16 * block
            _mix(high[:running], low[:running], words[where], words[where + 8])
        _finish(high, low, words, start + 16 * blocks, size)
    return high, low


def _words(texts: pa.StringArray) -> np.ndarray:
    """Return the 8 bytes that begin at every byte of the buffer, as little-endian numbers."""
    data = texts.buffers()[2]
    padded = (b"" if data is None else data.to_pybytes()) + bytes(24)
    return np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))


def _rotl(value: np.ndarray, bits: int) -> np.ndarray:
    turned: np.ndarray = (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))
    return turned


def _mix(high: np.ndarray, low: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    high ^= _rotl(first * C1, 31) * C2
    high[:] = (_rotl(high, 27) + low) * np.uint64(5) + np.uint64(0x52DCE729)
    low ^= _rotl(second * C2, 33) * C1
    low[:] = (_rotl(low, 31) + high) * np.uint64(5) + np.uint64(0x38495AB5)


def _finish(
    high: np.ndarray, low: np.ndarray, words: np.ndarray, tail: np.ndarray, size: np.ndarray
) -> None:
    rest = size & 15
    low ^= _rotl((words[tail + 8] & _masks(rest - 8)) * C2, 33) * C1
    high ^= _rotl((words[tail] & _masks(rest)) * C1, 31) * C2
    high ^= size.astype(np.uint64)
    low ^= size.astype(np.uint64)
    high += low
    low += high
    high[:], low[:] = _avalanche(high), _avalanche(low)
    high += low
    low += high


def _masks(count: np.ndarray) -> np.ndarray:
    """Return masks of the first 0 to 8 bytes."""
    table = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
    found: np.ndarray = table[np.clip(count, 0, 8)]
    return found


def _avalanche(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    mixed: np.ndarray = value ^ (value >> np.uint64(33))
    return mixed


def _digits(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """128 bits → 26 digits of base 32, the first of them 0 to 7."""
    digits = np.empty((len(high), ID_CHARS), np.uint8)
    straddling = (low >> np.uint64(60)) | (high << np.uint64(4))
    for at in range(ID_CHARS):
        shift = 5 * (ID_CHARS - 1 - at)
        if shift > WORD_BITS - 5:
            part = straddling if shift < WORD_BITS else high >> np.uint64(shift - WORD_BITS)
        else:
            part = low >> np.uint64(shift)
        digits[:, at] = ALPHABET[part & np.uint64(31)]
    return digits


def _texts(digits: np.ndarray) -> pa.StringArray:
    count, width = digits.shape
    bounds = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(STRING, count, [None, pa.py_buffer(bounds), pa.py_buffer(digits)])
