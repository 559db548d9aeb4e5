"""Who a folder of mappings is about: ids and emails that do not agree, events of nobody.

Over all streams that are checked together, in any order. Texts are known by 64 bits of their hash,
in numpy columns that are sorted now and then: 20 bytes for each id with an email, and 16 for each
person of a stream of events; up to twice as much while they are tidied. No Python object a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.columns import STRING, integers, is_ascii, lengths, valid
from backfill.identity import murmur3
from backfill.jsontext import Typed
from backfill.message import texts_of_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.message import Draft, Made

TIDY_ROWS: Final = 1 << 21
"""So many are appended before what came twice is looked for."""

SAMPLES: Final = 3
EVENTS: Final = ("track", "page", "screen")
NOBODY: Final = np.uint64(0)
"""The hash of a blank."""

MIX: Final = np.uint64(0x9E3779B97F4A7C15)


class Named(NamedTuple):
    """Who n messages are about; blank where a message does not say.

    Emails are compared as they are here: without outer blanks, in small letters.
    """

    places: np.ndarray
    """Of each message the row, counted over all files that were looked at."""
    ids: pa.StringArray
    emails: pa.StringArray | None


def named_in(
    made: Made, base: int, types: tuple[str, ...], member: str = "userId"
) -> Iterator[Named]:
    """Yield who the messages of these types are about, sent or held. base: the place of row 0."""
    sent = made.keep | made.held
    for draft in made.drafts:
        if draft.kind.name not in types or member not in draft.members:
            continue
        at = np.flatnonzero(sent if draft.rows is None else sent[draft.rows])
        rows = made.rows[at if draft.rows is None else draft.rows[at]]
        ids = texts_of_value(draft.members[member], draft.frame.count)
        emails = _emails(draft)
        if len(at) < len(ids):
            taken = pa.array(at)
            ids, emails = ids.take(taken), emails and emails.take(taken)
        yield Named(rows + base, ids, emails)


def _emails(draft: Draft) -> pa.StringArray | None:
    found = dict(draft.body).get("email") if draft.kind.name == "identify" else None
    if not isinstance(found, Typed):  # the same in every row, or none
        return None
    return lowered(found.data if found.is_free else pc.utf8_trim(found.data, characters='"'))


def lowered(emails: pa.StringArray) -> pa.StringArray:
    """Return emails as they are compared."""
    if is_ascii(emails):
        return pc.ascii_lower(pc.ascii_trim_whitespace(emails))
    return pc.utf8_lower(pc.utf8_trim_whitespace(emails))


def hashed(texts: pa.StringArray) -> np.ndarray:
    """Return 64 bits of each text; 0 where it is blank."""
    filled = texts.fill_null("") if texts.null_count else texts
    found = murmur3(filled)[0]
    return np.where(lengths(filled) > 0, found, NOBODY)


@dataclass
class Table:
    """Rows of numbers, of which those that are the same are kept once: that of the first place."""

    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    """First number, second number, and the place, for each row."""
    is_summed: bool = False
    """The second number is a count, summed over all rows of one first number."""
    fresh: int = 0
    tidied: int = 0

    def add(self, first: np.ndarray, second: np.ndarray, places: np.ndarray) -> None:
        """Append n rows."""
        if not len(first):
            return
        self.parts.append((first, second, places.astype(np.uint32)))
        self.fresh += len(first)
        if self.fresh >= max(TIDY_ROWS, self.tidied):
            self.tidy()

    def tidy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows, each once; they are in no order that is promised."""
        if not self.parts:
            none = np.zeros(0, np.uint64)
            return none, none, none.astype(np.uint32)
        first, second, places = (
            self.parts[0]
            if len(self.parts) == 1
            else tuple(np.concatenate(column) for column in zip(*self.parts, strict=True))
        )
        self.parts = []
        with np.errstate(over="ignore"):
            same = first if self.is_summed else first * MIX + second
        if _has_twice(same):
            order = np.argsort(same)
            at = _begins(same[order])
            places = np.minimum.reduceat(places[order], at)
            second = np.add.reduceat(second[order], at) if self.is_summed else second[order][at]
            first = first[order][at]
        self.parts = [(first, second, places)]
        self.fresh, self.tidied = 0, len(first)
        return self.parts[0]


def _has_twice(numbers: np.ndarray) -> bool:
    ordered = np.sort(numbers)
    return bool((ordered[1:] == ordered[:-1]).any())


