"""Compiled expressions give what Python gives on the same rows, and reject only what is asked for.

`expressions.py` is the second opinion: Python's own parser and `eval`, row by row.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pytest
from expressions import RejectedError, row_of, value_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backfill.cells import Cells, Frame, texts_of
from backfill.codes import words
from backfill.evaluate import evaluate, is_true
from backfill.mapping.expression import parse
from backfill.mapping.functions import FUNCTIONS, Kind
from backfill.mapping.kinds import faults_in
from backfill.operand import kind_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SLOW: Final = settings(max_examples=300, deadline=None, print_blob=True)
TYPES: Final[dict[str, pa.DataType]] = {
    "t1": pa.string(),
    "t2": pa.string(),
    "digits": pa.string(),
    "i1": pa.int64(),
    "i2": pa.int32(),
    "f1": pa.float64(),
    "d1": pa.decimal128(12, 3),
    "b1": pa.bool_(),
    "b2": pa.bool_(),
    "at": pa.timestamp("ms", "UTC"),
    "day": pa.date32(),
    "list": pa.list_(pa.string()),
    "First Name": pa.string(),
}


def frame_of(rows: list[dict[str, Any]], types: dict[str, pa.DataType] | None = None) -> Frame:
    """A frame of rows, as the reader of a Parquet file would give it."""
    kinds = TYPES if types is None else types
    columns = {
        name: Cells(pa.array([row.get(name) for row in rows], kind)) for name, kind in kinds.items()
    }
    return Frame(len(rows), columns)


def failed(frame: Frame) -> set[int]:
    """The rows that are rejected."""
    return {int(row) for fault in frame.faults for row in fault.rows}


def told(frame: Frame) -> list[str]:
    """What the rejects say: column, code, row, value."""
    return [
        f"{fault.column} {fault.code} {row} {value}"
        for fault in frame.faults
        for row, value in zip(fault.rows.tolist(), fault.values, strict=True)
    ]


def values(text: str, frame: Frame) -> list[Any]:
    """The column of an expression as plain values; numbers as fractions."""
    parsed = parse(text)
    assert not parsed.faults, parsed.faults
    cells = evaluate(text, frame)
    if cells.is_json:
        return [_number(one) for one in texts_of(cells).to_pylist()]
    made = cells.data.to_pylist()
    assert len(made) == frame.count
    return [Fraction(str(one)) if _is_number(one) else one for one in made]


def _is_number(one: Any) -> bool:
    return isinstance(one, int | float | Decimal) and not isinstance(one, bool)


def _number(text: str | None) -> Any:
    try:
        return None if text is None else Fraction(Decimal(text))
    except ArithmeticError:
        return text


# Generated expressions

ALPHABET: Final = "abAB zé0.1,-ßÉ"
TEXTS: Final = st.text(st.sampled_from(ALPHABET), max_size=6)
LITERAL_TEXTS: Final = st.one_of(TEXTS.map(repr), st.sampled_from(['"a"', "''", "r'b'"]))
INTEGERS: Final = st.integers(-20, 20) | st.integers(-(1 << 63), (1 << 63) - 1)
FLOATS: Final = st.decimals(-9999, 9999, places=2).map(float) | st.sampled_from([0.1, 1 / 3, 1e-9])
NUMERALS: Final = st.one_of(
    st.decimals(-9999, 9999, places=3).map(str),
    st.integers(-9, 99).map(str),
    st.sampled_from(["007", " 5 ", "+5", ".5", "5.", "x", "1,5", "", "-", "17850.0", "-0.50"]),
)
MOMENTS: Final = st.datetimes(
    datetime(1969, 12, 1),  # noqa: DTZ001  hypothesis adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
ROWS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "t1": st.none() | TEXTS,
            "t2": st.none() | TEXTS,
            "digits": st.none() | NUMERALS,
            "i1": st.none() | INTEGERS,
            "i2": st.none() | st.integers(-9, 9),
            "f1": st.none() | FLOATS,
            "d1": st.none() | st.decimals(-999, 999, places=3),
            "b1": st.none() | st.booleans(),
            "b2": st.none() | st.booleans(),
            "at": st.none() | MOMENTS,
            "day": st.none() | st.dates(date(1900, 1, 1), date(2200, 1, 1)),
            "list": st.none() | st.lists(TEXTS, max_size=3),
            "First Name": st.none() | TEXTS,
        }
    ),
    max_size=6,
)


def of_one(name: str, *arguments: SearchStrategy[str]) -> SearchStrategy[str]:
    """A call."""
    return st.tuples(*arguments).map(lambda given: f"{name}({', '.join(given)})")


def joined(pattern: str, *parts: SearchStrategy[str]) -> SearchStrategy[str]:
    """A pattern with {} for each part."""
    return st.tuples(*parts).map(lambda given: pattern.format(*given))


INSERTED: Final = ["t1", "i1", "d1", "b1", "upper(t2)", "at", "day"]


def texts(depth: int) -> SearchStrategy[str]:
    """Expressions of texts."""
    leaves = st.sampled_from(["t1", "t2", "digits", 'col("First Name")']) | LITERAL_TEXTS
    if not depth:
        return leaves
    text, number, flag = texts(depth - 1), numbers(depth - 1), flags(depth - 1)
    few = st.integers(-4, 4).map(str)
    return st.one_of(
        leaves,
        joined("({} + {})", text, text),
        joined("({} if {} else {})", text, flag, text),
        joined("({} if {} else None)", text, flag),
        *(of_one(name, text) for name in ("lower", "upper", "trim", "sha256")),
        of_one("text", number | flag | text | st.sampled_from(["at", "day"])),
        of_one("concat", text, number, flag),
        of_one("coalesce", text, text, text),
        of_one("coalesce", st.just("None"), text),
        of_one("replace", text, text, text),
        of_one("replace", text, LITERAL_TEXTS, LITERAL_TEXTS),
        of_one("substring", text, few),
        of_one("substring", text, few, few),
        of_one("substring", text, of_one("length", text), few),
        of_one("join", st.sampled_from(["list", "split(t1, 'a')"]), st.sampled_from(["','", "''"])),
        of_one("iso8601", st.sampled_from(["at", "day"])),
        of_one("min", text, text),
        of_one("max", text, text, text),
        joined("case({}, {{{}: {}, 'k': {}}}, {})", text, LITERAL_TEXTS, text, text, text),
        joined('f"{{{}}} {{{}}}é{{{}}}"', *[st.sampled_from(INSERTED)] * 3),
    )


def numbers(depth: int) -> SearchStrategy[str]:
    """Expressions of numbers."""
    leaves = st.sampled_from(["i1", "i2", "f1", "d1"]) | st.sampled_from(
        ["0", "1", "7", "-3", "0.1", "2.50", "100", "9007199254740993", "1_000.5", "-0.75"]
    )
    if not depth:
        return leaves
    text, number, flag = texts(depth - 1), numbers(depth - 1), flags(depth - 1)
    operators = st.sampled_from(["+", "-", "*", "//", "%", "/"])
    digits = st.integers(-3, 4).map(str)
    return st.one_of(
        leaves,
        joined("({} {} {})", number, operators, number),
        joined("({} {} {})", number, operators, number),
        joined("-({})", number),
        joined("({} if {} else {})", number, flag, number),
        *(of_one(name, number) for name in ("abs", "floor", "ceil", "round", "number")),
        of_one("round", number, digits),
        of_one("number", st.just("digits") | text),
        of_one("integer", st.just("digits") | number),
        of_one("length", text | st.just("list")),
        of_one("coalesce", number, number),
        of_one("min", number, number),
        of_one("max", number, number, number),
        of_one("unix", st.just("at")),
        joined("case({}, {{1: {}, 0.1: {}}}, {})", number, number, number, number),
    )


def flags(depth: int) -> SearchStrategy[str]:
    """Expressions of booleans."""
    leaves = st.sampled_from(["b1", "b2", "True", "False"])
    if not depth:
        return leaves
    text, number, flag = texts(depth - 1), numbers(depth - 1), flags(depth - 1)
    compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    return st.one_of(
        leaves,
        joined("({} and {})", flag, flag),
        joined("({} or {} or {})", flag, flag, flag),
        joined("(not {})", flag),
        joined("({} {} {})", number, compare, number),
        joined("({} {} {} {} {})", number, compare, number, compare, number),
        joined("({} {} {})", text, compare, text),
        joined("(at {} at)", compare),
        joined("(day {} day)", compare),
        joined("({} == {})", flag, flag),
        joined("({} is None)", text | number | flag),
        joined("({} is not None)", text | number | flag),
        joined("({} in ({}, {}))", text, LITERAL_TEXTS, LITERAL_TEXTS),
        joined("({} not in [1, 0.1, {}])", number, st.integers(-3, 3).map(str)),
        joined("({} in list)", text),
        joined("({} in {})", text, text),
        joined("({} if {} else {})", flag, flag, flag),
        of_one("matches", text, st.sampled_from(["'^a'", "'[0-9]+'", "r'^\\d*$'"])),
        *(of_one(name, text, text) for name in ("startswith", "endswith", "contains")),
        of_one("boolean", st.sampled_from(["b1", "digits", "i2", "text(b2)"])),
        of_one("coalesce", flag, flag),
    )


EXPRESSIONS: Final = st.one_of(texts(2), numbers(2), flags(2), numbers(3), flags(3))


def expected(text: str, rows: list[dict[str, Any]]) -> list[Any]:
    """What Python says of each row."""
    found: list[Any] = []
    for row in rows:
        try:
            found.append(value_of(text, row_of(row)))
        except RejectedError:
            found.append(RejectedError)
    return found


@SLOW
@given(EXPRESSIONS, ROWS)
@example("i1 % -7 // 3", [{"i1": 9223372036854775807}, {"i1": -9223372036854775808}])
@example("i1 * i1 - 1", [{"i1": 9223372036854775807}, {"i1": 5}])
@example("-i1", [{"i1": -9223372036854775808}])
@example("i1 / 3", [{"i1": 9007199254740993}, {"i1": -1}])
@example("round(d1 / 8, 2)", [{"d1": Decimal("1.005")}, {"d1": Decimal("-0.1")}])
@example("f1 * 3", [{"f1": 0.1}, {"f1": 1e22}, {"f1": 5e-324}, {"f1": -0.0}])
@example("f1 + 0.2 == 0.3", [{"f1": 0.1}])
@example("concat(f1, b1)", [{"f1": 1e-9, "b1": True}, {"f1": 1e-6, "b1": True}])
def test_a_compiled_expression_gives_what_python_gives(
    text: str, rows: list[dict[str, Any]]
) -> None:
    rows = [{name: row.get(name) for name in TYPES} for row in rows]
    frame = frame_of(rows)
    kinds = {name: kind_of(kind) for name, kind in TYPES.items()}
    parsed = parse(text)
    assert not parsed.faults, parsed.faults
    assert not faults_in(parsed, kinds)
    found = values(text, frame)
    wanted = expected(text, rows)
    assert failed(frame) == {at for at, one in enumerate(wanted) if one is RejectedError}
    for at, one in enumerate(wanted):
        if one is not RejectedError:
            assert found[at] == one, (at, rows[at])
            assert type(found[at]) is type(one)


def test_every_function_is_compared_with_python() -> None:
    from expressions import FUNCTIONS as THEIRS  # noqa: PLC0415

    assert FUNCTIONS.keys() - THEIRS.keys() == {"timestamp", "date"}  # test_timestamp has them


# What is not evaluated rejects nothing

SHAKY: Final[list[dict[str, Any]]] = [{"t1": "12"}, {"t1": "x"}, {"t1": None}]
NUMERIC: Final = 'matches(t1, "^[0-9]+$")'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"number(t1) if {NUMERIC} else None", [12, None, None]),
        (f"None if not {NUMERIC} else number(t1)", [12, None, None]),
        (f"{NUMERIC} and number(t1) > 3", [True, False, None]),
        (f"not {NUMERIC} or number(t1) > 3", [True, True, None]),
        ('t1 != "x" and number(t1) > 3', [True, False, None]),
        ('t1 == "x" or number(t1) > 3', [True, True, None]),
        ('t1 < "x" < text(number(t1))', [False, False, None]),
        ('coalesce(None if t1 == "x" else t1, "0") == text(number(t1)) or True', "x"),
        ('case(t1, {"x": 0, "12": number(t1)}, 5)', [12, 0, 5]),
        ('case(t1, {"x": 0}, number(t1))', [12, 0, None]),
        ("coalesce(t1, text(number(t1)))", ["12", "x", None]),
        ('coalesce(None if t1 is not None else 1, 7, number("no"))', [7, 7, 1]),
        ('number("no") if t1 == "none" else 1', [1, 1, 1]),
        ('(number(t1) if t1 != "x" else 1) / (0 if t1 == "no" else 1)', [12, 1, 1]),
        ('1 / 0 if t1 == "no" else 2', [2, 2, 2]),
        ('join(split(t1, ","), "") if t1 == "x" else text(number(t1))', ["12", "x", None]),
    ],
)
def test_a_branch_that_is_not_taken_rejects_no_row(text: str, found: Any) -> None:
    frame = frame_of(SHAKY)
    made = values(text, frame)
    if found == "x":  # looked at, so it does reject
        assert told(frame) == ["t1 number-unreadable 1 x"]
    else:
        assert told(frame) == []
        assert made == found


def test_a_branch_that_is_taken_rejects_its_rows_only() -> None:
    frame = frame_of([{"t1": "x", "b1": True}, {"t1": "y", "b1": False}, {"t1": "z", "b1": None}])
    assert values("number(t1) if b1 else 0", frame) == [None, 0, 0]
    assert told(frame) == ["t1 number-unreadable 0 x"]


def test_a_condition_of_none_is_not_true_and_a_failed_one_is_noted() -> None:
    frame = frame_of([{"t1": "5"}, {"t1": None}, {"t1": "x"}, {"t1": "1"}])
    found = is_true("number(t1) > 3", frame)
    assert found.dtype == np.bool_
    assert found.tolist() == [True, False, False, False]
    assert told(frame) == ["t1 number-unreadable 2 x"]
    assert is_true("True", frame).tolist() == [True] * 4
    assert is_true("None", frame).tolist() == [False] * 4


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("number(t1) * number(t2)", ["t2 number-unreadable 0 y"]),
        ("integer(t1)", ["t1 integer-unreadable 0 1.5"]),
        ("boolean(t2)", ["t2 boolean-unreadable 0 y2"]),
        ("timestamp(t1)", ["t1 time-unreadable 0 1.5"]),
        ('timestamp(replace(t1, "1.5", "2020-01-01 10:00"))', ["t1 time-naive 0 2020-01-01 10:00"]),
        ("1 / (i1 - 5)", ["i1 division-by-zero 0 0"]),
        ("i1 % 0", ["0 division-by-zero 0 0"]),
        ("1e300 * i1 * 1e300", ["i1 number-too-long 0 None"]),
        ("f1 + 1", ["f1 number-not-finite 0 nan"]),
        ('number("no") + i1', ['"no" number-unreadable 0 no']),
    ],
)
def test_a_reject_names_the_column_and_the_value_that_failed(text: str, faults: list[str]) -> None:
    row = {"t1": "1.5", "t2": "y2" if "boolean" in text else "y", "i1": 5, "f1": float("nan")}
    frame = frame_of([row])
    values(text, frame)
    assert told(frame) == faults


# Values whose kind the source does not tell (JSON lines)


def json_frame(*texts_: str | None) -> Frame:
    """A column j of JSON texts."""
    return Frame(len(texts_), {"j": Cells(pa.array(texts_, pa.string()), is_json=True)})


MIXED: Final = ['"a"', "1.50", "true", '[1,"x"]', None]
TYPE: Final = "value-type"


@pytest.mark.parametrize(
    ("text", "found", "rejected"),
    [
        ('j == "a"', [True, None, None, None, None], {1, 2, 3}),
        ("j == 1.5", [None, True, None, None, None], {0, 2, 3}),
        ('j in ("a", 1.5, True)', [True, True, True, None, None], {3}),
        ("j == j", [True, True, True, None, None], {3}),
        ("j + j", ["aa", 3, None, None, None], {2, 3}),
        ("j * 2", [None, 3, None, None, None], {0, 2, 3}),
        ('j + "!"', ["a!", None, None, None, None], {1, 2, 3}),
        ("text(j)", ["a", Fraction(3, 2), "true", None, None], {3}),
        ("length(j)", [1, None, None, 2, None], {1, 2}),
        ('"x" in j', [False, None, None, None, None], {1, 2, 3}),
        ("not j", [None, None, False, None, None], {0, 1, 3}),
        ('case(j, {"a": 1, 1.5: 2, True: 3}, 4)', [1, 2, 3, 4, 4], set()),
        ("j is None", [False, False, False, False, True], set()),
        ("upper(j)", ["A", None, None, None, None], {1, 2, 3}),
    ],
)
def test_values_of_several_types_are_judged_one_by_one(
    text: str, found: list[Any], rejected: set[int]
) -> None:
    frame = json_frame(*MIXED)
    made = values(text, frame)
    if text == "text(j)":
        made = ["a", Fraction(made[1]), *made[2:]]
    assert failed(frame) == rejected
    assert [one for at, one in enumerate(made) if at not in rejected] == [
        one for at, one in enumerate(found) if at not in rejected
    ]


def test_a_value_of_the_wrong_type_is_rejected_with_these_words() -> None:
    frame = json_frame('"12"')
    values("j * 2", frame)
    (fault,) = frame.faults
    assert (fault.column, fault.code) == ("j", TYPE)
    assert words(fault.code, fault.values[0]) == (
        "'12' is of a type that the expression cannot use here; convert it in the expression with"
        " text(), number(), boolean() or timestamp()"
    )


def test_branches_of_different_types_become_json_of_each() -> None:
    frame = json_frame('"a"', "1", None)
    made = evaluate("j if j is not None else True", frame)
    assert made.is_json
    assert made.data.to_pylist() == ['"a"', "1", "true"]


# Figures


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("0.1 + 0.2", "0.3"),
        ("12.30", "12.30"),
        ("12.30 * 2", "24.6"),
        ("1 / 3", "0.3333333333333333"),
        ("10 / 4", "2.5"),
        ("12.30 / 100", "0.123"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7 % -3", "-2"),
        ("7.5 // 2", "3"),
        ("12345678901234567890 * 10", "123456789012345678900"),
        ("9223372036854775807 + 1", "9223372036854775808"),
        ("round(2.5)", "2"),
        ("round(3.5)", "4"),
        ("round(2.675, 2)", "2.68"),
        ("round(1250, -2)", "1200"),
        ("floor(-0.5)", "-1"),
        ("0.30000000000000001 * 1", "0.30000000000000001"),
        ("1e-30 + 1", "1.000000000000000000000000000001"),
        ('number("007.10")', "7.10"),
        ('text(number("007.10")) ', "7.10"),
        ('number("1.234,50", decimal=",", thousands=".")', "1234.50"),
        ("text(123456789012.0)", "123456789012.0"),
        ("0 * -1", "0"),
    ],
)
def test_numbers_keep_their_digits(text: str, digits: str) -> None:
    frame = frame_of([{}])
    cells = evaluate(text.strip(), frame)
    assert texts_of(cells).to_pylist() == [digits]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('substring("abcd", 1)', "bcd"),
        ('substring("abcd", 0, 2)', "ab"),
        ('substring("abcd", -2)', "cd"),
        ('substring("abcd", -2, 2)', "cd"),
        ('substring("ab", -4, 3)', "ab"),
        ('substring("abcd", 9)', ""),
        ('substring("abcd", 1, -1)', ""),
        ('substring("éß😀x", 1, 2)', "ß😀"),
        ('title("o\'neil ß mc-donald 3rd")', "O'Neil ẞ Mc-Donald 3Rd"),
        ('upper("straße")', "STRAẞE"),
        ('trim("\u00a0 a b\t")', "a b"),
        ('replace("aa", "", "-")', "-a-a-"),
        ('replace("a.b", ".", "")', "ab"),
        ('split(" a , ,b,", ",")', ["a", "b"]),
        ('join(split("a,b", ","), "; ")', "a; b"),
        ('sha256("é ")', hashlib.sha256("é ".encode()).hexdigest()),
        ('length("é😀")', 2),
        ('f"{1 == 1}"', "true"),
        ('"%" + text(5)', "%5"),
        ("max(1, None)", None),
        ('concat("a", None)', None),
        ('f"a{None}"', None),
        ('case(None, {"a": 1}, 2)', 2),
        ("1 in (1, 2) and None", None),
        ("False and None", False),
        ("None or True", True),
    ],
)
def test_a_function_does_what_its_line_says(text: str, found: Any) -> None:
    assert values(text, frame_of([{}])) == [found]
    assert values(text, frame_of([{}, {}])) == [found] * 2


def test_a_large_float_is_a_text_without_an_exponent() -> None:
    """Arrow writes 12345678901.0 as 1.2345678901e+10, which is no phone number."""
    frame = frame_of([{"f1": 12345678901.0}, {"f1": 1e22}, {"f1": 0.5}])
    assert values('f"+{f1}"', frame) == ["+12345678901", "+1e+22", "+0.5"]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(FLOATS | st.floats(allow_nan=False, allow_infinity=False), FLOATS), max_size=4
    )
)
def test_what_a_row_gives_does_not_depend_on_the_rows_beside_it(
    pairs: list[tuple[float, float]],
) -> None:
    """A resume cuts record batches elsewhere, and must build the same bytes."""
    rows = [{"f1": a, "d1": None, "i1": n, "t1": repr(b)} for n, (a, b) in enumerate(pairs)]
    for text in ("f1 * 3 - i1", "f1 / 7 + number(t1)", "coalesce(number(t1), f1)", "max(f1, i1)"):
        frame = frame_of(rows)
        whole = texts_of(evaluate(text, frame)).to_pylist()
        alone = [texts_of(evaluate(text, frame_of([row]))).to_pylist()[0] for row in rows]
        assert whole == alone


# Times


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('timestamp("2020-01-02T03:04:05+01:00")', datetime(2020, 1, 2, 2, 4, 5, tzinfo=UTC)),
        (
            'timestamp("02.01.2020 03:04", "%d.%m.%Y %H:%M", "Europe/Berlin")',
            datetime(2020, 1, 2, 2, 4, tzinfo=UTC),
        ),
        ('timestamp(1577934245, format="unix_s")', datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            'timestamp("2020-10-25T02:30", timezone="Europe/Berlin", ambiguous="latest")',
            datetime(2020, 10, 25, 1, 30, tzinfo=UTC),
        ),
        ('timestamp(day, timezone="Europe/Berlin")', datetime(2020, 5, 31, 22, tzinfo=UTC)),
        ('date("31.12.2020", "%d.%m.%Y")', date(2020, 12, 31)),
        ('date(at, timezone="Asia/Tokyo")', date(2020, 1, 2)),
        ("date(at)", date(2020, 1, 1)),
        ("iso8601(at)", "2020-01-01T20:00:00.123Z"),
        ("text(day)", "2020-06-01"),
        ("unix(at)", 1577908800),
        ('unix(timestamp("1969-12-31T23:59:59.5Z"))', -1),
        ('at > timestamp("2020-01-01T19:00:00Z")', True),
        ('day == date("2020-06-01")', True),
        ("min(at, timestamp(day, timezone='UTC'))", datetime(2020, 1, 1, 20, 0, 0, 123000, UTC)),
    ],
)
def test_times_are_read_and_written_as_the_options_do(text: str, found: Any) -> None:
    at = datetime(2020, 1, 1, 20, 0, 0, 123000, UTC)
    frame = frame_of([{"at": at, "day": date(2020, 6, 1)}])
    assert values(text, frame) == [found]
    assert told(frame) == []


def test_a_time_of_a_column_without_a_zone_needs_one() -> None:
    wall = {"wall": pa.timestamp("us")}
    rows = [{"wall": datetime(2020, 1, 1, 12)}]  # noqa: DTZ001  a wall time
    frame = frame_of(rows, wall)
    assert values("unix(wall)", frame) == [None]
    assert told(frame) == ["wall time-naive 0 2020-01-01 12:00:00.000000"]
    frame = frame_of(rows, wall)
    assert values('unix(timestamp(wall, timezone="UTC"))', frame) == [1577880000]
    assert told(frame) == []


@pytest.mark.parametrize(
    "text",
    [
        *("t1 + t2", "f1 * i1 / d1", "b1 and not b2 or i1 > 2", 'case(t1, {"a": 1}, 2)', "1 + 1"),
        *('split(t1, ",")', '"a" in list', "coalesce(i1, 0)", "sha256(t1)", "max(i1, f1)"),
        *("t1 if b1 else t2", 'f"{t1}{at}"', "round(f1, 2)", 'join(list, "")', "substring(t1, i1)"),
        *("date(t1)", "timestamp(t1)", "unix(at)", "number(t1)", "i1 in (1, 2)", "-f1", "None"),
    ],
)
def test_no_rows_give_no_values(text: str) -> None:
    frame = frame_of([])
    assert values(text, frame) == []
    assert is_true("b1", frame).tolist() == []


def test_a_column_that_is_not_there_is_none_in_every_row() -> None:
    frame = Frame(2, {})
    assert values("coalesce(missing, 'x') + 'y'", frame) == ["xy", "xy"]
    assert values("missing * 2 > 1", frame) == [None, None]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize(
    "text",
    [
        *("upper(t1) + i1", "lower(i1)", "-t1", "t1 * 2", "round(t1)", "abs(missing)", "not t1"),
        *("iso8601(t1)", "unix(missing)", "length(i1)", "join(t1, ',')", "f'{list}'", "list == 1"),
        *("substring(t1, t1)", "t1 in i1", "min(t1, i1)", "text(list)", "replace(i1, t1, t1)"),
        *("number(list)", "date(list)", "matches(i1, 'a')", "i1 if t1 else list", "at + 1"),
    ],
)
def test_kinds_that_do_not_fit_reject_the_rows_that_have_them(text: str, count: int) -> None:
    """JSON lines tell their types as they come, so nothing could be told before."""
    row = {"t1": "a", "i1": 5, "list": ["x"], "at": datetime(2020, 1, 1, tzinfo=UTC)}
    frame = frame_of([*[row] * count, {}][: max(count, 1)] if count else [])
    found = values(text, frame)
    assert len(found) == frame.count
    assert failed(frame) == (set() if "missing" in text else set(range(count)))


def test_numbers_of_every_arrow_type_are_exact() -> None:
    types = {
        **{f"i{n}": kind for n, kind in enumerate([pa.int8(), pa.uint8(), pa.uint64()])},
        "big": pa.decimal256(60, 2),
        "small": pa.float32(),
        "empty": pa.null(),
    }
    row = {"i0": -128, "i1": 255, "i2": (1 << 64) - 1, "big": Decimal(10**50), "small": 0.1}
    frame = frame_of([row], types)
    assert values("i0 + i1 + i2", frame) == [-128 + 255 + (1 << 64) - 1]
    assert values("big * 10 + small", frame) == [Fraction(10**51) + Fraction(1, 10)]
    assert values("empty + 1", frame) == [None]
    assert {kind_of(kind) for kind in types.values()} == {Kind.INTEGER, Kind.NUMBER, Kind.NONE}
