"""The columnar encoder equals the plain row-wise reading of the mapping, on random tables."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ANY_CODE, build, is_same, messages_of

from backfill.errors import MappingError
from backfill.mapping.strict_yaml import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy
    from reference import Built

SLOW: Final = settings(max_examples=100, deadline=None, print_blob=True)
GUARDS: Final = {"recent_events": "send", "future": "send", "not_before": "1800-01-01"}
ROOT: Final = Path(__file__).parent.parent
SHARED: Final = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the shared data is not on this machine ({SHARED})"
)

# Values

CONTROLS: Final = "".join(map(chr, range(0x20))) + '"\\\x7f\u2028\U0001f600\U0010ffffé,;|'
TEXTS: Final = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(st.sampled_from(CONTROLS), min_size=1, max_size=8),
)
NUMBERS: Final = st.one_of(
    st.sampled_from(
        [
            *("12.30", "007", "-0", "0", "+5", ".5", "5.", "-.5", "1e3", "1E-7", "1e400", "-1e400"),
            *("1.5e+3", "NaN", "-inf", "Infinity", "0x10", "1_000", "abc", "-", ".", "1,234", "1e"),
            *("1.234,56", "12,5", "1,23", "1,234,567.8", "9007199254740993", "17850.0", "17850.5"),
            *("00.10", "١٢", "1.2.3", "--1", "-007.50", "1234567890123456789012", "1 000", "5 5"),
            *("0.12345678901234567891234567890", " 5 ", "5\n"),
        ]
    ),
    st.decimals(-(10**20), 10**20, allow_nan=False, places=3).map(str),
    st.integers().map(str),
)
FIRST: Final = datetime(1900, 1, 1)  # noqa: DTZ001  a wall time
LAST: Final = datetime(2199, 12, 31)  # noqa: DTZ001
WALLS: Final = st.datetimes(FIRST, LAST)
TIMES: Final = st.one_of(
    WALLS.map(lambda wall: wall.isoformat(timespec="milliseconds")),
    WALLS.map(lambda wall: wall.isoformat(" ", timespec="microseconds") + "+05:30"),
    st.sampled_from(
        [
            *("2020-02-29", "2021-02-29", "2020-10-25T02:30", "2020-03-29 02:30:00", "yesterday"),
            *("2020-01-01T00:00:00Z", "1969-12-31T23:59:59.9999Z", "2020-01-01T24:00:00Z", "1e9"),
            *("1600000000", "1600000000.5", "-1", "31.12.2020", "31.02.2020", "2020-13-01"),
        ]
    ),
)
WORDS: Final = st.sampled_from(
    ["true", "FALSE", "Yes", "no", "F", "1", "0", "y", "JA", "nein", "maybe", "2"]
)
JSONS: Final = st.one_of(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ).map(json.dumps),
    st.sampled_from(["{", "nul", "[1,]", "NaN", "[1.50, 1e400]", ' {"a" : 1.0 } ', "{'a':1}", "x"]),
)
INT64: Final = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-5, 5)
UINT64: Final = st.integers(0, (1 << 64) - 1) | st.just(1 << 63)
FLOATS: Final = st.floats() | st.sampled_from([1.0, -0.0, 1e16, 0.1, 17850.0, 2.0**63, 5e-324])
INSTANTS: Final = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
DATES: Final = st.dates(FIRST.date(), LAST.date())
LISTS: Final = st.lists(st.none() | TEXTS, max_size=3)
PLACES: Final = st.fixed_dictionaries(
    {"city": st.none() | TEXTS, "zip": st.none() | INT64, "tags": st.none() | LISTS}
)
ITEMS: Final = st.lists(
    st.none() | st.fixed_dictionaries({"sku": st.none() | TEXTS, "qty": st.none() | INT64}),
    max_size=3,
)

# Options

BLANKS: Final[SearchStrategy[dict[str, Any]]] = st.one_of(
    st.just({}),
    st.sampled_from(["omit", "null", "keep", "reject"]).map(lambda how: {"blank": how}),
    st.just({"required": True}),
    st.one_of(TEXTS, st.integers(-9, 9), st.booleans(), st.just([1, {"a": "b"}])).map(
        lambda filling: {"default": filling}
    ),
)
MARKS: Final = st.sampled_from(
    [
        {},
        {"decimal": ",", "thousands": "."},
        {"thousands": ","},
        {"thousands": " "},
        {"decimal": ","},
    ]
)
ZONES: Final = st.sampled_from(
    [{}, {"timezone": "UTC"}]
    + [{"timezone": "Europe/Berlin", "ambiguous": how} for how in ("reject", "earliest", "latest")]
)
FORMATS: Final = st.sampled_from(
    [
        {},
        {"format": "unix_s"},
        {"format": ["%d.%m.%Y", "iso8601"]},
        {"format": ["iso8601", "unix_s"]},
    ]
)
MAPS: Final = st.sampled_from(
    [
        {"map": {"a": "b", "true": "yes", "1": "one"}, "else": "keep"},
        {"map": {"a": 1, "1": True, "true": {"x": None}, "false": None}, "else": "omit"},
        {"map": {"a": "b", "0": None}, "else": {"const": "other"}},
        {"map": {"1": 2.5}, "else": {"const": [1]}},
        {"map": {"1": "7", "a": "12.30"}, "type": "number"},
        {"map": {"1": "x"}},
    ]
)
OTHER_OPTIONS: Final = st.sampled_from(
    [
        {"split": ";"},
        {"split": ", ", "type": "text"},
        {"split": ",", "type": "integer"},
        {"check": "^[a-z]*$"},
        {"check": "email"},
        {"type": "text"},
    ]
)
NONE: Final[SearchStrategy[dict[str, Any]]] = st.just({})
NUMERIC: Final = st.builds(
    lambda kind, marks: {"type": kind, **marks}, st.sampled_from(["number", "integer"]), MARKS
)
TIMED: Final = st.builds(
    lambda zone, form, made: {"type": "timestamp", **zone, **form, **made},
    ZONES,
    FORMATS,
    st.sampled_from([{}, {"as": "unix"}]),
)
BOOLEAN: Final = st.sampled_from(
    [{"type": "boolean"}, {"type": "boolean", "true": ["Ja", "1"], "false": "NEIN"}]
)
JSON: Final = st.just({"type": "json"})
ON_TEXT: Final = st.one_of(NONE, NUMERIC, TIMED, BOOLEAN, JSON, MAPS, OTHER_OPTIONS)
DIGITS: Final = st.sampled_from([{}, {"type": "number"}, {"type": "integer"}, {"type": "text"}])


@dataclass(frozen=True)
class Kind:
    """A type of column: its values, and the options that make sense on it."""

    values: SearchStrategy[Any]
    options: SearchStrategy[dict[str, Any]]
    type: pa.DataType = pa.string()  # noqa: RUF009  a type is a constant


KINDS: Final = {
    "text": Kind(TEXTS, ON_TEXT),
    "number": Kind(NUMBERS, st.one_of(NUMERIC, ON_TEXT)),
    "time": Kind(TIMES, st.one_of(TIMED, ON_TEXT)),
    "word": Kind(WORDS, st.one_of(BOOLEAN, ON_TEXT)),
    "json": Kind(JSONS, st.one_of(JSON, ON_TEXT)),
    "parts": Kind(st.lists(st.sampled_from(["a;", " b ", ";,1,", " 2,x"])).map("".join), ON_TEXT),
    "int": Kind(INT64, st.one_of(DIGITS, MAPS, BOOLEAN), pa.int64()),
    "uint": Kind(UINT64, DIGITS, pa.uint64()),
    "float": Kind(
        FLOATS, st.sampled_from([{}, {"type": "number"}, {"type": "integer"}]), pa.float64()
    ),
    "decimal": Kind(
        st.decimals(-(10**9), 10**9, allow_nan=False, places=2), DIGITS, pa.decimal128(12, 2)
    ),
    "bool": Kind(st.booleans(), st.one_of(NONE, BOOLEAN, MAPS), pa.bool_()),
    "date": Kind(
        DATES,
        st.one_of(
            st.sampled_from([{}, {"type": "date"}, {"type": "text"}]),
            ZONES.map(lambda zone: {"type": "timestamp", **zone}),
        ),
        pa.date32(),
    ),
    "instant": Kind(
        INSTANTS,
        st.sampled_from([{}, {"type": "timestamp"}, {"type": "timestamp", "as": "unix"}]),
        pa.timestamp("us", "UTC"),
    ),
    "wall": Kind(
        WALLS,
        st.one_of(NONE, ZONES.map(lambda zone: {"type": "timestamp", **zone})),
        pa.timestamp("us"),
    ),
    "list": Kind(LISTS, NONE, pa.list_(pa.string())),
    "struct": Kind(
        PLACES,
        NONE,
        pa.struct({"city": pa.string(), "zip": pa.int64(), "tags": pa.list_(pa.string())}),
    ),
    "items": Kind(ITEMS, NONE, pa.list_(pa.struct({"sku": pa.string(), "qty": pa.int64()}))),
}
TEXT_KINDS: Final = [name for name, kind in KINDS.items() if kind.type == pa.string()]


@dataclass(frozen=True)
class Table:
    """Random rows and a random mapping of them."""

    kinds: dict[str, str]
    rows: list[dict[str, Any]]
    messages: list[dict[str, Any]]

    def document(self, path: str, **more: Any) -> dict[str, Any]:
        """The mapping as plain data."""
        head = {"version": 1, "name": "random", "source": {"path": path}, "guards": GUARDS}
        return {**head, "messages": self.messages, **more}

    def arrow(self) -> pa.Table:
        """The rows with their types."""
        types = {"id": pa.string(), **{c: KINDS[kind].type for c, kind in self.kinds.items()}}
        return pa.Table.from_pylist(self.rows, schema=pa.schema(types))


def named(draw: Callable[[SearchStrategy[Any]], Any], forms: SearchStrategy[Any]) -> dict[str, Any]:
    """Some members with names of any characters a name may have."""
    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(
        lambda name: name != "*"
    )
    found: dict[str, Any] = draw(st.dictionaries(names, forms, min_size=1, max_size=4))
    return found


@st.composite
def column_forms(draw: Any, kinds: dict[str, str]) -> Any:
    """A column of the table with options that its type allows."""
    column = draw(st.sampled_from(sorted(kinds)))
    kind = KINDS[kinds[column]]
    if kinds[column] == "items" and draw(st.booleans()):
        inner = st.sampled_from(["sku", {"column": "qty", "type": "text"}, {"const": "EUR"}])
        made = draw(
            st.one_of(st.just("sku"), st.dictionaries(st.sampled_from("ab"), inner, min_size=1))
        )
        return {"each": column, "as": made, "empty": draw(st.sampled_from(["omit", "keep"]))}
    options = {**draw(kind.options), **draw(BLANKS)}
    return {"column": column, **options} if options or draw(st.booleans()) else column


def forms(kinds: dict[str, str]) -> SearchStrategy[Any]:
    """Any value form over the columns of a table."""
    const = st.one_of(TEXTS, st.integers(), st.booleans(), st.just({"a": [1, None, "x"]}))
    columns = column_forms(kinds)
    leaf = st.one_of(columns, columns, columns, const.map(lambda value: {"const": value}))
    empty = st.sampled_from(["omit", "keep"])
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(
                lambda members, how: {"object": members, "empty": how},
                st.dictionaries(
                    TEXTS.filter(lambda key: key not in {"", "*"}), inner, min_size=1, max_size=3
                ),
                empty,
            ),
            st.builds(
                lambda items, how: {"array": items, "empty": how},
                st.lists(inner, min_size=1, max_size=3),
                empty,
            ),
        ),
        max_leaves=4,
    )


@st.composite
def tables(draw: Any, kinds: list[str], *, has_blank: bool = True) -> Table:
    """Rows of some kinds, nulls everywhere, and an identify or track mapping of them."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    columns = {f"c{at}" if at else "c 0.é": kind for at, kind in enumerate(chosen)}
    cell = {c: st.none() | KINDS[kind].values for c, kind in columns.items()}
    ids = st.text("abc0123456789é", min_size=1, max_size=6)
    one = st.fixed_dictionaries({"id": st.none() | ids if has_blank else ids, **cell})
    rows = draw(st.lists(one, min_size=1, max_size=6))
    free = forms(columns)
    traits = {"type": "identify", "userId": "id", "traits": named(draw, free)}
    event = {"type": "track", "anonymousId": "id", "event": {"const": "Seen"}}
    event |= {"timestamp": {"const": "2020-01-01T00:00:00Z"}, "context": named(draw, free)}
    event |= {"properties": named(draw, free)}
    messages = draw(st.sampled_from([[traits], [event], [traits, event]]))
    return Table(columns, rows, messages)


