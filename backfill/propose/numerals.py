"""Which marks the numbers of a column have: proved by all values, or not said at all. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from backfill import number

if TYPE_CHECKING:
    from backfill.propose.facts import Column

NUMERIC: Final = r"^\s*[+-]?[0-9.,' \x{a0}\x{202f}]*[0-9](?:[.,][0-9]*)?(?:[eE][+-]?[0-9]+)?\s*$"
MARKS: Final[tuple[tuple[str, str | None], ...]] = (
    (".", None),
    (",", None),
    (".", ","),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
    (",", "\u00a0"),
    (",", "\u202f"),
)
SIGNS: Final = r"^\s*-?(\p{Sc}|[A-Z]{3}\b)|(\p{Sc}|\b[A-Z]{3})\s*$"
"""Of a currency, before or behind an amount."""

INTEGER: Final = r"^\s*[+-]?[0-9]+\s*$"
ZERO_FIRST: Final = r"^\s*0[0-9]"
DIGITS_MAX: Final = 15
"""Longer ones are ids: no sum is as large, and readers that take doubles would round them."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known of a column of numbers."""

    type: str
    """integer, number, or '' where the marks cannot be told."""
    options: dict[str, Any]
    """decimal and thousands, where they are not the plain ones."""
    why: str
    choices: tuple[dict[str, Any], ...] = ()
    """Where the marks cannot be told: the options that all values allow."""


def prove(column: Column) -> Numbers | None:
    """Judge texts as numbers; None: they are none.

    Promised: options are given only where every other reading of all values is impossible, or
    comes to the same numbers.
    """
    if not column.all_match(NUMERIC):
        return None
    read = {}
    for decimal, thousands in MARKS:
        found, failed = number.numbers(column.texts, decimal=decimal, thousands=thousands)
        if not failed:
            read[decimal, thousands] = found.to_pylist()
    if not read:
        return None
    first, *others = read
    differing = [marks for marks in others if read[marks] != read[first]]
    if differing:
        told = tuple(_options(marks) for marks in (first, differing[0]))
        both = " and ".join(map(_said, (first, differing[0])))
        why = f"all {column.filled:,} values can be read in two ways: {both}"
        return Numbers("", {}, why, told)
    if column.all_match(INTEGER):
        return Numbers("integer", {}, "whole numbers")
    if first == (".", None):
        return Numbers("number", {}, "numbers")
    plain, failed = number.numbers(column.texts)
    del plain
    told_by = column.count(failed[0][1]) if failed else 0
    why = f"{_said(first)}: {told_by:,} values can be read in no other way, none contradicts"
    return Numbers("number", _options(first), why)


def _options(marks: tuple[str, str | None]) -> dict[str, Any]:
    decimal, thousands = marks
    found: dict[str, Any] = {} if decimal == "." else {"decimal": decimal}
    return found if thousands is None else {**found, "thousands": thousands}


def _said(marks: tuple[str, str | None]) -> str:
    decimal, thousands = marks
    names = {".": "point", ",": "comma"}
    more = "" if thousands is None else f", thousands apart by {thousands!r}"
    return f"decimal {names[decimal]}{more}"


def is_code(column: Column) -> str:
    """Return why digits are no amount: zeros in front, too many of them; '' where they may be."""
    zeros = column.count(column.matching(ZERO_FIRST + r"+\s*$"))
    if zeros:
        return f"{zeros:,} values begin with 0, which a number would lose"
    long = column.count(column.matching(rf"^[+-]?[0-9]{{{DIGITS_MAX + 1},}}$"))
    return f"{long:,} values have over {DIGITS_MAX} digits" if long else ""


def with_sign(column: Column) -> str:
    """Return the form that reads amounts with the sign of one currency; '' where they are none.

    Promised as of `prove`: no other reading of all values comes to other numbers.
    """
    first = pc.extract_regex(column.texts.slice(0, 1), r"(?P<sign>\p{Sc}|\b[A-Z]{3}\b)").to_pylist()
    if not column.all_match(SIGNS) or first[0] is None:
        return ""
    sign = first[0]["sign"]
    texts = pc.replace_substring(column.texts, sign, "")
    found = prove(replace(column, texts=texts))
    if found is None or not found.type:
        return ""
    is_name = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", column.name)
    cell = column.name if is_name else f"col({_quoted(column.name)})"
    marks = [found.options[one] for one in ("decimal", "thousands") if one in found.options]
    if "thousands" in found.options and "decimal" not in found.options:
        marks.insert(0, ".")
    words = ", ".join([f'replace({cell}, {_quoted(sign)}, "")', *map(_quoted, marks)])
    return "{expr: '" + f"number({words})".replace("'", "''") + "'}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
