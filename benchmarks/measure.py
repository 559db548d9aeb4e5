"""One process measured, and how quiet the machine was before it. Linux only."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from loopback import BenchmarkError

OUTPUT_SHOWN = 4000
LOOK_S = 1.0
"""How often the memory of several processes is looked at: it takes 14 ms, and holds them up."""

FIRST_LOOK_S = 0.6
BUSY_MAX = 0.08
"""Share of all cores that others may use on a machine that counts as quiet."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process took, from its start to its end, interpreter and imports included."""

    wall_s: float
    user_s: float
    system_s: float
    rss_bytes_max: int
    """Where it had processes of its own, of all of them together."""
    stolen: float = 0.0
    """Share of all cores that the host gave to others meanwhile, 0 to 1."""
    output: str = field(default="", repr=False)
    """What it printed, both streams; not part of the figures."""

    @property
    def cpu_s(self) -> float:
        """User and system time of all its threads."""
        return self.user_s + self.system_s


@dataclass(frozen=True, slots=True)
class Quiet:
    """How quiet the machine was at one moment."""

    loop_s: float
    """Wall time of a fixed loop: what one core is worth right now."""
    busy: float
    """Share of all cores that others used while we slept, 0 to 1."""


def measure(
    command: list[str],
    *,
    name: str,
    cwd: Path,
    env: dict[str, str],
    timeout_s: float,
    look_s: float = LOOK_S,
) -> Usage:
    """Run a command to its end and say what it took.

    Raises BenchmarkError with the end of its output when it fails or takes longer than timeout_s.

    Of several processes what they share is counted once (proportional set size), looked at every
    look_s: a peak shorter than that may be missed.

    The kernel counts our own memory into the child's peak, as the child is us until it execs: so
    the process that calls this must stay smaller than whatever it measures (no numpy, no pyarrow).
    """
    with TemporaryFile() as output:
        started_s, ticks = time.perf_counter(), _cpu_ticks()
        child = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=output, stderr=output, start_new_session=True
        )
        try:
            is_done, together = wait_for(child.pid, timeout_s, look_s)
        finally:
            wall_s, stolen = time.perf_counter() - started_s, _stolen(ticks, _cpu_ticks())
            _kill_group(child.pid)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    said = text[-OUTPUT_SHOWN:].strip() or "(no output)"
    if not is_done:
        raise BenchmarkError(f"{name} was not done after {timeout_s:.0f} s; it said:\n{said}")
    if child.returncode:
        raise BenchmarkError(f"{name} ended with exit code {child.returncode}; it said:\n{said}")
    peak = max(used.ru_maxrss * 1024, together)
    return Usage(wall_s, used.ru_utime, used.ru_stime, peak, stolen, text)


def wait_for(pid: int, timeout_s: float, look_s: float) -> tuple[bool, int]:
    """Wait for the end of a child without reaping it; False when it takes too long.

    The number is the most bytes that it and its own processes were seen to have, 0 if it had none.
    """
    until_s = time.monotonic() + timeout_s
    handle, most = os.pidfd_open(pid), 0
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        wait_s = min(look_s, FIRST_LOOK_S)
        while not (is_done := bool(poll.poll(wait_s * 1000))) and time.monotonic() < until_s:
            wait_s = look_s
            if len(family := _family(pid)) > 1:
                most = max(most, sum(map(_share_of, family)))
        return is_done, most
    finally:
        os.close(handle)


def _family(pid: int) -> list[int]:
    """Return a process and those that it and they have begun."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text("ascii").split():
                found += _family(int(child))
    return found


def _share_of(pid: int) -> int:
    """Return the bytes of a process; what it shares with others, by how many they are."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _kill_group(pid: int) -> None:
    """End the child's group: itself when it is late, and whatever it left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@dataclass
class Patience:
    """Waits for a quiet moment before a run, but not for ever."""

    once_s: float
    """At most before one run."""
    left_s: float
    """And in all: a machine that is never quiet must not make a benchmark endless."""

    def quiet(self) -> Quiet:
        """Wait until others use less than BUSY_MAX, or patience ends; say how quiet it is then."""
        started_s = time.monotonic()
        until_s = started_s + min(self.once_s, self.left_s)
        busy = _busy()
        while busy > BUSY_MAX and time.monotonic() < until_s:
            busy = _busy()
        self.left_s -= max(time.monotonic() - started_s - 0.3, 0)  # the first look is no waiting
        return Quiet(_loop_s(), busy)


def _busy() -> float:
    """Return which share of all cores others use while this process sleeps for 0.2 s."""
    before = _cpu_ticks()
    time.sleep(0.2)
    after = _cpu_ticks()
    total = sum(after) - sum(before)
    idle = sum(after[3:5]) - sum(before[3:5])  # idle and iowait
    return 1 - idle / total if total else 0.0


def _stolen(before: list[int], after: list[int]) -> float:
    """Return the share of the last kind of ticks: what a virtual machine wanted and did not get."""
    total = sum(after) - sum(before)
    return (after[-1] - before[-1]) / total if total else 0.0


def _loop_s() -> float:
    """Return the wall time of a fixed loop (about 0.1 s)."""
    started_s = time.perf_counter()
    value = 1
    for _ in range(1_000_000):
        value = value * 48_271 % 2_147_483_647
    assert value > 0
    return time.perf_counter() - started_s


def _cpu_ticks() -> list[int]:
    """Clock ticks of all cores by kind: user, nice, system, idle, iowait, irq, softirq, steal."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        return [int(ticks) for ticks in file.readline().split()[1:9]]