def expect(built: Built, document: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Every row became the messages that the reference says, or was rejected for its reason."""
    assert built.rows == len(rows)
    bodies = built.bodies()
    for at, row in enumerate(rows):
        messages, codes = messages_of(document, row)
        if codes:
            told = ANY_CODE if at in built.codes and ANY_CODE in codes else built.codes.get(at)
            assert told in codes, (row, codes, built.rejects.get(at), bodies.get(at))
            assert at not in bodies
        elif not messages:
            assert at not in bodies, "filtered"
            assert at not in built.rejects, (row, built.rejects[at])
        else:
            assert at not in built.rejects, (row, built.rejects[at], messages)
            assert is_same(bodies[at], messages), (row, bodies[at], messages)


@SLOW
@given(tables(list(KINDS)))
def test_a_parquet_table_becomes_the_messages_that_a_row_by_row_reading_gives(table: Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table.arrow(), folder / "t.parquet")
        document = table.document("t.parquet")
        expect(build(document, folder), document, table.rows)


def csv_text(rows: list[dict[str, Any]], names: list[str]) -> str:
    """The rows as CSV; blanks are empty cells."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([["" if row[n] is None else row[n] for n in names] for row in rows])
    return stream.getvalue()


@SLOW
@given(tables(TEXT_KINDS))
def test_a_csv_becomes_the_messages_that_a_row_by_row_reading_gives(table: Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = ["id", *table.kinds]
        (folder / "t.csv").write_text(csv_text(table.rows, names), encoding="utf-8", newline="")
        document = table.document("t.csv")
        rows = [{n: cell or None for n, cell in row.items()} for row in table.rows]
        expect(build(document, folder), document, rows)


# One thing at a time


def traits_of(folder: Path, cells: Any, **forms: Any) -> list[Any]:
    """The traits that a column `c` becomes, row by row; the code where the row is rejected.

    cells: an Arrow array, or texts for a CSV.
    """
    path = folder / ("t.csv" if isinstance(cells, list) else "t.parquet")
    if isinstance(cells, list):
        rows = [{"id": str(at), "c": cell} for at, cell in enumerate(cells)]
        path.write_text(csv_text(rows, ["id", "c"]), encoding="utf-8", newline="")
    else:
        ids = pa.array([str(at) for at in range(len(cells))])
        pq.write_table(pa.table({"id": ids, "c": cells}), path)
    message = {"type": "identify", "userId": "id", "traits": forms}
    made = build({"version": 1, "source": {"path": path.name}, "messages": [message]}, folder)
    bodies = made.bodies()
    return [
        made.codes[row] if row in made.codes else bodies[row][0].get("traits", {})
        for row in range(made.rows)
    ]


def ids_of(folder: Path, cells: list[str], form: Any, kind: str = "identify") -> list[Any]:
    """The user ids that the cells of a CSV become, or the codes."""
    rows = [{"id": cell, "c": "x"} for cell in cells]
    (folder / "t.csv").write_text(csv_text(rows, ["id", "c"]), encoding="utf-8", newline="")
    message = {"type": kind, "userId": form}
    made = build({"version": 1, "source": {"path": "t.csv"}, "messages": [message]}, folder)
    return [made.codes.get(at) or made.messages[at][0]["userId"] for at in range(made.rows)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("id", ["7", "007", "id-missing"]),
        ({"column": "id", "default": "none"}, ["7", "007", "none"]),
        ({"column": "id", "default": 0}, ["7", "007", "0"]),
        ({"column": "id", "type": "integer"}, ["7", "7", "id-missing"]),
        ({"column": "id", "type": "integer", "default": "none"}, ["7", "7", "none"]),
        ({"column": "id", "type": "text", "default": True}, ["7", "007", "true"]),
        ({"column": "id", "map": {"7": "seven"}, "else": "keep"}, ["seven", "007", "id-missing"]),
        ({"column": "id", "map": {"7": 77}, "else": "keep"}, ["77", "007", "id-missing"]),
        ({"column": "id", "map": {"7": 77}, "else": {"const": "x"}}, ["77", "x", "id-missing"]),
        ({"column": "id", "required": True}, ["7", "007", "required-blank"]),
        ({"column": "id", "check": "^00"}, ["check-failed", "007", "id-missing"]),
        ({"const": "shop"}, ["shop", "shop", "shop"]),
        ({"const": 5}, ["5", "5", "5"]),
    ],
)
def test_an_id_is_text_without_quotes_whatever_its_options(
    form: Any, expected: list[str], tmp_path: Path
) -> None:
    assert ids_of(tmp_path, ["7", "007", ""], form) == expected


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        (pa.int64(), 9007199254740993, "9007199254740993"),
        (pa.uint64(), 1 << 63, str(1 << 63)),
        (pa.decimal128(38, 0), Decimal("1" * 38), "1" * 38),
        (pa.string(), "00171", "00171"),
        (pa.large_string(), "é", "é"),
        (pa.binary(), b"007", "007"),
        (pa.dictionary(pa.int8(), pa.string()), "a", "a"),
        (pa.float64(), 17850.0, "id-float"),
        (pa.float32(), 1.5, "id-float"),
        (pa.decimal128(9, 2), Decimal("7.00"), "id-float"),
        (pa.bool_(), True, "id-type"),
        (pa.date32(), date(2020, 1, 1), "id-type"),
        (pa.timestamp("s", "UTC"), datetime(2020, 1, 1, tzinfo=UTC), "id-type"),
        (pa.list_(pa.string()), ["a"], "id-type"),
        (pa.struct({"a": pa.string()}), {"a": "b"}, "id-type"),
        (pa.string(), "", "id-missing"),
        (pa.string(), "x" * 151, "id-too-long"),
        (pa.string(), "é" * 75, "é" * 75),
        (pa.string(), "cio_5", "id-reserved"),
        (pa.binary(), b"\xff", "not-utf8"),
    ],
)
def test_an_id_of_any_parquet_type_keeps_its_digits_or_rejects_its_row(
    kind: Any, cell: Any, expected: str, tmp_path: Path
) -> None:
    table = pa.table({"id": pa.array([cell, None], kind)})
    pq.write_table(table, tmp_path / "t.parquet")
    message = {"type": "identify", "userId": "id"}
    made = build({"version": 1, "source": {"path": "t.parquet"}, "messages": [message]}, tmp_path)
    found = made.codes.get(0) or made.messages[0][0]["userId"]
    assert [found, made.codes[1]] == [expected, "id-missing"]


