"""What `init` believes: proofs, not guesses. Pure rooms against hypothesis, and their words."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backfill import number, timestamp
from backfill.mapping.strict_yaml import parse
from backfill.propose import dialect, join, moments, names, numerals, spread, values
from backfill.propose.facts import Column
from backfill.propose.proposal import LeftOut, Line, Proposal
from backfill.propose.unique import is_unique
from backfill.propose.writer import Origin, text_of
from backfill.source import find_files

DAYS = st.dates(date(1990, 1, 1), date(2037, 12, 31))
ORDERS = ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%y", "%m-%d-%y"]


def column(texts: list[str], name: str = "at", kind: str = "text") -> Column:
    """A column as a sample would have it; a None is a blank."""
    found = list(dict.fromkeys(texts))
    counts = np.array([texts.count(text) for text in found], np.int64)
    return Column(name, kind, len(texts), pa.array(found, pa.string()), counts)


# times


@settings(max_examples=50)
@given(st.lists(DAYS, min_size=1, max_size=40), st.sampled_from(ORDERS))
def test_a_format_is_said_only_where_it_reads_the_days_that_were_written(
    days: list[date], pattern: str
) -> None:
    found = moments.prove(column([day.strftime(pattern) for day in days]))
    assert found is not None
    if not found.formats:
        assert pattern in found.choices
        return
    texts = pa.array([day.strftime(pattern) for day in days], pa.string())
    read = timestamp.read(texts, found.formats, timezone="UTC", ambiguous="reject")
    assert [moment.date() for moment in read.data.to_pylist()] == days


@settings(max_examples=30)
@given(st.lists(DAYS.filter(lambda day: day.day <= 12), min_size=1, max_size=20))
def test_days_up_to_the_twelfth_prove_nothing_however_many_they_are(days: list[date]) -> None:
    texts = [day.strftime("%d/%m/%Y") for day in days]
    found = moments.prove(column(texts))
    assert found is not None
    assert (found.formats, found.choices) == ((), ("%d/%m/%Y", "%m/%d/%Y"))
    said = moments.prove(column(texts), prefer="month-first")
    assert said is not None
    assert (said.formats, said.why) == (
        ("%m/%d/%Y",),
        "month-first, as you said; no value contradicts",
    )


def test_the_evidence_counts_the_values_that_decide() -> None:
    texts = ["13/04/2020"] * 3_911 + ["03/04/2020"] * 500
    found = moments.prove(column(texts))
    assert found is not None
    assert found.why == "3,911 values can only be day-first, none contradicts"


def test_what_a_person_says_never_goes_against_what_is_proved() -> None:
    found = moments.prove(column(["13/04/2020"]), prefer="month-first")
    assert found is not None
    assert found.formats == ("%d/%m/%Y",)


def test_values_that_contradict_each_other_are_no_times() -> None:
    assert moments.prove(column(["13/04/2020", "04/13/2020", "01/02/2020"])) is None
    assert moments.prove(column(["13/04/2020"] * 97 + ["04/13/2020"] * 3)) is None


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["2020-01-02", "2020-01-02T03:04:05Z"], ("iso8601",)),
        (["20200131", "20191201"], ("%Y%m%d",)),
        (["2 Jan 2020", "31 Dec 2020"], ("%d %b %Y",)),
        (["Jan 2, 2020 10:15 PM"], ("%b %d, %Y %I:%M %p",)),
        (["Thu, 02 Jan 2020 10:15:00 +0100"], ("%a, %d %b %Y %H:%M:%S %z",)),
        (["1/13/2020 3:04 PM", "12/1/2020 11:00 AM"], ("%m/%d/%Y %I:%M %p",)),
        (["2020-01-31", "31/12/2019"], ("%Y-%m-%d", "%d/%m/%Y")),
        (["1577934245", "1609459200"], ("unix_s",)),
        (["1577934245000"], ("unix_ms",)),
        (["1577934245000000"], ("unix_us",)),
    ],
)
def test_a_shape_has_its_format(texts: list[str], formats: tuple[str, ...]) -> None:
    found = moments.prove(column(texts))
    assert found is not None
    assert found.formats == formats
    read = timestamp.read(pa.array(texts), found.formats, timezone="UTC", ambiguous="reject")
    assert not read.failed


def test_numbers_are_times_only_under_the_name_of_one() -> None:
    assert moments.prove(column(["1577934245", "1609459200"], "amount")) is None
    assert moments.prove(column(["20200131"], "zip")) is None
    assert moments.prove(column(["20200131"], "column_1")) is None, "one may be chance"
    many = [f"202001{day:02}" for day in range(1, 31)]
    assert moments.prove(column(many, "column_1")) is not None


def test_a_few_values_that_cannot_be_read_are_counted_and_many_make_it_no_time() -> None:
    few = moments.prove(column(["13/04/2020"] * 99 + ["soon"]))
    assert few is not None
    assert (few.formats, few.failing) == (("%d/%m/%Y",), 1)
    assert moments.prove(column(["13/04/2020"] * 9 + ["soon"])) is None


def test_whole_days_and_zones_are_told_apart_from_the_rest() -> None:
    midnight = moments.prove(column(["2020-01-02 00:00:00", "2020-01-03 00:00:00"]))
    zoned = moments.prove(column(["2020-01-02T00:00:00Z"]))
    clock = moments.prove(column(["2020-01-02 00:00:01"]))
    assert midnight is not None
    assert zoned is not None
    assert clock is not None
    assert (midnight.is_days, midnight.is_naive) == (True, True)
    assert (zoned.is_days, zoned.is_naive) == (False, False)
    assert (clock.is_days, clock.is_naive) == (False, True)


# numbers

AMOUNTS = st.lists(st.decimals(0, 9_999_999, places=2), min_size=1, max_size=20)


@settings(max_examples=50)
@given(AMOUNTS, st.sampled_from([(".", ""), (",", ""), (".", ","), (",", "."), (",", " ")]))
def test_marks_are_said_only_where_they_read_the_amounts_that_were_written(
    amounts: list[Any], marks: tuple[str, str]
) -> None:
    decimal, thousands = marks
    plain = [f"{amount:,.2f}" for amount in amounts]
    texts = [
        text.replace(",", "\0").replace(".", decimal).replace("\0", thousands) for text in plain
    ]
    found = numerals.prove(column(texts, "sum"))
    assert found is not None
    assert found.type == "number", "two places after the mark leave no doubt"
    options = {"decimal": ".", "thousands": None} | found.options
    read, failed = number.numbers(pa.array(texts), **options)
    assert not failed
    assert [float(text) for text in read.to_pylist()] == [float(amount) for amount in amounts]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 999), min_size=1), st.integers(0, 999))
def test_three_digits_after_each_mark_prove_nothing(heads: list[int], tail: int) -> None:
    for mark in ".,":
        found = numerals.prove(column([f"{head}{mark}{tail:03}" for head in heads], "sum"))
        assert found is not None
        assert found.type == ""
        assert len(found.choices) == 2
        assert "can be read in two ways" in found.why


def test_one_value_that_can_be_read_in_one_way_decides_for_all() -> None:
    found = numerals.prove(column(["1.234", "1.234,5", "12"], "sum"))
    assert found is not None
    assert found.options == {"decimal": ",", "thousands": "."}
    words = "decimal comma, thousands apart by '.': 2 values can be read in no other way"
    assert words not in found.why, "1.234 alone could be read plainly"
    assert "1 values can be read in no other way, none contradicts" in found.why


@pytest.mark.parametrize("texts", [["007", "8"], ["12345678901234567890"]])
def test_digits_that_are_no_amount_stay_text(texts: list[str]) -> None:
    assert values.judge(column(texts, "x")).kind == "code"


@pytest.mark.parametrize(
    "name", ["phone", "zip", "customer_id", "OrderNo", "orderid", "app_version"]
)
def test_digits_under_the_name_of_a_code_stay_text(name: str) -> None:
    assert values.judge(column(["12", "13"], name)).kind == "code"


@pytest.mark.parametrize("name", ["paid", "tax_paid", "valid", "amount", "number_of_cds", "grid"])
def test_digits_under_other_names_are_numbers(name: str) -> None:
    assert values.judge(column(["12", "13"], name)).options == {"type": "integer"}


# what else a column may be


@pytest.mark.parametrize(
    ("texts", "name", "options"),
    [
        (["yes", "no"], "x", {"type": "boolean"}),
        (["True", "FALSE"], "x", {"type": "boolean"}),
        (["1", "0"], "is_active", {"type": "boolean"}),
        (["1", "0"], "visits", {"type": "integer"}),
        (["ja", "nein"], "x", {"type": "boolean", "true": ["ja"], "false": ["nein"]}),
        (["t"], "x", {}),
        (["y"], "active", {"type": "boolean"}),
    ],
)
def test_a_boolean_is_two_words_or_a_name_and_a_word(
    texts: list[str], name: str, options: dict[str, Any]
) -> None:
    assert values.judge(column(texts, name)).options == options


@given(st.lists(st.integers(0, 9), min_size=15, max_size=15))
def test_one_wrong_digit_fails_the_check_of_card_numbers(digits: list[int]) -> None:
    body = "".join(map(str, digits))
    right = [n for n in range(10) if values.is_card(f"{body}{n}")]
    assert len(right) == (1 if any(digits) else 0)


def test_ten_random_numbers_are_no_cards() -> None:
    draw = random.Random(4)
    numbers = [f"{draw.randrange(10**15, 10**16)}" for _ in range(50)]
    assert values.judge(column(numbers, "x")).kind == "code"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("password_hash", "abc"),
        ("api_key", "abc"),
        ("x", "$2b$12$abcdefghijklmnopqrstuv"),
        ("x", "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"),
        ("x", "123-45-6789"),
    ],
)
def test_what_looks_like_a_secret_stays_at_home(name: str, text: str) -> None:
    found = values.judge(column([text], name))
    assert found.kind == "left-out"
    assert found.why.startswith("looks like a secret")


def test_addresses_that_fail_are_counted_and_too_many_are_not_checked() -> None:
    few = values.judge(column([f"a{n}@b.org" for n in range(99)] + ["oops"], "email"))
    assert few.options == {"check": "email"}
    assert few.doubt == "1 are no addresses: their rows would be rejected"
    many = values.judge(column(["a@b.org", "oops", "ouch"], "email"))
    assert (many.kind, many.options) == ("email", {})


def test_json_in_texts_is_seen() -> None:
    assert values.judge(column(['{"a": 1}', "[1, 2]"], "x")).kind == "json"
    assert values.judge(column(['{"a": 1}', "[1, 2"], "x")).kind == "text"


# names


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("customer_id", "person"),
        ("CustomerID", "person"),
        ("userId", "person"),
        ("userid", "person"),
        ("client", "person"),
        ("KundenNr", ""),
        ("Kunde Nr", "person"),
        ("company_id", "group"),
        ("account", "group"),
        ("customer_name", ""),
        ("order_id", ""),
        ("users_count", ""),
    ],
)
def test_a_name_says_whose_id_it_is(name: str, role: str) -> None:
    found = "person" if names.is_person(name) else "group" if names.is_group(name) else ""
    assert found == role


@pytest.mark.parametrize(
    ("stem", "event"),
    [
        ("raw_orders", "Order Completed"),
        ("flights-3m", "Flight"),
        ("2020_export", "Event"),
        ("companies", "Company"),
    ],
)
def test_an_event_is_named_after_the_file(stem: str, event: str) -> None:
    assert names.event_of(stem) == event


@given(st.text())
def test_any_name_can_be_asked_for_its_words(name: str) -> None:
    names.is_person(name)
    names.is_group(name)
    names.is_old(name)
    names.is_own(name, ["order"])
    assert isinstance(names.event_of(name), str)


# the writer

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
FORMS = st.one_of(
    NAMES,
    st.fixed_dictionaries(
        {"column": NAMES, "format": st.one_of(NAMES, st.lists(NAMES, min_size=1))}
    ),
)


@settings(max_examples=60)
@example({":0": ":0"}, [(":0", ":0", ":0")], ":0")
@example({"no": "\x85"}, [("\x85", "\n", "# x")], "\x85")
@example({"1:30": {"column": "1e5", "format": ["012"]}}, [], "null")
@given(
    st.dictionaries(NAMES, FORMS, max_size=6),
    st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=3),
    NAMES,
)
def test_what_is_written_is_read_back_the_same_whatever_the_names_are(
    body: dict[str, Any], left: list[tuple[str, str, str]], words: str
) -> None:
    made = Proposal("track", words)
    made.members = {"userId": Line(words, words), "event": Line({"const": words}, doubt=words)}
    made.body = {name: Line(form, words, words) for name, form in body.items()}
    made.left_out = [LeftOut(name, why, (line,)) for name, why, line in left]
    made.key, made.key_why = [words], words
    origin = Origin(words, csv={"header": [words]}, csv_notes={"header": words}, blank=(words,))
    found = parse(text_of(made, origin), "x.yaml")
    assert found.lints == []
    message = {"type": "track", "userId": words, "event": {"const": words}}
    assert found.value == {
        "version": 1,
        "source": {"path": words, "csv": {"header": [words]}, "blank": ["", words]},
        "key": words,
        "messages": [{**message, **({"properties": body} if body else {})}],
        "guards": {"recent_events": "hold"},
    }


# the dialect


@pytest.mark.parametrize(
    ("first", "rows", "is_header"),
    [
        (["id", "name"], [["1", "a"], ["2", "b"]], True),
        (["1", "a"], [["2", "b"], ["3", "c"]], False),
        (["a@b.org", "x"], [["c@d.org", "y"]], False),
        (["name", "2019", "2020"], [["a", "5", "6"], ["b", "7", "8"]], True),
        (["1", "2"], [], False),
        (["a", "b"], [["c", "d"]], True),
    ],
)
def test_a_header_has_other_cells_than_the_rows_below(
    first: list[str],
    rows: list[list[str]],
    is_header: bool,  # noqa: FBT001  a row of the table
) -> None:
    assert dialect.is_header(first, rows) is is_header


def test_a_decimal_comma_does_not_look_like_a_delimiter() -> None:
    found = dialect.sniff([b"id;sum\n1;1,5\n2;3,75\n3;8\n"], "x.csv")
    assert found.options == {"delimiter": ";"}


def test_damage_in_a_file_of_utf_8_is_damage_and_no_other_encoding() -> None:
    text = "id,name\n" + "1,Zoë\n" * 99
    encoding, why = dialect.encoding_of([text.encode() + b"2,Zo\xeb\n"])
    assert (encoding, why) == ("utf-8", "1 characters are damaged; their rows would be rejected")


# the sample


def big_csv(path: Path, rows: int, opener: Any = open) -> None:
    """Rows with line ends, quotes and delimiters in their cells."""
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        file.write("id,note,last\r\n")
        for n in range(rows):
            file.write(f'{n},"line one, of {n}\r\n{n},x,y\r\n""quoted"" {n}",end {n}\r\n')


def looked_at(path: Path) -> spread.Sample:
    (file,) = find_files([str(path)], Path(), None)
    return spread.sample(file)


@pytest.mark.parametrize(
    ("name", "opener"), [("a.csv", open), ("a.csv.gz", gzip.open), ("a.csv.bz2", bz2.open)]
)
def test_a_sample_is_whole_rows_from_everywhere_in_the_file(
    name: str, opener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for figure, size in (
        ("WHOLE_BYTES", 1 << 17),
        ("HEAD_BYTES", 1 << 13),
        ("WINDOW_BYTES", 1 << 12),
    ):
        monkeypatch.setattr(spread, figure, size)
    big_csv(tmp_path / name, 20_000, opener)
    found = looked_at(tmp_path / name)
    rows = [row for span in found.spans for row in span.batch.to_pylist()]
    numbers = [int(row["id"]) for row in rows]
    for number_, row in zip(numbers, rows, strict=True):
        note = f'line one, of {number_}\r\n{number_},x,y\r\n"quoted" {number_}'
        assert row == {"id": b"%d" % number_, "note": note.encode(), "last": b"end %d" % number_}
    assert not any(span.broken for span in found.spans)
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert not found.is_whole
    assert {n // 2_000 for n in numbers} == set(range(10)), "every tenth of the file is there"
    assert found.rows_total is not None
    assert found.rows_total == pytest.approx(20_000, rel=0.2)


def test_json_lines_are_sampled_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for figure, size in (
        ("WHOLE_BYTES", 1 << 17),
        ("HEAD_BYTES", 1 << 13),
        ("WINDOW_BYTES", 1 << 12),
    ):
        monkeypatch.setattr(spread, figure, size)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": n, "x": "y" * 40}) + "\n" for n in range(20_000)))
    found = looked_at(path)
    numbers = [row["id"] for span in found.spans for row in span.batch.to_pylist()]
    assert not any(span.broken for span in found.spans)
    assert numbers == sorted(set(numbers))
    assert {n // 2_000 for n in numbers} == set(range(10))


def test_lines_longer_than_a_window_are_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for figure, size in (
        ("WHOLE_BYTES", 1 << 15),
        ("HEAD_BYTES", 1 << 15),
        ("WINDOW_BYTES", 1 << 12),
    ):
        monkeypatch.setattr(spread, figure, size)
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"id": n, "x": "y" * (10_000 if n % 2 else 900)}) for n in range(300)]
    for opener, name in ((open, "a.jsonl"), (gzip.open, "a.jsonl.gz")):
        with opener(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        found = looked_at(path.with_name(name))
        assert found.rows >= 3
        assert not any(span.broken for span in found.spans)


# the key, and several files


def test_a_key_is_unique_only_where_no_two_rows_and_no_blank_are_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,a,b\n1,x,y\n2,x,z\n3,x,\n")
    found = [looked_at(path)]
    assert is_unique(found, ["id"])
    assert is_unique(found, ["id", "a"])
    assert not is_unique(found, ["a"])
    assert not is_unique(found, ["b"]), "the third has none"


def test_ids_are_joined_by_name_and_values_and_by_values_alone_where_they_tell() -> None:
    people = column([f"u{n}" for n in range(100)], "id")
    named = column(["u1", "u2", "u2"], "customer_id")
    other = column(["u7", "u7", "u9"], "placed_by")
    small = column(["1", "2", "2"], "quantity")
    found = join.find(people, [small, other, named], "customer_id")
    assert found == join.Join("customer_id", 1.0)
    assert join.find(people, [small, other], None) == join.Join("placed_by", 1.0)
    numbered = column([str(n) for n in range(100)], "id")
    assert join.find(numbered, [small], None) is None, "small numbers are found among any ids"
    floats = column(["17.0", "18.0", "18.0"], "customer_id")
    assert join.find(numbered, [floats], "customer_id") == join.Join("customer_id", 1.0)


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["$1,478.80", "$3.20"], 'number(replace(col("unit price"), "$", ""), ".", ",")'),
        (["1.478,80 €", "3,20 €"], 'number(replace(col("unit price"), "€", ""), ",", ".")'),
        (["EUR 12", "EUR -13.5"], 'number(replace(col("unit price"), "EUR", ""))'),
        (["$5", "€6"], ""),
        (["12 kg", "13 kg"], ""),
        (["USA", "USA 7 x"], ""),
        (["$1,234", "$2,345"], ""),
    ],
)
def test_amounts_with_the_sign_of_one_currency_are_said_to_be_text_and_how_they_are_numbers(
    cells: list[str], form: str
) -> None:
    texts = pa.array(cells)
    found = values.judge(Column("unit price", "text", len(cells), texts, np.ones(len(cells), int)))
    told = f"amounts, sent as text; as numbers: {{expr: '{form}'}}" if form else ""
    assert (found.kind, found.doubt) == ("text", told)
