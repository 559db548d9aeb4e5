"""Files and folders that a power cut does not undo: what is written, then where it is found.

A file's bytes are durable after its own fsync, its name only after the fsync of its folder. Every
function raises OSError as the system gives it; those who call know what it means for a run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in place, whole or not at all."""
    write_part(path, data).replace(path)
    sync_folder(path.parent)
