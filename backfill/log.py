"""What happened during a run, a JSON line each: times, counts, reasons; never a cell or the key."""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathlib import Path


class Log:
    """Writes to `log.jsonl` of the run, and to stderr where that is asked for."""

    def __init__(self, path: Path | None, *, echo: str | None = None) -> None:
        """echo: None, `text` or `json`."""
        self._echo = echo
        self._lock = threading.Lock()
        self._stream: TextIO | None = None
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._stream = open(os.open(path, flags, 0o600), "a", encoding="utf-8")  # noqa: PTH123, SIM115

    def note(self, what: str, facts: dict[str, Any]) -> None:
        """Write one line; a log that cannot be written stops no run."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": now, "event": what, **facts}, ensure_ascii=False, default=str)
        with self._lock:
            if self._stream is not None:
                try:
                    self._stream.write(line + "\n")
                    self._stream.flush()
                except OSError:
                    self._stream = None
            if self._echo == "json":
                print(line, file=sys.stderr)  # noqa: T201  the log a person asked for
            elif self._echo == "text":
                told = " ".join(f"{key}={value}" for key, value in facts.items())
                print(f"{now} {what} {told}", file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
