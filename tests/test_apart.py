"""A process apart encodes what threads would, byte for byte, and its end harms nobody."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pytest
from conftest import ORDERS, orders_csv
from ledger import Ledger, delivered

from backfill import apart
from backfill.apart import Apart, encoder, here, is_possible
from backfill.batch import Encodings
from backfill.errors import BackfillError, ResumableError, SourceError
from backfill.launch import Settings, plan_of
from backfill.mapping import load_mapping
from backfill.marks import Legend
from backfill.pipeline import encodings
from backfill.reading import open_shard, spans
from backfill.slots import GoneError
from backfill.source import csv
from backfill.watermark import Watermark

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from conftest import Cli

    from backfill.plan import Plan

    Orders = Callable[..., Path]

pytestmark = pytest.mark.skipif(not is_possible(), reason="one core, or no fork: threads encode")

ROWS: Final = 60_000
NOTE: Final = "n" * 150
"""So many rows with it are more than a file that threads would encode."""

PEOPLE: Final = """\
version: 1
name: orders
source: {path: orders.csv}
messages:
  - type: identify
    userId: person
    traits: {"*": {columns: "*", except: [at]}, total: {column: total, type: number}}
"""

WAYS: Final = ["--rate", "unlimited", "--connections", "2", "--batch-messages", "1000"]


def planned(mapping: Path) -> Plan:
    """Plan a stream, with a legend as a run has it."""
    plan = plan_of(load_mapping(mapping), Settings()).hashed({})
    legend = Legend(plan.job.mapping.document.messages)
    return replace(plan, job=replace(plan.job, legend=legend))


def made(plan: Plan, encode: apart.Encode) -> list[Encodings]:
    """Encode all spans of a plan's files; what a way makes of one is kept as it came."""
    found: list[Encodings] = []
    for shard in plan.shards:
        mark = Watermark(plan.job.lanes)
        read = spans(open_shard(plan.job, shard), 0, None, plan.job.grouping)
        found += encode(plan.job, shard, read, mark)
    return found


