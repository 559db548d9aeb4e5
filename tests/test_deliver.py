"""Delivery: every batch comes back as one outcome, and what the answer was decides which.

The destination is a function here; clock, waiting and randomness are played, the threads are real.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import pairwise
from math import ceil, log2
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.batch import Batch, Batcher, Encodings, Limits
from backfill.deliver import Delivery, Failed, Unsent
from backfill.destination import scrubber
from backfill.errand import Line, Settings, Settled
from backfill.errors import DestinationError, ResumableError
from backfill.ratelimit import TokenBucket
from backfill.source import Span
from backfill.texts import Texts
from backfill.validate import NONE
from backfill.wire import Answer, Key, TrustError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.deliver import Outcome

ORIGIN = "https://cdp.example"
REFUSED = Answer(400, {}, b'{"meta":{"errors":["one of them is invalid"]}}')
GOOD = Answer(200, {}, b"{}")
ADDRESS = "check the address given with --to, and proxies on the way"
PATIENCE_S = 4.0 if "MUTANT_UNDER_TEST" in os.environ else 20.0
"""Until a batch counts as lost; the mutants that lose one are many."""
LATER = "run the same command again later; it goes on where it stopped"


class Play:
    """A clock that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        """Return the seconds so far."""
        return self.now_s

    def wait(self, event: threading.Event, wait_s: float) -> bool:
        """Wait without waiting."""
        with self._lock:
            self.waits.append(wait_s)
            self.now_s += wait_s
        return event.is_set()


class Fake:
    """Senders whose answers a function makes; it keeps every body with when it was sent."""

    def __init__(self, answer: Callable[[bytes], Answer], clock: Callable[[], float]) -> None:
        self._answer = answer
        self._clock = clock
        self._lock = threading.Lock()
        self.bodies: list[bytes] = []
        self.at_s: list[float] = []

    def post(self, body: bytes) -> Answer:
        """Answer as the function says."""
        with self._lock:
            self.bodies.append(body)
            self.at_s.append(self._clock())
        return self._answer(body)

    def close(self) -> None:
        """Nothing is open."""


