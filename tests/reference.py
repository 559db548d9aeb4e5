"""The mapping language row by row, in plain Python: what the columnar encoder must equal.

`messages_of` is written from the contract of the language, not from the program: it takes a mapping
as plain data and one row as plain values, and says which messages the row becomes, or why it is
rejected. Below it stands `build`, which asks the program the same of a whole file.

Numbers are Decimals with the digits that must be sent, floats where only the value is promised.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import expressions
from expressions import RejectedError, names_of, row_of

from backfill.batch import Limits
from backfill.mapping import load_mapping
from backfill.pipeline import encodings
from backfill.plan import Plan, make_plan
from backfill.reading import open_shard, spans
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Message = dict[str, Any]
Form = Any

BLANK: Final = object()
"""What a value form makes of nothing: the member is left out."""

ANY_CODE: Final = "any"
"""A row that Python cannot compute is rejected; for what, the program says."""

FREE: Final = ("traits", "properties", "context")
IDS: Final = ("userId", "anonymousId", "groupId", "previousId")
OTHERS: Final = ("event", "name", "category", "timestamp", "context", "integrations")
BODY: Final = {"identify": "traits", "group": "traits"}
REQUIRED: Final = {"group": ("groupId",), "alias": ("userId", "previousId")}
ANY_OF: Final = {
    "identify": ("userId", "anonymousId"),
    "track": ("userId", "anonymousId", "groupId"),
    "page": ("userId", "anonymousId"),
    "screen": ("userId", "anonymousId"),
}
TIMED: Final = {"track", "page", "screen"}
TRUE: Final = ["true", "t", "yes", "y", "1"]
FALSE: Final = ["false", "f", "no", "n", "0"]
SPACES: Final = None
"""What `str.strip` takes away: white space as Unicode has it, U+2028 too."""


class UnreadableError(Exception):
    """A cell that cannot become what the mapping wants; its code says why."""


@dataclass
class Row:
    """The cells of one row, and the codes of what was wrong with it."""

    cells: dict[str, Any]
    codes: set[str] = field(default_factory=set)

    def get(self, column: str) -> Any:
        """Return a cell; a column that the row does not have is blank."""
        return self.cells.get(column)


def messages_of(document: dict[str, Any], cells: dict[str, Any]) -> tuple[list[Message], set[str]]:
    """Return the messages of a row without their ids, and the codes of its faults.

    A row with a code is rejected whole. `cells`: None is blank; a CSV's blank texts are None here.
    """
    row = Row(cells)
    if not is_wanted(document.get("where"), row):
        return [], row.codes
    wanted = [message for message in document["messages"] if is_wanted(message.get("when"), row)]
    made = [message_of(message, row) for message in wanted]
    keys = document.get("key", []) if wanted else []
    for name in [keys] if isinstance(keys, str) else keys:
        text = id_of(name, row)
        if text is BLANK:
            row.codes.add("key-blank")
    return made, row.codes


def is_wanted(condition: str | None, row: Row) -> bool:
    """Whether a condition is true; one that cannot be evaluated is not, and rejects the row."""
    if condition is None:
        return True
    return attempt(row, lambda: computed(condition, row)) is True


def computed(text: str, row: Row) -> Any:
    """The value of an expression for a row, by Python."""
    try:
        return expressions.value_of(text, row_of(row.cells))
    except RejectedError:
        raise UnreadableError(ANY_CODE) from None


def cell_of(how: dict[str, Any], row: Row) -> Any:
    """The cell that a column or an expression gives; BLANK where it cannot be had."""
    if "expr" in how:
        return attempt(row, lambda: computed(how["expr"], row))
    return row.get(how["column"])


def starless(message: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """A message with each `"*"` written out: the columns that match and are not named elsewhere."""
    named: set[str] = set()
    for member, form in message.items():
        if member in FREE:
            named |= named_in({"object": form})
        elif member not in {"type", "when"}:
            named |= named_in(form)
    rest = [name for name in columns if name not in named]
    return {
        member: _written_out(form, rest) if member in FREE else form
        for member, form in message.items()
    }


def named_in(form: Form) -> set[str]:
    """The columns that a value form names, itself or by an expression."""
    if isinstance(form, str):
        return {form}
    inner = [item for key, item in form.get("object", {}).items() if key != "*"]
    found = [named_in(item) for item in [*inner, *form.get("array", [])]]
    own = {form[word] for word in ("column", "each", "json") if word in form}
    return own.union(names_of(form["expr"]) if "expr" in form else (), *found)


def _written_out(forms: dict[str, Form], columns: list[str]) -> dict[str, Form]:
    made: dict[str, Form] = {}
    for key, form in forms.items():
        if key == "*":
            patterns = form["columns"]
            for name in columns:
                listed = [patterns] if isinstance(patterns, str) else patterns
                fits = any(fnmatchcase(name, one) for one in listed)
                if fits and name not in form.get("except", []):
                    made[name.removeprefix(form.get("strip", ""))] = name
        else:
            made[key] = _inner_written(form, columns)
    return made


def _inner_written(form: Form, columns: list[str]) -> Form:
    if isinstance(form, dict) and "object" in form:
        return {**form, "object": _written_out(form["object"], columns)}
    if isinstance(form, dict) and "array" in form:
        return {**form, "array": [_inner_written(item, columns) for item in form["array"]]}
    return form


def message_of(message: dict[str, Any], row: Row) -> Message:
    """One message; its faults are noted in the row."""
    kind = message["type"]
    made: Message = {"type": kind}
    for member in IDS:
        if member in message:
            put(made, member, id_of(message[member], row))
    for member in OTHERS:
        if member in message:
            put(made, member, MEMBERS[member](message[member], row))
    body = BODY.get(kind, "properties")
    if body in message:
        put(made, body, members_of(message[body], row, empty="omit"))
    if "category" in made:  # the API has a page's category among its properties
        made.setdefault("properties", {})["category"] = made.pop("category")
    check(kind, message, made, row)
    return made


def put(made: Message, member: str, found: Any) -> None:
    """Add a member unless it is blank."""
    if found is not BLANK:
        made[member] = found


def check(kind: str, message: dict[str, Any], made: Message, row: Row) -> None:
    """What the API wants of a message that the mapping cannot promise."""
    wanted = [member for member in REQUIRED.get(kind, ()) if member not in made]
    mapped = [member for member in ANY_OF.get(kind, ()) if member in message]
    if wanted or (mapped and not any(member in made for member in mapped)):
        row.codes.add("id-missing")
    if kind in TIMED and "timestamp" not in made and message["timestamp"] != "now":
        row.codes.add("time-missing")
    if kind == "track" and not made.get("event"):
        row.codes.add("event-missing")
    check_sizes(kind, made, row)


def check_sizes(kind: str, made: Message, row: Row) -> None:
    """The limits of a workspace, in bytes of UTF-8."""
    for member in IDS:
        text = made.get(member, "")
        if len(text.encode()) > 150:
            row.codes.add("id-too-long")
        if text.startswith("cio_") and member in {"userId", "previousId"}:
            row.codes.add("id-reserved")
    traits = made.get("traits", {}).values() if kind == "identify" else ()
    if any(isinstance(value, str) and len(value.encode()) > 1000 for value in traits):
        row.codes.add("value-too-long")


def attempt(row: Row, act: Callable[[], Any]) -> Any:
    """Do it; what cannot be read is noted in the row and counts as blank."""
    try:
        return act()
    except UnreadableError as fault:
        row.codes.add(str(fault))
        return BLANK


def options_of(form: Form) -> dict[str, Any]:
    """A column with its options; a bare text is a column."""
    return {"column": form} if isinstance(form, str) else form


# Members


def id_of(form: Form, row: Row) -> Any:
    """An id is text for ever: a float's digits cannot be trusted, an empty text is none."""
    if isinstance(form, dict) and "const" in form:
        return str(form["const"])
    how = options_of(form)
    if how.get("type") in {"text", "integer"} or "map" in how or "default" in how:
        found = column_of(how, row)
        return BLANK if found in (BLANK, "") else text_of(found)
    if len(how) > 1:
        column_of(how, row)
    cell = cell_of(how, row)
    return BLANK if cell is BLANK else attempt(row, lambda: as_id(cell))


