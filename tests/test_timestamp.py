"""Any time becomes the instant it means, or is told; nothing is guessed. Against `datetime`."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import UnreadableError, iso, moment

from backfill import timestamp

MANY: Final = settings(max_examples=150, deadline=None, print_blob=True)
SHARED: Final = Path(__file__).parent.parent.parent / "shared" / "data" / "timestamps"
BERLIN: Final = "Europe/Berlin"
ZONES: Final = [
    *(BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Kathmandu", "UTC"),
    *("America/Sao_Paulo", "Europe/Dublin", "Pacific/Apia", "America/St_Johns", "Africa/Cairo"),
]
FIRST: Final = datetime(1900, 1, 1)  # noqa: DTZ001  a wall time
LAST: Final = datetime(2199, 12, 31)  # noqa: DTZ001


def read(
    values: Any, *formats: str, zone: str | None = None, ambiguous: str = "reject", kind: Any = None
) -> list[str | None]:
    """What is sent for each value, or the code of what is wrong with it."""
    data = values if isinstance(values, pa.Array) else pa.array(values, kind)
    found = timestamp.read(data, formats or ["iso8601"], timezone=zone, ambiguous=ambiguous)
    assert len(found.data) == len(data)
    made: list[str | None] = timestamp.iso(found.data).json().to_pylist()
    for code, at in found.failed:
        for row in np.flatnonzero(at):
            assert made[row] is None, "a time that failed was sent too"
            made[row] = code.value
    return [text.strip('"') if text is not None else None for text in made]


def expect(cell: Any, **how: Any) -> str:
    """What the reference says."""
    try:
        return iso(moment(cell, how))
    except UnreadableError as fault:
        return str(fault)


# ISO 8601


def cases(name: str) -> list[tuple[str, str, bool]]:
    """The format's cases of the JSON Schema test suite: what, text, whether it is valid."""
    path = SHARED / name
    if not path.exists():
        return []
    found = [test for suite in json.loads(path.read_text("utf-8")) for test in suite["tests"]]
    texts = [test for test in found if isinstance(test["data"], str)]
    return [(test["description"], test["data"], test["valid"]) for test in texts]


@pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the shared data is not on this machine ({SHARED})"
)
@pytest.mark.parametrize("name", ["date-time.json", "date.json"])
@pytest.mark.parametrize("beside", [[], ["x"], ["2020-01-01T00:00:00Z"]])
def test_the_cases_of_the_json_schema_suite_are_read_right_or_told(
    name: str, beside: list[str]
) -> None:
    """A leap second is told too: what it would become is another second."""
    assert len(cases(name)) > 15
    for what, text, is_valid in cases(name):
        found = read([text, *beside], zone="UTC")[0]
        if is_valid and ":60" not in text:
            instant = datetime.fromisoformat(text.upper())
            assert found == iso(instant if instant.tzinfo else instant.replace(tzinfo=UTC)), what
        else:
            assert found == "time-unreadable", what


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("2022-01-01T00:00:56Z", "2022-01-01T00:00:56.000Z"),
        ("2022-01-01 00:00:56+00", "2022-01-01T00:00:56.000Z"),
        ("2022-01-01T00:00:56.1234+0530", "2021-12-31T18:30:56.123Z"),
        ("2022-01-01T00:00:56,9Z", "2022-01-01T00:00:56.900Z"),
        ("2022-01-01t00:00z", "2022-01-01T00:00:00.000Z"),
        ("2022-01-01 10:00 -03:30", "2022-01-01T13:30:00.000Z"),
        (" 2022-01-01T00:00:56Z\n", "2022-01-01T00:00:56.000Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("1582-10-10T00:00:00Z", "1582-10-10T00:00:00.000Z"),
    ],
)
def test_a_time_may_be_written_in_the_ways_of_exports(text: str, sent: str) -> None:
    for beside in ([], ["x"], ["2020-01-01T00:00:00Z"], [None], ["2020-01-01T00:00:00.123456789Z"]):
        assert read([text, *beside])[0] == sent


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2020", "2020-01", "2020-1-1", "20200101", "2020-02-30", "2021-02-29"),
        *("2020-01-01T24:00:00Z", "2020-01-01T10:60Z", "2020-01-01T10:00:60Z", "2020-13-01"),
        *("2020-01-01T10:00:00+24:00", "2020-01-01T10:00:00+99:99", "2020-01-01T10:00:00+05:60"),
        *("2020-01-01T10:00:00+5", "2020-01-01T10:00:00+05:3", "2020-01-01T10:00:00Z+01"),
        *("2020-01-01T12:3045Z", "2020-01-01T12:30:451Z", "2020-01-01T1230Z", "2020-01-01T10Z"),
        *("2020-01-01T10:00:00.Z", "2020-01-01TZ", "T10:00:00Z", "10:00:00Z", "2020-001", "now"),
        *("2020-W01-1", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-2020-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2020-01-01T10:00:00 UTC"),
        *("٢٠٢٠-01-01T00:00:00Z", "2020-01-01T00:00:00Z;", "1577836800", "2020/01/01", "NaT"),
    ],
)
def test_what_is_no_time_is_told_whatever_stands_beside_it(text: str) -> None:
    """Alone, beside a good time, beside a bad one: a block must not read it in another way."""
    for beside in ([], ["2020-01-01T00:00:00Z"], ["x"], ["2020-01-01T00:00:00.123456789Z"]):
        assert read([text, *beside], zone="UTC")[0] == "time-unreadable", beside


