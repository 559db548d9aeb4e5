"""Batches tile their lanes, keep the limits on the very bytes that are sent, and lose nothing."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.batch import CLOSE, NEVER, OPEN, SPANS_AHEAD, Batch, Batcher, Encodings, Limits
from backfill.source import Span
from backfill.validate import NONE, REJECTS

if TYPE_CHECKING:
    import random

SENT, REJECTED, HELD = "sent", "rejected", "held"
ENVELOPE = len(OPEN) + len(CLOSE)


class Stream(NamedTuple):
    """Spans ready to be cut, and what is in them by row."""

    lanes: int
    per_row: int
    given: list[Encodings]
    lane: list[int]
    fate: list[str]
    texts: list[str]


def message(row: int, index: int, size: int) -> str:
    """Return one message; every second row has letters of more than one byte."""
    filling = ("é" if row % 2 else "x") * size
    return json.dumps({"row": row, "index": index, "pad": filling}, ensure_ascii=False)


def stream_of(draw: random.Random, sizes: list[int]) -> Stream:
    """Make spans of the given sizes with random lanes, fates and lengths."""
    lanes, per_row = draw.choice([1, 1, 2, 3, 5]), draw.choice([1, 1, 2, 3])
    made = Stream(lanes, per_row, [], [], [], [])
    for size in sizes:
        start = len(made.lane)
        span = Span(start, pa.record_batch({"row": pa.array(range(start, start + size))}))
        made.lane.extend(draw.randrange(lanes) for _ in range(size))
        made.fate.extend(
            draw.choices([SENT, REJECTED, HELD], [draw.choice([8, 8, 0]), 1, 1], k=size)
        )
        texts = [
            "".join("," + message(row, n, draw.choice([0, 3, 40])) for n in range(per_row))
            for row in range(start, start + size)
        ]
        made.texts.extend(texts)
        rows = [row for row in range(start, start + size) if made.fate[row] == SENT]
        kept = pa.array(["unrelated", *(made.texts[row] for row in rows)], pa.string()).slice(1)
        lane = None if lanes == 1 else np.array(made.lane[start:], np.int64)
        times = [np.array([NEVER if row % 5 == 0 else 1000 * row for row in rows], np.int64)]
        told = [told_of(made.fate, start, fate) for fate in (REJECTED, HELD)]
        made.given.append(Encodings(span, lane, np.array(rows, np.int64), kept, times, *told))
    return made


def told_of(fates: list[str], start: int, fate: str) -> pa.Table:
    """Return the rejects table of the rows with a fate."""
    rows = [row for row in range(start, len(fates)) if fates[row] == fate]
    words = [fate] * len(rows)
    columns: dict[str, Any] = {"row": rows, "column": words, "code": words, "reason": words}
    return pa.table(columns, schema=REJECTS) if rows else NONE


def cut(made: Stream, limits: Limits) -> list[Batch]:
    """Cut a stream from its begin to its end."""
    batcher = Batcher([0] * made.lanes, limits, made.per_row)
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
        joined = "".join(made.texts[row] for row in batch.rows.tolist())[1:]
        assert batch.body == OPEN + joined.encode() + CLOSE
        wanted = [(row, n) for row in batch.rows.tolist() for n in range(made.per_row)]
        assert rows_in(batch.body) == wanted


@few
@given(STREAMS, LIMITS)
def test_no_body_is_over_a_limit_but_that_of_one_row_alone(made: Stream, limits: Limits) -> None:
    for batch in cut(made, limits):
        if len(batch.rows) > 1:
            assert len(batch.body) <= limits.body_bytes
            assert len(batch.rows) * made.per_row <= limits.messages


@few
@given(STREAMS, LIMITS)
def test_bodies_are_filled_before_a_new_one_is_begun(made: Stream, limits: Limits) -> None:
    found = cut(made, limits)
    for lane in range(made.lanes):
        mine = [batch for batch in found if batch.lane == lane]
        for batch, after in pairwise(mine):
            spans = {s.start for s in batch.spans}
            if len(spans) >= SPANS_AHEAD or not len(after.rows) or not len(batch.rows):
                continue  # sent because it waited for long, not because it was full
            widest = len(made.texts[int(after.rows[0])].encode())
            is_full = len(batch.body) + widest > limits.body_bytes
            assert is_full or (len(batch.rows) + 1) * made.per_row > limits.messages


@few
@given(STREAMS, LIMITS, st.data())
def test_a_part_is_the_batch_with_only_these_rows(
    made: Stream, limits: Limits, data: st.DataObject
) -> None:
    batch = data.draw(st.sampled_from(cut(made, limits)))
    count = len(batch.rows)
    if not count:
        assert batch.body == OPEN + CLOSE
        return
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    joined = "".join(made.texts[row] for row in batch.rows.tolist()[first:last])[1:]
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
def test_the_times_of_a_batch_are_those_of_its_rows(made: Stream, limits: Limits) -> None:
    for batch in cut(made, limits):
        wanted = sorted(1000 * row for row in batch.rows.tolist() if row % 5)
        if batch.times is None:
            assert wanted == []
            continue
        oldest, newest, instants = batch.times
        assert (oldest, newest) == (wanted[0], wanted[-1])
        assert sorted(np.concatenate(instants).tolist()) == wanted


@few
@given(STREAMS)
def test_no_lane_holds_more_than_a_few_record_batches(made: Stream) -> None:
    batcher = Batcher([0] * made.lanes, Limits(10**9, 10**9), made.per_row)
    last_cut = dict.fromkeys(range(made.lanes), 0)
    for at, encodings in enumerate(made.given, 1):
        for batch in batcher.add(encodings):
            last_cut[batch.lane] = at
        assert all(at - cut_at < SPANS_AHEAD for cut_at in last_cut.values())


def whole(texts: list[str]) -> Encodings:
    """Return one span whose rows are all sent."""
    span = Span(0, pa.record_batch({"row": pa.array(range(len(texts)))}))
    rows = np.arange(len(texts))
    return Encodings(span, None, rows, pa.array(texts, pa.string()), [], NONE, NONE)


def test_a_row_over_the_limit_goes_alone() -> None:
    texts = ["," + message(row, 0, 500 if row == 2 else 1) for row in range(5)]
    batcher = Batcher([0], Limits(200, 100), 1)
    found = [*batcher.add(whole(texts)), *batcher.flush()]
    assert [batch.rows.tolist() for batch in found] == [[0, 1], [2], [3, 4]]
    assert len(found[1].body) > 200


def test_a_body_may_have_exactly_the_limit() -> None:
    texts = ["," + message(row, 0, 10) for row in range(4)]
    two = ENVELOPE + sum(len(text.encode()) for text in texts[:2]) - 1
    for limit, rows in ((two, [[0, 1], [2, 3]]), (two - 1, [[0], [1], [2], [3]])):
        batcher = Batcher([0], Limits(limit, 100), 1)
        found = [*batcher.add(whole(texts)), *batcher.flush()]
        assert [batch.rows.tolist() for batch in found] == rows


def test_the_messages_of_a_row_stay_together_though_they_are_over_the_count() -> None:
    texts = ["," + message(row, 0, 1) + "," + message(row, 1, 1) for row in range(3)]
    batcher = Batcher([0], Limits(10_000, 1), 2)
    found = [*batcher.add(whole(texts)), *batcher.flush()]
    assert [rows_in(batch.body) for batch in found] == [[(n, 0), (n, 1)] for n in range(3)]


def test_a_lane_that_begins_later_counts_its_rows_from_there() -> None:
    span = Span(10, pa.record_batch({"row": pa.array(range(10, 14))}))
    texts = pa.array(["," + message(row, 0, 1) for row in (12, 13)], pa.string())
    given_ = Encodings(span, None, np.array([12, 13]), texts, [], NONE, NONE)
    batcher = Batcher([12], Limits(1000, 1), 1)
    found = [*batcher.add(given_), *batcher.flush()]
    assert [(b.start, b.stop, b.rows.tolist()) for b in found] == [(12, 13, [12]), (13, 14, [13])]


def test_a_stream_without_rows_has_no_batch() -> None:
    batcher = Batcher([0], Limits(1000, 10), 1)
    assert list(batcher.flush()) == []
