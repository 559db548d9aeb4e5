"""What a signal does: end the process at once, or drain a run that is under way.

SIGHUP (the terminal is gone) counts as SIGTERM; under `nohup`, which ignores it, so do we.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from backfill.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from backfill.runner import Stop

    Handler = Callable[[int, FrameType | None], None]

CODES: Final = {
    signal.SIGINT: ExitCode.SIGINT,
    signal.SIGTERM: ExitCode.SIGTERM,
    signal.SIGHUP: ExitCode.SIGTERM,
}
PATIENCE_S: Final = 25.0
"""The drain has 20 s of them, the save and the report the rest; who manages us may kill at 30."""


def end_at_once() -> None:
    """Let a signal end the process at once: so long as nothing is under way, nothing is lost."""

    def heard(number: int, _frame: FrameType | None) -> NoReturn:
        _say("\nstopped\n")
        os._exit(CODES[signal.Signals(number)])

    _hear(heard)


def drain(stop: Stop) -> None:
    """Let the first signal drain and save, and a second one leave at once; the state bears both.

    SIGHUP never counts as the second one: a session that ends sends it after SIGTERM, or twice.
    """
    threading.Thread(target=_lose_patience, args=(stop,), daemon=True, name="patience").start()
    is_asked = False

    def heard(number: int, _frame: FrameType | None) -> None:
        nonlocal is_asked
        code = CODES[signal.Signals(number)]
        if is_asked and number == signal.SIGHUP:
            return
        if is_asked:
            os._exit(code)
        is_asked = True  # before the event, whose lock a second signal must not wait for
        stop.exit_code = code
        stop.event.set()
        _say("\nstopping: waiting for answers that are under way ...\n")

    _hear(heard)


def _hear(handler: Handler) -> None:
    for number in CODES:
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue
        signal.signal(number, handler)


def _lose_patience(stop: Stop) -> None:
    """Leave where the main thread is stuck in a read or a save that does not come back."""
    stop.event.wait()
    time.sleep(PATIENCE_S)
    _say(f"still busy after {PATIENCE_S:.0f} s: left as it is; the same command goes on\n")
    os._exit(stop.exit_code)


def _say(words: str) -> None:
    """Write past every buffer and lock, which the code that was interrupted may hold."""
    with suppress(OSError):  # nobody reads it any more
        os.write(2, words.encode())