def plainly(value: Any) -> Any:
    """Return a member of `Encodings` so that it can be compared."""
    match value:
        case np.ndarray():
            return value.tolist()
        case pa.Table():
            return value.to_pylist()
        case list():
            return [plainly(item) for item in value]
        case None | dict():
            return value
        case _:
            return [value.joined().to_pylist(), value.ends.tolist()]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make record batches small, so that a small file has many."""
    monkeypatch.setattr(csv, "BLOCK_BYTES", 4_000)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("mapping", [ORDERS, PEOPLE], ids=["track", "identify"])
def test_a_process_apart_makes_the_same_of_every_span(orders: Orders, mapping: str) -> None:
    path = orders(3_000, bad=range(0, 3_000, 7), mapping=mapping)
    mine, other = planned(path), planned(path)
    expected = made(mine, here)
    process = Apart(other.job)
    try:
        found = made(other, process.encoded)
    finally:
        process.close()
    assert len(found) == len(expected) > 20
    for one, same in zip(found, expected, strict=True):
        assert one.span.batch.equals(same.span.batch)
        for about in fields(Encodings):
            if about.name not in apart.HERE_ONLY:
                told, wanted = (plainly(getattr(e, about.name)) for e in (one, same))
                assert told == wanted, about.name
    assert mine.job.legend is not None
    assert other.job.legend is not None
    assert other.job.legend.names == mine.job.legend.names
    assert other.job.legend.traits == mine.job.legend.traits


def test_small_files_and_processes_of_others_are_encoded_in_threads(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(orders(10))
    for is_alone, least, is_apart in [(True, 1 << 20, False), (False, 0, False), (True, 0, True)]:
        monkeypatch.setattr(apart, "LEAST_BYTES", least)
        with encoder(plan, is_alone=is_alone) as encode:
            assert (encode is not here) == is_apart
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one core
    with encoder(plan, is_alone=True) as encode:
        assert encode is here


@pytest.mark.parametrize("call", ["memfd_create", "fork"])
def test_where_no_other_process_can_be_threads_encode(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refused(*_: Any) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(apart, "LEAST_BYTES", 0)
    monkeypatch.setattr(os, call, refused)
    with encoder(planned(orders(10)), is_alone=True) as encode:
        assert encode is here
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("small_parts")
def test_what_reading_raises_comes_after_the_spans_before_it(orders: Orders) -> None:
    plan = planned(orders(500))
    (shard,) = plan.shards

    def read() -> Iterator[Any]:
        for at, span in enumerate(spans(open_shard(plan.job, shard), 0, None, None)):
            if at == 2:
                raise SourceError("torn", where="orders.csv")
            yield span

    process = Apart(plan.job)
    try:
        found = process.encoded(plan.job, shard, read(), Watermark(plan.job.lanes))
        assert [next(found).span.start, next(found).span.start > 0] == [0, True]
        with pytest.raises(SourceError, match="torn"):
            next(found)
    finally:
        process.close()


class OddError(Exception):
    """Cannot be pickled: it is not made of its arguments alone."""

    def __init__(self, what: str, more: str) -> None:
        super().__init__(what + more)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            SourceError("no such page", where="a.csv", fix="look"),
            "a.csv: no such page\n  fix: look",
        ),
        (ZeroDivisionError("division by zero"), "division by zero"),
        (OddError("a", "b"), "ab"),
    ],
)
def test_what_encoding_raises_is_raised_here(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: str
) -> None:
    def failing(*_: Any) -> Encodings:
        raise fault

    monkeypatch.setattr(apart, "encodings", failing)
    plan = planned(orders(10))
    process = Apart(plan.job)
    try:
        with pytest.raises(type(fault)) as found:
            made(plan, process.encoded)
        assert str(found.value) == told
        assert found.traceback[-1].name == "failing", "its place in the code is told"
    finally:
        process.close()


def test_what_only_the_process_raises_is_told_by_its_kind(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mine, real = orders(10), os.getpid(), encodings

    def failing(*given: Any) -> Encodings:
        if os.getpid() != mine:
            raise OddError("a", "b")
        return real(*given)

    monkeypatch.setattr(apart, "encodings", failing)
    plan = planned(path)
    process = Apart(plan.job)
    try:
        with pytest.raises(BackfillError) as found:
            made(plan, process.encoded)
        assert str(found.value) == (
            f"{plan.shards[0].file.path}: encoding failed: OddError\n"
            "  fix: this is a fault of backfill: please report it"
        )
    finally:
        process.close()


def test_the_python_door_may_encode_apart_too(
    door: Callable[..., dict[str, Any]], orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Apart] = []

    def beginning(job: Any) -> Apart:
        begun.append(Apart(job))
        return begun[-1]

    monkeypatch.setattr(apart, "LEAST_BYTES", 0)
    monkeypatch.setattr(apart, "Apart", beginning)
    assert door(orders(30), is_alone=True)["rows"]["delivered"] == 30
    assert len(begun) == 1


def test_a_process_that_is_gone_is_told_of_in_words_and_leaves_no_zombie(orders: Orders) -> None:
    plan = planned(orders(10))
    process = Apart(plan.job)
    (child,) = children(os.getpid())
    os.kill(child, signal.SIGKILL)
    with pytest.raises(ResumableError) as found:
        made(plan, process.encoded)
    assert str(found.value) == (
        f"{plan.shards[0].file.path}: the process that encodes was killed (signal 9),"
        " as happens when memory runs out\n"
        "  fix: run the same command again; it goes on where it stopped"
    )
    process.close()
    process.close()
    assert children(os.getpid()) == []


def test_a_process_ends_in_peace_where_the_ends_of_children_are_ignored(orders: Orders) -> None:
    plan = planned(orders(10))
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # some supervisors leave it so
    try:
        process = Apart(plan.job)
        assert len(made(plan, process.encoded)) == 1
        process.close()
        gone = Apart(plan.job)
        (child,) = children(os.getpid())
        os.kill(child, signal.SIGKILL)
        with pytest.raises(ResumableError, match="the process that encodes ended"):
            made(plan, gone.encoded)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_closing_ends_a_process_that_is_busy_and_the_thread_that_reads_for_it(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "encodings", lambda *_: time.sleep(60))
    plan = planned(orders(10))
    process = Apart(plan.job)
    (shard,) = plan.shards
    (span,) = spans(open_shard(plan.job, shard), 0, None, None)
    sent = process.sent(shard, iter([span] * 9), Watermark(plan.job.lanes))
    for _ in range(apart.SPAN_SLOTS):
        next(sent)
    process.close()
    with pytest.raises(GoneError):
        next(sent)
    del process, sent
    gc.collect()
    assert children(os.getpid()) == []


# ---- the command


def children(pid: int) -> list[int]:
    """Return the processes that a process has begun."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(number) for number in (task / "children").read_text().split()]
    return found


