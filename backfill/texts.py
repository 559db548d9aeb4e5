"""Texts that are not joined yet: columns and literals side by side, and where each text will end.

What a request holds is known by its size before its bytes are there, so joining can wait for a
thread that has time, and what is only looked at is never joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from backfill.columns import flags, interleaved, numbers, offsets, raw_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

Part = Any
"""A column of n texts without nulls (`StringArray`), or a text that is the same in each of the n.

Arrow has no types of its own: to the checker a column is anything.
"""


@dataclass(slots=True)
class Texts:
    """n texts, each what stands side by side in its row of the parts."""

    parts: tuple[Part, ...]
    """At least one of them is a column; the only one once they are joined."""
    ends: np.ndarray
    """n + 1 places: text i has the bytes [ends[i], ends[i + 1]) of all."""

    @classmethod
    def of(cls, *parts: Part) -> Self:
        """Put parts side by side."""
        columns = [part for part in parts if not isinstance(part, str)]
        assert not any(part.null_count for part in columns), "a message is null: it would be lost"
        each = sum(len(part.encode()) for part in parts if isinstance(part, str))
        ends = np.arange(len(columns[0]) + 1, dtype=np.int64) * each
        for part in columns:
            at = offsets(part)
            ends += at
            ends -= at[0]
        return cls(parts, ends)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def sizes(self) -> np.ndarray:
        """The bytes of each text."""
        return np.diff(self.ends)

    def join(self) -> None:
        """Join them now: one long call, in which other threads may work."""
        self.parts = (self.joined(),)

    def joined(self, first: int = 0, last: int | None = None) -> pa.StringArray:
        """Return the texts [first, last)."""
        some = slice(first, last)
        cut = [part if isinstance(part, str) else part[some] for part in self.parts]
        return cut[0] if len(cut) == 1 else interleaved(*cut)

    def bytes_of(self, first: int, last: int) -> memoryview:
        """Return the texts [first, last) in a row."""
        found = raw_bytes(self.joined(first, last)).data
        assert len(found) == self.ends[last] - self.ends[first], "not as long as was measured"
        return found

    def slice(self, first: int, last: int) -> Self:
        """Return the texts [first, last); nothing is copied."""
        return self._each(lambda column: column[first:last])

    def filter(self, keep: np.ndarray) -> Self:
        """Return only the texts of a mask."""
        kept = flags(keep)
        return self._each(lambda column: column.filter(kept))

    def take(self, order: np.ndarray) -> Self:
        """Return the texts at these places."""
        at = numbers(order)
        return self._each(lambda column: column.take(at))

    def _each(self, change: Callable[[pa.StringArray], pa.StringArray]) -> Self:
        return self.of(*(part if isinstance(part, str) else change(part) for part in self.parts))
