"""kill -9 at any moment: no row is lost, few are sent twice, and what is sent twice is the same.

The destination is a process of its own that outlives every kill and keeps its own books. Every
random choice comes from a seed that is in the message of each assertion. `--kills 500` makes so
many of them; rows lost and what one kill cost at most stand at the end of the output.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import KILLED, SEED, Killed
from ledger import Arrival, LedgerProcess, Sent, delivered, messages_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Cli

CONNECTIONS = 4
WINDOW = 2 * CONNECTIONS
BATCH_MESSAGES = 100
REFUSED = "refuse-this-one"
KILLS_A_ROUND = 20
OPTIONS = ["--rate", "unlimited", "--connections", CONNECTIONS, "--batch-messages", BATCH_MESSAGES]

EVENTS = """\
version: 1
name: events
source: {path: SOURCE}
messages:
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: {column: at, timezone: UTC}
    properties: {total: {column: total, type: number}, note: note}
"""

PEOPLE = """\
version: 1
name: events
source: {path: SOURCE}
messages:
  - type: identify
    userId: person
    traits: {n: {column: id, type: integer}, total: {column: total, type: number}, note: note}
"""


class Kind(NamedTuple):
    """What is written, and how its messages are known and ordered."""

    form: str
    mapping: str = EVENTS
    is_keyed: bool = True
    has_rejects: bool = True


KINDS = {
    "csv-track": Kind("csv"),
    "csv-identify": Kind("csv", PEOPLE, has_rejects=False),
    "parquet-track": Kind("parquet", is_keyed=False),
    "parquet-identify": Kind("parquet", PEOPLE),
    "gz-track": Kind("csv.gz", is_keyed=False, has_rejects=False),
    "gz-identify": Kind("csv.gz", PEOPLE, is_keyed=False),
}


class Books(NamedTuple):
    """What was written, and what must become of it."""

    rows: int
    bad: set[int]
    refused: set[int]

    @property
    def lost(self) -> int:
        """Rows that are told and not delivered."""
        return len(self.bad) + len(self.refused)


def write_events(
    folder: Path, rows: int, draw: random.Random, kind: Kind = KINDS["csv-track"]
) -> Books:
    """Write rows: where it has rejects, 1 % cannot be built and a few the destination refuses."""
    bad = set(draw.sample(range(rows), rows // 100)) if kind.has_rejects else set()
    good = sorted(set(range(rows)) - bad)
    refused = set(draw.sample(good, 6)) if kind.has_rejects else set()
    notes = [f"“{draw.getrandbits(800):0200x}”, of {n}" for n in range(rows)]  # nothing to pack
    columns: dict[str, list[Any]] = {
        "id": list(range(rows)),
        "person": [f"p{draw.randrange(500)}" for _ in range(rows)],
        "at": [f"2020-01-02T03:04:{n % 60:02}Z" for n in range(rows)],
        "total": ["none" if n in bad else f"{n}.25" for n in range(rows)],
        "note": [REFUSED if n in refused else note for n, note in enumerate(notes)],
    }
    path = folder / f"events.{kind.form}"
    if kind.form == "parquet":
        pq.write_table(pa.table(columns), path, row_group_size=rows // 7)
    else:
        opened = gzip.open if kind.form.endswith("gz") else open
        with opened(path, "wt", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    mapping = kind.mapping.replace("SOURCE", f"events.{kind.form}")
    key = "key: id\nmessages:" if kind.is_keyed else "messages:"
    (folder / "events.yaml").write_text(mapping.replace("messages:", key))
    return Books(rows, bad, refused)


class Kills:
    """Runs that are killed, and the runs that go on."""

    def __init__(self, cli: Cli, ledger: LedgerProcess, seed: int) -> None:
        self._cli = cli
        self._ledger = ledger
        self._command = ["run", "events.yaml", "--to", ledger.url, "--json", *OPTIONS]
        self.seed = seed
        self.draw = random.Random(seed)
        self.kills = 0
        self.arrivals: list[list[Arrival]] = []
        """Of each run: those that were killed, and the last one."""

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
        self.kills += running.returncode == -signal.SIGKILL  # or it was through before
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

    def resent(self) -> list[int]:
        """Return how many batches each kill made to be sent twice.

        A batch belongs to the run that sent it last; it counts where a later run sends any message
        of it again. A message is always the same text.
        """
        texts: dict[str, str] = {}
        batch_of: dict[str, tuple[int, int]] = {}
        again: set[tuple[int, int]] = set()
        for run, arrivals in enumerate(self.arrivals):
            here: dict[str, tuple[int, int]] = {}
            for number, arrival in enumerate(arrivals):
                for sent in messages_of(arrival.body):
                    known = texts.setdefault(sent.message_id, sent.text)
                    assert known == sent.text, f"seed {self.seed}: {known} {sent.text}"
                    # the whole batch comes first; where it is refused, what it is made of follows
                    here.setdefault(sent.message_id, (run, number))
            again |= {batch_of[message_id] for message_id in here.keys() & batch_of.keys()}
            batch_of |= here
        return [sum(run == one for run, _ in again) for one in range(len(self.arrivals))]

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
    """Return a seed of this test's own, made of the one that the end of the output tells."""
    seed = zlib.crc32(f"{request.config.stash[SEED]} {request.node.name}".encode())
    sys.stdout.write(f"{request.node.name}: CRASH_SEED={request.config.stash[SEED]}\n")
    return seed