def as_id(cell: Any) -> Any:
    if cell is None or cell == "":
        return BLANK
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, Decimal) and cell.as_tuple().exponent == 0:
        return str(cell)
    raise UnreadableError("id-float" if isinstance(cell, float | Decimal) else "id-type")


def label_of(form: Form, row: Row) -> Any:
    """The name of an event or a page: text without outer blanks."""
    if isinstance(form, dict) and "const" in form:
        return str(form["const"]).strip()
    how = options_of(form)
    cell = cell_of(how, row)
    found = column_of(how, row) if len(how) > 1 else BLANK if cell is None else cell
    return BLANK if found is BLANK else text_of(found).strip(SPACES)


def moment_of(form: Form, row: Row) -> Any:
    """The timestamp of a message."""
    if form == "now":
        return BLANK
    if isinstance(form, dict) and "const" in form:
        return iso(moment(form["const"], {}))
    how = options_of(form)
    cell = row.get(how["column"])
    cell = how.get("default") if cell is None else cell
    return BLANK if cell is None else attempt(row, lambda: iso(moment(cell, how)))


def context_of(forms: dict[str, Form], row: Row) -> Any:
    return members_of(forms, row, empty="omit")


def value_of(form: Form, row: Row) -> Any:
    """Any value form."""
    if isinstance(form, str) or "column" in form or "expr" in form:
        return column_of(options_of(form), row)
    return next(FORMS[word](form, row) for word in FORMS if word in form)


