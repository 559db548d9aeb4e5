"""Input that was made, or broke, to do harm: nothing shifts, nothing is lost without a word.

The files of the table in the brief "hostile input", each through the command line, then bytes that
are changed at random: whatever they are, they end in a report that adds up or in one clear fault.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger import Ledger
from reference import build
from test_memory import LAUNCH

import backfill
from backfill.launch import Settings, dry_report, plan_of
from backfill.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Done

    Door = Callable[..., dict[str, Any]]

MAPPING: Final = """\
version: 1
name: people
source: {path: SOURCE}
key: id
messages:
  - type: identify
    userId: id
    traits: {a: a}
"""


def mapped(folder: Path, name: str, data: bytes | str) -> None:
    """Write a source, and `people.yaml` for it."""
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (folder / "people.yaml").write_text(MAPPING.replace("SOURCE", name))


# ---- the sixteen CSV files


class Case(NamedTuple):
    """A CSV, what is sent of it (the trait `a` by id), and which rows are rejected."""

    data: bytes | str
    sent: dict[str, str]
    rejects: dict[int, str]


LONG: Final = "y" * (8 << 20)
CASES: Final = {
    "the first row has a cell more": Case("id,a\n1,x,more\n2,y\n", {"2": "y"}, {2: "row-ragged"}),
    "a row is short": Case("id,a,b\n1,x,\n2,y\n3,z,\n", {"1": "x", "3": "z"}, {3: "row-ragged"}),
    "a byte of latin-1": Case(
        b"id,a\n1,x\n2,Bj\xf8rn\n3,z\n", {"1": "x", "3": "z"}, {3: "not-utf8"}
    ),
    "NA, null, None, nan are words": Case(
        "id,a\n1,NA\nnull,null\n3,None\n4,nan\n",
        {"1": "NA", "null": "null", "3": "None", "4": "nan"},
        {},
    ),
    "digits stay digits": Case(
        "id,a\n007,123456789012345678901\n123456789012345678901,007\n",
        {"007": "123456789012345678901", "123456789012345678901": "007"},
        {},
    ),
    "a column without a name": Case("id,,a,\n1,x,y,z\n", {"1": "y"}, {}),
    "a stray quote": Case('id,a\n1,a"b\n2,"a"b\n', {"1": 'a"b', "2": "ab"}, {}),
    "a line of 8 MiB": Case(
        f"id,a\n1,x\n2,{LONG}\n3,z\n", {"1": "x", "3": "z"}, {3: "row-too-long"}
    ),
    "NUL": Case("id,a\n1,x\x00y\n", {"1": "x\x00y"}, {}),
    "line ends in cells": Case(
        'id,a\n1,"x\ny"\n2,\n,z\n', {"1": "x\ny", "2": ""}, {4: "key-blank"}
    ),
    "blank lines": Case("\n\nid,a\n\n1,x\n\n\n2,y\n\n", {"1": "x", "2": "y"}, {}),
    "CR only": Case("id,a\r1,x\r,y\r", {"1": "x"}, {3: "key-blank"}),
    "mixed line ends": Case("id,a\r\n1,x\n2,y\r3,z\r\n", {"1": "x", "2": "y", "3": "z"}, {}),
    "no line end at the end": Case("id,a\n1,x\n2,y", {"1": "x", "2": "y"}, {}),
    "a quote that the end leaves open": Case(
        'id,a\n1,x\n2,"y\n3,z\n', {"1": "x"}, {3: "row-ragged"}
    ),
}


class Ran(NamedTuple):
    """What became of all the cases in one folder of mappings."""

    done: Done
    kept: list[dict[str, Any]]
    folder: Path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Write all of them; a trait tells which one a message is of."""
    folder = tmp_path_factory.mktemp("cases")
    (folder / "maps").mkdir()
    for at, case in enumerate(CASES.values()):
        data = case.data if isinstance(case.data, bytes) else case.data.encode()
        (folder / f"{at}.csv").write_bytes(data)
        text = MAPPING.replace("people", f"m{at:02}").replace("SOURCE", f"../{at}.csv")
        text = text.replace("{a: a}", f"{{a: a, of: {{const: m{at:02}}}}}")
        (folder / f"maps/m{at:02}.yaml").write_text(text)
    return Cli(folder)


