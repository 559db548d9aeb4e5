"""Message texts → request bodies under the limits of count and bytes, by lane. No I/O.

A batch tiles its lane: it stands for all rows of the lane in [start, stop), also for those that are
not sent (rejected, held, settled before). What was measured is what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from backfill.columns import integers
from backfill.known import no_prints
from backfill.marks import no_marks
from backfill.piece import (
    CLOSE,
    OPEN,
    Part,
    Piece,
    before,
    beyond,
    body_of,
    bounds,
    count_before,
    firsts,
    joined,
    marks,
    no_rows,
    prints,
    put,
    times,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backfill.message import Made
    from backfill.source import Span
    from backfill.texts import Texts

SPANS_AHEAD: Final = 8
"""A lane that fills slowly is sent after so many record batches, so that nothing waits for ever."""


@dataclass(frozen=True, slots=True)
class Encodings:
    """n rows of one span, ready to be cut: lanes, texts, and what is not sent."""

    span: Span
    lane: np.ndarray | None
    """The lane of every row of the span; None where the stream has one lane."""
    rows: np.ndarray
    """The rows of the file that are sent, ascending."""
    texts: Texts
    """What travels together: the messages of one row, or of one group of rows."""
    times: list[np.ndarray]
    """Per timestamp: the instants of the texts in ms."""
    rejects: pa.Table
    held: pa.Table
    filtered: np.ndarray = field(default_factory=no_rows)
    """The rows of the file that nothing is to be sent of, ascending."""
    unchanged: np.ndarray = field(default_factory=no_rows)
    """The rows of the file that are delivered as they are, ascending."""
    sizes: np.ndarray | None = None
    """How many rows each text stands for; None: one each."""
    messages: np.ndarray | None = None
    """How many messages each text holds; None: one each."""
    notes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Words about values that are sent: (column, what) → how many."""
    made: Made | None = None
    """What the texts were written from."""
    prints: np.ndarray = field(default_factory=no_prints)
    """What each text makes known under its key, or none."""
    highest: int | None = None
    """The highest watermark of the span."""
    marks: np.ndarray = field(default_factory=no_marks)
    """What is counted of each text, for the pictures; or none."""

    @property
    def firsts(self) -> np.ndarray:
        """The first row of the file that each text stands for."""
        return self.rows if self.sizes is None else self.rows[firsts(self.sizes)]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold."""

    body_bytes: int
    messages: int


@dataclass(frozen=True)
class Batch:
    """One request body and what it stands for."""

    lane: int
    start: int
    stop: int
    rows: np.ndarray
    """The rows of the file that are sent, in order."""
    pieces: list[Piece] = field(repr=False)
    """What the body is made of, until it is."""
    ends: list[np.ndarray] = field(repr=False)
    """Of each piece: where its texts begin among all of its span, and where the last one ends."""
    sizes: np.ndarray = field(repr=False)
    """How many rows each of the n texts stands for."""
    messages: np.ndarray = field(repr=False)
    """How many messages each of the n texts holds."""
    rejects: pa.Table = field(repr=False)
    held: pa.Table = field(repr=False)
    filtered: int
    spans: tuple[Span, ...] = field(repr=False)
    """The record batches its rows come from, for the cells of rejects."""
    times: tuple[int, int, list[np.ndarray]] | None = field(repr=False)
    """Smallest and largest instant in ms, and all of them in some columns."""
    unchanged: int = 0
    prints: np.ndarray = field(default_factory=no_prints, repr=False)
    """What each of the n texts makes known under its key, or none."""
    marks: np.ndarray = field(default_factory=no_marks, repr=False)
    """What is counted of each of the n texts, a column each; or none."""

    @property
    def body_bytes(self) -> int:
        """How long the body is."""
        size = sum(int(ends[-1] - ends[0]) for ends in self.ends)
        return len(OPEN) + size - bool(self.ends) + len(CLOSE)

    @cached_property
    def bounds(self) -> np.ndarray:
        """The n + 1 places of texts in the body: text i is body[bounds[i] : bounds[i + 1] - 1]."""
        return bounds(self.ends)

    @property
    def body(self) -> bytes:
        """The request body."""
        self.close()
        found: bytes = self.__dict__["_body"]
        return found

    def close(self) -> None:
        """Make the body, and let go what it is made of; before threads share the batch."""
        if "_body" not in self.__dict__:
            self.__dict__["_body"] = body_of(self.pieces)
            self.pieces.clear()
            assert len(self.body) == self.body_bytes, "not as long as was measured"

    def drop(self) -> None:
        """Let the body go: the batch is settled, and only waits for that to be written down."""
        self.__dict__["_body"] = b""

    def newer_than(self, instant_ms: int) -> int:
        """Count the timestamps after an instant."""
        if self.times is None or self.times[1] <= instant_ms:
            return 0
        return sum(int((column > instant_ms).sum()) for column in self.times[2])

    @property
    def count(self) -> int:
        """How many texts there are: what can be sent or refused on its own."""
        return len(self.sizes)

    def rows_of(self, text: int) -> np.ndarray:
        """Return the rows of the file that a text stands for."""
        first = int(self.sizes[:text].sum())
        return self.rows[first : first + int(self.sizes[text])]

    def texts_of(self, places: Iterable[int], ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Return the texts, counted in a body of these ranges, that messages at `places` are in."""
        counts = np.concatenate([self.messages[first:last] for first, last in ranges])
        found = np.searchsorted(np.cumsum(counts), np.array(sorted(places), np.int64), "right")
        return [int(at) for at in np.unique(found)]

    def part(self, *ranges: tuple[int, int]) -> bytes:
        """Return a body with only the texts of these ranges [first, last) of this batch."""
        texts = [self.body[self.bounds[first] : self.bounds[last] - 1] for first, last in ranges]
        return OPEN + b",".join(texts) + CLOSE


