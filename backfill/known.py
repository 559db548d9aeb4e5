"""What was last acknowledged under each key: 32 bytes a key, sorted, in one file. No rules.

A print is the hash of a key (128 bits) and of the content sent under it (96 bits), and how often
that content has changed. Prints are journalled as they are acknowledged, in blocks that check
themselves, and merged into a file that is written whole and then never changes. It holds the upper
halves of the keys in order, to be searched by columns without being loaded, then the rest of each.
No key and no content can be read out of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from contextlib import ExitStack
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from backfill.durable import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PRINT: Final = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("content", "<u8"), ("more", "<u4"), ("times", "<u4")]
)
REST: Final = np.dtype([("low", "<u8"), ("content", "<u8"), ("more", "<u4"), ("times", "<u4")])
PIECE: Final = 1 << 18
"""Prints that are in memory at a time while files are merged."""

SLICES: Final = np.arange(1 << 12, dtype="<u8") << np.uint64(64 - 12)
"""The least upper half of a key in each slice of all keys; hashes fill them evenly."""

HEAD: Final = struct.Struct("<8sQQIII")
HEAD_BYTES: Final = 64
MAGIC: Final = b"bfknown1"
BLOCK: Final = struct.Struct("<4sII")
MARK: Final = b"bfkj"
MAPPED_BYTES: Final = 32 << 20
"""Of a mapped file that are looked at before they are given back."""


class DamagedError(Exception):
    """What is wrong with a file of prints."""


def no_prints() -> np.ndarray:
    """Return an array of no prints."""
    return np.empty(0, PRINT)


class Known:
    """The prints of one file, to be searched. An empty one has no file."""

    def __init__(self, path: Path | None = None) -> None:
        """Check the whole file. Raises DamagedError, or OSError."""
        self.count = 0
        self._map: mmap.mmap | None = None
        self._high, self._rest = np.empty(0, "<u8"), np.empty(0, REST)
        if path is None:
            return
        with _opened(path) as stream:
            self.count, rest_at = _checked(stream)
            if not self.count:
                return
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._high = np.frombuffer(self._map, "<u8", self.count, HEAD_BYTES)
        self._rest = np.frombuffer(self._map, REST, self.count, rest_at)

    def look_up(self, high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the place of each of n keys, -1 where it is not known, and its `REST`.

        In the order of the keys, and with what was looked at given back to the system on the way:
        the pages of a mapped file count as memory of the process.
        """
        places, rest = np.full(len(high), -1, np.int64), np.zeros(len(high), REST)
        order = np.argsort(high)
        parts = 1 + self.count * PRINT.itemsize // MAPPED_BYTES
        for at in np.array_split(order, parts) if self.count else ():
            places[at] = found = self._places(high[at], low[at])
            rest[at[found >= 0]] = self._rest[found[found >= 0]]
            if self._map is not None and parts > 1:
                self._map.madvise(mmap.MADV_DONTNEED)
        return places, rest

    def _places(self, high: np.ndarray, low: np.ndarray) -> np.ndarray:
        found = np.full(len(high), -1, np.int64)
        at = np.searchsorted(self._high, high)
        left = np.arange(len(at))
        while len(left):  # once, unless two keys have the same upper half
            left = left[at[left] < self.count]
            left = left[self._high[at[left]] == high[left]]
            is_it = self._rest["low"][at[left]] == low[left]
            found[left[is_it]] = at[left[is_it]]
            left = left[~is_it]
            at[left] += 1
        return found