@pytest.fixture(scope="module")
def ran(cases: Cli) -> Ran:
    with Ledger() as ledger:
        done = cases("run", "maps", "--to", ledger.url, "--json")
        return Ran(done, ledger.kept, cases.folder)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_csv_loses_and_shifts_nothing(name: str, ran: Ran) -> None:
    case, at = CASES[name], list(CASES).index(name)
    report = ran.done.report["streams"][at]
    assert report["exit_code"] == (3 if case.rejects else 0)
    traits = [one["traits"] | {"id": one["userId"]} for one in ran.kept]
    sent = {one["id"]: one.get("a", "") for one in traits if one["of"] == f"m{at:02}"}
    assert sent == case.sent
    assert rejects_of(report, ran.folder) == case.rejects
    rows = report["rows"]
    assert (rows["delivered"], rows["rejected"]) == (len(case.sent), len(case.rejects))
    assert rows["read"] == len(case.sent) + len(case.rejects)


def rejects_of(report: dict[str, Any], folder: Path) -> dict[int, str]:
    """The rows of the rejects file as a spreadsheet counts them, and their codes."""
    if report["rejects"] is None:
        return {}
    path = folder / report["rejects"]
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return {int(row["_row"]): row["_code"] for row in csv.DictReader(stream)}


def test_check_tells_of_hostile_files_what_a_run_does(cases: Cli) -> None:
    done = cases("check", "maps", "--json")
    assert done.code == 3, done.err
    for case, report in zip(CASES.values(), done.report["streams"], strict=True):
        samples = [sample for cause in report["causes"] for sample in cause["samples"]]
        assert {sample["row"] for sample in samples} == set(case.rejects)
        assert {cause["code"] for cause in report["causes"]} == set(case.rejects.values())
        assert report["rows"]["read"] == len(case.sent) + len(case.rejects)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("id,a\n1,x\n".encode("utf-16"), "t.csv: the file is UTF-16\n  fix: say source: {csv: "),
        (b"id,a,a\n1,x,y\n", "t.csv: two columns are named 'a'\n  fix: rename one of them in "),
        (b'id,"a\n1,x\n', "t.csv: a quote in the header is never closed\n  fix: check that it "),
    ],
    ids=["UTF-16", "a header twice", "a quote in the header"],
)
def test_a_csv_that_would_be_misread_is_refused_before_anything_is_sent(
    data: bytes, words: str, cli: Cli, ledger: Ledger, tmp_path: Path
) -> None:
    mapped(tmp_path, "t.csv", data)
    done = cli("run", "people.yaml", "--to", ledger.url)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(words)
    assert ledger.arrivals == []


def test_a_column_that_changes_its_type_late_costs_only_that_row(cli: Cli, tmp_path: Path) -> None:
    rows = [f"{n},{n}.5" for n in range(200_001)]
    rows[200_000] = "200000,none"
    mapped(tmp_path, "t.csv", "id,a\n" + "\n".join(rows))
    text = (tmp_path / "people.yaml").read_text()
    (tmp_path / "people.yaml").write_text(text.replace("{a: a}", "{a: {column: a, type: number}}"))
    done = cli("check", "people.yaml", "--json")
    assert done.code == 3
    assert done.report["rows"]["read"] == 200_001
    assert [cause["samples"][0]["row"] for cause in done.report["causes"]] == [200_002]


# ---- large ones, and how much memory they take


class Peak(NamedTuple):
    """A command that ended, and its peak resident size."""

    code: int
    err: str
    mb: float


