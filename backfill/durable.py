"""Files and folders that a power cut does not undo: what is written, then where it is found.

A file's bytes are durable after its own fsync, its name only after the fsync of its folder. Every
function raises OSError as the system gives it; those who call know what it means for a run.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for their owner alone, durably."""
    missing = []
    for each in (folder, *folder.parents):
        if each.is_dir():
            break
        missing.append(each)
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_part(path: Path, data: bytes) -> Path:
    """Write `<name>.tmp` beside a path, its bytes durable; return it, to be renamed onto the path.

    Never through a symbolic link.
    """
    part = path.with_name(path.name + ".tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(part, flags, 0o600), "wb") as stream:  # noqa: PTH123  a descriptor
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return part


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream whose bytes become a file, whole, unless something is raised."""
    part = path.with_name(path.name + ".tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(part, flags, 0o600), "w+b") as stream:  # noqa: PTH123  a descriptor
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in place, whole or not at all."""
    write_part(path, data).replace(path)
    sync_folder(path.parent)


class Appended:
    """A file that only grows. What a state does not know of is cut off again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def length(self) -> int:
        """Bytes, 0 where there is no file. Raises OSError."""
        try:
            return self.path.lstat().st_size
        except FileNotFoundError:
            return 0

    def cut(self, length: int) -> None:
        """Keep the first bytes only; of none, no file. Raises OSError."""
        if length:
            self._keep(length)
        else:
            self.path.unlink(missing_ok=True)

    def append(self, made: Iterable[bytes]) -> None:
        """Write and make durable. Raises OSError; then none of it stays."""
        before = self.length
        try:
            self._write(made, is_new=not before)
        except OSError:
            with suppress(OSError):  # a person reads the file now, a resume cuts it anyway
                self._keep(before)
            raise

    def _keep(self, length: int) -> None:
        """Cut it, but leave the file where it is."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.ftruncate(descriptor, length)
        finally:
            os.close(descriptor)

    def _write(self, made: Iterable[bytes], *, is_new: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with open(os.open(self.path, flags, 0o600), "ab") as stream:  # noqa: PTH123  a descriptor
            stream.writelines(made)
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:  # or a power cut takes the name away, and with it what the state counts
            sync_folder(self.path.parent)
