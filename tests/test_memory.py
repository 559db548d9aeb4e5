"""Memory does not grow with the input: peak resident size of whole runs, all processes together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ledger import LedgerProcess

if TYPE_CHECKING:
    from conftest import Cli

MAPPING = """\
version: 1
name: wide
source: {path: SOURCE}
key: id
messages:
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: at
    properties: {total: {column: total, type: number}, city: city, note: note}
"""

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

LAUNCH = f"""
import os, subprocess, sys
sys.path.insert(0, {str(BENCHMARKS)!r})
from measure import wait_for
running = subprocess.Popen(sys.argv[1:], stdout=2)
_, together = wait_for(running.pid, 900, 0.1)
_, status, used = os.wait4(running.pid, 0)
print(os.waitstatus_to_exitcode(status), max(used.ru_maxrss, together // 1024))
"""
"""Says the exit code and the peak of all processes in KiB.

A small parent: a child's peak begins with the size of the process that it was forked from.
"""


def peak_mb(cli: Cli, folder: Path, rows: int) -> float:
    """Run so many rows against a ledger and return the peak resident size in MB."""
    source = folder / f"{rows}.csv"
    with source.open("w") as stream:
        stream.write("id,person,at,total,city,note\n")
        for first in range(0, rows, 10_000):
            stream.writelines(
                f"{n},p{n % 9973},2020-01-02T03:04:05Z,{n}.25,Edmonton,a note of some length {n}\n"
                for n in range(first, min(first + 10_000, rows))
            )
    mapping = folder / f"{rows}.yaml"
    mapping.write_text(MAPPING.replace("SOURCE", source.name))
    with LedgerProcess(folder / "ledger.log") as ledger:
        command = ["-m", "backfill", "run", mapping.name, "--to", ledger.url]
        command += ["--rate", "unlimited", "--state", f"state-{rows}"]
        done = subprocess.run(
            [sys.executable, "-c", LAUNCH, sys.executable, *command],
            cwd=folder,
            env=cli.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    (folder / "ledger.log").unlink()
    source.unlink()
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert f"{rows:,} rows read" in done.stderr
    return kilobytes / 1024


def test_three_times_the_rows_take_no_more_memory(cli: Cli, tmp_path: Path) -> None:
    small, large = (peak_mb(cli, tmp_path, rows) for rows in (200_000, 600_000))
    assert large <= 400
    assert large <= 1.25 * small


@pytest.mark.large
def test_millions_of_rows_take_no_more_memory(cli: Cli, tmp_path: Path) -> None:
    small, large = (peak_mb(cli, tmp_path, rows) for rows in (1_000_000, 3_000_000))
    sys.stdout.write(f"1M rows: {small:.0f} MB, 3M rows: {large:.0f} MB\n")
    assert large <= 400
    assert large <= 1.15 * small