@pytest.mark.parametrize(
    "text", ["2020-01-01", "2020-01-01T10:00", "2020-01-01 10:00:00", "2020-01-01T10:00:00.123456"]
)
def test_a_time_without_a_zone_is_told_unless_the_mapping_names_one(text: str) -> None:
    assert read([text]) == ["time-naive"]
    assert read([text, "2020-01-01T00:00:00Z"]) == ["time-naive", "2020-01-01T00:00:00.000Z"]
    assert read([text, "x"], zone=BERLIN) == [expect(text, timezone=BERLIN), "time-unreadable"]
    assert read([text, "2020-07-01Z"], zone=BERLIN)[1] == "2020-07-01T00:00:00.000Z"


SHAPES: Final = st.sampled_from(
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]
)
PARTS: Final = st.sampled_from(["", ".1", ".999", ".9999", ",123456", ".123456789", ".000"])
OFFSETS: Final = st.sampled_from(["", "Z", "z", "+05:30", "-0800", "+14", " +01:00", "-00:00"])


@st.composite
def iso_texts(draw: Any) -> str:
    """A time as an export writes it, or one with a slip of the pen."""
    shape, wall = draw(SHAPES), draw(st.datetimes(FIRST, LAST))
    text = wall.strftime(shape) + (draw(PARTS) if shape.endswith("%S") else "")
    text += draw(OFFSETS) if "H" in shape else ""
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from("0159:-T.Z+ x")) + text[at + draw(st.booleans()) :]
    return str(text)


@MANY
@given(
    st.lists(st.none() | iso_texts(), min_size=1, max_size=6),
    st.sampled_from(ZONES),
    st.sampled_from(["reject", "earliest", "latest"]),
)
def test_iso_times_are_read_as_a_plain_reading_gives(
    texts: list[str | None], zone: str, ambiguous: str
) -> None:
    for text, found in zip(texts, read(texts, zone=zone, ambiguous=ambiguous), strict=True):
        if text is None:
            assert found is None
        else:
            assert found == expect(text, timezone=zone, ambiguous=ambiguous), text


# Zones