def rejected(path: Path) -> list[tuple[int, str]]:
    """Return (row of the file from 0, code) of each reject."""
    if path.suffix == ".parquet":
        return [(row["_row"] - 1, row["_code"]) for row in pq.read_table(path).to_pylist()]
    with path.open(newline="", encoding="utf-8") as stream:
        return [(int(row["_row"]) - 2, row["_code"]) for row in csv.DictReader(stream)]


def uninterrupted(cli: Cli, folder: Path) -> dict[str, str]:
    """Run the same rows to another ledger, unharmed; return text by id of what was delivered."""
    log = folder / "unharmed.log"
    with LedgerProcess(log, refuse=REFUSED) as other:
        done = cli("run", "events.yaml", "--to", other.url, "--state", "unharmed", *OPTIONS)
        assert done.code in {0, 3}, done.err
        return {sent.message_id: sent.text for sent in delivered(other.news())}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Share the kills of `--kills` among the kinds, in rounds that begin anew."""
    if "round_" not in metafunc.fixturenames:
        return
    share = -(-metafunc.config.getoption("kills") // len(KINDS))
    rounds = [
        pytest.param((name, kills), id=f"{name}-{number}")
        for name in KINDS
        for number, kills in enumerate(_rounds(share))
    ]
    metafunc.parametrize("round_", rounds)


def _rounds(share: int) -> list[int]:
    whole, rest = divmod(share, KILLS_A_ROUND)
    return [KILLS_A_ROUND] * whole + [rest] * bool(rest)


def test_a_crash_at_any_moment_loses_no_row_and_repeats_only_batches_in_flight(
    cli: Cli,
    tmp_path: Path,
    ledger: LedgerProcess,
    request: pytest.FixtureRequest,
    round_: tuple[str, int],
) -> None:
    seed, (name, kills) = seed_of(request), round_
    kind = KINDS[name]
    books = write_events(tmp_path, 1_500 * kills + 8_000, random.Random(seed), kind)
    run = Kills(cli, ledger, seed)
    for number in range(kills):
        run.kill()
        if number % 7 == 0:
            run.check_status()
    report = run.finish()

    got = [sent for arrivals in run.arrivals for sent in delivered(arrivals)]
    wanted, resent = uninterrupted(cli, tmp_path), run.resent()
    lost = wanted.keys() - {sent.message_id for sent in got}
    killed = Killed(run.kills, len(lost), max(resent), WINDOW)
    request.node.user_properties.append((KILLED, list(killed)))
    assert not lost, f"seed {seed}: {len(lost)} rows are lost"
    assert max(resent) <= WINDOW, f"seed {seed}: {resent}"
    assert {sent.message_id: sent.text for sent in got} == wanted, seed
    check_books(books, report, tmp_path, seed)
    if kind.mapping == PEOPLE:
        check_order(got, tmp_path, seed)
    # the kills must have meant something, or nothing is proven
    assert sum(n > 0 for n in resent) >= kills // 3, f"seed {seed}: {resent}"


PAD: Final = "x" * 2_000


def test_a_crash_behind_a_place_to_read_on_from_loses_no_row(
    cli: Cli, tmp_path: Path, ledger: LedgerProcess, request: pytest.FixtureRequest
) -> None:
    """Places are 8 MiB apart; in lanes, what is settled is behind what was read."""
    seed = seed_of(request)
    books = write_events(tmp_path, 20_000, random.Random(seed), KINDS["csv-identify"])
    path = tmp_path / "events.csv"
    with path.open(encoding="utf-8") as stream:
        padded = [f"{line.rstrip()},{PAD}\n" for line in stream]
    path.write_text("".join(padded), encoding="utf-8")
    run = Kills(cli, ledger, seed)
    state = tmp_path / ".backfill/events/checkpoint.json"
    places: list[int] = []
    while len(places) < 3:
        run.kill()
        assert run.kills < 25, seed
        file = json.loads(state.read_bytes())["files"][0] if state.exists() else {"place": []}
        if file["place"]:
            assert file["place"][0] <= min(lane["low"] for lane in file["lanes"]), seed
            places.append(file["place"][0])
    report = run.finish()
    got = [sent for arrivals in run.arrivals for sent in delivered(arrivals)]
    assert {sent.message_id: sent.text for sent in got} == uninterrupted(cli, tmp_path), seed
    assert max(run.resent()) <= WINDOW, f"seed {seed}: {run.resent()}"
    check_books(books, report, tmp_path, seed)
    check_order(got, tmp_path, seed)


GROUPED = """\
version: 1
name: events
source: {path: events.csv}
where: note != "TEST"
rows: {group_by: order, order_within: id}
messages:
  - type: track
    when: total is not None
    userId: person
    event: {const: Bought}
    timestamp: at
    properties:
      total: {agg: sum, column: price}
      lines: {each_row: {id: {column: id, type: integer}, price: {column: price, type: number}}}
      note: {agg: last, column: note}
  - type: identify
    userId: person
    traits: {n: {agg: max, column: id, type: integer}, note: {agg: first, column: note}}