def _opened(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")  # noqa: PTH123


def _checked(stream: IO[bytes]) -> tuple[int, int]:
    """Return how many prints a file has, and where their second part begins."""
    head = stream.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        raise DamagedError("it is cut short, or no such file")
    _, count, rest_at, high_crc, rest_crc, head_crc = HEAD.unpack(head[: HEAD.size])
    if zlib.crc32(head[: HEAD.size - 4]) != head_crc:
        raise DamagedError("its checksum does not match")
    for begin, size, crc in ((HEAD_BYTES, 8, high_crc), (rest_at, REST.itemsize, rest_crc)):
        if _crc_of(stream, begin, count * size) != crc:
            raise DamagedError("its checksum does not match")
    return count, rest_at


def _crc_of(stream: IO[bytes], begin: int, size: int) -> int:
    stream.seek(begin)
    crc, left = 0, size
    while left:
        part = stream.read(min(left, 1 << 20))
        if not part:
            raise DamagedError("it is cut short, or no such file")
        crc, left = zlib.crc32(part, crc), left - len(part)
    return crc


def block_of(prints: np.ndarray) -> list[bytes]:
    """Return prints as the journal has them."""
    data = prints.tobytes()
    return [BLOCK.pack(MARK, len(prints), zlib.crc32(data)), data] if len(prints) else []


def journalled(path: Path, length: int) -> Iterator[np.ndarray]:
    """Yield the prints of the first bytes of a journal. Raises DamagedError, or OSError."""
    if not length:
        return
    with _opened(path) as stream:
        while stream.tell() < length:
            head = stream.read(BLOCK.size)
            if len(head) < BLOCK.size:
                raise DamagedError("it is cut short")
            mark, count, crc = BLOCK.unpack(head)
            if mark != MARK:
                raise DamagedError("it is no journal")
            data = stream.read(count * PRINT.itemsize)
            if len(data) < count * PRINT.itemsize:
                raise DamagedError("it is cut short")
            if zlib.crc32(data) != crc:
                raise DamagedError("its checksum does not match")
            yield np.frombuffer(data, PRINT)


def merge(base: Path | None, prints: Iterable[np.ndarray], target: Path) -> None:
    """Write a file with the last print of each key: what `prints` has comes after what base has.

    It takes the memory of a few pieces, however many keys there are: `prints` go into sorted runs
    beside the target first, and then all is merged one range of keys at a time. Raises OSError.
    """
    scratch = target.with_name(target.name + ".runs")
    with ExitStack() as stack:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        runs = stack.enter_context(open(os.open(scratch, flags, 0o600), "w+b"))  # noqa: PTH123
        stack.callback(scratch.unlink)
        sources: list[Any] = []
        if base is not None:
            sources.append(_Base(stack.enter_context(_opened(base))))
        sources += _sorted_runs(prints, runs)
        total = sum(source.count for source in sources)
        with whole(target) as stream:
            _write(stream, sources, total)


def _sorted_runs(prints: Iterable[np.ndarray], stream: IO[bytes]) -> list[_Run]:
    found: list[_Run] = []
    held: list[np.ndarray] = []

    def write() -> None:
        if held:
            run = newest(np.concatenate(held))
            found.append(_Run(stream, stream.tell(), run["high"]))
            stream.write(run.tobytes())
            held.clear()

    for some in prints:
        held.append(some)
        if sum(map(len, held)) >= PIECE:
            write()
    write()
    stream.flush()
    return found


def newest(prints: np.ndarray) -> np.ndarray:
    """Return the last print of each key, in the order of the keys."""
    order = np.argsort(prints["high"], kind="stable")
    made = prints[order]
    is_pair = made["high"][1:] == made["high"][:-1]
    if (is_pair & (made["low"][1:] != made["low"][:-1])).any():
        made = prints[np.lexsort((prints["low"], prints["high"]))]
        is_pair = made["high"][1:] == made["high"][:-1]
    is_last = np.ones(len(made), bool)
    is_last[:-1] = ~(is_pair & (made["low"][1:] == made["low"][:-1]))
    return made[is_last]


class _Run:
    """Sorted prints in the scratch file; where each of the slices of all keys begins."""

    def __init__(self, stream: IO[bytes], begin: int, high: np.ndarray) -> None:
        self._stream = stream
        self._begin = begin
        self._cuts = np.append(np.searchsorted(high, SLICES), len(high))
        self.count = len(high)

    def part(self, first: int, after: int) -> np.ndarray:
        """Return the prints of the slices [first, after)."""
        at, end = int(self._cuts[first]), int(self._cuts[after])
        self._stream.seek(self._begin + at * PRINT.itemsize)
        return np.frombuffer(self._stream.read((end - at) * PRINT.itemsize), PRINT)


class _Base:
    """The prints of a file, read from its begin to its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count, self._rest_at = _checked(stream)
        self._at = 0
        self._ahead = np.empty(0, "<u8")

    def part(self, _first: int, after: int) -> np.ndarray:
        """Return the prints that follow, up to the slice `after`."""
        parts = []
        while True:
            if not len(self._ahead):
                self._stream.seek(HEAD_BYTES + 8 * self._at)
                data = self._stream.read(8 * min(PIECE, self.count - self._at))
                self._ahead = np.frombuffer(data, "<u8")
            end = len(self._ahead)
            if after < len(SLICES):
                end = int(np.searchsorted(self._ahead, SLICES[after]))
            parts.append(self._ahead[:end])
            self._ahead = self._ahead[end:]
            self._at += end
            if len(self._ahead) or not end or self._at == self.count:
                break
        high = np.concatenate(parts)
        made = np.empty(len(high), PRINT)
        self._stream.seek(self._rest_at + REST.itemsize * (self._at - len(high)))
        rest = np.frombuffer(self._stream.read(REST.itemsize * len(high)), REST)
        made["high"] = high
        for name in REST.names or ():
            made[name] = rest[name]
        return made


def _write(stream: IO[bytes], sources: list[Any], total: int) -> None:
    """Write the sections side by side; where keys came twice, a hole is left between them."""
    count, rest_at = 0, HEAD_BYTES + 8 * total
    high_crc = rest_crc = 0
    ranges = min(max(total // PIECE, 1), len(SLICES))
    for first, after in pairwise(len(SLICES) * at // ranges for at in range(ranges + 1)):
        parts = [one.part(first, after) for one in sources]
        made = newest(np.concatenate([no_prints(), *parts]))
        rest = np.empty(len(made), REST)
        for name in REST.names or ():
            rest[name] = made[name]
        for at, column in ((HEAD_BYTES + 8 * count, made["high"]), (rest_at + 24 * count, rest)):
            stream.seek(at)
            stream.write(column.tobytes())
        high_crc = zlib.crc32(made["high"].tobytes(), high_crc)
        rest_crc = zlib.crc32(rest.tobytes(), rest_crc)
        count += len(made)
    stream.truncate(rest_at + REST.itemsize * count)
    head = HEAD.pack(MAGIC, count, rest_at, high_crc, rest_crc, 0)[:-4]
    stream.seek(0)
    stream.write(head + struct.pack("<I", zlib.crc32(head)))