MEMBERS: Final[dict[str, Callable[[Form, Row], Any]]] = {
    "event": label_of,
    "name": label_of,
    "category": label_of,
    "timestamp": moment_of,
    "context": context_of,
    "integrations": value_of,
}


# Value forms


def const_of(form: Form, _row: Row) -> Any:
    return form["const"]


def object_of(form: Form, row: Row) -> Any:
    return members_of(form["object"], row, empty=form.get("empty", "omit"))


def members_of(forms: dict[str, Form], row: Row, *, empty: str) -> Any:
    found = {key: value_of(form, row) for key, form in forms.items()}
    made = {key: value for key, value in found.items() if value is not BLANK}
    return made if made or empty == "keep" else BLANK


def array_of(form: Form, row: Row) -> Any:
    return items_of([value_of(inner, row) for inner in form["array"]], form.get("empty", "omit"))


def items_of(items: list[Any], empty: str) -> Any:
    made = [item for item in items if item is not BLANK]
    return made if made or empty == "keep" else BLANK


def each_of(form: Form, row: Row) -> Any:
    """A list of structs; inside `as`, columns are the struct's fields."""
    cell = row.get(form["each"])
    if cell is None:
        return BLANK
    if not isinstance(cell, list) or not all(isinstance(c, dict | None) for c in cell):
        row.codes.add("not-a-list")
        return BLANK
    inner = [Row(item or {}, row.codes) for item in cell]
    how = form["as"]
    found = [
        value_of(how, one) if isinstance(how, str) else members_of(how, one, empty="omit")
        for one in inner
    ]
    return items_of(found, form.get("empty", "omit"))


def json_of(form: Form, row: Row) -> Any:
    return column_of({"column": form["json"], "type": "json"}, row)


FORMS: Final[dict[str, Callable[[Form, Row], Any]]] = {
    "const": const_of,
    "object": object_of,
    "array": array_of,
    "each": each_of,
    "json": json_of,
}


# Columns with options


def column_of(how: dict[str, Any], row: Row) -> Any:
    """A column: check, map, split, type; then what becomes of a blank."""
    before = set(row.codes)
    cell = cell_of(how, row)
    is_blank = cell is None or cell is BLANK
    found = BLANK if is_blank else attempt(row, lambda: converted(cell, how, row))
    if found is not BLANK:
        return found
    if how.get("default") is not None:
        return how["default"]
    if how.get("required") or how.get("blank") == "reject":
        if row.codes == before:  # nothing in it, and nothing wrong with it
            row.codes.add("required-blank")
        return BLANK
    return {"null": None, "keep": ""}.get(how.get("blank", "omit"), BLANK)


def converted(cell: Any, how: dict[str, Any], row: Row) -> Any:
    """A cell that is there, by the options of its column."""
    if "check" in how:
        checked(text_of(cell), how["check"], row)
    if "map" in how:
        cell = mapped(text_of(cell), how)
        if cell is BLANK or not isinstance(cell, str):
            return cell
    if "split" in how:
        parts = [part.strip(SPACES) for part in text_of(cell).split(how["split"])]
        return items_of([TYPES[how.get("type")](p, how) if p else BLANK for p in parts], "omit")
    return TYPES[how.get("type")](cell, how)


