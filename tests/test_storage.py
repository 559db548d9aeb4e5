"""The disk fails, fills, lies and loses power; several runs want the same state: the books hold."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import orders_csv
from filelock import FileLock
from ledger import Ledger, Reply
from powercut import Image, PowerCut

from backfill.checkpoint import State, Store
from backfill.errors import LockedError
from backfill.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from conftest import Cli

    Door = Callable[..., dict[str, Any]]
    Orders = Callable[..., Path]

ROWS = 60
BATCH = 5
WINDOW = 2
HOW: dict[str, Any] = {"connections": WINDOW // 2, "batch_messages": BATCH}
OPTIONS = ["--rate", "unlimited", "--connections", WINDOW // 2, "--batch-messages", BATCH]


@pytest.fixture
def mixed(orders: Orders) -> Path:
    """Orders of which every fifth is rejected and every fifth is held for being new."""
    mapping = orders(ROWS, bad=range(1, ROWS, 5))
    source = mapping.parent / "orders.csv"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = source.read_text().splitlines()
    for row in range(2, ROWS, 5):
        lines[row + 1] = lines[row + 1].replace("2020-01-02T03:04:05Z", now)
    source.write_text("\n".join(lines) + "\n")
    return mapping


def told_rows(path: Path) -> list[int]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [int(row["_row"]) - 2 for row in csv.DictReader(stream)]


def check_books(state: Path, ledger: Ledger, report: dict[str, Any]) -> None:
    """Check that a run is as one that nothing disturbed, but for what was in flight."""
    assert report["exit_code"] == 3
    assert report["rows"] == {
        "read": ROWS,
        "delivered": ROWS * 3 // 5,
        "filtered": 0,
        "held": ROWS // 5,
        "rejected": ROWS // 5,
        "unchanged": 0,
        "pending": 0,
    }
    texts: dict[str, str] = {}
    for sent in ledger.sent:
        assert texts.setdefault(sent.message_id, sent.text) == sent.text
    assert len(texts) == ROWS * 3 // 5
    assert len(ledger.sent) - len(texts) <= WINDOW * BATCH
    folder = state / "orders/runs" / report["run_id"]
    assert sorted(told_rows(folder / "rejects.csv")) == list(range(1, ROWS, 5))
    assert sorted(told_rows(folder / "held.csv")) == list(range(2, ROWS, 5))
    written = json.loads((folder / "report.json").read_bytes())
    assert (written["exit_code"], written["rows"]) == (3, report["rows"])
    store = Store(state, "orders")
    found = store.load()
    assert found is not None
    assert found.is_finished


# ---- one writer


def compete(cli: Cli, count: int) -> None:
    """Start runs at once; what the winner sends is answered when the others have ended."""
    is_over = threading.Event()

    def answer(_: bytes) -> Reply:
        assert is_over.wait(25)
        return Reply()

    with Ledger(answer) as ledger:
        command = ["run", "orders.yaml", "--to", ledger.url, "--restart", "--yes"]
        running = [cli.start(*command) for _ in range(count)]
        until_s = time.monotonic() + 25
        while sum(one.poll() is None for one in running) > 1 and time.monotonic() < until_s:
            time.sleep(0.02)
        winners = [one for one in running if one.poll() is None]
        is_over.set()
        words = {one.pid: one.communicate(timeout=60)[1] for one in running}
    assert len(winners) == 1
    assert winners[0].returncode == 0, words
    assert len(ledger.kept) == 12
    for one in running:
        if one is not winners[0]:
            assert one.returncode == 11, words[one.pid]
            assert f"stream: process {winners[0].pid} on " in words[one.pid]


def test_of_eight_runs_that_start_at_once_one_wins_and_the_others_say_which(
    cli: Cli, orders: Orders
) -> None:
    orders(12)
    compete(cli, 8)
    assert not (cli.folder / ".backfill/orders/holder.json").exists()


@pytest.mark.large
def test_of_many_rounds_of_runs_that_start_at_once_one_wins_each(cli: Cli, orders: Orders) -> None:
    orders(12)
    for _ in range(20):
        compete(cli, 8)


def test_a_holder_that_sleeps_still_holds_and_a_killed_one_does_not(
    cli: Cli, orders: Orders
) -> None:
    orders(12)
    with Ledger(latency_s=0.3) as ledger:
        command = ["run", "orders.yaml", "--to", ledger.url, "--batch-messages", "1"]
        first = cli.start(*command)
        until_s = time.monotonic() + 30
        while not ledger.arrivals and time.monotonic() < until_s:
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        second = cli(*command)
        assert second.code == 11
        assert f"process {first.pid} on " in second.err
        first.send_signal(signal.SIGKILL)
        first.communicate()
        ledger.latency_s = 0.0
        assert (cli.folder / ".backfill/orders/holder.json").exists()
        third = cli(*command, "--rate", "unlimited")
    assert third.code == 0, third.err
    assert {m["messageId"] for m in ledger.kept} == {s.message_id for s in ledger.sent}
    assert len({m["messageId"] for m in ledger.kept}) == 12


def test_who_holds_the_lock_is_written_for_the_owner_alone(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    path = store.folder / "holder.json"
    told = json.loads(path.read_bytes())
    assert set(told) == {"host", "pid", "since"}
    assert told["pid"] == os.getpid()
    assert path.stat().st_mode & 0o777 == 0o600
    store.unlock()
    assert [one.name for one in store.folder.iterdir()] == ["lock"]


def refusal(tmp_path: Path) -> str:
    with pytest.raises(LockedError) as caught:
        Store(tmp_path, "orders").lock()
    return caught.value.what


def test_a_holder_that_is_dead_is_never_shown(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    # the words of one that was killed; its process number is even in use again
    told = {"host": "box", "pid": os.getpid(), "since": "2026-11-22T00:00:00Z"}
    (folder / "holder.json").write_text(json.dumps(told))
    with FileLock(folder / "lock"):
        assert refusal(tmp_path) == "another run holds this stream"


@pytest.mark.parametrize(
    "words",
    [b"", b"{", b"\0" * 80, b'{"pid": 1}', b"\xff"],
    ids=["empty", "cut", "NULs", "no host", "no text"],
)
def test_a_holder_whose_words_are_cut_short_is_not_named(tmp_path: Path, words: bytes) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    with FileLock(folder / "lock"), (folder / "holder.json").open("wb") as stream:
        stream.write(words)
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert refusal(tmp_path) == "another run holds this stream"


# ---- a disk that is full or broken


class Faults:
    """From the n-th on, calls of one kind on files of one name fail, as a broken disk's do."""

    def __init__(self, case: tuple[str, str, int], number: int) -> None:
        """case: call, name, n."""
        self._wanted = case[:2]
        self._left = case[2]
        self._number = number

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the disk fail from now on."""
        for name, at in (("open", 0), ("fsync", 0), ("replace", 1), ("link", 1), ("write", 0)):
            monkeypatch.setattr(os, name, self._wrapped(name, at))
        for module in ("durable", "rejects"):
            monkeypatch.setattr(f"backfill.{module}.open", self._opened, raising=False)

    def _wrapped(self, name: str, at: int) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*given: Any, **how: Any) -> Any:
            self.meet(name, given[at])
            return real(*given, **how)

        return call

    def meet(self, call: str, given: Any) -> None:
        """Raise where this call is one that fails. given: a path or a descriptor."""
        if isinstance(given, int):
            given = Path(f"/proc/self/fd/{given}").readlink()
        if (call, Path(given).name) == self._wanted:
            self._left -= 1
            if self._left <= 0:
                raise OSError(self._number, os.strerror(self._number), str(given))

    def _opened(self, descriptor: int, mode: str) -> Any:
        return _Stream(open(descriptor, mode, buffering=0), self)


class _Stream:
    """A stream whose writes may fail in the middle."""

    def __init__(self, stream: Any, faults: Faults) -> None:
        self._stream = stream
        self._faults = faults

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, data: bytes) -> None:
        self._stream.write(bytes(data)[: len(data) // 2])
        self._faults.meet("write", self._stream.fileno())
        self._stream.write(bytes(data)[len(data) // 2 :])

    def writelines(self, lines: list[bytes]) -> None:
        self.write(b"".join(lines))

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        found: int = self._stream.fileno()
        return found


NUMBERS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
PART = "checkpoint.json.tmp"
START = [
    ("open", "lock", 1),
    ("fsync", "state", 1),
    ("open", PART, 1),
    ("write", PART, 1),
    ("fsync", PART, 1),
    ("replace", "checkpoint.json", 1),
    ("fsync", "orders", 1),
    ("fsync", "runs", 1),
]
MIDWAY = [
    ("open", PART, 2, "checkpoint.json"),
    ("write", PART, 3, "checkpoint.json"),
    ("fsync", PART, 2, "checkpoint.json"),
    ("link", "checkpoint.json.prev.tmp", 1, "checkpoint.json"),
    ("replace", "checkpoint.json.prev", 2, "checkpoint.json"),
    ("replace", "checkpoint.json", 3, "checkpoint.json"),
    ("fsync", "orders", 4, "checkpoint.json"),
    ("open", "rejects.csv", 1, "rejects.csv"),
    ("open", "rejects.csv", 2, "rejects.csv"),
    ("write", "rejects.csv", 1, "rejects.csv"),
    ("write", "rejects.csv", 2, "rejects.csv"),
    ("fsync", "rejects.csv", 1, "rejects.csv"),
    ("fsync", "rejects.csv", 2, "rejects.csv"),
    ("open", "held.csv", 1, "held.csv"),
    ("write", "held.csv", 2, "held.csv"),
    ("fsync", "held.csv", 1, "held.csv"),
    ("open", "report.json.tmp", 1, "report.json"),
    ("write", "report.json.tmp", 1, "report.json"),
    ("fsync", "report.json.tmp", 1, "report.json"),
    ("replace", "report.json", 1, "report.json"),
]


def spread(cases: list[Any]) -> list[Any]:
    """Give each case one of the faults in turn; all four are for the large tests."""
    found = []
    for at, case in enumerate(cases):
        for shift, number in enumerate(NUMBERS):
            marks = [] if (at + shift) % len(NUMBERS) == 0 else [pytest.mark.large]
            name = "-".join(map(str, [*case[:3], errno.errorcode[number]]))
            found.append(pytest.param(case, number, marks=marks, id=name))
    return found


@pytest.mark.parametrize(("case", "number"), spread(START))
def test_a_state_that_cannot_be_written_at_the_start_is_said_before_anything_is_sent(
    mixed: Path,
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    case: Any,
    number: int,
) -> None:
    with monkeypatch.context() as patch:
        Faults(case, number).patch(patch)
        report = door(mixed, **HOW)
    assert (report["exit_code"], ledger.arrivals) == (2, [])
    state = mixed.parent / "state"
    assert report["error"]["what"] == f"the state folder cannot be written: {os.strerror(number)}"
    assert report["error"]["where"] == str(state / "orders")
    check_books(state, ledger, door(mixed, **HOW))


@pytest.mark.parametrize(("case", "number"), spread(MIDWAY))
def test_a_disk_that_fails_midway_stops_the_run_and_the_same_command_goes_on(
    mixed: Path,
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    case: Any,
    number: int,
) -> None:
    state = mixed.parent / "state"
    with monkeypatch.context() as patch:
        Faults(case[:3], number).patch(patch)
        report = door(mixed, **HOW)
    assert report["exit_code"] == 4
    error = report["error"]
    assert error["what"] == f"the state cannot be saved: {os.strerror(number)}"
    assert Path(error["where"]).name == case[3]
    assert error["fix"] == f"make room (or mend the disk) and go on with: backfill run {mixed}"
    store = Store(state, "orders")
    found = store.load()
    assert found is not None
    assert not found.is_finished
    assert found.counts.delivered <= len({s.message_id for s in ledger.sent})
    for name in ("rejects", "held"):  # none torn, none that is not counted unless its save failed
        path = state / f"orders/runs/{found.run_id}/{name}.csv"
        if found.lengths.get(name):
            assert path.read_bytes()[: found.lengths[name]].endswith(b"\n")
        if case[3].startswith(name):
            assert (path.stat().st_size if path.exists() else 0) == found.lengths.get(name, 0)
    check_books(state, ledger, door(mixed, **HOW))


@pytest.mark.parametrize(
    "case", [("open", 1), ("write", 1), ("write", 2)], ids=["open", "first", "last"]
)
def test_a_log_that_cannot_be_written_stops_no_run_but_is_said(
    mixed: Path,
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    case: tuple[str, int],
) -> None:
    state = mixed.parent / "state"
    with monkeypatch.context() as patch:
        Faults((case[0], "log.jsonl", case[1]), errno.ENOSPC).patch(patch)
        report = door(mixed, **HOW)
    check_books(state, ledger, report)
    log = state / f"orders/runs/{report['run_id']}/log.jsonl"
    assert capfd.readouterr().err == (
        f"{log}: the log cannot be written: No space left on device; the run goes on without\n"
    )


def test_a_log_on_a_screen_that_is_gone_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115  closing it fails too
    with pytest.raises(OSError, match="No space"):
        print("x", file=full, flush=True)
    monkeypatch.setattr(sys, "stderr", full)
    log = Log(tmp_path / "log.jsonl", echo="text")
    log.note("start", {"path": "a\udce9.csv"})
    log.close()
    monkeypatch.undo()
    with suppress(OSError):
        full.close()
    assert json.loads((tmp_path / "log.jsonl").read_bytes())["path"] == "a\udce9.csv"


def test_a_state_that_cannot_be_forgotten_is_said(
    mixed: Path, door: Door, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert door(mixed, limit=9, **HOW)["exit_code"] == 3
    sent = len(ledger.arrivals)

    def refuse(path: Any, **_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        report = door(mixed, restart=True)
    assert (report["exit_code"], len(ledger.arrivals)) == (2, sent)
    assert report["error"] == {
        "what": "the state folder cannot be written: Read-only file system",
        "where": str(mixed.parent / "state/orders"),
        "fix": "make room there, or correct its permissions; another --state would send all again",
    }
    check_books(mixed.parent / "state", ledger, door(mixed, **HOW))


def broken(*_: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    "case",
    [
        ("write", "rejects.arrows", 1),
        ("write", "rejects.arrows", 2),
        ("write", "rejects.arrows", 2, "and it cannot be cut back"),
        ("fsync", "rejects.arrows", 2),
        ("write", "rejects.parquet.tmp", 1),
        ("fsync", "rejects.parquet.tmp", 1),
    ],
    ids=str,
)
def test_dead_letters_of_a_parquet_source_bear_a_full_disk(
    orders: Orders,
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    case: Any,
) -> None:
    mapping = orders(0)
    mapping.write_text(mapping.read_text().replace("orders.csv", "orders.parquet"))
    columns = list(csv.DictReader(io.StringIO(orders_csv(ROWS, bad=range(1, ROWS, 5)))))
    pq.write_table(pa.Table.from_pylist(columns), mapping.parent / "orders.parquet")
    with monkeypatch.context() as patch:
        Faults(case[:3], errno.ENOSPC).patch(patch)
        if case[3:]:
            patch.setattr(os, "ftruncate", broken)
        report = door(mapping, **HOW)
    assert report["exit_code"] == 4
    assert report["error"]["what"] == "the state cannot be saved: No space left on device"
    report = door(mapping, **HOW)
    assert (report["exit_code"], report["rows"]["rejected"]) == (3, ROWS // 5)
    rows = pq.read_table(report["rejects"])["_row"].to_pylist()
    assert [row - 1 for row in rows] == list(range(1, ROWS, 5))
    assert len({sent.message_id for sent in ledger.sent}) == ROWS - ROWS // 5


def test_a_file_system_without_hard_links_keeps_the_state_before_too(
    mixed: Path, door: Door, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any, target: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(target))

    monkeypatch.setattr(os, "link", refuse)
    state = mixed.parent / "state"
    check_books(state, ledger, door(mixed, **HOW))
    before = Store(state, "orders").load(use_previous=True)
    assert before is not None
    assert not before.is_finished
    assert before.counts.settled == ROWS


STRACE = shutil.which("strace")
TRACED = [
    ("write", "checkpoint.json.tmp", 3, "ENOSPC", "checkpoint.json"),
    ("fsync", "rejects.csv", 2, "EIO", "rejects.csv"),
    ("openat", "checkpoint.json.tmp", 4, "EROFS", "checkpoint.json"),
    ("rename", "checkpoint.json.tmp", 3, "EACCES", "checkpoint.json"),
    ("write", "held.csv", 1, "ENOSPC", "held.csv"),
    ("write", "report.json.tmp", 1, "ENOSPC", "report.json"),
]


@pytest.mark.skipif(STRACE is None, reason="strace is not on this machine")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.large] if at > 1 else [])
        for at, case in enumerate(TRACED)
    ],
    ids=str,
)
def test_a_system_call_that_fails_ends_the_real_command_resumable(
    mixed: Path, cli: Cli, ledger: Ledger, case: tuple[str, str, int, str, str]
) -> None:
    call, name, nth, number, told = case
    state = cli.folder / "state"
    command = ["run", mixed.name, "--to", ledger.url, "--state", str(state), *map(str, OPTIONS)]
    # the run's folder has a name that nobody knows before, so the state is begun without a fault
    begun = cli(*command, "--limit", "1")
    assert begun.code == 0, begun.err
    run = next((state / "orders/runs").iterdir())
    path = (run if (name.startswith(("rejects", "held", "report"))) else state / "orders") / name
    assert STRACE is not None
    inject = [STRACE, "-f", "-o", "/dev/null", "-P", str(path)]
    inject += ["-e", f"inject={call}:error={number}:when={nth}+"]
    done = subprocess.run(
        [*inject, sys.executable, "-m", "backfill", *command],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr[:200]}")
    assert done.returncode == 4, done.stderr
    why = os.strerror(getattr(errno, number))
    assert re.search(rf"{re.escape(told)}: the state cannot be saved: {why}\n", done.stderr)
    assert f"go on with: backfill {' '.join(command)}\n" in done.stderr
    assert "Traceback" not in done.stderr
    check_books(state, ledger, cli(*command, "--json").report)


# ---- the power fails


def test_a_power_cut_at_any_moment_leaves_the_old_state_or_the_new_with_its_dead_letters(
    mixed: Path, door: Door, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    saved: list[bytes | None] = [None, None]
    """The state that is durable, and the one that is being saved."""
    seen: set[Any] = set()

    def check(images: Iterator[Image]) -> None:
        for image in images:
            outcome = (tuple(saved), *sorted((k, v) for k, v in image.items() if v is not None))
            if outcome in seen:
                continue
            seen.add(outcome)
            check_image(image, saved, tmp_path / f"images/{len(seen)}")

    cut = PowerCut(tmp_path / "state", check)
    real = Store.save

    def save(store: Store, found: State) -> None:
        saved[1] = found.dump()
        real(store, found)
        saved[0] = saved[1]
        cut.cut()

    monkeypatch.setattr(Store, "save", save)
    (tmp_path / "images").mkdir()
    state.mkdir()
    with monkeypatch.context() as patch:
        cut.patch(patch)
        report = door(mixed, **HOW)
    cut.close()
    check_books(state, ledger, report)
    assert cut.moments > 100
    assert len(seen) > 1000, "the cuts must have meant something"


def check_image(image: Image, saved: list[bytes | None], folder: Path) -> None:
    """Load what a cut left, with the code that a resume has."""
    state = image.get("orders/checkpoint.json")
    if state is None:  # that nothing is loaded from no file needs no disk
        assert saved[0] is None, "a state that was saved is gone"
        assert "orders/checkpoint.json.prev" not in image
        return
    assert state in saved, "neither the old state nor the new"
    (folder / "orders").mkdir(parents=True)
    (folder / "orders/checkpoint.json").write_bytes(state)
    found = Store(folder, "orders").load()
    shutil.rmtree(folder)
    assert found is not None
    for name in ("rejects", "held"):
        length = found.lengths.get(name, 0)
        dead = image.get(f"orders/runs/{found.run_id}/{name}.csv") or b""
        rows = dead[:length].decode().splitlines()[1:]
        told = found.counts.rejected if name == "rejects" else found.counts.held
        assert len(dead) >= length, f"{name} that are counted are gone"
        assert len(rows) == told
        assert all("\0" not in row for row in rows)