def peak(cli: Cli, *arguments: str) -> Peak:
    """Run a command; its stdout is among its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, sys.executable, "-m", "backfill", *arguments],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    code, kilobytes = map(int, done.stdout.split())
    return Peak(code, done.stderr, kilobytes / 1024)


def written(path: Path, begin: bytes, middle: bytes, times: int, end: bytes) -> None:
    """Write a file that is large because its middle comes many times."""
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as stream:
        stream.write(begin)
        for _ in range(times):
            stream.write(middle)
        stream.write(end)


MB: Final = 1 << 20
LARGE: Final = {
    "one line": (b"id,a\n1,x\n2,", b"y" * MB, b"\n3,z\n", 3, "1 × row-too-long"),
    "quoted line": (b'id,a\n1,x\n2,"', b'y\n""' * (MB // 4), b'"\n3,z\n', 3, "1 × row-too-long"),
    "open quote": (
        b'id,a\n1,x\n2,"',
        b"3,zzzz\n" * (MB // 7),
        b"",
        2,
        "close the quote that row 3",
    ),
    "rows": (b"id,a\n", b"1,xxxxxxxxxxxx\n" * (MB // 15), b"", 0, "no row would be rejected"),
    "ragged rows": (b"id,a\n", b"1\n" * (MB // 32), b"", 3, " × row-ragged"),
}
"""Begin, a middle of a MiB (less where each row is told of), end, exit code, words."""


def hostile(cli: Cli, name: str, ending: str, times: int) -> Peak:
    begin, middle, end, code, words = LARGE[name]
    path = cli.folder / f"t.{ending}"
    mapped(cli.folder, path.name, b"")
    written(path, begin, middle, times, end)
    found = peak(cli, "check", "people.yaml")
    path.unlink()
    assert found.code == code, found.err
    assert words in found.err
    return found


@pytest.fixture(scope="module")
def small_mb(tmp_path_factory: pytest.TempPathFactory) -> float:
    """What some rows take."""
    return hostile(Cli(tmp_path_factory.mktemp("small")), "rows", "csv", 4).mb


@pytest.mark.parametrize(
    ("name", "ending", "times"),
    [
        ("one line", "csv", 100),
        ("one line", "csv.gz", 100),
        ("quoted line", "csv", 40),
        ("open quote", "csv", 60),
        ("rows", "csv.gz", 10),
    ],
)
def test_a_large_hostile_file_takes_no_more_memory_than_a_small_one(
    name: str, ending: str, times: int, cli: Cli, small_mb: float
) -> None:
    assert hostile(cli, name, ending, times).mb <= small_mb + 48


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "ending", "times"),
    [
        ("one line", "csv", 300),
        ("one line", "csv.gz", 300),
        ("quoted line", "csv", 300),
        ("open quote", "csv", 300),
        ("rows", "csv.gz", 1_000),
        ("ragged rows", "csv", 60),
    ],
)
def test_a_huge_hostile_file_stays_below_what_is_promised(
    name: str, ending: str, times: int, cli: Cli
) -> None:
    found = hostile(cli, name, ending, times)
    sys.stdout.write(f"{name} × {times} as {ending}: {found.mb:.0f} MB\n")
    assert found.mb <= 400


def wide(folder: Path, columns: int, rows: int) -> None:
    tail = "," + ",".join(str(n % 97) for n in range(columns - 2)) + "\n"
    names = ",".join(f"c{n}" for n in range(columns - 2))
    mapped(folder, "t.csv", f"id,a,{names}\n" + "".join(f"{n},x{tail}" for n in range(rows)))


def test_ten_thousand_columns_are_read(cli: Cli, tmp_path: Path) -> None:
    wide(tmp_path, 10_000, 100)
    found = peak(cli, "check", "people.yaml")
    assert found.code == 0
    assert "100 rows read" in found.err
    assert found.mb <= 400


@pytest.mark.large
def test_ten_thousand_columns_of_two_thousand_rows_take_less_than_a_minute(
    cli: Cli, tmp_path: Path
) -> None:
    wide(tmp_path, 10_000, 2_000)
    begin_s = time.monotonic()
    found = peak(cli, "check", "people.yaml")
    sys.stdout.write(f"{time.monotonic() - begin_s:.1f} s, {found.mb:.0f} MB\n")
    assert time.monotonic() - begin_s < 60
    assert found.code == 0
    assert found.mb <= 400


# ---- files that end too early, or too late


def test_a_cut_gz_is_sent_as_far_as_it_goes_and_no_resume_doubles_a_row(
    cli: Cli, ledger: Ledger, tmp_path: Path
) -> None:
    """Exit 2, since another try cannot help: the whole file is another source, so it asks 13."""
    rows = "".join(f"{n},{random.Random(n).randbytes(120).hex()}\n" for n in range(8_000))
    whole = gzip.compress(f"id,a\n{rows}".encode())
    mapped(tmp_path, "t.csv.gz", whole[: len(whole) * 3 // 4])
    run = ("run", "people.yaml", "--to", ledger.url, "--rate", "unlimited", "--json")
    done = cli(*run)
    assert done.code == 2
    assert done.report["error"]["what"].startswith("cannot be read as CSV, from row ")
    assert "Compressed file ended before the end-of-stream" in done.report["error"]["what"]
    delivered = done.report["rows"]["delivered"]
    assert delivered > 2_000
    assert done.report["rows"]["pending"] == 0  # what was read is sent
    assert cli(*run).code == 2
    assert len(ledger.sent) == len({one.message_id for one in ledger.sent}) == delivered
    (tmp_path / "t.csv.gz").write_bytes(whole)
    assert cli(*run).code == 13
    assert cli(*run, "--restart", "--yes").code == 0
    assert {one["userId"] for one in ledger.kept} == {str(n) for n in range(8_000)}


ROWS: Final = "id,a\n" + "".join(f"{n},x\n" for n in range(1_000))


def zst(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def lz4(data: bytes) -> bytes:
    return bytes(pa.Codec("lz4").compress(data, asbytes=True))


ENDS: Final[dict[str, tuple[Callable[[bytes], bytes], bytes, bool]]] = {
    "gz, padded": (gzip.compress, b"\x00" * 512, True),
    "gz and more": (gzip.compress, b"and more", False),
    "gz and a half": (gzip.compress, gzip.compress(b"1000,x\n")[:-1], False),
    "bz2 and more": (bz2.compress, b"and more", False),
    "bz2 and a half": (bz2.compress, bz2.compress(b"1000,x\n")[:-1], False),
    "xz, padded": (lzma.compress, b"\x00" * 512, True),
    "xz and more": (lzma.compress, b"and more", False),
    "xz and a half": (lzma.compress, lzma.compress(b"1000,x\n")[:-1], False),
    "zst and more": (zst, b"and more", False),
    "zst and a half": (zst, zst(b"1000,x\n")[:-1], False),
    "lz4 and more": (lz4, b"and more", False),
    "lz4 and a half": (lz4, lz4(b"1000,x\n")[:-1], False),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_follows_a_packed_member_is_padding_or_a_fault_and_never_dropped(
    name: str, door: Door, tmp_path: Path
) -> None:
    """Python's own bz2 and lzma end without a word where a second member is damaged."""
    pack, tail, is_good = ENDS[name]
    ending = name.replace(",", " ").split()[0]
    mapped(tmp_path, f"t.csv.{ending}", pack(ROWS.encode()) + tail)
    report = door(tmp_path / "people.yaml")
    if is_good:
        assert report["rows"]["delivered"] == 1_000
    else:
        assert report["exit_code"] == 2
        assert report["error"]["what"].startswith("cannot be read as CSV")
        assert report["error"]["fix"]


