"""Which rows of a refused batch to send next, until the rows at fault are found. Pure; no bodies.

Nothing is taken on trust: a row counts as refused only where it was refused alone.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

Part = tuple[tuple[int, int], ...]
"""Rows of a batch as ranges [first, last), ascending."""

NAMED_MIN: Final = 5
NAMED_IN_ORDER_MIN: Final = 9
"""In fewer rows, a name that is a lie would cost more requests than the search without it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the destination refused when it was sent alone. index: its place in the batch."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What the destination said to a part: delivered, where `reason` is None."""

    reason: str | None = None
    is_size: bool = False
    """Refused for its size, which says nothing about any of its rows."""
    named: tuple[int, ...] = ()
    """The rows of the part (from 0, ascending) that the answer names, if it does."""


Steps = Generator[Part, Heard, list[Part]]


def narrowing(count: int, *, is_ordered: bool) -> Generator[Part, Heard, tuple[Refusal, ...]]:
    """Yield the parts of n rows to send, in turn; return the rows that were refused.

    Every row is delivered once or refused alone; with `is_ordered`, none is delivered before an
    earlier one. One row at fault costs at most 2·⌈log2 n⌉ + 1 requests, whatever is named.
    """
    search = _Search(NAMED_IN_ORDER_MIN if is_ordered else NAMED_MIN, is_ordered=is_ordered)
    unknown: list[Part] = [((0, count),)]
    while unknown:
        part = unknown.pop()
        heard = yield part
        if heard.reason is not None:
            left = yield from search.into(part, heard)
            unknown += [one for one in reversed(left) if one]
    return tuple(sorted(search.refusals, key=lambda refusal: refusal.index))


class _Search:
    """Each way takes a refused part and returns what of it is still unknown, in order."""

    def __init__(self, named_min: int, *, is_ordered: bool) -> None:
        self._named_min = named_min
        self._is_ordered = is_ordered
        self._is_trusted = True
        self.refusals: list[Refusal] = []

    def into(self, part: Part, heard: Heard) -> Steps:
        """Find a row at fault in a part that was refused."""
        rows = _rows(part)
        if rows == 1:
            self._refuse(part, heard)
            return []
        if heard.is_size:
            return [*_cut(part, (rows + 1) // 2)]
        named = sorted({at for at in heard.named if at < rows})  # in whatever order they came
        if not named or not self._is_trusted or rows < self._named_min:
            return (yield from self._halves(part))
        if self._is_ordered:
            return (yield from self._named_in_order(part, named))
        return (yield from self._named(part, named))

    def _halves(self, part: Part, after: Part = ()) -> Steps:
        """Deliver what stands before the first row at fault, and refuse that row.

        What is left when all else was delivered holds the fault, so it is not sent as a whole.
        """
        while (rows := _rows(part)) > 1:
            first, second = _cut(part, (rows + 1) // 2)
            heard = yield first
            if heard.reason is None:
                part = second
                continue
            after = second + after
            if heard.is_size or _rows(first) == 1:
                return [*(yield from self.into(first, heard)), after]
            part = first
        heard = yield part
        if heard.reason is not None:  # by exclusion it is, but a row is refused only for its own
            self._refuse(part, heard)
        return [after]

    def _named(self, part: Part, named: list[int]) -> Steps:
        """Send the rows that are named alone; after one lie no name counts."""
        is_bad = False
        for gone, at in enumerate(named):
            before, rest = _cut(part, at - gone)
            one, rest = _cut(rest, 1)
            part = before + rest
            heard = yield one
            if heard.reason is None:
                self._is_trusted = False
                return [part] if is_bad else (yield from self._halves(part))
            self._refuse(one, heard)
            is_bad = True
        return [part]

    def _named_in_order(self, part: Part, named: list[int]) -> Steps:
        """Send what is before a named row, the row, and so on, so that no row jumps ahead."""
        is_bad, sent = False, 0
        for at in named:
            before, part = _cut(part, at - sent)
            heard = (yield before) if before else Heard()
            if heard.reason is not None:
                self._is_trusted = False
                return (yield from self._halves(before, part))
            one, part = _cut(part, 1)
            sent = at + 1
            heard = yield one
            if heard.reason is None:
                self._is_trusted = False
                return [part] if is_bad else (yield from self._halves(part))
            self._refuse(one, heard)
            is_bad = True
        return [part]

    def _refuse(self, part: Part, heard: Heard) -> None:
        assert heard.reason is not None
        self.refusals.append(Refusal(part[0][0], heard.reason))


def _rows(part: Part) -> int:
    return sum(last - first for first, last in part)


def _cut(part: Part, rows: int) -> tuple[Part, Part]:
    """Cut after so many rows."""
    before: list[tuple[int, int]] = []
    after: list[tuple[int, int]] = []
    for first, last in part:
        middle = min(first + rows, last)
        if middle > first:
            before.append((first, middle))
        if last > middle:
            after.append((middle, last))
        rows -= middle - first
    return tuple(before), tuple(after)
