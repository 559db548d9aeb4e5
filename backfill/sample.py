"""Some rows and the exact messages they become, side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backfill.pipeline import encodings, open_shard, spans
from backfill.source import LINE
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.plan import Plan


FILTERED = "filtered: no message wants this row"


@dataclass(frozen=True, slots=True)
class Shown:
    """One row."""

    file: str
    row: int
    """As a person counts."""
    cells: dict[str, Any]
    messages: list[str]
    """JSON texts, exactly as they would be sent."""
    reason: str = ""
    """Why it would not be sent."""


def sample(plan: Plan, *, count: int, first: int | None) -> Iterator[Shown]:
    """Yield `count` rows, from the row `first` (as a person counts) or from the begin."""
    left = count
    for shard in plan.shards:
        read = open_shard(plan.job, shard)
        start = 0 if first is None else max(first - read.reader.first_row, 0)
        for span in spans(read, start, start + left, plan.job.grouping):
            given = encodings(plan.job, shard, span, Watermark(plan.job.lanes))
            texts = dict(zip(given.firsts.tolist(), given.texts.to_pylist(), strict=True))
            told = [*given.rejects.to_pylist(), *given.held.to_pylist()]
            reasons = dict.fromkeys(given.filtered.tolist(), FILTERED)
            reasons |= {row["row"]: row["reason"] for row in told}
            cells = [_cells(row) for row in span.batch.to_pylist()]
            for offset, row in enumerate(range(span.start, span.stop)):
                text = texts.get(row)
                messages = [] if text is None else _messages(text)
                reason = reasons.get(row, "")
                yield Shown(read.file, read.person_row(row), cells[offset], messages, reason)
                left -= 1
            if left <= 0:
                return


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _cell(value) for name, value in row.items() if name != LINE}


def _cell(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _messages(text: str) -> list[str]:
    """`,{…},{…}` → the texts of its messages."""
    decoder = json.JSONDecoder()
    found, at = [], 1
    while at < len(text):
        _, end = decoder.raw_decode(text, at)
        found.append(text[at:end])
        at = end + 1
    return found