# ---- bytes changed at random

DOCUMENT: Final = """\
version: 1
name: people
source: {path: SOURCE}
key: id
messages:
  - type: identify
    userId: id
    traits: {a: a, b: {column: b, type: number}}
  - type: track
    userId: id
    event: {const: Bought}
    timestamp: {column: at, timezone: UTC}
    properties: {c: c, a: {column: a, blank: keep}}
"""
COUNT: Final = 40


def as_csv() -> bytes:
    rows = [f'u{n},v{n}é,{n}.5,2020-01-02T03:04:05,"x,""y"""' for n in range(COUNT)]
    return "\n".join(["id,a,b,at,c", *rows, ""]).encode()


def as_jsonl() -> bytes:
    made = []
    for n in range(COUNT):
        inner = {"k": [1, 2.5, None, "x\U0001f600"], "m": n * 10**17}
        row = {"id": f"u{n}", "a": f"é{n}", "b": n / 2, "at": "2020-01-02T03:04:05", "c": inner}
        made.append(json.dumps(row) + "\n")
    return "".join(made).encode()


def as_parquet(**how: Any) -> bytes:
    rows = range(COUNT)
    columns = {
        "id": [f"u{n}" for n in rows],
        "a": ["é"] * COUNT,
        "b": [n / 2 for n in rows],
        "at": pa.array([1_600_000_000_000 + n for n in rows], pa.timestamp("ms")),
        "c": [[{"k": n, "m": "x"}] * (n % 3) for n in rows],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **how)
    return sink.getvalue()


