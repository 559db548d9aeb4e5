"""The API's rules: each reject has its exact words, and no row is both sent and told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference import build

from backfill import spec
from backfill.codes import REASONS, Code, words
from backfill.errors import MappingError

if TYPE_CHECKING:
    from pathlib import Path

    from reference import Built

NOW: Final = datetime(2024, 6, 1, tzinfo=UTC)
NOW_MS: Final = int(NOW.timestamp() * 1000)
TRACK: Final = {"type": "track", "userId": "id", "event": {"const": "Seen"}}
TIMED: Final = {**TRACK, "timestamp": {"column": "at", "timezone": "UTC"}}
IDENTIFY: Final = {"type": "identify", "userId": "id"}


def judged(folder: Path, rows: str | bytes, *messages: dict[str, Any], **more: Any) -> Built:
    """What becomes of the rows of a CSV, on 1 June 2024."""
    data = rows.encode() if isinstance(rows, str) else rows
    (folder / "t.csv").write_bytes(data)
    head = {"version": 1, "name": "t", "source": {"path": "t.csv"}}
    return build({**head, "messages": [*messages], **more}, folder, now_ms=NOW_MS)


def reason(made: Built, row: int = 0) -> str:
    """`column [code]: reason` of a rejected row."""
    column, code, text = made.rejects[row]
    return f"{column} [{code}] {text}"


LONG_ID: Final = "x" * 151
WORDS: Final[list[tuple[Code, str | bytes, dict[str, Any], str]]] = [
    (
        Code.ROW_RAGGED,
        "id,a\n1,2,3\n",
        IDENTIFY,
        (
            " [row-ragged] the row has 3 cells, the header has 2; left over: 3;"
            " give the row as many cells as the header has"
        ),
    ),
    (
        Code.NOT_UTF8,
        b"id,a\n1,Bj\xf8rn\n",
        {**IDENTIFY, "traits": {"a": "a"}},
        (
            "a [not-utf8] a: the cell b'Bj\\xf8rn' is not valid text in the file's encoding;"
            " name the right one as source: csv: {encoding: …}, or correct the cell"
        ),
    ),
    (
        Code.REQUIRED_BLANK,
        "id,a\n1,\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "required": True}}},
        "a [required-blank] a: is blank but required; fill the cell",
    ),
    (
        Code.ID_MISSING,
        "id,a\n,2\n",
        IDENTIFY,
        "id [id-missing] id: the id is blank; fill the cell, or map another id",
    ),
    (
        Code.ID_TOO_LONG,
        f"id\n{LONG_ID}\n",
        IDENTIFY,
        f"id [id-too-long] id: the id '{LONG_ID[:79]}…' is over 150 bytes; shorten the id",
    ),
    (
        Code.ID_RESERVED,
        "id\ncio_7\n",
        IDENTIFY,
        (
            "id [id-reserved] id: the id 'cio_7' begins with cio_, which names the destination's"
            ' internal ids; map another id, or allow it on purpose with guards: {allow: ["cio_"]}'
        ),
    ),
    (
        Code.NUMBER_UNREADABLE,
        "id,a\n1,x\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "type": "number"}}},
        (
            "a [number-unreadable] a: 'x' is not a number; correct the cell, or set decimal: and"
            " thousands: for this column"
        ),
    ),
    (
        Code.NUMBER_NOT_FINITE,
        "id,a\n1,NaN\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "type": "number"}}},
        "a [number-not-finite] a: 'NaN' is not a finite number; correct or empty the cell",
    ),
    (
        Code.INTEGER_UNREADABLE,
        "id,a\n1,1.5\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "type": "integer"}}},
        "a [integer-unreadable] a: '1.5' is not an integer; correct the cell",
    ),
    (
        Code.BOOLEAN_UNREADABLE,
        "id,a\n1,maybe\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "type": "boolean"}}},
        (
            "a [boolean-unreadable] a: 'maybe' is neither true nor false; correct the cell, or set"
            " true: and false: for this column"
        ),
    ),
    (
        Code.TIME_UNREADABLE,
        "id,at\n1,yesterday\n",
        TIMED,
        (
            "at [time-unreadable] at: 'yesterday' is not a time; give this column a format in the"
            " mapping, or correct the cell; words for none go under source: {blank: ['', n/a]}"
        ),
    ),
    (
        Code.TIME_NAIVE,
        "id,at\n1,2020-01-01T10:00\n",
        {**TIMED, "timestamp": "at"},
        (
            "at [time-naive] at: the time '2020-01-01T10:00' has no zone; add timezone: to this"
            " column in the mapping"
        ),
    ),
    (
        Code.TIME_AMBIGUOUS,
        "id,at\n1,2020-10-25T02:30\n",
        {**TIMED, "timestamp": {"column": "at", "timezone": "Europe/Berlin"}},
        (
            "at [time-ambiguous] at: the time '2020-10-25T02:30' happens twice (clocks go back);"
            " set ambiguous: earliest or latest for this column"
        ),
    ),
    (
        Code.TIME_SKIPPED,
        "id,at\n1,2020-03-29T02:30\n",
        {**TIMED, "timestamp": {"column": "at", "timezone": "Europe/Berlin"}},
        (
            "at [time-skipped] at: the time '2020-03-29T02:30' does not exist (clocks go forward);"
            " correct the cell or the timezone"
        ),
    ),
    (
        Code.TIME_MISSING,
        "id,at\n1,\n",
        TIMED,
        "at [time-missing] at: the timestamp is blank; fill the cell",
    ),
    (
        Code.TIME_FUTURE,
        "id,at\n1,2024-06-01T00:06\n",
        TIMED,
        (
            "at [time-future] at: the time '2024-06-01T00:06' lies in the future; correct the cell,"
            " or set guards: {future: send}"
        ),
    ),
    (
        Code.TIME_TOO_OLD,
        "id,at\n1,1989-12-31\n",
        TIMED,
        (
            "at [time-too-old] at: the time '1989-12-31' is before the oldest allowed; correct the"
            " cell or the epoch unit, or set guards: {not_before: …}"
        ),
    ),
    (
        Code.JSON_UNREADABLE,
        "id,a\n1,{a\n",
        {**IDENTIFY, "traits": {"a": {"json": "a"}}},
        "a [json-unreadable] a: '{a' is not JSON; correct the cell",
    ),
    (
        Code.VALUE_UNMAPPED,
        "id,a\n1,x\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "map": {"y": "z"}}}},
        "a [value-unmapped] a: 'x' is not in the map; add it to map:, or set else:",
    ),
    (
        Code.DIVISION_BY_ZERO,
        "id,a\n1,0.0\n",
        {**IDENTIFY, "traits": {"t": {"expr": "1 / number(a)"}}},
        (
            "a [division-by-zero] a: the expression divides by '0.0'; correct the cell, or write:"
            " … if x != 0 else None"
        ),
    ),
    (
        Code.NUMBER_TOO_LONG,
        "id,a\n1,1e-401\n",
        {**IDENTIFY, "traits": {"t": {"expr": "number(a) * 1"}}},
        (
            "a [number-too-long] a: the number '1e-401' has too many digits to be computed with"
            " exactly; correct the cell, or round it in the expression"
        ),
    ),
    (
        Code.CHECK_FAILED,
        "id,a\n1,x\n",
        {**IDENTIFY, "traits": {"a": {"column": "a", "check": "email"}}},
        (
            "a [check-failed] a: 'x' fails the check; correct the cell; words for none go under"
            " source: {blank: ['', n/a]}"
        ),
    ),
    (
        Code.EVENT_MISSING,
        "id,at,e\n1,2020-01-01,\n",
        {**TIMED, "event": "e"},
        "e [event-missing] e: the event name is blank; fill the cell",
    ),
    (
        Code.EVENT_TOO_LONG,
        f"id,at,e\n1,2020-01-01,{'e' * 101}\n",
        {**TIMED, "event": "e"},
        f"e [event-too-long] e: the event name '{'e' * 79}…' is over 100 bytes; shorten the name",
    ),
    (
        Code.EVENT_COMMAND,
        "id,at,e\n1,2020-01-01, User Deleted \n",
        {**TIMED, "event": "e"},
        "e [event-command] e: ",
    ),
    (
        Code.VALUE_TOO_LONG,
        f"id,a\n1,{'a' * 1001}\n",
        {**IDENTIFY, "traits": {"t": "a"}},
        "t [value-too-long] t: the value '",
    ),
    (
        Code.OBJECT_TYPE,
        "id,a\n1,shop\n",
        {"type": "group", "groupId": "id", "traits": {"objectTypeId": "a"}},
        (
            "objectTypeId [object-type] objectTypeId: the objectTypeId 'shop' is not a whole number"
            " from 1; correct the cell"
        ),
    ),
    (
        Code.ROW_TOO_LONG,
        f"id,a\n1,{'a' * 4_000_000}\n",
        IDENTIFY,
        (
            " [row-too-long] the row has over 2,097,152 bytes, so most of it was not loaded;"
            " shorten it in the source, and look for a quote that is not closed"
        ),
    ),
    (
        Code.MESSAGE_TOO_LONG,
        f"id,at,a\n1,2020-01-01,{'a' * 32_000}\n",
        {**TIMED, "properties": {"a": "a"}},
        " [message-too-long] the message has 32",
    ),
]
ELSEWHERE: Final = {
    Code.ROW_UNREADABLE: "test_source",
    Code.NOT_A_LIST: "test_source",
    Code.NOT_ONE_VALUE: "test_source",
    Code.ID_TYPE: "test_transform",
    Code.ID_FLOAT: "test_transform",
    Code.KEY_BLANK: "test_a_row_with_a_blank_in_its_key_is_rejected",
    Code.RECENT_EVENT: "test_recent_events_are_held_unless_the_mapping_decides",
    Code.VALUE_TYPE: "test_evaluate",
    Code.REFUSED: "the destination's own word",
    Code.MEMBER_REFUSED: "test_where",
    Code.GROUP_DIFFERS: "test_grouping",
    Code.GROUP_AGAIN: "test_grouping",
    Code.GROUP_TOO_LONG: "test_grouping",
    Code.GROUP_BROKEN: "test_grouping",
    Code.WATERMARK_BLANK: "test_nightly",
    Code.WATERMARK_FUTURE: "test_nightly",
}


@pytest.mark.parametrize(("code", "rows", "message", "told"), WORDS, ids=[w[0] for w in WORDS])
def test_a_reject_says_what_is_wrong_and_what_to_do(
    code: Code, rows: str | bytes, message: dict[str, Any], told: str, tmp_path: Path
) -> None:
    made = judged(tmp_path, rows, message)
    assert made.codes == {0: code.value}
    assert reason(made) == told or (told[-1:] != "l" and reason(made).startswith(told))
    assert not made.messages
    assert not made.held


def test_every_code_has_words_and_a_test() -> None:
    assert set(REASONS) == set(Code)
    assert {row[0] for row in WORDS} | ELSEWHERE.keys() == set(Code)
    for code in Code:
        told = words(code, "V")
        assert "{" not in told.replace("{encoding", "").replace("{allow", "").replace(
            "{expr", ""
        ).replace("{agg", "").replace("{max_rows", "").replace("{future", "").replace(
            "{not_before", ""
        ).replace("{recent_events", "").replace("{blank", ""), told
        what, _, fix = told.partition("; ")
        assert what
        assert fix


@pytest.mark.parametrize(
    "form", [{"column": "a", "type": "timestamp"}, {"column": "a", "type": "date"}]
)
def test_the_reason_of_a_cell_that_is_no_text_reads_as_a_sentence(
    form: dict[str, Any], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"id": ["1"], "a": [["x"]]}), tmp_path / "t.parquet")
    message = {**IDENTIFY, "traits": {"a": form}}
    document = {"version": 1, "source": {"path": "t.parquet"}, "messages": [message]}
    try:
        made = build(document, tmp_path)
    except MappingError:
        return
    assert "  " not in reason(made)


def test_a_row_is_rejected_whole_and_with_all_its_reasons(tmp_path: Path) -> None:
    rows = "id,a,at\n1,x,2020-01-01\n,y,never\n2,5,2020-01-01\n"
    traits = {"a": {"column": "a", "type": "number"}}
    made = judged(tmp_path, rows, {**IDENTIFY, "traits": traits}, TIMED)
    assert sorted(made.messages) == [2]
    assert len(made.messages[2]) == 2
    assert made.codes == {0: "number-unreadable", 1: "number-unreadable"}
    parts = made.rejects[1][2].split(" | ")
    assert [part.split(":")[0] for part in parts] == ["a", "at", "id"]


def test_the_same_reason_twice_is_told_once(tmp_path: Path) -> None:
    form = {"column": "a", "type": "number"}
    made = judged(tmp_path, "id,a\n1,x\n", {**IDENTIFY, "traits": {"b": form, "c": form}})
    assert made.rejects[0][2].count("is not a number") == 1


def test_one_id_of_several_is_enough(tmp_path: Path) -> None:
    message = {**TIMED, "anonymousId": "anon", "groupId": "shop"}
    rows = "id,anon,shop,at\n1,,,2020-01-01\n,2,,2020-01-01\n,,3,2020-01-01\n,,,2020-01-01\n"
    made = judged(tmp_path, rows, message)
    assert [sorted(set(made.messages[n][0]) & set(spec.IDS[:4])) for n in range(3)] == [
        ["userId"],
        ["anonymousId"],
        ["groupId"],
    ]
    assert made.codes == {3: "id-missing"}
    group = {"type": "group", "groupId": "shop", "userId": "id"}
    made = judged(tmp_path, rows, group)
    assert made.codes == {0: "id-missing", 1: "id-missing", 3: "id-missing"}
    alias = {"type": "alias", "userId": "id", "previousId": "anon"}
    assert len(judged(tmp_path, rows, alias).rejects) == 4


def test_an_id_may_have_150_bytes_of_utf8(tmp_path: Path) -> None:
    rows = f"id\n{'é' * 75}\n{'é' * 75}x\n"
    assert judged(tmp_path, rows, IDENTIFY).codes == {1: "id-too-long"}


def test_internal_ids_are_refused_where_they_name_a_person_and_may_be_allowed(
    tmp_path: Path,
) -> None:
    rows = "id,a\ncio_1,2\nCIO_1,2\n1,cio_2\n"
    alias = {"type": "alias", "userId": "id", "previousId": "a"}
    assert judged(tmp_path, rows, alias).codes == {0: "id-reserved", 2: "id-reserved"}
    allowed = judged(tmp_path, rows, alias, guards={"allow": ["cio_"]})
    assert sorted(allowed.messages) == [0, 1, 2]


def test_command_events_are_refused_unless_allowed_by_name(tmp_path: Path) -> None:
    names = sorted(spec.COMMANDS)
    rows = "id,at,e\n" + "".join(f"1,2020-01-01,{name}\n" for name in [*names, "Order Completed"])
    message = {**TIMED, "event": "e"}
    made = judged(tmp_path, rows, message)
    assert made.codes == dict.fromkeys(range(len(names)), "event-command")
    made = judged(tmp_path, rows, message, guards={"allow": [names[0]]})
    assert sorted(made.messages) == [0, len(names)]


def test_the_name_of_an_event_is_trimmed_as_the_destination_trims_it(tmp_path: Path) -> None:
    rows = "id,at,e\n1,2020-01-01, Order Completed \n2,2020-01-01,   \n"
    made = judged(tmp_path, rows, {**TIMED, "event": "e"})
    assert made.messages[0][0]["event"] == "Order Completed"
    assert made.codes == {1: "event-missing"}


def test_a_row_with_a_blank_in_its_key_is_rejected(tmp_path: Path) -> None:
    rows = "id,shop\n1,a\n2,\n3,c\n"
    made = judged(tmp_path, rows, IDENTIFY, key=["id", "shop"])
    assert {n: reason(made, n) for n in made.rejects} == {
        1: "shop [key-blank] shop: the key is blank; fill the cell, or choose another key"
    }


@pytest.mark.parametrize(
    ("guards", "kept"),
    [
        ({}, ["1990-01-01T00:00:00Z", "2024-05-01", "2024-06-01T00:05"]),
        ({"not_before": "2024-05-01"}, ["2024-05-01", "2024-06-01T00:05"]),
        ({"not_before": "1900-01-01"}, ["1989-12-31", "1990-01-01T00:00:00Z", "2024-05-01"]),
        ({"future": "send"}, ["2024-06-01T00:05", "2024-06-01T00:05:00.001", "2999-01-01"]),
    ],
)
def test_times_are_guarded_on_both_sides(
    guards: dict[str, Any], kept: list[str], tmp_path: Path
) -> None:
    times = [
        *("1900-01-01", "1989-12-31", "1990-01-01T00:00:00Z", "2024-05-01", "2024-06-01T00:05"),
        *("2024-06-01T00:05:00.001", "2999-01-01"),
    ]
    rows = "id,at\n" + "".join(f"1,{time}\n" for time in times)
    made = judged(tmp_path, rows, TIMED, guards={"recent_events": "send", **guards})
    sent = [times[row] for row in sorted(made.messages)]
    assert set(kept) <= set(sent)
    is_all_known = sorted(made.codes) == [n for n, time in enumerate(times) if time not in sent]
    assert is_all_known
    if not guards:
        assert sent == kept


def test_recent_events_are_held_unless_the_mapping_decides(tmp_path: Path) -> None:
    times = [NOW - timedelta(hours=hours) for hours in (71, 72, 73)]
    rows = "id,at\n" + "".join(f"1,{time.isoformat()}\n" for time in times)
    for guards in ({}, {"recent_events": "hold"}):
        made = judged(tmp_path, rows, TIMED, guards=guards)
        assert (made.held, sorted(made.messages), made.rejects) == ([0], [1, 2], {})
    made = judged(tmp_path, rows, TIMED, guards={"recent_events": "send"})
    assert (made.held, sorted(made.messages)) == ([], [0, 1, 2])
    page = {"type": "page", "userId": "id", "timestamp": "at"}
    assert judged(tmp_path, rows, page).held == []


def test_a_row_with_a_recent_event_is_held_whole(tmp_path: Path) -> None:
    rows = f"id,at\n1,{NOW.isoformat()}\n2,2020-01-01\n"
    made = judged(tmp_path, rows, IDENTIFY, TIMED)
    assert (made.held, sorted(made.messages)) == ([0], [1])


def test_a_rejected_row_is_not_held_too(tmp_path: Path) -> None:
    rows = f"id,at\n,{NOW.isoformat()}\n"
    made = judged(tmp_path, rows, TIMED)
    assert (made.held, made.codes) == ([], {0: "id-missing"})


def test_an_event_stamped_at_sending_time_is_recent_by_definition(tmp_path: Path) -> None:
    message = {**TRACK, "timestamp": "now"}
    assert judged(tmp_path, "id\n1\n", message).held == [0]
    made = judged(tmp_path, "id\n1\n", message, guards={"recent_events": "send"})
    assert "timestamp" not in made.messages[0][0]


def test_an_identify_has_a_time_only_if_it_is_mapped(tmp_path: Path) -> None:
    rows = "id,at\n1,2020-01-01\n2,\n"
    assert "timestamp" not in judged(tmp_path, rows, IDENTIFY).messages[0][0]
    timed = {**IDENTIFY, "timestamp": {"column": "at", "timezone": "UTC"}}
    made = judged(tmp_path, rows, timed)
    assert [one.get("timestamp") for (one,) in made.messages.values()] == [
        "2020-01-01T00:00:00.000Z",
        None,
    ]


def test_a_trait_may_have_1000_bytes_and_a_property_more(tmp_path: Path) -> None:
    rows = f"id,at,a\n1,2020-01-01,{'é' * 500}\n2,2020-01-01,{'é' * 500}x\n"
    assert judged(tmp_path, rows, {**IDENTIFY, "traits": {"t": "a"}}).codes == {1: "value-too-long"}
    assert not judged(tmp_path, rows, {**TIMED, "properties": {"t": "a"}}).rejects


def test_a_message_may_have_32000_bytes_of_utf8_as_sent(tmp_path: Path) -> None:
    message = {**TIMED, "properties": {"a": "a"}}
    at = "2020-01-01"
    base = len(judged(tmp_path, f"id,at,a\n1,{at},x\n", message).texts[0]) - 2
    fits = "é" * ((spec.LIMITS.message - base) // 2) + "x" * ((spec.LIMITS.message - base) % 2)
    rows = f"id,at,a\n1,{at},{fits}\n2,{at},{fits}x\n3,{at},y\n"
    made = judged(tmp_path, rows, message)
    assert sorted(made.messages) == [0, 2]
    assert len(made.texts[0].encode()) - 1 == spec.LIMITS.message
    assert reason(made, 1) == (
        " [message-too-long] the message has 32001 bytes, more than the 32000 the API takes;"
        " shorten the row's cells or map fewer columns"
    )


def test_a_row_with_one_message_too_long_sends_none(tmp_path: Path) -> None:
    rows = f"id,at,a\n1,2020-01-01,{'a' * 32_000}\n2,2020-01-01,b\n"
    made = judged(tmp_path, rows, IDENTIFY, {**TIMED, "properties": {"a": "a"}})
    assert (sorted(made.messages), made.codes) == ([1], {0: "message-too-long"})


@pytest.mark.parametrize("cell", ["1", "42"])
def test_an_object_type_is_a_whole_number_as_text(cell: str, tmp_path: Path) -> None:
    group = {"type": "group", "groupId": "id", "traits": {"objectTypeId": "a"}}
    made = judged(tmp_path, f"id,a\n1,{cell}\n2,0\n3,1.0\n4,\n", group)
    assert made.messages[0][0]["traits"] == {"objectTypeId": cell}
    assert made.codes == {1: "object-type", 2: "object-type"}
    pq.write_table(pa.table({"id": ["1"], "a": [int(cell)]}), tmp_path / "t.parquet")
    document = {"version": 1, "source": {"path": "t.parquet"}, "messages": [group]}
    assert build(document, tmp_path).messages[0][0]["traits"] == {"objectTypeId": cell}


def test_the_category_of_a_page_is_a_property(tmp_path: Path) -> None:
    page: dict[str, Any] = {"type": "page", "userId": "id", "name": "n", "category": "c"}
    page |= {"timestamp": "now", "properties": {"url": "u"}}
    made = judged(tmp_path, "id,n,c,u\n1,Home, shop ,x\n2,,,\n", page)
    first, second = (json.loads(made.texts[n][1:]) for n in (0, 1))
    assert first["properties"] == {"category": "shop", "url": "x"}
    assert first["name"] == "Home"
    assert "category" not in first
    assert not {"name", "properties"} & second.keys()