def checked(text: str, pattern: str, row: Row) -> None:
    if pattern == "email":
        pattern = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s.]+$"
    if not re.search(pattern, text):
        row.codes.add("check-failed")


def mapped(text: str, how: dict[str, Any]) -> Any:
    """Look a text up; what is not in the map is as `else` says."""
    other = how.get("else", "reject")
    if text in how["map"]:
        found = how["map"][text]
    elif other == "reject":
        raise UnreadableError("value-unmapped")
    elif other == "keep":
        return text
    else:
        found = other["const"] if isinstance(other, dict) else None
    return BLANK if found is None else found


def text_of(cell: Any) -> str:
    """The value of a scalar as text: digits, true and false, ISO dates."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)


def natural(cell: Any, how: dict[str, Any]) -> Any:
    """A value as its own type says; blank members and items are left out, at any depth."""
    if isinstance(cell, float) and (cell != cell or abs(cell) == float("inf")):  # noqa: PLR0124  NaN
        raise UnreadableError("number-not-finite")
    if isinstance(cell, datetime):
        return as_timestamp(cell, how)
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, list):
        return items_of([natural(c, {}) if c is not None else BLANK for c in cell], "omit")
    if isinstance(cell, dict):
        made = {k: natural(c, {}) for k, c in cell.items() if c is not None}
        made = {k: c for k, c in made.items() if c is not BLANK}
        return made or BLANK
    return Decimal(cell) if type(cell) is int else cell


def as_text(cell: Any, how: dict[str, Any]) -> Any:
    return natural(cell, how) if isinstance(cell, dict | list) else text_of(cell)


def as_number(cell: Any, how: dict[str, Any]) -> Any:
    """Digits stay as they are: 12.30 is 12.30."""
    return read_number(cell, how, whole=False)


def as_integer(cell: Any, how: dict[str, Any]) -> Any:
    return read_number(cell, how, whole=True)


def read_number(cell: Any, how: dict[str, Any], *, whole: bool) -> Any:
    code = "integer-unreadable" if whole else "number-unreadable"
    text = number_text(cell, how)
    if re.fullmatch(r"[+-]?(nan|inf|infinity)", text, re.IGNORECASE):
        raise UnreadableError("number-not-finite")
    if isinstance(cell, float):
        if whole and not (cell.is_integer() and abs(cell) < 2**63):  # past it, digits are made up
            raise UnreadableError(code)
        return Decimal(int(cell)) if whole else cell
    shape = r"[+-]?[0-9]+(\.0*)?" if whole else r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?"
    if not re.fullmatch(shape, text, re.IGNORECASE):
        raise UnreadableError(code)
    if whole:
        return Decimal(text.partition(".")[0])
    if abs(float(text)) == float("inf") and "e" in text.lower():
        raise UnreadableError("number-not-finite")
    return Decimal(text)


def number_text(cell: Any, how: dict[str, Any]) -> str:
    return without_marks(cell.strip(SPACES), how) if isinstance(cell, str) else text_of(cell)


def without_marks(text: str, how: dict[str, Any]) -> str:
    """`1.234,56` → `1234.56`, where the mapping says so; groups are of three digits."""
    point, group = how.get("decimal", "."), how.get("thousands")
    sign, rest = (text[:1], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if group is not None:
        whole, mark, part = rest.partition(point)
        first, *others = whole.split(group)
        sized = 1 <= len(first) <= 3 and all(len(other) == 3 for other in others)
        digits = (whole.replace(group, "") + part).isascii() and all(
            c in "0123456789" for c in whole.replace(group, "") + part
        )
        if others and sized and digits:
            rest = whole.replace(group, "") + mark + part
    if point != ".":
        if "." in rest:
            return "?"
        rest = rest.replace(point, ".")
    return sign + rest


def as_boolean(cell: Any, how: dict[str, Any]) -> Any:
    if isinstance(cell, bool):
        return cell
    word = text_of(cell).strip(SPACES).lower()
    for result, words in ((True, how.get("true", TRUE)), (False, how.get("false", FALSE))):
        listed = [words] if isinstance(words, str) else words
        if word in [one.lower() for one in listed]:
            return result
    raise UnreadableError("boolean-unreadable")


def as_json(cell: Any, how: dict[str, Any]) -> Any:
    if not isinstance(cell, str):
        return natural(cell, how)
    try:
        return json.loads(cell, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)
    except (ValueError, InvalidOperation):
        raise UnreadableError("json-unreadable") from None


def _refuse(name: str) -> Any:
    raise ValueError(name)


# Times


def as_timestamp(cell: Any, how: dict[str, Any]) -> Any:
    found = moment(cell, how)
    if how.get("as") == "unix":
        return Decimal((found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1))
    return iso(found)


def as_date(cell: Any, how: dict[str, Any]) -> Any:
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    return moment(cell, {**how, "timezone": "UTC"}).date().isoformat()


def iso(found: datetime) -> str:
    """UTC with Z and exactly three decimals; finer ones are cut."""
    wall = found.astimezone(UTC)
    day = f"{wall.year:04}-{wall.month:02}-{wall.day:02}"
    return f"{day}T{wall:%H:%M:%S}.{wall.microsecond // 1000:03}Z"


def moment(cell: Any, how: dict[str, Any]) -> datetime:
    """Any time → an instant. Of several formats the last one's fault counts."""
    if isinstance(cell, datetime):
        return placed(cell, how)
    if isinstance(cell, date):
        return placed(datetime(cell.year, cell.month, cell.day), how)  # noqa: DTZ001  a wall time
    formats = how.get("format", "iso8601")
    fault = UnreadableError("time-unreadable")
    for one in [formats] if isinstance(formats, str) else formats:
        try:
            return read_time(text_of(cell).strip(SPACES), one, how)
        except UnreadableError as found:
            fault = found
        except (ValueError, OverflowError):
            fault = UnreadableError("time-unreadable")
    raise fault


