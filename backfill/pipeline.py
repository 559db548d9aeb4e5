"""A span → encoded messages: transform, validate and encode. No reading, no network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from backfill import identity
from backfill.batch import Encodings
from backfill.cells import Fault, Frame, frame_of
from backfill.changed import printed
from backfill.codes import Code
from backfill.columns import flags, integers, valid
from backfill.encode import Encoded, Named, encode
from backfill.evaluate import is_true
from backfill.known import no_prints
from backfill.mapping.nightly import keeps_ids
from backfill.marks import marked
from backfill.message import Draft, Made, draft, identifier, texts_of_value
from backfill.source import LINE
from backfill.units import Units, grouped, single, told_of
from backfill.validate import Checked, table_of, validate, wanted_of

if TYPE_CHECKING:
    from backfill.plan import Job, Shard
    from backfill.since import Later
    from backfill.source import Span
    from backfill.watermark import Watermark


KEPT_IDS: Final = (
    "rows have events, which keep their message ids when the row changes: the destination takes"
    " them for repeats"
)


@dataclass(frozen=True, slots=True)
class Drafted:
    """The rows of a span, judged: what is to be written, and what is told of the others."""

    span: Span
    lane: np.ndarray | None
    frame: Frame
    units: Units
    checked: Checked
    writing: Writing
    settled: np.ndarray
    """The mask of the rows that are left out, since they are settled."""
    same: np.ndarray
    """The mask of the units that are delivered as they are."""
    later: Later | None
    where: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Writing:
    """What the messages of the units that are kept are written from."""

    named: Named
    drafts: list[Draft]
    keys: list[pa.StringArray]
    keep: np.ndarray
    """The mask of those units."""
    numbers: np.ndarray
    """The row of the file that each unit is known by."""
    prints: np.ndarray
    """Of the units that are kept, or none."""


def encodings(job: Job, shard: Shard, span: Span, mark: Watermark) -> Encodings:
    """Turn one span into texts and rejects; rows that are settled are left out."""
    given = drafted(job, shard, span, mark)
    return finished(job, given, written(given))


def drafted(job: Job, shard: Shard, span: Span, mark: Watermark) -> Drafted:
    """Type and judge the rows of a span, in the order of the file."""
    document = job.mapping.document
    blank = document.source.blank if shard.file.format == "csv" else ()
    columns = _columns(span, shard)
    frame = frame_of(span, job.mapping.names_in(columns), blank)
    messages, refused = job.mapping.messages(columns)
    for one in refused:  # of JSON lines, whose keys are not known before
        at = np.flatnonzero(valid(frame.cells(one.column).data))
        frame.faults.append(Fault(one.column, Code.MEMBER_REFUSED, at, [one.what] * len(at)))
    wanted = where = None if document.where is None else is_true(document.where, frame)
    later = None if job.since is None else job.since.judged(frame, wanted, span.groups)
    if later is not None:
        wanted = ~later.old if wanted is None else wanted & ~later.old
    units = _units(job, span, frame, wanted)
    if units.sizes is not None:
        wanted = None  # it chose the rows of the groups
    drafts = [
        draft(message, index, units.frame, _wanted(message, units.frame, wanted))
        for index, message in enumerate(messages)
    ]
    lane = _lane(job, drafts, units, frame.count)
    keys = _keys(job, drafts, units.frame)
    units.spoil()
    checked = validate(drafts, units.frame, job.rules)
    if span.broken and units.sizes is None:
        checked = _broken(span, checked)
    settled = mark.is_settled(span.start, frame.count, lane)
    keep = checked.keep & ~settled[units.firsts]
    same, prints = _judged(job, drafts, keys, keep, frame)
    keep &= ~same
    named, numbers = _named(job, shard, span), _numbers(span, units)
    writing = Writing(named, drafts, keys, keep, numbers, prints)
    return Drafted(span, lane, frame, units, checked, writing, settled, same, later, where)


def written(given: Drafted) -> Encoded:
    """Write the messages of the units that are kept; spans may be written side by side."""
    how = given.writing
    changes = how.prints["times"] if len(how.prints) else None
    drafts, keys, numbers = how.drafts, how.keys, how.numbers
    if not how.keep.all():
        kept = flags(how.keep)
        keys = [key.filter(kept) for key in keys]
        drafts = [one.kept(how.keep) for one in drafts]
        numbers = numbers[how.keep]
    return encode(drafts, keys, numbers, how.named, changes)


def finished(job: Job, given: Drafted, made: Encoded) -> Encodings:
    """Put what was written and what is told of the other rows together."""
    span, units, checked, settled = given.span, given.units, given.checked, given.settled
    keep, prints, drafts = given.writing.keep, given.writing.prints, given.writing.drafts
    rejects, held = told_of(units, checked, span.start)
    if made.too_long is not None:
        at = np.flatnonzero(keep)[made.too_long.rows]
        late = table_of([replace(made.too_long, rows=at)], 0)
        rejects = pa.concat_tables([rejects, units.told(late, span.start)]).sort_by("row")
        keep[at] = False
        prints = np.delete(prints, made.too_long.rows) if len(prints) else prints
        made = made.without(made.too_long.rows)
    marks = marked(job.legend, drafts, checked.times, keep, made.longest)
    if settled.any():
        rejects, held = (_unsettled(table, settled, span.start) for table in (rejects, held))
    filtered, unchanged = _quiet(units, checked, settled, given.same, given.later)
    return Encodings(
        span,
        given.lane,
        units.rows_of(keep) + span.start,
        made.texts,
        [column[keep] for column in checked.times],
        rejects,
        held,
        filtered + span.start,
        unchanged + span.start,
        None if units.sizes is None else units.sizes[keep],
        made.messages,
        given.frame.notes,
        Made(drafts, units.firsts + span.start, keep, _held(checked), made.longest, given.where),
        prints,
        None if given.later is None else given.later.highest,
        marks,
    )


def _held(checked: Checked) -> np.ndarray:
    """Return the mask of the units that are held."""
    found = np.zeros(len(checked.keep), bool)
    found[integers(checked.held["row"])] = True
    return found


def _columns(span: Span, shard: Shard) -> tuple[str, ...]:
    """Return the columns, in the order in which `"*"` writes them.

    Keys of JSON lines come in another order wherever a record batch begins: that of the alphabet
    is the same after a resume, too.
    """
    names = [name for name in span.batch.schema.names if name != LINE]
    return tuple(sorted(names) if shard.file.format == "jsonl" else names)


def _units(job: Job, span: Span, frame: Frame, wanted: np.ndarray | None) -> Units:
    rows = job.mapping.document.rows
    if rows is None:
        return single(frame)
    taking = np.ones(frame.count, bool) if wanted is None else wanted.copy()
    for at, row in span.broken.items():
        frame.faults.append(Fault("", row.code, np.array([at]), [row.reason]))
    for fault in frame.faults:
        taking[fault.rows] = True
    return grouped(span, frame, taking, rows.order_within)


def _wanted(message: Any, frame: Frame, among: np.ndarray | None) -> np.ndarray | None:
    """Return the mask of the units that a message is for; None: all."""
    if message.when is None:
        return among
    if among is None:
        return is_true(message.when, frame)
    wanted = among.copy()
    wanted[among] = is_true(message.when, frame.part(among))
    return wanted


def _lane(job: Job, drafts: list[Draft], units: Units, count: int) -> np.ndarray | None:
    """Every row has a lane, also one that is rejected: it must not depend on clock or rules.

    A row without the message that is ordered may go in any lane.
    """
    if job.lane_member is None:
        return None
    index, member = job.lane_member
    found = drafts[index].members[member]
    own = identity.lanes(texts_of_value(found, drafts[index].frame.count), job.lanes)
    return units.by_row(drafts[index].spread(own, units.frame.count, 0), count)


def _keys(job: Job, drafts: list[Draft], frame: Frame) -> list[pa.StringArray]:
    """Return the parts of the key as texts, by the rules of ids; blank where nothing is sent."""
    wanted = wanted_of(drafts, frame.count)
    part = frame.part(wanted)
    found = []
    for name in job.mapping.key:
        texts = texts_of_value(identifier(name, part), part.count)
        part.fail(name, Code.KEY_BLANK, ~valid(texts) & ~part.failed(name), None)
        if part is not frame:
            places = np.cumsum(wanted) - 1
            texts = texts.take(pa.array(places, mask=~wanted))
        found.append(texts)
    return found


def _named(job: Job, shard: Shard, span: Span) -> Named:
    """A row that is sent again has the ids it would have had."""
    sha256 = shard.file.sha256 if span.origin is None else span.origin.sha256
    return Named(job.mapping.name, sha256)


def _numbers(span: Span, units: Units) -> np.ndarray:
    """Return the row of the file that each unit is known by."""
    if span.origin is None:
        return units.firsts + span.start
    found: np.ndarray = span.origin.rows[units.firsts]
    return found


def _judged(
    job: Job, drafts: list[Draft], keys: list[pa.StringArray], keep: np.ndarray, frame: Frame
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of the units that are delivered as they are, and the prints of the others."""
    same = np.zeros(len(keep), bool)
    document = job.mapping.document
    if document.mode == "changed" and keeps_ids(document):
        frame.note(", ".join(job.mapping.key), KEPT_IDS, int(keep.sum()))
    if job.changes is None or not keep.any():
        return same, no_prints()
    prints = printed(drafts, keys, keep)
    found = job.changes.judged(prints)
    same[np.flatnonzero(keep)[found]] = True
    return same, prints[~found]