def test_a_float_id_says_how_to_mend_it(tmp_path: Path) -> None:
    table = pa.table({"CustomerID": pa.array([17850.0, None, 17850.5])})
    pq.write_table(table, tmp_path / "t.parquet")
    document = {"version": 1, "source": {"path": "t.parquet"}}
    ask: dict[str, Any] = {"type": "identify", "userId": "CustomerID"}
    column, code, reason = build({**document, "messages": [ask]}, tmp_path).rejects[0]
    assert (column, code) == ("CustomerID", "id-float")
    assert reason == (
        "CustomerID: the id '17850' is a float, so its digits cannot be trusted; write {expr:"
        ' "text(integer(CustomerID))"}, or cast the column to text where it comes from'
    )
    for form in (
        {"expr": "text(integer(CustomerID))"},
        {"column": "CustomerID", "type": "integer"},
    ):
        made = build({**document, "messages": [{**ask, "userId": form}]}, tmp_path)
        assert made.messages[0][0]["userId"] == "17850"
        assert made.codes == {1: "id-missing", 2: "integer-unreadable"}


def test_the_mending_of_a_float_id_can_be_copied_for_a_column_of_any_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"Customer ID": [17850.0]}), tmp_path / "t.parquet")
    document: dict[str, Any] = {"version": 1, "source": {"path": "t.parquet"}}
    ask: dict[str, Any] = {"type": "identify", "userId": "Customer ID"}
    _, _, reason = build({**document, "messages": [ask]}, tmp_path).rejects[0]
    form = reason.split("write ")[1].split(", or cast")[0]
    (tmp_path / "fixed.yaml").write_text(
        f"version: 1\nsource: {{path: t.parquet}}\nmessages: [{{type: identify, userId: {form}}}]\n"
    )
    whole = parse((tmp_path / "fixed.yaml").read_text(), "fixed.yaml").value
    assert build(whole, tmp_path).messages[0][0]["userId"] == "17850"


