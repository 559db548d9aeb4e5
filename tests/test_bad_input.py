"""Everything a person may get wrong: clear words on stderr, an exit code, and nothing half-made."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import KEY, ORDERS, Cli, orders_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Done
    from ledger import Ledger

    Orders = Callable[..., Path]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def refused(cli: Cli, ledger: Ledger, tmp_path: Path) -> Callable[..., Done]:
    """Run what must not start: nothing is sent, nothing is made, and nobody sees a traceback."""

    def run(*arguments: str, key: str | None = KEY) -> Done:
        before = names(tmp_path)
        given = arguments or ("orders.yaml",)
        done = cli("run", *given, "--to", ledger.url, env=cli.environment(key), timeout_s=15)
        assert "Traceback" not in done.err
        assert done.out == ""
        assert ledger.arrivals == []
        assert names(tmp_path) == before, "something was left behind"
        return done

    return run


# ---- sources


def test_a_source_that_is_missing(refused: Callable[..., Done], orders: Orders) -> None:
    (orders().parent / "orders.csv").unlink()
    done = refused()
    assert done.code == 2
    assert done.err.startswith("orders.csv: there is no such file\n  fix: ")


def test_a_folder_with_nothing_in_it(refused: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.docx").write_text("x")
    (tmp_path / "orders.yaml").write_text(ORDERS.replace("orders.csv", "data"))
    done = refused()
    assert done.code == 2
    assert done.err == (
        "data: there is no data file in this folder\n"
        "  fix: put CSV, Parquet or JSON lines files there, or name another folder\n"
    )


def test_a_pattern_that_matches_nothing(refused: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text(ORDERS.replace("orders.csv", "data/*.csv"))
    done = refused()
    assert done.code == 2
    assert done.err == (
        "data/*.csv: no file matches\n  fix: correct the pattern, or wait for the files\n"
    )


def test_a_column_that_is_missing_is_named_with_its_place_in_the_mapping(
    refused: Callable[..., Done], orders: Orders
) -> None:
    source = orders().parent / "orders.csv"
    source.write_text(source.read_text().replace("total,note", "totals,notes"))
    done = refused()
    assert done.code == 2
    assert done.err == (
        "orders.yaml:10:26: orders.csv has no column 'total' [unknown-column]\n"
        "  fix: did you mean 'totals'?\n"
        "orders.yaml:10:56: orders.csv has no column 'note' [unknown-column]\n"
        "  fix: did you mean 'notes'?\n"
    )


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xef\xbb\xbf"], ids=["0 bytes", "blank", "BOM"]
)
def test_a_csv_without_anything(
    refused: Callable[..., Done], orders: Orders, content: bytes
) -> None:
    (orders().parent / "orders.csv").write_bytes(content)
    done = refused()
    assert done.code == 2
    assert done.err == (
        "orders.csv: the file is empty\n  fix: check the export; a CSV begins with a header\n"
    )


def test_a_csv_with_a_header_only_is_finished_with_no_rows(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    mapping = orders(0)
    for _ in range(2):
        done = cli("run", mapping.name, "--to", ledger.url, "--json")
        assert (done.code, done.err) == (0, "")
        assert set(done.report["rows"].values()) == {0}
    assert ledger.arrivals == []


def test_a_csv_that_is_utf_16(refused: Callable[..., Done], orders: Orders) -> None:
    path = orders().parent / "orders.csv"
    path.write_bytes(path.read_text().encode("utf-16"))
    done = refused()
    assert done.code == 2
    assert done.err == (
        "orders.csv: the file is UTF-16\n  fix: say source: {csv: {encoding: utf-16}}\n"
    )


def test_a_csv_whose_header_is_not_utf_8(refused: Callable[..., Done], orders: Orders) -> None:
    path = orders().parent / "orders.csv"
    path.write_bytes(path.read_text().replace("note", "notiz für").encode("latin-1"))
    done = refused()
    assert done.code == 2
    assert done.err.startswith("orders.csv: the header is not UTF-8\n  fix: ")


def test_cells_that_are_not_utf_8_cost_only_their_rows(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    path = orders(5).parent / "orders.csv"
    path.write_bytes(path.read_bytes() + b"5,p1,2020-01-02T03:04:05Z,1.5,caf\xe9\n")
    done = cli("run", "orders.yaml", "--to", ledger.url, "--json")
    assert (done.code, done.report["rejects_by_code"]) == (3, {"not-utf8": 1})
    assert len(ledger.kept) == 5


def test_rows_with_too_few_or_too_many_cells_cost_only_themselves(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    path = orders(5).parent / "orders.csv"
    path.write_text(path.read_text() + "5,p1\n6,p1,2020-01-02T03:04:05Z,1.5,a,b,c\n")
    done = cli("run", "orders.yaml", "--to", ledger.url, "--json")
    assert (done.code, done.report["rejects_by_code"]) == (3, {"row-ragged": 2})
    assert len(ledger.kept) == 5


def test_a_column_that_comes_twice(refused: Callable[..., Done], orders: Orders) -> None:
    path = orders().parent / "orders.csv"
    path.write_text(path.read_text().replace("total,note", "note,note"))
    done = refused()
    assert done.code == 2
    assert done.err == (
        "orders.csv: two columns are named 'note'\n"
        "  fix: rename one of them in the file, or name all columns in the mapping:"
        " source: {csv: {skip_lines: 1, header: [note, note_2, …]}}\n"
    )


def test_a_quote_that_is_never_closed_stops_and_names_the_file(
    cli: Cli, orders: Orders, ledger: Ledger
) -> None:
    path = orders(5).parent / "orders.csv"
    path.write_text(path.read_text() + '5,p1,2020-01-02T03:04:05Z,1.5,"open\n' + "x\n" * 2_000_000)
    done = cli("run", "orders.yaml", "--to", ledger.url)
    assert done.code == 2
    assert done.err.startswith(
        "orders.csv: cannot be read as CSV, from row 7 on: a quote is never closed\n"
        "  fix: close the quote that row 7 opens\n"
    )
    assert "Traceback" not in done.err


def test_a_packed_file_that_is_cut_keeps_what_was_sent_and_goes_on_later(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    orders(5, mapping=ORDERS.replace("orders.csv", "orders.csv.gz"))
    whole = gzip.compress(orders_csv(60_000).encode())
    (tmp_path / "orders.csv.gz").write_bytes(whole[: len(whole) // 2])
    done = cli("run", "orders.yaml", "--to", ledger.url, "--json", "--rate", "unlimited")
    assert done.code not in {0, 3}
    assert done.report["error"]["what"].startswith("cannot be read as CSV, from row ")
    assert done.report["rows"]["delivered"] == len(ledger.kept)
    assert "Traceback" not in done.err


PARQUET = ORDERS.replace("orders.csv", "orders.parquet")


@pytest.mark.parametrize("how", ["empty", "text", "long footer"])
def test_a_parquet_file_that_is_damaged(
    refused: Callable[..., Done], orders: Orders, tmp_path: Path, how: str
) -> None:
    orders(5, mapping=PARQUET)
    path = tmp_path / "orders.parquet"
    pq.write_table(pa.table({"id": [1]}), path)
    good = path.read_bytes()
    footer = len(good) - 8
    bad = {
        "empty": b"",
        "text": b"id,person\n1,2\n",
        "long footer": good[:footer] + b"\xff\xff\xff\x7f" + b"PAR1",
    }
    path.write_bytes(bad[how])
    done = refused()
    assert done.code == 2
    assert done.err.startswith("orders.parquet: cannot be read as Parquet: ")
    assert done.err.endswith("\n  fix: check the export; read it with another tool\n")


def test_a_parquet_page_with_a_flipped_bit_is_not_sent(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    orders(5, mapping=PARQUET)
    path = tmp_path / "orders.parquet"
    lines = [line.split(",") for line in orders_csv(2_000).splitlines()]
    columns = dict(zip(lines[0], zip(*lines[1:], strict=True), strict=True))
    table = pa.table({name: list(cells) for name, cells in columns.items()})
    how = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, path, **how)
    data = bytearray(path.read_bytes())
    data[data.index(b"p3") + 1] ^= 1
    path.write_bytes(data)
    done = cli("run", "orders.yaml", "--to", ledger.url)
    assert done.code == 2
    assert "cannot be read as Parquet, from row 1 on: " in done.err
    assert ledger.arrivals == []


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        ("docx", "x", "the ending does not tell the format\n  fix: say source: {format: csv | "),
        ("parquet", orders_csv(3), "cannot be read as Parquet: "),
    ],
)
def test_a_format_that_is_not_what_the_ending_says(
    refused: Callable[..., Done], tmp_path: Path, ending: str, content: str, words: str
) -> None:
    (tmp_path / f"orders.{ending}").write_text(content)
    (tmp_path / "orders.yaml").write_text(ORDERS.replace("orders.csv", f"orders.{ending}"))
    done = refused()
    assert done.code == 2
    assert done.err.startswith(f"orders.{ending}: {words}")


@pytest.mark.parametrize("number", ["1", "12345678901234567890123"], ids=["fast", "exact"])
def test_a_json_key_that_is_null_in_every_line_is_a_column_all_the_same(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path, number: str
) -> None:
    orders(5, mapping=ORDERS.replace("orders.csv", "orders.jsonl"))
    line = '{"id":"1","person":"p1","at":"2020-01-02T03:04:05Z","total":N,"note":null}\n'
    (tmp_path / "orders.jsonl").write_text(line.replace("N", number, 1))
    done = cli("run", "orders.yaml", "--to", ledger.url)
    assert (done.code, done.err) == (0, "")


# ---- mappings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "orders.yaml:1:1: this is no mapping [empty]\n  fix: begin with: version: 1\n"),
        ("version: 1\n  source: [\n", "orders.yaml:2:"),
        ("{" * 5000, "orders.yaml:1:"),
        ("version: 1\nversion: 1\n", "orders.yaml:2:1: "),
        (ORDERS.replace("event:", "evnet:"), "orders.yaml:8:5: unknown key 'evnet' of a track"),
    ],
    ids=["empty", "broken", "deep", "twice", "member"],
)
def test_a_mapping_that_is_none_or_has_faults(
    refused: Callable[..., Done], orders: Orders, text: str, words: str
) -> None:
    orders().write_text(text)
    done = refused()
    assert done.code == 2
    if "unknown key" in words:
        words = words.partition(" of a track")[0]
    assert f"\n{words}" in f"\n{done.err}"


def test_a_mapping_that_is_no_text(refused: Callable[..., Done], orders: Orders) -> None:
    orders().write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    done = refused()
    assert done.code == 2
    assert done.err == (
        "orders.yaml: this is not UTF-8 text, so no mapping\n"
        "  fix: save the file as plain UTF-8 text\n"
    )


def test_a_mapping_that_is_missing_and_a_folder_without_any(
    refused: Callable[..., Done], orders: Orders, tmp_path: Path
) -> None:
    orders()
    (tmp_path / "none").mkdir()
    done = refused("order.yaml")
    assert done.code == 2
    assert done.err == (
        "order.yaml: there is no such mapping file\n  fix: did you mean 'orders.yaml'?\n"
    )
    done = refused("none")
    assert done.code == 2
    assert done.err == (
        "none: there is no mapping in this folder\n"
        "  fix: put a mapping file (.yaml) there, or name another folder\n"
    )


def test_the_faults_of_all_mappings_are_told_together(
    refused: Callable[..., Done], orders: Orders, tmp_path: Path
) -> None:
    orders()
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(ORDERS.replace("key: id", "keys: id"))
    done = refused("one.yaml", "two.yaml", "orders.yaml")
    assert done.code == 2
    assert "one.yaml:4:1: unknown key 'keys'" in done.err
    assert "two.yaml:4:1: unknown key 'keys'" in done.err


# ---- keys, options, folders


def test_no_key_and_no_sandbox(refused: Callable[..., Done], orders: Orders) -> None:
    orders()
    done = refused(key=None)
    assert done.code == 2
    assert "there is no write key\n  fix: set CUSTOMERIO_WRITE_KEY, or give" in done.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--rate", "0"], "'--rate': write requests a second (up to 1000), or unlimited"),
        (["--batch-bytes", "9999999"], "'--batch-bytes': 9999999 is not in the range"),
        (["--limit", "-1"], "'--limit': -1 is not in the range x>=1"),
        (["--max-rejects", "-1"], "'--max-rejects': write a number of rows, or a share such as 2%"),
        (["--recent-events", "drop"], "'--recent-events': 'drop' is not one of 'hold', 'send'"),
        (["--frobnicate"], "No such option '--frobnicate'"),
        (["--state", "orders.csv"], "'--state': Directory 'orders.csv' is a file"),
        (["--state", "orders.csv/x"], "orders.csv/x/orders: the state folder cannot be "),
        (["--write-key-file", "nokey"], "nokey: the write key cannot be read: No such file or dir"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_that_an_option_does_not_take(
    refused: Callable[..., Done], orders: Orders, given: list[str], words: str
) -> None:
    orders()
    done = refused("orders.yaml", *given)
    assert done.code == 2
    assert words in done.err


def test_source_goes_with_one_mapping(
    refused: Callable[..., Done], orders: Orders, tmp_path: Path
) -> None:
    orders()
    (tmp_path / "two.yaml").write_text(ORDERS.replace("name: orders", "name: two"))
    done = refused("orders.yaml", "two.yaml", "--source", "orders.csv")
    assert done.code == 2
    assert done.err == ("--source: --source goes with one mapping\n  fix: run them one by one\n")


def test_a_command_that_does_not_exist(cli: Cli) -> None:
    done = cli("frobnicate")
    assert done.code == 2
    assert "No such command 'frobnicate'" in done.err


def test_a_stream_whose_source_went_bad_leaves_its_finished_state_alone(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping = orders(5)
    assert cli("run", mapping.name, "--to", ledger.url).code == 0
    state = tmp_path / ".backfill/orders"
    before = {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}
    (tmp_path / "orders.csv").write_bytes(b"")
    assert cli("run", mapping.name, "--to", ledger.url).code == 2
    assert {p: p.read_bytes() for p in state.rglob("*") if p.is_file()} == before


PR_CAPBSET_DROP = 24
CAPABILITIES = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: without them permissions hold for root, too."""


