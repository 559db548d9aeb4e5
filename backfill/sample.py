"""Some rows and the exact messages they become, side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backfill.pipeline import encodings
from backfill.reading import open_shard, spans
from backfill.source import LINE
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.batch import Encodings
    from backfill.plan import Plan
    from backfill.reading import Read
    from backfill.source import Span


@dataclass(frozen=True, slots=True)
class Shown:
    """One row."""

    file: str
    row: int
    """As a person counts."""
    cells: dict[str, Any]
    messages: list[str]
    """JSON texts, exactly as they would be sent."""
    outcome: str = "sent"
    """Or `grouped` (its messages stand beside the first row of its group), `filtered`, `held`,
    `rejected`, `unchanged`."""
    reason: str = ""
    """Why it would not be sent."""
    with_row: int | None = None
    """The first row of its group, where that is another one."""
    indexes: list[int] = field(default_factory=list)
    """Which message of the mapping each of the messages is, from 0."""


def sample(plan: Plan, *, count: int, first: int | None) -> Iterator[Shown]:
    """Yield `count` rows, from the row `first` (as a person counts) or from the begin.

    Of several files, the first one that has such a row; the files after it are shown from their
    begin. A group is shown whole: from its first row, and to its last.
    """
    left = count
    for shard in plan.shards:
        read = open_shard(plan.job, shard)
        is_begun = first is None or left < count
        start = 0 if is_begun or first is None else max(first - read.reader.first_row, 0)
        begin = start if plan.job.grouping is None else 0
        for whole in spans(read, begin, start + left, plan.job.grouping):
            if whole.stop <= start:
                continue
            span = _from(whole, start)
            given = encodings(plan.job, shard, span, Watermark(plan.job.lanes))
            yield from _shown(plan, read, span, given)
            left -= span.stop - max(span.start, start)
            if left <= 0:
                return


def longest(plan: Plan) -> tuple[str, int, int]:
    """Return the file with most rows, its number of rows, and its last row as a person counts."""
    found = []
    for shard in plan.shards:
        read = open_shard(plan.job, shard)
        rows = max((span.stop for span in spans(read, 0, None, None)), default=0)
        found.append((rows, read.file, read.person_row(rows - 1)))
    rows, file, last = max(found, key=lambda one: one[0])
    return file, rows, last


def _from(span: Span, start: int) -> Span:
    """Return the rows from `start` on; of a group that it is in the middle of, all rows."""
    offset = max(start - span.start, 0)
    if span.groups is not None:
        offset = int(span.groups.firsts[span.groups.firsts <= offset][-1])
    return span.tail(offset)


def _shown(plan: Plan, read: Read, span: Span, given: Encodings) -> Iterator[Shown]:
    made = given.made
    assert made is not None
    texts = dict(zip(given.firsts.tolist(), given.texts.joined().to_pylist(), strict=True))
    units = {int(row): at for at, row in enumerate(made.rows)}
    outcomes = {row: ("filtered", why) for row, why in _filtered(plan, span, given).items()}
    outcomes |= {row["row"]: ("held", row["reason"]) for row in given.held.to_pylist()}
    outcomes |= {row["row"]: ("rejected", row["reason"]) for row in given.rejects.to_pylist()}
    cells = [_cells(row) for row in span.batch.to_pylist()]
    row_of = dict(zip(given.rows.tolist(), _first_rows(given).tolist(), strict=True))
    for offset, row in enumerate(range(span.start, span.stop)):
        place = (read.file, read.person_row(row), cells[offset])
        if row in texts:
            indexes = [
                draft.index
                for draft in made.drafts
                if draft.rows is None or units[row] in draft.rows
            ]
            yield Shown(*place, _messages(texts[row]), indexes=indexes)
        elif row in row_of:
            yield Shown(*place, [], "grouped", with_row=read.person_row(row_of[row]))
        else:
            yield Shown(*place, [], *outcomes.get(row, ("unchanged",)))


def _first_rows(given: Encodings) -> np.ndarray:
    """Return for each row that is sent the first row of its group."""
    if given.sizes is None:
        return given.rows
    found: np.ndarray = np.repeat(given.firsts, given.sizes)
    return found


def _filtered(plan: Plan, span: Span, given: Encodings) -> dict[int, str]:
    """Return why nothing is to be sent of some rows."""
    assert given.made is not None
    document, where = plan.job.mapping.document, given.made.where
    whens = " | ".join(one.when for one in document.messages if one.when is not None)
    found = {}
    for row in given.filtered.tolist():
        is_where = where is not None and not where[row - span.start]
        found[row] = f"where: {document.where}" if is_where else f"when: {whens}"
    return found


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
