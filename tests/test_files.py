"""docs/files.md is true: every row of its tables is what the program does with such a file."""

from __future__ import annotations

import datetime as dt
import json
import re
import struct
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference import build

from backfill.codes import Code
from backfill.errors import MappingError
from backfill.mapping.document import CsvDialect

if TYPE_CHECKING:
    from conftest import Cli
    from ledger import Ledger

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
DAY: Final = dt.datetime(2020, 7, 2, 3, 4, 5)  # noqa: DTZ001  a wall time
BERLIN: Final = {"timezone": "Europe/Berlin"}
LEFT_OUT: Final = "left out"
A_FAULT: Final = "a fault of the mapping"


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, less its header."""
    lines = PAGE.split(f"\n## {heading}")[1].split("\n## ")[0].split("\n")
    first = next(at for at, line in enumerate(lines) if line.startswith("| ---"))
    rows = []
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def decimals(text: str, kind: pa.DataType) -> pa.Array:
    return pa.array([Decimal(text)], kind)


def instant(value: int, unit: str) -> pa.Array:
    return pa.array([value], pa.int64()).cast(pa.timestamp(unit, "UTC"))


def annotated(data: bytes, annotation: bytes) -> bytes:
    """Annotate the column `a` of a Parquet file; no writer at hand makes these types."""
    at = data.rindex(b"PAR1") - 4
    (size,) = struct.unpack("<i", data[at : at + 4])
    name = b"\x18\x01a"
    footer = data[at - size : at].replace(name + b"\x00", name + annotation + b"\x00", 1)
    return data[: at - size] + footer + struct.pack("<i", len(footer)) + b"PAR1"


DECIMAL: Final = b"\x25\x0a\x15\x04\x15\x0a"  # converted_type 5, scale 2, precision 5
BSON: Final = b"\x25\x28"
INTERVAL: Final = b"\x25\x2a"
MS: Final = 1_577_934_245_678

VALUES: Final[dict[str, Any]] = {
    "bool": pa.array([True]),
    "int8": pa.array([-128], pa.int8()),
    "int16": pa.array([32767], pa.int16()),
    "int32": pa.array([-2147483648], pa.int32()),
    "int64": pa.array([9223372036854775807]),
    "uint8": pa.array([255], pa.uint8()),
    "uint16": pa.array([65535], pa.uint16()),
    "uint32": pa.array([4294967295], pa.uint32()),
    "uint64": pa.array([18446744073709551615], pa.uint64()),
    "decimal in int32": decimals("12.30", pa.decimal128(5, 2)),
    "decimal in int64": decimals("-0.050", pa.decimal128(15, 3)),
    "decimal in fixed bytes": decimals("12345678901234567890123456.30", pa.decimal128(38, 2)),
    "decimal in byte array": pa.array([(1230).to_bytes(2)], pa.binary()),
    "decimal256": decimals("1.10", pa.decimal256(70, 2)),
    "decimal below a millionth": decimals("0.0000001000", pa.decimal128(38, 10)),
    "float16": pa.array([0.1], pa.float16()),
    "float32": pa.array([0.1], pa.float32()),
    "float64": pa.array([17850.0]),
    "float64, NaN": pa.array([float("nan")]),
    "float64, infinite": pa.array([float("inf")]),
    "timestamp with a zone, ms": instant(MS, "ms"),
    "timestamp with a zone, us": instant(MS * 1_000 + 999, "us"),
    "timestamp with a zone, ns": instant(MS * 1_000_000 + 999_999, "ns"),
    "timestamp without a zone": pa.array([DAY], pa.timestamp("us")),
    "the same with `timezone: Europe/Berlin`": pa.array([DAY], pa.timestamp("us")),
    "the same in a struct, with `timezone: Europe/Berlin`": pa.array(
        [{"t": DAY}], pa.struct({"t": pa.timestamp("us")})
    ),
    "int96, with `timezone: UTC`": pa.array(
        [dt.datetime(9999, 12, 31, 3)],  # noqa: DTZ001
        pa.timestamp("us"),
    ),
    "timestamp after 9999": instant(259_200_000_000_000, "ms"),
    "date": pa.array([dt.date(2020, 1, 2)]),
    "date after 9999": pa.array([3_000_000], pa.int32()).cast(pa.date32()),
    "time, ms": pa.array([dt.time(1, 2, 3, 4000)], pa.time32("ms")),
    "time, us": pa.array([dt.time(1, 2, 3, 4)], pa.time64("us")),
    "time, ns": pa.array([3_723_000_004_005], pa.int64()).cast(pa.time64("ns")),
    "string": pa.array(["é"]),
    "large string": pa.array(["é"], pa.large_string()),
    "string view": pa.array(["é"], pa.string_view()),
    "dictionary of strings": pa.array(["é"]).dictionary_encode(),
    "binary that is UTF-8": pa.array(["é".encode()]),
    "large binary that is UTF-8": pa.array(["é".encode()], pa.large_binary()),
    "fixed binary that is UTF-8": pa.array([b"abc"], pa.binary(3)),
    "binary that is not UTF-8": pa.array([b"\xff\xfe"]),
    "UUID": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([uuid.UUID(int=42).bytes], pa.binary(16))
    ),
    "JSON": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1.0}'])),
    "JSON that is none": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": }'])),
    "list": pa.array([[1, None, 2]]),
    "large list": pa.array([[1, None, 2]], pa.large_list(pa.int8())),
    "fixed size list": pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
    "list view": pa.array([[1, None, 2]], pa.list_view(pa.int8())),
    "empty list": pa.array([[]], pa.list_(pa.int8())),
    "list of structs": pa.array(
        [[{"a": 1, "b": None}]], pa.list_(pa.struct({"a": pa.int8(), "b": pa.string()}))
    ),
    "struct": pa.array([{"a": 1, "b": [True]}]),
    "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())),
    "map with integer keys": pa.array([[(7, "x")]], pa.map_(pa.int8(), pa.string())),
    "map with a key twice": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int8())),
    "null": pa.nulls(1),
    "duration": pa.array([dt.timedelta(1)]),
    "interval": pa.array([bytes(12)], pa.binary(12)),
    "BSON": pa.array([b"\x05\0\0\0\0"], pa.binary()),
}
WRITTEN: Final[dict[str, dict[str, Any]]] = {
    "decimal in int32": {"store_decimal_as_integer": True},
    "decimal in int64": {"store_decimal_as_integer": True},
    "int96, with `timezone: UTC`": {"use_deprecated_int96_timestamps": True},
}
PHYSICAL: Final = {
    "decimal in int32": "INT32",
    "decimal in int64": "INT64",
    "decimal in fixed bytes": "FIXED_LEN_BYTE_ARRAY",
    "decimal in byte array": "BYTE_ARRAY",
    "float16": "FIXED_LEN_BYTE_ARRAY",
    "int96, with `timezone: UTC`": "INT96",
}
ANNOTATED: Final = {"decimal in byte array": DECIMAL, "interval": INTERVAL, "BSON": BSON}


def parquet(folder: Path, name: str) -> None:
    """Write a file of one column `a` and one row."""
    path = folder / "t.parquet"
    how = WRITTEN.get(name, {})
    pq.write_table(pa.table({"a": VALUES[name]}), path, store_schema=name not in ANNOTATED, **how)
    if name in ANNOTATED:
        path.write_bytes(annotated(path.read_bytes(), ANNOTATED[name]))
    column = pq.ParquetFile(path).schema.column(0)
    assert column.physical_type == PHYSICAL.get(name, column.physical_type)
    assert name in {"interval", "BSON"} or column.converted_type not in {"INTERVAL", "BSON"}


def outcome(folder: Path, source: dict[str, Any], **options: str) -> str:
    """Return what becomes of the column `a` of the only row, in the words of the table."""
    message = {
        "type": "identify",
        "userId": {"const": "x"},
        "traits": {"a": {"column": "a", **options}},
    }
    try:
        made = build({"version": 1, "name": "t", "source": source, "messages": [message]}, folder)
    except MappingError as fault:
        assert all(lint.code == "column-type" for lint in fault.lints)  # noqa: PT017
        return A_FAULT
    if made.rejects:
        return made.codes[0]
    found = re.search(r'"traits":\{"a":(.*)\}[,}]', made.texts[0])
    return f"`{found[1]}`" if found else LEFT_OUT


@pytest.mark.parametrize(("name", "given", "becomes"), table("Parquet"))
def test_a_parquet_type_becomes_what_the_table_says(
    name: str, given: str, becomes: str, tmp_path: Path
) -> None:
    assert given
    parquet(tmp_path, name)
    zone = re.search(r"timezone: ([A-Za-z/]+)", name)
    options = {"timezone": zone[1]} if zone else {}
    found = outcome(tmp_path, {"path": "t.parquet"}, **options)
    assert found == becomes
    assert becomes[0] == "`" or becomes in {*Code, LEFT_OUT, A_FAULT}


@pytest.mark.parametrize(
    ("values", "zone"),
    [
        # 2^64 microseconds after 2020, which microseconds would take for 2020
        (pa.array([MS + (1 << 64) // 1000], pa.timestamp("ms")), "UTC"),
        # it is the year 10000 in UTC by then
        (pa.array([253_402_300_799_000], pa.timestamp("ms")), "America/New_York"),
    ],
)
def test_a_time_that_has_no_four_digits_is_a_reject_and_no_other_time(
    values: pa.Array, zone: str, tmp_path: Path
) -> None:
    how = {"use_deprecated_int96_timestamps": zone == "UTC"}
    pq.write_table(pa.table({"a": values}), tmp_path / "t.parquet", **how)
    assert outcome(tmp_path, {"path": "t.parquet"}, timezone=zone) == "time-unreadable"


def test_the_table_has_every_type_once() -> None:
    assert [row[0] for row in table("Parquet")] == list(VALUES)


def test_the_table_has_every_option_of_a_dialect_with_its_default() -> None:
    told = {row[0].strip("`"): row[1] for row in table("CSV")}
    fields = CsvDialect.model_fields
    assert list(told) == list(fields)
    for name, field in fields.items():
        default = json.dumps(field.default) if isinstance(field.default, bool) else field.default
        shown = "nothing" if default is None else str(default)
        assert re.match(rf"""[`'"]*{re.escape(shown)}""", told[name]), name


def test_rejects_of_parquet_keep_the_types_of_the_source_and_retry_sends_them(
    cli: Cli, ledger: Ledger, tmp_path: Path
) -> None:
    kinds = ["JSON", "UUID", "date", "time, ns", "decimal in int32", "list of structs", "map"]
    whole = {f"c{at}": VALUES[kind] for at, kind in enumerate(kinds)}
    rows = {"id": pa.array(["x"]), "n": pa.array(["bad"]), **whole}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    traits: dict[str, Any] = {"n": {"column": "n", "type": "number"}} | {c: c for c in whole}
    body = {
        "version": 1,
        "source": {"path": "t.parquet"},
        "messages": [{"type": "identify", "userId": "id", "traits": traits}],
    }
    (tmp_path / "t.yaml").write_text(json.dumps(body))
    done = cli("run", "t.yaml", "--to", ledger.url, "--json")
    assert done.code == 3, done.err
    (path,) = (tmp_path / ".backfill").glob("*/runs/*/rejects.parquet")
    rejects = pq.read_table(path)
    assert rejects.schema.field("c0").type == pa.json_()
    pq.write_table(rejects.set_column(1, "n", pa.array(["7"])), path)
    done = cli("retry", "t.yaml", "--to", ledger.url, "--json")
    assert done.code == 0, done.err
    told = {row[0]: row[2].strip("`") for row in table("Parquet")}
    expected = {c: json.loads(told[kind]) for c, kind in zip(whole, kinds, strict=True)}
    assert [one["traits"] for one in ledger.kept] == [{"n": 7, **expected}]
