"""Objects on their way from one process to one that it forked: through memory that both see.

An object is pickled; what it holds in buffers (the columns of Arrow and numpy) is copied once, into
one of a few slots, and can be used where it lies: a slot is free again when nothing of it is used
any more. The kernel takes the memory back with the last of the two processes, however they end.
Linux only.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import weakref
from contextlib import suppress
from typing import Any, Final, Self

import numpy as np

SLOT_BYTES: Final = 8 << 20
"""What a slot holds without growing; memory is taken for what was used of it."""

ALIGNED_BYTES: Final = 64
"""Where Arrow wishes its buffers to begin."""

WORD: Final = struct.Struct("<BI")
"""Which slot, and how many buffers are in it."""

SIZE: Final = np.dtype("<i8")


class GoneError(Exception):
    """The process at the other end has ended."""


class Way:
    """One direction between two processes, made before the fork. One thread puts, one gets."""

    def __init__(self, slots: int, *, kept_bytes: int, kept_max: int) -> None:
        """kept_bytes: only buffers from this size on are used where they lie, others are copied.

        kept_max: nor are those of more slots than this at a time. With one slot more there is
        always one on its way, however long who gets uses what it got.
        """
        self._files = [_file() for _ in range(slots)]
        self._maps = [_mapped(file) for file in self._files]
        self._kept_bytes, self._kept_max = kept_bytes, kept_max
        self._kept: set[int] = set()
        self._free_out, self._free_in = _pipe()
        self._word_out, self._word_in = _pipe()
        os.write(self._free_in.number, bytes(range(slots)))

    @property
    def descriptors(self) -> set[int]:
        """Those that a process at either end must not close."""
        ends = (*self._files, self._free_out, self._free_in, self._word_out, self._word_in)
        return {end.number for end in ends if end.is_open}

    def putting(self) -> Self:
        """Keep the end of who puts. Both must choose, or neither hears when the other ends."""
        self._free_in.close()
        self._word_out.close()
        return self

    def getting(self) -> Self:
        """Keep the end of who gets."""
        self._free_out.close()
        self._word_in.close()
        return self

    def put(self, item: Any) -> None:
        """Wait for a free slot and send. Raises GoneError, and what pickling raises."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(item, 5, buffer_callback=buffers.append)
        parts = [np.frombuffer(part, np.uint8) for part in (head, *map(_raw, buffers))]
        sizes = [len(part) for part in parts]
        free = os.read(self._free_out.number, 1)
        if not free:
            raise GoneError
        begins, total = _places(sizes)
        data = self._room(free[0], total)
        data[: SIZE.itemsize * len(sizes)].view(SIZE)[:] = sizes
        for begin, part in zip(begins, parts, strict=True):
            # as numpy copies, other threads may work meanwhile
            np.copyto(data[begin : begin + len(part)], part)
        try:
            os.write(self._word_in.number, WORD.pack(free[0], len(sizes)))
        except BrokenPipeError:
            raise GoneError from None

    def get(self) -> Any:
        """Wait for what comes next. Raises GoneError where nothing will."""
        word = os.read(self._word_out.number, WORD.size)
        if not word:
            raise GoneError
        slot, count = WORD.unpack(word)
        sizes = np.frombuffer(self._maps[slot], SIZE, count).tolist()
        begins, total = _places(sizes)
        if total > len(self._maps[slot]):
            self._maps[slot] = _mapped(self._files[slot])
        data: Any = np.frombuffer(self._maps[slot], np.uint8)
        least = self._kept_bytes if len(self._kept) < self._kept_max else total
        if max(sizes) >= least:
            self._kept.add(slot)
        # every view of it keeps the array; it goes with the last of them, here or much later
        weakref.finalize(data, self._give_back, slot).atexit = False
        views = [memoryview(data)[at : at + size] for at, size in zip(begins, sizes, strict=True)]
        parts: list[Any] = [view if len(view) >= least else view.tobytes() for view in views]
        return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  of our own process

    def _give_back(self, slot: int) -> None:
        self._kept.discard(slot)
        with suppress(BrokenPipeError):  # nobody puts any more
            os.write(self._free_in.number, bytes([slot]))

    def _room(self, slot: int, total: int) -> np.ndarray:
        """Return the bytes of a slot: as many as it takes, else as many as usual."""
        wanted = max(total, SLOT_BYTES)
        if len(self._maps[slot]) != wanted:
            os.ftruncate(self._files[slot].number, wanted)
            self._maps[slot] = _mapped(self._files[slot])
        return np.frombuffer(self._maps[slot], np.uint8)


def _raw(buffer: pickle.PickleBuffer) -> Any:
    return buffer.raw()


def _places(sizes: list[int]) -> tuple[list[int], int]:
    """Return where buffers begin behind the list of their sizes, and where the last one ends."""
    at, begins = SIZE.itemsize * len(sizes), []
    for size in sizes:
        at += -at % ALIGNED_BYTES
        begins.append(at)
        at += size
    return begins, at


class _End:
    """A descriptor, closed with the last who has it: never under a thread that waits there."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._closing = weakref.finalize(self, os.close, number)

    @property
    def is_open(self) -> bool:
        return self._closing.alive

    def close(self) -> None:
        self._closing()


def _file() -> _End:
    found = _End(os.memfd_create("backfill", os.MFD_CLOEXEC))
    os.ftruncate(found.number, SLOT_BYTES)
    return found


def _mapped(file: _End) -> mmap.mmap:
    return mmap.mmap(file.number, 0)


def _pipe() -> tuple[_End, _End]:
    out, into = os.pipe()
    return _End(out), _End(into)