@pytest.mark.parametrize(
    ("zone", "wall", "early", "late"),
    [
        (BERLIN, "2020-10-25T02:30", "2020-10-25T00:30", "2020-10-25T01:30"),
        (BERLIN, "2020-10-25T02:00", "2020-10-25T00:00", "2020-10-25T01:00"),
        ("Australia/Lord_Howe", "2020-04-05T01:45", "2020-04-04T14:45", "2020-04-04T15:15"),
        ("America/New_York", "2050-11-06T01:30", "2050-11-06T05:30", "2050-11-06T06:30"),
    ],
)
def test_the_autumn_hour_is_told_unless_the_mapping_chooses(
    zone: str, wall: str, early: str, late: str
) -> None:
    assert read([wall], zone=zone) == ["time-ambiguous"]
    assert read([wall], zone=zone, ambiguous="earliest") == [f"{early}:00.000Z"]
    assert read([wall], zone=zone, ambiguous="latest") == [f"{late}:00.000Z"]
    beside = read([wall, "2020-06-01"], zone=zone)
    assert beside == ["time-ambiguous", expect("2020-06-01", timezone=zone)]


@pytest.mark.parametrize(
    ("zone", "wall"),
    [
        *((BERLIN, "2020-03-29T02:00"), (BERLIN, "2020-03-29T02:59:59.999")),
        *(("Australia/Lord_Howe", "2020-10-04T02:15"), ("Pacific/Apia", "2011-12-30T12:00")),
        ("America/New_York", "2050-03-13T02:30"),
    ],
)
@pytest.mark.parametrize("ambiguous", ["reject", "earliest", "latest"])
def test_a_time_that_the_spring_skips_is_told_whatever_ambiguous_says(
    zone: str, wall: str, ambiguous: str
) -> None:
    assert read([wall], zone=zone, ambiguous=ambiguous) == ["time-skipped"]


def test_the_moments_around_a_clock_change_are_read_exactly() -> None:
    walls = [
        "2020-03-29T01:59:59.999",
        "2020-03-29T03:00",
        "2020-10-25T01:59:59",
        "2020-10-25T03:00",
    ]
    assert read(walls, zone=BERLIN) == [
        "2020-03-29T00:59:59.999Z",
        "2020-03-29T01:00:00.000Z",
        "2020-10-24T23:59:59.000Z",
        "2020-10-25T02:00:00.000Z",
    ]


@pytest.mark.parametrize("year", [1916, 1945, 1980, 2000, 2030, 2037, 2038, 2040, 2099, 2199])
@pytest.mark.parametrize("zone", ZONES)
def test_a_zone_has_its_summer_in_every_year(zone: str, year: int) -> None:
    """Arrow reads the rules only up to 2037; subscriptions end and cards expire after it."""
    walls = [f"{year}-{month:02}-15T12:00:00" for month in range(1, 13)]
    assert read(walls, zone=zone) == [expect(wall, timezone=zone) for wall in walls]


