"""Signals and lost readers as a real process meets them: it drains, saves, says how to go on."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import termios
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ORDERS, Done
from ledger import Ledger, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli

    Orders = Callable[..., Path]

ROWS = 20
AT_ONCE_S = 2.0
"""Nothing is waited for; the rest is what a busy machine takes to end a process."""

GIB = 1 << 30


def command_to(ledger: Ledger, *more: object) -> list[str]:
    """Return the arguments of a run in small batches."""
    few = ["--batch-messages", "5", "--connections", "2"]
    return ["run", "orders.yaml", "--to", ledger.url, *few, *map(str, more)]


def until(is_so: Callable[[], Any], running: subprocess.Popen[str], timeout_s: float = 20) -> None:
    """Wait until it is so; a command that ends before it is shown with its words."""
    until_s = time.monotonic() + timeout_s
    while not is_so():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until_s, "it never came to that"
        time.sleep(0.01)


def stopped(running: subprocess.Popen[str], number: int, *, within_s: float) -> Done:
    """Send a signal and return how the command ended."""
    begun_s = time.monotonic()
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert time.monotonic() - begun_s < within_s
    assert "Traceback" not in err
    return Done(running.returncode, out, err)


@pytest.fixture(autouse=True)
def _a_closed_terminal_counts() -> Iterator[None]:
    """Under nohup these tests would inherit that SIGHUP is ignored, as a run does on purpose."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


GoesOn = Callable[..., None]


@pytest.fixture
def goes_on(
    cli: Cli, ledger: Ledger, door: Callable[..., dict[str, Any]], tmp_path: Path
) -> GoesOn:
    """Resume (with a command, or else in here, which is quicker) and check the books.

    They balance, and each row was delivered exactly once: what was drained is not sent again.
    """

    def resume(command: list[str] | None = None, rows: int = ROWS) -> None:
        ledger.answer, ledger.latency_s = (lambda _body: Reply()), 0.0
        if command is None:
            report = door(tmp_path / "orders.yaml", state=tmp_path / ".backfill")
        else:
            report = cli(*command, "--rate", "unlimited", "--json").report
        assert report["exit_code"] == 0, report
        assert report["resumed_from"] is not None
        told = report["rows"]
        assert (told["read"], told["delivered"], told["pending"]) == (rows, rows, 0)
        ids = [message["messageId"] for message in ledger.kept]
        assert (len(ids), len(set(ids))) == (rows, rows)

    return resume


# ---- the first signal