FILES: Final = {
    "t.csv": as_csv(),
    "t.jsonl": as_jsonl(),
    "t.parquet": as_parquet(),
    "t.parquet.gz": gzip.compress(as_parquet(), mtime=0),
    "t.csv.gz": gzip.compress(as_csv(), mtime=0),
    "t.csv.xz": lzma.compress(as_csv()),
    "t.jsonl.bz2": bz2.compress(as_jsonl()),
    "people.yaml": DOCUMENT.replace("SOURCE", "t.csv").encode(),
}
SIGNS: Final = b'",\n\r\\{}[]:\x00\xff\xc3&*!|>-?# \t0eE+.'


def changed(data: bytes, chance: random.Random) -> bytes:
    """Flip, overwrite, cut out, double, insert, blank, or cut off."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(len(made) or 1)
        to = at + chance.choice([1, 2, 5, 50, 500])
        match chance.randrange(7):
            case 0:
                made[at : at + 1] = bytes(
                    byte ^ 1 << chance.randrange(8) for byte in made[at : at + 1]
                )
            case 1:
                made[at : at + 1] = chance.randbytes(1)
            case 2:
                del made[at:to]
            case 3:
                made[at:at] = made[at:to]
            case 4:
                made[at:at] = bytes(chance.choices(SIGNS, k=chance.choice([1, 3, 9])))
            case 5:
                made[at:to] = bytes(len(made[at:to]))
            case _:
                del made[at:]
    return bytes(made)


def checked(folder: Path) -> int:
    """Do what `check` does; return how many rows it read, in a report that adds up."""
    plan = plan_of(backfill.load_mapping(folder / "people.yaml"), Settings())
    rows = dry_report(plan, survey(plan, limit=None)).rows
    assert rows["read"] == sum(count for name, count in rows.items() if name != "read")
    return rows["read"]


def outcome(name: str, data: bytes) -> int | None:
    """Check a changed file: the rows, or None where one clear fault was told."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        source = "t.csv" if name == "people.yaml" else name
        (path.parent / source).write_bytes(FILES[source])
        (path.parent / "people.yaml").write_text(DOCUMENT.replace("SOURCE", source))
        path.write_bytes(data)
        begin_s = time.monotonic()
        rows, fault = None, None
        try:
            rows = checked(path.parent)
        except backfill.BackfillError as found:
            fault = found
        assert time.monotonic() - begin_s < 10
    assert fault is None or (fault.what and fault.where and fault.fix), str(fault)
    assert fault is None or "\n" not in fault.what
    return rows


def rows_at_most(name: str, data: bytes) -> int:
    """How many rows there can be."""
    if name in {"t.csv", "t.jsonl"}:
        return data.count(b"\n") + data.count(b"\r") + 1
    return COUNT if name == "people.yaml" else 1 << 30


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_bytes_changed_at_random_end_in_a_report_or_in_one_clear_fault(
    name: str, seed: int
) -> None:
    data = changed(FILES[name], random.Random(seed))
    rows = outcome(name, data)
    assert rows is None or rows <= rows_at_most(name, data)


