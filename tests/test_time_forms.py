"""A time means the same however a mapping asks for it: an option, an expression, its own member.

`test_timestamp.py` proves how a time is read; here the same lists go through files and mappings,
and every way must say what the row-wise reference says.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import UnreadableError, build, iso, moment
from test_timestamp import BERLIN, SHARED, ZONES, cases, iso_texts

if TYPE_CHECKING:
    from pathlib import Path

GUARDS: Final = {"recent_events": "send", "future": "send", "not_before": "0001-01-01"}
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the shared data is not on this machine ({SHARED})"
)
LORD_HOWE: Final = "Australia/Lord_Howe"
NEW_YORK: Final = "America/New_York"


def expected(cell: Any, how: dict[str, Any]) -> str:
    """What the reference says: the instant as it is sent, or the code."""
    try:
        return iso(moment(cell, how))
    except UnreadableError as fault:
        return str(fault)


def call(name: str, how: dict[str, Any]) -> str:
    """The options of a column as the arguments of a function."""
    order = ("format", "timezone", "ambiguous") if name == "timestamp" else ("format", "timezone")
    said = [f"{key}={how[key]!r}" for key in order if key in how]
    return f"{name}({', '.join(['c', *said])})"


def ways(how: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every way to ask for an instant: as a message's own timestamp, or as a trait `t`."""
    column = {"column": "c", **how}
    found: dict[str, dict[str, Any]] = {
        "option": {"traits": {"t": {"type": "timestamp", **column}}},
        "own": {"timestamp": column},
        "nested": {"traits": {"t": {"array": [{"type": "timestamp", **column}]}}},
    }
    if not isinstance(how.get("format"), list):
        computed = call("timestamp", how)
        found |= {
            "expression": {"traits": {"t": {"expr": computed}}},
            "text": {"traits": {"t": {"expr": f"text({computed})"}}},
            "own expression": {"timestamp": {"expr": computed}},
        }
    return found


def sent(folder: Path, cells: Any, wanted: dict[str, Any]) -> list[str | None]:
    """What is sent for each cell, or the code of its reject. cells: texts of a CSV, or an array."""
    if isinstance(cells, list):
        lines = "".join(f'"{cell}"\n' for cell in cells)
        (folder / "t.csv").write_text(f"c\n{lines}", encoding="utf-8", newline="")
        path = "t.csv"
    else:
        pq.write_table(pa.table({"c": cells}), folder / "t.parquet")
        path = "t.parquet"
    message = {"type": "identify", "userId": {"const": "u"}, **wanted}
    head = {"version": 1, "source": {"path": path}, "guards": GUARDS}
    made = build({**head, "messages": [message]}, folder)
    found: list[str | None] = []
    for row in range(made.rows):
        if row in made.codes:
            found.append(made.codes[row])
            continue
        (one,) = made.messages[row]
        value = one.get("traits", {}).get("t", one.get("timestamp"))
        found.append(value[0] if isinstance(value, list) else value)
    return found


def check(folder: Path, cells: Any, how: dict[str, Any], wanted: list[str | None]) -> None:
    """Every way says the same, and what is wanted."""
    for way, message in ways(how).items():
        found = sent(folder, cells, message)
        shown = cells if isinstance(cells, list) else cells.to_pylist()
        differ = [row for row in zip(shown, found, wanted, strict=True) if row[1] != row[2]]
        assert differ == [], (way, how)


@needs_shared
@pytest.mark.parametrize("name", ["date-time.json", "date.json"])
def test_the_conformance_lists_are_read_right_in_every_way(name: str, tmp_path: Path) -> None:
    listed = [(text, is_valid) for _, text, is_valid in cases(name) if text and "\n" not in text]
    assert len(listed) > 15
    wanted: list[str | None] = []
    for text, is_valid in listed:
        if not is_valid or ":60" in text:
            wanted.append("time-unreadable")
            continue
        instant = datetime.fromisoformat(text.upper())
        wanted.append(iso(instant if instant.tzinfo else instant.replace(tzinfo=UTC)))
    check(tmp_path, [text for text, _ in listed], {"timezone": "UTC"}, wanted)


@needs_shared
def test_the_days_of_the_conformance_list_are_days_in_every_way(tmp_path: Path) -> None:
    listed = [(text, is_valid) for _, text, is_valid in cases("date.json") if text]
    wanted = [text if is_valid else "time-unreadable" for text, is_valid in listed]
    for form in ({"column": "c", "type": "date"}, {"expr": "date(c)"}, {"expr": "text(date(c))"}):
        assert sent(tmp_path, [text for text, _ in listed], {"traits": {"t": form}}) == wanted


