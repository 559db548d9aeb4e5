"""Batches tile their lanes, keep the limits on the very bytes that are sent, and lose nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.batch import SPANS_AHEAD, Batch, Batcher, Encodings, Limits
from backfill.columns import BLANK_MS
from backfill.known import PRINT
from backfill.piece import CLOSE, OPEN
from backfill.source import Span
from backfill.texts import Texts
from backfill.validate import NONE, REJECTS

if TYPE_CHECKING:
    import random

SENT, REJECTED, HELD, FILTERED = "sent", "rejected", "held", "filtered"
UNCHANGED = "unchanged"
ENVELOPE = len(OPEN) + len(CLOSE)


class Stream(NamedTuple):
    """Spans ready to be cut, and what is in them by row."""

    lanes: int
    given: list[Encodings]
    lane: list[int]
    fate: list[str]
    groups: dict[int, Group]
    """What travels together, by its first row."""


class Group(NamedTuple):
    """Rows that go in one text."""

    rows: list[int]
    messages: int
    text: str


def message(row: int, index: int, size: int) -> str:
    """Return one message; every second row has letters of more than one byte."""
    filling = ("é" if row % 2 else "x") * size
    return json.dumps({"row": row, "index": index, "pad": filling}, ensure_ascii=False)


def stream_of(draw: random.Random, sizes: list[int]) -> Stream:
    """Make spans of the given sizes with random lanes, fates, groups and lengths."""
    lanes, together = draw.choice([1, 1, 2, 3, 5]), draw.choice([1, 1, 3])
    counts = draw.choice([[1], [2], [3], [1, 2, 3]])
    weights = [draw.choice([8, 8, 0]), 1, 1, draw.choice([0, 2]), draw.choice([0, 2])]
    made = Stream(lanes, [], [], [], {})
    for size in sizes:
        start = len(made.lane)
        stop = start + size
        span = Span(start, pa.record_batch({"row": pa.array(range(start, stop))}))
        while len(made.lane) < stop:
            rows = list(
                range(len(made.lane), min(len(made.lane) + draw.randint(1, together), stop))
            )
            made.lane.extend([draw.randrange(lanes)] * len(rows))
            fate = draw.choices([SENT, REJECTED, HELD, FILTERED, UNCHANGED], weights)[0]
            made.fate.extend([fate] * len(rows))
            if fate == SENT:
                if len(rows) > 2:
                    made.fate[rows[1]] = FILTERED  # in the middle of its group
                    rows.pop(1)
                count = draw.choice(counts)
                texts = [message(rows[0], n, draw.choice([0, 3, 40])) for n in range(count)]
                made.groups[rows[0]] = Group(rows, count, "".join("," + text for text in texts))
        made.given.append(given_of(made, span))
    return made


def given_of(made: Stream, span: Span) -> Encodings:
    """Return the last rows of a stream as they come to be cut."""
    groups = [group for first, group in made.groups.items() if first >= span.start]
    rows = [row for group in groups for row in group.rows]
    kept = pa.array(["unrelated", *(group.text for group in groups)], pa.string()).slice(1)
    firsts = [group.rows[0] for group in groups]
    is_plain = all(len(group.rows) == 1 for group in groups)
    return Encodings(
        span,
        None if made.lanes == 1 else np.array(made.lane[span.start :], np.int64),
        np.array(rows, np.int64),
        Texts.of(kept),
        [np.array([BLANK_MS if row % 5 == 0 else 1000 * row for row in firsts], np.int64)],
        told_of(made.fate, span.start, REJECTED),
        told_of(made.fate, span.start, HELD),
        filtered=rows_with(made, span, FILTERED),
        unchanged=rows_with(made, span, UNCHANGED),
        sizes=None if is_plain else np.array([len(group.rows) for group in groups], np.int64),
        messages=np.array([group.messages for group in groups], np.int64),
        prints=prints_of(firsts),
    )


def rows_with(made: Stream, span: Span, fate: str) -> np.ndarray:
    """Return the rows of a span with a fate."""
    return np.array([n for n in range(span.start, span.stop) if made.fate[n] == fate], np.int64)


def prints_of(firsts: list[int]) -> np.ndarray:
    """Return a print for each text, which says its first row."""
    prints = np.zeros(len(firsts), PRINT)
    prints["content"] = firsts
    return prints


def groups_of(made: Stream, batch: Batch) -> list[Group]:
    """Return what a batch sends, in order."""
    at = np.cumsum(batch.sizes) - batch.sizes
    return [made.groups[row] for row in batch.rows[at].tolist()]


def told_of(fates: list[str], start: int, fate: str) -> pa.Table:
    """Return the rejects table of the rows with a fate."""
    rows = [row for row in range(start, len(fates)) if fates[row] == fate]
    words = [fate] * len(rows)
    columns: dict[str, Any] = {"row": rows, "column": words, "code": words, "reason": words}
    return pa.table(columns, schema=REJECTS) if rows else NONE


def cut(made: Stream, limits: Limits) -> list[Batch]:
    """Cut a stream from its begin to its end."""
    batcher = Batcher([0] * made.lanes, limits)
    found = [batch for encodings in made.given for batch in batcher.add(encodings)]
    return [*found, *batcher.flush()]


def rows_in(body: bytes) -> list[tuple[int, int]]:
    """Return (row, index) of the messages of a body; it is JSON, whatever it was cut to."""
    return [(m["row"], m["index"]) for m in json.loads(body)["batch"]]


STREAMS = st.builds(
    stream_of,
    st.randoms(use_true_random=False),
    st.lists(st.integers(1, 25), min_size=1, max_size=12),
)
few = settings(max_examples=40)
"""A stream is a large example: forty of them say what a hundred do."""

LIMITS = st.builds(Limits, st.integers(60, 1500), st.integers(1, 40))


@few
@given(STREAMS, LIMITS)
def test_batches_tile_the_rows_of_every_lane_in_order(made: Stream, limits: Limits) -> None:
    found = cut(made, limits)
    for lane in range(made.lanes):
        mine = [batch for batch in found if batch.lane == lane]
        assert mine[0].start == 0
        assert mine[-1].stop == len(made.lane)
        assert all(a.stop == b.start for a, b in pairwise(mine))
        rows = [row for batch in mine for row in batch.rows.tolist()]
        wanted = [row for row, own in enumerate(made.lane) if own == lane]
        assert rows == [row for row in wanted if made.fate[row] == SENT]
        for batch in mine:
            assert all(batch.start <= row < batch.stop for row in batch.rows.tolist())


@few
@given(STREAMS, LIMITS)
def test_what_is_sent_is_every_message_as_it_was_written(made: Stream, limits: Limits) -> None:
    for batch in cut(made, limits):
        groups = groups_of(made, batch)
        joined = "".join(group.text for group in groups)[1:]
        assert batch.body == OPEN + joined.encode() + CLOSE
        wanted = [(group.rows[0], n) for group in groups for n in range(group.messages)]
        assert rows_in(batch.body) == wanted
        assert [batch.rows_of(n).tolist() for n in range(batch.count)] == [g.rows for g in groups]
        assert batch.messages.tolist() == [group.messages for group in groups]


@few
@given(STREAMS, LIMITS, st.data())
def test_a_message_that_an_answer_names_leads_to_its_row(
    made: Stream, limits: Limits, data: st.DataObject
) -> None:
    batch = data.draw(st.sampled_from(cut(made, limits)))
    if batch.count < 2:
        return
    middle = data.draw(st.integers(1, batch.count - 1))
    ranges = ((0, 1), (middle, batch.count))
    sent = rows_in(batch.part(*ranges))
    chosen = data.draw(st.lists(st.integers(0, len(sent) - 1), min_size=1))
    groups = groups_of(made, batch)
    texts = [groups[0], *groups[middle:]]
    named = {texts[at].rows[0] for at in batch.texts_of(chosen, ranges)}
    assert named == {sent[place][0] for place in chosen}


@few
@given(STREAMS, LIMITS)
def test_no_body_is_over_a_limit_but_that_of_one_row_alone(made: Stream, limits: Limits) -> None:
    for batch in cut(made, limits):
        if batch.count > 1:
            assert len(batch.body) <= limits.body_bytes
            assert batch.messages.sum() <= limits.messages


@few
@given(STREAMS, LIMITS)
def test_bodies_are_filled_before_a_new_one_is_begun(made: Stream, limits: Limits) -> None:
    found = cut(made, limits)
    for lane in range(made.lanes):
        mine = [batch for batch in found if batch.lane == lane]
        for batch, after in pairwise(mine):
            spans = {s.start for s in batch.spans}
            if len(spans) >= SPANS_AHEAD or not after.count or not batch.count:
                continue  # sent because it waited for long, not because it was full
            following = groups_of(made, after)[0]
            is_full = len(batch.body) + len(following.text.encode()) > limits.body_bytes
            assert is_full or batch.messages.sum() + following.messages > limits.messages


@few
@given(STREAMS, LIMITS, st.data())
def test_a_part_is_the_batch_with_only_these_rows(
    made: Stream, limits: Limits, data: st.DataObject
) -> None:
    batch = data.draw(st.sampled_from(cut(made, limits)))
    count = batch.count
    if not count:
        assert batch.body == OPEN + CLOSE
        return
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    joined = "".join(group.text for group in groups_of(made, batch)[first:last])[1:]
    assert batch.part((first, last)) == OPEN + joined.encode() + CLOSE
    assert batch.part((0, count)) == batch.body


@few
@given(STREAMS, LIMITS)
def test_rejected_and_held_rows_ride_with_their_batch_once(made: Stream, limits: Limits) -> None:
    found = cut(made, limits)
    for name, fate in (("rejects", REJECTED), ("held", HELD)):
        told = []
        for batch in found:
            rows = getattr(batch, name)["row"].to_pylist()
            assert all(batch.start <= row < batch.stop for row in rows)
            assert all(made.lane[row] == batch.lane for row in rows)
            starts = {span.start: span.stop for span in batch.spans}
            assert all(any(a <= row < b for a, b in starts.items()) for row in rows)
            told += rows
        assert sorted(told) == [row for row, own in enumerate(made.fate) if own == fate]


@few
@given(STREAMS, LIMITS)
def test_rows_that_are_not_sent_are_counted_once_in_the_batch_of_their_place(
    made: Stream, limits: Limits
) -> None:
    for batch in cut(made, limits):
        here = range(batch.start, batch.stop)
        mine = [row for row in here if made.lane[row] == batch.lane]
        assert batch.filtered == sum(made.fate[row] == FILTERED for row in mine)
        assert batch.unchanged == sum(made.fate[row] == UNCHANGED for row in mine)


@few
@given(STREAMS, LIMITS)
def test_a_batch_has_the_prints_of_its_texts(made: Stream, limits: Limits) -> None:
    for batch in cut(made, limits):
        firsts = [group.rows[0] for group in groups_of(made, batch)]
        assert batch.prints["content"].tolist() == firsts


@few
@given(STREAMS, LIMITS)
def test_the_times_of_a_batch_are_those_of_its_rows(made: Stream, limits: Limits) -> None:
    for batch in cut(made, limits):
        firsts = [group.rows[0] for group in groups_of(made, batch)]
        wanted = sorted(1000 * row for row in firsts if row % 5)
        if batch.times is None:
            assert wanted == []
            continue
        oldest, newest, instants = batch.times
        assert (oldest, newest) == (wanted[0], wanted[-1])
        assert sorted(np.concatenate(instants).tolist()) == wanted


@few
@given(STREAMS)
def test_no_lane_holds_more_than_a_few_record_batches(made: Stream) -> None:
    batcher = Batcher([0] * made.lanes, Limits(10**9, 10**9))
    last_cut = dict.fromkeys(range(made.lanes), 0)
    for at, encodings in enumerate(made.given, 1):
        for batch in batcher.add(encodings):
            last_cut[batch.lane] = at
        assert all(at - cut_at < SPANS_AHEAD for cut_at in last_cut.values())


def whole(texts: list[str]) -> Encodings:
    """Return one span whose rows are all sent."""
    span = Span(0, pa.record_batch({"row": pa.array(range(len(texts)))}))
    rows = np.arange(len(texts))
    return Encodings(span, None, rows, Texts.of(pa.array(texts, pa.string())), [], NONE, NONE)


def test_a_row_over_the_limit_goes_alone() -> None:
    texts = ["," + message(row, 0, 500 if row == 2 else 1) for row in range(5)]
    batcher = Batcher([0], Limits(200, 100))
    found = [*batcher.add(whole(texts)), *batcher.flush()]
    assert [batch.rows.tolist() for batch in found] == [[0, 1], [2], [3, 4]]
    assert len(found[1].body) > 200


def test_a_row_over_the_limit_that_waits_in_its_lane_takes_no_other_along() -> None:
    """Found by the property above: the room that is left is then below none."""
    texts = ["," + message(row, 0, 500 if row == 1 else 1) for row in range(4)]
    batcher = Batcher([0], Limits(200, 2))
    first, second = whole(texts[:2]), whole(texts[2:])
    later = replace(second, span=replace(second.span, start=2), rows=second.rows + 2)
    found = [*batcher.add(first), *batcher.add(later), *batcher.flush()]
    assert [batch.rows.tolist() for batch in found] == [[0], [1], [2, 3]]


def test_a_body_may_have_exactly_the_limit() -> None:
    texts = ["," + message(row, 0, 10) for row in range(4)]
    two = ENVELOPE + sum(len(text.encode()) for text in texts[:2]) - 1
    for limit, rows in ((two, [[0, 1], [2, 3]]), (two - 1, [[0], [1], [2], [3]])):
        batcher = Batcher([0], Limits(limit, 100))
        found = [*batcher.add(whole(texts)), *batcher.flush()]
        assert [batch.rows.tolist() for batch in found] == rows


def test_the_messages_of_a_row_stay_together_though_they_are_over_the_count() -> None:
    texts = ["," + message(row, 0, 1) + "," + message(row, 1, 1) for row in range(3)]
    batcher = Batcher([0], Limits(10_000, 1))
    found = [*batcher.add(replace(whole(texts), messages=np.full(3, 2))), *batcher.flush()]
    assert [rows_in(batch.body) for batch in found] == [[(n, 0), (n, 1)] for n in range(3)]


def test_a_lane_that_begins_later_counts_its_rows_from_there() -> None:
    span = Span(10, pa.record_batch({"row": pa.array(range(10, 14))}))
    texts = Texts.of(pa.array(["," + message(row, 0, 1) for row in (12, 13)], pa.string()))
    given_ = Encodings(span, None, np.array([12, 13]), texts, [], NONE, NONE)
    batcher = Batcher([12], Limits(1000, 1))
    found = [*batcher.add(given_), *batcher.flush()]
    assert [(b.start, b.stop, b.rows.tolist()) for b in found] == [(12, 13, [12]), (13, 14, [13])]


def test_a_stream_without_rows_has_no_batch() -> None:
    batcher = Batcher([0], Limits(1000, 10))
    assert list(batcher.flush()) == []