def test_a_time_that_becomes_a_text_or_an_id_is_written_as_every_time_is(tmp_path: Path) -> None:
    """In UTC, with Z and three decimals; one without a zone is told."""
    at = datetime(2020, 1, 1, tzinfo=UTC)
    column = pa.array([at], pa.timestamp("us", "Europe/Berlin"))
    forms: dict[str, Any] = {"a": {"column": "c", "type": "text"}, "b": {"expr": "text(c)"}}
    sent = "2020-01-01T00:00:00.000Z"
    assert traits_of(tmp_path, column, **forms) == [{"a": sent, "b": sent}]
    naive = pa.array([at.replace(tzinfo=None)], pa.timestamp("us"))
    for form in forms.values():
        assert traits_of(tmp_path, naive, t=form) == ["time-naive"]
    for kind in ("timestamp", "text"):
        assert ids_of(tmp_path, [sent], {"column": "id", "type": kind}) == [sent]


@pytest.mark.parametrize(
    ("kind", "cell", "sent"),
    [
        (pa.decimal128(9, 2), Decimal("12.30"), Decimal("12.30")),
        (pa.decimal256(60, 10), Decimal("1E-10"), Decimal("1E-10")),
        (pa.int64(), -(1 << 63), Decimal(-(1 << 63))),
        (pa.uint64(), (1 << 64) - 1, Decimal((1 << 64) - 1)),
        (pa.float32(), 0.1, 0.1),
        (pa.float16(), 0.5, 0.5),
        (pa.float64(), 1e300, 1e300),
        (pa.float64(), float("nan"), "number-not-finite"),
        (pa.float64(), float("-inf"), "number-not-finite"),
        (pa.bool_(), False, False),
        (pa.date32(), date(1900, 2, 28), "1900-02-28"),
        (pa.date64(), date(2200, 1, 1), "2200-01-01"),
        (pa.timestamp("ns", "UTC"), -1, "1969-12-31T23:59:59.999Z"),
        (pa.timestamp("us", "Europe/Berlin"), 0, "1970-01-01T00:00:00.000Z"),
        (pa.timestamp("us"), 0, "time-naive"),
        (pa.list_(pa.float64()), [1.5, None, float("nan")], "number-not-finite"),
        (pa.list_(pa.timestamp("ms")), [0], "time-naive"),
        (pa.list_(pa.list_(pa.int64())), [[1, None], None, []], [[Decimal(1)]]),
        (pa.struct({"a": pa.struct({"b": pa.string()})}), {"a": {"b": None}}, None),
        (pa.map_(pa.string(), pa.int64()), [("a", 1), ("b", None)], {"a": Decimal(1)}),
        (pa.large_list(pa.string()), ["x"], ["x"]),
        (pa.list_(pa.string(), 2), ["x", None], ["x"]),
        (pa.binary(), "\u00e9".encode(), "\u00e9"),
        (pa.list_(pa.binary()), [b"\xff"], "not-utf8"),
        (pa.dictionary(pa.int32(), pa.string()), "a", "a"),
        (pa.null(), None, None),
    ],
)
def test_a_parquet_column_keeps_its_own_type(
    kind: Any, cell: Any, sent: Any, tmp_path: Path
) -> None:
    found = traits_of(tmp_path, pa.array([None, cell, None], kind), t="c")
    assert found[::2] == [{}, {}]
    if isinstance(sent, str) and "-" in sent and sent[:1].isalpha():
        assert found[1] == sent
    else:
        assert is_same(found[1], {} if sent is None else {"t": sent}), found


