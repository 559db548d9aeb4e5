"""How many requests at once: as many as the far side bears, and never more than the ceiling.

Clock, far side and senders are played; the rate, the turns and the errands are the real ones.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.errand import Line, Post, Settings, Turn, Wait, errand
from backfill.ratelimit import TokenBucket
from backfill.senders import HOLD_S, HOLD_S_MAX, Begun, Load, Senders
from backfill.wire import Answer, LateError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.errand import Came, Errand

GOOD: Final = Answer(200, {}, b"{}")
TOO_MANY: Final = Answer(429, {}, b"")
BUSY: Final = Answer(503, {}, b"")
ANSWER_S: Final = 0.001
"""How soon a far side refuses."""


@dataclass
class Far:
    """A far side that takes its time, and bears so many at once, or so many in a second."""

    delay_s: float
    at_once: float = float("inf")
    per_s: float = float("inf")
    refusal: Came = TOO_MANY
    under_way: int = 0
    most: int = 0
    refused: int = 0
    begun_s: deque[float] = field(default_factory=deque)

    def takes(self, now_s: float) -> tuple[Came, float]:
        """Return what it answers to a request that arrives now, and after how long."""
        while self.begun_s and self.begun_s[0] <= now_s - 1:
            self.begun_s.popleft()
        self.most = max(self.most, self.under_way + 1)
        if self.under_way >= self.at_once or len(self.begun_s) >= self.per_s:
            self.refused += 1
            return self.refusal, ANSWER_S
        self.under_way += 1
        self.begun_s.append(now_s)
        return GOOD, self.delay_s


class Played:
    """A run whose batches never end, until the seconds do."""

    def __init__(self, far: Far, connections: int, *, rate: float | None = None) -> None:
        self.far = far
        self.now_s = 0.0
        self.delivered = 0
        self.begun_s: list[float] = []
        self._count = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._queued: dict[Turn, Callable[[], None]] = {}
        dice = random.Random(connections)
        settings = Settings(connections, 1e9, "sim", clock=lambda: self.now_s, random=dice.random)
        self.line = Line(TokenBucket(rate), settings)
        for _ in range(connections):
            self._next()

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return self.line._senders.limit  # noqa: SLF001  it is what these tests are about

    def until(self, second: float) -> int:
        """Go on until then and return how many requests have been delivered since."""
        before = self.delivered
        while self._events[0][0] <= second:
            self.now_s, _, what = heappop(self._events)
            what()
        self.now_s = second
        return self.delivered - before

    def _after(self, wait_s: float, what: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._events, (self.now_s + wait_s, self._count, what))

    def _next(self) -> None:
        batch: Any = SimpleNamespace(count=1, body=b"x", drop=lambda: None)
        self._after(0.0, lambda: self._go(errand(batch, self.line, is_ordered=False), None))

    def _go(self, steps: Errand, came: Came) -> None:
        try:
            step = steps.send(came)
        except StopIteration:
            self.delivered += 1
            self._next()
        else:
            match step:
                case Wait(wait_s):
                    self._after(wait_s, lambda: self._go(steps, None))
                case Turn():
                    self._queued[step] = lambda: self._go(steps, None)
                case Post():
                    self._post(steps)
        for turn in [turn for turn in self._queued if turn.is_come.is_set()]:
            self._after(0.0, self._queued.pop(turn))

    def _post(self, steps: Errand) -> None:
        self.begun_s.append(self.now_s)
        came, wait_s = self.far.takes(self.now_s)

        def ends() -> None:
            self.far.under_way -= came is GOOD
            self._go(steps, came)

        self._after(wait_s, ends)


class Fixed(Senders):
    """So many, whatever comes."""

    def end(self, begun: Any, load: Load, now_s: float) -> None:  # noqa: ARG002
        """Conclude nothing from a request."""
        super().end(begun, Load.UNTOLD, now_s)


def fixed(monkeypatch: pytest.MonkeyPatch, connections: int, seconds: float, far: Far) -> int:
    """Return what a fixed number of connections delivers."""
    with monkeypatch.context() as patch:
        patch.setattr("backfill.errand.Senders", Fixed)
        return Played(far, connections).until(seconds)


# ---- against a far side


@pytest.mark.parametrize(("connections", "delay_s"), [(1, 0.02), (8, 0.02), (8, 0.1), (16, 0.2)])
def test_a_far_side_that_bears_all_gets_all_that_the_ceiling_allows(
    connections: int, delay_s: float
) -> None:
    played = Played(Far(delay_s), connections)
    assert played.until(10) >= 0.99 * (10 / delay_s - 1) * connections
    assert played.far.most == connections


FAR: Final[dict[str, tuple[int, dict[str, Any]]]] = {
    "one at once": (1, {"delay_s": 0.1, "at_once": 1}),
    "three at once": (3, {"delay_s": 0.1, "at_once": 3}),
    "three at once, near": (3, {"delay_s": 0.03, "at_once": 3}),
    "seven at once, distant": (7, {"delay_s": 0.2, "at_once": 7}),
    "25 a second": (2, {"delay_s": 0.1, "per_s": 25}),
    "42 a second": (4, {"delay_s": 0.1, "per_s": 42}),
    "three at once, by 503": (3, {"delay_s": 0.1, "at_once": 3, "refusal": BUSY}),
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize("ceiling", [8, 16])
def test_what_adapts_comes_within_a_tenth_of_the_best_fixed_number(
    monkeypatch: pytest.MonkeyPatch, name: str, ceiling: int
) -> None:
    connections, far = FAR[name]
    best = max(fixed(monkeypatch, n, 30, Far(**far)) for n in (connections, connections + 1))
    found = Played(Far(**far), ceiling).until(30)
    assert found >= 0.9 * best, f"{found} of {best}"


def test_what_does_not_adapt_gets_less_than_a_third_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Played(Far(0.1, at_once=3), 8).until(30)
    assert found >= 3 * fixed(monkeypatch, 8, 30, Far(0.1, at_once=3))


class Flaky(Far):
    """A far side that says 503 to one request of a hundred, whatever it bears."""

    dice = random.Random(4)

    def takes(self, now_s: float) -> tuple[Came, float]:
        """Answer, or not."""
        return (BUSY, self.delay_s) if self.dice.random() < 0.01 else super().takes(now_s)


def test_a_far_side_that_says_503_now_and_then_costs_no_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Played(Flaky(0.1), 8).until(60)
    assert found >= 0.95 * fixed(monkeypatch, 8, 60, Flaky(0.1))


def test_after_an_outage_all_places_are_taken_again_within_seconds() -> None:
    played = Played(Far(0.1, refusal=BUSY), 8)
    played.until(5)
    played.far.at_once = 0
    played.until(12)
    assert played.limit == 1
    played.far.at_once = float("inf")
    played.until(60)
    assert played.limit == 8
    assert played.until(65) >= 0.99 * 5 * 8 / 0.1


def test_a_far_side_that_bears_more_later_is_found_out() -> None:
    played = Played(Far(0.1, at_once=3), 8)
    played.until(30)
    assert played.limit == 3
    played.far.at_once = 6
    played.until(HOLD_S + 10)
    assert played.limit == 6


def test_a_level_that_is_refused_is_tried_ever_more_seldom() -> None:
    played = Played(Far(1.0, at_once=3), 8)
    played.until(30)
    refused = [played.far.refused]
    for hour in range(1, 3):
        played.until(hour * 1000)
        refused.append(played.far.refused)
    assert refused[0] < 10
    assert 3 <= refused[1] - refused[0] <= 8
    assert 1000 // HOLD_S_MAX <= refused[2] - refused[1] + 1 <= 1000 // HOLD_S_MAX + 2


@pytest.mark.parametrize("rate", [5.0, 50.0])
@pytest.mark.parametrize("at_once", [2, 8])
def test_the_rate_holds_however_many_may_be_under_way(rate: float, at_once: int) -> None:
    played = Played(Far(0.02, at_once=at_once), 8, rate=rate)
    played.until(20)
    begun = played.begun_s
    most = max(sum(at <= other < at + 1 - 1e-6 for other in begun) for at in begun)
    assert most <= rate + 1
    assert at_once == 2 or len(begun) >= 0.99 * rate * 20


# ---- the rules


def senders(ceiling: int, *, limit: int | None = None, under_way: int = 0) -> Senders:
    """Return senders with so many requests under way, none of which matters."""
    made = Senders(ceiling)
    made.limit = ceiling if limit is None else limit
    for _ in range(under_way):
        made.begin(0.0)
    return made


def once(made: Senders, load: Load, now_s: float = 0.0) -> int:
    """Begin and end a request beside those under way; return the limit after it."""
    made.end(made.begin(now_s), load, now_s)
    return made.limit


def test_it_begins_with_every_connection_that_is_allowed() -> None:
    made = Senders(5)
    assert (made.limit, made.under_way, made.free) == (5, 0, 5)


def test_after_a_429_what_was_under_way_less_it_is_borne() -> None:
    assert once(senders(8, under_way=4), Load.TOO_MANY, 1.0) == 4
    assert once(senders(8, limit=3, under_way=6), Load.TOO_MANY, 1.0) == 2, "never more than before"


def test_those_beside_a_request_when_it_began_count_although_they_ended_before_it() -> None:
    made = senders(8)
    begun = [made.begin(1.0) for _ in range(4)]
    for one in begun[:3]:
        made.end(one, Load.BORNE, 1.1)
    made.end(begun[3], Load.TOO_MANY, 1.2)
    assert made.limit == 3


def test_each_request_that_is_refused_with_others_was_one_too_many() -> None:
    made = senders(8)
    begun = [made.begin(1.0) for _ in range(8)]
    found = []
    for one in begun[3:]:
        made.end(one, Load.TOO_MANY, 1.1)
        found.append(made.limit)
    assert found == [7, 6, 5, 4, 3]
    for one in begun[:3]:
        made.end(one, Load.BORNE, 1.2)
    assert (made.limit, made.under_way) == (3, 0)


def test_one_place_more_comes_with_each_round_that_is_borne_while_all_are_taken() -> None:
    made = senders(5, limit=2, under_way=1)
    assert [once(made, Load.BORNE) for _ in range(2)] == [2, 3]
    assert [once(made, Load.BORNE) for _ in range(9)] == [3] * 9, "two of three are in use"
    made.begin(0.0)
    assert [once(made, Load.BORNE) for _ in range(3)] == [3, 3, 4]
    made.begin(0.0)
    made.begin(0.0)
    assert [once(made, Load.BORNE) for _ in range(9)][3:] == [5] * 6, "and never over the ceiling"


@pytest.mark.parametrize("load", [Load.STRAINED, Load.TOO_MANY])
def test_a_round_begins_anew_after_a_request_that_was_not_borne(load: Load) -> None:
    made = senders(9, limit=5, under_way=4)
    for _ in range(4):
        once(made, Load.BORNE)
    assert once(made, load, 1.0) == 4
    made.under_way = 3
    assert [once(made, Load.BORNE, 100.0) for _ in range(4)] == [4, 4, 4, 5]


def test_a_503_or_no_answer_in_time_takes_one_place_and_leaves_one() -> None:
    made = senders(3)
    assert [once(made, Load.STRAINED) for _ in range(4)] == [2, 1, 1, 1]


def test_a_lost_connection_says_nothing() -> None:
    made = senders(3, under_way=2)
    assert [once(made, Load.UNTOLD) for _ in range(9)] == [3] * 9


def test_a_level_that_met_a_429_is_held_for_a_while_and_then_tried() -> None:
    made = senders(8, limit=4, under_way=3)
    assert once(made, Load.TOO_MANY, 10.0) == 3
    made.under_way = 2
    assert [once(made, Load.BORNE, 10 + HOLD_S - 1) for _ in range(30)] == [3] * 30
    found = [once(made, Load.BORNE, 10 + HOLD_S) for _ in range(3)]
    assert found[-1] == 4


def test_a_level_that_is_borne_after_all_holds_nothing_up() -> None:
    made = senders(8, limit=4, under_way=3)
    once(made, Load.TOO_MANY, 0.5)
    made.limit = 4
    made.under_way = 3
    assert [once(made, Load.BORNE, 1.0) for _ in range(4)][-1] == 5
    made.under_way = 4
    assert [once(made, Load.BORNE, 1.0) for _ in range(5)][-1] == 6
    made.limit, made.under_way = 4, 3
    once(made, Load.TOO_MANY, 2.0)
    assert made._held_until_s == 2.0 + HOLD_S, "not twice as long"  # noqa: SLF001


def test_the_hold_doubles_up_to_its_bound_and_begins_anew_at_another_level() -> None:
    made = senders(8, limit=4, under_way=3)
    holds = []
    for at in range(1, 6):
        once(made, Load.TOO_MANY, 1000.0 * at)
        holds.append(made._held_until_s - 1000.0 * at)  # noqa: SLF001
        made.limit = 4
    assert holds == [60, 120, 240, 300, 300]
    made.under_way = 2
    once(made, Load.TOO_MANY, 9000.0)
    assert made._held_until_s == 9000.0 + HOLD_S  # noqa: SLF001


def test_a_429_to_a_request_that_was_alone_is_not_about_how_many() -> None:
    made = senders(8, limit=2, under_way=1)
    once(made, Load.TOO_MANY, 1.0)
    made.under_way = 0
    assert once(made, Load.TOO_MANY, 2.0) == 1
    assert once(made, Load.BORNE, 3.0) == 2, "no level is held"


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.booleans(), st.sampled_from(Load), st.floats(0, 500)), max_size=300),
)
@example(1, [(True, load, 1.0) for load in Load])
def test_whatever_comes_one_may_always_begin_and_never_more_than_the_ceiling(
    ceiling: int, story: list[tuple[bool, Load, float]]
) -> None:
    made, now_s = Senders(ceiling), 0.0
    open_: deque[Any] = deque()
    for is_begin, load, wait_s in story:
        now_s += wait_s
        if is_begin and made.free:
            open_.append(made.begin(now_s))
        elif open_:
            before = made.limit
            made.end(open_.popleft(), load, now_s)
            assert made.limit <= before + 1
        assert made.under_way == len(open_) <= ceiling
        assert 1 <= made.limit <= ceiling
        assert made.free == max(made.limit - len(open_), 0)
    while open_:
        made.end(open_.popleft(), Load.TOO_MANY, now_s)
    assert made.free >= 1


# ---- turns


def line(connections: int, limit: int, notes: list[Any] | None = None) -> Line:
    """Return a line whose limit is lower than its ceiling."""

    def note(what: str, facts: dict[str, Any]) -> None:
        (notes if notes is not None else []).append((what, facts))

    made = Line(TokenBucket(None), Settings(connections, 9.0, "sim", note=note))
    made._senders.limit = limit  # noqa: SLF001
    return made


def test_who_asked_first_begins_first() -> None:
    made = line(3, 1)
    turns = [Turn() for _ in range(3)]
    first = made.begin(turns[0])
    assert isinstance(first, Begun)
    assert [made.begin(turn) for turn in turns[1:]] == turns[1:]
    assert [turn.is_come.is_set() for turn in turns[1:]] == [False, False]
    made.ended(first, WireError("reset"))
    assert [turn.is_come.is_set() for turn in turns[1:]] == [True, False]
    late = Turn()
    assert made.begin(late) is late, "it does not overtake those that wait"
    second = made.begin(turns[1])
    assert isinstance(second, Begun)
    assert made.begin(turns[2]) is turns[2]
    made.ended(second, GOOD)
    assert turns[2].is_come.is_set()


def test_a_turn_whose_place_was_taken_away_waits_again() -> None:
    made = line(3, 3)
    begun = [made.begin(Turn()) for _ in range(3)]
    waiting = Turn()
    assert made.begin(waiting) is waiting
    assert isinstance(begun[0], Begun)
    made.ended(begun[0], GOOD)
    assert waiting.is_come.is_set()
    assert isinstance(begun[1], Begun)
    made._senders.limit = 1  # noqa: SLF001
    assert made.begin(waiting) is waiting
    assert not waiting.is_come.is_set()


def test_a_stop_lets_nobody_wait_for_a_turn() -> None:
    made = line(2, 1)
    assert isinstance(made.begin(Turn()), Begun)
    waiting = [Turn(), Turn()]
    assert [made.begin(turn) for turn in waiting] == waiting
    made.stop()
    assert all(turn.is_come.is_set() for turn in waiting)


@pytest.mark.parametrize(
    ("came", "limit"),
    [
        (GOOD, 4),
        (Answer(400, {}, b""), 4),
        (Answer(413, {}, b""), 4),
        (TOO_MANY, 3),
        (BUSY, 3),
        (Answer(408, {}, b""), 3),
        (Answer(504, {}, b""), 3),
        (LateError("no complete answer within 30 s"), 3),
        (Answer(500, {}, b""), 4),
        (Answer(502, {}, b""), 4),
        (WireError("connection reset"), 4),
    ],
    ids=str,
)
def test_what_comes_back_says_how_many_are_borne_and_the_log_is_told(came: Any, limit: int) -> None:
    notes: list[Any] = []
    made = line(4, 4, notes)
    begun = [made.begin(Turn()) for _ in range(4)]
    assert isinstance(begun[0], Begun)
    made.ended(begun[0], came)
    assert made._senders.limit == limit  # noqa: SLF001
    assert notes == ([("fewer", {"connections": 3})] if limit == 3 else [])
