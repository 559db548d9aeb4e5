"""The functions of expressions: names, parameters and kinds, as one table. No logic, no pyarrow.

Whoever checks a call, evaluates one or prints the language's page reads this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a value is, as far as expressions tell apart."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATE = "date"
    LIST = "list"
    JSON = "json"
    """An object, a map, a time of day: expressions pass it on, and no more."""
    NONE = "None"
    UNKNOWN = "unknown"
    """The source does not tell (JSON lines): each value is judged by itself."""


Kinds = frozenset[Kind]

TEXT: Final = frozenset({Kind.TEXT})
INTEGER: Final = frozenset({Kind.INTEGER})
NUMBER: Final = frozenset({Kind.INTEGER, Kind.NUMBER})
BOOLEAN: Final = frozenset({Kind.BOOLEAN})
LIST: Final = frozenset({Kind.LIST})
TIME: Final = frozenset({Kind.TIMESTAMP})
TIMES: Final = frozenset({Kind.TIMESTAMP, Kind.DATE})
SCALAR: Final = frozenset(Kind) - {Kind.LIST, Kind.JSON}
ORDERED: Final = SCALAR - BOOLEAN
ANY: Final = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; where `is_literal`, its value is written out in the mapping."""

    name: str
    kinds: Kinds
    is_literal: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function: what it takes, what it gives. result None: the kind of its arguments."""

    name: str
    parameters: tuple[Parameter, ...]
    result: Kind | None
    does: str
    is_many: bool = False
    """The last parameter may come any number of times, and all have one kind."""

    @property
    def required(self) -> int:
        """How many arguments a call must have."""
        return sum(not parameter.is_optional for parameter in self.parameters)

    def __str__(self) -> str:
        """`round(x[, digits])`."""
        names = [p.name for p in self.parameters if not p.is_optional]
        shown = ", ".join(names) + (", …" if self.is_many else "")
        optional = [p.name for p in self.parameters if p.is_optional]
        return (
            f"{self.name}({shown}{''.join(f'[, {name}' for name in optional)}{']' * len(optional)})"
        )


def _one(kinds: Kinds, name: str = "x") -> tuple[Parameter, ...]:
    return (Parameter(name, kinds),)


def _option(name: str, kinds: Kinds = TEXT) -> Parameter:
    return Parameter(name, kinds, is_literal=True, is_optional=True)


_MARKS: Final = (_option("decimal"), _option("thousands"))
_ZONE: Final = (_option("format"), _option("timezone"))
_TABLE: Final = (
    Function("text", _one(SCALAR), Kind.TEXT, "digits, true and false, ISO dates, as `type: text`"),
    Function(
        "integer",
        (*_one(frozenset({Kind.TEXT, *NUMBER})), *_MARKS),
        Kind.INTEGER,
        "as `type: integer`: 17850.0 is 17850, 1.5 rejects the row",
    ),
    Function(
        "number",
        (*_one(frozenset({Kind.TEXT, *NUMBER})), *_MARKS),
        Kind.NUMBER,
        "as `type: number`, exact",
    ),
    Function(
        "boolean",
        _one(frozenset({Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN})),
        Kind.BOOLEAN,
        "true/t/yes/y/1 and false/f/no/n/0 in any case, as `type: boolean`",
    ),
    Function(
        "timestamp",
        (*_one(ORDERED), *_ZONE, _option("ambiguous")),
        Kind.TIMESTAMP,
        "as `type: timestamp`; without a zone in the text it needs timezone",
    ),
    Function("date", (*_one(ORDERED), *_ZONE), Kind.DATE, "as `type: date`"),
    Function("lower", _one(TEXT), Kind.TEXT, "lower case, character by character"),
    Function("upper", _one(TEXT), Kind.TEXT, "upper case, character by character (ß is ẞ)"),
    Function(
        "title", _one(TEXT), Kind.TEXT, "the first letter of each run of letters in upper case"
    ),
    Function("trim", _one(TEXT), Kind.TEXT, "without white space at both ends"),
    Function("concat", _one(SCALAR), Kind.TEXT, "the texts of all, joined", is_many=True),
    Function("coalesce", _one(ANY), None, "the first that is not None", is_many=True),
    Function(
        "replace",
        (*_one(TEXT), Parameter("old", TEXT), Parameter("new", TEXT)),
        Kind.TEXT,
        "every old as new",
    ),
    Function(
        "substring",
        (*_one(TEXT), Parameter("start", INTEGER), Parameter("length", INTEGER, is_optional=True)),
        Kind.TEXT,
        "characters from start (the first is 0, -1 is the last), at most length of them",
    ),
    Function(
        "length",
        _one(TEXT | LIST),
        Kind.INTEGER,
        "how many characters a text has, or items a list",
    ),
    Function(
        "split",
        (*_one(TEXT), Parameter("separator", TEXT, is_literal=True)),
        Kind.LIST,
        "as `split:`: items are trimmed, blank ones dropped",
    ),
    Function(
        "join",
        (*_one(LIST, "list"), Parameter("separator", TEXT, is_literal=True)),
        Kind.TEXT,
        "the items as one text; blank ones are left out",
    ),
    Function(
        "matches",
        (*_one(TEXT), Parameter("regex", TEXT, is_literal=True)),
        Kind.BOOLEAN,
        "whether the regular expression (RE2) is found anywhere, as `check:`",
    ),
    Function("startswith", (*_one(TEXT), Parameter("start", TEXT)), Kind.BOOLEAN, "begins with it"),
    Function("endswith", (*_one(TEXT), Parameter("end", TEXT)), Kind.BOOLEAN, "ends with it"),
    Function("contains", (*_one(TEXT), Parameter("part", TEXT)), Kind.BOOLEAN, "has it inside"),
    Function(
        "round",
        (*_one(NUMBER), _option("digits", INTEGER)),
        Kind.NUMBER,
        "to digits after the point; a half goes to the even digit, as in Python",
    ),
    Function("abs", _one(NUMBER), None, "without its sign"),
    Function("floor", _one(NUMBER), Kind.INTEGER, "the integer at or below"),
    Function("ceil", _one(NUMBER), Kind.INTEGER, "the integer at or above"),
    Function("min", _one(ORDERED), None, "the smallest; None where any is None", is_many=True),
    Function("max", _one(ORDERED), None, "the largest; None where any is None", is_many=True),
    Function(
        "sha256", _one(TEXT), Kind.TEXT, "of the UTF-8 text as it is, 64 lower-case hex digits"
    ),
    Function(
        "iso8601", _one(TIMES), Kind.TEXT, "`2020-01-02T03:04:05.000Z`; a date as `2020-01-02`"
    ),
    Function("unix", _one(TIME), Kind.INTEGER, "whole seconds since 1970, cut"),
)
FUNCTIONS: Final[dict[str, Function]] = {function.name: function for function in _TABLE}

SPECIAL: Final = {
    "case": "case(x, {key: value, …}, default)",
    "col": 'col("First Name")',
}
"""What looks like a call, but has a form of its own."""