CASES: Final[list[tuple[dict[str, Any], dict[str, str]]]] = [
    (
        {},
        {
            "2020-01-01T00:00:00Z": "2020-01-01T00:00:00.000Z",
            "2020-01-01 10:00:00.9999+05:45": "2020-01-01T04:15:00.999Z",
            "2020-01-01T10:00": "time-naive",
            "2020-01-01": "time-naive",
            "0001-01-01T00:00:00Z": "0001-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59.9999999Z": "9999-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59-01:00": "time-unreadable",
            "10000-01-01T00:00:00Z": "time-unreadable",
            "1582-10-10T00:00:00Z": "1582-10-10T00:00:00.000Z",
            "2021-02-29T00:00:00Z": "time-unreadable",
            "1600000000": "time-unreadable",
            "now": "time-unreadable",
        },
    ),
    (
        {"timezone": LORD_HOWE},
        {
            "2020-04-05T01:29:59.999": "2020-04-04T14:29:59.999Z",
            "2020-04-05T01:30": "time-ambiguous",
            "2020-04-05T01:59:59.999": "time-ambiguous",
            "2020-04-05T02:00": "2020-04-04T15:30:00.000Z",
            "2020-10-04T01:59:59": "2020-10-03T15:29:59.000Z",
            "2020-10-04T02:00": "time-skipped",
            "2020-10-04T02:29:59.999": "time-skipped",
            "2020-10-04T02:30": "2020-10-03T15:30:00.000Z",
            "2020-04-05T01:30Z": "2020-04-05T01:30:00.000Z",
        },
    ),
    (
        {"timezone": LORD_HOWE, "ambiguous": "earliest"},
        {"2020-04-05T01:45": "2020-04-04T14:45:00.000Z", "2020-10-04T02:15": "time-skipped"},
    ),
    (
        {"timezone": LORD_HOWE, "ambiguous": "latest"},
        {"2020-04-05T01:45": "2020-04-04T15:15:00.000Z", "2020-10-04T02:15": "time-skipped"},
    ),
    (
        {"timezone": BERLIN, "format": "%d.%m.%Y %H:%M", "ambiguous": "latest"},
        {
            "25.10.2020 02:30": "2020-10-25T01:30:00.000Z",
            "29.03.2020 02:30": "time-skipped",
            "01.07.2050 12:00": "2050-07-01T10:00:00.000Z",
            "31.02.2020 00:00": "time-unreadable",
            "2020-01-01": "time-unreadable",
        },
    ),
    (
        {"timezone": "Pacific/Apia"},
        {"2011-12-30T12:00": "time-skipped", "2011-12-31T00:00": "2011-12-30T10:00:00.000Z"},
    ),
    (
        {"timezone": NEW_YORK, "format": "%m/%d/%Y"},
        {
            "03/04/2020": "2020-03-04T05:00:00.000Z",
            "13/04/2020": "time-unreadable",
            "3/4/2020": "2020-03-04T05:00:00.000Z",
            "03/04/20": "time-unreadable",
        },
    ),
    (
        {"timezone": NEW_YORK, "format": "%d/%m/%Y"},
        {"03/04/2020": "2020-04-03T04:00:00.000Z", "04/13/2020": "time-unreadable"},
    ),
    (
        {"timezone": "UTC", "format": ["%d/%m/%Y", "iso8601", "unix_ms"]},
        {
            "03/04/2020": "2020-04-03T00:00:00.000Z",
            "04/13/2020": "time-unreadable",
            "2020-04-03": "2020-04-03T00:00:00.000Z",
            "1585872000000": "2020-04-03T00:00:00.000Z",
        },
    ),
    (
        {"format": "%d %b %Y %H:%M %z"},
        {"3 Apr 2020 10:00 +0200": "2020-04-03T08:00:00.000Z", "3 Abr 2020": "time-unreadable"},
    ),
    (
        {"format": "unix_s"},
        {
            "0": "1970-01-01T00:00:00.000Z",
            "-1": "1969-12-31T23:59:59.000Z",
            "1585872000.9999": "2020-04-03T00:00:00.999Z",
            "253402300799": "9999-12-31T23:59:59.000Z",
            "253402300800": "time-unreadable",
            "1585872000000": "time-unreadable",
            "1e9": "time-unreadable",
        },
    ),
    ({"format": "unix_ms"}, {"1585872000999": "2020-04-03T00:00:00.999Z", "x": "time-unreadable"}),
    ({"format": "unix_us"}, {"1585872000999999": "2020-04-03T00:00:00.999Z"}),
    (
        {"timezone": "Asia/Kathmandu"},
        {"1985-12-31T23:59": "1985-12-31T18:29:00.000Z", "1986-01-01T00:10": "time-skipped"},
    ),
]


@pytest.mark.parametrize(("how", "texts"), CASES)
def test_a_time_is_the_same_in_every_way(
    how: dict[str, Any], texts: dict[str, str], tmp_path: Path
) -> None:
    for text, wanted in texts.items():
        assert expected(text, how) == wanted or "unreadable" in wanted, text
    check(tmp_path, [*texts], how, [*texts.values()])


