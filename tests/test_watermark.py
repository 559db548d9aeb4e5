"""The watermark against a set of settled rows, for batches that finish in any order."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backfill.watermark import Watermark

if TYPE_CHECKING:
    import random


class Settle(NamedTuple):
    """One batch: the rows [start, stop) of a lane."""

    lane: int
    start: int
    stop: int


def tiles(lanes: int, rows: int, draw: random.Random) -> list[Settle]:
    """Cut every lane's rows into ranges that tile it, and return them in any order."""
    found = []
    for lane in range(lanes):
        cuts = sorted({0, rows, *(draw.randrange(rows + 1) for _ in range(draw.randrange(8)))})
        found += [Settle(lane, a, b) for a, b in itertools.pairwise(cuts)]
    draw.shuffle(found)
    return found


@given(st.integers(1, 5), st.integers(1, 40), st.randoms(use_true_random=False))
def test_any_order_of_settling_equals_a_set_of_rows(
    lanes: int, rows: int, draw: random.Random
) -> None:
    lane_of = np.array([draw.randrange(lanes) for _ in range(rows)])
    mark, settled = Watermark(lanes), set[tuple[int, int]]()
    for step in tiles(lanes, rows, draw):
        mark.settle(*step)
        settled |= {(step.lane, row) for row in range(step.start, step.stop)}
        starts = [
            next(row for row in range(rows + 1) if (lane, row) not in settled)
            for lane in range(lanes)
        ]
        assert mark.starts == starts
        assert mark.low == min(starts)
        first, count = draw.randrange(rows), draw.randrange(rows + 3)
        asked = range(first, min(first + count, rows))
        wanted = [(int(lane_of[row]), row) in settled for row in asked]
        lanes_asked = lane_of[asked.start : asked.stop]
        assert mark.is_settled(first, len(asked), lanes_asked).tolist() == wanted
        mark = Watermark.load(json.loads(json.dumps(mark.dump())))
    assert mark.low == rows
    assert mark.dump() == [{"low": rows, "done": []}] * lanes


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_one_lane_needs_no_lane_of_each_row(rows: int, draw: random.Random) -> None:
    mark, settled = Watermark(1), set[int]()
    for step in tiles(1, rows, draw)[:3]:
        mark.settle(*step)
        settled |= set(range(step.start, step.stop))
    assert mark.is_settled(0, rows, None).tolist() == [row in settled for row in range(rows)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=20))
def test_ranges_that_overlap_or_are_empty_do_no_harm(ranges: list[tuple[int, int]]) -> None:
    mark, settled = Watermark(1), set[int]()
    for start, stop in ranges:
        mark.settle(0, start, stop)
        settled |= set(range(start, stop))
    assert mark.low == next(row for row in range(32) if row not in settled)
    assert mark.is_settled(0, 31, None).tolist() == [row in settled for row in range(31)]
    done = mark.dump()[0]["done"]
    assert all(a < b < c for (a, b), (c, _) in itertools.pairwise(done))


@given(st.integers(0, 2000), st.randoms(use_true_random=False))
def test_the_state_stays_small_while_one_batch_is_stuck(batches: int, draw: random.Random) -> None:
    mark = Watermark(1)
    order = list(range(1, batches + 1))
    for at in range(0, len(order), 16):  # within the window they end in any order
        window = order[at : at + 16]
        draw.shuffle(window)
        for batch in window:
            mark.settle(0, 10 * batch, 10 * batch + 10)
            assert len(mark.dump()[0]["done"]) <= 9
    assert mark.low == 0


def test_a_watermark_may_begin_later() -> None:
    mark = Watermark(2, start=5)
    assert (mark.low, mark.starts) == (5, [5, 5])
    assert mark.is_settled(3, 4, np.array([0, 1, 0, 1])).tolist() == [True, True, False, False]
