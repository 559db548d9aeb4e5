"""What the pictures of a run need of each text: which event on which day, which traits, how long.

Columns of integers, made once a record batch, so that what is acknowledged later can be counted
(`figures`) by its own texts and no other. One array of `Legend.height` lines and a column a text:
the bytes of its longest message; per message of the mapping its mark (name and day, -1 where the
text has no such message); per message with traits the bits of the traits it has.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.clock import DAY_MS
from backfill.columns import integers, valid
from backfill.jsontext import Fixed, Typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.message import Draft

NAMES_MAX: Final = 200
"""So many names are counted each for itself, those seen first; the others together."""

TRAITS_MAX: Final = 186
"""So many traits of one message are counted: three words of bits."""

DAY_BITS: Final = 23
DAY_ZERO: Final = 1 << 22
"""1970-01-01; day 0 stands for no time at all."""

WORD_BITS: Final = 62
NO_MARK: Final = -1
NAMED: Final = {"track": "event", "page": "name", "screen": "name"}
TRAITED: Final = frozenset({"identify", "group"})


class Name(NamedTuple):
    """What messages are counted by."""

    kind: str
    """The type of message; "" for the others of any type."""
    name: str
    """Of the event or page; "" where there is none."""
    is_cell: bool = False
    """Whether it comes from a column, not from the mapping."""


OTHERS: Final = Name("", "")


class Learnt(NamedTuple):
    """What one `Legend` numbered that another does not know of yet."""

    names: list[Name]
    """Those that follow the ones it knows."""
    traits: list[list[str]]


def number_of(name: Name, names: list[Name], numbers: dict[Name, int]) -> int:
    """Return the number of a name, a new one where there is room; else 0, that of the others."""
    if name not in numbers:
        if len(names) > NAMES_MAX:
            return 0
        numbers[name] = len(names)
        names.append(name)
    return numbers[name]


def no_marks() -> np.ndarray:
    """Return the marks of texts that nobody counts."""
    return np.empty((0, 0), np.int64)


NOTHING: Final = (pa.array([], pa.string()), np.zeros(1, np.int64))


class Legend:
    """The numbers that names and traits have in the marks of one run; threads may share it."""

    def __init__(self, messages: Sequence[Any]) -> None:
        """messages: those of the mapping."""
        self.names: list[Name] = [OTHERS]
        self.traits: list[list[str]] = [[] for _ in messages]
        self.kinds = [str(message.type) for message in messages]
        self.words = [_words(message) for message in messages]
        self.height = 1 + len(messages) + sum(self.words)
        self._numbers: dict[Name, int] = {}
        self._cells: dict[str, tuple[pa.Array, np.ndarray]] = {}
        self._lock = threading.Lock()
        self._told = (1, 0)

    def news(self) -> Learnt | None:
        """Return what was numbered since this was last asked."""
        before, self._told = self._told, (len(self.names), sum(map(len, self.traits)))
        return None if self._told == before else Learnt(self.names[before[0] :], self.traits)

    def learn(self, learnt: Learnt) -> None:
        """Take over what another numbered, who began with the same."""
        with self._lock:
            for name in learnt.names:
                self._number(name)
            self.traits[:] = learnt.traits

    def number(self, name: Name) -> int:
        """Return the number of a name; that of the others where there are too many."""
        with self._lock:
            return self._number(name)

    def _number(self, name: Name) -> int:
        return number_of(name, self.names, self._numbers)

    def numbers(self, kind: str, texts: pa.StringArray) -> np.ndarray:
        """Return the numbers of the names in a column."""
        with self._lock:
            known, numbers = self._cells.get(kind, NOTHING)
            at = pc.index_in(texts, value_set=known, skip_nulls=True)
            if at.null_count > texts.null_count and len(self.names) <= NAMES_MAX:
                known, numbers = self._learn(kind, texts.filter(at.is_null()))
                at = pc.index_in(texts, value_set=known, skip_nulls=True)
            blank = self._number(Name(kind, "")) if texts.null_count else 0
        found: np.ndarray = numbers[integers(pc.fill_null(at.cast(pa.int64()), len(known)))]
        if texts.null_count:
            found[~valid(texts)] = blank
        return found

    def _learn(self, kind: str, texts: pa.StringArray) -> tuple[pa.Array, np.ndarray]:
        """Give numbers to the first names of these; the last number is that of the others."""
        for name in texts.unique().drop_null().slice(0, NAMES_MAX).to_pylist():
            self._number(Name(kind, name, is_cell=True))
        mine = [name for name in self._numbers if name.kind == kind and name.is_cell]
        known = pa.array([name.name for name in mine], pa.string())
        numbers = np.array([*(self._numbers[name] for name in mine), 0], np.int64)
        self._cells[kind] = known, numbers
        return known, numbers

    def bit(self, index: int, trait: str) -> int | None:
        """Return the bit of a trait of a message, None where it is not counted."""
        with self._lock:
            mine = self.traits[index]
            if trait not in mine:
                if len(mine) >= self.words[index] * WORD_BITS:
                    return None
                mine.append(trait)
            return mine.index(trait)


def _words(message: Any) -> int:
    """How many words of bits the traits of a message need."""
    if str(message.type) not in TRAITED or not message.traits:
        return 0
    count = TRAITS_MAX if "*" in message.traits else min(len(message.traits), TRAITS_MAX)
    return -(-count // WORD_BITS)


def marked(
    legend: Legend | None,
    drafts: list[Draft],
    times: list[np.ndarray],
    keep: np.ndarray,
    longest: np.ndarray,
) -> np.ndarray:
    """Return the marks of the units of a mask; none where there is no legend.

    times: per draft that has instants those of all units, in ms, blank as the smallest int64.
    longest: of the units that are kept, the bytes of the longest message.
    """
    if legend is None:
        return no_marks()
    found = np.zeros((legend.height, len(keep)), np.int64)
    instants = iter(times)
    line = 1 + len(drafts)
    for draft in drafts:
        own = None if draft.instants is None else next(instants)
        at: Any = slice(None) if draft.rows is None else draft.rows
        found[1 + draft.index] = NO_MARK
        found[1 + draft.index, at] = (_names(legend, draft) << DAY_BITS) + _days(own, at)
        words = legend.words[draft.index]
        _put_traits(legend, draft, found[line : line + words], at)
        line += words
    kept = found if keep.all() else found[:, keep]
    kept[0] = longest
    return kept


def _days(times: np.ndarray | None, at: Any) -> np.ndarray | int:
    if times is None:
        return 0
    days = times[at] // DAY_MS + DAY_ZERO
    found: np.ndarray = np.clip(days, 0, (1 << DAY_BITS) - 1)
    return found


def _names(legend: Legend, draft: Draft) -> np.ndarray | int:
    kind = draft.kind.name
    found = draft.members.get(NAMED.get(kind, ""))
    if isinstance(found, Typed):
        return legend.numbers(kind, found.data)
    return legend.number(Name(kind, json.loads(found.text) if isinstance(found, Fixed) else ""))


def _put_traits(legend: Legend, draft: Draft, words: np.ndarray, at: Any) -> None:
    """Set the bits of the traits that each message has."""
    always = [0] * len(words)
    for trait, value in draft.body if len(words) else ():
        bit = legend.bit(draft.index, trait)
        if bit is None:
            continue
        word, shift = divmod(bit, WORD_BITS)
        if isinstance(value, Typed) and value.data.null_count:
            words[word, at] |= valid(value.data).astype(np.int64) << shift
        else:
            always[word] |= 1 << shift
    for word, bits in enumerate(always):
        words[word, at] |= bits
