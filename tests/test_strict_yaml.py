"""YAML as people mean it: what is text stays text, and what is clever is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.mapping.strict_yaml import DEPTH_MAX, parse


def value_of(text: str) -> Any:
    """The value of a document without faults."""
    found = parse(text, "m.yaml")
    assert not found.lints, [str(lint) for lint in found.lints]
    return found.value


def lints_of(text: str) -> list[tuple[str, int, int]]:
    """The faults of a document: code, line, column."""
    return [(one.code, one.place.line, one.place.column) for one in parse(text, "m.yaml").lints]


@pytest.mark.parametrize(
    "text",
    [
        *("no", "No", "on", "off", "yes", "y", "n", "1:30", "12:30:45", "012", "0o14", "0x1F"),
        *("1_000", "+5", ".5", "5.", ".inf", "-.INF", ".nan", "2020-01-01", "2020-01-01 10:00:00"),
        *("0171", "007", "1e", "e3", "--1", "1.2.3", "N/A", "nan", "Infinity", "1,5", "=", "<<"),
        *("nulle", "truely", "0b1", "١٢", "1e3x"),
    ],
)
def test_what_looks_clever_to_yaml_stays_text(text: str) -> None:
    assert value_of(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("-7", -7), ("12", 12), ("9007199254740993", 9007199254740993)),
        *(("1.5", 1.5), ("1e3", 1000.0), ("-2.5E-3", -0.0025), ("12.30", 12.3)),
        *(("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None)),
        *(("", None), ("'5'", "5"), ('"true"', "true"), ("''", ""), ('"null"', "null")),
        *(("|\n  a\n  b\n", "a\nb\n"), (">\n  a\n  b\n", "a b\n"), ("[]", []), ("{}", {})),
    ],
)
def test_numbers_truth_and_null_are_as_json_has_them_unless_quoted(text: str, value: Any) -> None:
    found = value_of(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_text() -> None:
    assert value_of("1: a\ntrue: b\nno: c\n1.50: d\n~: e\n") == {
        "1": "a",
        "true": "b",
        "no": "c",
        "1.50": "d",
        "~": "e",
    }


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(max_codepoint=0xFFFF, codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\:#{\n '), inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150, print_blob=True)
@given(JSONS)
def test_json_means_the_same_as_it_means_in_json(value: Any) -> None:
    assert value_of(json.dumps({"a": value})) == {"a": value}


@settings(deadline=None, max_examples=100, print_blob=True)
@given(st.lists(st.sampled_from(["a", "b", "deep", "x y", "é"]), min_size=1, max_size=6))
def test_every_key_is_known_by_its_line_and_column(keys: list[str]) -> None:
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(keys)]
    found = parse("\n".join(lines) + " end\n", "m.yaml")
    for depth in range(len(keys)):
        assert str(found.place(tuple(keys[: depth + 1]))) == f"m.yaml:{depth + 1}:{2 * depth + 1}"
    assert found.place((*keys, "missing")) == found.place(tuple(keys))


def test_a_place_inside_a_list_is_that_of_the_item() -> None:
    found = parse("a:\n  - x\n  - {b: y, c: z}\n", "m.yaml")
    assert str(found.place(("a", 1))) == "m.yaml:3:5"
    assert str(found.place(("a", 1, "c"))) == "m.yaml:3:12"


@pytest.mark.parametrize(
    ("text", "lints"),
    [
        ("a: &x 1\nb: *x\n", [("anchor", 1, 4), ("anchor", 2, 4)]),
        ("&k a: 1\n", [("anchor", 1, 1)]),
        ("a: !!str 5\nb: !env HOME\n", [("tag", 1, 4), ("tag", 2, 4)]),
        ("!t {a: 1}\n", [("tag", 1, 1)]),
        ("a: 1\nb: 2\na: 3\nb: 4\n", [("duplicate-key", 3, 1), ("duplicate-key", 4, 1)]),
        ("'1': a\n1: b\n", [("duplicate-key", 2, 1)]),
        ("{a: 1, a: 2}", [("duplicate-key", 1, 8)]),
        ("a: 1\n---\nb: 2\n", [("yaml-documents", 2, 1)]),
        ("? [a]\n: b\n", [("key-type", 1, 3)]),
        ("a: [\n", [("yaml-syntax", 2, 1)]),
        ("a: 'x\n", [("yaml-syntax", 2, 1)]),
        ("a:\n\tb: 1\n", [("yaml-syntax", 2, 1)]),
        ("a: b: c\n", [("yaml-syntax", 1, 5)]),
        ("a: \x00\n", [("yaml-syntax", 1, 1)]),
        ('a: "\\q"\n', [("yaml-syntax", 1, 6)]),
        ("a: @b\n", [("yaml-syntax", 1, 4)]),
    ],
)
def test_a_fault_of_the_text_is_told_with_its_place(
    text: str, lints: list[tuple[str, int, int]]
) -> None:
    assert lints_of(text) == lints


def test_one_document_may_have_its_marks_and_a_comment() -> None:
    assert value_of("# yaml-language-server: $schema=x\n---\na: 1\n...\n") == {"a": 1}


def test_nesting_has_a_limit_that_no_mapping_needs() -> None:
    just = "[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1)
    assert lints_of(f"a: {just}") == []
    assert [code for code, *_ in lints_of(f"a: [{just}]")] == ["too-deep"]


def laughs() -> str:
    """Ten levels of nine aliases: 3.4 billion texts if anyone wrote them out."""
    lines = ["a0: &a0 [lol, lol]"]
    for level in range(1, 10):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(laughs(), id="a billion laughs"),
        pytest.param("a: &a [*a]\n", id="an alias of itself"),
        pytest.param("a: &a {b: 1}\nc:\n" + "  <<: *a\n" * 2_000, id="merge keys"),
        pytest.param("[" * 5_000, id="open brackets"),
        pytest.param("[" * 3_000 + "]" * 3_000, id="closed brackets"),
        pytest.param("{a: " * 5_000, id="open braces"),
        pytest.param("- " * 20_000, id="dashes"),
        pytest.param("? " * 20_000, id="question marks"),
    ],
)
def test_a_bomb_is_refused_with_a_word_before_it_is_built(bomb: str) -> None:
    found = parse(bomb, "m.yaml")
    assert found.lints
    assert len(str(found.lints[0])) < 500


@pytest.mark.parametrize("number", ["9" * 5_000, "-" + "9" * 5_000, "1e999999999", "-1e400"])
def test_a_number_that_no_program_can_hold_is_a_fault_or_stays_text(number: str) -> None:
    found = parse(f"a: {number}", "m.yaml")
    assert found.lints or found.value == {"a": number}


@settings(deadline=None, max_examples=200, print_blob=True)
@given(st.text(st.sampled_from("ab:-?[]{},#&*!|>'\"%@` \n\t\\0\x00é"), max_size=30))
def test_any_text_ends_in_a_value_or_in_faults_that_have_places(text: str) -> None:
    found = parse(text, "m.yaml")
    for lint in found.lints:
        assert re.match(r"m\.yaml:\d+:\d+: .+ \[[a-z-]+\]\n  fix: .+", str(lint)), str(lint)
