"""How much of a cell a person is shown who reads about a run: nothing, its outline, or all of it.

For what is written for others to look at (`report.html`); the dead letters themselves are whole.
"""

from __future__ import annotations

import ast
import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from backfill.answer import unrepeated
from backfill.codes import REASONS, WHOLE, Code, without_fixes
from backfill.source import LINE

if TYPE_CHECKING:
    from backfill.source import Span


class Samples(StrEnum):
    """What `--samples` says."""

    NONE = "none"
    MASKED = "masked"
    FULL = "full"


SHORT: Final = 4
"""Of a text that is shorter not even the first letter is shown: it could be guessed."""

QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
"""A cell as reasons repeat it: Python's own form of a text."""

HIDDEN: Final = "…"

COUNTED: Final = frozenset(
    {Code.ROW_RAGGED, Code.ROW_TOO_LONG, Code.MESSAGE_TOO_LONG, Code.GROUP_TOO_LONG}
)
"""Their words are counts, but for the cells that a ragged row has left over."""

LEFT_OVER: Final = "; left over"


def masked(value: str) -> str:
    """Return the outline of a cell: `a…(17)` is a text of 17 characters that begins with a."""
    first = value[0] if len(value) >= SHORT and value[0].isprintable() else ""
    return f"{first}{HIDDEN}({len(value)})"


def reason_shown(row: dict[str, Any], span: Span, samples: Samples) -> str:
    """Return why a row was not sent, without what to do. row: of `validate.REJECTS`.

    Where cells are not to be shown, of several faults only the first is told.
    """
    if samples is Samples.FULL:
        return without_fixes(row["reason"])
    code = Code(row["code"])
    what = REASONS[code].what
    if samples is Samples.NONE or "{value}" not in what:
        return what.format(value=HIDDEN)
    if code in COUNTED:
        return without_fixes(row["reason"]).partition(LEFT_OVER)[0]
    if code is Code.NOT_UTF8:  # the bytes stand there in another form than in the row
        return what.format(value=HIDDEN)
    if code in WHOLE:
        return unrepeated(without_fixes(row["reason"]), _cells(span, row["row"] - span.start))
    return what.format(value=_masked_quote(row["reason"], code, row["column"]))


def _masked_quote(reason: str, code: Code, column: str) -> str:
    """Return the outline of the cell that a reason repeats after its column."""
    before = REASONS[code].what.partition("{value}")[0]
    rest = reason.removeprefix(f"{column}: " if column else "")
    if not rest.startswith(before):
        return HIDDEN
    found = QUOTED.match(rest, len(before))
    return masked(ast.literal_eval(found[0])) if found else HIDDEN


def _cells(span: Span, offset: int) -> bytes:
    """Return all that stands in a row, so that words that repeat it are found."""
    found: list[str] = []
    for name, value in span.batch.slice(offset, 1).to_pylist()[0].items():
        found.append(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
        if name == LINE:
            try:
                found.append(str(json.loads(found[-1])))  # what is escaped in a line, not escaped
            except (ValueError, RecursionError):
                continue
    if offset in span.broken:
        found += [cell.decode(errors="replace") for cell in span.broken[offset].cells]
    return "\0".join(found).encode(errors="surrogateescape")
