"""The crash-safe state of one stream: a small self-checksummed JSON document, swapped whole.

Order of a save: temporary file, fsync, previous generation linked, rename, fsync of the folder. It
is checked before the first request; what is damaged is named, never taken for a fresh start.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from backfill.durable import make_folder, sync_folder, write_part
from backfill.errors import MismatchError, UsageError
from backfill.lock import Lock
from backfill.shard import Counts

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
NAME: Final = "checkpoint.json"
PREVIOUS: Final = "checkpoint.json.prev"
BYTES_MAX: Final = 64 << 20
NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EMLINK}
"""What file systems without hard links say, FAT and some mounts among them."""


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
    place: list[Any] = field(default_factory=list)
    """`Place.dump()`: where a resume may begin to read. Empty: at the begin of the file."""

    def finish(self) -> None:
        """Note that all its rows are settled."""
        self.is_finished, self.lanes, self.place = True, [], []


@dataclass
class State:
    """Everything a resume needs. It holds no key, and no cell but a watermark."""

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
    """Bytes of the files that grow: dead letters, what is known, what was delivered."""
    is_finished: bool = False
    saved_at: str = ""
    identity: str = ""
    """What the message ids were made of (`resume.identity_of`); "" in states before it was kept."""
    known: str = ""
    """The file of what is known under which key; "" where nothing is."""
    watermark: dict[str, Any] = field(default_factory=dict)
    """Column, type and the highest value of the runs that finished: an instant or an integer."""
    highest: int | None = None
    """That of this run so far."""

    def dump(self) -> bytes:
        """Return the document; the last member is the checksum of all before it."""
        files, counts = [vars(file) for file in self.files], vars(self.counts)
        members = {"format": FORMAT, **vars(self), "files": files, "counts": counts}
        text = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
        # a file's name may be no text; what stands for such a byte is valid JSON as it is escaped
        data = text.encode(errors="backslashreplace")
        return data[:-1] + f',"crc32":"{zlib.crc32(data):08x}"}}\n'.encode()

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
    try:
        members = json.loads(text)
    except ValueError:
        raise _damaged(where, "it is no JSON") from None
    if not isinstance(members, dict) or members.get("format") != FORMAT:
        fix = "use the version of backfill that wrote it"
        what = f"the checkpoint has format {members.get('format')}, this version reads {FORMAT}"
        raise MismatchError(what, where=where, fix=fix)
    return members


def _damaged(where: Path, how: str) -> MismatchError:
    fix = "run with --restart to send all again"
    if where.name == NAME and os.path.lexists(where.with_name(PREVIOUS)):
        fix = (
            "run with --use-previous to go on from the state before it,"
            " or --restart to send all again"
        )
    return MismatchError(f"the checkpoint is damaged: {how}", where=where, fix=fix)


class Store:
    """The folder of one stream, locked for one run at a time."""

    def __init__(self, state: Path, stream: str) -> None:
        self.folder = state / stream
        self.path = self.folder / NAME
        self.previous = self.folder / PREVIOUS
        self._lock: Lock | None = None
        self._is_sound = True
        """Whether `path` may take the place of `previous`, which may be the only sound one."""

    def lock(self) -> None:
        """Make the folder and hold it. Raises LockedError; UsageError where it cannot be made."""
        try:
            make_folder(self.folder)
            lock = Lock(self.folder)
            lock.acquire()
        except (OSError, NotImplementedError) as fault:
            raise unwritable(self.folder, fault) from None
        self._lock = lock

    def unlock(self) -> None:
        """Let the next run in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def load(self, *, use_previous: bool = False) -> State | None:
        """Return the last state, None where this stream never ran. Raises MismatchError."""
        path = self.previous if use_previous else self.path
        if path.is_symlink():
            raise _damaged(path, "it is a symbolic link")
        try:
            data = _bytes_of(path)
        except FileNotFoundError:
            if use_previous:
                fix = "run without --use-previous"
                raise MismatchError("there is no previous state", where=path, fix=fix) from None
            if os.path.lexists(self.previous):
                raise _damaged(path, "it is missing, but the one before it is there") from None
            return None
        except OSError as fault:
            how = "it is a symbolic link" if fault.errno == errno.ELOOP else fault.strerror
            raise _damaged(path, f"it cannot be read ({how})") from None
        state = State.load(data, path)
        self._is_sound = not use_previous or self._has_sound_path()
        return state

    def _has_sound_path(self) -> bool:
        try:
            State.load(_bytes_of(self.path), self.path)
        except (OSError, MismatchError):
            return False
        return True

    def save(self, state: State) -> None:
        """Make a state durable. After it returns, a power cut does not undo it."""
        part = write_part(self.path, state.dump())
        if self._is_sound and self.path.exists():
            self._keep()
        part.replace(self.path)
        sync_folder(self.folder)
        self._is_sound = True

    def _keep(self) -> None:
        """Make the state that is about to go the previous one, without a moment of neither."""
        spare = self.folder / (PREVIOUS + ".tmp")
        with suppress(FileNotFoundError):
            spare.unlink()
        try:
            os.link(self.path, spare)
        except OSError as fault:
            if fault.errno not in NO_LINKS:
                raise
            write_part(self.previous, self.path.read_bytes())
        spare.replace(self.previous)

    def forget(self) -> None:
        """Begin again: the state and the one before it go. Raises UsageError where they cannot.

        The one before goes first: what a crash leaves is the state as it was.
        """
        try:
            for path in (self.previous, self.path):
                path.unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as fault:
            raise unwritable(self.folder, fault) from None


def _bytes_of(path: Path) -> bytes:
    """Read a state; not through a link, which may lead nowhere, and not from what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _damaged(path, "it cannot be read (it is no file)")
        if found.st_size > BYTES_MAX:
            raise _damaged(path, "it is far too large")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def unwritable(where: Path, fault: OSError | NotImplementedError) -> UsageError:
    """Return what is said of a state folder that cannot be used, before anything is sent."""
    why = fault.strerror if isinstance(fault, OSError) else str(fault)
    fix = "choose another with --state, or make room there and correct its permissions"
    if os.path.lexists(where / NAME):
        fix = "make room there, or correct its permissions; another --state would send all again"
    return UsageError(f"the state folder cannot be written: {why}", where=where, fix=fix)
