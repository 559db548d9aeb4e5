"""The same import with the official Python client, at the best settings found for it.

    python benchmarks/official.py EVENTS.csv PORT [ROWS]

Queue mode. track() drops a message when the client's queue of 10,000 is full, and says so only in a
return value; so this waits while it is full, as a careful caller must. upload_size stays at the
default of 100 (500 and 1,000 were no faster), one thread (the lock is shared anyway). A shorter
upload_interval than the default 0.5 s only shortens the client's wait at exit.
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from customerio.analytics.client import Client


def main() -> int:
    """Send the first rows of the file; 1 when the client reports an error."""
    path, port = Path(sys.argv[1]), int(sys.argv[2])
    rows_max = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    errors: list[str] = []

    def keep(error: Exception, _batch: Any) -> None:
        errors.append(str(error))

    host = f"http://127.0.0.1:{port}"
    client = Client("bench", host=host, on_error=keep, upload_interval=0.1)
    is_full = client.queue.full
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        for number, row in enumerate(itertools.islice(rows, rows_max)):
            properties = {
                "email": row["email"],
                "amount": float(row["amount"]),
                "currency": row["currency"],
                "product_name": row["product_name"],
                "quantity": int(row["quantity"]),
                "is_member": row["is_member"] == "true",
            }
            if row["coupon"]:
                properties["coupon"] = row["coupon"]
            while is_full():
                time.sleep(0.001)
            client.track(
                user_id=row["user_id"],
                event=row["event"],
                properties=properties,
                timestamp=datetime.fromisoformat(row["occurred_at"]),
                message_id=f"bench-{number:012d}",
            )
    client.flush()
    for error in errors[:3]:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
