"""A mapping exists only if it is valid; every fault is told at once, with place, word and fix.

`faults/*.yaml` are mappings as people get them wrong, and its folders several of them that do not
go together; the `.txt` beside each is what they are told. docs/errors.md shows them, too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference import plan_for, written

from backfill.batch import Limits
from backfill.errors import MappingError, UsageError
from backfill.lints import LINTS, LintCode
from backfill.mapping import Mapping, find_mappings, load_mapping
from backfill.mapping.schema import json_schema
from backfill.mapping.strict_yaml import parse
from backfill.plan import make_plan
from backfill.spec import TYPES

ROOT: Final = Path(__file__).parent.parent
FAULTS: Final = Path(__file__).parent / "faults"
FAULTY: Final = sorted(
    path.name for path in FAULTS.iterdir() if path.suffix == ".yaml" or path.is_dir()
)
TOLD: Final = re.compile(r"^[^ ].*:[0-9]+:[0-9]+: .* \[([^\]]*)\]$", re.MULTILINE)
"""The first line of a fault; in brackets its code."""

GOOD: Final = sorted([*ROOT.glob("mappings/*.yaml"), *ROOT.glob("tests/datasets/*.yaml")])
IDENTIFY: Final = {"type": "identify", "userId": "id"}


def document(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A small valid mapping, changed."""
    return {
        "version": 1,
        "source": {"path": "a.csv"},
        "messages": [*messages] or [IDENTIFY],
        **more,
    }


def load(folder: Path, *messages: dict[str, Any], **more: Any) -> Mapping:
    return load_mapping(written(document(*messages, **more), folder / "m.yaml"))


def codes(folder: Path, *messages: dict[str, Any], **more: Any) -> list[str]:
    """The codes of a faulty mapping."""
    with pytest.raises(MappingError) as caught:
        load(folder, *messages, **more)
    return [lint.code for lint in caught.value.lints]


# Faults


@pytest.mark.parametrize("name", FAULTY)
def test_every_fault_of_a_file_is_told_in_the_words_beside_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FAULTS)
    with pytest.raises(MappingError) as caught:
        planned([name])
    assert f"{caught.value}\n" == Path(name).with_suffix(".txt").read_text(encoding="utf-8")
    assert {type(lint.code) for lint in caught.value.lints} == {LintCode}


def planned(names: list[str]) -> None:
    """Load mappings as a run does, and hold them to their sources."""
    for mapping in find_mappings(names):
        guards, limits = mapping.document.guards, Limits(475_000, 1_000)
        make_plan(mapping, sources=[], guards=guards, limits=limits, now_ms=0)


def test_each_faulty_mapping_has_its_words() -> None:
    assert len(FAULTY) >= 45
    told = sorted(path.stem for path in FAULTS.glob("*.txt"))
    assert told == sorted(Path(name).stem for name in FAULTY)


def test_every_code_of_a_lint_is_told_of_a_faulty_mapping_and_no_other_code_is() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FAULTS.glob("*.txt")]
    assert {code for text in texts for code in TOLD.findall(text)} == set(LintCode)
    assert list(LINTS) == list(LintCode)


@pytest.mark.parametrize("key", ["version", "source", "rows", "messages"])
def test_a_faulty_part_hides_no_fault_of_another(key: str, tmp_path: Path) -> None:
    """Whatever is wrong with one key of the mapping, the others are looked at all the same."""
    whole = {
        "version": "version: 1",
        "source": "source: {path: a.csv, csv: {encoding: utf-9}}",
        "rows": "rows: {group_by: a}",
        "messages": "messages: [{type: track, userId: id, properties: {a: {agg: sum}}}]",
        "guards": "guards: {not_before: x}",
    }
    told = {"source": "encoding", "messages": "needs 'timestamp'", "guards": "not a date"}
    for faulty in (f"{key}: 7.5", f"{key}: []", f"{key}x: 1"):
        (tmp_path / "m.yaml").write_text("\n".join([*({**whole, key: faulty}.values()), ""]))
        with pytest.raises(MappingError) as caught:
            load_mapping(tmp_path / "m.yaml")
        for other, words in told.items():
            assert other == key or words in str(caught.value), (faulty, other)


