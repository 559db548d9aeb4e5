"""Sources in S3, and by the same code in Google Cloud Storage and Azure: the same as from a disk.

The store is moto's S3, which nobody here wrote, on loopback. Of the other two what needs no server
is tested: their addresses, and the listing of files through Arrow's file system of a folder.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import logging
import lzma
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ORDERS, ROOT, orders_csv
from hypothesis import given
from hypothesis import strategies as st
from ledger import LedgerProcess, Reply
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from pyarrow import fs
from werkzeug.serving import make_server

from backfill.errors import ResumableError, SourceError, UsageError
from backfill.mapping import load_mapping
from backfill.mapping.document import SourceSpec
from backfill.mapping.uri import ENVIRONMENT, Address, AddressError, address_of, shown
from backfill.propose import propose_all
from backfill.source import (
    Span,
    begins_with,
    check_unchanged,
    estimate_rows,
    find_files,
    hashed,
    open_file,
    remote,
    unmixed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Cli
    from ledger import Ledger

    Door = Callable[..., dict[str, Any]]
    Gate = Callable[[str, str], "Answer | None"]

BUCKET: Final = "data"
SECRET: Final = "canary/AwsSecret+4711"
TOKEN: Final = "canaryAwsToken4711"
ACCOUNT: Final = {
    "AWS_ACCESS_KEY_ID": "CANARYKEYID4711",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": TOKEN,
    "AWS_EC2_METADATA_DISABLED": "true",
}
CHECK: Final = "check the network and the endpoint"
AGAIN: Final = "then run the same command again: it goes on where it stopped"
PLAIN: Final = ORDERS.replace("key: id\n", "")
"""Without a key the ids are of the file's content: where that is read wrongly, it shows."""


class Answer(NamedTuple):
    """What the store says instead of its own answer."""

    status: str
    code: str = ""
    message: str = ""


class Request(NamedTuple):
    """What was asked of the store."""

    method: str
    path: str
    range: str

    @property
    def wanted(self) -> int:
        """How many bytes of an object were asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.range)
        return int(found[2]) - int(found[1]) + 1 if found else 0


class Store:
    """Moto's S3 on a port of loopback, with a gate in front of it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.gate: Gate = lambda _method, _path: None
        self._inner = DomainDispatcherApplication(create_backend_app)
        self.port = 0
        self.start()

    def start(self) -> None:
        """Begin to listen, where it did before if it did."""
        self._server = make_server("127.0.0.1", self.port, self._app, threaded=True)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """Be gone, as a machine is that was switched off."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _app(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(Request(method, path, environ.get("HTTP_RANGE", "")))
        answer = self.gate(method, path)
        if answer is None:
            return self._inner(environ, start_response)
        body = f"<Error><Code>{answer.code}</Code><Message>{answer.message}</Message></Error>"
        start_response(answer.status, [("Content-Type", "application/xml")])
        return [b"" if method == "HEAD" else body.encode()]

    @property
    def options(self) -> str:
        """What an address of it ends in."""
        return f"?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def uri(self, key: str) -> str:
        """Return the address of a key, folder or glob."""
        return f"s3://{BUCKET}/{key}{self.options}"

    def put(self, key: str, data: bytes) -> None:
        """Write an object, or another in its place."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, key, data)

    def asked(self, method: str, key: str) -> list[Request]:
        """Return the requests of one kind for one key."""
        path = f"/{BUCKET}/{key}"
        return [one for one in self.requests if (one.method, one.path) == (method, path)]


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    found = Store()
    yield found
    found.stop()


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty bucket."""
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.reset()
    backend.create_bucket(BUCKET, "us-east-1")
    server.requests.clear()
    server.gate = lambda _method, _path: None
    return server


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a mapping of the orders with this source, and return its path."""

    def write(path: str | list[str], text: str = ORDERS, **how: Any) -> Path:
        source = json.dumps({"path": path, **how})
        found = tmp_path / "orders.yaml"
        found.write_text(text.replace("{path: orders.csv}", source))
        return found

    return write


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def jsonl(csv: bytes) -> bytes:
    head, *rows = (line.split(",") for line in csv.decode().splitlines())
    return "".join(json.dumps(dict(zip(head, row, strict=True))) + "\n" for row in rows).encode()


