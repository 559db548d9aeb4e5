"""One run at a time in a folder, and who that is.

The lock is the kernel's, on a file of its own, so it is free at once when its holder dies. Who
holds it stands in a file beside it that its writer keeps locked too: what a dead holder left there
is known by that lock being free, whatever process has its number now, and is never shown.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from backfill.errors import LockedError

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "lock"
HOLDER: Final = "holder.json"
HOLDER_BYTES_MAX: Final = 4096
SIGN_S: Final = 0.3
"""How long a loser waits for a holder that has not said yet who it is."""


class Lock:
    """The lock of one folder, which must be there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / NAME, mode=0o600)
        self._signed: int | None = None

    def acquire(self) -> None:
        """Take it without waiting. Raises LockedError that says who holds it; OSError."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            fix = "wait for it to end; it releases the lock by itself, even when it is killed"
            what = f"another run holds this stream{self._who()}"
            raise LockedError(what, where=self._folder, fix=fix) from None
        with suppress(OSError):  # a courtesy to the others: what must be written is the state
            self._sign()

    def release(self) -> None:
        """Let the next one in."""
        if self._signed is not None:
            with suppress(OSError):
                (self._folder / HOLDER).unlink()
            os.close(self._signed)
            self._signed = None
        self._lock.release()

    def _sign(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        told = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        part = self._folder / (HOLDER + ".tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        self._signed = os.open(part, flags, 0o600)
        fcntl.flock(self._signed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._signed, json.dumps(told).encode())
        part.replace(self._folder / HOLDER)

    def _who(self) -> str:
        until_s = time.monotonic() + SIGN_S
        while not (told := _told(self._folder / HOLDER)) and time.monotonic() < until_s:
            time.sleep(SIGN_S / 10)
        return told


def _told(path: Path) -> str:
    """Return `: process 7 on box, since …`; "" where the one who wrote it is dead or unknown."""
    told = holder_of(path.parent)
    return f": process {told['pid']} on {told['host']}, since {told['since']}" if told else ""


def holder_of(folder: Path) -> dict[str, Any] | None:
    """Return who holds a folder, `{host, pid, since}`; None where nobody does, or nobody says."""
    try:
        descriptor = os.open(folder / HOLDER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parsed(os.read(descriptor, HOLDER_BYTES_MAX))
    except OSError:
        return None
    else:
        return None  # nobody keeps it locked
    finally:
        os.close(descriptor)


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(data)
        return {"host": told["host"], "pid": int(told["pid"]), "since": told["since"]}
    except (ValueError, KeyError, TypeError):
        return None
