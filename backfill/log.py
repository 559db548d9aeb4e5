"""What happened during a run, a JSON line each: times, counts, reasons; never a cell or the key."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Log:
    """Writes to `log.jsonl` of the run, and to stderr where that is asked for.

    It stops no run: one that cannot be written says so once, on stderr, and is left.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        echo: str | None = None,
        hear: Callable[[str, dict[str, Any]], None] = lambda _what, _facts: None,
    ) -> None:
        """echo: None, `text` or `json`. hear: told of each line, by the thread that writes it."""
        self._hear = hear
        self.path = path
        self._echo = echo
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            try:
                self._descriptor = os.open(path, flags, 0o600)
            except OSError as fault:
                self._leave(fault)

    def note(self, what: str, facts: dict[str, Any]) -> None:
        """Write one line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": now, "event": what, **facts}, ensure_ascii=False, default=str)
        with self._lock:
            self._write(line + "\n")
            if self._echo == "json":
                _say(line)
            elif self._echo == "text":
                told = " ".join(f"{key}={value}" for key, value in facts.items())
                _say(f"{now} {what} {told}")
        self._hear(what, facts)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _write(self, line: str) -> None:
        left = line.encode(errors="backslashreplace")
        try:
            while left and self._descriptor is not None:
                left = left[os.write(self._descriptor, left) :]
        except OSError as fault:
            self._close()
            self._leave(fault)

    def _close(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # closing may tell of a write that was told of, or of none
                os.close(self._descriptor)
            self._descriptor = None

    def _leave(self, fault: OSError) -> None:
        _say(f"{self.path}: the log cannot be written: {fault.strerror}; the run goes on without")


def _say(line: str) -> None:
    """Write to stderr; where nobody takes it, nobody wants it."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201  the log a person asked for
