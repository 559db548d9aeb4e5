"""Sources in S3, and by the same code in Google Cloud Storage and Azure: the same as from a disk.

The store is moto's S3, which nobody here wrote, on loopback. Of the other two what needs no server
is tested: their addresses, and the listing of files through Arrow's file system of a folder.
"""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ORDERS, orders_csv
from hypothesis import given
from hypothesis import strategies as st
from ledger import LedgerProcess, Reply
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from pyarrow import fs
from werkzeug.serving import make_server

from backfill.errors import ResumableError, UsageError
from backfill.mapping.document import SourceSpec
from backfill.mapping.uri import Address, AddressError, address_of, shown
from backfill.source import (
    SourceFile,
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
    pq.write_table(table, sink, row_group_size=group, compression="none")
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
        ["in/**"],
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
    checked = cli("check", mapping, "--source", store.uri("other.csv"), "--json", env=env)
    assert (checked.code, checked.err) == (0, "")
    shown_ = cli("preview", mapping, "-n", "1", "--source", store.uri("other.csv"), env=env)
    assert (shown_.code, "s3://data/other.csv" in shown_.out) == (0, True)


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
    before = orders_csv(40_000, note="a" * 60).encode()
    store.put("o.csv", before)

    def replace(_body: bytes) -> Reply:
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
    assert door(mapping)["exit_code"] == 13
    assert len(ledger.arrivals) == arrived


def test_an_object_that_goes_during_a_run_stops_it(
    store: Store, written: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    store.put("o.csv", orders_csv(40_000, note="a" * 60).encode())

    def remove(_body: bytes) -> Reply:
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].delete_object(BUCKET, "o.csv")
        return Reply()

    ledger.answer = remove
    report = door(written(store.uri("o.csv")), connections=1)
    assert report["exit_code"] == 4
    assert report["error"]["what"] == "the file has gone while it was being read"


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.jsonl", "o.parquet"])
def test_a_store_that_dies_on_the_way_stops_the_run_resumable_and_the_next_one_ends_it(
    name: str,
    store: Store,
    written: Callable[..., Path],
    door: Door,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "READ_BYTES", 1 << 16)
    csv = orders_csv(30_000, note="n" * 60).encode()
    forms = {
        "o.csv": csv,
        "o.csv.gz": gzip.compress(csv, 0),
        "o.jsonl": jsonl(csv),
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
    assert 0 < report["rows"]["delivered"] < 30_000
    done = door(mapping)
    assert (done["exit_code"], done["rows"]["delivered"]) == (0, 30_000)
    assert len({one.message_id for one in ledger.sent}) == 30_000
    assert len(ledger.sent) == 30_000  # it was no kill: nothing is sent twice
