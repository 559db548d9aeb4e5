"""The schema that editors use refuses what the loader refuses, and has words for every key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest
from reference import written

from backfill import spec
from backfill.errors import MappingError
from backfill.mapping import load_mapping
from backfill.mapping.hover import HOVER
from backfill.mapping.schema import json_schema
from backfill.mapping.strict_yaml import parse

if TYPE_CHECKING:
    from conftest import Cli

ROOT: Final = Path(__file__).parent.parent
MAPPINGS: Final = sorted(ROOT.glob("mappings/*.yaml"))
SCHEMA: Final = json_schema()
DRAFTS: Final = (jsonschema.Draft202012Validator(SCHEMA), jsonschema.Draft7Validator(SCHEMA))
"""The one the schema names, and the one that editors know."""

MODELINE: Final = "# yaml-language-server: $schema="


def is_valid(document: Any) -> bool:
    """Return what both drafts say, which is the same."""
    told: set[bool] = {draft.is_valid(document) for draft in DRAFTS}
    assert len(told) == 1, "the drafts do not agree"
    return told.pop()


def test_every_key_has_words_and_no_words_are_left_over() -> None:
    parts = {"Document": SCHEMA, **SCHEMA["$defs"]}
    keys = {name: set(part["properties"]) for name, part in parts.items() if "properties" in part}
    assert keys == {name: set(words) for name, words in HOVER.items()}
    for name in keys:
        assert parts[name]["description"]
        for key, given in parts[name]["properties"].items():
            assert given["description"] == HOVER[name][key]


def test_the_committed_schema_is_the_one_that_is_printed(cli: Cli) -> None:
    """If it is not: `backfill schema > mappings/schema.json`."""
    assert cli("schema").out == (ROOT / "mappings/schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.name)
def test_the_first_line_of_a_mapping_leads_an_editor_to_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    line = text.splitlines()[0]
    assert line.startswith(MODELINE)
    named = path.parent / line.removeprefix(MODELINE)  # editors take it as relative to the mapping
    schema = json.loads(named.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(parse(text, str(path)).value)


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/datasets/*.yaml")), ids=lambda p: p.name)
def test_every_mapping_of_a_dataset_is_valid(path: Path) -> None:
    assert is_valid(parse(path.read_text(encoding="utf-8"), str(path)).value)


def is_loaded(document: dict[str, Any], folder: Path) -> bool:
    """Return whether the loader takes a document."""
    try:
        load_mapping(written(document, folder / "m.yaml"))
    except MappingError:
        return False
    return True


def whole(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": 1, "source": {"path": "a.csv"}, "messages": [*messages], **more}


FULL: Final[dict[str, dict[str, Any]]] = {
    "identify": {"userId": "a"},
    "track": {"userId": "a", "event": "b", "timestamp": "c"},
    "page": {"userId": "a", "timestamp": "now"},
    "screen": {"anonymousId": "a", "timestamp": "c"},
    "group": {"groupId": "a"},
    "alias": {"userId": "a", "previousId": "b"},
}
MEMBERS: Final = sorted({name for kind in spec.TYPES.values() for name in kind.members})
FREE: Final = {"traits", "properties", "context"}


@pytest.mark.parametrize("kind", spec.TYPES)
def test_each_type_has_its_own_members_and_needs_those_that_the_loader_wants(
    kind: str, tmp_path: Path
) -> None:
    message = {"type": kind, **FULL[kind]}
    assert is_valid(whole(message))
    assert is_loaded(whole(message), tmp_path)
    for member in MEMBERS:
        added = whole({**message, member: {"x": "d"} if member in FREE else "d"})
        assert is_valid(added) is is_loaded(added, tmp_path) is (member in spec.TYPES[kind].members)
    for member in FULL[kind]:
        left = whole({key: one for key, one in message.items() if key != member})
        assert not is_valid(left), member
        assert not is_loaded(left, tmp_path), member


def traits(form: Any, **more: Any) -> dict[str, Any]:
    return whole({"type": "identify", "userId": "a", "traits": {"t": form}}, **more)


GOOD: Final[list[dict[str, Any]]] = [
    traits("a"),
    traits({"column": "a", "type": "timestamp", "format": ["%d.%m.%Y", "unix_s"]}),
    traits({"column": "a", "map": {"x": 1, "y": None}, "else": {"const": [1]}}),
    traits({"column": "a", "map": {"x": "1"}, "else": "keep"}),
    traits({"expr": "upper(a)", "default": "x"}),
    traits({"const": {"deep": [1, None]}}),
    traits({"object": {"*": {"columns": ["p_*"], "strip": "p_", "except": "p_x"}, "y": "a"}}),
    traits({"array": ["a", {"const": 1}, {"array": []}]}),
    traits({"each": "l", "as": {"x": {"each": "m", "as": "n"}}, "empty": "keep"}),
    traits({"json": "a"}),
    whole({"type": "identify", "userId": "a", "traits": {"*": {"columns": "*"}}}),
    whole({"type": "identify", "userId": "a", "when": "b > 1"}, where="a != 1"),
    whole({"type": "identify", "userId": {"expr": "text(a)"}}),
    whole(
        {
            "type": "track",
            "userId": "a",
            "event": {"const": "x"},
            "timestamp": "t",
            "properties": {"n": {"agg": "count"}, "l": {"each_row": {"s": "s"}}},
        },
        rows={"group_by": "o", "order_within": "n", "max_rows": 3},
    ),
    whole(FULL["alias"] | {"type": "alias"}, delivery={"rate": "unlimited"}, after="b", key=["k"]),
    whole({"type": "identify", "userId": None, "anonymousId": "b"}, guards={"allow": ["cio_"]}),
]
BAD: Final[list[dict[str, Any]]] = [
    traits({"column": "a", "type": "money"}),
    traits({"column": "a", "as": "text"}),
    traits({"column": "a", "blank": "drop"}),
    traits({"column": "a", "ambiguous": "first"}),
    traits({"column": "a", "map": {}, "else": "drop"}),
    traits({"column": "a", "map": {}, "else": {"const": 1, "x": 2}}),
    traits({"column": "a", "decimal": ",,"}),
    traits({"column": "a", "required": "yes"}),
    traits({"column": 1}),
    traits(1),
    traits({}),
    traits({"each": "l"}),
    traits({"object": {"x": "a"}, "empty": "drop"}),
    traits({"columns": "p_*"}),
    traits({"each": "l", "as": {"*": {"columns": "p_*"}}}),
    traits({"object": {"*": "a"}}),
    traits({"agg": "mean", "column": "a"}, rows={"group_by": "b"}),
    whole({"type": "person", "userId": "a"}),
    whole({"userId": "a"}),
    whole({"type": "identify", "userId": {"object": {"x": "a"}}}),
    whole({"type": "identify", "userId": {"each_row": "x"}}, rows={"group_by": "b"}),
    whole({"type": "identify", "userId": "a", "integrations": {"*": {"columns": "x"}}}),
    whole(),
    traits("a", guards={"recent_events": "drop"}),
    traits("a", guards={"future": "hold"}),
    traits("a", delivery={"rate": 0}),
    traits("a", delivery={"rate": "fast"}),
    traits("a", delivery={"connections": 65}),
    traits("a", rows={"group_by": []}),
    traits("a", rows={"max_rows": 5}),
    traits("a", source={"path": []}),
    traits("a", version=2),
    traits("a", keys="k"),
    traits("a", source={"path": "a.csv", "format": "xml"}),
    traits("a", source={"path": "a.csv", "csv": {"skip_lines": -1}}),
]


@pytest.mark.parametrize("document", GOOD, ids=json.dumps)
def test_what_the_loader_takes_no_editor_marks(document: dict[str, Any], tmp_path: Path) -> None:
    assert is_loaded(document, tmp_path)
    assert is_valid(document)


@pytest.mark.parametrize("document", BAD, ids=json.dumps)
def test_what_an_editor_marks_the_loader_refuses(document: dict[str, Any], tmp_path: Path) -> None:
    assert not is_valid(document)
    assert not is_loaded(document, tmp_path)
