"""JSON that nobody here wrote, in columns and in lines: the same value, or a reject."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from reference import Built, build
from test_source import SHARED, needs_shared

if TYPE_CHECKING:
    from pathlib import Path

FILES: Final = ("jsontestsuite_accept.json", "jsontestsuite_transform.json")
REFUSED: Final = {
    # one of two values would be lost
    *("y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"),
    *("object_same_key_different_values.json", "object_same_key_same_value.json"),
    "object_same_key_unclear_values.json",
    # half a surrogate pair is no text in UTF-8
    *(f"string_{n}_escaped_invalid_codepoint{'s' * (n > 1)}.json" for n in (1, 2, 3)),
}
"""The texts that cost their row; all others keep their value."""


def texts() -> dict[str, str]:
    """Return the texts of the suites by their names."""
    found: dict[str, str] = {}
    for name in FILES:
        for case in json.loads((SHARED / "json" / name).read_bytes()):
            assert case["name"] not in found
            found[case["name"]] = case["input"]
    assert len(found) == 117
    return found


def made(folder: Path, path: str, form: Any) -> Built:
    message = {"type": "identify", "userId": {"const": "x"}, "traits": {"v": form}}
    return build({"version": 1, "source": {"path": path}, "messages": [message]}, folder)


def value_of(text: str) -> str | None:
    """Return the text of the trait `v` in a message, None where it has none."""
    found = re.match(
        r',\{"type":"identify","userId":"x","traits":\{"v":(.*)\},"messageId":', text, re.DOTALL
    )
    return found[1] if found else None


def exact(text: str) -> Any:
    """Parse with the digits that stand there."""
    return json.loads(text, parse_int=lambda digits: ("n", digits), parse_float=lambda d: ("n", d))


def without_blanks(value: Any) -> Any:
    """Leave null, {} and [] out, as messages do."""
    if isinstance(value, dict):
        kept = {key: without_blanks(item) for key, item in value.items()}
        value = {key: item for key, item in kept.items() if item is not None}
    elif isinstance(value, list):
        value = [item for item in map(without_blanks, value) if item is not None]
    return None if value in ({}, []) else value


@needs_shared
def test_a_column_of_json_is_passed_on_byte_by_byte_or_rejected(tmp_path: Path) -> None:
    given = texts()
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["v"], *([text] for text in given.values())])
    (tmp_path / "t.csv").write_bytes(stream.getvalue().encode())
    found = made(tmp_path, "t.csv", {"json": "v"})
    for row, (name, text) in enumerate(given.items()):
        if name in REFUSED:
            assert found.codes[row] == "json-unreadable", name
        else:
            assert value_of(found.texts[row]) == text, name


@needs_shared
def test_a_value_in_a_json_line_keeps_every_digit_or_its_line_is_rejected(tmp_path: Path) -> None:
    given = {name: text.replace("\n", " ") for name, text in texts().items()}
    (tmp_path / "t.jsonl").write_text("".join(f'{{"v":{t}}}\n' for t in given.values()), "utf-8")
    found = made(tmp_path, "t.jsonl", "v")
    for row, (name, text) in enumerate(given.items()):
        if name in REFUSED:
            assert found.codes[row] == "row-unreadable", name
        else:
            sent = value_of(found.texts[row])
            assert (None if sent is None else exact(sent)) == without_blanks(exact(text)), name


@pytest.mark.parametrize("digits", ["12.30", "1E400", "-0", "0." + "1" * 40, "1" * 40, "1e-7"])
@pytest.mark.parametrize("place", ["{}", "[{}]", '{{"a":[{{"b":{}}}]}}'])
def test_a_number_keeps_its_digits_wherever_it_stands_in_a_line(
    digits: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text('{"v":' + place.format(digits) + "}\n")
    found = made(tmp_path, "t.jsonl", "v")
    assert value_of(found.texts[0]) == place.format(digits)


def test_lines_with_nested_objects_come_through_and_lists_of_them_are_taken_apart(
    tmp_path: Path,
) -> None:
    lines = [
        {"items": [{"sku": "a", "n": 2, "size": {"w": 1.5, "tags": ["x", None]}}, {"sku": "b"}]},
        {"items": [{"sku": "c", "size": {}}], "a.b": {"c": {"d": [[1], []]}}},
        {"items": []},
        {"a.b": 5},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    inner = {"sku": "sku", "count": {"column": "n", "type": "text"}, "size": "size"}
    form = {"object": {"items": {"each": "items", "as": inner}, "other": "a.b"}}
    found = made(tmp_path, "t.jsonl", form)
    assert not found.rejects
    sent = [value_of(text) for text in found.texts.values()]
    assert [text and json.loads(text) for text in sent] == [
        {
            "items": [
                {"sku": "a", "count": "2", "size": {"w": 1.5, "tags": ["x"]}},
                {"sku": "b"},
            ]
        },
        {"items": [{"sku": "c"}], "other": {"c": {"d": [[1]]}}},
        None,
        {"other": 5},
    ]


def test_a_name_with_dots_is_a_key_and_no_way_into_an_object(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a":{"b":1}}\n{"a.b":2}\n')
    found = made(tmp_path, "t.jsonl", "a.b")
    assert [value_of(text) for text in found.texts.values()] == [None, "2"]