@MANY
@given(
    st.lists(st.datetimes(FIRST, LAST), min_size=1, max_size=8),
    st.sampled_from(ZONES),
    st.sampled_from(["reject", "earliest", "latest"]),
    st.sampled_from(["s", "ms", "us"]),
)
def test_a_parquet_time_without_a_zone_follows_the_same_rules(
    walls: list[datetime], zone: str, ambiguous: str, unit: str
) -> None:
    cut = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
    walls = [wall.replace(microsecond=wall.microsecond // cut * cut) for wall in walls]
    found = read(walls, zone=zone, ambiguous=ambiguous, kind=pa.timestamp(unit))
    assert found == [expect(wall, timezone=zone, ambiguous=ambiguous) for wall in walls]
    assert read(walls, kind=pa.timestamp(unit)) == ["time-naive"] * len(walls)


@MANY
@given(st.lists(st.datetimes(FIRST, LAST, timezones=st.sampled_from([*map(ZoneInfo, ZONES)]))))
def test_a_parquet_time_with_a_zone_needs_none(moments: list[datetime]) -> None:
    for zone in ("UTC", BERLIN, "+05:30"):
        data = pa.array(moments, pa.timestamp("us", zone))
        assert read(data) == [expect(one) for one in moments]
        assert read(data, zone="Asia/Tokyo") == [expect(one) for one in moments]


@pytest.mark.parametrize(
    ("wall", "zone"), [("9999-12-31T23:59:59", "America/New_York"), ("0001-01-01", "Europe/Berlin")]
)
@pytest.mark.parametrize("form", ["text", "pattern", "column"])
def test_a_wall_time_at_the_ends_of_time_is_told_where_utc_is_in_another_year(
    wall: str, zone: str, form: str
) -> None:
    """Exports write 9999-12-31 for never; in UTC it may be the year 10000."""
    data, pattern = pa.array([wall.replace("-", "/"), None]), "%Y/%m/%dT%H:%M:%S"
    if form != "pattern":
        data, pattern = pa.array([wall, None]), "iso8601"
    elif "T" not in wall:
        pattern = "%Y/%m/%d"
    if form == "column":
        data = pa.array([datetime.fromisoformat(wall), None], pa.timestamp("us"))
    found = timestamp.read(data, [pattern], timezone=zone, ambiguous="reject")
    assert [(code, at.tolist()) for code, at in found.failed] == [
        ("time-unreadable", [True, False])
    ]
    fine = timestamp.read(data, [pattern], timezone="UTC", ambiguous="reject")
    assert not fine.failed


def test_a_date_column_is_midnight_in_its_zone() -> None:
    days = [date(2020, 7, 1), date(1900, 1, 1), None]
    assert read(days, zone=BERLIN)[:2] == ["2020-06-30T22:00:00.000Z", "1899-12-31T23:00:00.000Z"]
    assert read(days) == ["time-naive", "time-naive", None]


# Finer digits


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("2020-01-01T00:00:00.9999999Z", "2020-01-01T00:00:00.999Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ("1969-12-31T23:59:59.0001Z", "1969-12-31T23:59:59.000Z"),
        ("1900-01-01T00:00:00.000999999Z", "1900-01-01T00:00:00.000Z"),
    ],
)
def test_finer_digits_are_cut_also_before_1970(text: str, sent: str) -> None:
    assert read([text]) == [sent]
    wall = text.removesuffix("Z")
    assert read([wall], zone="UTC") == [sent]
    micros = datetime.fromisoformat(wall[:26])
    assert read([micros], zone="UTC", kind=pa.timestamp("us")) == [sent]
    whole, _, part = wall.partition(".")
    nanos = int(datetime.fromisoformat(whole + "Z").timestamp()) * 10**9 + int(part.ljust(9, "0"))
    assert read(pa.array([nanos], pa.timestamp("ns", "UTC"))) == [sent]


# Epochs

EPOCHS: Final = {"unix_s": 1, "unix_ms": 1_000, "unix_us": 1_000_000}


@pytest.mark.parametrize("unit", sorted(EPOCHS))
@MANY
@given(
    whole=st.integers(-2_208_988_800, 7_258_118_399),  # 1900 to 2199
    part=st.sampled_from(["", ".5", ".001", ".0005", ".999999", ".123456789", ".0"]),
)
def test_an_epoch_is_the_instant_that_its_unit_says(unit: str, whole: int, part: str) -> None:
    text = f"{whole * EPOCHS[unit]}{part}"
    micros = math.floor(Decimal(text) * 1_000_000 / EPOCHS[unit])
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert read([text], unit) == [iso(instant)]
    assert read([text, "x"], unit) == [iso(instant), "time-unreadable"]
    if not part:
        assert read([int(text)], unit) == [iso(instant)]


@pytest.mark.parametrize("unit", sorted(EPOCHS))
@pytest.mark.parametrize("seconds", [0, 1, 1_600_000_000, 1_609_459_200, 100_000, 7_258_118_399])
def test_an_epoch_in_a_float_column_is_read(unit: str, seconds: int) -> None:
    """Of integers with a gap among them pandas makes floats."""
    column = pa.array([float(seconds * EPOCHS[unit]), None], pa.float64())
    assert read(column, unit) == [iso(datetime.fromtimestamp(seconds, UTC)), None]


def test_an_epoch_in_a_decimal_column_is_read() -> None:
    column = pa.array([Decimal("1600000000.50")], pa.decimal128(12, 2))
    assert read(column, "unix_s") == ["2020-09-13T12:26:40.500Z"]


@pytest.mark.parametrize(
    "text",
    ["", "1e9", "x", "-", "1_0", "0x10", "١٢", "9" * 19, "253402300800", "-62135596801", "+5"],
)
def test_what_is_no_epoch_or_lies_past_the_year_9999_is_told(text: str) -> None:
    for beside in ([], ["5"], ["9" * 18]):
        assert read([text, *beside], "unix_s")[0] == "time-unreadable"


def test_milliseconds_taken_for_seconds_are_told_and_not_sent_as_a_far_year() -> None:
    assert read(["1600000000000"], "unix_s") == ["time-unreadable"]


# Patterns

PATTERNS: Final = [
    *("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y %H:%M", "%Y%m%d", "%Y%m%d%H%M%S", "%d/%m/%Y %H:%M:%S"),
    *("%Y-%m-%dT%H:%M:%SZ", "%H:%M %d-%m-%Y", "%Y", "%Y-%m", "%d|%m|%Y (%H.%M)", "Q %Y.%m.%d+"),
    *("%d %b %Y", "%B %d, %Y", "%m/%d/%y", "%d.%m.%Y %I:%M %p", "%Y-%m-%d %H:%M:%S.%f", "%j/%Y"),
    *("%A, %d %B %Y", "%Y-%m-%d %%", "%a %b %d %H:%M:%S %Y", "%Y-%m-%d %H:%M:%S %z"),
]


def by_python(text: str, pattern: str) -> str:
    """What `datetime.strptime` says, in UTC where it names no zone."""
    try:
        found = datetime.strptime(text, pattern)  # noqa: DTZ007  the zone comes on the next line
    except ValueError:
        return "time-unreadable"
    return iso(found if found.tzinfo else found.replace(tzinfo=UTC))


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=25, deadline=None, print_blob=True)
@given(walls=st.lists(st.datetimes(FIRST, LAST, timezones=st.just(UTC)), min_size=1, max_size=4))
def test_a_pattern_reads_what_strptime_reads(pattern: str, walls: list[datetime]) -> None:
    texts = [wall.strftime(pattern) for wall in walls]
    expected = [by_python(text, pattern) for text in texts]
    assert read(texts, pattern, zone="UTC") == expected
    assert read([*texts, "x", None], pattern, zone="UTC") == [*expected, "time-unreadable", None]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=40, deadline=None, print_blob=True)
