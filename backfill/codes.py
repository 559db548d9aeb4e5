"""Every reason for which a row is not sent, as a closed table: code, words, what to do.

No logic but the filling-in of words. A reject is data: (row, column, code, value).
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple

VALUE_CHARS: Final = 80
"""How much of a cell is repeated in a reason."""


class Code(StrEnum):
    """A closed list: people and scripts group and filter by it."""

    ROW_RAGGED = "row-ragged"
    ROW_TOO_LONG = "row-too-long"
    ROW_UNREADABLE = "row-unreadable"
    NOT_UTF8 = "not-utf8"
    REQUIRED_BLANK = "required-blank"
    ID_MISSING = "id-missing"
    ID_TYPE = "id-type"
    ID_FLOAT = "id-float"
    ID_TOO_LONG = "id-too-long"
    ID_RESERVED = "id-reserved"
    KEY_BLANK = "key-blank"
    NUMBER_UNREADABLE = "number-unreadable"
    NUMBER_NOT_FINITE = "number-not-finite"
    INTEGER_UNREADABLE = "integer-unreadable"
    BOOLEAN_UNREADABLE = "boolean-unreadable"
    TIME_UNREADABLE = "time-unreadable"
    TIME_NAIVE = "time-naive"
    TIME_AMBIGUOUS = "time-ambiguous"
    TIME_SKIPPED = "time-skipped"
    TIME_MISSING = "time-missing"
    TIME_FUTURE = "time-future"
    TIME_TOO_OLD = "time-too-old"
    WATERMARK_BLANK = "watermark-blank"
    WATERMARK_FUTURE = "watermark-future"
    JSON_UNREADABLE = "json-unreadable"
    NOT_A_LIST = "not-a-list"
    NOT_ONE_VALUE = "not-one-value"
    VALUE_UNMAPPED = "value-unmapped"
    VALUE_TYPE = "value-type"
    DIVISION_BY_ZERO = "division-by-zero"
    NUMBER_TOO_LONG = "number-too-long"
    CHECK_FAILED = "check-failed"
    EVENT_MISSING = "event-missing"
    EVENT_TOO_LONG = "event-too-long"
    EVENT_COMMAND = "event-command"
    VALUE_TOO_LONG = "value-too-long"
    OBJECT_TYPE = "object-type"
    MESSAGE_TOO_LONG = "message-too-long"
    MEMBER_REFUSED = "member-refused"
    GROUP_DIFFERS = "group-differs"
    GROUP_AGAIN = "group-again"
    GROUP_TOO_LONG = "group-too-long"
    GROUP_BROKEN = "group-broken"
    REFUSED = "refused"
    RECENT_EVENT = "recent-event"


class Reason(NamedTuple):
    """The words of one code: `{value}` is the cell, shortened, in quotes."""

    what: str
    fix: str


NONE: Final = "words for none go under source: {{blank: ['', n/a]}}"

REASONS: Final[dict[Code, Reason]] = {
    Code.ROW_RAGGED: Reason("{value}", "give the row as many cells as the header has"),
    Code.ROW_TOO_LONG: Reason(
        "the row has over {value} bytes, so most of it was not loaded",
        "shorten it in the source, and look for a quote that is not closed",
    ),
    Code.ROW_UNREADABLE: Reason("the line is no JSON object ({value})", "correct the line"),
    Code.NOT_UTF8: Reason(
        "the cell {value} is not valid text in the file's encoding",
        "name the right one as source: csv: {{encoding: …}}, or correct the cell",
    ),
    Code.REQUIRED_BLANK: Reason("is blank but required", "fill the cell"),
    Code.ID_MISSING: Reason("the id is blank", "fill the cell, or map another id"),
    Code.ID_TYPE: Reason("{value} cannot be an id", "map a text or integer column"),
    Code.ID_FLOAT: Reason(
        "the id {value} is a float, so its digits cannot be trusted",
        "write {{expr: {integer}}}, or cast the column to text where it comes from",
    ),
    Code.ID_TOO_LONG: Reason("the id {value} is over 150 bytes", "shorten the id"),
    Code.ID_RESERVED: Reason(
        "the id {value} begins with cio_, which names the destination's internal ids",
        'map another id, or allow it on purpose with guards: {{allow: ["cio_"]}}',
    ),
    Code.KEY_BLANK: Reason("the key is blank", "fill the cell, or choose another key"),
    Code.NUMBER_UNREADABLE: Reason(
        "{value} is not a number",
        "correct the cell, or set decimal: and thousands: for this column",
    ),
    Code.NUMBER_NOT_FINITE: Reason("{value} is not a finite number", "correct or empty the cell"),
    Code.INTEGER_UNREADABLE: Reason("{value} is not an integer", "correct the cell"),
    Code.BOOLEAN_UNREADABLE: Reason(
        "{value} is neither true nor false",
        "correct the cell, or set true: and false: for this column",
    ),
    Code.TIME_UNREADABLE: Reason(
        "{value} is not a time",
        f"give this column a format in the mapping, or correct the cell; {NONE}",
    ),
    Code.TIME_NAIVE: Reason(
        "the time {value} has no zone", "add timezone: to this column in the mapping"
    ),
    Code.TIME_AMBIGUOUS: Reason(
        "the time {value} happens twice (clocks go back)",
        "set ambiguous: earliest or latest for this column",
    ),
    Code.TIME_SKIPPED: Reason(
        "the time {value} does not exist (clocks go forward)", "correct the cell or the timezone"
    ),
    Code.TIME_MISSING: Reason("the timestamp is blank", "fill the cell"),
    Code.TIME_FUTURE: Reason(
        "the time {value} lies in the future", "correct the cell, or set guards: {{future: send}}"
    ),
    Code.TIME_TOO_OLD: Reason(
        "the time {value} is before the oldest allowed",
        "correct the cell or the epoch unit, or set guards: {{not_before: …}}",
    ),
    Code.WATERMARK_BLANK: Reason("the watermark is blank", "fill the cell"),
    Code.WATERMARK_FUTURE: Reason(
        "the watermark {value} lies in the future, and all rows up to it would count as delivered",
        "correct the cell",
    ),
    Code.JSON_UNREADABLE: Reason("{value} is not JSON", "correct the cell"),
    Code.NOT_A_LIST: Reason("{value} is not a list of objects", "correct the cell"),
    Code.NOT_ONE_VALUE: Reason(
        "the cell is a list or an object, not one value", "map it without these options"
    ),
    Code.VALUE_UNMAPPED: Reason("{value} is not in the map", "add it to map:, or set else:"),
    Code.VALUE_TYPE: Reason(
        "{value} is of a type that the expression cannot use here",
        "convert it in the expression with text(), number(), boolean() or timestamp()",
    ),
    Code.DIVISION_BY_ZERO: Reason(
        "the expression divides by {value}",
        "correct the cell, or write: … if x != 0 else None",
    ),
    Code.NUMBER_TOO_LONG: Reason(
        "the number {value} has too many digits to be computed with exactly",
        "correct the cell, or round it in the expression",
    ),
    Code.CHECK_FAILED: Reason("{value} fails the check", f"correct the cell; {NONE}"),
    Code.EVENT_MISSING: Reason("the event name is blank", "fill the cell"),
    Code.EVENT_TOO_LONG: Reason("the event name {value} is over 100 bytes", "shorten the name"),
    Code.EVENT_COMMAND: Reason(
        "the event {value} is a command that acts on the workspace",
        "rename it, or allow it on purpose with guards: {{allow: [{value}]}}",
    ),
    Code.VALUE_TOO_LONG: Reason(
        "the value {value} is over 1000 bytes, more than an attribute may hold",
        "shorten the cell or leave the column out",
    ),
    Code.OBJECT_TYPE: Reason(
        "the objectTypeId {value} is not a whole number from 1", "correct the cell"
    ),
    Code.MESSAGE_TOO_LONG: Reason(
        "the message has {value} bytes, more than the 32000 the API takes",
        "shorten the row's cells or map fewer columns",
    ),
    Code.MEMBER_REFUSED: Reason(
        "{value}", "put the column into except: of the mapping, or name it there on its own"
    ),
    Code.GROUP_DIFFERS: Reason(
        "the rows of the group have different values",
        "map it inside each_row, choose one with {{agg: first, column: …}}, or correct the cells",
    ),
    Code.GROUP_AGAIN: Reason(
        "{value}", "sort the source by group_by, so that the rows of a group stand together"
    ),
    Code.GROUP_TOO_LONG: Reason(
        "the group has more than {value} rows",
        "set rows: {{max_rows: …}}, or choose another group_by",
    ),
    Code.GROUP_BROKEN: Reason(
        "another row of its group was rejected, and a group is sent whole", "correct that row"
    ),
    Code.REFUSED: Reason("the destination refused it: {value}", "correct the row"),
    Code.RECENT_EVENT: Reason(
        "the event of {value} is newer than 72 hours and could start campaigns",
        "decide with guards: {{recent_events: send}} or hold",
    ),
}


WHOLE: Final = {
    Code.ROW_RAGGED,
    Code.ROW_TOO_LONG,
    Code.ROW_UNREADABLE,
    Code.NOT_UTF8,
    Code.REFUSED,
    Code.MESSAGE_TOO_LONG,
    Code.GROUP_TOO_LONG,
    Code.GROUP_AGAIN,
    Code.MEMBER_REFUSED,
}
"""These bring words of their own, not a cell to be quoted."""


def words(code: Code, value: str | None, column: str = "") -> str:
    """The reason as a person reads it: what is wrong with the value, then what to do."""
    shown = "the value" if value is None else _shown(code, value)
    reason = REASONS[code]
    what = reason.what.format(value=shown)
    return f"{what}; {reason.fix.format(value=shown, integer=_as_integer(column))}"


def _as_integer(column: str) -> str:
    """The expression that makes an id of a column of floats, as it is written in a mapping."""
    if column.isidentifier():
        return f'"text(integer({column}))"'
    return f"""'text(integer(col("{column}")))'""" if column else '"text(integer(…))"'


def fix_of(code: Code) -> str:
    """Return what to do about every row of a code; where the fix repeats the cell, it has `…`."""
    return REASONS[code].fix.format(value="…", integer="…")


def without_fixes(reason: str) -> str:
    """Return the words about a row without what to do, for where that is said once for many."""
    return _fixes().sub("", reason)


@cache
def _fixes() -> re.Pattern[str]:
    """Match a fix where one may stand: at the end of the words of one reason."""
    texts = {re.escape(fix_of(code)).replace("…", ".*?") for code in Code}
    return re.compile(f"; (?:{'|'.join(sorted(texts))})(?= \\| |$)", re.DOTALL)


def _shown(code: Code, value: str) -> str:
    if code in WHOLE:
        return value
    short = value if len(value) <= VALUE_CHARS else value[: VALUE_CHARS - 1] + "…"
    return repr(short)