def test_a_message_without_a_type_is_told_that_the_type_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MappingError) as caught:
        load(tmp_path, {"userId": "id"})
    assert [lint.code for lint in caught.value.lints] == ["missing-key"]
    assert "'type'" in str(caught.value)


def test_a_message_that_is_no_table_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("version: 1\nsource: {path: a}\nmessages: [userId]\n")
    with pytest.raises(MappingError) as caught:
        load_mapping(tmp_path / "m.yaml")
    assert [lint.code for lint in caught.value.lints] == ["wrong-type"]


def test_a_missing_member_is_told_beside_a_fault_that_is_elsewhere(tmp_path: Path) -> None:
    found = codes(tmp_path, {"type": "identify", "traits": {"a": "a"}}, delivery={"rate": -1})
    assert sorted(found) == ["missing-member", "wrong-value"]


@pytest.mark.parametrize("path", ["s3://b/k.csv", "gs://b/k.csv", "az://b/k.csv", "abfs://b/k"])
def test_a_source_may_be_in_a_store(path: str, tmp_path: Path) -> None:
    assert load(tmp_path, source={"path": path}).document.source.path == [path]


@pytest.mark.parametrize("path", ["https://x/k.csv", "http://x/k.csv", "ftp://x/k.csv"])
def test_a_source_is_not_fetched_from_the_web(path: str, tmp_path: Path) -> None:
    assert codes(tmp_path, source={"path": path}) == ["wrong-value"]
    assert codes(tmp_path, source={"path": ["a.csv", path]}) == ["wrong-value"]


@pytest.mark.parametrize("member", ["userId", "anonymousId", "messageId"])
@pytest.mark.parametrize(
    "form",
    [
        *({"object": {"a": "a"}}, {"array": ["a"]}, {"json": "a"}, {"each": "a", "as": "b"}),
        *({"const": None}, {"const": True}, {"const": {}}, {"const": ["x"]}, {"const": ""}),
    ],
)
def test_an_id_that_could_not_be_a_text_is_a_fault(
    member: str, form: dict[str, Any], tmp_path: Path
) -> None:
    message = {**IDENTIFY, "userId": "id", member: form}
    assert len(codes(tmp_path, message)) == 1


def test_a_constant_id_is_held_to_the_rules_of_ids(tmp_path: Path) -> None:
    """Else every message of a million rows would be refused, or go to an internal id."""
    for text in ("cio_5", "x" * 151):
        assert len(codes(tmp_path, {**IDENTIFY, "userId": {"const": text}})) == 1
    load(tmp_path, {**IDENTIFY, "userId": {"const": "cio_5"}}, guards={"allow": ["cio_"]})


def test_a_constant_message_id_is_a_fault_since_all_but_one_message_would_be_lost(
    tmp_path: Path,
) -> None:
    assert len(codes(tmp_path, {**IDENTIFY, "messageId": {"const": "always"}})) == 1


def test_a_constant_time_that_is_no_time_is_a_fault(tmp_path: Path) -> None:
    page = {"type": "page", "userId": "id", "name": {"const": "a"}}
    for value in ("yesterday", "2020-02-30", None, True):
        assert len(codes(tmp_path, {**page, "timestamp": {"const": value}})) == 1
    load(tmp_path, {**page, "timestamp": {"const": "2020-02-29T00:00:00Z"}})


@pytest.mark.parametrize("value", ['"\\ud800"', "1e400", '{"\\udc00": 1}'])
def test_a_constant_that_cannot_be_sent_is_a_fault(value: str, tmp_path: Path) -> None:
    text = f"version: 1\nsource: {{path: a.csv}}\nmessages: [{{type: identify, userId: id, traits: {{a: {{const: {value}}}}}}}]\n"  # noqa: E501
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(MappingError):
        load_mapping(tmp_path / "m.yaml")


@pytest.mark.parametrize("pattern", ["(?=x)", "(?<!y)x", r"(a)\1", "(?P<n>a)(?P=n)", r"a\Z"])
def test_a_check_that_the_engine_cannot_run_is_a_fault_of_the_mapping(
    pattern: str, tmp_path: Path
) -> None:
    trait = {"column": "a", "check": pattern}
    assert codes(tmp_path, {**IDENTIFY, "traits": {"a": trait}}) == ["wrong-value"]