@given(data=st.data())
def test_a_pattern_never_reads_what_strptime_does_not(pattern: str, data: st.DataObject) -> None:
    wall = data.draw(st.datetimes(FIRST, LAST, timezones=st.just(UTC)))
    text = wall.strftime(pattern)
    at = data.draw(st.integers(0, len(text)))
    slip = data.draw(st.sampled_from(["", "0", "1", "3", "9", "99", " ", "-", "x", ".", "é"]))
    text = text[:at] + slip + text[at + data.draw(st.integers(0, 2)) :]
    found = read([text], pattern, zone="UTC")[0]
    micros = re.sub(r"(\.[0-9]{6})[0-9]{1,3}$", r"\1", text.strip())  # finer ones are cut
    assert found in {"time-unreadable", by_python(micros, pattern)}, text


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        *(("30.02.2020", "%d.%m.%Y"), ("31.04.2020", "%d.%m.%Y"), ("29.02.2021", "%d.%m.%Y")),
        *(("00.01.2020", "%d.%m.%Y"), ("01.00.2020", "%d.%m.%Y"), ("1.1.20", "%d.%m.%Y")),
        *(("2020-01-01 24:00", "%Y-%m-%d %H:%M"), ("2020-01-01 10:60", "%Y-%m-%d %H:%M")),
        *(("01.01.2020 ", "x%d.%m.%Y"), ("01.01.2020x", "%d.%m.%Y"), ("30 Feb 2020", "%d %b %Y")),
        *(("01.01.0000", "%d.%m.%Y"), ("١.١.٢٠٢٠", "%d.%m.%Y")),
    ],
)
def test_a_day_that_no_calendar_has_is_told(text: str, pattern: str) -> None:
    assert read([text, None], pattern, zone="UTC") == ["time-unreadable", None]


