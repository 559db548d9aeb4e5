"""Everything a run would do but send: what would go out, what would be rejected, in which sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backfill.batch import Batcher
from backfill.pipeline import encodings, open_shard, spans
from backfill.shard import Counts
from backfill.spec import RECENT_S
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.batch import Batch
    from backfill.pipeline import Read
    from backfill.plan import Plan

SAMPLES = 3


@dataclass
class Cause:
    """Rejects of one code in one column."""

    code: str
    column: str
    count: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    """The first few: file, row as a person counts, reason."""


@dataclass
class Survey:
    """The outcome of a rehearsal without sending."""

    counts: Counts = field(default_factory=Counts)
    rows: int = 0
    files: list[dict[str, Any]] = field(default_factory=list)
    causes: dict[tuple[str, str], Cause] = field(default_factory=dict)
    batches: int = 0
    body_bytes: int = 0
    longest_bytes: int = 0
    notes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Words about values that would be sent: (column, what) → how many."""

    def note(self, table: Any, read: Read) -> None:
        """Count the rows of a rejects or held table."""
        for row in table.to_pylist():
            at = (row["code"], row["column"])
            cause = self.causes.setdefault(at, Cause(*at))
            cause.count += 1
            if len(cause.samples) < SAMPLES:
                shown = {"file": read.file, "row": read.person_row(row["row"])}
                cause.samples.append({**shown, "reason": row["reason"]})


def survey(plan: Plan, *, limit: int | None, watch: Callable[[], None] = lambda: None) -> Survey:
    """Read, check and encode every row (or the first `limit`). watch: called now and then."""
    found = Survey()
    for shard in plan.shards:
        stop = None if limit is None else max(limit - found.rows, 0)
        if stop == 0:
            break
        read = open_shard(plan.job, shard)
        mark = Watermark(plan.job.lanes)
        batcher = Batcher(mark.starts, plan.job.limits)
        before = found.rows
        for span in spans(read, 0, stop, plan.job.grouping):
            given = encodings(plan.job, shard, span, mark)
            for at, count in given.notes.items():
                found.notes[at] = found.notes.get(at, 0) + count
            for batch in batcher.add(given):
                _add(found, batch, plan, read)
            found.rows = before + span.stop
            watch()
        for batch in batcher.flush():
            _add(found, batch, plan, read)
        found.files.append(
            {"path": shard.file.path, "rows": found.rows - before, "fingerprint": shard.file.sha256}
        )
    return found


def _add(found: Survey, batch: Batch, plan: Plan, read: Read) -> None:
    codes = batch.rejects["code"].to_pylist()
    by_code = {code: codes.count(code) for code in set(codes)}
    counts = Counts(
        filtered=batch.filtered,
        unchanged=batch.unchanged,
        held=batch.held.num_rows,
        rejected=len(codes),
        built=int(batch.messages.sum()),
        by_code=by_code,
    )
    if batch.times is not None:
        counts.oldest_ms, counts.newest_ms, _ = batch.times
        counts.within_72h = batch.newer_than(plan.job.rules.now_ms - 1000 * RECENT_S)
    found.counts.add(counts)
    if batch.count:
        found.batches += 1
        found.body_bytes += len(batch.body)
        widest = int((batch.bounds[1:] - batch.bounds[:-1]).max()) - 1
        found.longest_bytes = max(found.longest_bytes, widest)
    for table in (batch.rejects, batch.held):
        if table.num_rows:
            found.note(table, read)
