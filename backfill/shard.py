"""`run_shard`: one file from source to watermark, as a generator of `Progress`. Writes no file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from backfill.apart import here
from backfill.batch import Batcher
from backfill.codes import Code, words
from backfill.deliver import Delivery, Failed, Unsent
from backfill.errand import Effort, Settled
from backfill.errors import BackfillError
from backfill.figures import LONGEST_SHOWN, tallied
from backfill.known import no_prints
from backfill.reading import open_shard, spans
from backfill.source import Places
from backfill.spec import RECENT_S
from backfill.validate import NONE, REJECTS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from backfill.apart import Encode
    from backfill.batch import Batch, Encodings, Limits
    from backfill.figures import Tally
    from backfill.marks import Legend
    from backfill.plan import Job, Shard
    from backfill.reading import Read
    from backfill.source import Place, Span
    from backfill.watermark import Watermark

DRAIN_S = 20.0
"""How long a stop waits for answers that are under way."""

TICK_S = 0.25


@dataclass
class Counts:
    """Rows, messages and requests that are settled; they only grow, and they add up."""

    delivered: int = 0
    filtered: int = 0
    held: int = 0
    rejected: int = 0
    unchanged: int = 0
    built: int = 0
    delivered_messages: int = 0
    refused_messages: int = 0
    sent: int = 0
    retried: int = 0
    body_bytes: int = 0
    by_code: dict[str, int] = field(default_factory=dict)
    oldest_ms: int | None = None
    newest_ms: int | None = None
    within_72h: int = 0

    @property
    def settled(self) -> int:
        """Rows that are done with."""
        return self.delivered + self.filtered + self.held + self.rejected + self.unchanged

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for code, count in other.by_code.items():
            self.by_code[code] = self.by_code.get(code, 0) + count
        oldest = [t for t in (self.oldest_ms, other.oldest_ms) if t is not None]
        newest = [t for t in (self.newest_ms, other.newest_ms) if t is not None]
        self.oldest_ms = min(oldest, default=None)
        self.newest_ms = max(newest, default=None)


SUMS: Final = tuple(at.name for at in fields(Counts) if at.type == "int")


@dataclass(frozen=True, slots=True)
class Told:
    """Rows for the rejects or the held file: what is told of each, and where its cells are."""

    table: pa.Table
    """`validate.REJECTS`"""
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """What has been settled since the last one.

    The credit of its batches returns when the iteration goes on: by then it must be durable.
    """

    shard: int
    read: Read
    counts: Counts
    rejects: tuple[Told, ...]
    held: tuple[Told, ...]
    position: int
    """The first row of the file that has not been read yet."""
    refused_whole: tuple[bool, ...] = ()
    """Of each batch that was sent, whether the destination refused every row of it."""
    prints: np.ndarray = field(default_factory=no_prints)
    """What is known by now under the keys of the rows that were acknowledged."""
    highest: int | None = None
    """The highest watermark that was read so far."""
    tally: Tally | None = None
    """What the pictures show of the rows that were acknowledged."""
    place: Place | None = None
    """Where a resume may begin to read; None: at the begin of the file."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the shards of one run share beside the job."""

    delivery: Delivery
    window: int
    """Batches between sent and durably settled, at most."""
    stop: threading.Event
    """Set from outside: read no more, drain, save."""
    encode: Encode = here
    clock: Callable[[], float] = time.monotonic


def run_shard(
    job: Job, shard: Shard, run: Run, mark: Watermark, *, row_stop: int | None
) -> Iterator[Progress]:
    """Deliver the rows of a file that `mark` does not call settled; `mark` is kept up to date.

    Raises the BackfillError that stopped the delivery, after all that was settled is yielded.
    """
    flow = _Flow(job, shard, run.encode, mark, row_stop)
    credit, drain_until_s = run.window, float("inf")
    settled: list[Settled] = []
    while True:
        if run.stop.is_set() and drain_until_s == float("inf"):
            run.delivery.stop()
            drain_until_s = run.clock() + DRAIN_S
        quiet, sent = _fill(run, flow, credit, is_ordered=job.is_ordered)
        credit -= len(quiet) + sent
        is_idle = credit == 0 or flow.is_over or run.stop.is_set()
        done = _collect(run, flow, is_idle=is_idle)
        settled += [*map(_silently, quiet), *done]
        is_over = run.delivery.in_flight == 0 and (flow.is_over or run.stop.is_set())
        # a save costs an fsync or two, so several batches share one, but never the whole window
        is_over = is_over or run.clock() > drain_until_s
        if is_over or len(settled) >= run.window // 2 or (settled and is_idle and not done):
            yield _progress(job, shard, flow, settled)
            credit += len(settled)
            settled = []
        # what is still under way after the drain is sent again by the resume, with the same ids
        if is_over:
            break
    if flow.error is not None:
        raise flow.error


def _fill(run: Run, flow: _Flow, credit: int, *, is_ordered: bool) -> tuple[list[Batch], int]:
    """Submit batches while there is credit. Returns those with nothing to send, and how many."""
    quiet: list[Batch] = []
    sent = 0
    while len(quiet) + sent < credit and not run.stop.is_set():
        batch = flow.next_batch()
        if batch is None:
            break
        if len(batch.rows):
            batch.close()
            run.delivery.submit(batch, is_ordered=is_ordered)
            sent += 1
        else:
            quiet.append(batch)
    return quiet, sent


def _collect(run: Run, flow: _Flow, *, is_idle: bool) -> list[Settled]:
    """Take what came back; wait for it only where there is nothing else to do."""
    done: list[Settled] = []
    if not run.delivery.in_flight:
        return done
    for outcome in run.delivery.outcomes(TICK_S if is_idle else 0):
        match outcome:
            case Settled():
                done.append(outcome)
            case Failed(_, fault):
                flow.error = flow.error or fault
            case Unsent():
                pass  # pending: it is not settled, so a resume sends it
    return done