def test_an_integer_past_what_doubles_hold_is_sent_exact(tmp_path: Path) -> None:
    texts = ["9007199254740993", "123456789012345678901234567890", "0.12345678901234567890"]
    found = traits_of(tmp_path, texts, t={"column": "c", "type": "number"})
    assert [str(traits["t"]) for traits in found] == texts


@pytest.mark.parametrize(
    "options", [{"type": kind} for kind in ("number", "integer", "boolean", "timestamp", "date")]
)
@pytest.mark.parametrize("cell", [["a"], {"a": 1}])
def test_a_list_or_struct_typed_as_a_scalar_is_told_and_never_left_out(
    options: dict[str, Any], cell: Any, tmp_path: Path
) -> None:
    try:
        found = traits_of(tmp_path, pa.array([cell]), t={"column": "c", **options})
    except MappingError:
        return
    assert isinstance(found[0], str), f"sent without the value: {found}"


@pytest.mark.parametrize(
    "options", [{"split": ","}, {"map": {"a": "b"}, "else": "keep"}, {"check": "^never$"}]
)
def test_an_option_for_text_on_a_list_is_told_and_never_ignored(
    options: dict[str, Any], tmp_path: Path
) -> None:
    try:
        found = traits_of(tmp_path, pa.array([["a"]]), t={"column": "c", **options})
    except MappingError:
        return
    assert isinstance(found[0], str), f"sent as if nothing was asked: {found}"


