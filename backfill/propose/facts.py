"""The columns of a sample: their kinds, their different values and how often each occurs.

Everything after this room judges different values, not rows: 300,000 times `yes` is one question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.cells import Cells, UnsupportedTypeError, frame_of, texts_of
from backfill.columns import STRING, mask
from backfill.source import LINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backfill.source import Span

NUMBER: Final = r"^-?[0-9.]+([eE][+-]?[0-9]+)?$"
KINDS: Final = (
    (pa.types.is_string, "text"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_floating, "number"),
    (pa.types.is_decimal, "number"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (pa.types.is_list, "list"),
    (pa.types.is_struct, "object"),
    (pa.types.is_map, "object"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a sample."""

    name: str
    kind: str
    """text boolean integer number timestamp instant date time list object mixed none unsupported;
    a timestamp has no zone, an instant has one."""
    rows: int
    texts: pa.StringArray
    """The different values that are not blank, as text, the most frequent first."""
    counts: np.ndarray
    """How often each of them occurs."""
    type: pa.DataType | None = None
    """The Arrow type of a list or object."""

    @property
    def filled(self) -> int:
        """How many rows are not blank."""
        return int(self.counts.sum())

    @property
    def blank(self) -> int:
        """How many rows are blank."""
        return self.rows - self.filled

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.counts)

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value and no two have the same."""
        return 0 < self.rows == self.distinct

    def share(self, at: np.ndarray) -> float:
        """Return which share of the filled rows has the values of a mask."""
        return float(self.counts[at].sum() / max(self.filled, 1))

    def count(self, at: np.ndarray) -> int:
        """Return how many rows have the values of a mask."""
        return int(self.counts[at].sum())

    def matching(self, pattern: str) -> np.ndarray:
        """Return the mask of the values that a regular expression finds something in."""
        return mask(pc.match_substring_regex(self.texts, pattern))

    def all_match(self, pattern: str) -> bool:
        """Whether there are values and all of them match."""
        return self.distinct > 0 and bool(self.matching(pattern).all())

    def without(self, words: Sequence[str]) -> Column:
        """Return the column with these texts as blanks."""
        if self.kind != "text" or not words:
            return self
        keep = ~mask(pc.is_in(self.texts, value_set=pa.array(list(words), STRING)))
        return replace(self, texts=self.texts.filter(pa.array(keep)), counts=self.counts[keep])


def columns_of(spans: Iterable[Span], names: Sequence[str]) -> list[Column]:
    """Collect the columns of all spans; rows that cannot be split into cells are left out.

    names: the columns that are known; JSON lines may bring more, which come after them.
    """
    parts: dict[str, list[tuple[str, pa.Array, pa.DataType]]] = {name: [] for name in names}
    rows = 0
    for whole in spans:
        span = _whole(whole)
        rows += span.batch.num_rows
        for name in span.batch.schema.names:
            if name != LINE:
                parts.setdefault(name, []).append(_part(span, name))
    return [_column(name, rows, found) for name, found in parts.items()]


def _whole(span: Span) -> Span:
    keep = np.ones(span.batch.num_rows, bool)
    keep[list(span.broken)] = False
    batch = span.batch if keep.all() else span.batch.filter(pa.array(keep))
    return replace(span, batch=batch, broken={})


def _part(span: Span, name: str) -> tuple[str, pa.Array, pa.DataType]:
    try:
        cells = frame_of(span, [name], [""]).cells(name)
    except UnsupportedTypeError:
        return "unsupported", pa.nulls(span.batch.num_rows, STRING), None
    kind = _kind(cells)
    if pa.types.is_nested(cells.data.type):  # whether it is there is all that is asked of it
        filled = pc.if_else(cells.data.is_valid(), pa.scalar("…", STRING), pa.scalar(None, STRING))
        return kind, filled, cells.data.type
    if kind == "mixed":
        return kind, cells.data, None
    return kind, texts_of(cells), cells.data.type


def _kind(cells: Cells) -> str:
    data = cells.data
    if data.null_count == len(data):
        typed = {"text": "none", "list": "list", "object": "object"}
        return typed.get(_by_type(data.type), _by_type(data.type)) if len(data) else "none"
    if not cells.is_json:
        return _by_type(data.type)
    if pc.all(pc.match_substring_regex(data, NUMBER)).as_py():
        return "number"
    return "text" if pc.all(pc.starts_with(data, '"')).as_py() else "mixed"


def _by_type(kind: Any) -> str:
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "timestamp"
    return next((name for is_kind, name in KINDS if is_kind(kind)), "none")


def _column(name: str, rows: int, parts: list[tuple[str, Any, Any]]) -> Column:
    kinds = {kind for kind, _, _ in parts} - {"none"}
    kind = kinds.pop() if len(kinds) == 1 else "none" if not kinds else _merged(kinds)
    texts = pa.chunked_array([part for _, part, _ in parts], STRING)
    found = pc.value_counts(texts.drop_null())
    values, counts = found.field("values"), found.field("counts").to_numpy()
    order = np.argsort(-counts, kind="stable")
    named = next((about for one, _, about in parts if one == kind), None)
    texts = values.take(pa.array(order)) if len(order) else pa.array([], STRING)
    return Column(name, kind, rows, texts, counts[order], named)


def _merged(kinds: set[str]) -> str:
    return "number" if kinds == {"integer", "number"} else "mixed"