def parquet(csv: bytes, group: int = 1 << 20) -> bytes:
    head, *rows = (line.split(",") for line in csv.decode().splitlines())
    table = pa.table(dict(zip(head, map(list, zip(*rows, strict=True)), strict=True)))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=group, compression="none", use_dictionary=False)
    return bytes(sink.getvalue())


CSV: Final = orders_csv(500, bad=(3, 77)).encode()
FORMS: Final = {
    "o.csv": CSV,
    "o.csv.gz": gzip.compress(CSV),
    "o.csv.bz2": bz2.compress(CSV[:9000]) + bz2.compress(CSV[9000:]),
    "o.csv.xz": lzma.compress(CSV),
    "o.csv.zst": zstd(CSV),
    "o.tsv": CSV.replace(b",", b"\t"),
    "unclosed.csv": CSV + b'9,p,2020-01-02T03:04:05Z,1,"never\nclosed\n',
    "ragged.csv": CSV + b"9,p\n",
    "o.jsonl": jsonl(CSV),
    "o.jsonl.gz": gzip.compress(jsonl(CSV)),
    "o.parquet": parquet(CSV, group=100),
    "o.parquet.gz": gzip.compress(parquet(CSV)),
    "a b/ü+%20#=&.csv": CSV,
}


@pytest.mark.parametrize("name", FORMS)
def test_a_file_in_a_store_gives_the_messages_and_ids_of_the_same_file_on_a_disk(
    name: str,
    store: Store,
    written: Callable[..., Path],
    door: Door,
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    store.put(name, FORMS[name])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(FORMS[name])
    here = door(written(name, PLAIN), state=tmp_path / "here")
    local = [*ledger.sent]
    there = door(written(store.uri(name), PLAIN), state=tmp_path / "there")
    assert [*ledger.sent][len(local) :] == local
    assert here["exit_code"] == there["exit_code"] == 3
    for member in ("rows", "messages", "rejects_by_code", "timestamps"):
        assert here[member] == there[member]
    assert there["files"] == [{**here["files"][0], "path": f"s3://{BUCKET}/{name}"}]
    same = [Path(report["rejects"]).read_bytes() for report in (here, there)]
    assert same[0] == same[1]
    assert here["rows"]["delivered"] == 498


LAID: Final = (
    *("in/b.csv", "in/a.csv", "in/c.tsv", "in/.hidden.csv", "in/_SUCCESS", "in/notes.md"),
    *("in/deep/d.csv", "dt=2020-01-02/part-1.csv", "dt=2020-01-01/part-0.csv"),
    *("dt=2020-01-01/part-2.csv", "dt=2020-01-01/other.csv", "in/[1].csv", "a.b/x.csv", "a/x.csv"),
)
PATHS: Final = (
    *(["in"], ["in/"], ["in/*.csv"], ["in/b.csv", "in/a.csv"], ["in/[ab].csv", "in/c.tsv"]),
    *(
        ["**/c.tsv"],
        ["**/*.csv"],
        ["in/**/*sv"],
        ["in/[1].csv"],
        ["dt=*/part-*.csv"],
        ["dt=*/*[!r].csv"],
    ),
    *(
        ["a*/x.csv"],
        ["in/?.csv"],
        ["in/.h*.csv"],
        ["*/deep/*.csv"],
        ["in/*/*.csv"],
        ["in/**/d.csv"],
    ),
)


@pytest.mark.parametrize("paths", PATHS, ids=" ".join)
def test_lists_folders_and_globs_of_a_store_are_those_of_a_disk(
    paths: list[str], store: Store, tmp_path: Path
) -> None:
    for name in LAID:
        store.put(name, b"id\n1\n")
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"id\n1\n")
    here = [Path(one.path).relative_to(tmp_path) for one in find_files(paths, tmp_path, None)]
    there = find_files([store.uri(path) for path in paths], tmp_path, None)
    assert [one.path for one in there] == [f"s3://{BUCKET}/{path}" for path in here]
    assert {one.size_bytes for one in there} == {5}
    assert all(one.modified_ns > 10**18 for one in there)


