"""Seeded events and users, as a warehouse would export them: CSV and typed Parquet.

    python benchmarks/data.py DIR [--rows N] [--seed S] [--only events|users]

Writes events-N.csv, events-N.parquet and users-N.csv into DIR; what is there already stays. The
same seed and rows give the same bytes: every value is an integer hash of (seed, column, row), so no
library's random stream decides (a Parquet file also names the pyarrow that wrote it). Memory does
not grow with the rows.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

SEED = 20240917
SHARD_ROWS = 131_072
"""Rows made at a time, and rows of a Parquet row group."""

SPAN_MS = 3 * 365 * 86_400_000
START_MS = 1_640_995_200_000
"""Three years from 2022-01-01T00:00:00Z: the last of them is 2024-12-31."""

USERS = 400_000

Integers = npt.NDArray[np.int64]

EVENTS = [
    "Order Completed*9|Product Viewed*20|Product Added*12|Checkout Started*7|Product Removed*3",
    "Cart Viewed*8|Payment Info Entered*5|Order Refunded|Coupon Applied*3|Coupon Denied",
    "Products Searched*9|Product List Viewed*8|Product Added to Wishlist*3|Signed Up*2",
    "Trial Started|Subscription Renewed*2|Subscription Cancelled|Invoice Paid*2",
    "Support Ticket Opened|Review Submitted*2",
]
CURRENCIES = ["USD*36|EUR*17|GBP*12|PLN*9|JPY*8|AUD*7|CAD*6|CHF*5"]
"""Each as often as its weight says (1 without one)."""

KINDS = ["Blue", "Organic", "Compact", "Classic", "Heavy-Duty", "Vintage", "Smart", "Wool"]
THINGS = ["T-Shirt", "Espresso Cup", "Desk Lamp", "Backpack", "Notebook", "Phone Case", "Jacket"]
QUOTED = [", size M", ", pack of 3", ' 13" model', ' "Pro" edition', ', 1/2" bolt', " \\ refill"]
FOREIGN = [" (édition limitée)", " ☕", " żółty", " 限定版"]
PRODUCTS = [f"{k} {t}{d}" for k in KINDS for t in THINGS for d in [""] * 8 + QUOTED + FOREIGN]

DOMAINS = ["example.com", "mail.example.org", "corp.example.net", "example.co.uk"]
FIRST_NAMES = ["Anna", "José", "Liam", "Zoë", "Mateusz", "Olivia", "Noah", "Søren", "Yuki", "Chloé"]
LAST_NAMES = ["Smith", "García", "O'Neil", "Nowak", "Müller", "Kim", "Tanaka", "Brown", "van Dijk"]
PLANS = ["free", "basic", "pro", "enterprise"]
CITIES = ["New York", "London", "Kraków", "東京", "Toronto, ON", "São Paulo", "Amsterdam"]
COUNTRIES = ["US", "GB", "PL", "JP", "CA", "BR", "NL"]

PRICES = [
    round(100 * 2.718281828 ** (3.6 + NormalDist().inv_cdf((i + 0.5) / 2048))) for i in range(2048)
]
"""Quantiles of a log-normal price in cents: median 36.60, a long tail."""
QUANTITIES = [1] * 55 + [2] * 25 + [3] * 11 + [4] * 5 + [5] * 2 + [6, 9]
HEX = [f"{i:03X}" for i in range(4096)]
TWO_DIGITS = [f"{i:02d}" for i in range(100)]


@dataclass(frozen=True, slots=True)
class Draw:
    """Hashes for the rows [start, stop) of `rows` rows in all."""

    seed: int
    start: int
    stop: int
    rows: int

    def below(self, n: int, *, column: int) -> Integers:
        """Draw integers in [0, n), one a row: splitmix64 of (seed, column, row)."""
        z = np.arange(self.start, self.stop, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64((self.seed * 1_000_003 + column) * 0xD1342543DE82EF95 % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        return ((z >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)

    def of(self, values: list[str], *, column: int) -> Any:
        """Draw from a list of texts."""
        return pick(values, self.below(len(values), column=column))


def weighted(lines: list[str]) -> list[str]:
    """Repeat each name as often as its weight."""
    entries = [entry.partition("*") for line in lines for entry in line.split("|")]
    return [name for name, _, weight in entries for _ in range(int(weight or 1))]


def pick(values: list[str], which: Integers) -> Any:
    """Take values[which], as an Arrow column."""
    rows: Any = pa.array(which)
    return pa.array(values, pa.string()).take(rows)


def join(*parts: Any, by: str = "") -> Any:
    """Join columns and constants row by row; a null in any gives null."""
    return pc.binary_join_element_wise(*parts, by)


def padded(numbers: Integers) -> Any:
    """Seven digits, with zeros in front."""
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 7, "0")


def money(cents: Integers) -> Any:
    """Turn cents into exact decimals: 1230 -> 12.30. decimal128 is two little-endian words."""
    words = np.zeros((len(cents), 2), np.int64)
    words[:, 0] = cents
    return pa.Array.from_buffers(
        pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(words.tobytes())]
    )


def iso(times_ms: Integers, *, is_whole: npt.NDArray[np.bool_]) -> Any:
    """Write times as ISO 8601 with Z; those that are whole seconds without a fraction."""
    text = pa.array(times_ms).cast(pa.timestamp("ms")).cast(pa.string())
    text = pc.binary_replace_slice(text, 10, 11, "T")
    return join(pc.if_else(pa.array(is_whole), pc.utf8_slice_codeunits(text, 0, 19), text), "Z")


def quoted(column: Any) -> Any:
    """Put quotes around the texts that need them, as RFC 4180 asks."""
    doubled = join('"', pc.replace_substring(column, '"', '""'), '"')
    return pc.if_else(pc.match_substring_regex(column, '[,"]'), doubled, column)


def events(draw: Draw) -> tuple[Any, Any]:
    """Make one shard of events: the typed table, and the same as texts for CSV."""
    rows = np.arange(draw.start, draw.stop, dtype=np.int64)
    # The lower of two: some users have many events, most have few.
    user = np.minimum(draw.below(USERS, column=0), draw.below(USERS, column=1))
    has_fraction = draw.below(2, column=2) == 1
    at_ms = START_MS + rows * (SPAN_MS // draw.rows) + draw.below(60_000, column=3)
    at_ms = np.where(has_fraction, at_ms, at_ms // 1000 * 1000)
    cents = np.array(PRICES)[draw.below(len(PRICES), column=4)] + draw.below(97, column=5)
    quantity = pa.array(np.array(QUANTITIES)[draw.below(len(QUANTITIES), column=6)])
    is_member = pa.array(draw.below(100, column=7) < 35)
    coupon = join(
        "SAVE",
        pick(TWO_DIGITS, 5 + draw.below(55, column=8)),
        "-",
        draw.of(HEX, column=9),
        draw.of(HEX, column=10),
    )
    coupon = pc.if_else(pa.array(draw.below(5, column=11) == 0), coupon, pa.scalar(None, "string"))
    number = padded(user)
    typed = pa.table(
        {
            "user_id": join("u_", number),
            "email": join("user", number, "@", pick(DOMAINS, user % len(DOMAINS))),
            "event": draw.of(weighted(EVENTS), column=12),
            "occurred_at": pa.array(at_ms).cast(pa.timestamp("ms", "UTC")),
            "amount": money(cents),
            "currency": draw.of(weighted(CURRENCIES), column=13),
            "product_name": draw.of(PRODUCTS, column=14),
            "quantity": quantity,
            "is_member": is_member,
            "coupon": coupon,
        }
    )
    return typed, texts(typed, {"occurred_at": iso(at_ms, is_whole=~has_fraction)})


def users(draw: Draw) -> tuple[Any, Any]:
    """Make one shard of people, one row each."""
    rows = np.arange(draw.start, draw.stop, dtype=np.int64)
    number = padded(rows)
    city = draw.below(len(CITIES), column=20)
    created_ms = START_MS + draw.below(SPAN_MS // 1000, column=21) * 1000
    age = pa.array(draw.below(72, column=22) + 18)
    is_blank = pa.array(draw.below(10, column=23) < 3)
    cents = np.array(PRICES)[draw.below(len(PRICES), column=24)]
    typed = pa.table(
        {
            "id": join("u_", number),
            "email": join("user", number, "@", pick(DOMAINS, rows % len(DOMAINS))),
            "first_name": draw.of(FIRST_NAMES, column=25),
            "last_name": draw.of(LAST_NAMES, column=26),
            "plan": draw.of(PLANS, column=27),
            "created_at": pa.array(created_ms).cast(pa.timestamp("ms", "UTC")),
            "country": pick(COUNTRIES, city),
            "city": pick(CITIES, city),
            "age": pc.if_else(is_blank, pa.scalar(None, "int64"), age),
            "newsletter": pa.array(draw.below(2, column=28) == 1),
            "lifetime_value": money(cents * 7),
        }
    )
    is_whole = np.ones(len(rows), np.bool_)
    return typed, texts(typed, {"created_at": iso(created_ms, is_whole=is_whole)})


def texts(typed: Any, instead: dict[str, Any]) -> Any:
    """Turn each column into CSV cells; nulls are empty cells."""
    cells = {}
    for name, column in zip(typed.column_names, typed.itercolumns(), strict=True):
        whole = column.combine_chunks()
        text = instead[name] if name in instead else whole.cast(pa.string()).fill_null("")
        cells[name] = quoted(text) if pa.types.is_string(whole.type) else text
    return pa.table(cells)


def write_csv(cells: Any, file: BinaryIO) -> None:
    """Append the rows of one table of cells."""
    lines = join(*(c.combine_chunks() for c in cells.itercolumns()), by=",")
    text = join(lines, "", by="\n")
    ends = np.frombuffer(text.buffers()[1], np.int32)
    file.write(memoryview(text.buffers()[2])[: int(ends[len(text)])])


def shards(seed: int, rows: int) -> Iterator[Draw]:
    """Tile the rows."""
    for start in range(0, rows, SHARD_ROWS):
        yield Draw(seed, start, min(rows, start + SHARD_ROWS), rows)


def write(make: Callable[[Draw], tuple[Any, Any]], path: Path, *, rows: int, seed: int) -> None:
    """Write path.csv and path.parquet, unless both are there.

    The names appear only when the files are whole.
    """
    csv, parquet = path.with_suffix(".csv"), path.with_suffix(".parquet")
    if csv.exists() and parquet.exists():
        return
    csv_part, parquet_part = path.with_suffix(".csv.part"), path.with_suffix(".parquet.part")
    schema = make(Draw(seed, 0, 1, max(rows, 1)))[0].schema
    with (
        csv_part.open("wb") as file,
        pq.ParquetWriter(parquet_part, schema, compression="zstd") as writer,
    ):
        file.write(",".join(schema.names).encode() + b"\n")
        for draw in shards(seed, rows):
            typed, cells = make(draw)
            writer.write_table(typed)
            write_csv(cells, file)
    csv_part.replace(csv)
    parquet_part.replace(parquet)


def main() -> None:
    """Write what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Seeded events and users as CSV and Parquet.")
    parser.add_argument("dir", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", choices=("events", "users"))
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    for name, make in {"events": events, "users": users}.items():
        if options.only in (None, name):
            path = options.dir / f"{name}-{options.rows}"
            write(make, path, rows=options.rows, seed=options.seed)


if __name__ == "__main__":
    main()