"""


def write_groups(folder: Path, rows: int, draw: random.Random) -> set[int]:
    """Write groups of one to five lines, and return the rows of those that cannot be built."""
    lines: list[list[Any]] = []
    bad: set[int] = set()
    while len(lines) < rows:
        order, person = len(lines), f"p{draw.randrange(300)}"
        first, is_bad = len(lines), draw.random() < 0.02
        total = draw.choice(["1", "1", "1", ""])
        for at in range(draw.randint(1, 5)):
            price = "none" if is_bad and not at else f"{draw.randrange(900)}.50"
            note = "TEST" if at and draw.random() < 0.1 else f"{draw.getrandbits(1200):0300x}"
            at_s = "2020-01-02T03:04:05Z"
            lines.append([len(lines), order, person, at_s, total, price, note])
        if is_bad and total:
            bad |= {at for at in range(first, len(lines)) if lines[at][6] != "TEST"}
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "order", "person", "at", "total", "price", "note"])
        writer.writerows(lines)
    (folder / "events.yaml").write_text(GROUPED)
    return bad


def test_a_crash_amid_groups_of_rows_loses_none_and_cuts_none(
    cli: Cli, tmp_path: Path, ledger: LedgerProcess, request: pytest.FixtureRequest
) -> None:
    seed = seed_of(request)
    bad = write_groups(tmp_path, 14_000, random.Random(seed))
    run = Kills(cli, ledger, seed)
    for _ in range(4):
        run.kill()
        run.check_status()
    report = run.finish()
    got = [sent for arrivals in run.arrivals for sent in delivered(arrivals)]
    wanted = uninterrupted(cli, tmp_path)
    assert {sent.message_id: sent.text for sent in got} == wanted, seed
    assert max(run.resent()) <= WINDOW, f"seed {seed}: {run.resent()}"
    assert sum(run.resent()) > 0, seed
    assert {row for row, _ in rejected(tmp_path / report["rejects"])} == bad, seed
    assert report["rows"]["rejected"] == len(bad), seed
    assert report["rows"]["filtered"] > 0
    check_order(got, tmp_path, seed)


def check_books(books: Books, report: dict[str, Any], folder: Path, seed: int) -> None:
    """Check that the report, the rejects file and what was written say the same."""
    told = report["rows"]
    assert (told["read"], told["pending"]) == (books.rows, 0), seed
    assert (told["delivered"], told["rejected"]) == (books.rows - books.lost, books.lost), seed
    assert report["messages"]["delivered"] == books.rows - books.lost, seed
    assert report["exit_code"] == (3 if books.lost else 0), seed
    rejects = rejected(folder / report["rejects"]) if books.lost else []
    assert len(rejects) == books.lost, f"seed {seed}: {Counter(rejects).most_common(3)}"
    wanted = {(row, "number-unreadable") for row in books.bad}
    assert set(rejects) == wanted | {(row, "refused") for row in books.refused}, seed


def check_order(got: list[Sent], folder: Path, seed: int) -> None:
    """Check that each id's messages were first delivered in the order of its rows."""
    state = json.loads((folder / ".backfill/events/checkpoint.json").read_bytes())
    assert state["lane_count"] >= 3, "one lane proves nothing"
    order: dict[str, list[int]] = defaultdict(list)
    for text in dict.fromkeys(sent.text for sent in got):  # in the order of their first arrival
        message = json.loads(text)
        if message["type"] == "identify":
            order[message["userId"]].append(message["traits"]["n"])
    assert all(numbers == sorted(numbers) for numbers in order.values()), seed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_and_saves_and_says_how_to_go_on(
    cli: Cli, tmp_path: Path, calm: LedgerProcess, number: int, code: int
) -> None:
    write_events(tmp_path, 20_000, random.Random(1))
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
    books = write_events(tmp_path, 3_000, random.Random(7))
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
            assert len(rejected(Path(done.report["rejects"]))) == lost, f"{call} {when}"
    assert killed >= 4, "the kills must have meant something"


@pytest.mark.large
def test_a_stop_waits_no_longer_than_it_says_for_answers(cli: Cli, tmp_path: Path) -> None:
    write_events(tmp_path, 5_000, random.Random(4))
    with LedgerProcess(tmp_path / "hung.log", latency_s=60.0) as hung:
        running = cli.start("run", "events.yaml", "--to", hung.url, *OPTIONS)
        hung.wait_for(1)
        begun_s = time.monotonic()
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=40)
        assert 19 < time.monotonic() - begun_s < 22
        assert running.returncode == 143
