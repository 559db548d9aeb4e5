"""Everything a run would do but send: what would go out, what would be rejected, in which sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from backfill.ahead import ahead
from backfill.batch import Batcher
from backfill.codes import Code, fix_of, without_fixes
from backfill.pipeline import encodings
from backfill.reading import open_shard, spans
from backfill.shard import Counts
from backfill.spec import RECENT_S
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.batch import Batch, Encodings
    from backfill.folder import Folder
    from backfill.message import Made
    from backfill.plan import Plan
    from backfill.reading import Read
    from backfill.recent import Recent

SAMPLES = 3


@dataclass
class Cause:
    """Rows of one code in one column: rejected, or held."""

    code: str
    column: str
    bucket: str
    count: int = 0
    fix: str = ""
    """What to do about all of them."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """The first few: file, row as a person counts, reason."""


@dataclass
class Survey:
    """The outcome of a rehearsal without sending."""

    counts: Counts = field(default_factory=Counts)
    rows: int = 0
    is_cut: bool = False
    """Whether a limit may have left rows out."""
    files: list[dict[str, Any]] = field(default_factory=list)
    causes: dict[tuple[str, str], Cause] = field(default_factory=dict)
    batches: int = 0
    body_bytes: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    """How many messages of each type would be sent."""
    longest_bytes: int = 0
    """Of the longest message."""
    longest_at: dict[str, Any] = field(default_factory=dict)
    """Its file and row, as a person counts."""
    notes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Words about values that would be sent: (column, what) → how many."""
    recent: Recent | None = None

    def note(self, bucket: str, table: pa.Table, read: Read) -> None:
        """Count the rows of a rejects or held table."""
        keys = table.select(["code", "column"]).group_by(["code", "column"], use_threads=False)
        for one in keys.aggregate([([], "count_all")]).to_pylist():
            at = (one["code"], one["column"])
            cause = self.causes.setdefault(at, Cause(*at, bucket, fix=fix_of(Code(one["code"]))))
            cause.count += one["count_all"]
            if (wanted := SAMPLES - len(cause.samples)) > 0:
                mine = pc.and_(*(pc.equal(table[name], one[name]) for name in ("code", "column")))
                for row in table.filter(mine).slice(0, wanted).to_pylist():
                    shown = {"file": read.file, "row": read.person_row(row["row"])}
                    cause.samples.append({**shown, "reason": without_fixes(row["reason"])})

    def measure(self, made: Made, read: Read) -> None:
        """Count the messages by type, and look for the longest."""
        for draft in made.drafts:
            mine = made.keep if draft.rows is None else made.keep[draft.rows]
            name = draft.kind.name
            self.by_type[name] = self.by_type.get(name, 0) + int(mine.sum())
        if len(made.longest) and (longest := int(made.longest.max())) > self.longest_bytes:
            row = int(made.rows[made.keep][made.longest.argmax()])
            self.longest_bytes = longest
            self.longest_at = {"file": read.file, "row": read.person_row(row)}


def survey(
    plan: Plan,
    *,
    limit: int | None,
    watch: Callable[[], None] = lambda: None,
    recent: Recent | None = None,
    folder: Folder | None = None,
) -> Survey:
    """Read, check and encode every row (or the first `limit`). watch: called now and then.

    recent, folder: told of every span, where more than the books is wanted.
    """
    found = Survey(recent=recent)
    for shard in plan.shards:
        stop = None if limit is None else max(limit - found.rows, 0)
        if stop == 0:
            break
        read = open_shard(plan.job, shard)
        mark = Watermark(plan.job.lanes)
        batcher = Batcher(mark.starts, plan.job.limits)
        before = found.rows
        if folder is not None:
            folder.open(plan, shard)
        read_spans = spans(read, 0, stop, plan.job.grouping)
        for span in ahead(read_spans):
            given = encodings(plan.job, shard, span, mark)
            _look(found, given, read, folder)
            for batch in batcher.add(given):
                _add(found, batch, plan, read)
            found.rows = before + given.span.stop
            watch()
        for batch in batcher.flush():
            _add(found, batch, plan, read)
        found.files.append(
            {"path": shard.file.path, "rows": found.rows - before, "fingerprint": shard.file.sha256}
        )
        if folder is not None:
            folder.close(found.rows - before)
    found.is_cut = limit is not None and found.rows >= limit
    return found


def _look(found: Survey, given: Encodings, read: Read, folder: Folder | None) -> None:
    assert given.made is not None
    for at, count in given.notes.items():
        found.notes[at] = found.notes.get(at, 0) + count
    found.measure(given.made, read)
    if found.recent is not None:
        found.recent.add(given)
    if folder is not None:
        folder.add(given.made)


def _add(found: Survey, batch: Batch, plan: Plan, read: Read) -> None:
    codes = batch.rejects["code"]
    by_code = pc.value_counts(codes).to_pylist() if len(codes) else []
    counts = Counts(
        filtered=batch.filtered,
        unchanged=batch.unchanged,
        held=batch.held.num_rows,
        rejected=len(codes),
        built=int(batch.messages.sum()),
        by_code={one["values"]: one["counts"] for one in by_code},
    )
    if batch.times is not None:
        counts.oldest_ms, counts.newest_ms, _ = batch.times
        counts.within_72h = batch.newer_than(plan.job.rules.now_ms - 1000 * RECENT_S)
    found.counts.add(counts)
    if found.recent is not None:
        found.recent.send(batch)
    if batch.count:
        found.batches += 1
        found.body_bytes += batch.body_bytes
    for bucket, table in (("rejected", batch.rejects), ("held", batch.held)):
        if table.num_rows:
            found.note(bucket, table, read)