@dataclass
class _Lane:
    start: int
    end: int
    pieces: list[Piece] = field(default_factory=list)
    body_bytes: int = 0
    messages: int = 0
    rejects: list[pa.Table] = field(default_factory=list)
    held: list[pa.Table] = field(default_factory=list)
    quiet: tuple[list[np.ndarray], ...] = field(default_factory=lambda: ([], []))
    spans: list[Span] = field(default_factory=list)


class Batcher:
    """Cuts what it is given into batches, lane by lane."""

    def __init__(self, starts: list[int], limits: Limits) -> None:
        """starts: for each lane the first row that is not settled."""
        self._limits = limits
        self._lanes = [_Lane(start, start) for start in starts]

    def add(self, given: Encodings) -> Iterator[Batch]:
        """Take the rows of one span and yield the batches that are full."""
        stop = given.span.stop
        for lane, part in self._by_lane(given):
            state = self._lanes[lane]
            state.spans.append(given.span)
            put(state.rejects, part.rejects)
            put(state.held, part.held)
            for at, rows in enumerate(part.quiet):
                if len(rows):
                    state.quiet[at].append(rows)
            yield from self._fill(lane, part, given.span)
            state.end = max(stop, state.end)
            if len(state.spans) >= SPANS_AHEAD:
                yield self._cut(lane, stop, [])

    def flush(self) -> Iterator[Batch]:
        """Yield what is left."""
        for lane, state in enumerate(self._lanes):
            if state.end > state.start:
                yield self._cut(lane, state.end, [])

    def _by_lane(self, given: Encodings) -> Iterator[tuple[int, Part]]:
        count = len(given.texts)
        ones = np.ones(count, np.int64)
        sizes = ones if given.sizes is None else given.sizes
        messages = ones if given.messages is None else given.messages
        whole = Part(
            given.texts,
            given.rows,
            sizes,
            messages,
            given.times,
            given.rejects,
            given.held,
            (given.filtered, given.unchanged),
            given.prints,
            given.marks,
        )
        if given.lane is None or len(self._lanes) == 1:
            yield 0, whole
            return
        first = given.span.start
        lane_of_rows = given.lane[given.rows - first]
        lane_of_texts = lane_of_rows if given.sizes is None else lane_of_rows[firsts(sizes)]
        order = np.argsort(lane_of_texts, kind="stable")
        texts = given.texts.take(order)
        cuts = np.searchsorted(lane_of_texts[order], np.arange(len(self._lanes) + 1))
        for lane in range(len(self._lanes)):
            begin, end = int(cuts[lane]), int(cuts[lane + 1])
            at = order[begin:end]
            rejects, held = (
                table.filter(pa.array(given.lane[integers(table["row"]) - first] == lane))
                for table in (given.rejects, given.held)
            )
            yield (
                lane,
                Part(
                    texts.slice(begin, end),
                    given.rows[lane_of_rows == lane],
                    sizes[at],
                    messages[at],
                    [column[at] for column in given.times],
                    rejects,
                    held,
                    tuple(rows[given.lane[rows - first] == lane] for rows in whole.quiet),
                    given.prints[at] if len(given.prints) else given.prints,
                    given.marks[:, at] if len(given.marks) else given.marks,
                ),
            )

    def _fill(self, lane: int, part: Part, span: Span) -> Iterator[Batch]:
        """Cut by the bytes of the texts, each with its comma, and by the count of messages."""
        state = self._lanes[lane]
        at = part.texts.ends
        messages = np.concatenate(([0], np.cumsum(part.messages)))
        row_at = np.concatenate(([0], np.cumsum(part.sizes)))
        first, count = 0, len(part.texts)
        while first < count:
            room = self._limits.body_bytes - len(OPEN) - len(CLOSE) + 1 - state.body_bytes
            last = int(at.searchsorted(at[first] + room, "right")) - 1
            allowed = messages[first] + self._limits.messages - state.messages
            if last > first and messages[last] > allowed:
                last = int(messages.searchsorted(allowed, "right")) - 1
            if last <= first and state.pieces:
                yield self._cut(lane, int(part.rows[row_at[first]]), [span])
                continue
            last = max(last, first + 1)  # one text over the limit of a body goes alone
            state.pieces.append(
                Piece(
                    part.texts,
                    first,
                    last,
                    part.rows[row_at[first] : row_at[last]],
                    part.sizes[first:last],
                    part.messages[first:last],
                    [column[first:last] for column in part.times],
                    part.prints[first:last],
                    part.marks[:, first:last],
                )
            )
            state.body_bytes += state.pieces[-1].body_bytes
            state.messages += int(messages[last] - messages[first])
            first = last
            if first < count:
                yield self._cut(lane, int(part.rows[row_at[first]]), [span])

    def _cut(self, lane: int, stop: int, spans: list[Span]) -> Batch:
        """Make a batch of what a lane holds before `stop`. spans: those it still holds rows of."""
        state = self._lanes[lane]
        batch = Batch(
            lane=lane,
            start=state.start,
            stop=stop,
            rows=joined([piece.rows for piece in state.pieces]),
            pieces=state.pieces,
            ends=[piece.texts.ends[piece.first : piece.last + 1] for piece in state.pieces],
            sizes=joined([piece.sizes for piece in state.pieces]),
            messages=joined([piece.messages for piece in state.pieces]),
            rejects=before(state.rejects, stop),
            held=before(state.held, stop),
            filtered=count_before(state.quiet[0], stop),
            spans=tuple(state.spans),
            times=times(state.pieces),
            unchanged=count_before(state.quiet[1], stop),
            prints=prints([piece.prints for piece in state.pieces]),
            marks=marks(state.pieces),
        )
        state.start, state.end = stop, max(stop, state.end)
        state.pieces, state.body_bytes, state.messages = [], 0, 0
        state.quiet = tuple([rows[rows >= stop] for rows in some] for some in state.quiet)
        state.rejects, state.held = beyond(state.rejects, stop), beyond(state.held, stop)
        state.spans = spans
        return batch
