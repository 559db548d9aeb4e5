"""What the datasets mean, row by row, in plain Python: the second opinion on every message.

Written from the mapping contract and from what the files hold, not from the program: nothing of
`backfill` is imported here. Each function yields the messages a dataset must become, in the order
of its rows, without `messageId`. Numbers are int or Decimal with the digits that must be sent.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Message = dict[str, Any]
Row = dict[str, Any]

NEW_YORK = ZoneInfo("America/New_York")
EDMONTON = ZoneInfo("America/Edmonton")
LONDON = ZoneInfo("Europe/London")
PHOENIX = ZoneInfo("America/Phoenix")


def csv_rows(path: Path) -> Iterator[Row]:
    """Rows as the header names them; cells are text with every character of the file."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file, strict=True)


def parquet_rows(path: Path) -> Iterator[Row]:
    """Rows as Python values, a record batch at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=65_536):
            yield from batch.to_pylist()


def in_utc(wall: str | datetime, zone: ZoneInfo) -> datetime:
    """Find the moment of a wall time that its zone has exactly once."""
    naive = datetime.fromisoformat(wall) if isinstance(wall, str) else wall
    assert naive.tzinfo is None, "the dataset's times were said to have no zone"
    early, late = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    assert early.utcoffset() == late.utcoffset(), f"{naive} is skipped or comes twice in {zone}"
    return early.astimezone(UTC)


def timestamp(wall: str | datetime, zone: ZoneInfo) -> str:
    """UTC with exactly three decimals; the finer ones are cut."""
    moment = in_utc(wall, zone)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def without_blanks(members: Row) -> Row:
    """Leave blank members out: an empty CSV cell and a Parquet null are blank."""
    return {name: value for name, value in members.items() if value not in ("", None)}


def jaffle_customers(path: Path) -> Iterator[Message]:
    for row in csv_rows(path):
        yield {"type": "identify", "userId": row["id"], "traits": {"name": row["name"]}}


def jaffle_orders(path: Path) -> Iterator[Message]:
    for row in csv_rows(path):
        yield {
            "type": "track",
            "userId": row["customer"],
            "event": "Order Completed",
            "timestamp": timestamp(row["ordered_at"], NEW_YORK),
            "properties": {
                "order_id": row["id"],
                "subtotal_cents": int(row["subtotal"]),
                "tax_cents": int(row["tax_paid"]),
                "total_cents": int(row["order_total"]),
                "store": {"id": row["store_id"]},
            },
        }


def jaffle_stores(path: Path) -> Iterator[Message]:
    for row in csv_rows(path):
        yield {
            "type": "group",
            "groupId": row["id"],
            "traits": {
                "objectTypeId": "2",
                "name": row["name"],
                "tax_rate": Decimal(row["tax_rate"]),
                "opened_at": int(in_utc(row["opened_at"], NEW_YORK).timestamp()),
                "opened_on": timestamp(row["opened_at"], NEW_YORK),
            },
        }


def jaffle_tweets(path: Path) -> Iterator[Message]:
    for row in csv_rows(path):
        yield {
            "type": "track",
            "userId": row["user_id"],
            "event": "Tweeted",
            "timestamp": timestamp(row["tweeted_at"], NEW_YORK),
            "properties": {"tweet_id": row["id"], "content": row["content"]},
        }


def chinook_customer(path: Path) -> Iterator[Message]:
    for row in parquet_rows(path) if path.suffix == ".parquet" else csv_rows(path):
        address = {
            "street": row["Address"],
            "city": row["City"],
            "state": row["State"],
            "postal_code": row["PostalCode"],
            "country": row["Country"],
        }
        traits = {
            "email": row["Email"],
            "first_name": row["FirstName"],
            "last_name": row["LastName"],
            "company": row["Company"],
            "phone": row["Phone"],
            "fax": row["Fax"],
            "support_rep": int(row["SupportRepId"]),
            "customer_number": str(row["CustomerId"]),
            "address": without_blanks(address),
        }
        user_id = str(row["CustomerId"])
        yield {"type": "identify", "userId": user_id, "traits": without_blanks(traits)}


def chinook_invoice(path: Path) -> Iterator[Message]:
    for row in parquet_rows(path) if path.suffix == ".parquet" else csv_rows(path):
        billing = {
            "street": row["BillingAddress"],
            "city": row["BillingCity"],
            "state": row["BillingState"],
            "postal_code": row["BillingPostalCode"],
            "country": row["BillingCountry"],
        }
        yield {
            "type": "track",
            "userId": str(row["CustomerId"]),
            "event": "Order Completed",
            "timestamp": timestamp(row["InvoiceDate"], EDMONTON),
            "properties": {
                "order_id": str(row["InvoiceId"]),
                # A double of the Parquet twin is the shortest decimal that names it.
                "total": Decimal(str(row["Total"])),
                "billing": without_blanks(billing),
            },
        }


def cdnow(path: Path) -> Iterator[Message]:
    for row in csv_rows(path):
        yield {
            "type": "track",
            "userId": row["id"],
            "event": "Purchase",
            "timestamp": timestamp(row["date"], ZoneInfo("UTC")),
        }


def online_retail(folder: Path) -> Iterator[Message]:
    for path in sorted(folder.iterdir()):
        for row in csv_rows(path):
            if row["CustomerID"]:
                yield online_retail_message(row)


def online_retail_message(row: Row) -> Message:
    number = Decimal(row["CustomerID"])
    assert number == int(number), "a customer's number was said to be whole"
    properties = {
        "invoice": row["InvoiceNo"],
        "sku": row["StockCode"],
        "description": row["Description"],
        "quantity": int(row["Quantity"]),
        "price": Decimal(row["UnitPrice"]),
        "country": row["Country"],
    }
    return {
        "type": "track",
        "userId": str(int(number)),
        "event": "Item Purchased",
        "timestamp": timestamp(row["InvoiceDate"], LONDON),
        "properties": without_blanks(properties),
    }


def online_retail_rejects(folder: Path) -> Iterator[tuple[str, int, Row]]:
    """File name, row as a spreadsheet counts (the header is row 1), and the cells."""
    for path in sorted(folder.iterdir()):
        for number, row in enumerate(csv_rows(path), start=2):
            if not row["CustomerID"]:
                yield path.name, number, row


def flights(path: Path) -> Iterator[Message]:
    for row in parquet_rows(path):
        yield {
            "type": "track",
            "userId": row["origin"],
            "event": "Flight",
            "timestamp": timestamp(row["date"], PHOENIX),
            "properties": {
                "destination": row["destination"],
                "delay": row["delay"],
                "distance": row["distance"],
            },
        }


def spectrum(path: Path) -> Iterator[Message]:
    """Every column a trait, every row one and the same person."""
    for row in csv_rows(path):
        yield {"type": "identify", "userId": "spectrum", "traits": without_blanks(row)}


SAMPLES: list[Message] = [
    {
        "type": "identify",
        "userId": "4",
        "traits": {
            "email": "bjorn.hansen@yahoo.no",
            "first_name": "Bjørn",
            "last_name": "Hansen",
            "phone": "+47 22 44 22 22",
            "unsubscribed": False,
            "createdAt": "2021-01-02T07:00:00.000Z",
            "address": {"city": "Oslo", "postal_code": "0171", "country": "Norway"},
        },
    },
    {
        "type": "group",
        "groupId": "C002",
        "userId": "5",
        "traits": {
            "objectTypeId": "1",
            "name": "JetBrains s.r.o.",
            "street": "Klanova 9/506",
            "city": "Prague",
            "country": "Czech Republic",
            "fax": "+420 2 4172 5555",
            "relationshipAttributes": {"role": "buyer", "since": "2021-12-08"},
        },
    },
    {
        "type": "track",
        "userId": "4",
        "event": "Order Completed",
        "timestamp": "2021-01-02T07:00:00.000Z",
        "properties": {
            "order_id": "2",
            "total": Decimal("3.96"),
            "currency": "USD",
            "shipping": {
                "street": "Ullevålsveien 14",
                "city": "Oslo",
                "postal_code": "0171",
                "country": "Norway",
            },
            "products": [
                {"sku": sku, "price": Decimal("0.99"), "quantity": 1}
                for sku in ("6", "8", "10", "12")
            ],
        },
    },
    {
        "type": "page",
        "userId": "4",
        "name": "Track 8",
        "timestamp": "2021-01-02T06:58:22.548Z",
        "context": {
            "ip": "203.0.113.34",
            "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)",
        },
        "properties": {
            "category": "track",
            "url": "https://shop.example/tracks/8",
            "path": "/tracks/8",
            "title": "Track 8",
            "referrer": "https://shop.example/",
            "seconds_on_page": 15,
        },
    },
    {
        "type": "screen",
        "userId": "10",
        "name": "Library",
        "timestamp": "2024-01-09T13:33:28.151Z",
        "context": {
            "app": {"name": "Chinook", "version": "4.10"},
            "device": {"type": "android", "model": "Pixel 8"},
        },
    },
    {
        "type": "alias",
        "userId": "1",
        "previousId": "047817",
        "timestamp": "2023-07-12T19:38:00.000Z",
    },
]
"""One message of each mapping of the samples, written by hand from the cells of its row."""
