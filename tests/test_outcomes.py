"""Every file of ../shared/data ends as `outcomes.json` says, with the values that stand in it."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import outcomes
import pyarrow.parquet as pq
import pytest
from outcomes import SHARED, Trial
from reference import build
from rows import rows_of
from test_source import ROOT, needs_shared, texts

if TYPE_CHECKING:
    from pathlib import Path

TRIALS: Final = list(outcomes.trials()) if SHARED.is_dir() else []
ERRORS: Final = {
    "csv/csvkit/empty.csv",
    "parquet/bad/ARROW-GH-45185.parquet",
    "parquet/bad/PARQUET-1481.parquet",
    "parquet/good/datapage_v1-corrupt-checksum.parquet",
    "parquet/good/large_string_map.brotli.parquet",
    "parquet/good/uniform_encryption.parquet.encrypted",
}
"""Files that cannot be read by any mapping: damaged, encrypted, empty, or with a cell of 1 GiB."""


def label(trial: Trial) -> str:
    return f"{trial.file} {json.dumps(trial.source) if trial.source else ''}"


def is_read(trial: Trial) -> bool:
    return not trial.outcome.startswith("error")


@needs_shared
def test_the_table_covers_every_file() -> None:
    assert list(dict.fromkeys(trial.file for trial in TRIALS)) == outcomes.files()
    assert len(outcomes.files()) > 90
    assert {trial.file for trial in TRIALS} - {t.file for t in TRIALS if is_read(t)} == ERRORS


@needs_shared
def test_the_command_prints_a_line_for_every_file_and_says_what_is_other_than_expected() -> None:
    done = subprocess.run(
        [sys.executable, "tests/outcomes.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(outcomes.files())} files, 0 outcomes other than expected"
    for trial in TRIALS:
        assert f"    {trial.outcome}" in lines, trial.file
    assert len(lines) == 2 * len(TRIALS) + 1


@needs_shared
def test_an_outcome_that_is_another_is_marked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Trial("csv/csvkit/dummy.csv", {}, "2 rows, 2 sent")
    monkeypatch.setattr(outcomes, "trials", lambda: [wrong])
    assert outcomes.main() == 1
    assert "1 rows, 1 sent   EXPECTED 2 rows, 2 sent" in capsys.readouterr().out


# The values, by a second reading

CSV_TRIALS: Final = [t for t in TRIALS if ".csv" in t.file or ".tsv" in t.file]
READ_CSV: Final = [trial for trial in CSV_TRIALS if is_read(trial)]
UNPACK: Final = {".gz": gzip.decompress, ".bz2": bz2.decompress}


def read_by_python(trial: Trial) -> list[Any]:
    """Return the cells of each row by Python's own reader, or why it is none."""
    path, how = SHARED / trial.file, trial.source.get("csv", {})
    data = UNPACK.get(path.suffix, bytes)(path.read_bytes())
    text = data.decode(how.get("encoding", "utf-8-sig"), errors="surrogateescape")
    lines = text.splitlines(keepends=True)[how.get("skip_lines", 0) :]
    delimiter = how.get("delimiter", "\t" if ".tsv" in path.suffixes else ",")
    rows = [
        row
        for row in csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter)
        if row
    ]
    header = how.get("header", True)
    width = len(header) if isinstance(header, list) else len(rows[0])
    return [row if len(row) == width else "row-ragged" for row in rows[header is True :]]


@needs_shared
@pytest.mark.parametrize("trial", READ_CSV, ids=label)
def test_the_cells_of_a_csv_are_those_that_python_reads(trial: Trial) -> None:
    path = SHARED / trial.file
    found = [cells for _, cells in rows_of(path.parent, path.name, **trial.source)]
    ours = [
        [cell.decode(errors="surrogateescape") for cell in cells.values()]
        if isinstance(cells, dict)
        else cells
        for cells in found
    ]
    assert ours == read_by_python(trial)


