"""The import that most would write first: pandas, a dict a row, json= of requests, 500 a request.

    python benchmarks/naive_pandas.py EVENTS.csv PORT records|iterrows

records: the tidier form: times as a column, to_dict("records"), one session. iterrows: row by row,
and a new connection each time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_ROWS = 10_000
BATCH_MESSAGES = 500
NAMED = ("user_id", "event", "occurred_at")
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def message(row: dict[str, Any], at: str, number: int) -> dict[str, Any]:
    """Make one track of a row; what is missing in it is NaN, which is not equal to itself."""
    properties = {name: v for name, v in row.items() if name not in NAMED and v == v}  # noqa: PLR0124
    return {
        "type": "track",
        "userId": row["user_id"],
        "event": row["event"],
        "timestamp": at,
        "messageId": f"bench-{number}",
        "properties": properties,
    }


def by_records(path: str) -> Iterator[dict[str, Any]]:
    """Read chunk by chunk, the times as a column."""
    number = 0
    for frame in pd.read_csv(path, chunksize=CHUNK_ROWS):
        at = pd.to_datetime(frame["occurred_at"], format="ISO8601").dt.strftime(TIME)
        for row, time in zip(frame.to_dict("records"), at, strict=True):
            yield message(row, time, number)
            number += 1


def by_iterrows(path: str) -> Iterator[dict[str, Any]]:
    """Read row by row."""
    number = 0
    for frame in pd.read_csv(path, chunksize=CHUNK_ROWS):
        for _, row in frame.iterrows():
            yield message(row.to_dict(), pd.to_datetime(row["occurred_at"]).isoformat(), number)
            number += 1


def main() -> None:
    """Send every event of the file."""
    path, port, form = sys.argv[1:]
    session = requests.Session()
    session.auth = ("bench", "")
    send: Callable[..., requests.Response] = session.post
    if form == "iterrows":
        send = requests.post
    batch: list[dict[str, Any]] = []

    def flush() -> None:
        url, auth = f"http://127.0.0.1:{port}/v1/batch", ("bench", "")
        send(url, json={"batch": batch}, auth=auth, timeout=30).raise_for_status()
        batch.clear()

    for one in by_iterrows(path) if form == "iterrows" else by_records(path):
        batch.append(one)
        if len(batch) == BATCH_MESSAGES:
            flush()
    if batch:
        flush()


if __name__ == "__main__":
    main()