def test_a_format_that_no_strptime_knows_is_a_fault_of_the_mapping(tmp_path: Path) -> None:
    for pattern in ("%Q", "%d.%m.%", "%Y-%-m"):
        trait = {"column": "a", "type": "timestamp", "format": pattern}
        assert codes(tmp_path, {**IDENTIFY, "traits": {"a": trait}}) == ["wrong-value"]


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_type_takes_its_own_members_and_no_others(kind: str, tmp_path: Path) -> None:
    body = {"traits": {"a": "a"}, "properties": {"a": "a"}, "context": {"ip": "ip"}}
    event = {
        "event": {"const": "Seen"},
        "timestamp": "at",
        "integrations": {"const": {"All": True}},
    }
    all_of = {m: body.get(m, event.get(m, "c")) for t in TYPES.values() for m in t.members}
    taken = {m: form for m, form in all_of.items() if m in TYPES[kind].members}
    load(tmp_path, {"type": kind, **taken})
    rest = [m for m in all_of if m not in taken]
    assert codes(tmp_path, {"type": kind, **all_of}) == ["wrong-member"] * len(rest)


# Files


def test_a_file_that_cannot_be_a_mapping_is_refused_with_a_word(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    for content, word in (
        (b"a: " + b"x" * (1 << 20), "over 1 MiB"),
        ("name: Bjørn\n".encode("latin-1"), "not UTF-8"),
        ("version: 1\n".encode("utf-16"), "not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=word) as caught:
            load_mapping(path)
        assert caught.value.fix
        assert caught.value.where == str(path)
    with pytest.raises(UsageError, match=r"did you mean 'people\.yaml'"):
        load_mapping(tmp_path / "poeple.yaml")
    with pytest.raises(UsageError, match="this is a folder"):
        load_mapping(tmp_path)


def test_a_mapping_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = written(document(), tmp_path / "m.yaml")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_mapping(path).name == "m"


def test_a_name_is_that_of_the_file_unless_it_is_given(tmp_path: Path) -> None:
    assert load(tmp_path).name == "m"
    assert load(tmp_path, name="people").name == "people"
    with pytest.raises(MappingError, match="cannot name a folder"):
        load_mapping(written(document(), tmp_path / "no name.yaml"))


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\\b", "-a", ".a", "é", "a" * 101, "a\n"])
def test_a_name_that_could_leave_the_state_folder_is_a_fault(name: str, tmp_path: Path) -> None:
    assert codes(tmp_path, name=name) == ["bad-name"]


def streams(folder: Path, **after: list[str]) -> None:
    for name, names in after.items():
        written(document(after=names), folder / f"{name}.yaml")


def test_the_mappings_of_a_folder_come_in_the_order_that_after_wants(tmp_path: Path) -> None:
    streams(tmp_path, a=["c"], b=[], c=["d"], d=["elsewhere"])
    (tmp_path / "notes.txt").write_text("no mapping")
    assert [mapping.name for mapping in find_mappings([tmp_path])] == ["b", "d", "c", "a"]
    given = [tmp_path / "c.yaml", tmp_path / "b.yaml"]
    assert [mapping.name for mapping in find_mappings(given)] == ["c", "b"]


def test_a_circle_of_after_is_a_fault_of_each_in_it(tmp_path: Path) -> None:
    streams(tmp_path, a=["b"], b=["c"], c=["a"], d=[])
    with pytest.raises(MappingError) as caught:
        find_mappings([tmp_path])
    found = caught.value.lints
    assert [lint.code for lint in found] == ["after-circle"] * 3
    assert [Path(lint.place.path).stem for lint in found] == ["a", "b", "c"]
    assert found[0].what == "'a' waits for b in a circle"
    streams(tmp_path, a=["a"], b=[], c=[])
    with pytest.raises(MappingError, match="'a' waits for a"):
        find_mappings([tmp_path])


def test_a_stream_that_only_waits_for_a_circle_is_not_said_to_be_in_it(tmp_path: Path) -> None:
    streams(tmp_path, a=["b"], b=["a"], z=["a"])
    with pytest.raises(MappingError) as caught:
        find_mappings([tmp_path])
    assert [Path(lint.place.path).stem for lint in caught.value.lints] == ["a", "b"]


def test_two_mappings_of_one_name_are_a_fault(tmp_path: Path) -> None:
    written(document(name="people"), tmp_path / "a.yaml")
    written(document(name="people"), tmp_path / "b.yaml")
    with pytest.raises(MappingError) as caught:
        find_mappings([tmp_path])
    assert "the name 'people' is taken by" in str(caught.value)


def test_the_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    for name in "ab":
        written(document(nmae="x"), tmp_path / f"{name}.yaml")
    with pytest.raises(MappingError) as caught:
        find_mappings([tmp_path])
    assert [lint.code for lint in caught.value.lints] == ["unknown-key"] * 2


def test_a_folder_without_a_mapping_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no mapping in this folder"):
        find_mappings([tmp_path])


# Columns


def test_every_column_that_the_source_lacks_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    text = (
        "version: 1\nsource: {path: a.csv}\nkey: [id, shop]\nmessages:\n"
        "  - type: identify\n    userId: ID\n    traits:\n      city: {column: ctiy, type: text}\n"
        "      place: {object: {zip: zip_code}}\n"
        "      all: {array: [{json: a}, {const: now}, now]}\n"
    )
    (tmp_path / "m.yaml").write_text(text)
    (tmp_path / "a.csv").write_text("id,city,zipcode\n1,x,2\n")
    mapping = load_mapping(tmp_path / "m.yaml")
    assert mapping.columns == {"id", "shop", "ID", "ctiy", "zip_code", "a", "now"}
    with pytest.raises(MappingError) as caught:
        mapping.check_columns(["id", "city", "zipcode"], "a.csv")
    told = [(x.place.line, x.place.column, x.code, x.what, x.fix) for x in caught.value.lints]
    known = "known here: city, id, zipcode"
    assert told == [
        (3, 1, "unknown-column", "a.csv has no column 'shop'", known),
        (6, 5, "unknown-column", "a.csv has no column 'ID'", "did you mean 'id'?"),
        (8, 14, "unknown-column", "a.csv has no column 'ctiy'", "did you mean 'city'?"),
        (9, 24, "unknown-column", "a.csv has no column 'zip_code'", "did you mean 'zipcode'?"),
        (10, 22, "unknown-column", "a.csv has no column 'a'", known),
        (10, 46, "unknown-column", "a.csv has no column 'now'", known),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_zone_beside_what_holds_no_times_is_a_fault(name: str, tmp_path: Path) -> None:
    """Else the local time would be sent as the text it is, and nobody would be told."""
    (tmp_path / "a.csv").write_text("id,at\n1,2020-01-01T10:00\n")
    (tmp_path / "a.jsonl").write_text('{"id": "1", "at": "2020-01-01T10:00"}\n')
    pq.write_table(pa.table({"id": ["1"], "at": ["2020-01-01T10:00"]}), tmp_path / "a.parquet")
    form = {"column": "at", "timezone": "Europe/Berlin"}
    whole = document({**IDENTIFY, "traits": {"at": form}}, source={"path": name})
    with pytest.raises(MappingError) as caught:
        plan_for(whole, tmp_path)
    (lint,) = caught.value.lints
    what = "'at' is no column of times, so that 'timezone' says nothing"
    assert (lint.code, lint.what, lint.fix) == ("bad-option", what, "add type: timestamp")
    whole["messages"][0]["traits"]["at"] = {**form, "type": "timestamp"}
    plan_for(whole, tmp_path)


def test_timestamp_now_is_no_column(tmp_path: Path) -> None:
    page = {"type": "page", "userId": "id", "timestamp": "now", "properties": {"timestamp": "now"}}
    assert load(tmp_path, page).columns == {"id", "now"}
    page["properties"] = {"timestamp": "at"}
    assert load(tmp_path, page).columns == {"id", "at"}


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"each": "items", "as": {"a": "sku", "b": "qyt"}}, "no field 'qyt'"),
        ({"each": "items", "as": {"a": {"object": {"b": {"column": "qyt"}}}}}, "no field 'qyt'"),
        ({"each": "items", "as": {"a": {"array": ["sku", "qyt"]}}}, "no field 'qyt'"),
        ({"each": "items", "as": {"a": {"json": "qyt"}}}, "no field 'qyt'"),
        ({"each": "items", "as": "qyt"}, "no field 'qyt'"),
        ({"each": "id", "as": "sku"}, "'id' is string, not a list of structs"),
        ({"each": "tags", "as": "sku"}, "not a list of structs"),
        ("spell", "column 'spell' has the type duration"),
    ],
)
def test_what_a_parquet_column_cannot_give_is_a_fault_before_the_first_row(
    form: Any, words: str, tmp_path: Path
) -> None:
    items = pa.array([[{"sku": "a", "qty": 1}]])
    spell = pa.array([1], pa.duration("s"))
    table = pa.table({"id": ["1"], "items": items, "tags": [["a"]], "spell": spell})
    pq.write_table(table, tmp_path / "a.parquet")
    more = {"source": {"path": "a.parquet"}}
    with pytest.raises(MappingError, match=words) as caught:
        plan_for(document({**IDENTIFY, "traits": {"a": form}}, **more), tmp_path)
    assert all(lint.place.line == 1 and lint.place.column > 1 for lint in caught.value.lints)