def _begins(ordered: np.ndarray) -> np.ndarray:
    """Return where runs of one number begin."""
    return np.flatnonzero(np.append([True], ordered[1:] != ordered[:-1]))


@dataclass(frozen=True, slots=True)
class Clashes:
    """Texts that have several partners: ids with several emails, or emails with several ids."""

    count: int
    samples: list[list[int]]
    """Of the first few: the first places of each, one a partner."""


def clashes(keys: np.ndarray, places: np.ndarray) -> Clashes:
    """Find the keys that come more than once. keys, places: n pairs, each pair once."""
    if not len(keys) or not _has_twice(keys):
        return Clashes(0, [])
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    begins = _begins(keys)
    sizes = np.diff(np.append(begins, len(keys)))
    twice = np.flatnonzero(sizes > 1)
    first = twice[np.argsort(places[begins[twice]], kind="stable")[:SAMPLES]]
    samples = [
        places[begins[at] : begins[at] + min(int(sizes[at]), SAMPLES)].tolist()
        for at in first.tolist()
    ]
    return Clashes(len(twice), samples)


@dataclass(frozen=True, slots=True)
class Strangers:
    """Events of one stream whose person no identify makes."""

    stream: str
    events: int
    people: int
    samples: list[int]
    """The first places."""


@dataclass
class People:
    """What is found over all streams that are checked together."""

    is_joined: bool = True
    """Whether events are looked at, too: in vain where no stream makes people."""
    messages: int = 0
    """How many identify messages were looked at."""
    pairs: Table = field(default_factory=Table)
    merged: Table = field(default_factory=Table)
    """The ids that an alias merges into others: their events have a person in the end."""
    events: dict[str, Table] = field(default_factory=dict)

    def add(self, stream: str, made: Made, base: int) -> None:
        """Take the messages of one span. base: the place of the file's row 0."""
        for named in named_in(made, base, ("identify",)):
            ids = hashed(named.ids)
            self.messages += len(ids)
            emails = named.emails
            emails_hashed = np.zeros(len(ids), np.uint64) if emails is None else hashed(emails)
            is_known = ids != NOBODY
            self.pairs.add(ids[is_known], emails_hashed[is_known], named.places[is_known])
        if not self.is_joined:
            return
        for named in named_in(made, base, ("alias",), "previousId"):
            ids = hashed(named.ids)
            self.merged.add(ids, ids, named.places)
        for named in named_in(made, base, EVENTS):
            table = self.events.setdefault(stream, Table(is_summed=True))
            table.add(*_counted(named))

    def strangers(self) -> list[Strangers]:
        """Return the events of people that no identify makes, stream by stream."""
        known = np.sort(np.concatenate([self.pairs.tidy()[0], self.merged.tidy()[0]]))
        found = []
        for stream, table in self.events.items():
            ids, counts, places = table.tidy()
            is_strange = ~_is_among(ids, known)
            if is_strange.any():
                first = np.sort(places[is_strange])[:SAMPLES].tolist()
                events, people = int(counts[is_strange].sum()), int(is_strange.sum())
                found.append(Strangers(stream, events, people, first))
        return found

    def ids_with_emails(self) -> Clashes:
        """Return the ids that come with several emails."""
        ids, emails, places = self._pairs_with_emails()
        del emails
        return clashes(ids, places)

    def emails_with_ids(self) -> Clashes:
        """Return the emails that come with several ids."""
        _, emails, places = self._pairs_with_emails()
        return clashes(emails, places)

    def _pairs_with_emails(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, emails, places = self.pairs.tidy()
        told = emails != NOBODY
        return (ids, emails, places) if told.all() else (ids[told], emails[told], places[told])


def _counted(named: Named) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each person once: hash, how many events, and the place of the first."""
    ids, places = named.ids, named.places
    if ids.null_count:
        ids, places = ids.drop_null(), places[valid(ids)]
    encoded = ids.dictionary_encode()
    numbers = integers(encoded.indices.cast(pa.int64()))
    counts = np.bincount(numbers, minlength=len(encoded.dictionary)).astype(np.uint64)
    first = np.zeros(len(encoded.dictionary), np.int64)
    first[numbers[::-1]] = places[::-1]  # the last that is written stays
    return hashed(encoded.dictionary.cast(STRING)), counts, first


def _is_among(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(len(ids), bool)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found: np.ndarray = known[at] == ids
    return found