def test_a_constant_may_be_any_json_value(tmp_path: Path) -> None:
    values: list[Any] = [None, True, 0, "", "a\n", [], {}, [None, {"a": None}]]
    for value in values:
        assert traits_of(tmp_path, ["x"], t={"const": value}) == [{"t": value}]


@pytest.mark.parametrize("form", [{"object": {}}, {"array": []}, {"object": {"a": {"array": []}}}])
def test_an_object_or_array_with_nothing_in_it_is_left_out_unless_kept(
    form: dict[str, Any], tmp_path: Path
) -> None:
    assert traits_of(tmp_path, ["x"], t=form) == [{}]
    kept = {"object": {}} if "object" in form else form
    empty: Any = {} if "object" in form else []
    assert traits_of(tmp_path, ["x"], t={**kept, "empty": "keep"}) == [{"t": empty}]


def test_a_required_value_is_never_missing_from_a_message(tmp_path: Path) -> None:
    """Neither because its cell is blank, nor because its options made a blank of it."""
    required = {"column": "c", "required": True}
    assert traits_of(tmp_path, ["", "x"], t=required) == ["required-blank", {"t": "x"}]
    split = {**required, "split": ","}
    assert traits_of(tmp_path, [" , ", "x"], t=split) == ["required-blank", {"t": ["x"]}]
    omitted = {**required, "map": {"a": "b", "z": None}, "else": "omit"}
    found = traits_of(tmp_path, ["a", "z", "other"], t=omitted)
    assert found == [{"t": "b"}, "required-blank", "required-blank"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        *(({}, {}), ({"blank": "omit"}, {}), ({"blank": "null"}, {"t": None})),
        *(({"blank": "keep"}, {"t": ""}), ({"blank": "reject"}, "required-blank")),
        *(({"required": True}, "required-blank"), ({"default": "none"}, {"t": "none"})),
        *(
            ({"default": False}, {"t": False}),
            ({"default": [1, {"a": "b"}]}, {"t": [1, {"a": "b"}]}),
        ),
        *(
            ({"default": 0, "type": "number"}, {"t": 0}),
            ({"default": 0, "blank": "null"}, {"t": 0}),
        ),
        ({"blank": "keep", "type": "number"}, {"t": ""}),
    ],
)
def test_a_blank_becomes_what_its_column_says(
    options: dict[str, Any], sent: Any, tmp_path: Path
) -> None:
    found = traits_of(tmp_path, ["5", "", "7"], t={"column": "c", **options})
    assert isinstance(found[0], dict)
    assert found[1] == sent


