"""Each line of the language's contract is true: ../shared/docs/mapping.md, in the page's order.

A test says which words of the page it proves (`proves`); the last test reads the page, where it is
there, and finds every rule of it claimed. What a night needs has a file of tests of its own.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from ledger import Reply, messages
from reference import build, is_same, written

from backfill.errors import MappingError
from backfill.mapping import find_mappings, load_mapping
from backfill.mapping.functions import FUNCTIONS, SPECIAL
from backfill.mapping.schema import json_schema
from backfill.spec import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Cli
    from ledger import Ledger
    from reference import Built

    Door = Callable[..., dict[str, Any]]
    Sending = Callable[..., "Built"]

PAGE: Final = ROOT.parent / "shared" / "docs" / "mapping.md"
needs_page = pytest.mark.skipif(
    not PAGE.is_file(), reason=f"the contract of the language is not on this machine ({PAGE})"
)
NOW: Final = datetime(2024, 6, 1, tzinfo=UTC)
NOW_MS: Final = int(NOW.timestamp() * 1000)
AT: Final = {"const": "2024-01-01T00:00:00Z"}
TEST = TypeVar("TEST", bound="Callable[..., Any]")
CLAIMED: Final[dict[str, tuple[str, ...]]] = {}


def proves(*phrases: str) -> Callable[[TEST], TEST]:
    """Say which words of the page a test proves."""

    def claim(test: TEST) -> TEST:
        CLAIMED[test.__name__] = phrases
        return test

    return claim


def identify(**traits: Any) -> dict[str, Any]:
    """A message with these traits."""
    return {"type": "identify", "userId": "id", "traits": traits}


def track(**properties: Any) -> dict[str, Any]:
    """A message with these properties."""
    head = {"type": "track", "userId": "id", "event": {"const": "Seen"}, "timestamp": AT}
    return {**head, "properties": properties}


@pytest.fixture
def sends(tmp_path: Path) -> Sending:
    """Write a source (CSV text, Parquet table, JSON lines) and say what a mapping makes of it."""

    def run(given: Any, /, *wanted: dict[str, Any], **more: Any) -> Built:
        if isinstance(given, str):
            name = "t.csv"
            (tmp_path / name).write_text(given, encoding="utf-8", newline="")
        elif isinstance(given, pa.Table):
            name = "t.parquet"
            pq.write_table(given, tmp_path / name)
        else:
            name = "t.jsonl"
            (tmp_path / name).write_text("".join(f"{json.dumps(line)}\n" for line in given))
        how = {"path": name, **more.pop("source", {})}
        document = {"version": 1, "name": "t", "source": how, "messages": [*wanted], **more}
        return build(document, tmp_path, now_ms=NOW_MS)

    return run


def traits(made: Built, row: int = 0) -> Any:
    """The traits of a row, or the code of its reject."""
    return made.codes.get(row) or made.messages[row][0].get("traits", {})


def outcomes(made: Built, name: str = "t") -> list[Any]:
    """What a trait became, row by row: its value, None where it is left out, or the code."""
    found = [traits(made, row) for row in range(made.rows)]
    return [one if isinstance(one, str) else one.get(name) for one in found]


def cells(*texts: str) -> str:
    """A CSV of a column `c`."""
    lines = [f'{at},"{text}"' for at, text in enumerate(texts)]
    return "\n".join(["id,c", *lines, ""])


def told(act: Callable[[], Any]) -> list[str]:
    """What is told of a faulty mapping, without the name of its file."""
    with pytest.raises(MappingError) as caught:
        act()
    return [re.sub(r"^[^\n]*?/?(\w+\.yaml):", "", line) for line in str(caught.value).split("\n")]


def loaded(folder: Path, text: str) -> Callable[[], Any]:
    (folder / "m.yaml").write_text(text, encoding="utf-8")
    return lambda: load_mapping(folder / "m.yaml")


# The example


@needs_page
@proves("it must read like a table of", "Destination on the left, source on the right")
def test_the_example_of_the_page_is_a_mapping_without_a_fault(tmp_path: Path) -> None:
    text = re.findall(r"```yaml\n(version: 1\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
    found = loaded(tmp_path, text)().document
    assert found.after == ["customers"]
    assert found.messages[0].properties["products"].each == "items"


ORDER: Final = pa.table(
    {
        "order_id": ["o1", "o2"],
        "status": ["PAID", "TEST"],
        "customer_id": [2, 3],
        "ordered_at": pa.array([datetime(2024, 1, 31, 12)] * 2, pa.timestamp("ms")),  # noqa: DTZ001
        "total": pa.array([Decimal("12.30"), None], pa.decimal128(9, 2)),
        "coupon": pa.array([None, "X"], pa.string()),
        "ship_city": ["Köln", None],
        "ship_zip": pa.array([None, None], pa.string()),
        "items": [[{"sku": "a", "qty": "2"}, {"sku": "b", "qty": None}], []],
        "ip_address": ["10.0.0.1", None],
    }
)


@needs_page
@proves(
    "version: 1",
    "where: status",
    "messages: # one row may become several messages",
    "type: track",
    "when: total is not None",
    "userId: customer_id",
    "event: {const: Order Completed}",
    "timestamp: {column: ordered_at",
    "properties:",
    "order_id: order_id",
    "total: {column: total, type: number}",
    "coupon: {column: coupon, default: none}",
    "shipping: {object: {city: ship_city, zip: ship_zip}}",
    "products: {each: items, as: {sku: sku, quantity: {column: qty, type: integer}}}",
    "context: {ip: ip_address}",
    "integrations: {const: {All: true, Mixpanel: false}}",
)
def test_the_example_of_the_page_makes_the_message_it_describes(tmp_path: Path) -> None:
    text = re.findall(r"```yaml\n(version: 1\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
    text = re.sub(r"path: \S+", "path: o.parquet", text)
    pq.write_table(ORDER, tmp_path / "o.parquet")
    document = loaded(tmp_path, re.sub(r"format: csv .*|csv: \{.*|blank: \[.*", "", text))()
    whole = document.document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    made = build(whole, tmp_path)
    assert made.codes == {}
    (message,) = made.bodies()[0]
    assert is_same(
        message,
        {
            "type": "track",
            "userId": "2",
            "event": "Order Completed",
            "timestamp": "2024-01-31T11:00:00.000Z",
            "context": {"ip": "10.0.0.1"},
            "integrations": {"All": True, "Mixpanel": False},
            "properties": {
                "order_id": "o1",
                "total": Decimal("12.30"),
                "coupon": "none",
                "shipping": {"city": "Köln"},
                "products": [{"sku": "a", "quantity": Decimal(2)}, {"sku": "b"}],
            },
        },
    )
    assert list(made.messages) == [0], "a TEST is filtered"


@proves("version: 1")
def test_a_mapping_of_another_version_is_a_fault(tmp_path: Path) -> None:
    text = "version: 2\nsource: {path: a.csv}\nmessages: [{type: identify, userId: id}]\n"
    what = "1:1: version: 2 is not known to this program [wrong-value]"
    assert told(loaded(tmp_path, text)) == [what, "  fix: write version: 1, or update backfill"]


@proves("name: orders # default: the file's stem; names the state folder")
def test_the_name_is_the_files_stem_and_names_the_state_folder(
    tmp_path: Path, orders: Callable[..., Path], door: Door
) -> None:
    path = orders(3)
    for name, text in (("orders", path.read_text().replace("name: orders\n", "")), ("x", "")):
        path.write_text(text or path.read_text().replace("version: 1\n", "version: 1\nname: x\n"))
        assert door(path)["stream"] == name
        assert (tmp_path / "state" / name / "checkpoint.json").exists()


@proves("after: [customers] # streams that must finish first when several run together")
def test_streams_run_in_the_order_of_after(tmp_path: Path) -> None:
    for name, after in (("a", ["z"]), ("m", []), ("z", ["elsewhere"])):
        plain = {"version": 1, "source": {"path": "a.csv"}, "messages": [identify()]}
        written({**plain, "after": after}, tmp_path / f"{name}.yaml")
    assert [mapping.name for mapping in find_mappings([tmp_path])] == ["m", "z", "a"]


@proves(
    "source: path: ../samples/orders.csv # relative to this file; string or list; file,"
    " folder, glob",
    "Files of a list go in the order written, those of a folder or glob by name",
)
def test_a_path_is_relative_to_the_mapping_and_may_be_a_list_a_folder_or_a_glob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "in").mkdir()
    monkeypatch.chdir("/")
    for name in ("b", "a", "c"):
        (tmp_path / "in" / f"{name}.csv").write_text(f"id\n{name}\n")
    for path, order in (
        ("../in/b.csv", "b"),
        (["../in/c.csv", "../in/a.csv"], "ca"),
        ("../in", "abc"),
        ("../in/[bc].csv", "bc"),
        (["../in/c.csv", "../in/[ab].csv"], "cab"),
    ):
        document = {"version": 1, "source": {"path": path}, "messages": [identify()]}
        made = build(document, tmp_path / "maps")
        assert "".join(made.messages[row][0]["userId"] for row in range(made.rows)) == order


@proves("csv | parquet | jsonl; default: by ending (before .gz .bz2 .zst .lz4 .xz)")
def test_the_format_is_that_of_the_ending_before_the_packing(tmp_path: Path) -> None:
    import lzma  # noqa: PLC0415  only here

    text, line = b"id\n1\n", b'{"id": "1"}\n'
    packed = {
        "a.csv.gz": gzip.compress(text),
        "a.csv.bz2": bz2.compress(text),
        "a.csv.xz": lzma.compress(text),
        "a.jsonl.zst": pa.Codec("zstd").compress(line, asbytes=True),
        "a.jsonl.lz4": pa.Codec("lz4").compress(line, asbytes=True),
        "a.CSV": text,
        "a.ndjson": line,
    }
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        source: dict[str, Any] = {"path": name}
        made = build({"version": 1, "source": source, "messages": [identify()]}, tmp_path)
        assert made.messages[0][0]["userId"] == "1", name
    (tmp_path / "a.txt").write_bytes(text)
    source = {"path": "a.txt", "format": "csv"}
    made = build({"version": 1, "source": source, "messages": [identify()]}, tmp_path)
    assert made.messages[0][0]["userId"] == "1"


@proves(
    'csv: {delimiter: ",", quote: \'"\', encoding: utf-8, header: true, skip_lines: 0}',
    "header: true or a list of names",
)
def test_a_csv_is_read_as_its_dialect_says(tmp_path: Path, sends: Sending) -> None:
    how = {"delimiter": ";", "quote": "'", "encoding": "latin-1", "skip_lines": 1}
    (tmp_path / "x.csv").write_bytes("junk\nid;c\n1;'Bjørn; x'\n".encode("latin-1"))
    source = {"path": "x.csv", "csv": how}
    assert outcomes(sends("", identify(t="c"), source=source)) == ["Bjørn; x"]
    source = {"csv": {"header": ["id", "First Name"]}}
    assert outcomes(sends("7,Ann\n", identify(t="First Name"), source=source)) == ["Ann"]
    assert outcomes(sends('id,c\n7,"a,""b"\n', identify(t="c"))) == ['a,"b']


@proves('texts that count as blank (CSV only); default [""]')
def test_only_the_listed_texts_of_a_csv_are_blank(sends: Sending) -> None:
    texts = cells("", "NULL", "\\N", "null")
    assert outcomes(sends(texts, identify(t="c"))) == [None, "NULL", "\\N", "null"]
    source = {"blank": ["NULL", "\\N"]}
    assert outcomes(sends(texts, identify(t="c"), source=source)) == ["", None, None, "null"]
    table = pa.table({"id": ["1", "2"], "c": ["NULL", ""]})
    assert outcomes(sends(table, identify(t="c"), source=source)) == ["NULL", ""]


@proves(
    "key: order_id # column or list: identity of a row; without it, file content + row number",
    "The same row always gets the same id, on every retry and resume and with every version",
)
def test_a_key_is_a_column_or_a_list_and_without_one_a_row_is_its_file_and_number(
    sends: Sending,
) -> None:
    text = "id,c\n1,a\n2,b\n"
    for key in ("id", ["id", "c"]):
        one, two = sends(text, track(), key=key), sends("id,c\n2,b\n9,z\n1,a\n", track(), key=key)
        assert [one.ids(0), one.ids(1)] == [two.ids(2), two.ids(0)]
        assert one.ids(0) != one.ids(1)
    plain = sends(text, track())
    assert plain.ids(0) == sends(text, track(c="c")).ids(0), "the content of the file is the same"
    assert plain.ids(0) != sends("id,c\n1,a\n3,b\n", track()).ids(0)


@proves("rows for which this is not true are filtered (counted, not rejected)")
def test_rows_for_which_where_is_not_true_are_filtered(
    tmp_path: Path, orders: Callable[..., Path], door: Door
) -> None:
    path = orders(4, bad=[1])
    path.write_text(path.read_text() + "where: number(id) > 1\n")
    report = door(path)
    assert (report["rows"]["filtered"], report["rows"]["rejected"]) == (2, 0)
    assert report["rows"]["delivered"] == 2
    assert not [*tmp_path.glob("state/**/rejects.csv")]


@proves(
    "identify | track | page | screen | group | alias",
    "one row may become several messages",
    "this message only for such rows",
)
def test_a_row_becomes_the_messages_that_it_wants(sends: Sending) -> None:
    wanted: list[dict[str, Any]] = [
        {**identify(), "when": 'c != "no"'},
        {**track(), "when": "c is None"},
        {"type": "page", "userId": "id", "timestamp": AT},
        {"type": "screen", "userId": "id", "timestamp": AT},
        {"type": "group", "userId": "id", "groupId": "id"},
        {"type": "alias", "userId": "id", "previousId": {"expr": 'concat("x", id)'}},
    ]
    made = sends(cells("yes", "no", ""), *wanted)
    types = [[one["type"] for one in made.messages[row]] for row in range(3)]
    always = ["page", "screen", "group", "alias"]
    assert types == [["identify", *always], always, ["track", *always]]


@proves("a bare string is a COLUMN, always")
def test_a_bare_string_is_a_column_always(tmp_path: Path, sends: Sending) -> None:
    header = "id,now,true,1,1.5,x\n"
    values = "7,a,b,c,d,e\n"
    made = sends(header + values, identify(n="now", t="true", i="1", f="1.5", o={"array": ["x"]}))
    assert traits(made) == {"n": "a", "t": "b", "i": "c", "f": "d", "o": ["e"]}
    head = "version: 1\nsource: {path: a.csv}\nmessages:\n  - {type: track, userId: id, "
    act = loaded(tmp_path, head + "event: Order Completed, timestamp: now}\n")
    (tmp_path / "a.csv").write_text("id\n1\n")
    with pytest.raises(MappingError) as caught:
        act().check_columns(["id"], "a.csv")
    assert "a.csv has no column 'Order Completed' [unknown-column]" in str(caught.value)


@proves(
    "guards: recent_events: hold # hold | send: track events newer than 72 h can start campaigns"
)
def test_recent_events_are_held_or_sent_as_the_guard_says(sends: Sending) -> None:
    text = cells("2024-05-29T00:00:01Z", "2024-05-29T00:00:00Z")
    seen = {**track(), "timestamp": "c"}
    for guard, held in (("hold", [0]), ("send", [])):
        assert sends(text, seen, guards={"recent_events": guard}).held == held
    assert sends(text, {**identify(), "timestamp": "c"}).held == [], "an update starts nothing"


@proves("delivery: {rate: 50, connections: 8, batch_bytes: 475000, batch_messages: 1000}")
def test_delivery_has_these_defaults_and_cuts_batches_by_them(
    orders: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    path = orders(10)
    given = load_mapping(path).document.delivery
    found = (given.rate, given.connections, given.batch_bytes, given.batch_messages)
    assert found == (50, 8, 475_000, 1_000)
    path.write_text(path.read_text() + "delivery: {batch_messages: 4}\n")
    door(path)
    assert sorted(len(messages(body)) for body in ledger.bodies) == [2, 4, 4]


# Message members


@pytest.mark.parametrize("kind", sorted(TYPES))
@proves(
    "The API's own names:",
    "userId anonymousId groupId previousId event name category timestamp messageId traits",
    "integrations`. Which type takes which, and which are required",
    "A member a type does not have is a fault of the mapping",
)
def test_a_type_takes_its_own_members_and_another_is_a_fault(kind: str, tmp_path: Path) -> None:
    bodies = {"traits": {"a": "a"}, "properties": {"a": "a"}, "context": {"a": "a"}}
    free = {"integrations": {"const": {}}, "timestamp": "at"}
    names = "userId anonymousId groupId previousId event name category timestamp messageId traits"
    every = [*names.split(), "properties", "context", "integrations"]
    forms = {name: bodies.get(name, free.get(name, "c")) for name in every}
    own = {name: form for name, form in forms.items() if name in TYPES[kind].members}
    head: dict[str, Any] = {"version": 1, "source": {"path": "a.csv"}}
    path = written({**head, "messages": [{"type": kind, **own}]}, tmp_path / "m.yaml")
    assert load_mapping(path).document.messages[0].type == kind
    written({**head, "messages": [{"type": kind, **forms}]}, path)
    lints = told(lambda: load_mapping(path))[::2]
    others = [name for name in every if name not in own]
    assert sorted(re.findall(r": '(\w+)' is not a member of", "\n".join(lints))) == sorted(others)
    for name in TYPES[kind].required:
        less = {other: form for other, form in own.items() if other != name}
        written({**head, "messages": [{"type": kind, **less}]}, path)
        assert f"{kind} needs '{name}' [missing-member]" in "\n".join(
            told(lambda: load_mapping(path))
        )


@proves("`category` of a page goes into properties")
def test_the_category_of_a_page_goes_into_properties(sends: Sending) -> None:
    page = {"type": "page", "userId": "id", "timestamp": AT, "category": "c"}
    made = sends(cells("Docs"), {**page, "properties": {"a": "id"}}, {**page, "name": "c"})
    assert [one["properties"] for one in made.messages[0]] == [
        {"category": "Docs", "a": "0"},
        {"category": "Docs"},
    ]
    assert "category" not in made.messages[0][0]


@proves("`traits.objectTypeId` and `traits.relationshipAttributes` serve objects (group)")
def test_the_traits_of_a_group_name_its_object_type_and_the_relationship(sends: Sending) -> None:
    wanted = {"role": {"const": "buyer"}, "since": "c"}
    group = {"type": "group", "userId": "id", "groupId": "id"}
    forms = {"objectTypeId": {"const": 2}, "relationshipAttributes": {"object": wanted}}
    made = sends(cells("x", ""), {**group, "traits": forms})
    assert traits(made) == {
        "objectTypeId": "2",
        "relationshipAttributes": {"role": "buyer", "since": "x"},
    }
    assert traits(made, 1)["relationshipAttributes"] == {"role": "buyer"}
    made = sends(cells("x", "3"), {**group, "traits": {"objectTypeId": "c"}})
    assert (made.codes, traits(made, 1)) == ({0: "object-type"}, {"objectTypeId": "3"})


# Value forms


@proves("the column of that name; spaces and dots in names need no quoting beyond YAML's")
def test_a_name_may_have_spaces_and_dots(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,First Name,a.b.c,x: y\n1,Ann,d,q\n")
    (tmp_path / "m.yaml").write_text(
        "version: 1\nsource: {path: t.csv}\nmessages:\n  - type: identify\n    userId: id\n"
        "    traits:\n      a: First Name\n      b: a.b.c\n      c: {column: First Name}\n"
        "      d: {column: a.b.c}\n      e: 'x: y'\n"
    )
    whole = load_mapping(tmp_path / "m.yaml").document.model_dump(by_alias=True, exclude_unset=True)
    assert traits(build(whole, tmp_path)) == {
        "a": "Ann",
        "b": "d",
        "c": "Ann",
        "d": "d",
        "e": "q",
    }


@proves("the same, with options")
def test_a_column_with_options_is_the_column(sends: Sending) -> None:
    made = sends(cells("5"), identify(a="c", b={"column": "c"}, c={"column": "c", "type": "text"}))
    assert traits(made) == {"a": "5", "b": "5", "c": "5"}


@proves("the same value in every row; any JSON value")
def test_a_const_is_any_json_value_in_every_row(sends: Sending) -> None:
    values: list[Any] = [
        None,
        True,
        0,
        -1.5,
        "",
        'q"',
        [],
        {},
        [1, [None], {"a": {"b": [False]}}],
        "<é\n>",
    ]
    made = sends(cells("x", ""), identify(**{str(n): {"const": v} for n, v in enumerate(values)}))
    assert [*traits(made).values()] == [*traits(made, 1).values()] == values


@proves('`{expr: "lower(trim(email))", …options}` | computed, see below')
def test_an_expression_is_computed_and_takes_the_options_of_a_column(sends: Sending) -> None:
    expr = "lower(trim(c))"
    forms: dict[str, Any] = {
        "a": {"expr": expr},
        "b": {"expr": expr, "check": "email"},
        "c": {"expr": expr, "map": {"a@b.co": "x"}, "else": "omit", "default": "none"},
        "d": {"expr": expr, "split": "@"},
    }
    made = sends(cells(" A@B.co ", "Q@R.de", ""), identify(**forms))
    assert traits(made) == {"a": "a@b.co", "b": "a@b.co", "c": "x", "d": ["a", "b.co"]}
    assert traits(made, 1)["c"] == "none"
    assert traits(made, 2) == {"c": "none"}


@proves("object; members that are blank are left out; `empty: omit \\| keep` (default omit)")
def test_an_object_leaves_blank_members_out_and_itself_unless_kept(sends: Sending) -> None:
    inner = {"object": {"k": "c", "deep": {"object": {"k": "c"}}}}
    made = sends(cells("x", ""), identify(t=inner, u={**inner, "empty": "keep"}))
    assert traits(made)["t"] == {"k": "x", "deep": {"k": "x"}}
    assert traits(made, 1) == {"u": {}}
    asked = {"object": {"k": {"column": "c", "blank": "null"}}}
    assert outcomes(sends(cells(""), identify(t=asked))) == [{"k": None}]


@proves("array; blank items left out")
def test_an_array_leaves_blank_items_out(sends: Sending) -> None:
    items = ["id", "c", {"const": 1}, {"object": {"k": "c"}}]
    made = sends(cells("x", ""), identify(t={"array": items}))
    assert outcomes(made) == [["0", "x", 1, {"k": "x"}], ["1", 1]]
    assert outcomes(sends(cells(""), identify(t={"array": ["c"]}))) == [None]


LINES: Final = pa.table(
    {
        "id": ["1", "2", "3"],
        "l": pa.array(
            [[{"a": "x", "n": 1}, None, {"a": None, "n": 2}], [], None],
            pa.list_(pa.struct({"a": pa.string(), "n": pa.int64()})),
        ),
    }
)


@proves(
    "a list column → array of objects (or of scalars); inside `as`, columns are the struct's"
    " fields",
    "When a list column is blank, `each` is blank too (left out); an empty list stays `[]`"
    " only with"
    " `empty: keep`",
)
def test_each_makes_objects_or_scalars_of_a_list_column(sends: Sending) -> None:
    forms: dict[str, Any] = {
        "objects": {"each": "l", "as": {"k": "a", "m": {"expr": "n * 2"}, "c": {"const": 0}}},
        "scalars": {"each": "l", "as": "a"},
        "kept": {"each": "l", "as": "a", "empty": "keep"},
    }
    made = sends(LINES, identify(**forms))
    assert traits(made) == {
        "objects": [{"k": "x", "m": 2, "c": 0}, {"c": 0}, {"m": 4, "c": 0}],
        "scalars": ["x"],
        "kept": ["x"],
    }
    assert [traits(made, 1), traits(made, 2)] == [{"kept": []}, {}]
    lines = [{"id": "1", "l": [{"a": "x", "n": 1}]}, {"id": "2"}, {"id": "3", "l": None}]
    made = sends(lines, identify(**forms))
    assert traits(made)["objects"] == [{"k": "x", "m": 2, "c": 0}]
    assert [traits(made, 1), traits(made, 2)] == [{}, {}]


@proves("text that holds JSON, checked, passed on unchanged in meaning")
def test_json_in_a_column_is_checked_and_passed_on(sends: Sending) -> None:
    text = '{""b"": 1.50, ""a"": [null, ""é\\u0000""], ""n"": 9007199254740993}'
    made = sends(cells(text, "", "{'a': 1}", "NaN"), identify(t={"json": "c"}))
    sent = {"b": Decimal("1.50"), "a": [None, "é\0"], "n": Decimal(9007199254740993)}
    assert is_same(traits(made)["t"], sent)
    assert outcomes(made)[1:] == [None, "json-unreadable", "json-unreadable"]


@proves(
    "inside traits, properties, context or object: every column matched and not named elsewhere",
    'For `"*"`, a column counts as named when a value form or an expression of this message'
    " uses it;"
    " a use in `where` or `when` does not count",
)
def test_star_is_every_column_that_matches_and_is_not_named(sends: Sending) -> None:
    header = "id,p_form,p_expr,p_when,p_where,p_out,p_plain,other"
    text = f"{header}\n1,a,b,c,d,e,f,g\n"
    star = {"*": {"columns": "p_*", "strip": "p_", "except": ["p_out"]}}
    named = {"anonymousId": "p_form", "context": {"x": {"expr": "upper(p_expr)"}}}
    conditions = {"when": 'p_when == "c"'}
    sent = {"when": "c", "where": "d", "plain": "f"}
    for place in ({"traits": star}, {"traits": {"o": {"object": star}}}):
        message = {**identify(), **place, **named, **conditions}
        found = traits(sends(text, message, where='p_where == "d"'))
        assert found.get("o", found) == sent
    both = sends(text, {**track(), **conditions, "properties": star, "context": star})
    message = both.messages[0][0]
    assert message["properties"] == message["context"] == {"form": "a", "expr": "b", **sent}
    others = sends(
        text, {**identify(), "traits": star}, {**track(), "properties": {"x": "p_plain"}}
    )
    assert "plain" in traits(others), "named in another message only"


# Options


@proves(
    "`text integer number boolean timestamp date json`",
    "CSV and JSON-lines text columns are text until typed; Parquet columns keep their own type",
)
def test_a_column_of_text_is_text_until_typed(sends: Sending) -> None:
    kinds = ["text", "integer", "number", "boolean", "timestamp", "date", "json"]
    text = dict(
        zip(kinds, ["007", "007", "007.50", "no", "2024-02-29Z", "2024-02-29", "[1]"], strict=True)
    )
    sent = ["007", Decimal(7), Decimal("7.50"), False]
    sent += ["2024-02-29T00:00:00.000Z", "2024-02-29", [Decimal(1)]]
    forms = {kind: {"column": kind, "type": kind} for kind in kinds}
    head = ",".join(["id", *kinds])
    row = ",".join(["1", *text.values()])
    for source in (f"{head}\n{row}\n", [{"id": "1", **text}]):
        assert is_same([*traits(sends(source, identify(**forms))).values()], sent)
        bare = sends(source, identify(**{kind: kind for kind in kinds}))
        assert traits(bare) == text
    table = pa.table({"id": ["1"], "n": [7], "b": [True], "d": [date(2024, 2, 29)]})
    own = traits(sends(table, identify(n="n", b="b", d="d")))
    assert own == {"n": 7, "b": True, "d": "2024-02-29"}
    lines = [{"id": "1", "n": 7, "b": True, "x": "7"}]
    assert traits(sends(lines, identify(n="n", b="b", x="x"))) == {"n": 7, "b": True, "x": "7"}


@proves(
    "timestamp/date: `iso8601` (default), a strptime pattern, a list of them tried in order,"
    " `unix_s`, `unix_ms`, `unix_us`"
)
def test_a_time_is_read_by_its_formats_in_their_order(sends: Sending) -> None:
    texts = cells("2024-02-03", "03.02.2024", "1706918400", "03/02/2024")
    for form, wanted in (
        (None, [1, 0, 0, 0]),
        ("%d.%m.%Y", [0, 1, 0, 0]),
        (["iso8601", "%d.%m.%Y", "unix_s"], [1, 1, 1, 0]),
    ):
        how = {} if form is None else {"format": form}
        for kind, sent in (("timestamp", "2024-02-03T00:00:00.000Z"), ("date", "2024-02-03")):
            asked = {"column": "c", "type": kind, "timezone": "UTC", **how}
            made = sends(texts, identify(t=asked))
            assert outcomes(made) == [sent if one else "time-unreadable" for one in wanted]
    for unit, text in (("s", "1706918400"), ("ms", "1706918400000"), ("us", "1706918400000000")):
        asked = {"column": "c", "type": "timestamp", "format": f"unix_{unit}"}
        assert outcomes(sends(cells(text), identify(t=asked))) == ["2024-02-03T00:00:00.000Z"]
    day_first, month_first = ("%d/%m/%Y", "%m/%d/%Y")
    for formats, day in (([day_first, month_first], "02-03"), ([month_first, day_first], "03-02")):
        asked = {"column": "c", "type": "date", "format": formats}
        assert outcomes(sends(cells("03/02/2024"), identify(t=asked))) == [f"2024-{day}"]


@proves(
    "zone for times without one; **a naive time without `timezone` is a reject, never a guess**;"
    " `ambiguous: reject \\| earliest \\| latest` for the autumn hour",
    "A wall time that the spring change skips is a reject, whatever `ambiguous` says.",
    "A naive Parquet timestamp follows the same zone rules; a zoned one needs none",
)
def test_a_naive_time_needs_a_zone_and_is_never_guessed(sends: Sending) -> None:
    walls = ["2024-01-01T12:00", "2024-10-27T02:30", "2024-03-31T02:30"]
    naive = pa.array([datetime.fromisoformat(wall) for wall in walls], pa.timestamp("us"))
    table = pa.table({"id": ["0", "1", "2"], "c": naive})
    berlin = {"column": "c", "type": "timestamp", "timezone": "Europe/Berlin"}
    noon = "2024-01-01T11:00:00.000Z"
    twice = {"reject": "time-ambiguous", "earliest": "2024-10-27T00:30:00.000Z"}
    twice["latest"] = "2024-10-27T01:30:00.000Z"
    for source in (cells(*walls), table):
        bare = sends(source, identify(t={"column": "c", "type": "timestamp"}))
        assert outcomes(bare) == ["time-naive"] * 3
        words = "has no zone; add timezone: to this column in the mapping"
        assert bare.rejects[0][2].endswith(words)
        for how, found in twice.items():
            made = sends(source, identify(t={**berlin, "ambiguous": how}))
            assert outcomes(made) == [noon, found, "time-skipped"]
        assert outcomes(sends(source, identify(t=berlin)))[1] == "time-ambiguous"
    assert outcomes(sends(table, identify(t="c"))) == ["time-naive"] * 3
    zoned = pa.table({"id": ["1"], "c": pa.array([0], pa.timestamp("s", "Asia/Tokyo"))})
    assert outcomes(sends(zoned, identify(t="c"))) == ["1970-01-01T00:00:00.000Z"]


@proves("`iso8601` (default) or `unix` (seconds), for timestamps inside traits and properties")
def test_a_time_inside_traits_may_be_unix_seconds(sends: Sending) -> None:
    asked = {"column": "c", "type": "timestamp"}
    inside = {"object": {"deep": {"array": [{**asked, "as": "unix"}]}}}
    made = sends(
        cells("1970-01-01T00:01:00.999Z"), identify(a=asked, b={**asked, "as": "unix"}, c=inside)
    )
    assert traits(made) == {"a": "1970-01-01T00:01:00.999Z", "b": 60, "c": {"deep": [60]}}


@proves('number marks, e.g. `","` and `"."`')
def test_numbers_are_read_by_their_marks(sends: Sending) -> None:
    asked = {"column": "c", "type": "number", "decimal": ",", "thousands": "."}
    made = sends(cells("1.234.567,80", "12,3", "1234", "12.34", "1,2,3"), identify(t=asked))
    assert is_same(outcomes(made)[:3], [Decimal("1234567.80"), Decimal("12.3"), Decimal(1234)])
    assert outcomes(made)[3:] == ["number-unreadable"] * 2


@proves("the texts of a boolean, quoted; default true/t/yes/y/1 and false/f/no/n/0, any case")
def test_a_boolean_has_its_texts_in_any_case(tmp_path: Path, sends: Sending) -> None:
    true, false = ["true", "T", "Yes", "y", "1"], ["FALSE", "f", "no", "N", "0"]
    made = sends(cells(*true, *false, "ja"), identify(t={"column": "c", "type": "boolean"}))
    assert outcomes(made) == [True] * 5 + [False] * 5 + ["boolean-unreadable"]
    text = "version: 1\nsource: {path: t.csv}\nmessages:\n  - {type: identify, userId: id, traits:"
    text += ' {t: {column: c, type: boolean, "true": ["JA", x], "false": nein}}}\n'
    found = loaded(tmp_path, text)().document.model_dump(by_alias=True, exclude_unset=True)
    (tmp_path / "t.csv").write_text(cells("ja", "X", "Nein", "true"))
    assert outcomes(build(found, tmp_path)) == [True, True, False, "boolean-unreadable"]


@proves("value → value; `else: reject` (default) \\| `keep` \\| `omit` \\| `{const: …}`")
def test_a_map_takes_values_to_values_and_else_says_the_rest(sends: Sending) -> None:
    asked: dict[str, Any] = {"column": "c", "map": {"a": "b", "1": True, "z": {"k": [1]}}}
    for other, found in (
        ({}, "value-unmapped"),
        ({"else": "reject"}, "value-unmapped"),
        ({"else": "keep"}, "q"),
        ({"else": "omit"}, None),
        ({"else": {"const": [0]}}, [0]),
    ):
        made = sends(cells("a", "1", "z", "q", ""), identify(t={**asked, **other}))
        assert outcomes(made) == ["b", True, {"k": [1]}, found, None]


@proves("text → array by this separator, items trimmed, blanks dropped")
def test_split_makes_an_array_of_trimmed_items(sends: Sending) -> None:
    made = sends(cells(" a ;b;; ;c d", " ; ", "x", ""), identify(t={"column": "c", "split": ";"}))
    assert outcomes(made) == [["a", "b", "c d"], None, ["x"], None]
    typed = {"column": "c", "split": ",", "type": "number"}
    assert outcomes(sends(cells("1, 2.50", "1,x"), identify(t=typed))) == [
        [Decimal(1), Decimal("2.50")],
        "number-unreadable",
    ]


@proves(
    "`omit` (default) \\| `null` \\| `keep` (empty text) \\| `reject`",
    "the value for a blank",
    "`true` = `blank: reject`",
)
def test_a_blank_is_what_its_column_says(sends: Sending) -> None:
    for options, sent in (
        ({}, {}),
        ({"blank": "omit"}, {}),
        ({"blank": "null"}, {"t": None}),
        ({"blank": "keep"}, {"t": ""}),
        ({"blank": "reject"}, "required-blank"),
        ({"required": True}, "required-blank"),
        ({"required": False}, {}),
        ({"default": "none"}, {"t": "none"}),
        ({"default": 0}, {"t": 0}),
        ({"default": {"a": [None]}}, {"t": {"a": [None]}}),
        ({"default": 0, "required": True}, {"t": 0}),
    ):
        for kind in ({}, {"type": "number"}, {"type": "timestamp"}, {"split": ","}):
            made = sends(cells(""), identify(t={"column": "c", **kind, **options}))
            assert traits(made) == sent, (options, kind)
    made = sends(cells(""), identify(t={"column": "c", "required": True}))
    assert made.rejects[0][2] == "c: is blank but required; fill the cell"


@proves("`email` \\| a regular expression the text must match, else reject")
def test_a_check_must_match(sends: Sending) -> None:
    mails = cells("a@b.co", "a@b", "a b@c.de", "@b.co", "a@b.")
    made = sends(mails, identify(t={"column": "c", "check": "email"}))
    assert outcomes(made) == ["a@b.co"] + ["check-failed"] * 4
    asked = {"column": "c", "check": "^[A-Z]{2}-[0-9]+$"}
    assert outcomes(sends(cells("AB-1", "AB-", "xAB-1", ""), identify(t=asked))) == [
        *("AB-1", "check-failed", "check-failed", None)
    ]


# Ids and numbers


@proves(
    "are text for ever: `007` stays `007`, a 20-digit number keeps its digits, an integer column"
    " becomes its digits, a float column such as `17850.0` is a reject with the fix in its message",
    '(`expr: "text(integer(CustomerID))"`)',
)
@pytest.mark.parametrize("member", ["userId", "anonymousId", "groupId", "previousId", "messageId"])
def test_ids_are_text_for_ever(member: str, sends: Sending) -> None:
    base: dict[str, Any] = {"type": "track", "userId": {"const": "u"}, **track()}
    message = base if member != "previousId" else {"type": "alias", "userId": {"const": "u"}}
    message = {**message, member: "c"}
    for text in ("007", "12345678901234567890", "1e5", "17850.0", " x ", "-0", "TRUE"):
        assert sends(cells(text), message).messages[0][0][member] == text
        assert sends([{"id": "1", "c": text}], message).messages[0][0][member] == text
    for kind in (pa.int64(), pa.uint64(), pa.decimal128(20, 0)):
        table = pa.table({"id": ["1"], "c": pa.array([9007199254740993], kind)})
        assert sends(table, message).messages[0][0][member] == "9007199254740993"
    assert sends([{"id": "1", "c": 10**19}], message).messages[0][0][member] == str(10**19)
    floats = pa.table({"id": ["1"], "CustomerID": [17850.0]})
    made = sends(floats, {**message, member: "CustomerID"})
    assert made.rejects[0][1:] == (
        "id-float",
        (
            "CustomerID: the id '17850' is a float, so its digits cannot be trusted; write {expr:"
            ' "text(integer(CustomerID))"}, or cast the column to text where it comes from'
        ),
    )
    mended = {**message, member: {"expr": "text(integer(CustomerID))"}}
    assert sends(floats, mended).messages[0][0][member] == "17850"


@proves(
    "Numbers keep their exact digits (decimal 12.30 is sent as 12.30;",
    "an integer past 2^53 is sent exact and `check` says that many readers will round it",
)
def test_numbers_keep_their_exact_digits(tmp_path: Path, sends: Sending, cli: Cli) -> None:
    texts = ["12.30", "9007199254740993", "0.10000000000000000000000001", "-0.0"]
    made = sends(cells(*texts), identify(t={"column": "c", "type": "number"}))
    assert [str(one) for one in outcomes(made)] == texts
    column = pa.array([Decimal("12.30")], pa.decimal128(9, 2))
    made = sends(pa.table({"id": ["1"], "c": column}), identify(t="c"))
    assert str(outcomes(made)[0]) == "12.30"
    big = {"column": "c", "type": "integer"}
    (tmp_path / "t.csv").write_text(cells("9007199254740992", "9007199254740993"))
    document = {"version": 1, "source": {"path": "t.csv"}, "messages": [identify(t=big)]}
    written(document, tmp_path / "m.yaml")
    done = cli("check", "m.yaml")
    words = "note: c: 1 integers past 2^53, sent exact: many readers will round them"
    assert words in done.out


@proves("NaN and infinities are rejects")
def test_nan_and_infinities_are_rejects(sends: Sending) -> None:
    floats = [float("nan"), float("inf"), float("-inf"), 0.5]
    made = sends(pa.table({"id": list("abcd"), "c": floats}), identify(t="c"))
    assert outcomes(made) == ["number-not-finite"] * 3 + [Decimal("0.5")]
    texts = sends(cells("NaN", "-inf", "1e999"), identify(t={"column": "c", "type": "number"}))
    assert outcomes(texts) == ["number-not-finite"] * 3


@proves(
    "Output times are UTC with `Z` and exactly three decimals; finer ones are cut, not rounded up"
)
def test_times_are_written_in_utc_with_three_decimals_cut(sends: Sending) -> None:
    at = {"column": "c", "type": "timestamp"}
    forms = {"a": at, "b": {**at, "type": "text"}, "c": {"expr": "iso8601(timestamp(c))"}}
    text = "2023-12-31T23:59:59.99999+05:30"
    sent = "2023-12-31T18:29:59.999Z"
    made = sends(cells(text), {**identify(**forms), "timestamp": "c"})
    assert traits(made) == {"a": sent, "b": text, "c": sent}
    assert made.messages[0][0]["timestamp"] == sent
    nanos = pa.table({"id": ["1"], "c": pa.array([-1], pa.timestamp("ns", "UTC"))})
    before = "1969-12-31T23:59:59.999Z"
    made = sends(nanos, identify(a="c", b={"column": "c", "type": "text"}))
    assert traits(made) == {"a": before, "b": before}


# Expressions


@proves(
    "Python's expression syntax, parsed with `ast` and compiled once to Arrow kernels;"
    " nothing is ever"
    " evaluated by Python itself",
    "Anything else is a fault of the mapping, with line, column and the nearest name",
    "Pure: no clock, no randomness, no network, no file",
)
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("__import__('os').system('x')", "the method .system() cannot stand in an expression"),
        ("open('x')", "unknown function 'open'"),
        ("now()", "unknown function 'now'"),
        ("random()", "unknown function 'random'"),
        ("c.upper()", "the method .upper() cannot stand in an expression"),
        ("[x for x in c]", "a comprehension cannot stand in an expression"),
        ("lowre(c)", "unknown function 'lowre'"),
    ],
)
def test_anything_but_the_language_is_a_fault(text: str, what: str, tmp_path: Path) -> None:
    head = "version: 1\nsource: {path: t.csv}\nmessages:\n  - type: identify\n    userId: id\n"
    act = loaded(tmp_path, f'{head}    traits:\n      t: {{expr: "{text}"}}\n')
    found = told(act)
    assert re.fullmatch(rf"7:18: {re.escape(what)} \[[a-z-]+\]", found[0]), found
    if text == "lowre(c)":
        assert found[1] == "  fix: did you mean 'lower'?"


GIVES: Final[list[tuple[str, Any]]] = [
    ('col("First Name")', "Ann"),
    ('"a" + c', "a x "),
    ("7 - 2 * 3", 1),
    ("1 / 4", Decimal("0.25")),
    ("-7 // 2", -4),
    ("-7 % 3", 2),
    ("7.5 // -2", -4),
    ("1 < 2 <= 2 != 3", True),
    ("not (n > 5 and n < 3) or False", True),
    ('c in ("y", " x ")', True),
    ('"x" in c', True),
    ("e is None", True),
    ('"a" if e == "q" else "b"', "b"),
    ('f"{c}-{n}"', " x -7"),
    ('f"{c}{e}"', None),
    ("text(7)", "7"),
    ('integer("17850.0")', 17850),
    ('number("1.234,50", decimal=",", thousands=".")', Decimal("1234.50")),
    ('boolean("YES")', True),
    ('timestamp("01.02.2024", "%d.%m.%Y", "UTC")', "2024-02-01T00:00:00.000Z"),
    ('date("2024-02-01")', "2024-02-01"),
    ('lower("AÉ")', "aé"),
    ('upper("aé")', "AÉ"),
    ('title("ann lee")', "Ann Lee"),
    ("trim(c)", "x"),
    ('concat(c, n, "z")', " x 7z"),
    ('coalesce(e, None, "d")', "d"),
    ('replace("a-b-c", "-", "+")', "a+b+c"),
    ('substring("abcdef", 1, 3)', "bcd"),
    ('length("añb")', 3),
    ('split("a; b;", ";")', ["a", "b"]),
    ('join(split("a; b;", ";"), "+")', "a+b"),
    ('join(split("a; b;", ";"), "")', "ab"),
    ('matches("AB-1", "^[A-Z]{2}-")', True),
    ('startswith("abc", "ab")', True),
    ('endswith("abc", "bc")', True),
    ('contains("abc", "x")', False),
    ("round(2.345, 2)", Decimal("2.34")),
    ("abs(-7)", 7),
    ("floor(-1.5)", -2),
    ("ceil(-1.5)", -1),
    ("min(3, n)", 3),
    ("max(3, n)", 7),
    ('sha256("a")', "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    ('iso8601(timestamp("2024-02-01T00:00:00Z"))', "2024-02-01T00:00:00.000Z"),
    ('unix(timestamp("1970-01-02T00:00:00.9Z"))', 86400),
    ('case(trim(c), {"x": 1, "y": 2}, 3)', 1),
    ('case(e, {"x": 1, "y": 2}, 3)', 3),
]


@proves(
    'Names are columns; `col("First Name")` for the others',
    "Literals, `+ - * / // %`, comparisons (also chained), `and or not`, `in`, `is None`,",
    '`a if c else b`, f-strings (`f"{first} {last}"`: blank if any part is), and these functions:',
    "`text integer number boolean timestamp date · lower upper title trim · concat coalesce replace"
    " substring length split join · matches startswith endswith contains · round abs floor ceil min"
    " max · sha256 · iso8601 unix · case(value, {…}, default)`",
    "`+` joins texts; `//` and `%` are Python's (toward minus infinity)",
)
def test_every_operator_and_function_gives_what_the_page_says(sends: Sending) -> None:
    named = {name for name in [*FUNCTIONS, *SPECIAL] if any(f"{name}(" in g for g, _ in GIVES)}
    assert named == {*FUNCTIONS, *SPECIAL}
    table = pa.table({"id": ["1"], "First Name": ["Ann"], "c": [" x "], "n": [7]})
    table = table.append_column("e", pa.array([None], pa.string()))
    forms = {text: {"expr": text} for text, _ in GIVES}
    made = sends(table, track(**forms))
    found = made.messages[0][0]["properties"]
    for text, wanted in GIVES:
        value = found.get(text)
        assert value == wanted, text
        assert isinstance(value, bool) == isinstance(wanted, bool), text


@needs_page
def test_the_functions_of_the_page_are_those_of_the_program() -> None:
    said = re.search(r"these functions:\n`(.*?)`\.\n", PAGE.read_text("utf-8"), re.DOTALL)
    assert said is not None
    names = re.findall(r"[a-z][a-z0-9]+", said[1].split("case(")[0])
    assert {*names, "case", "col"} == {*FUNCTIONS, *SPECIAL}


@proves(
    "Types are checked before the first row is read where the source's types are known"
    ' (`qty * price` on text columns: "qty is text; write number(qty)")'
)
def test_kinds_are_checked_before_the_first_row(sends: Sending) -> None:
    found = told(lambda: sends("id,qty,price\n", identify(t={"expr": "qty * price"})))
    assert [line.split(": ", 1)[1] for line in found[::2]] == [
        "qty is text; write number(qty) [expr-type]",
        "price is text; write number(price) [expr-type]",
    ]
    table = pa.table({"id": ["1"], "qty": [2], "price": [1.5]})
    assert outcomes(sends(table, identify(t={"expr": "qty * price"}))) == [3]
    found = told(lambda: sends(table, identify(t={"expr": "upper(qty)"})))
    assert found[0].endswith("qty is integer; write text(qty) [expr-type]")
    made = sends([{"id": "1", "qty": "x"}], identify(t={"expr": "qty * 2"}))
    assert made.codes == {0: "value-type"}, "of JSON lines each value is judged by itself"


@proves("None spreads, as in SQL: `where` and `when` take None as not true")
def test_none_spreads_and_is_not_true(sends: Sending) -> None:
    texts = [
        'c + "x"',
        "number(c) * 2",
        "c > 'a'",
        "not (c > 'a')",
        'f"{c}"',
        "lower(c)",
        "-unix(c)",
    ]
    texts[-1] = "-length(c)"
    made = sends(cells(""), identify(**{text: {"expr": text} for text in texts}))
    assert traits(made) == {}
    for condition in ('c == "a"', 'c != "a"', "not (c == 'a')", "None"):
        assert sends(cells(""), identify(), where=condition).messages == {}
        made = sends(cells(""), {**identify(), "when": condition}, identify(n={"const": 1}))
        assert [one["traits"] for one in made.messages[0]] == [{"n": 1}]


@proves("A row whose conversion fails is a reject that names the column and the value's fault")
def test_a_failed_conversion_names_the_column_and_the_value(sends: Sending) -> None:
    made = sends(cells("x", "2"), identify(t={"expr": "number(c) * 2"}))
    assert made.rejects[0][:2] == ("c", "number-unreadable")
    assert made.rejects[0][2].startswith("c: 'x' is not a number; ")
    assert outcomes(made)[1] == 4
    made = sends(cells("0"), identify(t={"expr": "1 / number(c)"}))
    assert made.rejects[0][:2] == ("c", "division-by-zero")


# Rows


@proves(
    "A row is rejected whole: if one of its messages cannot be built, none is sent",
    "Every row of the input ends in exactly one of **delivered, filtered, held, rejected,"
    " unchanged,"
    " pending**, and the sum is checked",
    "`guards.recent_events` undeclared while such events exist: they are **held** (own file, own"
    " count), never sent by surprise",
)
def test_every_row_ends_in_exactly_one_way(
    tmp_path: Path, orders: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    path = orders(6, bad=[1])
    text = path.read_text().replace("    properties:", "    when: id != '5'\n    properties:")
    text = text.replace(
        "messages:\n",
        "where: id != '0'\nmessages:\n  - {type: identify, when: id == '1', userId: id}\n",
    )
    path.write_text(text)
    rows = (tmp_path / "orders.csv").read_text().split("\n")
    rows[3] = rows[3].replace("2020-01-02T03:04:05Z", datetime.now(UTC).isoformat())
    (tmp_path / "orders.csv").write_text("\n".join(rows))
    report = door(path)
    books = {"delivered": 2, "filtered": 2, "held": 1, "rejected": 1, "unchanged": 0, "pending": 0}
    assert report["rows"] == {"read": 6, **books}
    assert sorted(one["properties"]["note"] for one in ledger.kept if "note" in one) == []
    assert sorted(one["userId"] for one in ledger.kept) == ["p3", "p4"], "not the identify of row 1"
    (held,) = tmp_path.glob("state/**/held.csv")
    assert [row["id"] for row in csv.DictReader(held.read_text().splitlines())] == ["2"]


@proves(
    "Row numbers are those a spreadsheet shows for CSV (the header is row 1, blank lines are not"
    " rows), and 1 + offset for Parquet and JSON lines"
)
@pytest.mark.parametrize(("ending", "row"), [("csv", 4), ("jsonl", 3), ("parquet", 3)])
def test_rows_count_as_a_person_counts_them(
    ending: str, row: int, tmp_path: Path, cli: Cli
) -> None:
    ids = ["1", "2", ""]
    if ending == "csv":
        (tmp_path / "t.csv").write_text('id,c\n1,x\n\n"2","a\nb"\n,y\n')
    elif ending == "jsonl":
        (tmp_path / "t.jsonl").write_text("".join(json.dumps({"id": one}) + "\n" for one in ids))
    else:
        pq.write_table(pa.table({"id": ids}), tmp_path / "t.parquet")
    document = {"version": 1, "source": {"path": f"t.{ending}"}, "messages": [identify()]}
    written(document, tmp_path / "m.yaml")
    done = cli("check", "m.yaml")
    assert f"t.{ending}:{row}: id: the id is blank" in done.out


@proves(
    "The messages of one row travel in one batch; if the destination refuses one of them,"
    " the row is"
    " rejected, and `retry` sends all of its messages again under the same ids"
)
def test_the_messages_of_a_row_travel_and_fail_together(
    tmp_path: Path, orders: Callable[..., Path], cli: Cli, ledger: Ledger
) -> None:
    path = orders(5)
    text = path.read_text().replace("messages:\n", "messages:\n  - {type: identify, userId: id}\n")
    path.write_text(text + "delivery: {batch_messages: 3}\n")
    bad = b'"total":2.50'
    ledger.answer = lambda body: Reply(400, b'{"error":"no"}') if bad in body else Reply()
    run = ("orders.yaml", "--to", ledger.url, "--rate", "unlimited", "--json")
    done = cli("run", *run)
    assert done.report["rejects_by_code"] == {"refused": 1}
    for body in ledger.bodies:
        kinds = [one["type"] for one in messages(body)]
        assert kinds == ["identify", "track"] * (len(kinds) // 2)
    ledger.answer = lambda _body: Reply()
    before = len(ledger.bodies)
    assert cli("retry", *run).code == 0
    (again,) = [messages(body) for body in ledger.bodies[before:]]
    whole = build(
        json.loads(
            json.dumps(
                loaded(tmp_path, text)().document.model_dump(by_alias=True, exclude_unset=True)
            )
        ),
        tmp_path,
    )
    assert [one["messageId"] for one in again] == whole.ids(2)


@proves(
    "`messageId`: if not mapped, a deterministic ULID-shaped id",
    "With a `key`: from (name, key, index of the message in the mapping), and for identify, group"
    " and alias also from the message's content (an update is a new message; an event is one"
    " event)",
    "Without a key: from (name, file content, row number, index)",
    "of a library; golden tests pin it",
)
def test_a_message_id_is_made_of_what_the_page_says(sends: Sending) -> None:
    every = [
        identify(c="c"),
        {"type": "group", "userId": "id", "groupId": "id", "traits": {"c": "c"}},
        {"type": "alias", "userId": "id", "previousId": "c"},
        track(c="c"),
        {"type": "page", "userId": "id", "timestamp": AT, "properties": {"c": "c"}},
    ]
    one = sends(cells("a", "b"), *every, key="id")
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", each) for each in one.ids(0))
    assert len({*one.ids(0), *one.ids(1)}) == 10
    changed = sends(cells("z", "b"), *every, key="id")
    is_same_id = [a == b for a, b in zip(one.ids(0), changed.ids(0), strict=True)]
    assert is_same_id == [False, False, False, True, True]
    assert changed.ids(1) == one.ids(1)
    other = sends(cells("a", "b"), *every, key="id", name="other")
    assert not {*other.ids(0)} & {*one.ids(0)}
    assert one.ids(0)[3] == "0WEH5NQV7G250A318J0BSVQMVX"
    plain = sends(cells("a", "b"), *every)
    assert plain.ids(0)[3] == "5BAY5MESD0PEWSNF0000000000"
    moved = sends(cells("a", "b") + "\n", *every)
    assert moved.ids(0) != plain.ids(0), "another file"
    mapped = sends(cells("a"), {**track(), "messageId": "c"})
    assert mapped.ids(0) == ["a"]


@proves(
    "identify carries no `timestamp` unless the mapping says so (an old one makes the destination"
    " ignore the update); track, page and screen must have one",
    '(`timestamp: now` is how to say "at sending time" on purpose)',
)
def test_a_timestamp_is_mapped_or_now_on_purpose(tmp_path: Path, sends: Sending) -> None:
    made = sends(cells("2024-01-01Z", ""), identify(), {**identify(), "timestamp": "c"})
    assert ["timestamp" in one for one in made.messages[0]] == [False, True]
    head = "version: 1\nsource: {path: a.csv}\nmessages:\n  - {userId: id, event: id, type: "
    for kind in ("track", "page", "screen"):
        text = head.replace("event: id, ", "" if kind != "track" else "event: id, ")
        assert told(loaded(tmp_path, f"{text}{kind}}}\n")) == [
            f"4:5: {kind} needs 'timestamp' [missing-member]",
            "  fix: add timestamp: with the column of the time, or timestamp: now",
        ]
        message = {"type": kind, "userId": "id", "event": "id", "timestamp": "now"}
        message = {
            name: form for name, form in message.items() if name != "event" or kind == "track"
        }
        made = sends(cells("x"), message, guards={"recent_events": "send"})
        assert "timestamp" not in made.messages[0][0]
        blank = sends(cells(""), {**message, "timestamp": "c"})
        assert blank.codes == {0: "time-missing"}


@proves(
    "Command events (`User Deleted` …), `cio_` ids, and the overriding properties (`recipient"
    ' from_address reply_to`) are refused unless allowed by name under `guards: {allow: ["User'
    ' Deleted"]}`'
)
def test_what_acts_on_the_workspace_must_be_allowed_by_name(sends: Sending) -> None:
    event = {**track(), "event": "c"}
    words = (
        "c: the event 'User Deleted' is a command that acts on the workspace; rename it, or allow"
        " it on purpose with guards: {allow: ['User Deleted']}"
    )
    made = sends(cells("User Deleted", "Seen"), event)
    assert made.rejects == {0: ("c", "event-command", words)}
    computed = {**track(), "event": {"expr": 'f"User {c}"'}}
    assert sends(cells("Deleted"), computed).codes == {0: "event-command"}
    allowed = {"allow": ["User Deleted"]}
    assert sends(cells("User Deleted"), event, guards=allowed).codes == {}
    assert sends(cells("User Suppressed"), event, guards=allowed).codes == {0: "event-command"}
    person = {"type": "identify", "userId": "c"}
    assert sends(cells("cio_1"), person).codes == {0: "id-reserved"}
    assert sends(cells("cio_1"), person, guards={"allow": ["cio_"]}).codes == {}
    fixed = told(lambda: sends(cells(), {**track(), "event": {"const": "User Deleted"}}))
    assert fixed[0].endswith("'User Deleted' is a command that acts on the workspace [reserved]")
    for name in ("recipient", "from_address", "reply_to"):
        found = told(partial(sends, cells("x"), track(**{name: "c"})))
        assert found[0].endswith(f"'{name}' overrides the settings of campaigns [reserved]")
        assert sends(cells("x"), track(**{name: "c"}), guards={"allow": [name]}).codes == {}
        star = f"id,{name}\n1,x\n"
        found = told(partial(sends, star, track(**{"*": {"columns": "*"}})))
        assert f"'{name}' overrides the settings of campaigns" in found[0]


@proves(
    "Limits of the workspace (`cdp-contract.md` §4.1) and of the API (32 000 bytes a message,"
    " 475 000 a batch, counted on the exact UTF-8 bytes) are rejects"
)
def test_what_is_over_a_limit_is_rejected_by_its_bytes(sends: Sending) -> None:
    person: dict[str, Any] = {"type": "identify", "userId": "c"}
    for text, message, code in (
        ("é" * 75, person, None),
        ("é" * 75 + "x", person, "id-too-long"),
        ("é" * 50, {**track(), "event": "c"}, None),
        ("é" * 50 + "x", {**track(), "event": "c"}, "event-too-long"),
        ("é" * 500, identify(t="c"), None),
        ("é" * 500 + "x", identify(t="c"), "value-too-long"),
        ("é" * 15_000, track(t="c"), None),
        ("é" * 16_000, track(t="c"), "message-too-long"),
    ):
        assert sends(cells(text), message).codes.get(0) == code, (text[:3], code)
    (long,) = [made.texts[0] for made in [sends(cells("x" * 31_000), track(t="c"))]]
    room = 32_000 - len(long.encode()) + 1  # the comma in front is of the batch
    assert sends(cells("x" * (31_000 + room)), track(t="c")).codes == {}
    assert sends(cells("x" * (31_001 + room)), track(t="c")).codes == {0: "message-too-long"}


@proves(
    "`guards.future: reject` (default; more than 5 minutes ahead) or `send`; `guards.not_before:"
    " 2009-01-01` rejects older times (default 1990-01-01)"
)
def test_times_ahead_and_long_ago_are_rejected_unless_said_otherwise(sends: Sending) -> None:
    texts = cells("2024-06-01T00:05:00Z", "2024-06-01T00:05:00.001Z", "1990-01-01Z", "1989-12-31Z")
    message = {**identify(), "timestamp": "c"}
    assert sends(texts, message).codes == {1: "time-future", 3: "time-too-old"}
    assert sends(texts, message, guards={"future": "send"}).codes == {3: "time-too-old"}
    later = {"future": "reject", "not_before": "2009-01-01"}
    assert set(sends(texts, message, guards=later).codes) == {1, 2, 3}
    assert set(sends(texts, message, guards={"not_before": "1970-01-01"}).codes) == {1}


# Small print


@proves("A row that no message wants (every `when` not true) is filtered.")
def test_a_row_that_no_message_wants_is_filtered(
    orders: Callable[..., Path], door: Door, ledger: Ledger
) -> None:
    path = orders(4, bad=[3])
    path.write_text(path.read_text().replace("userId:", "when: id == '2' or None\n    userId:"))
    assert door(path)["rows"] | {"delivered": 1, "filtered": 3, "rejected": 0} == door(path)["rows"]
    assert len(ledger.kept) == 1


@proves("`blank` texts are compared before trimming; a column of spaces is not blank unless listed")
def test_blanks_are_compared_before_trimming(sends: Sending) -> None:
    texts = cells(" ", "", " NULL", "NULL")
    source = {"blank": ["", "NULL"]}
    assert outcomes(sends(texts, identify(t="c"), source=source)) == [" ", None, " NULL", None]
    listed = {"blank": ["", " "]}
    assert outcomes(sends(texts, identify(t="c"), source=listed)) == [None, None, " NULL", "NULL"]
    number = {"column": "c", "type": "number"}
    assert outcomes(sends(cells(" "), identify(t=number))) == ["number-unreadable"]


# Faults of a mapping

FAULTY: Final = """\
version: 1
source: {path: a.csv, formt: csv}
key: id
key: [id]
where: statsu(id) == 1
messages:
  - type: track
    userId: ID
    event: {const: User Deleted}
    properties:
      total: {column: total, tpye: number}
      fixed: 5
      a: {column: a, check: "["}
  - type: alias
    userId: id
