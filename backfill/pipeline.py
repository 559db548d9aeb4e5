"""Rows → encoded messages: source, transform, validate and encode as one generator. No network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backfill import identity
from backfill.batch import Encodings
from backfill.cells import Fault, Frame, frame_of
from backfill.codes import Code
from backfill.columns import integers, valid
from backfill.encode import Named, encode
from backfill.errors import SourceError
from backfill.message import Draft, draft, identifier, texts_of_value
from backfill.source import SourceFile, Span, check_unchanged
from backfill.validate import Checked, table_of, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.plan import Job, Shard
    from backfill.source import Reader, Span
    from backfill.watermark import Watermark


@dataclass(frozen=True, slots=True)
class Read:
    """A reader and what the rows of its file are called to a person."""

    reader: Reader
    source: SourceFile
    label: str = ""
    """The file as dead letters name it."""

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


def spans(read: Read, start: int, stop: int | None) -> Iterator[Span]:
    """Yield the rows [start, stop) of a file.

    Raises ResumableError where the file changes meanwhile, before a row of the changed file.
    """
    for span in _unmixed(read, start):
        if stop is not None and span.stop > stop:
            if span.start < stop:
                yield span.head(stop - span.start)
            return
        yield span


def _unmixed(read: Read, start: int) -> Iterator[Span]:
    try:
        for span in read.reader.spans(start):
            check_unchanged(read.source)
            yield span
    except SourceError:
        check_unchanged(read.source)  # a file that was cut while it was read says so
        raise
    check_unchanged(read.source)


def open_shard(job: Job, shard: Shard) -> Read:
    """Open the file of a shard."""
    return Read(job.open(shard.file), shard.file, shard.label)


def encodings(job: Job, shard: Shard, span: Span, mark: Watermark) -> Encodings:
    """Turn one span into texts and rejects; rows that are settled are left out."""
    document = job.mapping.document
    blank = document.source.blank if shard.file.format == "csv" else ()
    frame = frame_of(span, sorted(job.mapping.columns), blank)
    drafts = [draft(message, index, frame) for index, message in enumerate(document.messages)]
    lane = _lane(job, drafts, frame)
    keys = [_key(name, frame) for name in document.key]
    checked = validate(drafts, frame, job.rules, start=span.start)
    if span.broken:
        checked = _broken(span, checked)
    settled = mark.is_settled(span.start, frame.count, lane)
    if settled.any():
        checked = _without(checked, settled, span.start)
    keep = checked.keep
    if not keep.all():
        kept = pa.array(keep)
        drafts = [_filtered(one, kept) for one in drafts]
        keys = [key.filter(kept) for key in keys]
    kept_rows = np.flatnonzero(keep)
    rows, origin = kept_rows + span.start, span.origin
    if origin is None:
        made = encode(drafts, keys, rows, Named(job.mapping.name, shard.file.sha256))
    else:  # a row that is sent again has the ids it would have had
        named = Named(job.mapping.name, origin.sha256)
        made = encode(drafts, keys, origin.rows[kept_rows], named)
    texts, rejects = made.texts, checked.rejects
    if made.too_long is not None:
        fits = np.ones(len(rows), bool)
        fits[made.too_long.rows] = False
        at = rows[made.too_long.rows] - span.start
        late = Fault("", Code.MESSAGE_TOO_LONG, at, made.too_long.values)
        rejects = pa.concat_tables([rejects, table_of([late], span.start)]).sort_by("row")
        rows, texts = rows[fits], texts.filter(pa.array(fits))
    times = [column[rows - span.start] for column in checked.times]
    return Encodings(span, lane, rows, texts, times, rejects, checked.held, frame.notes)


def _lane(job: Job, drafts: list[Draft], frame: Frame) -> np.ndarray | None:
    """Every row has a lane, also one that is rejected: it must not depend on clock or rules."""
    if job.lane_member is None:
        return None
    index, member = job.lane_member
    found = drafts[index].members[member]
    return identity.lanes(texts_of_value(found, frame.count), job.lanes)


def _key(name: str, frame: Frame) -> pa.StringArray:
    """A part of the key as text, by the rules of ids."""
    texts = texts_of_value(identifier(name, frame), frame.count)
    frame.fail(name, Code.KEY_BLANK, ~valid(texts) & ~frame.failed(name), None)
    return texts


def _broken(span: Span, checked: Checked) -> Checked:
    """A row that could not be split into cells has one reason; what its nulls caused is none."""
    at = np.array(sorted(span.broken))
    mask = np.zeros(len(checked.keep), bool)
    mask[at] = True
    rest = _without(checked, mask, span.start)
    faults = [Fault("", span.broken[n].code, np.array([n]), [span.broken[n].reason]) for n in at]
    told = table_of(faults, span.start)
    rejects = pa.concat_tables([rest.rejects, told]).sort_by("row")
    return Checked(rest.keep, rejects, rest.held, rest.times)


def _without(checked: Checked, settled: np.ndarray, start: int) -> Checked:
    """Leave rows out: they are neither sent nor told."""
    rejects, held = (
        table.filter(pa.array(~settled[integers(table["row"]) - start]))
        for table in (checked.rejects, checked.held)
    )
    return Checked(checked.keep & ~settled, rejects, held, checked.times)


def _filtered(one: Draft, keep: pa.BooleanArray) -> Draft:
    return Draft(
        one.index,
        one.kind,
        {name: found.filter(keep) for name, found in one.members.items()},
        [(name, found.filter(keep)) for name, found in one.body],
    )