@pytest.mark.large
@pytest.mark.parametrize("name", FILES)
@settings(max_examples=3_000, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_bytes_changed_at_random_many_times(name: str, seed: int) -> None:
    data = changed(FILES[name], random.Random(seed))
    rows = outcome(name, data)
    assert rows is None or rows <= rows_at_most(name, data)


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_changed_are_read_whole(name: str) -> None:
    """Else the tests above would tell nothing."""
    assert outcome(name, FILES[name]) == COUNT


def test_a_parquet_column_whose_name_is_no_text_is_a_fault(tmp_path: Path) -> None:
    """Found by changing bytes: Arrow does not look at names before Python does."""
    data = pq_named("name")
    assert b"name" in data
    mapped(tmp_path, "t.parquet", data.replace(b"name", b"\xecame"))
    with pytest.raises(backfill.BackfillError, match="cannot be read as Parquet: 'utf-8' codec"):
        checked(tmp_path)


def pq_named(name: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["1"], name: ["x"]}), sink, store_schema=False)
    return sink.getvalue()


VALUES: Final = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("id"),
        st.sampled_from(["column", "const", "json", "each", "object", "type", "number", "now"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["column", "const", "type", "map", "each", "as", "json", "x", "blank"]),
            inner, max_size=3,
        ),
    ),
    max_leaves=8,
)  # fmt: skip
PLACES: Final = ("version", "name", "source", "key", "messages", "guards", "delivery", "after")
MEMBERS: Final = ("type", "userId", "event", "timestamp", "properties", "messageId", "context")


@settings(max_examples=100, deadline=None)
@given(value=VALUES, place=st.sampled_from([*PLACES, *MEMBERS]))
def test_any_value_at_any_key_of_a_mapping_ends_in_a_report_or_in_clear_faults(
    value: object, place: str
) -> None:
    track: dict[str, Any] = {"type": "track", "userId": "id", "timestamp": "now"}
    track["event"] = {"const": "x"}
    document: dict[str, Any] = {"version": 1, "name": "people", "source": {"path": "t.csv"}}
    document["messages"] = [track]
    into: dict[str, Any] = track if place in MEMBERS else document
    into[place] = value
    outcome("people.yaml", json.dumps(document).encode())


# ---- Parquet values


def test_a_map_goes_with_its_own_row_wherever_reading_begins(tmp_path: Path) -> None:
    """A slice of a map column has the keys of the rows before it, too."""
    maps = [[(f"k{n}", n)] * (n % 3 > 0) for n in range(9)]
    rows = {"id": [str(n) for n in range(9)], "a": pa.array(maps, pa.map_("string", "int64"))}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    message = {"type": "identify", "userId": "id", "traits": {"a": "a"}}
    document = {"version": 1, "source": {"path": "t.parquet"}, "messages": [message]}
    for start in range(9):
        made = build(document, tmp_path, start=start).messages
        found = {row: one.get("traits", {}).get("a") for row, (one,) in made.items()}
        assert found == {n: {f"k{n}": n} if n % 3 else None for n in range(start, 9)}


def test_a_map_with_a_key_twice_is_rejected_since_one_value_would_be_lost(tmp_path: Path) -> None:
    maps = [[("k", 1)], [("k", 1), ("j", 2), ("k", 3)], None, [("j", 4)]]
    rows = {"id": ["0", "1", "2", "3"], "a": pa.array(maps, pa.map_("string", "int64"))}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    message = {"type": "identify", "userId": "id", "traits": {"a": "a"}}
    document = {"version": 1, "source": {"path": "t.parquet"}, "messages": [message]}
    made = build(document, tmp_path)
    assert sorted(made.messages) == [0, 2, 3]
    assert made.rejects[1][1:] == ("json-unreadable", "a: 'k twice' is not JSON; correct the cell")


