"""The same import as a pipeline of dlt with a destination of its own, on its fast path (Arrow).

    python benchmarks/dlt_import.py EVENTS.csv PORT

Record batches go through extract, normalize (Parquet, as they are) and load; the destination gets
2,000 rows at a time and sends them as the per-row script does. Rows of dicts instead of Arrow were
six times as slow. Telemetry is off: nothing leaves the machine.
"""

from __future__ import annotations

import os
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY_BYTES = 475_000
BLOCK_BYTES = 8 << 20


def messages(rows: list[dict[str, Any]], first: int) -> Iterator[bytes]:
    """Make the messages of one piece that dlt hands over; Arrow has typed most columns."""
    for number, row in enumerate(rows, first):
        properties = {
            "email": row["email"],
            "amount": float(row["amount"]),
            "currency": row["currency"],
            "product_name": row["product_name"],
            "quantity": int(row["quantity"]),
            "is_member": row["is_member"] in (True, "true"),
        }
        if row.get("coupon"):
            properties["coupon"] = row["coupon"]
        yield orjson.dumps(
            {
                "type": "track",
                "userId": row["user_id"],
                "event": row["event"],
                "timestamp": row["occurred_at"],
                "properties": properties,
                "messageId": f"bench-{number:012d}",
            }
        )


class Sender:
    """Cuts messages into bodies and posts them."""

    def __init__(self, port: str) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/batch"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = ("bench", "")
        self._count = 0

    def send(self, rows: list[dict[str, Any]]) -> None:
        """Send one piece; dlt lets none wait for the next one."""
        batch: list[bytes] = []
        size = 0
        for message in messages(rows, self._count):
            if batch and size + len(message) + 12 > BODY_BYTES:
                self._post(batch)
                batch, size = [], 0
            batch.append(message)
            size += len(message) + 1
        self._count += len(rows)
        if batch:
            self._post(batch)

    def _post(self, batch: list[bytes]) -> None:
        body = b'{"batch":[' + b",".join(batch) + b"]}"
        self._session.post(self._url, data=body, timeout=30).raise_for_status()


def run(path: str, port: str) -> None:
    """Run the pipeline once."""
    import dlt  # noqa: PLC0415  it reads its settings from the environment while it is imported
    import pyarrow.csv as pa_csv  # noqa: PLC0415

    sender = Sender(port)

    def sink(items: Any, table: Any) -> None:  # noqa: ARG001  dlt calls it by these names
        sender.send(items.to_pylist() if hasattr(items, "to_pylist") else items)

    def events() -> Iterator[Any]:
        yield from pa_csv.open_csv(path, read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES))

    destination = dlt.destination(
        sink,
        batch_size=2_000,
        loader_file_format="parquet",
        name="sink",
        loader_parallelism_strategy="sequential",
    )
    pipeline = dlt.pipeline(
        "bench", destination=destination(), pipelines_dir=os.environ["DLT_DATA_DIR"]
    )
    pipeline.run(dlt.resource(events(), name="events"))


def main() -> None:
    """Run with settings that keep everything in a folder that is removed."""
    with TemporaryDirectory(prefix="dlt-") as folder:
        os.environ |= {
            "DLT_DATA_DIR": folder,
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "CRITICAL",
            "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
            "NORMALIZE__WORKERS": "1",
        }
        run(sys.argv[1], sys.argv[2])


if __name__ == "__main__":
    main()
