"""Several files together: which column of one holds the ids of the people of another. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from backfill.columns import mask

if TYPE_CHECKING:
    import pyarrow as pa

    from backfill.propose.facts import Column

JOINED: Final = 0.5
"""From this share of different values on, a column is said to hold the ids of another file."""

FLOAT_TAIL: Final = r"^([+-]?[0-9]+)\.0+$"


@dataclass(frozen=True, slots=True)
class Join:
    """A column whose values are found among the ids of people."""

    column: str
    share: float
    """Of its different values."""


def ids(column: Column) -> pa.StringArray:
    """The different values as ids are sent: 17850.0 is 17850."""
    return pc.replace_substring_regex(column.texts, FLOAT_TAIL, r"\1")


def find(people: Column, others: list[Column], preferred: str | None) -> Join | None:
    """Return the column that holds the ids of people; preferred: the one that its name says.

    Small numbers are found among all ids, so a column that is named so goes first, and another
    must have more than a handful of values.
    """
    known = ids(people)
    shares = {one.name: _share(ids(one), known) for one in others if one.distinct}
    if preferred is not None and shares.get(preferred, 0.0) >= JOINED:
        return Join(preferred, shares[preferred])
    rest = [one for one in others if one.kind in {"text", "integer"} and not one.is_unique]
    fits = [Join(one.name, shares[one.name]) for one in rest if _is_telling(one, shares)]
    return max(fits, key=lambda join: join.share, default=None)


def _share(mine: pa.StringArray, known: pa.StringArray) -> float:
    return float(mask(pc.is_in(mine, value_set=known)).mean())


def _is_telling(column: Column, shares: dict[str, float]) -> bool:
    """Whether the values are no small numbers that would be found among any ids."""
    if shares.get(column.name, 0.0) < JOINED:
        return False
    return not column.all_match(r"^[0-9]{1,3}$")