NESTED: Final[dict[str, tuple[list[Any], pa.DataType]]] = {
    "list": ([[1], None, [], [2, None, 3]], pa.list_(pa.int64())),
    "large list": ([[1], None, [], [2, None, 3]], pa.large_list(pa.int64())),
    "fixed list": ([[1, 2], None, [3, None], [5, 6]], pa.list_(pa.int64(), 2)),
    "fixed list, full": ([[1, 2], [7, 8], [3, None], [5, 6]], pa.list_(pa.int64(), 2)),
    "list of lists": ([[[1], [2]], None, [[], [3]], [[4, 5]]], pa.list_(pa.list_(pa.int64()))),
    "struct": (
        [{"x": 1}, None, {"x": None, "y": ["é"]}, {"y": ["z", "w"]}],
        pa.struct({"x": pa.int64(), "y": pa.list_(pa.string())}),
    ),
    "list of structs": (
        [[{"x": 1}], None, [{"x": 2}, {"x": 3}], [{"x": None}, {"x": 4}]],
        pa.list_(pa.struct({"x": pa.int64()})),
    ),
    "map of lists": (
        [[("a", [1])], None, [], [("b", [2, 3])]],
        pa.map_("string", pa.list_(pa.int8())),
    ),
    "dictionary": (["a", None, "b", "a"], pa.dictionary(pa.int8(), pa.string())),
    "text view": (["a", None, "b" * 20, "c"], pa.string_view()),
    "decimal": ([Decimal("1.10"), None, Decimal("-2.00")], pa.decimal128(38, 2)),
    "decimal256": ([Decimal("1.10"), None, Decimal("-2.00")], pa.decimal256(70, 2)),
    "bool": ([True, None, False, True], pa.bool_()),
}


@pytest.mark.parametrize("name", NESTED)
def test_a_parquet_column_is_the_same_wherever_reading_begins_and_batches_end(
    name: str, tmp_path: Path
) -> None:
    values, kind = NESTED[name]
    rows: dict[str, Any] = {"id": [str(n) for n in range(3 * len(values))]}
    rows["a"] = pa.array(values * 3, kind)
    pq.write_table(pa.table(rows), tmp_path / "t.parquet", row_group_size=9)
    message = {"type": "identify", "userId": "id", "traits": {"a": "a"}}
    document = {"version": 1, "source": {"path": "t.parquet"}, "messages": [message]}
    whole = build(document, tmp_path).messages
    assert (
        len(
            {json.dumps(one["traits"], default=str) for (one,) in whole.values() if "traits" in one}
        )
        > 1
    )
    for start in range(12):
        found = build(document, tmp_path, start=start).messages
        assert found == {row: made for row, made in whole.items() if row >= start}


# ---- time grows with the rows, not with their square

GROWING: Final[dict[str, tuple[str, str, str, int]]] = {
    "ragged rows": ("t.csv", "id,a,b,at,c\n", "N\n", 5_000),
    "rejects of one kind": ("t.csv", "id,a,b,at,c\n", ",,,,\n", 10_000),
    "blank lines": ("t.csv", "id,a,b,at,c\n", "\n", 100_000),
    "keys of their own": ("t.jsonl", "", '{"id":"N","at":"2020-01-01","kN":1}\n', 800),
    "broken lines": ("t.jsonl", "", "{N\n", 3_000),
}


@pytest.mark.parametrize("name", GROWING)
def test_four_times_the_rows_take_not_much_more_than_four_times_as_long(name: str) -> None:
    source, head, line, count = GROWING[name]
    took_s = []
    for times in (1, 4):
        lines = "".join(line.replace("N", str(n)) for n in range(times * count))
        begin_s = time.process_time()
        rows = outcome(source, (head + lines).encode())
        took_s.append(time.process_time() - begin_s)
        assert rows == (0 if line == "\n" else times * count)
    assert took_s[1] < 4 * 3 * max(took_s[0], 0.05)
