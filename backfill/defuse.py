"""Texts that a spreadsheet would run as formulas, made harmless, and exactly back again. Pure.

Rejects are opened in spreadsheets, and their cells were written by anybody: `=HYPERLINK(…)` must
not run there. A leading ' makes a cell a text; `retry` takes exactly that one off again.
"""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
"""Leading quotes count: a cell that has one of its own gets one more, or it could not go back."""

_FIRST: Final = "'=+-@\t\r"

_NUMBER: Final = re.compile(r"'*[+-](?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A plain number is no formula, and a column of numbers stays one."""


def defused(text: str) -> str:
    """Return a text that no spreadsheet runs: with one more leading ' where it would be run."""
    return "'" + text if _is_formula(text) else text


def restored(text: str) -> str:
    """Return what `defused` was given: for every text, `restored(defused(text)) == text`.

    A formula that a person wrote without a leading ' stays as it is.
    """
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    if text[:1] not in _FIRST:  # nearly every cell: the patterns cost more
        return False
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