def read_time(text: str, form: str, how: dict[str, Any]) -> datetime:
    if form == "iso8601":
        return placed(iso_wall(text), how)
    if form in {"unix_s", "unix_ms", "unix_us"}:
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
            raise UnreadableError("time-unreadable")
        per_second = {"unix_s": 1, "unix_ms": 1000, "unix_us": 1_000_000}[form]
        micros = int(Decimal(text) * 1_000_000 / per_second // 1)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return placed(datetime.strptime(text, form), how)  # noqa: DTZ007  placed by its zone


def iso_wall(text: str) -> datetime:
    """RFC 3339, with the freedoms that exports take: a space, no seconds, no zone, date only."""
    shape = (
        r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?"
        r" ?([Zz]|[+-]\d\d(?::?\d\d)?)?"
    )
    found = re.fullmatch(shape, text, re.ASCII)
    if not found:
        raise UnreadableError("time-unreadable")
    day, clock, second, part, zone = found.groups()
    micros = (part or "").ljust(6, "0")[:6]
    wall = datetime.fromisoformat(f"{day}T{clock or '00:00'}:{second or '00'}.{micros}")
    if not zone:
        return wall
    digits = "+0000" if zone in "Zz" else zone.replace(":", "").ljust(5, "0")
    if int(digits[1:3]) > 23 or int(digits[3:]) > 59:
        raise UnreadableError("time-unreadable")
    shift = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:]))
    return wall.replace(tzinfo=UTC) - (shift if digits[0] == "+" else -shift)


def placed(wall: datetime, how: dict[str, Any]) -> datetime:
    """A wall time in its zone; what a clock change skips or repeats is never guessed."""
    if wall.tzinfo is not None:
        return wall
    if "timezone" not in how:
        raise UnreadableError("time-naive")
    zone = ZoneInfo(how["timezone"])
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first
    if first.astimezone(zone).replace(tzinfo=None) != wall:
        raise UnreadableError("time-skipped")
    ambiguous = how.get("ambiguous", "reject")
    if ambiguous == "reject":
        raise UnreadableError("time-ambiguous")
    return first if ambiguous == "earliest" else second


TYPES: Final[dict[str | None, Callable[[Any, dict[str, Any]], Any]]] = {
    None: natural,
    "text": as_text,
    "number": as_number,
    "integer": as_integer,
    "boolean": as_boolean,
    "timestamp": as_timestamp,
    "date": as_date,
    "json": as_json,
}


# Comparing


