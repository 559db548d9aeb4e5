"""The deadline of a request: its socket is shut when the time is over. Threads, no library."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Final


class Noted:
    """Remembers the socket of the connection in use, so that the deadline can shut it.

    Mixed into urllib3's connections.
    """

    sock: socket.socket | None
    held = threading.local()

    def connect(self) -> None:
        """Connect, and remember the socket."""
        super().connect()  # type: ignore[misc]
        Noted.held.sock = self.sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Remember the socket of a connection that is used again, and send."""
        Noted.held.sock = self.sock
        super().request(*args, **kwargs)  # type: ignore[misc]


class Alarm:
    """Shuts the socket of a request that passes its deadline; a drip of bytes resets timeouts."""

    def __init__(self, until_s: float) -> None:
        self._until_s = until_s
        self.has_rung = False
        Noted.held.sock = None

    def __enter__(self) -> None:
        self._held = Noted.held.__dict__
        _WATCH.add(self)

    def __exit__(self, *_: object) -> None:
        _WATCH.remove(self)

    def ring(self, now_s: float) -> None:
        """Shut the socket if it is time."""
        if now_s < self._until_s or self.has_rung:
            return
        self.has_rung = True
        sock = self._held.get("sock")
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already


class _Watch:
    """One thread that looks at all open requests a few times a second."""

    TICK_S: Final = 0.2

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alarms: set[Alarm] = set()
        self._thread: threading.Thread | None = None

    def add(self, alarm: Alarm) -> None:
        with self._lock:
            self._alarms.add(alarm)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="deadlines", daemon=True)
                self._thread.start()

    def remove(self, alarm: Alarm) -> None:
        with self._lock:
            self._alarms.discard(alarm)

    def _look(self) -> None:
        while True:
            time.sleep(self.TICK_S)
            with self._lock:
                alarms = list(self._alarms)
            for alarm in alarms:
                alarm.ring(time.monotonic())


_WATCH: Final = _Watch()