class Notes:
    """What a run would write to its log."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def take(self, what: str, facts: dict[str, Any]) -> None:
        """Keep one line."""
        self.taken.append((what, facts))


def batches(*sizes: int, lanes: int = 1) -> list[Batch]:
    """Return batches of so many rows, one after the other, the lanes in turn."""
    found, row = [], 0
    for at, size in enumerate(sizes):
        span = Span(row, pa.record_batch({"row": pa.array(range(row, row + size))}))
        rows = np.arange(row, row + size)
        texts = Texts.of(pa.array([f',{{"row":{n}}}' for n in rows.tolist()], pa.string()))
        batcher = Batcher([row], Limits(10**9, 10**9))
        cut = [*batcher.add(Encodings(span, None, rows, texts, [], NONE, NONE)), *batcher.flush()]
        found += [replace(batch, lane=at % lanes) for batch in cut]
        row += size
    return found


def rows_of(body: bytes) -> list[int]:
    return [message["row"] for message in json.loads(body)["batch"]]


class Result:
    """What became of some batches."""

    def __init__(self, outcomes: list[Outcome], fake: Fake, play: Play) -> None:
        self.outcomes = outcomes
        self.bodies = fake.bodies
        self.at_s = fake.at_s
        self.waits = play.waits

    @property
    def only(self) -> Outcome:
        """The one outcome."""
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    @property
    def error(self) -> Any:
        """What the one outcome failed with."""
        assert isinstance(self.only, Failed)
        return self.only.error


def deliver(
    given_: list[Batch], answer: Callable[[bytes], Answer], *, is_ordered: bool = False, **how: Any
) -> Result:
    """Submit batches and wait for all that comes back."""
    play = Play()
    fake = Fake(answer, how.get("clock", play.clock))
    rate = how.pop("rate", None)
    told = {"connections": 1, "max_outage_s": 900.0, "origin": ORIGIN, "random": lambda: 0.5}
    settings_ = Settings(**{**told, "clock": play.clock, "wait": play.wait, **how})
    found: list[Outcome] = []
    with closing(Delivery(lambda: fake, TokenBucket(rate), settings_)) as delivery:
        for batch in given_:
            delivery.submit(batch, is_ordered=is_ordered)
        until_s = time.monotonic() + PATIENCE_S
        while delivery.in_flight:
            found += delivery.outcomes(0.05)
            assert time.monotonic() < until_s, f"{delivery.in_flight} batches never came back"
    return Result(found, fake, play)


def in_turn(*answers: Answer | Exception) -> Callable[[bytes], Answer]:
    """Answer one request after the other; the last answer goes on for ever."""
    left = list(answers)

    def answer(_body: bytes) -> Answer:
        given_ = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given_, Exception):
            raise given_
        return given_

    return answer


# ---- delivered


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"success":true}', b' {"a": [1]} '])
def test_200_with_nothing_or_an_object_is_delivered(body: bytes) -> None:
    done = deliver(batches(5), lambda _: Answer(200, {}, body))
    assert isinstance(done.only, Settled)
    assert (done.only.refusals, done.only.effort.sent, len(done.bodies)) == ((), 1, 1)
    assert done.only.effort.body_bytes == len(done.bodies[0])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, b"<html><body>Sign in to the network</body></html>"),
        Answer(200, {}, b"OK"),
        Answer(200, {}, b"[]"),
        Answer(200, {}, b'"ok"'),
        Answer(200, {}, b"null"),
        Answer(200, {}, b'{"cut": '),
        Answer(200, {}, b"[" * 60_000),
        Answer(200, {}, b"\xff\xfe{}"),
        Answer(200, {}, b"{}", is_cut=True),
    ],
    ids=lambda answer: answer.body[:12].decode(errors="ignore") + " cut" * answer.is_cut,
)
def test_200_with_a_page_is_not_the_destination_and_stops_the_run(answer: Answer) -> None:
    done = deliver(batches(5), lambda _: answer)
    assert isinstance(done.error, DestinationError)
    assert done.error.what == "answered 200 with a page that is not the API's"
    assert (done.error.where, int(done.error.exit_code)) == (ORIGIN, 12)
    assert len(done.bodies) == 1


# ---- refused: down to the row


@given(st.integers(1, 300), st.data())
def test_one_bad_row_of_n_is_found_in_twice_the_logarithm_of_requests(
    rows: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, rows - 1))
    done = deliver(batches(rows), lambda body: REFUSED if bad in rows_of(body) else GOOD)
    assert isinstance(done.only, Settled)
    assert [refusal.index for refusal in done.only.refusals] == [bad]
    assert len(done.bodies) <= 2 * ceil(log2(rows)) + 1


@given(st.integers(1, 120), st.data())
def test_the_good_rows_beside_bad_ones_are_delivered_once_and_in_order(
    rows: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, rows - 1)))
    kept: list[int] = []

    def answer(body: bytes) -> Answer:
        if bad & set(rows_of(body)):
            return REFUSED
        kept.extend(rows_of(body))
        return GOOD

    done = deliver(batches(rows), answer)
    assert isinstance(done.only, Settled)
    assert {refusal.index for refusal in done.only.refusals} == bad
    assert kept == [row for row in range(rows) if row not in bad]
    assert len(done.bodies) <= max(len(bad), 1) * (2 * ceil(log2(rows)) + 1)
    assert done.only.effort.sent == len(done.bodies)
    assert done.only.effort.retried == 0
    assert done.only.effort.body_bytes == sum(map(len, done.bodies))


def test_413_halves_until_the_body_fits_and_rejects_nothing_else() -> None:
    big = 3

    def answer(body: bytes) -> Answer:
        rows = rows_of(body)
        return Answer(413, {}, b"") if len(rows) > 4 or big in rows else GOOD

    done = deliver(batches(20), answer)
    assert isinstance(done.only, Settled)
    assert [(r.index, r.reason) for r in done.only.refusals] == [(big, "the request is too large")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"meta":{"errors":["userId is missing","and more"]}}', "userId is missing; and more"),
        (b'{"meta":{"error":"bad"}}', "bad"),
        (b'{"errors":[{"reason":"invalid","field":"x","message":"m"}]}', "invalid; m"),
        (b'{"error":"bad"}', "bad"),
        (b'{"message":"bad"}', "bad"),
        (b'"bad"', "bad"),
        (b"plain\n words", "plain words"),
        (b'{"code":7}', '{"code":7}'),
        (b"", "no reason given"),
        (b"\xff\xfe", "��"),
        (b"[" * 50_000, "[" * 300),
    ],
    ids=lambda value: ascii(value)[:24].replace("\\", "/"),
)
def test_the_reason_is_what_the_destination_says_in_whatever_form(body: bytes, reason: str) -> None:
    done = deliver(batches(1), lambda _: Answer(400, {}, body))
    assert isinstance(done.only, Settled)
    assert [refusal.reason for refusal in done.only.refusals] == [reason]


# ---- stopped


@pytest.mark.parametrize(
    "status",
    [
        201,
        202,
        204,
        300,
        301,
        302,
        303,
        304,
        307,
        308,
        401,
        402,
        403,
        404,
        405,
        406,
        409,
        410,
        411,
        415,
        418,
        421,
        422,
        426,
        431,
        451,
        501,
    ],
)
def test_a_status_that_no_retry_can_mend_stops_after_one_request_and_rejects_nothing(
    status: int,
) -> None:
    done = deliver(batches(64), lambda _: Answer(status, {"Location": "https://x/"}, b"{}"))
    assert isinstance(done.error, DestinationError)
    assert (int(done.error.exit_code), done.error.where) == (12, ORIGIN)
    told = (
        f"refused the key ({status}: {{}})" if status in {401, 403} else f"answered {status}: {{}}"
    )
    assert done.error.what == told
    assert done.error.fix == (
        "check the write key and its region (--to us | eu)" if status in {401, 403} else ADDRESS
    )
    assert len(done.bodies) == 1


def test_a_far_side_that_is_not_trusted_stops_the_run() -> None:
    done = deliver(batches(3), in_turn(TrustError("certificate has expired")))
    assert isinstance(done.error, DestinationError)
    assert done.error.what == "the connection cannot be trusted: certificate has expired"
    assert (done.error.where, done.error.fix) == (ORIGIN, ADDRESS)
    assert len(done.bodies) == 1


@pytest.mark.parametrize("status", [401, 404, 422, 501])
def test_what_stops_a_run_repeats_nothing_that_was_sent(status: int) -> None:
    """It is told on the terminal and in the report, where no cell belongs."""
    body = b'{"meta":{"errors":["userId in \'4711\' is not in the plan of this workspace"]}}'
    span = Span(0, pa.record_batch({"row": pa.array([4711])}))
    texts = Texts.of(pa.array([',{"row":4711}'], pa.string()))
    batcher = Batcher([0], Limits(10**9, 10**9))
    given_ = [*batcher.add(Encodings(span, None, np.arange(1), texts, [], NONE, NONE))]
    done = deliver([*given_, *batcher.flush()], lambda _body: Answer(status, {}, body))
    assert "userId in '…' is not in the plan of this workspace" in done.error.what


def test_after_a_stop_no_sender_begins_another_request() -> None:
    done = deliver(batches(*[2] * 50), lambda _: Answer(401, {}, b""), connections=4)
    assert len(done.bodies) <= 4
    kinds = Counter(type(outcome) for outcome in done.outcomes)
    assert kinds[Failed] == len(done.bodies)
    assert kinds[Unsent] == 50 - len(done.bodies)


@pytest.mark.parametrize("fault", [RuntimeError("odd"), MemoryError(), KeyError("code")])
def test_a_fault_of_our_own_reaches_the_exit_code(fault: Exception) -> None:
    done = deliver(batches(3), in_turn(fault))
    assert int(done.error.exit_code) == 1
    assert done.error.what == f"a sender failed: {type(fault).__name__}"
    assert done.error.fix == "this is a fault of backfill: please report it"


def test_a_sender_that_cannot_even_begin_returns_its_batch_as_failed() -> None:
    def connect() -> Fake:
        raise ValueError("no such port")

    with closing(Delivery(connect, TokenBucket(None), Settings(1, 900, ORIGIN))) as delivery:
        delivery.submit(batches(3)[0], is_ordered=False)
        found = delivery.outcomes(2.0)
    assert [type(outcome) for outcome in found] == [Failed]


# ---- tried again


@pytest.mark.parametrize(
    "passing",
    [
        *(Answer(s, {}, b"") for s in (408, 429, 500, 502, 503, 504, 507, 520, 599)),
        WireError("connection reset"),
        Answer(103, {}, b""),
    ],
    ids=lambda passing: getattr(passing, "status", "network"),
)
def test_a_passing_fault_is_tried_again_and_rejects_nothing(passing: Answer | Exception) -> None:
    done = deliver(batches(8), in_turn(passing, passing, GOOD))
    assert isinstance(done.only, Settled)
    assert done.only.refusals == ()
    assert (done.only.effort.sent, done.only.effort.retried) == (3, 2)
    assert len(set(done.bodies)) == 1
    assert done.waits == [0.5, 1.0]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_retry_after_is_obeyed_in_seconds(status: int) -> None:
    done = deliver(batches(1), in_turn(Answer(status, {"Retry-After": "17"}, b""), GOOD))
    assert isinstance(done.only, Settled)
    assert sum(done.waits) == pytest.approx(17)


def test_retry_after_is_obeyed_as_a_date() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    done = deliver(batches(1), in_turn(Answer(503, {"Retry-After": until}, b""), GOOD))
    assert 95 < sum(done.waits) <= 100


@pytest.mark.parametrize("header", ["soon", "-5", "1.5", ""])
def test_a_retry_after_that_makes_no_sense_leaves_the_own_pause(header: str) -> None:
    done = deliver(batches(1), in_turn(Answer(503, {"Retry-After": header}, b""), GOOD))
    assert done.waits == [0.5]


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_over_300_s_ends_the_run_resumable(status: int) -> None:
    done = deliver(batches(1), in_turn(Answer(status, {"Retry-After": "301"}, b""), GOOD))
    assert isinstance(done.error, ResumableError)
    assert int(done.error.exit_code) == 4
    assert done.error.what == f"the destination asks to wait 301 s (answered {status})"
    assert (done.error.where, done.error.fix) == (ORIGIN, LATER)
    assert (len(done.bodies), done.waits) == (1, [])
    assert isinstance(
        deliver(batches(1), in_turn(Answer(status, {"Retry-After": "300"}, b""), GOOD)).only,
        Settled,
    )


@pytest.mark.parametrize(
    ("fault", "reason"), [(Answer(503, {}, b""), "answered 503"), (WireError("refused"), "refused")]
)
def test_an_outage_ends_the_run_resumable_when_patience_ends(
    fault: Answer | Exception, reason: str
) -> None:
    done = deliver(batches(1), in_turn(fault), max_outage_s=100.0)
    assert isinstance(done.error, ResumableError)
    assert int(done.error.exit_code) == 4
    failing_s = sum(done.waits)
    assert done.error.what == f"nothing was delivered for {failing_s:.0f} s ({reason})"
    assert (done.error.where, done.error.fix) == (ORIGIN, LATER)
    assert 50 < sum(done.waits) <= 100
    assert max(done.waits) <= 30  # half of the cap, since the dice are played


def test_a_wait_that_ends_with_the_patience_is_still_waited() -> None:
    asks = Answer(503, {"Retry-After": "80"}, b"")
    assert isinstance(deliver(batches(1), in_turn(asks, GOOD), max_outage_s=80.0).only, Settled)
    assert isinstance(
        deliver(batches(1), in_turn(asks, GOOD), max_outage_s=79.0).error, ResumableError
    )


def test_the_time_in_which_a_request_hung_counts_as_an_outage() -> None:
    play = Play()

    def hang(_body: bytes) -> Answer:
        play.now_s += 30
        raise WireError("no complete answer within 30 s")

    done = deliver(batches(1), hang, max_outage_s=80.0, clock=play.clock, wait=play.wait)
    assert isinstance(done.error, ResumableError)
    assert len(done.bodies) == 3, "the third ends after 90 s; the pauses between are short"
    assert play.now_s < 100


def test_what_hung_before_the_last_success_is_no_part_of_an_outage() -> None:
    play = Play()
    settings_ = Settings(2, 80.0, ORIGIN, clock=play.clock, random=lambda: 0.5)
    line = Line(TokenBucket(None), settings_)
    play.now_s = 90.0
    line.succeeded()  # another sender's request, while the first one hung
    play.now_s = 100.0
    assert line.failed(None, attempt=1, begun_s=0.0, reason="hung") < 1


def test_any_success_begins_the_patience_anew() -> None:
    faults = [Answer(503, {"Retry-After": "80"}, b""), GOOD]
    done = deliver(batches(1, 1, 1, 1), in_turn(*faults * 4), max_outage_s=100.0)
    assert [type(outcome) for outcome in done.outcomes] == [Settled] * 4
    assert sum(done.waits) == pytest.approx(320)


def test_a_429_pauses_every_sender() -> None:
    asked = threading.Event()
    answered: list[float] = []

    def answer(_body: bytes) -> Answer:
        if not asked.is_set():
            asked.set()
            answered.append(time.monotonic())
            return Answer(429, {"Retry-After": "1"}, b"")
        return GOOD

    done = deliver(
        batches(*[1] * 40),
        answer,
        connections=4,
        rate=200.0,
        clock=time.monotonic,
        wait=threading.Event.wait,
    )
    assert {type(outcome) for outcome in done.outcomes} == {Settled}
    after = sorted(at - answered[0] for at in done.at_s)
    assert not [at for at in after if 0.05 < at < 0.95]


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_for_all_connections(status: int) -> None:
    line = Line(TokenBucket(None), Settings(4, 900.0, ORIGIN, clock=lambda: 10.0))
    answer = Answer(status, {"Retry-After": "7"}, b"")
    assert line.failed(answer, attempt=1, begun_s=9.0, reason="") == 7
    assert line.wait_s() == 7


def test_a_retry_after_of_nothing_still_leaves_a_pause() -> None:
    done = deliver(batches(1), in_turn(Answer(503, {"Retry-After": "0"}, b""), GOOD))
    assert done.waits == [0.5]


def test_after_a_429_requests_begin_half_as_often_and_then_more_and_more() -> None:
    answers = [GOOD] * 20 + [Answer(429, {"Retry-After": "5"}, b"")] + [GOOD] * 400
    done = deliver(batches(*[1] * 400), in_turn(*answers), rate=20.0)
    assert {type(outcome) for outcome in done.outcomes} == {Settled}
    again_s = done.at_s[20] + 5
    after = [at for at in done.at_s[21:] if at >= again_s - 1e-6]
    assert len(after) == len(done.at_s) - 21
    per_second = [sum(again_s + n <= at < again_s + n + 1 for at in after) for n in range(14)]
    assert per_second[0] in {10, 11}
    assert per_second[-2] in {19, 20}
    assert all(later >= sooner - 1 for sooner, later in pairwise(per_second[:-1]))


@pytest.mark.parametrize("is_ordered", [True, False])
def test_a_name_in_the_answer_spares_requests_and_a_wrong_one_costs_no_row(
    *, is_ordered: bool
) -> None:
    bad = 300

    def answer(body: bytes, lie: int) -> Answer:
        rows = rows_of(body)
        if bad not in rows:
            return GOOD
        text = f'{{"meta":{{"errors":["batch[{rows.index(bad) - lie}]: no"]}}}}'
        return Answer(400, {}, text.encode())

    for lie, requests_max in ((0, 4), (7, 16)):
        done = deliver(batches(500), partial(answer, lie=lie), is_ordered=is_ordered)
        assert isinstance(done.only, Settled)
        assert [refusal.index for refusal in done.only.refusals] == [bad]
        assert len(done.bodies) <= requests_max


def test_a_row_of_several_messages_is_found_by_the_message_that_is_named() -> None:
    (batch,) = batches(30)

    def answer(body: bytes) -> Answer:
        rows = rows_of(body)
        if 20 not in rows:
            return GOOD
        at = 3 * rows.index(20) + 2  # the last of its three messages
        return Answer(400, {}, f'{{"errors":[{{"index":{at}}}]}}'.encode())

    done = deliver([replace(batch, messages=batch.messages * 3)], answer)
    assert isinstance(done.only, Settled)
    assert [refusal.index for refusal in done.only.refusals] == [20]
    assert len(done.bodies) == 3


def test_a_stop_wakes_a_sender_that_waits() -> None:
    fake = Fake(in_turn(Answer(503, {"Retry-After": "60"}, b"")), time.monotonic)
    how = Settings(1, 900.0, ORIGIN)
    with closing(Delivery(lambda: fake, TokenBucket(None), how)) as delivery:
        for batch in batches(1, 1):
            delivery.submit(batch, is_ordered=False)
        assert delivery.outcomes(0.1) == []
        begun_s = time.monotonic()
        delivery.stop()
        found: list[Outcome] = []
        while len(found) < 2:
            found += delivery.outcomes(1.0)
            assert time.monotonic() - begun_s < 2
    assert [type(outcome) for outcome in found] == [Unsent, Unsent]
    assert sorted(outcome.batch.start for outcome in found) == [0, 1]
    assert len(fake.bodies) == 1


def test_a_stop_wakes_senders_that_wait_for_their_turn() -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def answer(_body: bytes) -> Answer:
        asked.set()
        assert may_answer.wait(10)
        return GOOD

    fake = Fake(answer, time.monotonic)
    how = Settings(3, 900.0, ORIGIN)
    with closing(Delivery(lambda: fake, TokenBucket(None), how)) as delivery:
        delivery._line._senders.limit = 1  # noqa: SLF001  as after a 429
        for batch in batches(1, 1, 1):
            delivery.submit(batch, is_ordered=False)
        assert asked.wait(10)
        assert delivery.outcomes(0.1) == []
        delivery.stop()
        found: list[Outcome] = []
        until_s = time.monotonic() + 10
        while len(found) < 2 and time.monotonic() < until_s:
            found += delivery.outcomes(0.1)
        assert [type(outcome) for outcome in found] == [Unsent, Unsent]
        may_answer.set()
        assert [type(outcome) for outcome in delivery.outcomes(10)] == [Settled]
    assert len(fake.bodies) == 1


def test_a_far_side_that_bears_two_at_once_is_sent_two_at_once() -> None:
    lock, running, late = threading.Lock(), Counter[str](), set[int]()

    def answer(_body: bytes) -> Answer:
        with lock:
            running["now"] += 1
            running["in all"] += 1
            is_over = running["now"] > 2
            if is_over:
                late.add(running["in all"])
        time.sleep(0 if is_over else 0.004)
        with lock:
            running["now"] -= 1
        return Answer(429, {}, b"") if is_over else GOOD

    how: dict[str, Any] = {"clock": time.monotonic, "wait": threading.Event.wait}
    done = deliver(batches(*[1] * 150), answer, connections=6, random=lambda: 0.02, **how)
    assert {type(outcome) for outcome in done.outcomes} == {Settled}
    assert len(late) <= 12
    assert max(late) < 60, "after that it knows"


def test_an_answer_that_comes_while_the_run_is_draining_counts() -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def answer(_body: bytes) -> Answer:
        asked.set()
        assert may_answer.wait(10)
        return GOOD

    fake = Fake(answer, time.monotonic)
    how = Settings(1, 900.0, ORIGIN)
    with closing(Delivery(lambda: fake, TokenBucket(None), how)) as delivery:
        for batch in batches(1, 1):
            delivery.submit(batch, is_ordered=False)
        assert asked.wait(10)
        delivery.stop()
        may_answer.set()
        found: list[Outcome] = []
        until_s = time.monotonic() + 10
        while len(found) < 2 and time.monotonic() < until_s:
            found += delivery.outcomes(0.1)
    assert [type(outcome) for outcome in found] == [Settled, Unsent]
    assert len(fake.bodies) == 1


# ---- lanes


def test_a_lane_has_one_request_in_flight_and_keeps_its_order_while_others_go_on() -> None:
    lanes, each = 4, 6
    lock, running = threading.Lock(), Counter[int]()
    begun: dict[int, list[int]] = defaultdict(list)
    others_are_done = threading.Event()
    given_ = batches(*[3] * lanes * each, lanes=lanes)
    lane_of = {int(batch.rows[0]): batch.lane for batch in given_}

    def answer(body: bytes) -> Answer:
        row = rows_of(body)[0]
        lane = lane_of[row]
        with lock:
            running[lane] += 1
            assert running[lane] == 1, "two requests of one lane"
            begun[lane].append(row)
            if all(len(begun[n]) == each for n in range(1, lanes)):
                others_are_done.set()
        if lane == 0:
            assert others_are_done.wait(10), "the other lanes wait for the slow one"
        time.sleep(0.001)
        with lock:
            running[lane] -= 1
        return GOOD

    done = deliver(given_, answer, is_ordered=True, connections=8)
    assert {type(outcome) for outcome in done.outcomes} == {Settled}, done.outcomes
    for lane, rows in begun.items():
        assert rows == [int(b.rows[0]) for b in given_ if b.lane == lane]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 2**32))
def test_order_within_a_lane_survives_refusals_and_retries(sizes: list[int], seed: int) -> None:
    given_ = batches(*sizes, lanes=3)
    lane_of = {row: batch.lane for batch in given_ for row in batch.rows.tolist()}
    kept: dict[int, list[int]] = defaultdict(list)
    bad = {row for row in lane_of if (row * 7919 + seed) % 5 == 0}
    tried: Counter[bytes] = Counter()

    def answer(body: bytes) -> Answer:
        tried[body] += 1
        rows = rows_of(body)
        if (rows[0] + tried[body] + seed) % 3 == 0 and tried[body] < 3:
            return Answer(503, {}, b"")
        if bad & set(rows):
            return REFUSED
        kept[lane_of[rows[0]]] += rows
        return GOOD

    deliver(given_, answer, is_ordered=True, connections=4)
    assert sorted(row for rows in kept.values() for row in rows) == sorted(set(lane_of) - bad)
    assert all(rows == sorted(rows) for rows in kept.values())


def test_in_order_no_row_jumps_ahead_because_an_answer_names_it() -> None:
    kept: list[int] = []

    def answer(body: bytes) -> Answer:
        rows = rows_of(body)
        if 25 in rows:  # and it lies
            return Answer(400, {}, f'{{"errors":[{{"index":{len(rows) // 2}}}]}}'.encode())
        kept.extend(rows)
        return GOOD

    done = deliver(batches(30), answer, is_ordered=True)
    assert isinstance(done.only, Settled)
    assert [refusal.index for refusal in done.only.refusals] == [25]
    assert kept == [row for row in range(30) if row != 25]


def test_a_sender_that_hangs_keeps_no_process_alive() -> None:
    seen: list[threading.Thread] = []

    def answer(_body: bytes) -> Answer:
        seen.append(threading.current_thread())
        return GOOD

    deliver(batches(1), answer)
    assert [(thread.name, thread.daemon) for thread in seen] == [("sender", True)]


def test_batches_without_order_are_sent_side_by_side() -> None:
    together = threading.Barrier(6, timeout=10)

    def answer(_body: bytes) -> Answer:
        together.wait()
        return GOOD

    done = deliver(batches(*[1] * 12), answer, connections=6)
    assert {type(outcome) for outcome in done.outcomes} == {Settled}


# ---- every batch, always


ANSWERS = st.one_of(
    st.sampled_from([200, 200, 200, 400, 413, 429, 500, 503, 408, 401, 302, 501, 100, 204]).map(
        lambda status: Answer(status, {}, b"")
    ),
    st.sampled_from([GOOD, Answer(200, {}, b"<html>"), Answer(429, {"Retry-After": "400"}, b"")]),
    st.sampled_from([WireError("reset"), TrustError("expired"), RuntimeError("odd")]),
)


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=10),
    answers=st.lists(ANSWERS, min_size=1, max_size=40),
    connections=st.integers(1, 4),
    is_ordered=st.booleans(),
)
def test_every_batch_comes_back_as_exactly_one_outcome(
    sizes: list[int], answers: list[Any], connections: int, *, is_ordered: bool
) -> None:
    given_ = batches(*sizes, lanes=3)
    done = deliver(
        given_, in_turn(*answers), is_ordered=is_ordered, connections=connections, max_outage_s=300
    )
    returned = sorted(outcome.batch.start for outcome in done.outcomes)
    assert returned == [batch.start for batch in given_]
    for outcome in done.outcomes:
        if isinstance(outcome, Settled):
            indexes = [refusal.index for refusal in outcome.refusals]
            assert indexes == sorted(set(indexes))
            assert set(indexes) <= set(range(len(outcome.batch.rows)))


# ---- the key


def forms(key: str) -> list[str]:
    return [key, base64.b64encode(f"{key}:".encode()).decode(), f"Bearer {key}"]


@pytest.mark.parametrize("status", [400, 401, 422])
@pytest.mark.parametrize("at", [0, 200, 285, 295, 299, 4090])
def test_the_key_is_in_no_reason_wherever_the_destination_repeats_it(status: int, at: int) -> None:
    key = "canaryKEY/4711+abcdef"
    for form in forms(key):
        notes = Notes()
        answer = Answer(status, {}, ("x" * at + form + " yz").encode())
        done = deliver(batches(2), in_turn(answer), scrub=scrubber(Key(key)), note=notes.take)
        shown = repr([done.outcomes, notes.taken])
        for start in range(len(form) - 7):
            assert form[start : start + 8] not in shown.replace("Bearer ", "")


def test_the_log_is_told_of_each_retry_and_each_refusal() -> None:
    notes = Notes()
    named = Answer(400, {}, b'{"errors":[{"index":3},{"index":8}]}')
    answers: list[Answer | Exception] = [WireError("reset"), Answer(503, {}, b""), named, GOOD]
    (batch,) = batches(6)
    deliver(
        [replace(batch, messages=batch.messages * 2)],
        in_turn(*answers),
        note=notes.take,
        random=lambda: 1 / 3,
    )
    assert notes.taken == [
        ("retry", {"attempt": 1, "reason": "reset", "wait_s": 0.333}),
        ("retry", {"attempt": 2, "reason": "answered 503", "wait_s": 0.667}),
        ("refused", {"rows": 6, "named": 2}),
    ]


def test_words_of_the_destination_go_to_the_refusal_and_not_to_the_log() -> None:
    notes = Notes()
    answer = Answer(400, {}, b"the email jane@example.com is invalid")
    deliver(batches(2), in_turn(answer), note=notes.take)
    assert notes.taken
    assert "jane@example.com" not in repr(notes.taken)