# Meaning


def test_the_fingerprint_changes_with_the_meaning_and_with_nothing_else(tmp_path: Path) -> None:
    first = load(tmp_path).fingerprint
    same: list[dict[str, Any]] = [
        {"delivery": {"rate": 5, "connections": 2}},
        {"source": {"path": "b.csv"}},
        {"after": ["x"]},
        {"version": 1},
    ]
    assert {load(tmp_path, **more).fingerprint for more in same} == {first}
    changed: list[dict[str, Any]] = [
        {"name": "other"},
        {"key": "id"},
        {"source": {"path": "a.csv", "blank": ["NULL"]}},
        {"source": {"path": "a.csv", "csv": {"delimiter": ";"}}},
        {"guards": {"future": "send"}},
        {"messages": [{**IDENTIFY, "traits": {"a": "a"}}]},
        {"messages": [{**IDENTIFY, "traits": {"a": {"column": "a", "type": "number"}}}]},
        {"messages": [IDENTIFY, IDENTIFY]},
    ]
    found = {load(tmp_path, **more).fingerprint for more in changed} | {first}
    assert len(found) == len(changed) + 1


def test_comments_order_and_style_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("version: 1\nsource: {path: a}\nmessages: [{type: identify, userId: id}]\n")
    first = load_mapping(path).fingerprint
    path.write_text(
        "# people\nsource:\n  path: [a]\nmessages:\n  - userId: 'id'  # x\n    type: identify\n"
        "version: 1\n"
    )
    assert load_mapping(path).fingerprint == first