def _silently(batch: Batch) -> Settled:
    """A batch of rows that are all rejected or held has nothing to send."""
    return Settled(batch, (), Effort(0, 0, 0))


class _Flow:
    """The batches of a file, made only when there is room for them."""

    def __init__(
        self, job: Job, shard: Shard, encode: Encode, mark: Watermark, row_stop: int | None
    ) -> None:
        self.read = open_shard(job, shard)
        self.mark = mark
        self.position = mark.low
        self.error: BackfillError | None = None
        self.highest: int | None = None
        self._longest: list[int] = []
        self.places = Places()
        self.places.note(shard.file.place)  # it stays known where a stop comes before the first row
        self._is_ended = False
        found = spans(self.read, mark.low, row_stop, job.grouping)
        self._batches = self._make(encode(job, shard, found, mark), job.limits)

    @property
    def is_over(self) -> bool:
        """Whether there is no batch to come: the end of the file, or what stopped the run."""
        return self._is_ended or self.error is not None

    def tally(self, legend: Legend | None, done: list[Settled]) -> Tally | None:
        """Count what was acknowledged; of the longest messages only those that may be among all."""
        is_full = len(self._longest) >= LONGEST_SHOWN
        least_bytes = self._longest[0] if is_full else 0
        found = tallied(legend, self.read, done, least_bytes=least_bytes)
        if found is not None:
            sizes = (size for size, _, _ in found.longest)
            self._longest = sorted([*self._longest, *sizes])[-LONGEST_SHOWN:]
        return found

    def next_batch(self) -> Batch | None:
        """Return the next batch; None at the end, or where the source cannot be read on."""
        if self.is_over:
            return None
        try:
            batch = next(self._batches, None)
        except BackfillError as error:
            self.error = error
            return None
        self._is_ended = batch is None
        return batch

    def _make(self, made: Iterator[Encodings], limits: Limits) -> Iterator[Batch]:
        batcher = Batcher(self.mark.starts, limits)
        try:
            for given in made:
                self.position = given.span.stop
                self.places.note(given.span.place)
                self.highest = highest_of(self.highest, given.highest)
                yield from batcher.add(given)
        except BackfillError:
            yield from batcher.flush()  # what was read before the fault is sent
            raise
        yield from batcher.flush()


def _progress(job: Job, shard: Shard, flow: _Flow, done: list[Settled]) -> Progress:
    counts = Counts()
    rejects: list[Told] = []
    held: list[Told] = []
    for settled in done:
        batch = settled.batch
        flow.mark.settle(batch.lane, batch.start, batch.stop)
        refused = _refused(settled)
        counts.add(_counts(settled, refused, job.rules.now_ms))
        for table in (batch.rejects, refused):
            if table.num_rows:
                rejects.append(Told(table, batch.spans))
        if batch.held.num_rows:
            held.append(Told(batch.held, batch.spans))
    whole = tuple(len(s.refusals) == s.batch.count for s in done if s.batch.count)
    prints = np.concatenate([no_prints(), *map(_acknowledged, done)])
    return Progress(
        shard.index,
        flow.read,
        counts,
        tuple(rejects),
        tuple(held),
        flow.position,
        whole,
        prints,
        flow.highest,
        tally=flow.tally(job.legend, done),
        place=flow.places.before(flow.mark.low),
    )


def highest_of(*values: int | None) -> int | None:
    """Return the highest of the values that are there."""
    return max((value for value in values if value is not None), default=None)


def _acknowledged(settled: Settled) -> np.ndarray:
    """Return the prints of the texts that were not refused."""
    prints = settled.batch.prints
    if not len(prints) or not settled.refusals:
        return prints
    return np.delete(prints, [refusal.index for refusal in settled.refusals])


def _refused(settled: Settled) -> pa.Table:
    if not settled.refusals:
        return NONE
    rows: list[int] = []
    reasons: list[str] = []
    for refusal in settled.refusals:
        of_text = settled.batch.rows_of(refusal.index).tolist()
        rows += of_text
        reasons += [words(Code.REFUSED, refusal.reason)] * len(of_text)
    columns: dict[str, Any] = {
        "row": rows,
        "column": [""] * len(rows),
        "code": [Code.REFUSED.value] * len(rows),
        "reason": reasons,
    }
    return pa.table(columns, schema=REJECTS)


def _counts(settled: Settled, refused: pa.Table, now_ms: int) -> Counts:
    batch, effort = settled.batch, settled.effort
    codes = [*batch.rejects["code"].to_pylist(), *refused["code"].to_pylist()]
    by_code: dict[str, int] = {}
    for code in codes:
        by_code[code] = by_code.get(code, 0) + 1
    sent, lost = len(batch.rows), refused.num_rows
    built = int(batch.messages.sum())
    refused_messages = sum(int(batch.messages[refusal.index]) for refusal in settled.refusals)
    counts = Counts(
        delivered=sent - lost,
        filtered=batch.filtered,
        unchanged=batch.unchanged,
        held=batch.held.num_rows,
        rejected=len(codes),
        built=built,
        delivered_messages=built - refused_messages,
        refused_messages=refused_messages,
        sent=effort.sent,
        retried=effort.retried,
        body_bytes=effort.body_bytes,
        by_code=by_code,
    )
    if batch.times is not None:
        counts.oldest_ms, counts.newest_ms, _ = batch.times
        counts.within_72h = batch.newer_than(now_ms - 1000 * RECENT_S)
    return counts
