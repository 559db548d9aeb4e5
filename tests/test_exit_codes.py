"""Each way to end, as a scheduler hears of it: the real command, its exit code, its exact words."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from socket import create_server
from typing import TYPE_CHECKING

import pytest
from ledger import HOST, Ledger, Reply
from test_wire import certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Cli, Done

    Orders = Callable[..., Path]

QUICK = ["--rate", "unlimited"]


def rows_of(done: Done) -> dict[str, int]:
    """Return the rows of a report that are not none."""
    return {name: count for name, count in done.report["rows"].items() if count}


# ---- 12: the destination


@pytest.mark.parametrize(
    "statuses",
    [[403, 422, 501], pytest.param([307, 308, 404, 405, 410, 415], marks=pytest.mark.large)],
)
def test_a_status_that_no_retry_can_mend_is_12_after_one_request(
    cli: Cli, orders: Orders, statuses: list[int]
) -> None:
    orders(10)
    check = "check the address given with --to, and proxies on the way"

    def ended(status: int) -> tuple[int, int, dict[str, int], str]:
        with Ledger(lambda _body: Reply(status, b'{"error":"not here"}')) as ledger:
            done = cli("run", "orders.yaml", "--to", ledger.url, "--state", f"s{status}", "--json")
        return done.code, len(ledger.arrivals), rows_of(done), done.err.replace(ledger.url, "URL")

    def expected(status: int) -> tuple[int, int, dict[str, int], str]:
        what = f"URL: answered {status}: not here\n  fix: {check}\n"
        if status == 403:
            what = (
                "URL: refused the key (403: not here)\n"
                "  fix: check the write key and its region (--to us | eu)\n"
            )
        return 12, 1, {"read": 10, "pending": 10}, what

    with ThreadPoolExecutor(3) as pool:
        assert dict(zip(statuses, pool.map(ended, statuses), strict=True)) == {
            status: expected(status) for status in statuses
        }


@contextmanager
def distrusted(folder: Path) -> Iterator[str]:
    """Serve TLS with a certificate that nobody signed."""
    key, cert = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def serve() -> None:
        with suppress(OSError):
            while True:
                conn, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(conn, server_side=True) as tls:
                    tls.recv(1)

    with create_server((HOST, 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"https://{HOST}:{listener.getsockname()[1]}"


def test_a_certificate_that_is_not_trusted_is_12_and_there_is_no_way_around_it(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    orders(10)
    with distrusted(tmp_path) as url:
        done = cli("run", "orders.yaml", "--to", url, "--json")
    assert done.code == 12
    assert done.err.startswith(f"{url}: the connection cannot be trusted: ")
    assert done.err.endswith("\n  fix: check the address given with --to, and proxies on the way\n")
    assert rows_of(done) == {"read": 10, "pending": 10}


# ---- 4: later


def test_an_outage_is_4_within_its_time_and_the_same_command_goes_on(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    orders(30)
    ledger.answer = lambda _body: Reply(200 if not ledger.arrivals else 503, b"")
    command = ["run", "orders.yaml", "--to", ledger.url, "--batch-messages", "10", *QUICK]
    command += ["--connections", "1", "--max-outage", "2", "--json"]
    done = cli(*command)
    assert done.code == 4
    assert rows_of(done) == {"read": 30, "delivered": 10, "pending": 20}
    fix = "run the same command again later; it goes on where it stopped"
    assert done.err.startswith(f"{ledger.url}: nothing was delivered for ")
    assert done.err.endswith(f" s (answered 503)\n  fix: {fix}\n")
    lasted_s = ledger.arrivals[-1].at_s - ledger.arrivals[1].at_s
    assert lasted_s <= 2, "no longer than it was given"
    ledger.answer = lambda _body: Reply()
    again = cli(*command)
    assert (again.code, rows_of(again)) == (0, {"read": 30, "delivered": 30})
    assert len({sent.message_id for sent in ledger.sent}) == len(ledger.sent) == 30


# ---- 5: too many


def test_a_share_of_rejects_is_5_and_a_higher_one_goes_on(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    orders(3000, bad=range(0, 3000, 4))
    command = ["run", "orders.yaml", "--to", ledger.url, "--batch-messages", "500", *QUICK]
    done = cli(*command, "--max-rejects", "10%", "--json")
    count = done.report["rows"]["rejected"]
    where = done.report["rejects"]
    assert done.code == 5
    assert count >= 250, "a share counts when 1,000 rows are settled"
    assert done.err == (
        f"{where}: {count} rows are rejected, more than --max-rejects 10%\n"
        "  fix: read the reasons there; the same command with a higher limit goes on\n"
    )
    again = cli(*command, "--max-rejects", "25%", "--json")
    assert again.code == 3
    assert rows_of(again) == {"read": 3000, "delivered": 2250, "rejected": 750}
    assert len({sent.message_id for sent in ledger.sent}) == len(ledger.sent) == 2250


# ---- 13: the state


def test_a_damaged_state_is_13_and_the_one_before_it_only_where_that_is_said(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    orders(40)
    command = ["run", "orders.yaml", "--to", ledger.url, "--batch-messages", "5", *QUICK]
    assert cli(*command, "--limit", "20").code == 0
    path = tmp_path / ".backfill/orders/checkpoint.json"
    path.write_bytes(path.read_bytes()[:-30])
    sent = len(ledger.arrivals)
    done = cli(*command)
    assert (done.code, done.out) == (13, "")
    assert done.err == (
        ".backfill/orders/checkpoint.json: the checkpoint is damaged: it is cut short, or no"
        " checkpoint\n  fix: run with --use-previous to go on from the state before it, or"
        " --restart to send all again\n"
    )
    assert len(ledger.arrivals) == sent
    again = cli(*command, "--use-previous", "--json")
    assert (again.code, rows_of(again)) == (0, {"read": 40, "delivered": 40})
    texts = {one.message_id: one.text for one in ledger.sent}
    assert len(texts) == 40
    assert set(ledger.sent) == set(texts.items()), "what was sent twice is the same"


# ---- --restart asks


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130)])
def test_restart_asks_on_a_terminal_and_a_no_leaves_everything_as_it_is(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path, answer: str, code: int
) -> None:
    command = ["run", orders(10).name, "--to", ledger.url]
    assert cli(*command).code == 0
    state = tmp_path / ".backfill/orders/checkpoint.json"
    before = state.read_bytes()
    terminal, ours = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "backfill", *command, "--restart"],
        cwd=tmp_path,
        env=cli.environment(),
        stdin=ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(ours)
    time.sleep(0.3)
    os.write(terminal, f"{answer}\n".encode())
    out, err = running.communicate(timeout=30)
    os.close(terminal)
    question = "forget the checkpoint of orders and send all rows again? [y/N]: "
    assert question in out + err
    assert running.returncode == code, out + err
    assert len(ledger.arrivals) == (2 if answer == "y" else 1)
    if answer == "n":
        assert state.read_bytes() == before
        assert err.endswith("stopped\n")