@pytest.mark.parametrize("word", ["now", "today", "NaT", "nan", "NaN", "None", "null", "NA", "N/A"])
@pytest.mark.parametrize("pattern", ["%d %b %Y", "%d.%m.%Y", "%Y-%m-%d %H:%M:%S.%f", "%d %b %Y %z"])
def test_a_word_that_pandas_knows_is_no_time(word: str, pattern: str) -> None:
    """`now` would be the clock of the machine: another message at every attempt."""
    for beside in ([], [datetime(2020, 2, 3, tzinfo=UTC).strftime(pattern)]):
        assert read([word, *beside], pattern, zone="UTC")[0] == "time-unreadable"


def test_a_pattern_with_a_zone_needs_none_and_others_do() -> None:
    assert read(["01.07.2020 10:00 +0200"], "%d.%m.%Y %H:%M %z") == ["2020-07-01T08:00:00.000Z"]
    assert read(["01.07.2020 10:00"], "%d.%m.%Y %H:%M") == ["time-naive"]
    assert read(["01.07.2020 10:00"], "%d.%m.%Y %H:%M", zone=BERLIN) == ["2020-07-01T08:00:00.000Z"]
    assert read(["1 Jul 2020"], "%d %b %Y", zone=BERLIN) == ["2020-06-30T22:00:00.000Z"]


def test_formats_are_tried_in_the_order_written() -> None:
    texts = ["01.02.2020", "2020-02-01", "1600000000", "x", None, "2020-03-29T02:30"]
    formats = ("%d.%m.%Y", "iso8601", "unix_s")
    assert read(texts, *formats, zone="UTC") == [
        "2020-02-01T00:00:00.000Z",
        "2020-02-01T00:00:00.000Z",
        "2020-09-13T12:26:40.000Z",
        "time-unreadable",
        None,
        "2020-03-29T02:30:00.000Z",
    ]
    day, month = "%d/%m/%Y", "%m/%d/%Y"
    assert read(["03/04/2020"], day, month, zone="UTC") == ["2020-04-03T00:00:00.000Z"]
    assert read(["03/04/2020"], month, day, zone="UTC") == ["2020-03-04T00:00:00.000Z"]
    assert read(["13/04/2020"], month, day, zone="UTC") == ["2020-04-13T00:00:00.000Z"]


# Writing


@MANY
@given(st.lists(st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))))  # noqa: DTZ001
def test_instants_are_written_in_utc_with_three_decimals(walls: list[datetime | None]) -> None:
    instants = pa.array(walls, pa.timestamp("us")).cast(pa.timestamp("ms"), safe=False)
    kept = [w and w.replace(microsecond=w.microsecond // 1000 * 1000, tzinfo=UTC) for w in walls]
    instants = pa.array([w and w.replace(tzinfo=None) for w in kept], pa.timestamp("ms"))
    assert timestamp.iso(instants).json().to_pylist() == [w and f'"{iso(w)}"' for w in kept]
    zero = datetime(1970, 1, 1, tzinfo=UTC)
    seconds = [None if w is None else str((w - zero) // timedelta(seconds=1)) for w in kept]
    assert timestamp.unix(instants).json().to_pylist() == seconds
    days = [None if w is None else f'"{w.date().isoformat()}"' for w in kept]
    assert timestamp.dates(instants).json().to_pylist() == days


@pytest.mark.parametrize("kind", [pa.bool_(), pa.binary(), pa.list_(pa.int64()), pa.time64("us")])
def test_a_column_that_holds_no_times_is_told_and_never_guessed(kind: Any) -> None:
    value = {"bool": True, "binary": b"1", "time64[us]": 5}.get(str(kind), [1])
    assert read(pa.array([value, None], kind)) == ["time-unreadable", None]


def test_an_empty_column_is_an_empty_column() -> None:
    for pattern in ("iso8601", "unix_s", "unix_us", "%d.%m.%Y", "%d %b %Y"):
        assert read(pa.array([], pa.string()), pattern, zone=BERLIN) == []
        assert read(pa.nulls(3, pa.string()), pattern, zone=BERLIN) == [None] * 3
