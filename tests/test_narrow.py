"""A refused batch is narrowed to its rows: what is sent next, and nothing is taken on trust."""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.answer import named
from backfill.narrow import Heard, narrowing

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.narrow import Part


def nobody(_rows: list[int], _bad: set[int]) -> tuple[int, ...]:
    return ()


def truth(rows: list[int], bad: set[int]) -> tuple[int, ...]:
    return tuple(at for at, row in enumerate(rows) if row in bad)


def first_truth(rows: list[int], bad: set[int]) -> tuple[int, ...]:
    return truth(rows, bad)[:1]


def last_row(rows: list[int], _bad: set[int]) -> tuple[int, ...]:
    return (len(rows) - 1,)


def next_row(rows: list[int], bad: set[int]) -> tuple[int, ...]:
    return tuple((at + 1) % len(rows) for at in truth(rows, bad))


def everybody(rows: list[int], _bad: set[int]) -> tuple[int, ...]:
    return tuple(range(len(rows)))


def beyond(rows: list[int], _bad: set[int]) -> tuple[int, ...]:
    return (len(rows), 10**9)


WITNESSES = [nobody, truth, first_truth, last_row, next_row, everybody, beyond]
WITNESS_OF = {witness.__name__: witness for witness in WITNESSES}


class Far:
    """A destination that refuses whatever holds a bad row, and names rows as it likes."""

    def __init__(
        self, bad: set[int], names: Callable[[list[int], set[int]], tuple[int, ...]] = nobody
    ) -> None:
        self.bad = bad
        self.names = names
        self.sent: list[list[int]] = []
        self.delivered: list[int] = []

    def answer(self, part: Part) -> Heard:
        """Answer one request."""
        rows = [row for first, last in part for row in range(first, last)]
        assert rows, "an empty body"
        assert rows == sorted(set(rows))
        self.sent.append(rows)
        if self.bad & set(rows):
            return Heard("bad", named=self.names(rows, self.bad))
        self.delivered += rows
        return Heard()


def narrowed(count: int, far: Far, *, is_ordered: bool) -> list[int]:
    """Drive the search to its end and return the rows that were refused."""
    return driven(narrowing(count, is_ordered=is_ordered), far.answer)


def driven(steps: Any, answer: Callable[[Part], Heard]) -> list[int]:
    part = next(steps)
    while True:
        try:
            part = steps.send(answer(part))
        except StopIteration as end:
            return [refusal.index for refusal in end.value]


@pytest.mark.parametrize("is_ordered", [True, False])
@pytest.mark.parametrize("names", WITNESS_OF)
def test_one_row_at_fault_costs_twice_the_logarithm_of_requests_whatever_is_named(
    names: str, *, is_ordered: bool
) -> None:
    for count in [*range(1, 40), 64, 100, 1000]:
        for bad in range(count) if count < 65 else (0, 1, count // 3, count - 2, count - 1):
            far = Far({bad}, WITNESS_OF[names])
            assert narrowed(count, far, is_ordered=is_ordered) == [bad]
            assert len(far.sent) <= 2 * ceil(log2(count)) + 1, (count, bad)


@pytest.mark.parametrize("is_ordered", [True, False])
def test_a_row_that_is_named_rightly_costs_three_requests_more_or_less(*, is_ordered: bool) -> None:
    for bad in (0, 500, 999):
        far = Far({bad}, truth)
        assert narrowed(1000, far, is_ordered=is_ordered) == [bad]
        assert len(far.sent) <= 4


@pytest.mark.parametrize("is_ordered", [True, False])
@pytest.mark.parametrize("names", WITNESS_OF)
def test_rows_that_are_all_at_fault_are_refused_in_whatever_order_they_are_named(
    names: str, *, is_ordered: bool
) -> None:
    for count in range(1, 12):
        far = Far({*range(count)}, WITNESS_OF[names])
        assert narrowed(count, far, is_ordered=is_ordered) == [*range(count)]
        assert not far.delivered


@given(
    st.integers(1, 120),
    st.data(),
    st.sampled_from(sorted(WITNESS_OF)),
    st.booleans(),
)
def test_no_innocent_row_is_refused_and_every_other_is_delivered_once(
    count: int,
    data: st.DataObject,
    names: str,
    is_ordered: bool,  # noqa: FBT001
) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1)))
    far = Far(bad, WITNESS_OF[names])
    assert narrowed(count, far, is_ordered=is_ordered) == sorted(bad)
    assert sorted(far.delivered) == [row for row in range(count) if row not in bad]
    assert {row for rows in far.sent if len(rows) == 1 for row in rows} >= bad
    if is_ordered:
        assert far.delivered == sorted(far.delivered)
    assert len(far.sent) <= max(len(bad), 1) * (2 * ceil(log2(count)) + 1)


