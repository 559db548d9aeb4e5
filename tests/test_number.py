"""Numbers keep every digit; what is no number is told, not guessed. Against `decimal`."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import UnreadableError, read_number

from backfill.number import numbers

MANY: Final = settings(max_examples=200, deadline=None, print_blob=True)
GRAMMAR: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def read(texts: list[str | None], **how: Any) -> list[str | None]:
    """What is sent for each text: digits, or the code of what is wrong with it."""
    found, failed = numbers(pa.array(texts, pa.string()), **how)
    assert len(found) == len(texts)
    made: list[str | None] = found.to_pylist()
    for code, at in failed:
        for row in at.nonzero()[0]:
            assert made[row] is None, "a number that failed twice, or was sent too"
            made[row] = code.value
    return made


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        *(
            ("12.30", "12.30"),
            ("0", "0"),
            ("-0", "-0"),
            ("007", "7"),
            ("00", "0"),
            ("0.50", "0.50"),
        ),
        *(("+5", "5"), (".5", "0.5"), ("-.5", "-0.5"), ("5.", "5"), ("+.5e1", "0.5e1")),
        *(("1e3", "1e3"), ("1E-7", "1E-7"), ("5.e2", "5e2"), (" 5 ", "5"), ("\t5\n", "5")),
        *(("9007199254740993", "9007199254740993"), ("-00.10", "-0.10"), ("1e-400", "1e-400")),
        ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
    ],
)
def test_a_number_is_sent_with_its_own_digits(text: str, sent: str) -> None:
    assert read([text]) == [sent]
    assert read([text, "x"]) == [sent, "number-unreadable"]


@pytest.mark.parametrize(
    "text",
    [
        *("abc", "-", "+", ".", "1.2.3", "--1", "+-1", "1e", "e5", "1e+", "0x10", "1_000", "1 000"),
        *("١٢", "½", "1,5", "1/2", "5%", "$5", "1e5.5", "−5", "５", "5-", "1\x000", "1\u200b"),
    ],
)
def test_what_is_no_number_is_told(text: str) -> None:
    assert read([text]) == ["number-unreadable"]
    assert read([text, "1"], whole=True) == ["integer-unreadable", "1"]


@pytest.mark.parametrize("text", ["NaN", "nan", "inf", "-Infinity", "+INF", "1e400", "-1e309"])
def test_what_json_has_no_number_for_is_told(text: str) -> None:
    assert read([text, "1"]) == ["number-not-finite", "1"]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        *(("17850.0", "17850"), ("5.", "5"), ("-3.000", "-3"), ("007", "7"), ("+8", "8")),
        *(("1" * 40, "1" * 40), ("17850.5", None), ("1e3", None), ("0.0", "0"), (".0", None)),
    ],
)
def test_an_integer_may_be_written_with_zeros_after_its_point(text: str, sent: str | None) -> None:
    assert read([text], whole=True) == [sent or "integer-unreadable"]


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "sent"),
    [
        *(
            ("1.234,56", ",", ".", "1234.56"),
            ("1.234", ",", ".", "1234"),
            ("12,5", ",", ".", "12.5"),
        ),
        *(("-1.234.567,80", ",", ".", "-1234567.80"), ("1,234.5", ".", ",", "1234.5")),
        *(
            ("1 234,5", ",", " ", "1234.5"),
            ("1'234.5", ".", "'", "1234.5"),
            ("1234,5", ",", ".", "1234.5"),
        ),
        *(("12.5", ",", ".", None), ("1,23", ".", ",", None), ("1,2,3", ".", ",", None)),
        *(("1.5", ",", None, None), ("12,34,567", ".", ",", None), ("1234,567.8", ".", ",", None)),
        *((",5", ",", None, "0.5"), ("1.2345", ",", ".", None), ("1,234,", ".", ",", None)),
        *(
            ("1\u00a0234,5", ",", "\u00a0", "1234.5"),
            ("1*234", ".", "*", "1234"),
            ("5", ",", ".", "5"),
        ),
    ],
)
def test_the_marks_of_a_country_are_read_and_only_where_they_belong(
    text: str, decimal: str, thousands: str | None, sent: str | None
) -> None:
    how = {"decimal": decimal, "thousands": thousands}
    assert read([text], **how) == [sent or "number-unreadable"]
    assert read([text, "x", None], **how) == [
        sent or "number-unreadable",
        "number-unreadable",
        None,
    ]


def test_a_blank_is_neither_a_number_nor_a_fault() -> None:
    assert read([None, "1", None]) == [None, "1", None]
    assert read([]) == []
    assert read([None]) == [None]


TEXTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.floats().map(repr),
    st.integers().map(str),
    st.text("0123456789+-.eE,' \n", max_size=10),
    st.from_regex(r"[+-]?0*[0-9]{0,3}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)
MARKS = st.sampled_from([(".", None), (",", None), (",", "."), (".", ","), (",", " "), (".", "'")])


def expect(text: str, how: dict[str, Any], *, whole: bool) -> Decimal | str:
    """The number of the reference, or its word."""
    try:
        found: Decimal = read_number(text, how, whole=whole)
    except UnreadableError as fault:
        return str(fault)
    return found


@MANY
@given(st.lists(st.none() | TEXTS, max_size=6), MARKS, st.booleans())
def test_texts_are_read_as_decimals_are(
    texts: list[str | None],
    marks: tuple[str, str | None],
    whole: bool,  # noqa: FBT001  hypothesis gives it
) -> None:
    how: dict[str, Any] = {"decimal": marks[0]}
    how |= {"thousands": marks[1]} if marks[1] else {}
    for text, sent in zip(texts, read(texts, whole=whole, **how), strict=True):
        if text is None:
            assert sent is None
            continue
        expected = expect(text, how, whole=whole)
        if isinstance(expected, str):
            assert sent == expected, text
            continue
        assert sent is not None
        assert GRAMMAR.fullmatch(sent), (text, sent)
        assert json.loads(sent, parse_int=Decimal, parse_float=Decimal).as_tuple() == (
            expected.as_tuple()
        )


@MANY
@given(st.lists(st.none() | TEXTS, min_size=1, max_size=5), st.booleans())
def test_a_number_does_not_depend_on_its_neighbours_nor_on_a_slice(
    texts: list[str | None],
    whole: bool,  # noqa: FBT001
) -> None:
    alone = [read([text], whole=whole)[0] for text in texts]
    assert read(texts, whole=whole) == alone
    sliced = pa.array(["zz", *texts, "9"], pa.string()).slice(1, len(texts))
    found, _ = numbers(sliced, whole=whole)
    assert found.to_pylist() == [t if t and GRAMMAR.fullmatch(t) else None for t in alone]