@settings(max_examples=25, deadline=None, print_blob=True)
@given(
    st.lists(iso_texts().filter(str.strip), min_size=1, max_size=12),
    st.sampled_from(ZONES),
    st.sampled_from([{}, {"ambiguous": "earliest"}, {"ambiguous": "latest"}]),
)
def test_any_iso_time_is_the_same_in_every_way(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], zone: str, more: dict[str, str]
) -> None:
    how = {"timezone": zone, **more}
    folder = tmp_path_factory.mktemp("times")
    check(folder, texts, how, [expected(text, how) for text in texts])


WALLS: Final = [
    datetime(2020, 10, 25, 2, 30),  # noqa: DTZ001  wall times, all of them
    datetime(2020, 3, 29, 2, 30),  # noqa: DTZ001
    datetime(1900, 1, 1),  # noqa: DTZ001
    datetime(2150, 7, 1, 12, 0, 0, 999_999),  # noqa: DTZ001
    None,
]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("ambiguous", ["reject", "earliest", "latest"])
def test_a_naive_parquet_time_follows_the_rules_in_every_way(
    unit: str, ambiguous: str, tmp_path: Path
) -> None:
    walls = [wall and wall.replace(microsecond=0 if unit == "s" else 999_000) for wall in WALLS]
    how = {"timezone": BERLIN, "ambiguous": ambiguous}
    wanted = [None if wall is None else expected(wall, how) for wall in walls]
    check(tmp_path, pa.array(walls, pa.timestamp(unit)), how, wanted)
    told = [None if wall is None else "time-naive" for wall in walls]
    check(tmp_path, pa.array(walls, pa.timestamp(unit)), {}, told)


def test_dates_and_epochs_of_parquet_are_the_same_in_every_way(tmp_path: Path) -> None:
    days = [date(2020, 7, 1), date(1900, 1, 1), None]
    how = {"timezone": BERLIN}
    wanted = [None if day is None else expected(day, how) for day in days]
    check(tmp_path, pa.array(days, pa.date32()), how, wanted)
    seconds = [0, -1, 1_585_872_000, None]
    zero = datetime(1970, 1, 1, tzinfo=UTC)
    wanted = [None if one is None else iso(zero + timedelta(seconds=one)) for one in seconds]
    for kind in (pa.int64(), pa.int32(), pa.float64(), pa.decimal128(20, 3)):
        cells = [Decimal(s) if s is not None and "decimal" in str(kind) else s for s in seconds]
        check(tmp_path, pa.array(cells, kind), {"format": "unix_s"}, wanted)
    millis = pa.array([None if s is None else s * 1000 for s in seconds], pa.int64())
    check(tmp_path, millis, {"format": "unix_ms"}, wanted)


@pytest.mark.parametrize(
    ("how", "cell", "day"),
    [
        ({}, "2020-01-01T23:30:00Z", "2020-01-01"),
        ({"timezone": BERLIN}, "2020-01-01T23:30:00Z", "2020-01-02"),
        ({"timezone": BERLIN}, "2020-01-01T23:30:00", "2020-01-01"),
        ({"timezone": NEW_YORK}, "2020-01-01T00:30:00Z", "2019-12-31"),
        ({"format": "%d.%m.%Y"}, "01.02.2020", "2020-02-01"),
        ({"format": "%m/%d/%Y"}, "13/01/2020", "time-unreadable"),
        ({"format": "unix_s"}, "86399", "1970-01-01"),
        ({}, "01/02/2020", "time-unreadable"),
    ],
)
def test_a_day_is_the_same_in_every_way(
    how: dict[str, str], cell: str, day: str, tmp_path: Path
) -> None:
    forms = ({"column": "c", "type": "date", **how}, {"expr": call("date", how)})
    for form in forms:
        assert sent(tmp_path, [cell], {"traits": {"t": form}}) == [day], form


def test_unix_seconds_are_cut_in_every_way(tmp_path: Path) -> None:
    texts = ["1970-01-01T00:00:01.999Z", "1969-12-31T23:59:58.001Z"]
    for form in (
        {"column": "c", "type": "timestamp", "as": "unix"},
        {"expr": "unix(timestamp(c))"},
        {"expr": "timestamp(c)", "type": "timestamp", "as": "unix"},
    ):
        assert sent(tmp_path, texts, {"traits": {"t": form}}) == [Decimal(1), Decimal(-2)], form


def test_a_json_line_of_times_is_read_as_a_csv_is(tmp_path: Path) -> None:
    how, texts = CASES[1]
    lines = "".join(json.dumps({"c": text}) + "\n" for text in texts)
    (tmp_path / "t.jsonl").write_text(lines)
    for message in ways(how).values():
        whole = {"type": "identify", "userId": {"const": "u"}, **message}
        source = {"path": "t.jsonl"}
        document = {"version": 1, "source": source, "guards": GUARDS, "messages": [whole]}
        made = build(document, tmp_path)
        assert made.codes == {
            row: code for row, code in enumerate(texts.values()) if code.startswith("time-")
        }
