"""Data that nobody here wrote, through the real CLI into the sandbox, against a second opinion.

`independent.py` reads the same files row by row and says what every message must be.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import independent
import pytest
from conftest import ROOT, Cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from independent import Message

MAPPINGS = ROOT / "tests" / "datasets"
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the shared datasets are not on this machine ({DATA})"
)

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
"""Crockford's base32, 26 characters: the form the destination takes for an event's id."""


class Run(NamedTuple):
    """What one command left behind."""

    exit_code: int
    report: dict[str, Any]
    messages: list[Message]
    talk: str


class Case(NamedTuple):
    """One source with its mapping, and what it must come to."""

    mapping: str
    source: str
    read: int
    expected: Callable[[Path], Iterator[Message]]
    rejected: int = 0

    @property
    def path(self) -> Path:
        """Where the source is on this machine."""
        return DATA / "datasets" / self.source


CASES = [
    Case("jaffle_customers", "jaffle/raw_customers.csv", 932, independent.jaffle_customers),
    Case("jaffle_orders", "jaffle/raw_orders.csv", 73_902, independent.jaffle_orders),
    Case("jaffle_stores", "jaffle/raw_stores.csv", 6, independent.jaffle_stores),
    Case("jaffle_tweets", "jaffle/raw_tweets.csv", 22_179, independent.jaffle_tweets),
    Case("chinook_customer", "chinook/Customer.csv", 59, independent.chinook_customer),
    Case("chinook_customer", "chinook/Customer.parquet", 59, independent.chinook_customer),
    Case("chinook_invoice", "chinook/Invoice.csv", 412, independent.chinook_invoice),
    Case("chinook_invoice", "chinook/Invoice.parquet", 412, independent.chinook_invoice),
    Case("cdnow", "cdnow/example_transactions.csv", 15_273, independent.cdnow),
    Case("online_retail", "online-retail", 14_022, independent.online_retail, rejected=4_195),
]
SPECTRUM = [
    DATA / "csv" / "csv-spectrum" / "csvs" / f"{name}.csv"
    for name in [
        "comma_in_quotes",
        "empty",
        "empty_crlf",
        "escaped_quotes",
        "json",
        "location_coordinates",
        "newlines",
        "newlines_crlf",
        "quotes_and_newlines",
        "simple",
        "simple_crlf",
        "utf8",
    ]
]


def command(*arguments: object, state: Path, timeout_s: float = 600) -> tuple[int, Any, str]:
    """Run `backfill run …` as a person would: exit code, what `--json` printed last, the talk."""
    cli, options = Cli(ROOT), ["--to", "sandbox", "--state", state, "--json"]
    done = cli("run", *arguments, *options, env=cli.environment(None), timeout_s=timeout_s)
    assert done.out, f"nothing on stdout, exit code {done.code}\n{done.err[-4000:]}"
    return done.code, done.report, done.err


def stored(state: Path) -> Iterator[Message]:
    """Every message the sandbox holds, in the order of its arrival.

    Read from its table: `Store.messages` makes floats of the numbers, and their digits count here.
    Each must have done what it asked (none stale, suppressed or in conflict).
    """
    with closing(sqlite3.connect(state / "sandbox.sqlite")) as database:
        for body, done in database.execute("SELECT body, effect FROM messages ORDER BY seq"):
            assert done == "applied", body
            yield json.loads(body, parse_float=Decimal)


def run(mapping: Path, source: Path, state: Path) -> Run:
    code, report, talk = command(mapping, "--source", source, "--rate", "unlimited", state=state)
    return Run(code, report, list(stored(state)), talk)


def canonical(message: Message) -> str:
    """One text for one meaning; 12.30, 12.3 and "12.3" are three."""
    members = {name: value for name, value in message.items() if name != "messageId"}
    return json.dumps(members, sort_keys=True, ensure_ascii=False, default=_digits)


def _digits(number: Decimal) -> str:
    assert isinstance(number, Decimal)
    return f"\0{number}"


def assert_same(found: Iterable[Message], expected: Iterable[Message]) -> None:
    """Compare as multisets; the first messages that differ are shown."""
    ours, theirs = Counter(map(canonical, found)), Counter(map(canonical, expected))
    extra, missing = list((ours - theirs).elements()), list((theirs - ours).elements())
    assert extra + missing == [], "\n".join(
        [f"{len(extra)} not expected, {len(missing)} missing", *extra[:3], "—", *missing[:3]]
    )


def assert_balanced(report: dict[str, Any], read: int, rejected: int = 0) -> None:
    rows = report["rows"]
    others = {"filtered": 0, "held": 0, "unchanged": 0, "pending": 0}
    assert rows == {"read": read, "delivered": read - rejected, "rejected": rejected, **others}


def label(value: object) -> str:
    if isinstance(value, Case):
        return f"{value.mapping}-{value.source.rpartition('.')[2]}"
    return value.stem if isinstance(value, Path) else str(value)


@pytest.fixture(scope="module", params=CASES, ids=label)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, Run]:
    """Send a dataset once; several claims are made about it."""
    case: Case = request.param
    mapping = MAPPINGS / f"{case.mapping}.yaml"
    return case, run(mapping, case.path, tmp_path_factory.mktemp(case.mapping))


@needs_data
def test_every_message_is_the_one_that_an_independent_reading_makes(
    finished: tuple[Case, Run],
) -> None:
    case, done = finished
    assert_same(done.messages, case.expected(case.path))


@needs_data
def test_every_message_id_is_unique_and_has_the_form_of_a_ulid(
    finished: tuple[Case, Run],
) -> None:
    case, done = finished
    ids = [message["messageId"] for message in done.messages]
    assert [one for one in ids if not ULID.fullmatch(one)] == []
    assert len(set(ids)) == len(ids) == case.read - case.rejected


@needs_data
def test_the_exit_code_and_the_books_say_what_became_of_every_row(
    finished: tuple[Case, Run],
) -> None:
    case, done = finished
    code = 3 if case.rejected else 0
    assert (done.exit_code, done.report["exit_code"]) == (code, code), done.talk[-4000:]
    assert_balanced(done.report, case.read, case.rejected)
    good = case.read - case.rejected
    assert done.report["messages"] == {"built": good, "delivered": good, "refused": 0}
    assert sum(file["rows"] for file in done.report["files"]) == case.read
    expected = {"id-missing": case.rejected} if case.rejected else {}
    assert done.report["rejects_by_code"] == expected


@needs_data
def test_the_report_knows_the_range_of_the_times_that_were_sent(
    finished: tuple[Case, Run],
) -> None:
    case, done = finished
    times = [m["timestamp"] for m in case.expected(case.path) if "timestamp" in m]
    found = done.report["timestamps"]
    assert found["within_72h"] == 0
    if times:
        ends = [datetime.fromisoformat(found[end]) for end in ("min", "max")]
        assert ends == [datetime.fromisoformat(pick(times)) for pick in (min, max)]
    else:
        assert (found["min"], found["max"]) == (None, None)


@needs_data
@pytest.mark.parametrize("table", ["Customer", "Invoice"])
def test_a_csv_and_its_parquet_twin_give_the_same_messages(table: str, tmp_path: Path) -> None:
    mapping = MAPPINGS / f"chinook_{table.lower()}.yaml"
    folder = DATA / "datasets" / "chinook"
    text = run(mapping, folder / f"{table}.csv", tmp_path / "csv")
    typed = run(mapping, folder / f"{table}.parquet", tmp_path / "parquet")
    assert len(text.messages) > 0
    assert_same(text.messages, typed.messages)


@needs_data
def test_the_rejects_are_exactly_the_rows_without_a_customer(tmp_path: Path) -> None:
    folder = DATA / "datasets" / "online-retail"
    done = run(MAPPINGS / "online_retail.yaml", folder, tmp_path)
    with (ROOT / done.report["rejects"]).open(newline="", encoding="utf-8") as file:
        header, *cells = list(csv.reader(file, strict=True))
    expected = list(independent.online_retail_rejects(folder))
    columns = list(expected[0][2])
    assert header == [*columns, "_row", "_column", "_code", "_reason", "_file"]
    found = [dict(zip(header, row, strict=True)) for row in cells]
    assert {(row["_column"], row["_code"]) for row in found} == {("CustomerID", "id-missing")}
    assert all(row["_reason"] for row in found)
    ours = [
        (Path(row["_file"]).name, int(row["_row"]), {name: row[name] for name in columns})
        for row in found
    ]
    assert sorted(ours, key=lambda row: row[:2]) == expected


@needs_data
@pytest.mark.parametrize("path", SPECTRUM, ids=label)
def test_every_csv_of_the_spectrum_keeps_every_character(path: Path, tmp_path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    message = {
        "type": "identify",
        "userId": {"const": "spectrum"},
        "traits": {column: {"column": column} for column in columns},
    }
    mapping = tmp_path / "spectrum.yaml"
    body = {"version": 1, "source": {"path": str(path)}, "messages": [message]}
    mapping.write_text(json.dumps(body), encoding="utf-8")  # JSON is YAML
    done = run(mapping, path, tmp_path / "state")
    assert done.exit_code == 0, done.talk[-4000:]
    assert_same(done.messages, independent.spectrum(path))


@needs_data
@pytest.mark.parametrize("path", SPECTRUM, ids=label)
def test_our_reading_of_the_spectrum_is_the_one_its_authors_publish(path: Path) -> None:
    published = json.loads((path.parent.parent / "json" / f"{path.stem}.json").read_bytes())
    if path.stem == "location_coordinates":
        pytest.skip("its JSON has another telephone number than its CSV")
    assert list(independent.csv_rows(path)) == published


@needs_data
@pytest.mark.large
def test_three_million_flights_all_arrive_once_and_as_they_are(tmp_path: Path) -> None:
    path = DATA / "datasets" / "flights" / "flights-3m.parquet"
    code, report, talk = command(
        *(MAPPINGS / "flights.yaml", "--source", path, "--rate", "unlimited"),
        state=tmp_path,
        timeout_s=3600,
    )
    assert code == 0, talk[-4000:]
    assert_balanced(report, 3_000_000)
    found, ids, wanted = 0, set(), sampled(independent.flights(path))
    for message in stored(tmp_path):
        assert ULID.fullmatch(message["messageId"])
        ids.add(message["messageId"])
        text = canonical(message)
        wanted.discard(text)
        found += digest(text)
    assert len(ids) == 3_000_000
    assert wanted == set(), "every 1000th row is there, member by member"
    assert found == sum(digest(canonical(one)) for one in independent.flights(path))


def sampled(messages: Iterator[Message]) -> set[str]:
    return set(map(canonical, islice(messages, 0, None, 1000)))


def digest(text: str) -> int:
    """Make a number of a text: two sums of these agree, in any order, only where all texts do."""
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest())


# The samples: the README's first command, for a person who has nothing but the checkout.

SAMPLES = {
    "customers": 59,
    "companies": 10,
    "orders": 412,
    "page_views": 300,
    "app_screens": 120,
    "merged_accounts": 8,
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Run:
    state = tmp_path_factory.mktemp("samples")
    code, report, talk = command("mappings/", state=state)
    return Run(code, report, list(stored(state)), talk)


def test_the_samples_arrive_whole_with_exit_code_0(samples: Run) -> None:
    assert (samples.exit_code, samples.report["exit_code"]) == (0, 0), samples.talk[-4000:]
    streams = {report["stream"]: report for report in samples.report["streams"]}
    assert set(streams) == set(SAMPLES)
    for name, rows in SAMPLES.items():
        assert_balanced(streams[name], rows)
    assert len({message["messageId"] for message in samples.messages}) == sum(SAMPLES.values())


def test_the_samples_come_people_first_and_merges_last(samples: Run) -> None:
    types = [message["type"] for message in samples.messages]
    assert types[:59] == ["identify"] * 59
    assert types[-8:] == ["alias"] * 8
    assert types.index("group") < types.index("track")


@pytest.mark.parametrize("golden", independent.SAMPLES, ids=lambda message: str(message["type"]))
def test_a_row_of_the_samples_becomes_the_message_its_mapping_promises(
    samples: Run, golden: Message
) -> None:
    assert canonical(golden) in set(map(canonical, samples.messages))