def test_a_list_may_mix_files_here_and_there_in_its_own_order(
    store: Store, written: Callable[..., Path], door: Door, ledger: Ledger, tmp_path: Path
) -> None:
    head, *rows = orders_csv(6).splitlines(keepends=True)
    for at, name in enumerate(("x.csv", "sub/b.csv", "sub/a.csv")):
        store.put(name, (head + rows[at]).encode())
    (tmp_path / "y.csv").write_text(head + rows[3])
    report = door(written([store.uri("x.csv"), "y.csv", store.uri("sub")]), connections=1)
    assert report["exit_code"] == 0
    names = [Path(one["path"]).name for one in report["files"]]
    assert names == ["x.csv", "y.csv", "a.csv", "b.csv"]
    assert [one["properties"]["total"] for one in ledger.kept] == [0.5, 3.5, 2.5, 1.5]


def test_a_remote_source_may_be_given_on_the_command_line(
    store: Store, orders: Callable[..., Path], cli: Cli, ledger: Ledger
) -> None:
    mapping = orders(3)
    store.put("other.csv", orders_csv(8).encode())
    env = cli.environment(**ACCOUNT)
    done = cli(
        *("run", mapping, "--to", ledger.url, "--json", "--source", store.uri("other.csv")), env=env
    )
    assert (done.code, done.err, done.report["rows"]["delivered"]) == (0, "", 8)
    seen = cli("preview", mapping, "-n", "1", "--source", store.uri("other.csv"), env=env)
    assert (seen.code, "s3://data/other.csv" in seen.out) == (0, True)


def test_init_proposes_a_mapping_that_reads_the_store(store: Store, tmp_path: Path) -> None:
    store.put("orders.csv.gz", gzip.compress(orders_csv(300).encode()))
    path = store.uri("orders.csv.gz")
    out = str(tmp_path / "maps") + os.sep
    (found,) = propose_all([path], out=out, kind=None, prefer=None, now_ms=1_700_000_000_000)
    found.path.parent.mkdir()
    found.path.write_text(found.rehearsal.text)
    assert found.path.name == "orders.yaml"
    assert load_mapping(found.path).document.source.path == [path]


# ---- ways to end and to go on


def test_a_killed_run_of_a_remote_file_goes_on_and_loses_no_row(
    store: Store, written: Callable[..., Path], cli: Cli, tmp_path: Path
) -> None:
    store.put("o.csv", orders_csv(400).encode())
    mapping = written(store.uri("o.csv"))
    env = cli.environment(**ACCOUNT)
    with LedgerProcess(tmp_path / "ledger.log", latency_s=0.02) as far:
        options = ("--rate", "unlimited", "--json", "--connections", "1", "--batch-messages", "10")
        command = ("run", mapping, "--to", far.url, *options)
        running = cli.start(*command, env=env)
        far.wait_for(9)
        running.kill()
        running.communicate()
        done = cli(*command, env=env)
        assert (done.code, done.err) == (0, "")
        far.news()
        sent = [one for arrival in far.arrivals for one in json.loads(arrival.body)["batch"]]
    assert {one["properties"]["total"] for one in sent} == {n + 0.5 for n in range(400)}
    assert len({one["messageId"] for one in sent}) == 400
    assert len(sent) <= 400 + 10 * 2
    assert done.report["resumed_from"] > 0