def is_same(found: Any, expected: Any) -> bool:
    """Whether a message parsed with exact digits is the expected one, digit by digit."""
    if isinstance(expected, dict):
        keys = isinstance(found, dict) and found.keys() == expected.keys()
        return keys and all(is_same(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        sizes = isinstance(found, list) and len(found) == len(expected)
        return sizes and all(map(is_same, found, expected))
    if isinstance(expected, Decimal):
        return isinstance(found, Decimal) and found.as_tuple() == expected.as_tuple()
    if isinstance(expected, bool) or not isinstance(expected, int | float | Fraction):
        return type(found) is type(expected) and bool(found == expected)
    if isinstance(expected, float):
        return isinstance(found, Decimal) and float(found) == expected
    return isinstance(found, Decimal) and Fraction(found) == expected  # computed: its value


# The program, asked the same


@dataclass
class Built:
    """What the program makes of a file: by row, counted from 0."""

    messages: dict[int, list[Message]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    """As sent: `,{…}` once a message."""
    rejects: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """Column, code, reason."""
    held: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """The first row of each span."""
    rows: int = 0

    @property
    def codes(self) -> dict[int, str]:
        """The code of each rejected row."""
        return {row: code for row, (_, code, _) in self.rejects.items()}

    def ids(self, row: int) -> list[str]:
        """The message ids of a row."""
        return [message["messageId"] for message in self.messages[row]]

    def bodies(self) -> dict[int, list[Message]]:
        """The messages without their ids."""
        return {
            row: [{k: v for k, v in one.items() if k != "messageId"} for one in messages]
            for row, messages in self.messages.items()
        }


NOW_MS: Final = 1_893_456_000_000
"""2030-01-01, the clock of `build`."""


def written(document: dict[str, Any], path: Path) -> Path:
    """Write a mapping as YAML: as JSON, which YAML contains, with the escapes of YAML."""
    text = json.dumps(document)
    pairs = r"\\ud([89ab][0-9a-f]{2})\\ud([c-f][0-9a-f]{2})"
    path.write_text(re.sub(pairs, _astral, text), encoding="utf-8")
    return path


def _astral(found: re.Match[str]) -> str:
    high, low = int(found[1], 16) - 0x800, int(found[2], 16) - 0xC00
    return f"\\U{0x10000 + (high << 10) + low:08x}"


def plan_for(document: dict[str, Any], folder: Path, *, now_ms: int = NOW_MS) -> Plan:
    """Load the mapping and open its source, which is named relative to the folder."""
    mapping = load_mapping(written(document, folder / "mapping.yaml"))
    delivery, guards = mapping.document.delivery, mapping.document.guards
    limits = Limits(delivery.batch_bytes, delivery.batch_messages)
    return make_plan(mapping, sources=[], guards=guards, limits=limits, now_ms=now_ms).hashed({})


def build(document: dict[str, Any], folder: Path, *, start: int = 0, now_ms: int = NOW_MS) -> Built:
    """Encode the source of a mapping, from a row on, all files as one."""
    plan = plan_for(document, folder, now_ms=now_ms)
    made = Built()
    for shard in plan.shards:
        base = made.rows
        mark = Watermark(plan.job.lanes)
        for span in spans(open_shard(plan.job, shard), start, None, plan.job.grouping):
            given = encodings(plan.job, shard, span, mark)
            made.starts.append(base + span.start)
            for row, text in zip(
                given.firsts.tolist(), given.texts.joined().to_pylist(), strict=True
            ):
                made.texts[base + row] = text
                made.messages[base + row] = parsed(text)
            for told in given.rejects.to_pylist():
                why = (told["column"], told["code"], told["reason"])
                assert made.rejects.setdefault(base + told["row"], why) is why, "told twice"
            made.held += [base + told["row"] for told in given.held.to_pylist()]
            made.rows = base + span.stop
    return made


def parsed(text: str) -> list[Message]:
    """`,{…},{…}` → messages with exact digits; a key that comes twice is no message."""
    text.encode()  # half a surrogate pair could not be sent
    assert text.startswith(",")
    found = json.loads(
        f"[{text[1:]}]",
        parse_float=Decimal,
        parse_int=Decimal,
        parse_constant=_refuse,
        object_pairs_hook=_once,
    )
    assert isinstance(found, list)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), f"a key comes twice: {pairs}"
    return dict(pairs)