@needs_shared
@pytest.mark.parametrize("name", ["CDNOW_master.txt", "CDNOW_sample.txt"])
def test_columns_under_each_other_are_read_as_they_stand(name: str) -> None:
    folder = SHARED / "datasets" / "cdnow"
    lines = (folder / name).read_text().split("\n")
    wanted = [line.split() for line in lines if line.strip()]
    names = [f"c{n}" for n in range(len(wanted[0]))]
    how = {"delimiter": "whitespace", "header": names}
    found = [texts(cells) for _, cells in rows_of(folder, name, csv=how)]
    assert len(found) > 6_000
    assert found == wanted


PARQUET: Final = [t for t in TRIALS if t.file.endswith(".parquet") and is_read(t)]


def plain(value: Any) -> Any:
    """Return a value of pyarrow as the message must have it; blanks are left out, NaN raises."""
    if isinstance(value, dict):
        found = {key: plain(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not None} or None
    if isinstance(value, list):
        return [item for item in map(plain, value) if item is not None] or None
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC).isoformat(timespec="milliseconds")
        return utc.removesuffix("+00:00") + "Z"
    if isinstance(value, bytes):
        return value.decode() or None
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError(value)
        return value
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def same(ours: Any, theirs: Any) -> bool:
    """Whether a message holds a value; of floats only the value is promised."""
    if isinstance(theirs, float):
        return math.isclose(float(ours), theirs, rel_tol=1e-7)
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return str(ours) == str(theirs) and type(ours) is type(theirs)


@needs_shared
@pytest.mark.parametrize("trial", PARQUET, ids=label)
def test_the_values_of_a_parquet_file_are_those_that_stand_in_it(
    trial: Trial, tmp_path: Path
) -> None:
    path = SHARED / trial.file
    table = pq.read_table(path, coerce_int96_timestamp_unit="ms")
    naive = {f.name for f in table.schema if "timestamp" in str(f.type)}
    message = {
        "type": "track",
        "userId": {"const": "x"},
        "event": {"const": "E"},
        "timestamp": {"const": "2020-01-02T00:00:00Z"},
        "properties": {
            name: {"column": name} | ({"timezone": "UTC"} if name in naive else {})
            for name in table.schema.names
        },
    }
    body = {"version": 1, "source": {"path": str(path)}, "messages": [message]}
    made = build(body, tmp_path)
    for row, values in enumerate(_rows(table)):
        if values is None:
            assert row in made.rejects
        else:
            (sent,) = made.messages[row]
            assert same(sent.get("properties", {}), values), (row, values)


def _rows(table: Any) -> Any:
    """Yield the rows as messages must have them; None for those that cannot be sent."""
    for at in range(table.num_rows):
        try:
            yield plain(table.slice(at, 1).to_pylist()[0]) or {}
        except (ValueError, OverflowError):  # NaN, bytes that are no text, years beyond 9999
            yield None


@needs_shared
def test_a_parquet_file_and_its_csv_twin_give_the_same_messages(tmp_path: Path) -> None:
    """The customer table of apache/parquet-testing; the CSV has a blank before one of the names."""
    folder = SHARED / "parquet" / "good"
    stem = "delta_encoding_optional_column"
    twin = (folder / f"{stem}_expect.csv").read_text().splitlines()[0]
    columns = {
        f"{stem}.parquet": pq.read_schema(folder / f"{stem}.parquet").names,
        f"{stem}_expect.csv": next(csv.reader([twin])),
    }
    made = []
    for file, names in columns.items():
        traits = {name.strip(): {"column": name, "type": "text"} for name in names}
        message = {"type": "identify", "userId": names[0], "traits": traits}
        source = {"path": str(folder / file)}
        body = {"version": 1, "name": "t", "key": names[0], "source": source}
        made.append(build({**body, "messages": [message]}, tmp_path).texts)
    assert " c_customer_id" in columns[f"{stem}_expect.csv"]
    assert len(made[0]) == 100
    assert made[0] == made[1]
