"""Which rows of a shard are settled, though batches finish in any order. Pure; small; in JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class _Lane:
    low: int
    """Every row of the lane below it is settled."""
    done: list[tuple[int, int]] = field(default_factory=list)
    """Settled ranges above low, sorted, neither touching nor overlapping."""


class Watermark:
    """The settled rows of one shard, lane by lane. A range stands for the rows of its lane only."""

    def __init__(self, lanes: int, start: int = 0) -> None:
        self._lanes = [_Lane(start) for _ in range(lanes)]

    @property
    def low(self) -> int:
        """The first row that is not settled, over all lanes."""
        return min(lane.low for lane in self._lanes)

    @property
    def starts(self) -> list[int]:
        """The first row that is not settled, lane by lane."""
        return [lane.low for lane in self._lanes]

    def settle(self, lane: int, start: int, stop: int) -> None:
        """Note that the rows [start, stop) of a lane are settled."""
        state = self._lanes[lane]
        if start >= stop:
            return
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*state.done, (start, stop)]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        while merged and merged[0][0] <= state.low:
            state.low = max(state.low, merged.pop(0)[1])
        state.done = merged

    def is_settled(self, start: int, count: int, lanes: np.ndarray | None) -> np.ndarray:
        """Return for each of the rows from `start` whether it is settled. lanes: of each row."""
        settled = np.zeros(count, bool)
        for at, lane in enumerate(self._lanes):
            mask = np.zeros(count, bool)
            for first, last in [(0, lane.low), *lane.done]:
                mask[max(first - start, 0) : max(last - start, 0)] = True
            settled |= mask if lanes is None else mask & (lanes == at)
        return settled

    def dump(self) -> list[dict[str, Any]]:
        """Return it for the checkpoint."""
        return [
            {"low": lane.low, "done": [list(pair) for pair in lane.done]} for lane in self._lanes
        ]

    @staticmethod
    def load(lanes: Iterable[dict[str, Any]]) -> Watermark:
        """Read what `dump` wrote."""
        made = Watermark(0)
        made._lanes = [
            _Lane(int(lane["low"]), [(int(a), int(b)) for a, b in lane["done"]]) for lane in lanes
        ]
        return made
