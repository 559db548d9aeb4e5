"""stdout and stderr that outlive whoever reads them: no run ends because `head` has seen enough."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, Final

STREAMS: Final = {1: "stdout", 2: "stderr"}


class _Outlet(io.FileIO):
    """A descriptor of ours; what nobody can be told any more goes nowhere.

    fault: what kept it from being written, but for a reader that went away: that is no fault.
    """

    fault: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            pass
        except OSError as fault:
            self.fault = fault
        _lead_nowhere(self.fileno())
        return len(memoryview(data))


_outlets: Final[dict[str, _Outlet]] = {}


def outlive_readers() -> None:
    """Make stdout and stderr bear a closed pipe, a full disk, a lost terminal and a closed start.

    For the main program alone. A descriptor that is closed at the start is opened on nothing, or
    the next file, which may be the checkpoint, would get its number and what is said on it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115  a descriptor
    for number, name in STREAMS.items():
        outlet = _outlets[name] = _Outlet(number, "w", closefd=False)
        before = getattr(sys, name)
        stream = io.TextIOWrapper(
            io.BufferedWriter(outlet),
            encoding=before.encoding if before else "utf-8",
            errors="backslashreplace",  # a terminal that knows no arrow gets the rest all the same
            line_buffering=number == 2 or outlet.isatty(),  # noqa: PLR2004  stderr
        )
        setattr(sys, name, stream)


def lost() -> str | None:
    """Return why a part of stdout could not be written, None where it is all there."""
    outlet = _outlets.get("stdout")
    return outlet.fault.strerror if outlet and outlet.fault else None


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
