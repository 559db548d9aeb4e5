"""The state: swapped whole, checked before the first request, one writer, never a silent start."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from ledger import Ledger

from backfill import checkpoint
from backfill.checkpoint import FileState, State, Store, unwritable
from backfill.errors import LockedError, MismatchError, UsageError
from backfill.shard import Counts
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Cli

    Door = Callable[..., dict[str, Any]]
    Orders = Callable[..., Path]


def state_of(**more: Any) -> State:
    """Return a state with something in every member."""
    mark = Watermark(2)
    mark.settle(0, 0, 100)
    mark.settle(1, 200, 300)
    files = [FileState("a/ü.csv", 123, 456, "ab" * 32, 300, lanes=mark.dump())]
    counts = Counts(delivered=5, rejected=2, by_code={"refused": 2}, oldest_ms=-1, newest_ms=7)
    made = State(
        stream="orders",
        run_id="2026-11-21T20-15-03Z-7f3a",
        started_at="2026-11-21T20:15:03Z",
        now_ms=1_795_000_000_000,
        mapping="cd" * 32,
        destination="https://cdp.customer.io",
        lane_count=2,
        files=files,
        counts=counts,
        lengths={"rejects": 17, "held": 0},
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


# ---- the document


@given(
    text=st.text(max_size=20),
    number=st.integers(0, 2**62),
    codes=st.dictionaries(st.text(), st.integers()),
    is_finished=st.booleans(),
)
def test_a_state_comes_back_as_it_was(
    text: str, number: int, codes: dict[str, int], *, is_finished: bool
) -> None:
    state = state_of(stream=text, now_ms=number, is_finished=is_finished)
    state.counts.by_code = codes
    assert State.load(state.dump(), Path("x")) == state


def test_a_state_is_json_that_a_person_can_read() -> None:
    found = json.loads(state_of().dump())
    assert found["format"] == 1
    assert found["files"][0]["path"] == "a/ü.csv"
    assert found["files"][0]["lanes"][1] == {"low": 0, "done": [[200, 300]]}
    assert "\\u" not in state_of().dump().decode()


def test_every_single_bit_that_flips_is_noticed() -> None:
    good = state_of().dump()
    for at in range(8 * len(good)):
        bad = bytearray(good)
        bad[at // 8] ^= 1 << (at % 8)
        with pytest.raises(MismatchError):
            State.load(bytes(bad), Path("x"))


def test_every_truncation_is_noticed() -> None:
    good = state_of().dump()
    for length in range(len(good)):
        with pytest.raises(MismatchError):
            State.load(good[:length], Path("x"))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 900, b"{}\n", b"[]", b'{"format":1}', b"x" * 100, state_of().dump() + b"\n"],
    ids=["empty", "NULs", "object", "list", "another", "text", "longer"],
)
def test_another_content_is_noticed(data: bytes) -> None:
    with pytest.raises(MismatchError, match="the checkpoint is damaged"):
        State.load(data, Path("x"))


def signed(members: Any) -> bytes:
    text = json.dumps(members, separators=(",", ":"))
    return f'{text[:-1]},"crc32":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def test_the_format_of_another_version_is_refused_by_its_number() -> None:
    members = json.loads(state_of().dump())
    del members["crc32"]
    assert State.load(signed(members), Path("x")) == state_of()
    with pytest.raises(MismatchError, match="has format 2, this version reads 1") as caught:
        State.load(signed({**members, "format": 2}), Path("x"))
    assert caught.value.fix == "use the version of backfill that wrote it"
    later = {"identity", "known", "watermark", "highest"}  # older states have none of these
    for name in members.keys() - {"lengths", "is_finished", "saved_at"} - later:
        with pytest.raises(MismatchError):
            State.load(signed({k: v for k, v in members.items() if k != name}), Path("x"))
    with pytest.raises(MismatchError):
        State.load(signed({**members, "surprise": 1}), Path("x"))


def test_a_document_of_another_kind_under_a_right_checksum_is_named() -> None:
    text = b'{"format":1,oops}'
    made = text[:-1] + f',"crc32":"{zlib.crc32(text):08x}"}}\n'.encode()
    with pytest.raises(MismatchError) as caught:
        State.load(made, Path("x"))
    assert (caught.value.what, caught.value.where) == (
        "the checkpoint is damaged: it is no JSON",
        "x",
    )
    with pytest.raises(MismatchError) as caught:
        State.load(signed({"format": 1, "files": []}), Path("x"))
    assert caught.value.what == (
        "the checkpoint is damaged: a member is missing or unknown ('counts')"
    )


# ---- the store


def test_the_state_before_the_last_one_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    assert store.load() is None
    for number in range(1, 4):
        store.save(state_of(now_ms=number))
        found = store.load()
        assert found is not None
        assert found.now_ms == number
        if number > 1:
            before = store.load(use_previous=True)
            assert before is not None
            assert before.now_ms == number - 1
    store.unlock()
    left = {path.name for path in store.folder.iterdir()}
    assert left == {"lock", "checkpoint.json", "checkpoint.json.prev"}


def test_a_save_is_durable_before_it_takes_its_place_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    store.save(state_of())
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def noted_replace(source: Any, target: Any, **how: Any) -> None:
        done.append(f"rename to {Path(target).name}")
        replace(source, target, **how)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    store.save(state_of())
    store.unlock()
    assert done == [
        "fsync checkpoint.json.tmp",
        "rename to checkpoint.json.prev",
        "rename to checkpoint.json",
        "fsync orders",
    ]


def test_what_a_killed_save_left_behind_does_no_harm(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    store.save(state_of(now_ms=1))
    for name in ("checkpoint.json.tmp", "checkpoint.json.prev.tmp"):
        (store.folder / name).write_bytes(b"half")
    loaded = store.load()
    assert loaded is not None
    assert loaded.now_ms == 1
    store.save(state_of(now_ms=2))
    loaded = store.load(use_previous=True)
    assert loaded is not None
    assert loaded.now_ms == 1
    store.unlock()
    left = {path.name for path in store.folder.iterdir()}
    assert left == {"lock", "checkpoint.json", "checkpoint.json.prev"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_the_state_before_is_kept_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path, "orders")
    store.lock()
    for now_ms in (1, 2):
        store.save(state_of(now_ms=now_ms))
    before = store.load(use_previous=True)
    assert before is not None
    assert before.now_ms == 1
    number = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        store.save(state_of(now_ms=3))
    store.unlock()


def test_a_state_behind_a_symbolic_link_is_not_written_through(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    other = tmp_path / "precious"
    other.write_text("mine")
    (store.folder / "checkpoint.json.tmp").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        store.save(state_of())
    store.unlock()
    assert other.read_text() == "mine"


@pytest.mark.parametrize("target", ["lock", "nowhere"])
def test_a_state_that_is_a_symbolic_link_is_not_read(tmp_path: Path, target: str) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    store.path.symlink_to(target)
    with pytest.raises(MismatchError) as caught:
        store.load()
    assert caught.value.what == "the checkpoint is damaged: it is a symbolic link"
    assert caught.value.where == str(store.path)
    assert caught.value.fix == "run with --restart to send all again"
    store.unlock()


def test_a_link_that_takes_the_place_of_the_state_meanwhile_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    store.path.symlink_to("lock")
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)
    with pytest.raises(MismatchError) as caught:
        store.load()
    assert caught.value.what == (
        "the checkpoint is damaged: it cannot be read (it is a symbolic link)"
    )
    store.unlock()


def test_a_state_that_cannot_be_read_and_one_that_is_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    with pytest.raises(MismatchError) as caught:
        store.load(use_previous=True)
    assert (caught.value.what, caught.value.where, caught.value.fix) == (
        "there is no previous state",
        str(store.previous),
        "run without --use-previous",
    )
    store.unlock()

    def refuse(path: Any, *_: Any) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MismatchError) as caught:
        store.load()
    assert caught.value.what == "the checkpoint is damaged: it cannot be read (Permission denied)"
    assert caught.value.where == str(store.path)


def test_a_link_never_takes_the_place_of_the_sound_state_before_it(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    for now_ms in (1, 2):
        store.save(state_of(now_ms=now_ms))
    store.path.rename(tmp_path / "elsewhere")
    store.path.symlink_to(tmp_path / "elsewhere")
    assert store.load(use_previous=True) == state_of(now_ms=1)
    store.save(state_of(now_ms=3))
    store.unlock()
    assert not store.previous.is_symlink()
    assert store.load(use_previous=True) == state_of(now_ms=1)
    assert store.load() == state_of(now_ms=3)


def test_a_state_of_just_the_size_that_is_allowed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    store.save(state_of())
    monkeypatch.setattr(checkpoint, "BYTES_MAX", store.path.stat().st_size)
    assert store.load() == state_of()
    monkeypatch.setattr(checkpoint, "BYTES_MAX", store.path.stat().st_size - 1)
    with pytest.raises(MismatchError, match="far too large"):
        store.load()
    store.unlock()


def test_a_state_that_is_far_too_large_or_no_file_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    with store.path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(MismatchError, match="far too large"):
        store.load()
    store.path.unlink()
    store.path.mkdir()
    with pytest.raises(MismatchError, match="cannot be read"):
        store.load()
    store.unlock()


def test_a_lock_lets_one_in_and_is_free_after_it(tmp_path: Path) -> None:
    first, second = Store(tmp_path, "orders"), Store(tmp_path, "orders")
    first.lock()
    begun_s = time.monotonic()
    with pytest.raises(LockedError):
        second.lock()
    assert time.monotonic() - begun_s < 0.5
    other = Store(tmp_path, "people")
    other.lock()
    other.unlock()
    first.unlock()
    second.lock()
    second.unlock()


def test_what_cannot_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file stands where the folder goes")
    with pytest.raises(UsageError) as caught:
        Store(tmp_path / "state", "orders").lock()
    assert caught.value.what == "the state folder cannot be written: File exists"
    assert caught.value.where == str(tmp_path / "state/orders")
    assert caught.value.fix == (
        "choose another with --state, or make room there and correct its permissions"
    )
    words = "this file system knows no locks"
    assert unwritable(tmp_path, NotImplementedError(words)).what == (
        f"the state folder cannot be written: {words}"
    )


def test_a_stream_that_ran_once_or_never_can_begin_again(tmp_path: Path) -> None:
    store = Store(tmp_path, "orders")
    store.lock()
    store.forget()
    store.save(state_of())  # there is none before it
    store.forget()
    assert store.load() is None
    store.unlock()


# ---- resuming


@pytest.fixture
def begun(orders: Orders, door: Door, ledger: Ledger) -> Path:
    """Send the first 4 of 10 rows, so that the run is unfinished."""
    mapping = orders(10)
    assert door(mapping, limit=4)["exit_code"] == 0
    assert len(ledger.kept) == 4
    return mapping


def test_an_unfinished_run_goes_on_where_it_stopped(
    begun: Path, door: Door, ledger: Ledger
) -> None:
    report = door(begun)
    assert (report["exit_code"], report["resumed_from"]) == (0, 4)
    assert [m["userId"] for m in ledger.kept] == [f"p{n % 7}" for n in range(10)]
    assert report["rows"]["read"] == report["rows"]["delivered"] == 10
    assert len({m["messageId"] for m in ledger.kept}) == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text + "10,p1,2020-01-02T03:04:05Z,1.0,\n", "had 343 bytes, has 373"),
        (lambda text: text[: text.rindex("9,p")], "had 343 bytes, has 311"),
        (lambda text: text.replace("9.50", "9.51"), "has the same size but another content"),
        (lambda text: text.replace("note", "noto"), None),
    ],
    ids=["grown", "shrunk", "same size", "column renamed"],
)
def test_a_changed_source_is_refused_and_named(
    begun: Path, door: Door, ledger: Ledger, change: Callable[[str], str], words: str | None
) -> None:
    source = begun.parent / "orders.csv"
    before = source.read_text()
    source.write_text(change(before))
    if words is not None:
        words = words.replace("343", f"{len(before):,}")
        words = re.sub(r"has \d+$", f"has {source.stat().st_size:,}", words)
    report = door(begun)
    if words is None:  # a column that is gone is a fault of the mapping, before all else
        assert report["exit_code"] == 2
    else:
        assert report["exit_code"] == 13
        assert report["error"]["what"] == (
            f"the run is not finished, and its source has changed: {source} {words}"
        )
    assert len(ledger.arrivals) == 1
    source.write_text(before)
    assert door(begun)["exit_code"] == 0
    assert len({m["messageId"] for m in ledger.kept}) == len(ledger.kept) == 10


def test_a_source_under_another_name_is_refused_though_nothing_else_changed(
    begun: Path, door: Door
) -> None:
    other = begun.parent / "other.csv"
    shutil.copy(begun.parent / "orders.csv", other)
    with other.open("a") as stream:
        stream.write("11,p1,2020-01-02T03:04:05Z,1.0,\n")
    report = door(begun, sources=(str(other),))
    assert report["exit_code"] == 13
    told = report["error"]["what"]
    assert f"{other} is new" in told
    assert f"{begun.parent / 'orders.csv'} is gone" in told


def test_a_touched_source_with_the_same_content_is_the_same(begun: Path, door: Door) -> None:
    os.utime(begun.parent / "orders.csv", (1, 1))
    assert door(begun)["exit_code"] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("const: Bought", "const: Sold"),
        ("userId: person", "userId: id"),
        ("key: id", "key: [id, person]"),
        ("type: number", "type: text"),
        ("key: id", "key: id\nguards: {future: send}"),
    ],
)
def test_a_changed_mapping_is_refused(
    begun: Path, door: Door, ledger: Ledger, old: str, new: str
) -> None:
    before = begun.read_text()
    begun.write_text(before.replace(old, new))
    report = door(begun)
    assert report["exit_code"] == 13
    assert report["error"]["what"] == (
        "the run is not finished, and the meaning of its mapping has changed"
    )
    assert report["error"]["where"] == str(begun)
    assert len(ledger.arrivals) == 1
    begun.write_text(before)
    assert door(begun)["exit_code"] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "# what this is\nversion: 1   # yes"),
        ("{path: orders.csv}", "\n  path: ./orders.csv"),
        ("key: id", "key: [id]"),
        ("key: id", "key: id\ndelivery: {rate: 999, connections: 3, batch_messages: 2}"),
        ("key: id", "key: id\nafter: [people]"),
    ],
    ids=["comment", "path", "form", "delivery", "after"],
)
def test_a_change_without_a_meaning_for_the_messages_resumes(
    begun: Path, door: Door, ledger: Ledger, old: str, new: str
) -> None:
    begun.write_text(begun.read_text().replace(old, new))
    assert door(begun)["exit_code"] == 0
    assert len({m["messageId"] for m in ledger.kept}) == len(ledger.kept) == 10


def test_rate_connections_and_batch_sizes_may_change_on_a_resume(
    begun: Path, door: Door, ledger: Ledger
) -> None:
    assert door(begun, limit=7, batch_messages=2, connections=1)["exit_code"] == 0
    assert door(begun, batch_messages=1, connections=3)["exit_code"] == 0
    assert len({m["messageId"] for m in ledger.kept}) == len(ledger.kept) == 10


def test_a_missing_checkpoint_beside_the_one_before_is_no_fresh_start(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "state/orders"
    (folder / "checkpoint.json").unlink()
    report = door(begun)
    assert report["exit_code"] == 13
    assert report["error"] == {
        "what": "the checkpoint is damaged: it is missing, but the one before it is there",
        "where": str(folder / "checkpoint.json"),
        "fix": "run with --use-previous to go on from the state before it, or --restart to send"
        " all again",
    }
    assert len(ledger.arrivals) == 1
    assert door(begun, use_previous=True)["exit_code"] == 0
    assert len({m["messageId"] for m in ledger.kept}) == 10


@pytest.mark.parametrize("damage", [lambda d: d[:-40], lambda d: d.replace(b"0", b"1", 1)])
def test_a_damaged_checkpoint_is_named_and_nothing_is_sent(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "state/orders/checkpoint.json"
    path.write_bytes(damage(path.read_bytes()))
    report = door(begun)
    assert report["exit_code"] == 13
    assert report["error"]["where"] == str(path)
    assert report["error"]["what"].startswith("the checkpoint is damaged: ")
    assert len(ledger.arrivals) == 1
    assert door(begun, use_previous=True)["exit_code"] == 0
    assert len({m["messageId"] for m in ledger.kept}) == 10


def test_use_previous_without_a_previous_state_is_refused(
    orders: Orders, door: Door, ledger: Ledger
) -> None:
    report = door(orders(), use_previous=True)
    assert (report["exit_code"], report["error"]["what"]) == (13, "there is no previous state")
    assert report["error"]["fix"] == "run without --use-previous"
    assert ledger.arrivals == []


def test_a_rehearsal_in_the_sandbox_gives_way_to_a_real_destination(
    orders: Orders, door: Door, ledger: Ledger
) -> None:
    mapping = orders()
    assert door(mapping, to="sandbox")["rows"]["delivered"] == 10
    assert door(mapping)["rows"]["delivered"] == 10
    assert len(ledger.kept) == 10


def test_a_real_state_does_not_give_way_to_the_sandbox_nor_to_another_destination(
    begun: Path, door: Door, ledger: Ledger
) -> None:
    report = door(begun, to="sandbox")
    assert report["exit_code"] == 13
    assert report["error"]["what"] == (f"this state is of a run to {ledger.url}, not to sandbox")
    with Ledger() as other:
        assert door(begun, to=other.url)["exit_code"] == 13
        assert other.arrivals == []
    assert door(begun)["exit_code"] == 0


# ---- one writer


def test_a_second_run_ends_at_once_and_a_killed_one_holds_no_lock(
    orders: Orders, cli: Cli, tmp_path: Path
) -> None:
    mapping = orders(200)
    with Ledger(latency_s=0.2) as ledger:
        command = ["run", mapping.name, "--to", ledger.url, "--batch-messages", "1"]
        first = cli.start(*command)
        until_s = time.monotonic() + 20
        while not ledger.arrivals and time.monotonic() < until_s:
            time.sleep(0.01)
        second = cli(*command, "--json")
        assert second.code == 11
        error = second.report["error"]
        what = error.pop("what")
        assert re.fullmatch(
            rf"another run holds this stream: process {first.pid} on {re.escape(gethostname())},"
            r" since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ",
            what,
        )
        assert error == {
            "where": ".backfill/orders",
            "fix": "wait for it to end; it releases the lock by itself, even when it is killed",
        }
        first.send_signal(signal.SIGKILL)
        first.communicate()
        ledger.latency_s = 0.0
        third = cli(*command, "--rate", "unlimited", "--json")
    assert (third.code, third.report["rows"]["delivered"]) == (0, 200)
    with FileLock(tmp_path / ".backfill/orders/lock", timeout=0):
        pass


# ---- what the disk sees


STRACE = shutil.which("strace")


@pytest.mark.skipif(STRACE is None, reason="strace is not on this machine")
def test_dead_letters_are_durable_before_the_state_that_counts_them(
    orders: Orders, cli: Cli, tmp_path: Path, ledger: Ledger
) -> None:
    orders(30, bad=range(0, 30, 3))
    log = tmp_path / "trace"
    calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,write"
    assert STRACE is not None
    command = [STRACE, "-f", "-y", "-e", f"trace={calls}", "-s", "0", "-o", str(log)]
    run = [sys.executable, "-m", "backfill", "run", "orders.yaml", "--to", ledger.url]
    done = subprocess.run(
        [*command, *run, "--batch-messages", "5", "--rate", "unlimited"],
        cwd=tmp_path,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr[:200]}")
    assert done.returncode == 3, done.stderr
    unsynced: set[str] = set()
    saves = 0
    for line in log.read_text().splitlines():
        name = re.search(r"(rejects\.csv|checkpoint\.json\.tmp)", line)
        if "write(" in line and name:
            unsynced.add(name[1])
        elif "fsync(" in line and name:
            unsynced.discard(name[1])
        elif "rename" in line and line.rstrip().endswith("= 0") and '/checkpoint.json"' in line:
            saves += 1
            assert unsynced == set(), line
    assert saves >= 3


@pytest.mark.parametrize("room", ["none for rejects", "none for the report"])
def test_a_disk_that_is_full_midway_ends_the_run_resumable(
    orders: Orders, cli: Cli, tmp_path: Path, ledger: Ledger, room: str
) -> None:
    mapping = orders(2000, bad=range(0, 2000, 2))
    limit = 4096
    if room == "none for the report":
        probe = cli("run", mapping.name, "--to", ledger.url, "--state", "probe", "--limit", "20")
        assert probe.code == 3, probe.err
        report = next((tmp_path / "probe").rglob("report.json")).stat().st_size
        checkpoint = (tmp_path / "probe/orders/checkpoint.json").stat().st_size
        limit = (report + checkpoint) // 2
    command = ["run", mapping.name, "--to", ledger.url, "--rate", "unlimited"]
    shell = f'ulimit -f {max(limit // 1024, 1)}; exec "$@"'
    small = subprocess.run(
        ["bash", "-c", shell, "-", sys.executable, "-m", "backfill", *command],
        cwd=tmp_path,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert small.returncode == 4, small.stderr
    assert "the state cannot be saved: File too large" in small.stderr
    assert "Traceback" not in small.stderr
    done = cli(*command, "--json")
    assert done.code == 3, done.err
    assert done.report["rows"] == {
        "read": 2000,
        "delivered": 1000,
        "filtered": 0,
        "held": 0,
        "rejected": 1000,
        "unchanged": 0,
        "pending": 0,
    }
    rejects = Path(tmp_path / done.report["rejects"]).read_text().splitlines()[1:]
    assert sorted(int(line.split(",")[0]) for line in rejects) == list(range(0, 2000, 2))


def test_a_stream_folder_that_cannot_be_written_is_said_before_anything_is_sent(
    begun: Path, door: Door, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state/orders"
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **how: Any) -> int:
        if str(path).startswith(str(folder)) and flags & os.O_CREAT and "lock" not in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **how)

    monkeypatch.setattr(os, "open", refuse)
    report = door(begun)
    assert report["exit_code"] == 2
    assert report["error"]["what"] == "the state folder cannot be written: Permission denied"
    assert len(ledger.arrivals) == 1