def test_a_finished_remote_file_is_neither_read_nor_sent_again(
    store: Store, written: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    store.put("o.parquet", parquet(CSV))
    mapping = written(store.uri("o.parquet"))
    assert door(mapping)["exit_code"] == 3
    arrived = len(ledger.arrivals)
    store.requests.clear()
    again = door(mapping)
    assert (again["exit_code"], again["note"][:11]) == (0, "nothing new")
    assert len(ledger.arrivals) == arrived
    assert sum(one.wanted for one in store.asked("GET", "o.parquet")) < 1 << 18  # the footer


def test_a_resume_of_parquet_reads_only_the_row_groups_that_are_left(
    store: Store, written: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    """Neither the groups before nor the whole for its hash, which is known by size and time."""
    data = parquet(orders_csv(20_000, note="x" * 150).encode(), group=1_000)
    store.put("o.parquet", data)
    mapping = written(store.uri("o.parquet"))
    assert door(mapping, limit=18_500)["exit_code"] == 0
    first = sum(one.wanted for one in store.asked("GET", "o.parquet"))
    store.requests.clear()
    assert door(mapping)["rows"]["delivered"] == 20_000
    rest = sum(one.wanted for one in store.asked("GET", "o.parquet"))
    assert len({one.message_id for one in ledger.sent}) == 20_000
    assert first > 1.8 * len(data)
    assert rest < 0.35 * len(data)  # 2 of 20 groups, and the footer four times


def test_an_object_replaced_between_two_runs_is_named_with_the_ways_out(
    store: Store, written: Callable[..., Path], door: Door, ledger: Ledger, tmp_path: Path
) -> None:
    data = orders_csv(10)
    store.put("o.csv", data.encode())
    mapping = written(store.uri("o.csv"))
    assert door(mapping, limit=6)["exit_code"] == 0
    store.put("o.csv", data.replace("9.50", "9.5").encode())
    refused = door(mapping)
    assert refused == {
        "exit_code": 13,
        "error": {
            "what": "the run is not finished, and its source has changed:"
            f" s3://data/o.csv had {len(data):,} bytes, has {len(data) - 1:,}",
            "where": str(tmp_path / "state/orders/checkpoint.json"),
            "fix": "put the source back and run again to resume, or --restart to send all again",
        },
    }
    assert len(ledger.kept) == 6
    store.put("o.csv", data.encode())
    assert door(mapping)["exit_code"] == 0
    assert len(ledger.kept) == 10


@pytest.mark.parametrize("ask_s", [0.0, 1000.0])
def test_an_object_replaced_during_a_run_stops_it_before_its_last_rows_and_is_refused_after(
    ask_s: float,
    store: Store,
    written: Callable[..., Path],
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As large as before and within the same second: its etag tells."""
    monkeypatch.setattr("backfill.source.files.ASK_S", ask_s)
    monkeypatch.setattr(remote, "READ_BYTES", 1 << 18)
    before = orders_csv(40_000, note="a" * 300).encode()
    store.put("o.csv", before)

    replaced = threading.Event()

    def replace(_body: bytes) -> Reply:
        if not replaced.is_set():
            replaced.set()
            store.put("o.csv", before.replace(b"aaa", b"bbb"))
        return Reply()

    ledger.answer = replace
    mapping = written(store.uri("o.csv"))
    report = door(mapping, connections=1)
    assert report["exit_code"] == 4
    assert report["error"]["what"] == "the file was replaced or written to while it was being read"
    assert report["error"]["where"] == "s3://data/o.csv"
    sent = {one["properties"]["total"] for one in ledger.kept}
    assert 0 < len(sent) < 40_000
    assert 39_999.5 not in sent
    if ask_s == 0:
        assert not any("bbb" in one.text for one in ledger.sent)
    arrived = len(ledger.arrivals)
    again = door(mapping)
    assert again["exit_code"] == 13, again
    assert len(ledger.arrivals) == arrived


def test_an_object_that_goes_during_a_run_stops_it(
    store: Store, written: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    store.put("o.csv", orders_csv(40_000, note="a" * 300).encode())

    def remove(_body: bytes) -> Reply:
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].delete_object(BUCKET, "o.csv")
        return Reply()

    ledger.answer = remove
    report = door(written(store.uri("o.csv")), connections=1)
    assert report["exit_code"] == 4
    assert report["error"]["what"] == "the file has gone while it was being read"


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet"])
def test_a_store_that_dies_on_the_way_stops_the_run_resumable_and_the_next_one_ends_it(
    name: str,
    store: Store,
    written: Callable[..., Path],
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "READ_BYTES", 1 << 16)
    csv = orders_csv(count := 60_000, note="n" * 200).encode()
    forms = {
        "o.csv": csv,
        "o.csv.gz": gzip.compress(csv, 0),
        "o.parquet": parquet(csv, group=2_000),
    }
    store.put(name, forms[name])
    died = threading.Event()

    def die(_body: bytes) -> Reply:
        if not died.is_set():
            died.set()
            store.stop()
        return Reply()

    ledger.answer = die
    mapping = written(store.uri(name))
    report = door(mapping, connections=1)
    store.start()
    assert report["exit_code"] == 4
    error = report["error"]
    assert error["what"].startswith("the store cannot be reached (AWS Error NETWORK_CONNECTION")
    assert (error["where"], error["fix"]) == (f"s3://data/{name}", f"{CHECK}, {AGAIN}")
    assert 0 < len(ledger.sent) < count
    done = door(mapping)
    assert (done["exit_code"], done["rows"]["delivered"]) == (0, count)
    assert len({one.message_id for one in ledger.sent}) == count
    assert len(ledger.sent) == count  # it was no kill: nothing is sent twice


def test_a_remote_file_that_has_grown_is_known_by_its_begin(store: Store) -> None:
    store.put("o.csv", CSV + b"9,p,2020-01-02T03:04:05Z,1,\n")
    (grown,) = find_files([store.uri("o.csv")], Path(), None)
    assert begins_with(grown, len(CSV), hashlib.sha256(CSV).hexdigest())
    assert not begins_with(grown, len(CSV) - 1, hashlib.sha256(CSV).hexdigest())
    assert not begins_with(grown, 10 * len(CSV), hashlib.sha256(CSV).hexdigest())


def test_the_rows_of_a_remote_file_are_estimated_by_its_head(store: Store) -> None:
    found = {}
    for name in ("o.csv", "o.csv.gz", "o.parquet"):
        store.put(name, FORMS[name])
        (file,) = find_files([store.uri(name)], Path(), None)
        found[name] = estimate_rows(file)
    assert found["o.csv"] is not None
    assert abs(found["o.csv"] - 500) <= 1
    assert (found["o.csv.gz"], found["o.parquet"]) == (None, 500)


# ---- what is told of faults

ABOUT: Final = f"credentials come from {ENVIRONMENT['s3']}"
REFUSALS: Final = {
    "denied": (
        Answer("403 Forbidden", "AccessDenied", f"User {SECRET} may not"),
        2,
        "access is denied: there are no credentials, they may not read this, or it is not there",
        f"give the right to read and list it; {ABOUT}",
    ),
    "elsewhere": (
        Answer("301 Moved Permanently", "PermanentRedirect"),
        2,
        "the bucket is in another region than it was asked in",
        "add ?region=… with the bucket's own to its address, or set AWS_REGION",
    ),
    "expired": (
        Answer("400 Bad Request", "ExpiredToken", f"The token {TOKEN} has expired"),
        2,
        "the store does not know the credentials, or they have expired",
        f"check {ENVIRONMENT['s3']}; a clock that is wrong does it, too",
    ),
    "busy": (
        Answer("503 Slow Down", "SlowDown"),
        4,
        "the store cannot be reached",
        f"{CHECK}, {AGAIN}",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_store_that_refuses_is_told_with_the_fix_and_without_a_credential(
    name: str, method: str, store: Store, written: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    """HEAD: when the file is looked for. GET: when its first bytes are read."""
    answer, code, what, fix = REFUSALS[name]
    store.put("o.csv", CSV)
    store.gate = lambda asked, _path: answer if asked == method else None
    told = door(written(store.uri("o.csv")))
    assert told["exit_code"] == code
    error = told["error"]
    assert error["what"].startswith(f"{what} (AWS Error "), error
    assert (error["where"], error["fix"]) == ("s3://data/o.csv", fix)
    assert not leaks(json.dumps(told))
    assert ledger.arrivals == []


def test_credentials_that_expire_on_the_way_leave_a_run_that_goes_on(
    store: Store,
    written: Callable[..., Path],
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "READ_BYTES", 1 << 16)
    store.put("o.csv", orders_csv(30_000, note="n" * 400).encode())
    expired = Answer("403 Forbidden", "ExpiredToken", f"The token {TOKEN} has expired")
    store.gate = lambda _method, _path: expired if ledger.arrivals else None
    mapping = written(store.uri("o.csv"))
    told = door(mapping, connections=1)
    assert told["exit_code"] == 4
    assert told["error"]["fix"].endswith(AGAIN)
    assert not leaks(json.dumps(told))
    store.gate = lambda _method, _path: None
    assert door(mapping)["rows"]["delivered"] == 30_000


def test_a_right_that_is_lost_while_a_file_is_hashed_is_no_fault_of_the_mapping(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_BYTES", 1 << 13)
    store.put("o.csv", CSV)
    (file,) = find_files([store.uri("o.csv")], Path(), None)
    denied = Answer("403 Forbidden", "AccessDenied")
    store.gate = lambda method, _path: denied if method == "GET" else None
    with pytest.raises(SourceError):
        hashed(file)
    store.requests.clear()
    store.gate = lambda _method, _path: denied if len(store.requests) > 3 else None
    with pytest.raises(ResumableError) as caught:
        hashed(file)
    assert caught.value.fix.endswith(f"from {ENVIRONMENT['s3']}; {AGAIN}")


MISSING: Final = {
    "order.csv": ("s3://data/order.csv", "there is no such file", "did you mean 'orders.csv'?"),
    "no/folder/": ("s3://data/no/folder", "there is no such file", "correct the path"),
    "dt=*/x.csv": (
        *("s3://data/dt=*/x.csv", "no file matches"),
        "correct the pattern, or wait for the files",
    ),
    "docs": (
        *("s3://data/docs", "there is no data file in this folder"),
        "put CSV, Parquet or JSON lines files there, or name another folder",
    ),
    "docs/a.docx": (
        *("s3://data/docs/a.docx", "the ending does not tell the format"),
        "say source: {format: csv | parquet | jsonl}",
    ),
}


@pytest.mark.parametrize("key", MISSING)
def test_what_is_missing_in_a_store_is_named_as_on_a_disk(key: str, store: Store) -> None:
    store.put("orders.csv", CSV)
    store.put("docs/a.docx", b"x")
    with pytest.raises(UsageError) as caught:
        find_files([store.uri(key)], Path(), None)
    assert (caught.value.where, caught.value.what, caught.value.fix) == MISSING[key]


def test_a_bucket_that_is_missing_is_named(store: Store) -> None:
    for path in ("nowhere/a.csv", "nowhere", "nowhere/*.csv"):
        with pytest.raises(UsageError) as caught:
            find_files([f"s3://{path}{store.options}"], Path(), None)
        told = (caught.value.where, caught.value.what, caught.value.fix)
        expected = ("there is no such bucket", "correct its name, or the endpoint")
        assert told == ("s3://nowhere", *expected)


def test_the_command_says_in_two_lines_that_a_store_is_down(
    written: Callable[..., Path], cli: Cli
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        mapping = written(
            f"s3://data/o.csv?endpoint_override={address}&scheme=http&region=eu-west-1"
        )
        done = cli("run", mapping, "--to", "sandbox", env=cli.environment(**ACCOUNT))
    assert (done.code, done.out) == (4, "")
    first, second = done.err.splitlines()
    assert first.startswith("s3://data/o.csv: the store cannot be reached (AWS Error NETWORK_CONN")
    assert second == f"  fix: {CHECK}, {AGAIN}"


def test_a_damaged_file_in_a_store_is_a_fault_of_the_file_and_not_of_the_store(
    store: Store,
) -> None:
    for name, data in {
        "cut.csv.gz": FORMS["o.csv.gz"][:-9],
        "cut.parquet": FORMS["o.parquet"][:-9],
        "no.parquet": b"id\n1\n",
        "cut.csv.zst": FORMS["o.csv.zst"][:-9],
    }.items():
        store.put(name, data)
        (file,) = find_files([store.uri(name)], Path(), None)
        with pytest.raises(SourceError, match="cannot be read as") as caught:
            list(open_file(file, SourceSpec(path=["x"])).spans(0))
        assert caught.value.where == f"s3://data/{name}"


# ---- secrets


def leaks(text: str) -> list[str]:
    """The credentials in a text, as they are and as an address has them."""
    forms = [SECRET, TOKEN, ACCOUNT["AWS_ACCESS_KEY_ID"]]
    return [form for form in (*forms, *map(quote, forms)) if form in text]


def test_no_credential_of_a_store_is_in_state_log_report_or_output(
    store: Store, written: Callable[..., Path], cli: Cli, ledger: Ledger, tmp_path: Path
) -> None:
    store.put("o.csv", CSV)
    mapping = written(store.uri("o.csv"))
    env = cli.environment(**ACCOUNT)
    done = cli("run", mapping, "--to", ledger.url, "--json", "--log-format", "text", "-v", env=env)
    assert done.code == 3
    written_ = [path for path in (tmp_path / ".backfill").rglob("*") if path.is_file()]
    assert {"checkpoint.json", "report.json", "log.jsonl"} <= {path.name for path in written_}
    kept = (path.read_text(errors="replace") for path in written_)  # the figures are no text
    texts = [done.out, done.err, *kept]
    assert not [found for text in texts for found in leaks(text)]
    assert '"s3://data/o.csv"' in (tmp_path / ".backfill/orders/checkpoint.json").read_text()


CREDENTIALS: Final = (
    *("s3://{}@bucket/a.csv", "s3://AKIA:{}@bucket/a.csv", "s3://bucket/a.csv?secret_key={}"),
    *("s3://bucket/a.csv?region=x&token={}", "gs://{}@bucket/a.csv", "az://me:{}@account/a.csv"),
    *("az://c@a.blob.core.windows.net/x.csv?sp=r&sig={}", "https://me:{}@x.com/a.csv"),
    *("https://x.com/a.csv?X-Amz-Signature={}", "s3://bucket/a.csv?endpoint_override=me:{}@host"),
    *("abfs://c@a/x.csv?account_key={}", "s3://{}:x/y@bucket/a.csv"),
)


@pytest.mark.parametrize("secret", [SECRET, TOKEN, "plain4711"])
@pytest.mark.parametrize("form", CREDENTIALS)
def test_an_address_with_a_credential_in_it_is_refused_without_saying_it_again(
    form: str, secret: str
) -> None:
    path = form.format(quote(secret, safe="") if "//{}" in form else secret)
    with pytest.raises(UsageError) as caught:
        find_files([path], Path(), None)
    parts = [part for part in re.split(r"[/+]", secret) if len(part) > 3]
    told = f"{caught.value}{shown(path)}"
    assert not [part for part in (secret, *parts) if part in told]
    assert caught.value.fix


# ---- addresses


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("s3://b/k.csv", Address("s3", "b", "k.csv")),
        ("S3://b", Address("s3", "b", "")),
        ("gs://b/in/", Address("gs", "b", "in")),
        ("az://c/k?x.csv", Address("az", "c", "k?x.csv")),
        ("s3://b/dt=?/part-?.csv", Address("s3", "b", "dt=?/part-?.csv")),
        ("s3://b/a%20b c#1.csv", Address("s3", "b", "a%20b c#1.csv")),
        ("s3://b/?.csv?region=eu-1", Address("s3", "b", "?.csv", (("region", "eu-1"),))),
        (
            "abfss://c@a.dfs.core.windows.net/k.csv",
            Address("abfss", "c@a.dfs.core.windows.net", "k.csv"),
        ),
        ("file:///data/a%20b.csv", None),
        ("C:/data/a.csv", None),
        ("in/s3:/a.csv", None),
    ],
)
def test_an_address_is_its_parts_and_a_key_is_as_the_store_prints_it(
    path: str, address: Address | None
) -> None:
    assert address_of(path) == address


@given(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["s3://", "gs://", "az://", "abfs://", "https://", "://", "s3:/", ""]),
        st.text("abz/:@?&=*[]%._-0 é\n", max_size=30),
        st.sampled_from(["", "?region=x", "?scheme=http&a=b", "?=", "?key=hush"]),
    )
)
def test_any_text_is_an_address_a_local_path_or_a_fault_with_its_fix(path: str) -> None:
    shown(path)
    try:
        address = address_of(path)
    except AddressError as fault:
        told = (fault.what, fault.fix)
        assert all(told)
        assert "hush" not in "".join(told)
        return
    if address is not None:
        again = "&".join(f"{name}={value}" for name, value in address.options)
        assert address_of(f"{address}?{again}" if again else str(address)) == address


def test_a_file_uri_is_the_path_it_means(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_text("id\n1\n")
    (file,) = find_files([(tmp_path / "a b.csv").as_uri()], Path("/nowhere"), None)
    assert (file.path, file.address) == (str(tmp_path / "a b.csv"), None)


def test_a_run_from_a_disk_loads_no_file_system(tmp_path: Path) -> None:
    """They take a tenth of a second, and more where they look for credentials."""
    (tmp_path / "t.csv").write_text("id\n1\n")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from backfill.mapping.document import SourceSpec\n"
        "from backfill.source import find_files, hashed, open_file, unmixed\n"
        "(file,) = find_files(['t.csv'], Path(), None)\n"
        "list(unmixed(hashed(file), open_file(file, SourceSpec(path=['t.csv'])).spans(0)))\n"
        "os._exit('pyarrow.fs' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)


# ---- how often a store is asked


def test_a_store_is_asked_every_few_seconds_and_before_the_last_span_is_given(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("o.csv", CSV)
    (file,) = find_files([store.uri("o.csv")], Path(), None)
    asked: list[float] = []
    at_s = 0.0

    def clock() -> float:
        return at_s

    monkeypatch.setattr("backfill.source.files.check_unchanged", lambda _: asked.append(clock()))
    batch = pa.RecordBatch.from_pydict({"id": [1]})
    given_: list[int] = []
    for span in unmixed(file, (Span(n, batch) for n in range(13)), clock):
        given_.append(span.start)
        if span.start == 12:
            asked.append(-1.0)
        at_s += 1.0
    assert given_ == list(range(13))
    assert asked == [0.0, 5.0, 10.0, 12.0, -1.0]


# ---- the other stores


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Arrow's file system of a folder in the place of a store's."""
    found = tmp_path / "store"
    (found / "bucket" / "dt=1").mkdir(parents=True)
    inner = fs.SubTreeFileSystem(str(found), fs.LocalFileSystem())
    monkeypatch.setattr(remote, "filesystem", lambda _address: inner)
    return found / "bucket"


@pytest.mark.parametrize("root", ["gs://bucket", "az://bucket", "abfs://bucket@account"])
def test_any_file_system_of_arrow_is_a_store(root: str, folder: Path) -> None:
    (folder / "dt=1" / "a.csv.gz").write_bytes(gzip.compress(CSV))
    (file,) = find_files([f"{root}/dt=1/a.csv.gz"], Path(), None)
    for path in ("dt=1/a.csv.gz", "dt=1", "dt=*/*.gz"):
        (file,) = find_files([f"{root}/{path}"], Path(), None)
        file = hashed(file)
        assert file.path == f"{root}/dt=1/a.csv.gz"
        spans = unmixed(file, open_file(file, SourceSpec(path=["x"])).spans(0))
        assert sum(span.batch.num_rows for span in spans) == 500
    (folder / "dt=1" / "a.csv.gz").write_bytes(b"other")
    with pytest.raises(ResumableError, match="was replaced or written to"):
        check_unchanged(file)
    (folder / "dt=1" / "a.csv.gz").unlink()
    with pytest.raises(ResumableError, match="has gone"):
        check_unchanged(file)
    with pytest.raises(ResumableError, match="has gone"):
        open_file(file, SourceSpec(path=["x"]))


def test_each_store_is_reached_as_its_address_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients themselves; nothing is asked of them."""
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    made = {}
    for path in (
        "s3://b?region=eu-west-3&anonymous=true",
        "gs://b?anonymous=true&endpoint_override=127.0.0.1:1&scheme=http",
        "az://b?account_name=acc&endpoint_override=127.0.0.1:1&scheme=http",
        "abfs://b@acc.dfs.core.windows.net",
    ):
        address = address_of(path)
        assert address is not None
        made[path] = type(remote.filesystem(address)).__name__
    names = ["S3FileSystem", "GcsFileSystem", "AzureFileSystem", "AzureFileSystem"]
    assert list(made.values()) == names


@pytest.mark.parametrize(
    ("path", "env", "expected"),
    [
        ("az://c?account_name=acc", {}, {}),
        ("az://c", {"AZURE_STORAGE_ACCOUNT_NAME": "acc"}, {}),
        (
            "abfs://c@acc.dfs.core.windows.net",
            {"AZURE_STORAGE_ACCOUNT_KEY": "k"},
            {"account_key": "k"},
        ),
        ("az://c@acc", {"AZURE_STORAGE_SAS_TOKEN": "t"}, {"sas_token": "t"}),
    ],
)
def test_the_account_of_azure_is_in_the_address_or_the_environment_its_key_never_in_the_address(
    path: str, env: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    address = address_of(path)
    assert address is not None
    found = remote.azure_options(address)
    authorities = {name for name in found if name.endswith("authority")}
    assert {k: v for k, v in found.items() if k not in authorities} == {
        "account_name": "acc",
        **expected,
    }


def test_an_account_of_azure_that_nobody_named_is_asked_for() -> None:
    address = address_of("az://c/a.csv")
    assert address is not None
    with pytest.raises(UsageError, match="names no storage account") as caught:
        remote.azure_options(address)
    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.fix