def test_blank_texts_are_those_listed_and_are_compared_before_trimming(tmp_path: Path) -> None:
    text = "id,c\n1,NULL\n2,\\N\n3,null\n4,  \n5,\n6, NULL\n7,NA\n"
    (tmp_path / "t.csv").write_text(text)
    message = {"type": "identify", "userId": "id", "traits": {"c": "c"}}
    document = {"version": 1, "messages": [message]}
    listed = {"path": "t.csv", "blank": ["", "NULL", "\\N"]}
    made = build({**document, "source": listed}, tmp_path)
    found = [made.messages[row][0].get("traits", {}).get("c") for row in range(7)]
    assert found == [None, None, "null", "  ", None, " NULL", "NA"]
    made = build({**document, "source": {"path": "t.csv", "blank": "NA"}}, tmp_path)
    found = [made.messages[row][0].get("traits", {}).get("c") for row in range(7)]
    assert found == ["NULL", "\\N", "null", "  ", "", " NULL", None]


def test_blank_texts_are_for_csv_only(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"], "c": [""]}), tmp_path / "t.parquet")
    message = {"type": "identify", "userId": "id", "traits": {"c": "c"}}
    source = {"path": "t.parquet", "blank": ["", "1"]}
    made = build({"version": 1, "source": source, "messages": [message]}, tmp_path)
    assert made.bodies()[0] == [{"type": "identify", "userId": "1", "traits": {"c": ""}}]


@pytest.mark.parametrize(
    ("cell", "options", "sent"),
    [
        ("a; b;;c ", {"split": ";"}, ["a", "b", "c"]),
        ("1,2", {"split": ",", "type": "integer"}, [Decimal(1), Decimal(2)]),
        ("1,x", {"split": ",", "type": "integer"}, "integer-unreadable"),
        ("no|yes", {"split": "|", "type": "boolean"}, [False, True]),
        ("a.b", {"split": "."}, ["a", "b"]),
        ("a", {"map": {"a": "1.50"}, "type": "number"}, Decimal("1.50")),
        ("x", {"map": {"a": "b"}}, "value-unmapped"),
        ("x", {"map": {"a": "b"}, "else": "keep"}, "x"),
        ("x", {"map": {"a": "b"}, "else": {"const": {"k": [1]}}}, {"k": [1]}),
        ("x", {"map": {"a": True}, "else": "keep"}, "x"),
        ("a", {"map": {"a": None}, "default": "d"}, "d"),
        ("bjorn.hansen@yahoo.no", {"check": "email"}, "bjorn.hansen@yahoo.no"),
        ("bjorn.hansen@yahoo", {"check": "email"}, "check-failed"),
        ("AB-12", {"check": "^[A-Z]{2}-[0-9]+$"}, "AB-12"),
        ("AB-12\n", {"check": "^[A-Z]{2}-[0-9]+$"}, "check-failed"),
        ("JA", {"type": "boolean", "true": "ja", "false": "nein"}, True),
        ("yes", {"type": "boolean", "true": "ja", "false": "nein"}, "boolean-unreadable"),
        ('{"b": 1.50, "a": [1, null]}', {"type": "json"}, {"b": Decimal("1.50"), "a": [1, None]}),
        ("[1,]", {"type": "json"}, "json-unreadable"),
        ("NaN", {"type": "json"}, "json-unreadable"),
        ("[1] [2]", {"type": "json"}, "json-unreadable"),
        ("2020-02-29", {"type": "date"}, "2020-02-29"),
        ("29.02.2020", {"type": "date", "format": "%d.%m.%Y"}, "2020-02-29"),
        ("2020-01-01T23:30:00", {"type": "date", "timezone": "Asia/Tokyo"}, "2020-01-01"),
        ("2020-01-01T23:30:00Z", {"type": "timestamp", "as": "unix"}, Decimal(1577921400)),
    ],
)
def test_an_option_does_what_the_contract_says(
    cell: str, options: dict[str, Any], sent: Any, tmp_path: Path
) -> None:
    found = traits_of(tmp_path, [cell], t={"column": "c", **options})[0]
    if isinstance(found, str):
        assert found == sent
    else:
        assert is_same(found, {"t": sent}), found


@needs_shared
def test_json_held_in_a_column_is_passed_on_unchanged_in_meaning(tmp_path: Path) -> None:
    """The texts of the JSON test suite that every reader must take, but keys that come twice."""
    path = SHARED / "json" / "jsontestsuite_accept.json"
    cases = json.loads(path.read_text("utf-8"))
    inputs = [case["input"] for case in cases if "duplicated" not in case["name"]]
    assert len(inputs) > 80
    found = traits_of(tmp_path, pa.array(inputs), t={"column": "c", "type": "json"})
    for text, traits in zip(inputs, found, strict=True):
        assert isinstance(traits, dict), (text, traits)
        assert is_same(traits["t"], json.loads(text, parse_float=Decimal, parse_int=Decimal)), text


@pytest.mark.parametrize("text", ['["\\ud800"]', '{"a":1,"a":2}', "[" * 100_000])
def test_json_that_readers_do_not_agree_on_is_told(text: str, tmp_path: Path) -> None:
    """As in JSON lines: half a surrogate pair is no text, and of two values one would be lost."""
    found = traits_of(tmp_path, pa.array([text]), t={"column": "c", "type": "json"})
    assert found == ["json-unreadable"]


def test_a_day_is_the_same_from_a_text_and_from_a_parquet_column(tmp_path: Path) -> None:
    """An instant has a day only in a zone: that of the mapping, or UTC."""
    late = datetime(2020, 1, 1, 23, 30, tzinfo=UTC)
    column = pa.array([late], pa.timestamp("ms", "UTC"))
    for zone, day in (("Europe/Berlin", "2020-01-02"), ("America/New_York", "2020-01-01")):
        form = {"column": "c", "type": "date", "timezone": zone}
        assert traits_of(tmp_path, column, t=form) == [{"t": day}]
        assert traits_of(tmp_path, ["2020-01-01T23:30:00Z"], t=form) == [{"t": day}]


@pytest.mark.parametrize(
    ("form", "cells", "sent"),
    [
        (
            {"each": "c", "as": {"a": "sku"}},
            [[{"sku": "x", "n": 1}], None, []],
            [["x"], None, None],
        ),
        ({"each": "c", "as": "sku"}, [[{"sku": "x", "n": 1}, None], None, []], ["x", None, None]),
    ],
)
def test_each_makes_an_array_of_a_list_and_nothing_of_a_blank(
    form: dict[str, Any], cells: list[Any], sent: list[Any], tmp_path: Path
) -> None:
    kind = pa.list_(pa.struct({"sku": pa.string(), "n": pa.int64()}))
    made: Any = [{"a": "x"}] if isinstance(form["as"], dict) else ["x"]
    found = traits_of(tmp_path, pa.array(cells, kind), t=form)
    assert found == [{"t": made}, {}, {}]
    kept = traits_of(tmp_path, pa.array(cells, kind), t={**form, "empty": "keep"})
    assert kept == [{"t": made}, {}, {"t": []}]
    assert len(sent) == len(cells)


def test_a_fault_inside_a_list_rejects_its_row_and_names_the_field(tmp_path: Path) -> None:
    items = pa.array([[{"qty": "1"}], [{"qty": "2"}, {"qty": "x"}], []])
    pq.write_table(pa.table({"id": ["1", "2", "3"], "items": items}), tmp_path / "t.parquet")
    each = {"each": "items", "as": {"n": {"column": "qty", "type": "integer"}}}
    message = {"type": "identify", "userId": "id", "traits": {"items": each}}
    made = build({"version": 1, "source": {"path": "t.parquet"}, "messages": [message]}, tmp_path)
    column, code, reason = made.rejects[1]
    assert (column, code, list(made.rejects)) == ("items.qty", "integer-unreadable", [1])
    assert "'x' is not an integer" in reason