WAITS: dict[str, tuple[Reply, list[str], int]] = {
    "in backoff": (Reply(500, b""), [], signal.SIGINT),
    "in a Retry-After": (Reply(429, b"", (("Retry-After", "100"),)), [], signal.SIGTERM),
    "until the rate allows": (Reply(), ["--rate", "0.2"], signal.SIGINT),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_ends_a_wait_at_once_and_the_command_it_names_goes_on(
    cli: Cli, orders: Orders, ledger: Ledger, goes_on: GoesOn, wait: str
) -> None:
    reply, more, number = WAITS[wait]
    orders(ROWS)
    ledger.answer = lambda _body: reply
    command = command_to(ledger, *more)
    running = cli.start(*command)
    until(lambda: ledger.arrivals, running)
    time.sleep(0.3)
    done = stopped(running, number, within_s=AT_ONCE_S)
    assert done.code == 128 + number
    assert f"go on with: {shlex.join(['backfill', *command])}\n" in done.out
    assert done.err.endswith("stopped by a signal; all is saved\n")
    goes_on(command if wait == "in backoff" else None)


def test_the_terminal_that_closes_counts_as_sigterm_and_never_cuts_the_drain_short(
    cli: Cli, orders: Orders, ledger: Ledger, goes_on: GoesOn
) -> None:
    """A session that ends sends SIGHUP after SIGTERM, or twice: that is nobody's impatience."""
    orders(ROWS)
    ledger.latency_s = 1.0
    command = command_to(ledger, "--json")
    running = cli.start(*command)
    until(lambda: len(ledger.arrivals) == 2, running)
    running.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    done = stopped(running, signal.SIGHUP, within_s=4)
    assert done.code == done.report["exit_code"] == 143
    assert done.report["next_command"] == shlex.join(["backfill", *command])
    assert done.report["rows"]["delivered"] == 10, "the two answers under way were waited for"
    goes_on()


@pytest.mark.large
def test_nohup_means_that_a_closed_terminal_is_no_reason_to_stop(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    orders(ROWS)
    ledger.latency_s = 0.3
    command = [sys.executable, "-m", "backfill", *command_to(ledger)]
    running = subprocess.Popen(
        ["nohup", *command],
        cwd=cli.folder,
        env=cli.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: ledger.arrivals, running)
    done = stopped(running, signal.SIGHUP, within_s=20)
    assert done.code == 0, done.err
    assert len(ledger.kept) == ROWS


def test_a_signal_to_a_rehearsal_keeps_what_its_sandbox_received(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    orders(ROWS)
    command = ["run", "orders.yaml", "--to", "sandbox", "--batch-messages", "1"]
    running = cli.start(*command, "--rate", "8")
    path = tmp_path / ".backfill/orders/checkpoint.json"

    def is_under_way() -> bool:
        return path.exists() and json.loads(path.read_bytes())["counts"]["delivered"] > 0

    until(is_under_way, running)
    done = stopped(running, signal.SIGINT, within_s=4)
    assert done.code == 130
    assert "go on with: backfill run orders.yaml --to sandbox" in done.out
    done = cli(*command, "--rate", "unlimited", "--json")
    assert (done.code, done.report["rows"]["delivered"]) == (0, ROWS)
    assert json.loads(cli("sandbox", "show", "stats").out)["messages"] == {"track": ROWS}


def test_a_signal_while_a_large_source_is_hashed_ends_at_once(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    source = orders(ROWS).parent / "orders.csv"
    text = source.read_text()
    os.truncate(source, 64 * GIB)  # sparse: half a minute to hash, nothing on the disk
    command = command_to(ledger)
    running = cli.start(*command)
    until((tmp_path / ".backfill/orders/lock").exists, running)
    time.sleep(0.3)
    done = stopped(running, signal.SIGTERM, within_s=AT_ONCE_S)
    words = shlex.join(["backfill", *command])
    assert (done.code, done.out) == (143, "")
    assert done.err.endswith(
        f"stopped by a signal before anything was sent\n  fix: go on with: {words}\n"
    )
    assert ledger.arrivals == []
    source.write_text(text)
    assert cli(*command).code == 0
    assert len(ledger.kept) == ROWS


def test_check_ends_at_once_without_a_traceback(cli: Cli, orders: Orders) -> None:
    source = orders(1).parent / "orders.csv"
    source.write_text(source.read_text() + "1,p1,2020-01-02T03:04:05Z,1.5,\n" * 4_000_000)
    running = cli.start("check", "orders.yaml")
    time.sleep(1.2)
    assert running.poll() is None, "it is at work"
    done = stopped(running, signal.SIGINT, within_s=AT_ONCE_S)
    assert done == (130, "", "\nstopped\n")


@pytest.mark.large
def test_who_is_stuck_in_a_read_that_never_returns_leaves_all_the_same(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    source = orders(1).parent / "orders.csv"
    source.unlink()
    os.mkfifo(source)  # to be opened it waits for somebody who writes: nobody will
    running = cli.start(*command_to(ledger))
    time.sleep(2)
    begun_s = time.monotonic()
    done = stopped(running, signal.SIGTERM, within_s=28)
    assert time.monotonic() - begun_s > 24
    assert done.code == 143
    assert "still busy after 25 s: left as it is; the same command goes on\n" in done.err


# ---- the second signal


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.large)]
)
def test_a_second_signal_leaves_at_once_and_the_state_bears_it(
    cli: Cli, orders: Orders, ledger: Ledger, number: int
) -> None:
    orders(ROWS)
    ledger.latency_s = 4.0
    command = command_to(ledger)
    running = cli.start(*command)
    until(lambda: ledger.arrivals, running)
    running.send_signal(number)
    time.sleep(0.3)
    assert running.poll() is None, "it drains"
    assert stopped(running, number, within_s=1).code == 128 + number
    ledger.latency_s = 0.0
    done = cli(*command, "--rate", "unlimited", "--json")
    assert (done.code, done.report["rows"]["delivered"]) == (0, ROWS)
    texts = {sent.message_id: sent.text for sent in ledger.sent}
    assert len(texts) == ROWS
    assert set(ledger.sent) == set(texts.items()), "what was sent twice is the same"
    assert len(ledger.arrivals) <= ROWS / 5 + 4, "no more than what was under way is sent twice"


# ---- suspended


def test_a_run_that_was_suspended_makes_no_burst_when_it_goes_on(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    rate = 20
    orders(30)
    command = ["run", "orders.yaml", "--to", ledger.url, "--batch-messages", "1", "--rate", rate]
    running = cli.start(*command, "--json")
    until(lambda: len(ledger.arrivals) >= 5, running)
    running.send_signal(signal.SIGSTOP)
    time.sleep(1.3)
    running.send_signal(signal.SIGCONT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 0, out + err
    at = sorted(arrival.at_s for arrival in ledger.arrivals)
    assert max(b - a for a, b in pairwise(at)) > 1, "it was suspended"
    widest = max(bisect_right(at, first + 1) - n for n, first in enumerate(at))
    assert widest <= rate + 1 + 1, "one more than promised, since the way there takes its own time"


# ---- nobody reads what is said


def in_shell(cli: Cli, script: str, *arguments: object) -> Done:
    """Run `backfill`, which the script calls "$@", under bash."""
    command = [sys.executable, "-m", "backfill", *map(str, arguments)]
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "-", *command],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "script",
    [
        '"$@" | head -0',
        '"$@" >&- 2>&- <&-',
        '"$@" -v 2>&1 | true',
        pytest.param('"$@" --json | true', marks=pytest.mark.large),
    ],
)
def test_a_run_that_nobody_reads_is_done_to_its_end(
    cli: Cli, orders: Orders, ledger: Ledger, script: str
) -> None:
    mapping = orders(ROWS, bad={3})
    (mapping.parent / "two.yaml").write_text(ORDERS.replace("name: orders", "name: two"))
    # a retry is a line of -v that a sender writes
    ledger.answer = lambda _body: Reply(200 if ledger.arrivals else 503, b"")
    command = ["run", "orders.yaml", "two.yaml", "--to", ledger.url, "--batch-messages", "5"]
    done = in_shell(cli, script, *command)
    assert (done.code, done.err) == (3, "")
    assert len(ledger.kept) == 2 * (ROWS - 1)
    states = list(mapping.parent.glob(".backfill/*/checkpoint.json"))
    assert [json.loads(path.read_bytes())["is_finished"] for path in states] == [True, True]


@pytest.mark.parametrize(
    "arguments", [["check", "orders.yaml"], ["preview", "orders.yaml"], ["status"]]
)
def test_what_is_piped_into_head_ends_quietly(
    cli: Cli, orders: Orders, arguments: list[str]
) -> None:
    orders(3)
    done = in_shell(cli, '"$@" | head -0', *arguments)
    assert done == (0, "", "")


def test_a_report_that_finds_no_room_is_told_and_the_rows_are_sent_all_the_same(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    orders(ROWS)
    done = in_shell(cli, '"$@" > /dev/full', "run", "orders.yaml", "--to", ledger.url, "--json")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "stdout: cannot be written: No space left on device\n"
        "  fix: what was done is done and saved; `backfill status` tells it\n"
    )
    assert len(ledger.kept) == ROWS


def test_a_terminal_that_knows_no_arrow_is_told_the_rest(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    env = cli.environment(PYTHONIOENCODING="latin-1")
    done = cli("run", orders(ROWS).name, "--to", ledger.url, env=env)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"orders: {ROWS} rows read \\u2192 {ledger.url}\n")


def test_what_is_said_on_a_closed_stderr_is_in_no_file_of_the_state(
    cli: Cli, orders: Orders, ledger: Ledger, goes_on: GoesOn, tmp_path: Path
) -> None:
    """A file that is opened gets the lowest number that is free, and that would be 2."""
    orders(ROWS)
    ledger.latency_s = 0.5
    command = [sys.executable, "-m", "backfill", *command_to(ledger)]
    running = subprocess.Popen(
        ["bash", "-c", 'exec "$@" 2>&-', "-", *command],
        cwd=tmp_path,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: ledger.arrivals, running)
    assert stopped(running, signal.SIGTERM, within_s=4).code == 143
    files = [path for path in (tmp_path / ".backfill").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"stopping: waiting" in path.read_bytes()]
    goes_on()


def test_a_terminal_that_closes_under_the_progress_bar_stops_the_run_in_good_order(
    cli: Cli, orders: Orders, ledger: Ledger, goes_on: GoesOn, tmp_path: Path
) -> None:
    orders(200)
    ledger.latency_s = 0.1
    command = command_to(ledger, "--rate", 4)
    terminal, ours = os.openpty()
    termios.tcsetwinsize(ours, (24, 100))  # a terminal without columns has no room for a bar
    running = subprocess.Popen(
        [sys.executable, "-m", "backfill", *command],
        cwd=tmp_path,
        env=cli.environment(),
        stdin=ours,
        stdout=ours,
        stderr=ours,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  one system call
        text=True,
    )
    os.close(ours)
    shown = b""
    with suppress(OSError):
        while b"req/s" not in shown:
            shown += os.read(terminal, 10_000)
    assert running.poll() is None, shown
    os.close(terminal)
    assert running.wait(20) == 143
    goes_on(rows=200)
