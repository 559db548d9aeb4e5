"""The crash-safe state of one stream: a small self-checksummed JSON document, swapped whole.

Order of a save: temporary file, fsync, previous generation linked, rename, fsync of the folder. It
is checked before the first request; what is damaged is named, never taken for a fresh start.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from backfill.errors import LockedError, MismatchError, UsageError
from backfill.shard import Counts

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
NAME: Final = "checkpoint.json"
PREVIOUS: Final = "checkpoint.json.prev"
BYTES_MAX: Final = 64 << 20


@dataclass
class FileState:
    """One file of the source and how far it is."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str
    rows: int = 0
    """Rows read so far; all of them once it is finished."""
    is_finished: bool = False
    lanes: list[dict[str, Any]] = field(default_factory=list)
    """`Watermark.dump()`."""


@dataclass
class State:
    """Everything a resume needs. It holds no key and no cell."""

    stream: str
    run_id: str
    started_at: str
    now_ms: int
    """The clock that the guards of this run judge by."""
    mapping: str
    """Fingerprint."""
    destination: str
    lane_count: int
    files: list[FileState]
    counts: Counts = field(default_factory=Counts)
    lengths: dict[str, int] = field(default_factory=dict)
    """Bytes of the dead-letter files."""
    is_finished: bool = False
    saved_at: str = ""

    def dump(self) -> bytes:
        """Return the document; the last member is the checksum of all before it."""
        files, counts = [vars(file) for file in self.files], vars(self.counts)
        members = {"format": FORMAT, **vars(self), "files": files, "counts": counts}
        text = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
        crc = zlib.crc32(text.encode())
        return f'{text[:-1]},"crc32":"{crc:08x}"}}\n'.encode()

    @staticmethod
    def load(data: bytes, where: Path) -> State:
        """Read what `dump` wrote. Raises MismatchError naming the damage."""
        members = _checked(data, where)
        try:
            members.pop("format")
            counts = Counts(**members.pop("counts"))
            files = [FileState(**one) for one in members.pop("files")]
            return State(**members, counts=counts, files=files)
        except (TypeError, KeyError, AttributeError) as fault:
            raise _damaged(where, f"a member is missing or unknown ({fault})") from None


def _checked(data: bytes, where: Path) -> dict[str, Any]:
    tail = len(',"crc32":"00000000"}\n')
    text, end = data[:-tail] + b"}", data[-tail:]
    if not end.startswith(b',"crc32":"') or not end.endswith(b'"}\n'):
        raise _damaged(where, "it is cut short, or no checkpoint")
    if end[10:18] != f"{zlib.crc32(text):08x}".encode():
        raise _damaged(where, "its checksum does not match")
    members = json.loads(text)
    if not isinstance(members, dict) or members.get("format") != FORMAT:
        fix = "use the version of backfill that wrote it"
        what = f"the checkpoint has format {members.get('format')}, this version reads {FORMAT}"
        raise MismatchError(what, where=where, fix=fix)
    return members


def _damaged(where: Path, how: str) -> MismatchError:
    fix = (
        "run with --use-previous to go on from the state before it, or --restart to send all again"
    )
    return MismatchError(f"the checkpoint is damaged: {how}", where=where, fix=fix)


class Store:
    """The folder of one stream, locked for one run at a time."""

    def __init__(self, state: Path, stream: str) -> None:
        self.folder = state / stream
        self.path = self.folder / NAME
        self.previous = self.folder / PREVIOUS
        self._lock: FileLock | None = None

    def lock(self) -> None:
        """Make the folder and hold it. Raises LockedError; UsageError where it cannot be made."""
        try:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = FileLock(self.folder / "lock", mode=0o600)
            self._lock.acquire(timeout=0)
        except Timeout:
            fix = "wait for it to end; it releases the lock by itself, even when it is killed"
            raise LockedError("another run holds this stream", where=self.folder, fix=fix) from None
        except OSError as fault:
            what = f"the state folder cannot be written: {fault.strerror}"
            fix = "choose another with --state, or correct its permissions"
            raise UsageError(what, where=self.folder, fix=fix) from None

    def unlock(self) -> None:
        """Let the next run in."""
        if self._lock is not None:
            self._lock.release()

    def load(self, *, use_previous: bool = False) -> State | None:
        """Return the last state, None where this stream never ran. Raises MismatchError."""
        path = self.previous if use_previous else self.path
        if path.is_symlink():
            raise _damaged(path, "it is a symbolic link")
        try:
            if path.stat().st_size > BYTES_MAX:
                raise _damaged(path, "it is far too large")
            data = path.read_bytes()
        except FileNotFoundError:
            if use_previous:
                fix = "run without --use-previous"
                raise MismatchError("there is no previous state", where=path, fix=fix) from None
            if self.previous.exists():
                raise _damaged(path, "it is missing, but the one before it is there") from None
            return None
        except OSError as fault:
            raise _damaged(path, f"it cannot be read ({fault.strerror})") from None
        return State.load(data, path)

    def save(self, state: State) -> None:
        """Make a state durable. After it returns, a power cut does not undo it."""
        part = self.folder / (NAME + ".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o600), "wb") as stream:  # noqa: PTH123  a descriptor
            stream.write(state.dump())
            stream.flush()
            os.fsync(stream.fileno())
        if self.path.exists():
            spare = self.folder / (PREVIOUS + ".tmp")
            with suppress(FileNotFoundError):
                spare.unlink()
            os.link(self.path, spare)
            spare.replace(self.previous)
        part.replace(self.path)
        sync_folder(self.folder)

    def forget(self) -> None:
        """Begin again: the state and the one before it go."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)
        sync_folder(self.folder)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
