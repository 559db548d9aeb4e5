"""One column → what is proposed for it, with the evidence. Pure; names hint, cells decide."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.compute as pc

from backfill import spec
from backfill.columns import mask
from backfill.propose import moments, names, numerals
from backfill.transform import EMAIL

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.propose.facts import Column

MOSTLY: Final = 0.95
BLANK_WORDS: Final = ("NULL", "null", "\\N", "N/A", "n/a", "NA", "NaN", "nan", "None", "none", "-")
"""Texts that mean nothing, where the rest of their column has a type."""

POSTGRES: Final = "\\N"
"""PostgreSQL and MySQL write a null so; nobody's text is that."""

PAIRS: Final = (("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"))
FOREIGN: Final = (("ja", "nein"), ("oui", "non"), ("si", "no"), ("sí", "no"), ("on", "off"))
SECRET_SHAPES: Final = (
    (r"^\$2[aby]\$[0-9]{2}\$", "hashes of passwords"),
    (r"^\$argon2", "hashes of passwords"),
    (r"^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.", "tokens"),
    (r"^[0-9]{3}-[0-9]{2}-[0-9]{4}$", "social security numbers"),
    (r"^-----BEGIN [A-Z ]*PRIVATE KEY", "private keys"),
)
CARD: Final = r"^[0-9](?:[0-9]{12,18}|(?:[ -]?[0-9]{4}){3}[0-9]{0,3})$"
CARDS_MIN: Final = 3
"""Of random digits one of ten passes the check of card numbers."""

