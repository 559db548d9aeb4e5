"""A file layer that remembers what the disk was promised, to replay a power cut at any moment.

It watches a folder while real code writes there, and knows of each file the bytes of its last
fsync, and of each folder the names at its last fsync. At a cut, of what came after those any part
may be on the disk: each change of a name or not, and of a file's bytes none, half, or all.
"""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

IMAGES_MAX = 1 << 10
"""Of one moment; where there are more, so many of them are drawn."""

Image = dict[str, bytes | None]
"""What may be on the disk: paths below the folder → bytes, None for a folder."""


class Change(NamedTuple):
    """A change of the names in a folder. node: a file's number, the path of a folder, or None."""

    name: str
    node: int | str | None
    gone: str = ""
    """The name that a rename takes away."""


class PowerCut:
    """Calls `at(images)` before and after each call that changes or syncs something below root."""

    def __init__(self, root: Path, at: Callable[[Iterator[Image]], None]) -> None:
        self._root = root
        self._at = at
        self._draw = random.Random(1)
        self._is_off = False
        self._files: dict[int, int] = {}
        """Inode → a descriptor of our own, so that the inode is never used again."""
        self._durable: dict[int, bytes] = {}
        self._names: dict[str, dict[str, int | str]] = {".": {}}
        self._changes: dict[str, list[Change]] = {".": []}
        self.moments = 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch from now on."""
        for name in ("open", "mkdir", "fsync", "replace", "link", "unlink"):
            self._wrap(monkeypatch, name)

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._files.values():
            os.close(descriptor)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real, note = getattr(os, name), getattr(self, f"_{name}")

        def call(*given: Any, **how: Any) -> Any:
            if self._is_off or not self._is_below(given[-1] if name == "link" else given[0]):
                return real(*given, **how)
            if name == "open" and not given[1] & os.O_CREAT:
                return real(*given, **how)
            self.cut()
            if name == "fsync":
                note(given[0])
            result = real(*given, **how)
            if name != "fsync":
                note(*given)
            self.cut()
            return result

        monkeypatch.setattr(os, name, call)

    def _is_below(self, given: Any) -> bool:
        path = Path(f"/proc/self/fd/{given}").readlink() if isinstance(given, int) else Path(given)
        return path == self._root or self._root in path.parents

    def _place(self, path: Any) -> tuple[list[Change], str]:
        below = Path(path).relative_to(self._root)
        return self._changes[str(below.parent)], below.name

    def _open(self, path: Any, *_: Any) -> None:
        self._is_off = True
        inode = Path(path).stat().st_ino
        if inode not in self._files:
            self._files[inode] = os.open(path, os.O_RDONLY)
            self._durable[inode] = b""
            changes, name = self._place(path)
            changes.append(Change(name, inode))
        self._is_off = False

    def _mkdir(self, path: Any, *_: Any) -> None:
        changes, name = self._place(path)
        below = str(Path(path).relative_to(self._root))
        changes.append(Change(name, below))
        self._names[below], self._changes[below] = {}, []

    def _fsync(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode in self._files:
            self._durable[inode] = self._bytes(inode)
            return
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        below = str(path.relative_to(self._root))
        self._names[below] = _applied(self._names[below], self._changes[below])
        self._changes[below] = []

    def _replace(self, source: Any, target: Any) -> None:
        changes, name = self._place(target)
        changes.append(Change(name, Path(target).stat().st_ino, gone=Path(source).name))

    def _link(self, _: Any, target: Any) -> None:
        changes, name = self._place(target)
        changes.append(Change(name, Path(target).stat().st_ino))

    def _unlink(self, path: Any) -> None:
        changes, name = self._place(path)
        changes.append(Change(name, None))

    def _bytes(self, inode: int) -> bytes:
        descriptor = self._files[inode]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def cut(self) -> None:
        """Let the power fail now."""
        self.moments += 1
        self._is_off = True
        self._at(self._images())
        self._is_off = False

    def _images(self) -> Iterator[Image]:
        pending = [(folder, change) for folder, all_ in self._changes.items() for change in all_]
        contents = [self._contents(inode) for inode in self._files]
        sizes = [2] * len(pending) + [len(found) for found in contents]
        total = 1
        for size in sizes:
            total *= size
        ways: Any = itertools.product(*map(range, sizes))
        if total > IMAGES_MAX:
            ends = [tuple(0 for _ in sizes), tuple(size - 1 for size in sizes)]
            drawn = (tuple(map(self._draw.randrange, sizes)) for _ in range(IMAGES_MAX))
            ways = itertools.chain(ends, drawn)
        for way in ways:
            kept: dict[str, list[Change]] = {folder: [] for folder in self._changes}
            for (folder, change), is_kept in zip(pending, way, strict=False):
                if is_kept:
                    kept[folder].append(change)
            chosen = zip(contents, way[len(pending) :], strict=True)
            data = dict(zip(self._files, (found[at] for found, at in chosen), strict=True))
            yield self._image(kept, data)

    def _contents(self, inode: int) -> list[bytes]:
        durable, now = self._durable[inode], self._bytes(inode)
        if durable == now:
            return [now]
        half = (len(durable) + len(now)) // 2
        return [durable, now[:half], now[:half] + bytes(len(now) - half), now]

    def _image(self, kept: dict[str, list[Change]], data: dict[int, bytes]) -> Image:
        image: Image = {}
        folders = ["."]
        for folder in folders:
            for name, node in _applied(self._names[folder], kept[folder]).items():
                below = name if folder == "." else f"{folder}/{name}"
                if isinstance(node, int):
                    image[below] = data[node]
                else:
                    image[below] = None
                    folders.append(node)
        return image


def _applied(names: dict[str, int | str], changes: list[Change]) -> dict[str, int | str]:
    found = dict(names)
    for name, node, gone in changes:
        found.pop(gone or name, None)
        if node is not None:
            found[name] = node
    return found