@pytest.mark.parametrize(
    ("is_ordered", "bad", "claimed", "sent"),
    [
        (False, {2}, {2, 5}, "0-23 2 5 0-23"),
        (False, {2, 9}, {2, 9}, "0-23 2 9 0-23"),
        (False, {2, 9}, {12, 22}, "0-23 12 0-11 0-5 0-2 0-1 2 3-23 3-13 3-7 8-10 8-9 8 9 10-23"),
        (True, {2}, {2, 5}, "0-23 0-1 2 3-4 5 6-23"),
        (True, {2, 9}, {2, 9}, "0-23 0-1 2 3-8 9 10-23"),
        (True, {2, 9}, {5, 10}, "0-23 0-4 0-2 0-1 2 3-23 3-13 3-8 9-11 9-10 9 10-23"),
        (
            *(True, {9, 20}, {2, 22}),
            "0-23 0-1 2 3-13 3-8 9-11 9-10 9 10-23 10-16 17-20 17-18 19 20 21-23",
        ),
    ],
)
def test_names_are_followed_until_one_is_a_lie_and_no_more(
    bad: set[int], claimed: set[int], sent: str, *, is_ordered: bool
) -> None:
    far = Far(bad, lambda rows, _bad: tuple(at for at, row in enumerate(rows) if row in claimed))
    assert narrowed(24, far, is_ordered=is_ordered) == sorted(bad)
    spans = [str(rows[0]) if len(rows) == 1 else f"{rows[0]}-{rows[-1]}" for rows in far.sent]
    assert " ".join(spans) == sent


@given(st.integers(1, 200), st.integers(1, 50), st.booleans())
def test_a_body_too_large_is_halved_until_it_fits_and_no_row_is_blamed(
    count: int,
    fits: int,
    is_ordered: bool,  # noqa: FBT001
) -> None:
    sent: list[int] = []

    def answer(part: Part) -> Heard:
        rows = [row for first, last in part for row in range(first, last)]
        if len(rows) > fits:
            return Heard("too large", is_size=True, named=(0,))
        sent.extend(rows)
        return Heard()

    assert driven(narrowing(count, is_ordered=is_ordered), answer) == []
    assert sent == list(range(count))


def test_a_batch_whose_every_row_is_at_fault_costs_a_request_a_row_where_they_are_named() -> None:
    far = Far(set(range(100)), truth)
    assert narrowed(100, far, is_ordered=False) == list(range(100))
    assert len(far.sent) <= 101


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"meta":{"errors":["batch[3]: userId is missing"]}}', (3,)),
        (b'{"meta":{"errors":["batch[7]: x","batch[2]: y"]}}', (2, 7)),
        (b'{"errors":[{"batch_index":0,"reason":"required"}]}', (0,)),
        (b'{"errors":[{"index":12,"message":"bad"},{"index":4}]}', (4, 12)),
        (b'{"error":"message 5 is invalid"}', (5,)),
        (b'{"error":"batch.17.userId must be a string"}', (17,)),
        (b'{"error":"messages/8/traits"}', (8,)),
        (b'{"errors":[{"index":-1},{"index":"4"},{"index":true}]}', ()),
        (b'{"meta":{"errors":["something is invalid"]}}', ()),
        (b"batch[3]", ()),
        (b"[" * 50_000, ()),
        (b"", ()),
    ],
)
def test_what_an_answer_names_is_read_in_whatever_form(body: bytes, found: tuple[int, ...]) -> None:
    assert named(body) == found


def test_an_answer_that_names_a_thousand_rows_is_not_followed_for_all_of_them() -> None:
    many = ",".join(f'{{"index":{at}}}' for at in range(1000))
    assert named(f'{{"errors":[{many}]}}'.encode()) == tuple(range(100))