guards: {not_before: yesterday}
"""


@proves(
    "All at once, each as `file:line:column: what [code]` and `fix: how`: unknown keys and columns"
    " with the nearest name, missing members, duplicate keys"
)
def test_every_fault_is_told_at_once_with_its_place_and_its_mending(
    tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "m.yaml").write_text(FAULTY)
    done = cli("check", "m.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "m.yaml:2:23: unknown key 'formt' [unknown-key]",
        "  fix: did you mean 'format'?",
        "m.yaml:4:1: 'key' is already there, on line 3 [duplicate-key]",
        "  fix: keep one",
        "m.yaml:5:8: unknown function 'statsu' [unknown-function]",
        "  fix: did you mean 'startswith'?",
        "m.yaml:7:5: track needs 'timestamp' [missing-member]",
        "  fix: add timestamp: with the column of the time, or timestamp: now",
        "m.yaml:9:5: the event 'User Deleted' is a command that acts on the workspace [reserved]",
        '  fix: rename it, or allow it on purpose with guards: {allow: ["User Deleted"]}',
        "m.yaml:11:30: unknown key 'tpye' [unknown-key]",
        "  fix: did you mean 'type'?",
        "m.yaml:12:7: fixed: 5 is neither a column nor a value form [wrong-form]",
        "  fix: a fixed value is written {const: 5}",
        (
            "m.yaml:13:22: check: not a regular expression: unterminated character set at"
            " position 0 [wrong-value]"
        ),
        "  fix: correct the pattern",
        "m.yaml:14:5: alias needs 'previousId' [missing-member]",
        "  fix: add previousId:",
        "m.yaml:16:10: 'yesterday' is not a date [wrong-value]",
        "  fix: write it as 2009-01-01",
    ]
    (tmp_path / "a.csv").write_text("id,totals\n")
    (tmp_path / "m.yaml").write_text(
        "version: 1\nsource: {path: a.csv}\nmessages:\n  - type: identify\n    userId: ID\n"
        "    traits: {t: total, u: {expr: 'upper(totals) + nmae'}}\n"
    )
    done = cli("check", "m.yaml")
    places = re.findall(r"^m\.yaml:(\d+:\d+): a\.csv has no column '(\w+)'", done.err, re.MULTILINE)
    assert places == [("5:5", "ID"), ("6:14", "total"), ("6:51", "nmae")]
    assert done.err.count("fix: did you mean '") == 2


@proves("YAML anchors bombs, tags", "Files are read by a strict loader: duplicate keys are faults")
def test_anchors_and_tags_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nversion: !!int 1\n"
    found = told(loaded(tmp_path, bomb))[::2]
    assert [re.sub(r"^\S+ ", "", line) for line in found] == [
        *("the anchor &a is refused [anchor]", "the anchor &b is refused [anchor]"),
        *("the alias *a is refused [anchor]", "the alias *a is refused [anchor]"),
        "the anchor &c is refused [anchor]",
        *("the alias *b is refused [anchor]", "the alias *b is refused [anchor]"),
        "the tag tag:yaml.org,2002:int is refused [tag]",
    ]


@proves("`no`, `on`, `1:30`, `012` stay text where text is meant")
def test_what_yaml_makes_clever_stays_text(tmp_path: Path) -> None:
    words = ["no", "on", "off", "yes", "1:30", "012", "0x1F", "1_000", "2024-01-01", "NaN", ".5"]
    (tmp_path / "t.csv").write_text(",".join(["id", *words]) + "\n1" + ",x" * len(words) + "\n")
    lines = [f"      k{n}: {word}\n      c{n}: {{const: {word}}}\n" for n, word in enumerate(words)]
    text = "version: 1\nsource: {path: t.csv}\nmessages:\n  - type: identify\n    userId: id\n"
    act = loaded(tmp_path, f"{text}    traits:\n{''.join(lines)}      no: 012\n")
    found = act().document.model_dump(by_alias=True, exclude_unset=True)
    sent = traits(build(found, tmp_path))
    assert [sent[f"c{n}"] for n in range(len(words))] == words
    assert [sent[f"k{n}"] for n in range(len(words))] == ["x"] * len(words)
    assert sent["no"] == "x"


@proves(
    "The JSON Schema of the language comes from the same models that check it, and editors use it"
    " through the `yaml-language-server` line"
)
def test_the_json_schema_takes_what_the_loader_takes_and_refuses_what_it_refuses(
    tmp_path: Path, cli: Cli
) -> None:
    schema = json_schema()
    assert json.loads(cli("schema").out) == schema
    judge = jsonschema.Draft202012Validator(schema)
    good: dict[str, Any] = {"version": 1, "source": {"path": "a.csv"}, "messages": [identify()]}
    changes: list[dict[str, Any]] = [
        {},
        {"where": "x > 1", "rows": {"group_by": "a"}},
        {"messages": [{**identify(t={"expr": "x"}), "when": "y"}]},
        {"messages": [identify(**{"*": {"columns": "p_*", "except": ["a"]}})]},
        {"version": 2},
        {"wher": "x"},
        {"where": True},
        {"rows": {"group_by": []}},
        {"messages": [identify(t={"expr": 5})]},
        {"messages": [identify(t={"column": "a", "tpye": "text"})]},
        {"messages": [identify(**{"*": {"columns": []}})]},
    ]
    for change in changes:
        whole = {**good, **change}
        path = written(whole, tmp_path / "m.yaml")
        try:
            load_mapping(path)
        except MappingError:
            assert not judge.is_valid(whole), change
        else:
            judge.validate(whole)
    path = tmp_path / "m.yaml"
    path.write_text(f"# yaml-language-server: $schema=x.json\n{json.dumps(good)}\n")
    assert load_mapping(path).name == "m"


# The page


class Rule(NamedTuple):
    """A part of the page that says one thing: where it stands among the words of the page."""

    text: str
    start: int
    stop: int


HEADS: Final = ("# ", "## ", "```", "| form |", "| option |", "| --- |")
NOT_HERE: Final = (
    "This page is the contract; names, forms and rules here are what people and scripts rely on",
    "Where it is silent, do what a data engineer would expect",  # about the page itself
    "s3:// gs:// az:// URI",  # remote files: a later version
    "prop_*",  # the form's row is claimed by what it does
)


def page_words() -> str:
    """The page without what a night needs, its white space made single blanks."""
    text = re.sub(r"## Every night.*?(?=\n## )", "", PAGE.read_text("utf-8"), flags=re.DOTALL)
    return " ".join(text.split())


def page_rules() -> list[str]:
    """Every line of a table and of the example, every bullet's and paragraph's sentence."""
    text = re.sub(r"## Every night.*?(?=\n## )", "", PAGE.read_text("utf-8"), flags=re.DOTALL)
    rules: list[str] = []
    for block in re.split(r"\n(?=- |\||#|```)|\n\n", text.replace("```yaml\n", "```yaml\n\n")):
        if not block.strip() or block.lstrip("\n").startswith(HEADS):
            continue
        if re.match(r"\s*(version: 1|- type|[a-z]+:)", block):
            rules += [" ".join(line.split()) for line in block.split("\n") if line.strip()]
        elif block.startswith("|"):
            rules.append(" ".join(block.split()))
        else:
            rules += re.split(
                r"(?<=[.;]) (?=[A-Z`a-z])", " ".join(block.removeprefix("- ").split())
            )
    return rules


@needs_page
def test_every_rule_of_the_page_is_claimed_by_a_test() -> None:
    words, claimed = page_words(), [" ".join(p.split()) for ps in CLAIMED.values() for p in ps]
    assert [phrase for phrase in claimed if phrase not in words] == [], "not words of the page"
    covered = bytearray(len(words))
    for phrase in [*claimed, *NOT_HERE]:
        for found in re.finditer(re.escape(phrase), words):
            covered[found.start() : found.end()] = b"\1" * len(phrase)
    rules = page_rules()
    assert len(rules) > 80
    bare = [rule for rule in rules if not any(covered[(at := words.index(rule)) : at + len(rule)])]
    assert bare == []
