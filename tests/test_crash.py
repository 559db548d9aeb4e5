"""kill -9 at any moment: no row is lost, few are sent twice, and what is sent twice is the same.

The destination is a process of its own that outlives every kill and keeps its own books. Every
random choice comes from a seed that is in the message of each assertion.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger import Arrival, LedgerProcess, delivered, messages_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Cli

CONNECTIONS = 4
WINDOW = 2 * CONNECTIONS
BATCH_MESSAGES = 200
REFUSED = "refuse-this-one"
OPTIONS = ["--rate", "unlimited", "--connections", CONNECTIONS, "--batch-messages", BATCH_MESSAGES]

EVENTS = """\
version: 1
name: events
source: {path: SOURCE}
key: id
messages:
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: {column: at, timezone: UTC}
    properties: {total: {column: total, type: number}, note: note}
"""

PEOPLE = """\
version: 1
name: people
source: {path: people.csv}
key: row
messages:
  - type: identify
    userId: person
    traits: {n: {column: row, type: integer}, pad: pad}
"""


class Books(NamedTuple):
    """What was written, and what must become of it."""

    rows: int
    bad: set[int]
    refused: set[int]


def write_events(folder: Path, rows: int, draw: random.Random, *, form: str) -> Books:
    """Write events: about 1 % cannot be built, a few are refused by the destination."""
    bad = set(draw.sample(range(rows), rows // 100))
    refused = set(draw.sample(sorted(set(range(rows)) - bad), 6))
    columns: dict[str, list[Any]] = {
        "id": list(range(rows)),
        "person": [f"p{n % 997}" for n in range(rows)],
        "at": [f"2020-01-02T03:04:{n % 60:02}Z" for n in range(rows)],
        "total": ["none" if n in bad else f"{n}.25" for n in range(rows)],
        "note": [REFUSED if n in refused else f"note of {n}, “quoted”" for n in range(rows)],
    }
    if form == "parquet":
        pq.write_table(pa.table(columns), folder / "events.parquet", row_group_size=rows // 7)
    else:
        with (folder / "events.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    (folder / "events.yaml").write_text(EVENTS.replace("SOURCE", f"events.{form}"))
    return Books(rows, bad, refused)


class Kills:
    """Runs that are killed, and the runs that go on."""

    def __init__(self, cli: Cli, ledger: LedgerProcess, seed: int, mapping: str) -> None:
        self._cli = cli
        self._ledger = ledger
        self._command = ["run", mapping, "--to", ledger.url, "--json", *OPTIONS]
        self.seed = seed
        self.draw = random.Random(seed)
        self.resent: list[int] = []
        self.arrivals: list[list[Arrival]] = []

    def kill(self) -> None:
        """Begin the run and kill it: mostly amid its requests, at times before the first."""
        running = self._cli.start(*self._command)
        if self.draw.random() < 0.85:
            self._wait_for_a_request(running)
            time.sleep(self.draw.uniform(0, 0.3))
        else:
            time.sleep(self.draw.uniform(0.1, 0.8))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        time.sleep(0.1)  # what the kernel still holds of the dead one's bytes arrives
        self.arrivals.append(self._ledger.news())

    def _wait_for_a_request(self, running: subprocess.Popen[str]) -> None:
        known = self._ledger.bytes_written
        until_s = time.monotonic() + 30
        while self._ledger.bytes_written == known and running.poll() is None:
            assert time.monotonic() < until_s, f"no request (seed {self.seed})"
            time.sleep(0.005)

    def finish(self) -> dict[str, Any]:
        """Run to the end and return the report."""
        done = self._cli(*self._command, timeout_s=120)
        self.arrivals.append(self._ledger.news())
        assert done.code in {0, 3}, f"seed {self.seed}: {done.err}"
        return done.report

    def check_messages(self) -> dict[str, str]:
        """Check what was sent again after each kill; return the text of every message by its id."""
        texts: dict[str, str] = {}
        for arrivals in self.arrivals:
            here: dict[str, str] = {}
            for arrival in arrivals:
                for sent in messages_of(arrival.body):
                    known = texts.get(sent.message_id) or here.get(sent.message_id)
                    assert known in {None, sent.text}, f"seed {self.seed}: {known} {sent.text}"
                    here[sent.message_id] = sent.text
            again = len(here.keys() & texts.keys())
            assert again <= WINDOW * BATCH_MESSAGES, f"seed {self.seed}: {again} sent again"
            self.resent.append(again)
            texts |= here
        return texts

    def check_status(self) -> None:
        """Check that the books of `status` balance right after a kill."""
        done = self._cli("status", "--json")
        assert done.code == 0, f"seed {self.seed}: {done.out}{done.err}"
        for stream in done.report["streams"]:
            rows = dict(stream.get("rows", {"read": 0}))
            assert rows.pop("read") == sum(rows.values()), f"seed {self.seed}: {stream}"
            assert rows.get("pending", 0) >= 0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerProcess]:
    with LedgerProcess(tmp_path / "ledger.log", latency_s=0.025, refuse=REFUSED) as running:
        yield running


@pytest.fixture
def calm(tmp_path: Path) -> Iterator[LedgerProcess]:
    """A ledger that refuses nothing: a batch that is being halved is not drained."""
    with LedgerProcess(tmp_path / "calm.log", latency_s=0.03) as running:
        yield running


def seed_of(request: pytest.FixtureRequest) -> int:
    """Return the seed: of the environment (to play a failure again), else another each time."""
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
    sys.stdout.write(f"{request.node.name}: CRASH_SEED={seed}\n")
    return seed


def rejected_csv(path: Path) -> list[tuple[int, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [(int(row["_row"]) - 2, row["_code"]) for row in csv.DictReader(stream)]


def rejected_parquet(path: Path) -> list[tuple[int, str]]:
    rows = pq.read_table(path).to_pylist()
    return [(row["_row"] - 1, row["_code"]) for row in rows]


def uninterrupted(cli: Cli, folder: Path) -> dict[str, str]:
    """Run the same rows to another ledger, unharmed; return text by id of what was delivered."""
    log = folder / "unharmed.log"
    with LedgerProcess(log, refuse=REFUSED) as other:
        done = cli("run", "events.yaml", "--to", other.url, "--state", "unharmed", *OPTIONS)
        assert done.code == 3, done.err
        return {sent.message_id: sent.text for sent in delivered(other.news())}


@pytest.mark.parametrize(("form", "size"), [("csv", (100_000, 20)), ("parquet", (20_000, 3))])
def test_a_crash_at_any_moment_loses_no_row_and_repeats_only_rows_in_flight(
    cli: Cli,
    tmp_path: Path,
    ledger: LedgerProcess,
    request: pytest.FixtureRequest,
    form: str,
    size: tuple[int, int],
) -> None:
    seed, (rows, kills) = seed_of(request), size
    books = write_events(tmp_path, rows, random.Random(seed), form=form)
    run = Kills(cli, ledger, seed, "events.yaml")
    for number in range(kills):
        run.kill()
        if number % 7 == 0:
            run.check_status()
    report = run.finish()

    run.check_messages()
    got = [sent for arrivals in run.arrivals for sent in delivered(arrivals)]
    assert {sent.message_id: sent.text for sent in got} == uninterrupted(cli, tmp_path), seed
    lost = len(books.bad) + len(books.refused)
    assert len({sent.message_id for sent in got}) == rows - lost, seed

    told = report["rows"]
    assert (report["exit_code"], told["read"], told["pending"]) == (3, rows, 0), seed
    assert (told["delivered"], told["rejected"]) == (rows - lost, lost), seed
    assert report["messages"]["delivered"] == rows - lost
    read = rejected_parquet if form == "parquet" else rejected_csv
    rejects = read(tmp_path / report["rejects"])
    assert len(rejects) == lost, f"seed {seed}: {Counter(rejects).most_common(3)}"
    wanted = {(row, "number-unreadable") for row in books.bad}
    assert set(rejects) == wanted | {(row, "refused") for row in books.refused}, seed
    # the kills must have meant something, or nothing is proven
    assert sum(n > 0 for n in run.resent) >= kills // 3, f"seed {seed}: {run.resent}"


def test_the_order_of_each_id_survives_crashes(
    cli: Cli, tmp_path: Path, ledger: LedgerProcess, request: pytest.FixtureRequest
) -> None:
    seed = seed_of(request)
    draw = random.Random(seed)
    rows, pad = 25_000, "x" * 150
    lines = [f"{n},p{draw.randrange(500)},{pad}" for n in range(rows)]
    (tmp_path / "people.csv").write_text("row,person,pad\n" + "\n".join(lines) + "\n")
    (tmp_path / "people.yaml").write_text(PEOPLE)
    run = Kills(cli, ledger, seed, "people.yaml")
    for _ in range(4):
        run.kill()
    report = run.finish()
    assert report["rows"]["delivered"] == rows
    state = json.loads((tmp_path / ".backfill/people/checkpoint.json").read_bytes())
    assert state["lane_count"] >= 3, "one lane proves nothing"

    run.check_messages()
    seen: set[str] = set()
    order: dict[str, list[int]] = defaultdict(list)
    for arrivals in run.arrivals:
        for sent in delivered(arrivals):
            if sent.message_id not in seen:
                seen.add(sent.message_id)
                message = json.loads(sent.text)
                order[message["userId"]].append(message["traits"]["n"])
    assert len(seen) == rows, seed
    assert all(numbers == sorted(numbers) for numbers in order.values()), seed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_and_saves_and_says_how_to_go_on(
    cli: Cli, tmp_path: Path, calm: LedgerProcess, number: int, code: int
) -> None:
    write_events(tmp_path, 20_000, random.Random(1), form="csv")
    command = ["run", "events.yaml", "--to", calm.url, *OPTIONS]
    running = cli.start(*command)
    calm.wait_for(5)
    begun_s = time.monotonic()
    running.send_signal(number)
    out, err = running.communicate(timeout=25)
    assert time.monotonic() - begun_s < 3, "answers take 30 ms, so draining is short"
    assert running.returncode == code, err
    assert "stopping: waiting for answers that are under way" in err
    assert "Traceback" not in err
    words = " ".join(map(str, ["backfill", *command]))
    assert f"go on with: {words}" in out
    calm.news()
    first = {sent.message_id for arrival in calm.arrivals for sent in messages_of(arrival.body)}
    done = cli(*command, "--json")
    assert done.code == 3, done.err
    again = {sent.message_id for arrival in calm.news() for sent in messages_of(arrival.body)}
    assert not first & again, "what was drained is not sent again"
    assert len(first | again) == 20_000 - 200


STRACE = shutil.which("strace")


@pytest.mark.large
@pytest.mark.skipif(STRACE is None, reason="strace is not on this machine")
@pytest.mark.parametrize("call", ["openat", "write", "fsync", "rename", "link", "close"])
def test_a_kill_at_any_system_call_on_the_state_loses_nothing(
    cli: Cli, tmp_path: Path, call: str
) -> None:
    assert STRACE is not None
    books = write_events(tmp_path, 3_000, random.Random(7), form="csv")
    killed = 0
    for when in range(1, 9):
        with ExitStack() as stack:
            ledger = LedgerProcess(tmp_path / f"{call}{when}.log", refuse=REFUSED)
            stack.enter_context(ledger)
            state = tmp_path / f"state-{call}{when}"
            run = ["run", "events.yaml", "--to", ledger.url, "--state", str(state), *OPTIONS]
            folder = state / "events"
            watched = [folder, *(folder / f"checkpoint.json{end}" for end in ("", ".tmp", ".prev"))]
            paths = [word for path in watched for word in ("-P", str(path))]
            inject = f"inject={call}:signal=KILL:when={when}"
            first = subprocess.run(
                [
                    STRACE,
                    "-f",
                    "-o",
                    "/dev/null",
                    *paths,
                    "-e",
                    inject,
                    sys.executable,
                    "-m",
                    "backfill",
                    *map(str, run),
                ],
                cwd=tmp_path,
                env=cli.environment(),
                capture_output=True,
                check=False,
            )
            done = cli(*run, "--json")
            # a call that comes less often kills nobody, and then there is nothing left to do
            assert done.code == (0 if first.returncode == 3 else 3), f"{call} {when}: {done.err}"
            killed += first.returncode != 3
            got = {sent.message_id for sent in delivered(ledger.news())}
            lost = len(books.bad) + len(books.refused)
            assert len(got) == books.rows - lost, f"{call} {when}"
            assert len(rejected_csv(Path(done.report["rejects"]))) == lost, f"{call} {when}"
    assert killed >= 4, "the kills must have meant something"


@pytest.mark.large
def test_a_stop_waits_no_longer_than_it_says_for_answers(cli: Cli, tmp_path: Path) -> None:
    write_events(tmp_path, 5_000, random.Random(4), form="csv")
    with LedgerProcess(tmp_path / "hung.log", latency_s=60.0) as hung:
        running = cli.start("run", "events.yaml", "--to", hung.url, *OPTIONS)
        hung.wait_for(1)
        begun_s = time.monotonic()
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=40)
        assert 19 < time.monotonic() - begun_s < 22
        assert running.returncode == 143
