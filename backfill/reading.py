"""A file of the plan → spans: opened, from a row on, in whole groups. No rules, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backfill.source import SourceFile, Span, unmixed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.grouping import Grouping
    from backfill.plan import Job, Shard
    from backfill.source import Reader


@dataclass(frozen=True, slots=True)
class Read:
    """A reader and what the rows of its file are called to a person."""

    reader: Reader
    source: SourceFile
    label: str = ""
    """The file as dead letters name it."""
    is_first: bool = True
    """Whether the stream begins with it."""

    @property
    def file(self) -> str:
        """The path."""
        return self.source.path

    def person_row(self, row: int) -> int:
        """Return the row as a spreadsheet counts."""
        return row + self.reader.first_row

    def called(self, span: Span, offset: int) -> tuple[int, str]:
        """Return the row of a span as a spreadsheet counts, and the file, as dead letters do."""
        if (origin := span.origin) is not None:
            return int(origin.rows[offset]) + origin.first_row, origin.label
        return self.person_row(span.start + offset), self.label


def spans(read: Read, start: int, stop: int | None, grouping: Grouping | None) -> Iterator[Span]:
    """Yield the rows [start, stop) of a file; no group is cut, so there may be a few more.

    Raises ResumableError where the file changes meanwhile, before a row of the changed file.
    """
    found = _unmixed(read, start) if grouping is None else _grouped(read, start, grouping)
    for span in found:
        if stop is not None and span.stop > stop:
            if span.start < stop:
                yield span.head(_end(span, stop - span.start))
            return
        yield span


def _grouped(read: Read, start: int, grouping: Grouping) -> Iterator[Span]:
    """Read from the begin, so that every group that came before is known, and leave them out."""
    if read.is_first:
        grouping.seen.forget()
    for span in grouping.whole(_unmixed(read, 0)):
        if span.stop > start:
            yield span.tail(max(start - span.start, 0))


def _end(span: Span, count: int) -> int:
    """Return how many rows to take so that there are at least `count`, in whole groups."""
    if span.groups is None:
        return count
    ends = np.append(span.groups.firsts, span.batch.num_rows)
    return int(ends[np.searchsorted(ends, count)])


def remember(job: Job, shard: Shard) -> None:
    """Note the groups of a file that was delivered by an earlier run."""
    if job.grouping is not None:
        for _ in spans(open_shard(job, shard), 0, None, job.grouping):
            pass


def _unmixed(read: Read, start: int) -> Iterator[Span]:
    return unmixed(read.source, read.reader.spans(start))


def open_shard(job: Job, shard: Shard) -> Read:
    """Open the file of a shard."""
    return Read(job.open(shard.file), shard.file, shard.label, shard.index == 0)
