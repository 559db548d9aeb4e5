"""How much is run: rows and pairs, for the real thing and for every day."""

from __future__ import annotations

from dataclasses import dataclass

SLOW_ROWS = {
    "dlt": 300_000,
    "records": 100_000,
    "iterrows": 20_000,
    "official": 100_000,
    "node": 100_000,
    "mixpanel": 100_000,
}
"""Entrants that run fewer rows and pairs, with their start-up taken off."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Rows and pairs of all parts."""

    rows: int = 1_000_000
    """Five times as many where start-up must not weigh, ten times where growth is looked at."""
    pairs: int = 5
    is_small: bool = False

    @property
    def rows_large(self) -> int:
        """Rows of the floor and of `check`."""
        return (2 if self.is_small else 5) * self.rows

    @property
    def rows_huge(self) -> int:
        """Rows of memory, growth and resuming."""
        return (3 if self.is_small else 10) * self.rows

    @property
    def pairs_slow(self) -> int:
        """Pairs of what takes long."""
        return min(self.pairs, 3)

    @property
    def is_trial(self) -> bool:
        """Whether the figures mean nothing."""
        return self.is_small or self.pairs < 3 or self.rows < 500_000

    def rows_of(self, name: str) -> int:
        """Return the rows of an entrant of the contest."""
        rows = min(self.rows, SLOW_ROWS.get(name, self.rows))
        return max(rows // 10, 2_000) if self.is_small and name in SLOW_ROWS else rows


FULL = Scale()
SMALL = Scale(rows=20_000, pairs=1, is_small=True)