def _quiet(
    units: Units, checked: Checked, settled: np.ndarray, same: np.ndarray, later: Later | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the offsets of the rows that nothing wants, and of those that are unchanged."""
    filtered = np.ones(len(settled), bool)
    filtered[units.rows_of(~checked.filtered)] = False
    unchanged = np.zeros(len(settled), bool)
    unchanged[units.rows_of(same)] = True
    if later is not None:
        filtered, unchanged = filtered & ~later.old, later.old
    return np.flatnonzero(filtered & ~settled), np.flatnonzero(unchanged & ~settled)


def _broken(span: Span, checked: Checked) -> Checked:
    """A row that could not be split into cells has one reason; what its nulls caused is none."""
    at = np.array(sorted(span.broken))
    mask = np.zeros(len(checked.keep), bool)
    mask[at] = True
    faults = [Fault("", span.broken[n].code, np.array([n]), [span.broken[n].reason]) for n in at]
    rejects = pa.concat_tables([_unsettled(checked.rejects, mask, 0), table_of(faults, 0)])
    held = _unsettled(checked.held, mask, 0)
    return Checked(
        checked.keep & ~mask, rejects.sort_by("row"), held, checked.filtered & ~mask, checked.times
    )


def _unsettled(table: pa.Table, settled: np.ndarray, start: int) -> pa.Table:
    """Leave rows out: they are not told again."""
    return table.filter(pa.array(~settled[integers(table["row"]) - start]))