def as_anybody() -> None:
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for number in CAPABILITIES:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that may be read and not written."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "orders.yaml").write_text(ORDERS)
    (folder / "orders.csv").write_text(orders_csv(3))
    folder.chmod(0o555)
    probe = ["touch", str(folder / "probe")]
    can = subprocess.run(probe, preexec_fn=as_anybody, capture_output=True, check=False)
    if can.returncode == 0:
        pytest.skip("this root writes wherever it likes, so permissions cannot be tried")
    yield folder
    folder.chmod(0o755)


def test_a_state_folder_that_cannot_be_made(locked: Path, ledger: Ledger) -> None:
    for to in (ledger.url, "sandbox"):
        done = Cli(locked)("run", "orders.yaml", "--to", to, preexec_fn=as_anybody)
        assert done.code == 2
        assert "the state folder cannot be " in done.err
        assert ": Permission denied\n  fix: choose another with --state" in done.err
    assert names(locked) == {"orders.yaml", "orders.csv"}
    assert ledger.arrivals == []


def test_a_source_that_may_not_be_read(locked: Path, ledger: Ledger) -> None:
    (locked / "orders.csv").chmod(0)
    done = Cli(locked)("run", "orders.yaml", "--to", ledger.url, "--json", preexec_fn=as_anybody)
    assert done.code == 2
    assert json.loads(done.out)["error"] == {
        "what": "cannot be read: Permission denied",
        "where": "orders.csv",
        "fix": "check its permissions",
    }