def is_there(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(is_so: Callable[[], Any], running: subprocess.Popen[str] | None = None) -> Any:
    until_s = time.monotonic() + 30
    while not (found := is_so()):
        assert running is None or running.poll() is None, running.communicate()
        assert time.monotonic() < until_s, "it never came to that"
        time.sleep(0.005)
    return found


@pytest.fixture
def large(orders: Orders, tmp_path: Path) -> Path:
    """Write a file that a real command encodes apart, with its mapping."""
    path = orders()
    (tmp_path / "orders.csv").write_text(orders_csv(ROWS, note=NOTE))
    assert (tmp_path / "orders.csv").stat().st_size > apart.LEAST_BYTES
    return path


def begun(cli: Cli, ledger: Ledger, path: Path) -> tuple[subprocess.Popen[str], int]:
    """Begin a run; return it amid its requests, and its process that encodes."""
    running = cli.start("run", path.name, "--to", ledger.url, *WAYS)
    until(lambda: len(ledger.arrivals) > 3, running)
    (child,) = children(running.pid)
    return running, child


def check_complete(cli: Cli, ledger: Ledger, path: Path) -> None:
    """Run to the end and check that each row arrived, and what came twice with the same id."""
    done = cli("run", path.name, "--to", ledger.url, "--json", *WAYS)
    assert done.code == 0, done.err
    assert done.report["rows"]["delivered"] == ROWS
    texts: dict[str, str] = {}
    for sent in delivered(ledger.arrivals):
        assert texts.setdefault(sent.message_id, sent.text) == sent.text
    totals = {json.loads(text)["properties"]["total"] for text in texts.values()}
    assert totals == {n + 0.5 for n in range(ROWS)}


def test_a_run_whose_process_is_killed_stops_resumable_and_the_next_one_goes_on(
    cli: Cli, ledger: Ledger, large: Path
) -> None:
    ledger.latency_s = 0.05
    running, child = begun(cli, ledger, large)
    os.kill(child, signal.SIGKILL)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 4
    assert "Traceback" not in err
    assert err.rstrip().endswith(
        "the process that encodes was killed (signal 9), as happens when memory runs out\n"
        "  fix: run the same command again; it goes on where it stopped"
    ), out + err
    check_complete(cli, ledger, large)


def test_a_run_that_is_killed_takes_its_process_along_and_the_next_one_can_begin_at_once(
    cli: Cli, ledger: Ledger, large: Path
) -> None:
    ledger.latency_s = 0.05
    running, child = begun(cli, ledger, large)
    os.kill(child, signal.SIGSTOP)  # whatever the process is busy with, it holds no lock
    running.send_signal(signal.SIGKILL)
    running.communicate()
    check_complete(cli, ledger, large)
    os.kill(child, signal.SIGCONT)
    until(lambda: not is_there(child))


@pytest.fixture
def _a_closed_terminal_counts() -> Iterator[None]:
    """Under nohup SIGHUP would be ignored, as a run does on purpose."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_a_closed_terminal_counts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_drains_as_one_to_the_run(
    cli: Cli, ledger: Ledger, large: Path, number: signal.Signals
) -> None:
    ledger.latency_s = 0.05
    running, child = begun(cli, ledger, large)
    os.kill(child, number)  # as a terminal does with Ctrl-C
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == {signal.SIGINT: 130}.get(number, 143)
    assert "Traceback" not in err
    assert err.endswith("stopped by a signal; all is saved\n")
    assert not is_there(child)
    check_complete(cli, ledger, large)


def test_the_key_is_in_no_argument_of_the_process_and_it_has_no_file_open(
    cli: Cli, ledger: Ledger, large: Path
) -> None:
    ledger.latency_s = 0.05
    running, child = begun(cli, ledger, large)
    try:
        open_ones = [str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()]
        others = [
            name for name in open_ones if not name.startswith(("pipe:", "/memfd:", "/dev/null"))
        ]
        assert others == []
        assert b"secret" not in Path(f"/proc/{child}/cmdline").read_bytes()
    finally:
        running.kill()
        running.communicate()