PROSE_CHARS: Final = 40
LONG_CHARS: Final = 80
EPOCH_KINDS: Final = {"integer", "number"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is proposed for one column, and why."""

    column: Column
    kind: str
    """email boolean timestamp date number integer code json list object text left-out blank"""
    options: dict[str, Any] = field(default_factory=dict)
    """Beside `column:`; none: the bare name is enough."""
    why: str = ""
    doubt: str = ""
    """What a person must look at; it is assumed and not proved."""
    choices: tuple[dict[str, Any], ...] = ()
    """Options of which one is right, where nothing tells which; never written as if it were."""
    is_naive: bool = False
    """Of a time: whether it needs a zone that nobody has told."""

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    @property
    def is_out(self) -> bool:
        """Whether the column is left out."""
        return self.kind in {"left-out", "blank"}

    @property
    def is_time(self) -> bool:
        """Whether it is a time, or a day."""
        return self.kind in {"timestamp", "date"}


def judge(column: Column, prefer: str | None = None) -> Finding:
    """Judge one column. prefer: see `moments.prove`."""
    for test in (_out, _native):
        if (found := test(column)) is not None:
            return found
    return _typed(column, prefer) or _text(column)


def blanks_of(column: Column, prefer: str | None = None) -> tuple[str, ...]:
    """Return the texts that stand for nothing: without them the column has a type, else not.

    `Null` may be a person's name, so it takes more than the text itself.
    """
    words = [word for word in BLANK_WORDS if word in column.texts.to_pylist()]
    if column.kind != "text" or not words:
        return ()
    rest = column.without(words)
    found = _typed(rest, prefer) if rest.distinct and _typed(column, prefer) is None else None
    if found is not None and (found.options or found.is_time):
        return tuple(words)
    return tuple(word for word in words if word == POSTGRES)


def _out(column: Column) -> Finding | None:
    if not column.name.strip():
        return Finding(column, "left-out", why="the column has no name")
    if len(column.name.encode()) > spec.LIMITS.name:
        return Finding(column, "left-out", why=f"its name is over {spec.LIMITS.name} bytes")
    if not column.distinct or column.kind == "none":
        return Finding(column, "blank", why="every cell is blank")
    if column.kind == "unsupported":
        return Finding(column, "left-out", why="its type has no form in JSON")
    if names.words_of(column.name)[-1:] != ["id"] and (secret := _secret(column)):
        return Finding(column, "left-out", why=f"looks like a secret: {secret}")
    return None


def _secret(column: Column) -> str:
    """Return why a column must not leave the house, '' where nothing says so."""
    if names.has_word(column.name, names.SECRETS):
        return "by its name"
    if column.kind not in {"text", "integer"}:
        return ""
    for shape, what in SECRET_SHAPES:
        if column.share(column.matching(shape)) >= MOSTLY:
            return f"the cells have the shape of {what}"
    cards = column.texts.filter(column.matching(CARD)).to_pylist()
    valid = sum(map(is_card, cards))
    if valid >= CARDS_MIN and valid >= MOSTLY * column.distinct:
        return f"{valid:,} values pass the check of card numbers (Luhn)"
    return ""


def is_card(text: str) -> bool:
    """Whether the digits of a text pass the check of card numbers."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004  Luhn's
    return any(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _native(column: Column) -> Finding | None:
    """Columns that have a type of their own (Parquet, JSON lines)."""
    if column.kind == "text":
        return None
    if column.kind in EPOCH_KINDS and moments.is_time_name(column.name):
        found = moments.of_numbers(column)
        if found is not None:
            return _time(column, found)
    if column.kind == "timestamp":
        days = column.all_match(r"00:00:00(\.0+)?$")
        why = "every time is 00:00, so a day" if days else "times of the file's own type"
        return _time(column, moments.Times((), why, is_days=days))
    if column.kind == "instant":
        why = "times of the file's own type, with their zone"
        return Finding(column, "timestamp", why=why)
    if column.kind == "date":
        return Finding(column, "date", why="days of the file's own type", is_naive=True)
    several = "values of several types, each sent as it is"
    why = several if column.kind == "mixed" else f"{column.kind}s of the file's own type"
    return Finding(column, column.kind, why=why)


def _typed(column: Column, prefer: str | None) -> Finding | None:
    """Texts that are something else than text; in the order of how sure the cells make us."""
    tests: tuple[Callable[[], Finding | None], ...] = (
        lambda: _email(column),
        lambda: _json(column),
        lambda: _boolean(column),
        lambda: _times(column, prefer),
        lambda: _number(column),
    )
    return next((found for test in tests if (found := test()) is not None), None)


def _email(column: Column) -> Finding | None:
    good = column.matching(EMAIL)
    share = column.share(good)
    if share < MOSTLY and not (names.EMAIL.fullmatch(names.joined(column.name)) and share > 0):
        return None
    failing = column.filled - column.count(good)
    if share < MOSTLY:
        why = f"{failing:,} of {column.filled:,} are no addresses, so they are not checked"
        return Finding(column, "email", why=why)
    doubt = f"{failing:,} are no addresses: their rows would be rejected" if failing else ""
    return Finding(column, "email", {"check": "email"}, f"{column.filled:,} addresses", doubt)


def _json(column: Column) -> Finding | None:
    if not column.all_match(r"^\s*[\[{]"):
        return None
    try:
        for text in column.texts.to_pylist():
            json.loads(text)
    except (ValueError, RecursionError):
        return None
    return Finding(column, "json", why=f"{column.filled:,} texts hold JSON")


def _boolean(column: Column) -> Finding | None:
    known = {text.strip().lower() for text in column.texts.slice(0, 9).to_pylist()}
    if column.distinct > 8:  # noqa: PLR2004  a few spellings of two words
        return None
    is_named = names.has_word(column.name, names.BOOLEAN_WORDS)
    if known <= {"0", "1"} and is_named:
        return Finding(column, "boolean", {"type": "boolean"}, _split(column))
    for pair in PAIRS:
        if known <= set(pair) and (len(known) == 2 or is_named or pair == PAIRS[0]):  # noqa: PLR2004
            return Finding(column, "boolean", {"type": "boolean"}, _split(column))
    for yes, no in FOREIGN:
        if known == {yes, no}:
            options = {"type": "boolean", "true": [yes], "false": [no]}
            return Finding(column, "boolean", options, _split(column))
    return None


def _split(column: Column) -> str:
    pairs = zip(column.texts.to_pylist(), column.counts.tolist(), strict=True)
    return ", ".join(f"{text} {count:,} times" for text, count in pairs)


def _times(column: Column, prefer: str | None) -> Finding | None:
    found = moments.prove(column, prefer)
    return None if found is None else _time(column, found)


def _time(column: Column, found: moments.Times) -> Finding:
    """Write what is proved of a time as options."""
    kind = "date" if found.is_days else "timestamp"
    if found.choices:
        choices = tuple({"type": "timestamp", "format": one} for one in found.choices)
        return Finding(column, kind, why=found.why, choices=choices, is_naive=True)
    options: dict[str, Any] = {}
    formats = list(found.formats)
    if formats and formats != ["iso8601"]:
        options["format"] = formats[0] if len(formats) == 1 else formats
    lost = f"{found.failing:,} cannot be read: their rows would be rejected"
    doubt = lost if found.failing else ""
    return Finding(column, kind, options, found.why, doubt, is_naive=found.is_naive)


ZONE_WORDS: Final = "no zone in the data; UTC is ASSUMED"


def as_moment(finding: Finding) -> Finding:
    """Return a time as an instant; where it has no zone, UTC is written and said to be assumed."""
    options = {"type": "timestamp", **finding.options}
    if not finding.is_naive:
        return replace(finding, options=options)
    if {"utc", "gmt"} & set(names.words_of(finding.name)):
        why = f"{finding.why}; UTC by its name"
        return replace(finding, options={**options, "timezone": "UTC"}, why=why)
    doubt = "; ".join(part for part in (ZONE_WORDS, finding.doubt) if part)
    return replace(finding, options={**options, "timezone": "UTC"}, doubt=doubt)


def as_day(finding: Finding) -> Finding:
    """Return a time as the day that is written: no zone is needed."""
    return replace(finding, options={"type": "date", **finding.options})


def _number(column: Column) -> Finding | None:
    found = numerals.prove(column)
    if found is None:
        return None
    if names.is_id_like(column.name) or names.has_word(column.name, names.CODES):
        return Finding(column, "code", why="digits under the name of an id or code: text")
    if why := numerals.is_code(column):
        return Finding(column, "code", why=f"text: {why}")
    if found.choices:
        choices = tuple({"type": "number", **one} for one in found.choices)
        return Finding(column, "code", why=found.why + ", so it stays text", choices=choices)
    return Finding(column, found.type, {"type": found.type, **found.options}, found.why)


def _text(column: Column) -> Finding:
    """Texts; long ones and those under the name of a note are left out."""
    chars = pc.utf8_length(column.texts)
    average = float((np.asarray(chars) * column.counts).sum() / column.filled)
    spaces = pc.count_substring(column.texts, " ")
    gaps = float((np.asarray(spaces) * column.counts).sum() / column.filled)
    is_named = names.has_word(column.name, names.PROSE)
    is_prose = gaps >= 5 and average >= (PROSE_CHARS if is_named else LONG_CHARS)  # noqa: PLR2004
    if is_prose and column.distinct > column.filled / 10:
        return Finding(column, "left-out", why=f"free text, {average:.0f} characters on average")
    long = column.count(mask(pc.greater(pc.binary_length(column.texts), spec.LIMITS.value)))
    if long:
        why = f"{long:,} values are over {spec.LIMITS.value} bytes, more than a trait may hold"
        return Finding(column, "left-out", why=why)
    amounts = numerals.with_sign(column)
    doubt = f"amounts, sent as text; as numbers: {amounts}" if amounts else ""
    kinds = "1 value" if column.distinct == 1 else f"{column.distinct:,} different values"
    return Finding(column, "text", why=kinds, doubt=doubt)