# The JSON Schema


def test_every_mapping_of_ours_is_valid_by_the_json_schema_too() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert len(GOOD) > 10
    for path in GOOD:
        load_mapping(path)
        found = parse(path.read_text(encoding="utf-8"), str(path))
        jsonschema.Draft202012Validator(schema).validate(found.value)


def at(value: Any, path: list[str | int]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    "path",
    [
        *([], ["source"], ["source", "csv"], ["guards"], ["delivery"], ["messages", 0]),
        *(["messages", 0, "traits", "a"], ["messages", 0, "traits", "o"]),
        *(["messages", 0, "traits", "o", "object", "b"], ["messages", 0, "traits", "e"]),
    ],
)
def test_the_json_schema_refuses_an_unknown_key_as_the_loader_does(
    path: list[str | int], tmp_path: Path
) -> None:
    traits = {
        "a": {"column": "a"},
        "o": {"object": {"b": {"const": 1}}},
        "e": {"each": "l", "as": "x"},
    }
    whole = document({**IDENTIFY, "traits": traits}, guards={}, delivery={})
    whole["source"] = {"path": "a.csv", "csv": {}}
    validator = jsonschema.Draft202012Validator(json_schema())
    changed = json.loads(json.dumps(whole))
    validator.validate(changed)
    at(changed, path)["unkown"] = 1
    assert not validator.is_valid(changed)
    with pytest.raises(MappingError, match=r"unkown|value form"):
        load_mapping(written(changed, tmp_path / "m.yaml"))


def test_the_json_schema_refuses_most_faulty_mappings() -> None:
    """Not all: what one part wants of another is for the loader to say."""
    validator = jsonschema.Draft202012Validator(json_schema())
    for name in ("unknown_keys", "missing_keys", "wrong_member", "value_forms", "option_values"):
        found = parse((FAULTS / f"{name}.yaml").read_text(encoding="utf-8"), name)
        assert not validator.is_valid(found.value), name
