"""Expressions are read, never run: every fault has its character, its words and its fix.

`compared` with Python is in `test_evaluate.py`; here is what may be written, and what is told.
"""

from __future__ import annotations

import json
import pickle
import string
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import MappingError
from backfill.mapping import load_mapping
from backfill.mapping.expression import parse
from backfill.mapping.functions import FUNCTIONS, SPECIAL, Kind
from backfill.mapping.kinds import faults_in
from backfill.mapping.reader import DEPTH_MAX
from backfill.mapping.reads import Expression
from backfill.mapping.strict_yaml import parse as parse_yaml
from backfill.mapping.syntax import CHARS_MAX
from backfill.mapping.tree import columns_in, walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Cli

DEEP: Final = "compute a part of it where the data comes from"
LIST: Final = "a list may stand after `in` only; for an array use {array: […]}"
NEAR: Final = 'check it near here; a column with blanks in its name is written col("First Name")'


def told(text: str) -> list[str]:
    """The faults of a text: character, code, what, fix."""
    return [f"{one.at} {one.code}: {one.what}; {one.fix}" for one in Expression(text, ()).faults()]


FAULTS: Final = {
    "": "0 expr-syntax: the expression is empty; write one, or leave it out",
    "a +": f"2 expr-syntax: this is no expression; {NEAR}",
    "status = 'X'": "7 expr-syntax: = compares nothing; write ==",
    "First Name == 'x'": f"0 expr-syntax: this is no expression; {NEAR}",
    "a && b": "2 expr-syntax: '&&' is not known here; write and",
    "a OR b": "2 expr-syntax: 'OR' is not known here; write or (to join texts: +)",
    "a <> b": "2 expr-syntax: '<>' is not known here; write !=",
    "!a": "0 expr-syntax: '!a' is not known here; write not",
    "from == 1": (
        "0 expr-syntax: 'from' cannot stand here; a column of that name is written col(\"from\")"
    ),
    "lower(a": "5 expr-syntax: the bracket ( has no partner; close it, or take it out",
    "a) + (b": "1 expr-syntax: the bracket ) has no partner; close it, or take it out",
    "a + 'x": (
        "4 expr-syntax: the quote that begins here is not closed; close it, or escape the quote"
        " inside as \\'"
    ),
    "a\x00b": (
        "1 expr-syntax: the character '\\x00' cannot stand here; inside a text write its escape"
    ),
    "address.city": (
        "0 expr-refused: the attribute .city cannot stand in an expression; a column of that name"
        ' is written col("address.city")'
    ),
    "a.__class__": (
        "0 expr-refused: the attribute .__class__ cannot stand in an expression; functions are"
        " written f(x), not x.f()"
    ),
    "name.lower()": (
        "0 expr-refused: the method .lower() cannot stand in an expression; write lower(x)"
    ),
    "lower(a)(b)": (
        "0 expr-refused: a call of this cannot stand in an expression; functions are called by"
        " their names"
    ),
    "lowr(a)": "0 unknown-function: unknown function 'lowr'; did you mean 'lower'?",
    "a + eval('1')": ("4 unknown-function: unknown function 'eval'; "),
    "__import__('os')": "0 unknown-function: unknown function '__import__'; ",
    "__name__": (
        "0 expr-refused: '__name__' cannot stand in an expression; a column of that name is"
        ' written col("__name__")'
    ),
    "true": (
        "0 expr-refused: 'true' is no value here; write True; a column of that name is written"
        ' col("true")'
    ),
    "lambda: 1": (
        "0 expr-refused: a lambda cannot stand in an expression; write the computation itself"
    ),
    "[x for x in a]": (
        "0 expr-refused: a comprehension cannot stand in an expression; lists are made with"
        " split(x, separator)"
    ),
    "(b := 1)": "1 expr-refused: := cannot stand in an expression; write == to compare",
    "a[0]": (
        "0 expr-refused: […] after a value cannot stand in an expression; write substring(x,"
        " start, length) for a part of a text"
    ),
    "a + [1]": f"4 expr-refused: a list cannot stand in an expression; {LIST}",
    "a, b": f"0 expr-refused: a list cannot stand in an expression; {LIST}",
    "await a": "0 expr-refused: await cannot stand in an expression; leave it out",
    "concat(*a)": (
        "7 expr-refused: * before arguments cannot stand in an expression; write the arguments"
        " one by one"
    ),
    "a ** 2": "2 expr-refused: ** cannot stand in an expression; multiply instead",
    "a @ b": "2 expr-refused: @ cannot stand in an expression; multiply with *",
    "(a) | (b)": "4 expr-refused: | cannot stand in an expression; write or",
    "~a": "0 expr-refused: ~ cannot stand in an expression; write not",
    "b'x'": (
        "0 expr-refused: the literal b'x' cannot stand in an expression; write a text or a number"
    ),
    "a == None": "5 expr-refused: == None is never true; write is None",
    "a != None": "5 expr-refused: != None is never true; write is not None",
    "a is 5": "5 expr-refused: `is` is for None only; write == to compare",
    "a in (b, 1)": ("6 expr-refused: an item of the list is no literal; write == and or instead"),
    "a in ()": "5 expr-refused: nothing is in an empty list; write its items",
    "a in ('x', None)": "11 expr-refused: None is in no list; write `is None` with or",
    "f'{a b}'": (
        "0 expr-syntax: the f-string cannot be read; check its braces; inside them use the other"
        " kind of quotes"
    ),
    "f'{a!r}'": (
        "3 expr-refused: a conversion (!r, =) cannot stand in an expression; leave it out"
    ),
    "f'{a:.2f}'": (
        "3 expr-refused: a format after : cannot stand in an expression; leave it out; round(x, 2)"
        " rounds"
    ),
    "lower()": "0 expr-arguments: lower needs 1 argument; write lower(x)",
    "lower(a, b)": "0 expr-arguments: lower takes no 2 arguments; write lower(x)",
    "round(a, digit=2)": (
        "9 expr-arguments: round has no argument 'digit' here; did you mean 'digits'?"
    ),
    "round(a, b)": (
        "9 expr-arguments: digits must be written out; write round(x[, digits]) with a literal"
    ),
    "col(name)": (
        '0 expr-arguments: col takes the name of a column, in quotes; write col("First Name")'
    ),
    "case(a, b, c)": (
        "0 expr-arguments: case takes a value, a table of literals, and a default; write case(x,"
        " {key: value, …}, default)"
    ),
    "case(a, {1: 2, 1.0: 3}, 4)": "15 expr-arguments: this key is there already; keep one",
    "case(a, {b: 2}, 4)": (
        "9 expr-arguments: a key of case is a text, a number, True or False; write a literal"
    ),
    "1" * 101: "0 expr-too-long: the number is too long; at most 100 digits",
    "1e999": "0 expr-too-long: the number is too long; at most 100 digits",
    "'" + "x" * 1001 + "'": (
        "0 expr-too-long: the text has 1001 characters, more than 1000; shorten it"
    ),
    "'\\ud800'": (
        "0 expr-refused: half of a surrogate pair is no text; write the character itself"
    ),
    "a" * 4001: (
        f"0 expr-too-long: the expression has 4001 characters, more than {CHARS_MAX}; {DEEP}"
    ),
    "(" * 33 + "a" + ")" * 33: f"32 expr-too-deep: the expression is nested too deep; {DEEP}",
    "not " * 101 + "a": f"400 expr-too-deep: the expression is nested too deep; {DEEP}",
    "-" * 150 + "a": f"100 expr-too-deep: the expression is nested too deep; {DEEP}",
    "matches(a, '(')": (
        "11 wrong-value: not a regular expression: missing ), unterminated subpattern at position"
        " 0; correct the pattern"
    ),
    "matches(a, '(?=x)')": (
        "11 wrong-value: not a regular expression: look-around and back references are not known"
        " here (RE2); correct the pattern"
    ),
    "timestamp(a, timezone='Mars')": (
        "22 wrong-value: unknown time zone 'Mars'; write a name of the IANA list, such as"
        " Europe/Berlin or UTC"
    ),
    "date(a, 'dd.mm.yyyy')": (
        "8 wrong-value: 'dd.mm.yyyy' is no time format; use iso8601, unix_s, unix_ms, unix_us or a"
        " pattern such as %d.%m.%Y"
    ),
    "split(a, '')": ("9 wrong-value: an empty text separates nothing; write the separator"),
    "'a' * 2": ("0 expr-type: 'a' is text; write number('a'); write number('a'): '*' takes number"),
}


@pytest.mark.parametrize("text", FAULTS, ids=lambda text: text[:20])
def test_what_cannot_be_meant_is_told_with_its_character_and_what_to_write(text: str) -> None:
    expected = FAULTS[text]
    (found,) = told(text)
    assert found == expected or (expected.endswith("; ") and found.startswith(expected))


def test_faults_are_told_together() -> None:
    found = told("lowr(a) + b.c + (d ** 2 if e == None else upper())")
    assert [one.split(":")[0] for one in found] == [
        "0 unknown-function",
        "10 expr-refused",
        "19 expr-refused",
        "32 expr-refused",
        "42 expr-arguments",
    ]


KINDS: Final = {
    "qty": Kind.TEXT,
    "price": Kind.TEXT,
    "n": Kind.INTEGER,
    "amount": Kind.NUMBER,
    "at": Kind.TIMESTAMP,
    "day": Kind.DATE,
    "ok": Kind.BOOLEAN,
    "tags": Kind.LIST,
    "place": Kind.JSON,
    "First Name": Kind.TEXT,
}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "qty * price",
            ["0 qty is text; write number(qty)", "6 price is text; write number(price)"],
        ),
        ("qty > 5", ["0 qty is text; write number(qty)"]),
        ("5 < qty", ["4 qty is text; write number(qty)"]),
        ("qty + 1", ["0 qty is text; write number(qty)"]),
        ("'no. ' + n", ["9 n is integer; write text(n)"]),
        ("n == '5'", ["0 n is integer; write text(n)"]),
        ("at > '2020-01-01'", ["5 '2020-01-01' is text; write timestamp('2020-01-01')"]),
        ("day == qty", ["7 qty is text; write date(qty)"]),
        ("at < day", ["0 at is timestamp; write date(at)"]),
        ("ok == 'true'", ["0 ok is boolean; write text(ok)"]),
        ("not qty", ["4 qty is text; write boolean(qty)"]),
        ("ok and n", ["7 n is integer; write boolean(n)"]),
        ("1 if qty else 2", ["5 qty is text; write boolean(qty)"]),
        ("qty if ok else n", ["15 n is integer; write text(n)"]),
        ("coalesce(qty, 0)", ["14 0 is integer; write text(0)"]),
        ("qty in (1, 2)", ["0 qty is text; write number(qty)"]),
        ("n in ('a', 'b')", ["0 n is integer; write text(n)"]),
        ("lower(n)", ["6 n is integer; write text(n)"]),
        ("round(qty)", ["6 qty is text; write number(qty)"]),
        ("unix(qty)", ["5 qty is text; write timestamp(qty)"]),
        ("substring(qty, amount)", ["15 amount is number; write integer(amount)"]),
        ("tags == 'x'", ["0 tags is a list"]),
        ("text(place)", ["5 place is neither text nor a number"]),
        ("-col('First Name')", ["1 col('First Name') is text; write number(col('First Name'))"]),
        ("min(n, qty)", ["7 qty is text; write number(qty)"]),
    ],
)
def test_a_kind_that_does_not_fit_is_told_with_the_function_that_helps(
    text: str, faults: list[str]
) -> None:
    found = faults_in(parse(text), KINDS)
    assert [f"{one.at} {one.what}" for one in found] == faults
    assert all(one.fix for one in found)
    assert faults_in(parse(text), {}) == []  # what is not known is judged row by row


@pytest.mark.parametrize(
    "text",
    [
        *("number(qty) * amount + n", "qty + price", "n + amount > 3", "at == at", "'x' in tags"),
        *("coalesce(qty, None)", "qty if ok else None", "join(tags, ',')", "place is None"),
        *("f'{qty}{n}{at}{ok}'", "length(tags) + length(qty)", "case(n, {1: 'a'}, qty)"),
        *(
            "min(at, at)",
            "unknown * 2 > 1",
            "unknown + qty",
            "timestamp(day) < at",
            "coalesce(tags)",
        ),
        "round(amount, 2) // 1 in (1, 2.5)",
    ],
)
def test_what_fits_is_taken(text: str) -> None:
    assert faults_in(parse(text), KINDS) == []
    assert told(text) == []


def test_a_condition_must_be_a_boolean() -> None:
    (fault,) = faults_in(parse("qty"), KINDS, is_condition=True)
    assert fault.what == "qty is text; write boolean(qty)"
    assert faults_in(parse("ok"), KINDS, is_condition=True) == []


# Reading


def test_a_column_is_named_as_it_is_written() -> None:
    """Python folds the letters of names (ﬁ to fi), but a header is not folded."""
    text = "ﬁeld + col(\"First Name\") + f\"{été}x{ a }\" + f'''{b}\n{c}'''"
    tree = parse(text).tree
    assert tree is not None
    assert [one.name for one in columns_in(tree)] == ["ﬁeld", "First Name", "été", "a", "b", "c"]
    for one in columns_in(tree)[:5]:
        at = one.name_at
        assert text[at : at + len(one.name)] == one.name or text[at] == '"'


def test_lines_and_comments_are_white_space() -> None:
    assert told("\n  a  # one\n  + b\n  and c\n") == []


def test_a_tree_can_be_sent_to_another_process() -> None:
    parsed = parse("case(a, {1: lower(b)}, f'{c}') if d in ('x', 2.50) else -e / 3 < 4")
    assert pickle.loads(pickle.dumps(parsed)) == parsed
    assert hash(parsed.tree) == hash(parse(parsed.text).tree)


def test_the_functions_are_those_of_the_contract() -> None:
    names = (
        "text integer number boolean timestamp date lower upper title trim concat coalesce replace"
        " substring length split join matches startswith endswith contains round abs floor ceil"
        " min max sha256 iso8601 unix case col"
    )
    assert FUNCTIONS.keys() | SPECIAL.keys() == set(names.split())


def test_the_signatures_are_these() -> None:
    shown = [str(FUNCTIONS[name]) for name in ("timestamp", "round", "substring", "min", "replace")]
    assert shown == [
        "timestamp(x[, format[, timezone[, ambiguous]]])",
        "round(x[, digits])",
        "substring(x, start[, length])",
        "min(x, …)",
        "replace(x, old, new)",
    ]


def test_as_many_terms_as_the_depth_allows_are_taken() -> None:
    assert told(" + ".join(["a"] * DEPTH_MAX)) == []
    assert len(told(" + ".join(["a"] * (DEPTH_MAX + 1)))) == 1


# Fuzz

TOKENS: Final = [
    *("a", "b", "First Name", "été", "_", "__class__", "col", "lower", "number", "case", "min"),
    *("(", ")", "[", "]", "{", "}", ",", ":", ".", "=", "==", "!=", "<", ">", ":=", "->", ";"),
    *("+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "~", "<<", "\\", "\n", " ", "#"),
    *("and", "or", "not", "in", "is", "if", "else", "for", "lambda", "await", "yield", "None"),
    *("True", "1", "0.5", "1e5", "0x1F", "1j", "'x'", '"y"', "f'{a}'", "f'{", "'", '"', "b'z'"),
    *("import", "print", "eval", "exec", "open", "__import__('os')", "...", "\\N{DASH}", "\x00"),
]
SOUP: Final = st.lists(st.sampled_from(TOKENS), max_size=30).map(" ".join)
ANYTHING: Final = st.one_of(
    SOUP,
    st.lists(st.sampled_from(TOKENS), max_size=40).map("".join),
    st.text(max_size=60),
    st.text(st.sampled_from(string.printable), max_size=60),
    st.tuples(
        st.sampled_from(["(", "[", "{", "f(", "-", "not ", "a if ", "f'{", "lambda:"]),
        st.integers(1, 1500),
    ).map(lambda pair: pair[0] * pair[1]),
)
ALLOWED: Final = {
    *("Column", "Const", "Call", "Arithmetic", "Negative", "Compare", "Items", "In", "IsNone"),
    *("Logic", "Not", "Choice", "Joined", "Case"),
}


SEEN: list[list[str]] = []
"""Who listens to what Python reports of itself; a hook can never be taken off again."""


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(lambda name, _: SEEN[-1].append(name) if SEEN else None)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Give what Python runs, opens and imports meanwhile."""
    SEEN.append([])
    try:
        yield SEEN[-1]
    finally:
        SEEN.pop()


@settings(max_examples=600)
@given(ANYTHING)
def test_any_text_is_a_tree_or_faults_and_nothing_is_ever_run(text: str) -> None:
    """Whatever is written: no exception, no code that runs, no place outside the text."""
    with watched() as ran:
        faults = Expression(text, ()).faults()
    assert not {"exec", "open", "import", "os.system", "subprocess.Popen"} & set(ran)
    tree = parse(text).tree
    if tree is None:
        assert faults
    else:
        assert {type(node).__name__ for node in walk(tree)} <= ALLOWED
        for node in walk(tree):
            assert 0 <= node.at < node.end <= len(text)
    for fault in faults:
        assert 0 <= fault.at <= max(len(text) - 1, 0)
        assert fault.what
        assert fault.code


# In a mapping

ORDERS: Final = """\
version: 1
name: orders
source: {path: PATH}
key: id
WHERE
messages:
  - type: track
    userId: {expr: "text(integer(person))"}
    event: {const: Bought}
    timestamp: {expr: 'timestamp(at, timezone="UTC")'}
    properties:
      total: EXPR
guards: {recent_events: send}
"""
CSV: Final = "id,person,qty,price,at,First Name\n1,17850.0,2,1.50,2020-01-01,Ann\n"


def mapping(folder: Path, expr: str, *, where: str = "# all\n", path: str = "o.csv") -> Path:
    """Write orders with an expression as a property."""
    (folder / "o.csv").write_text(CSV)
    text = ORDERS.replace("PATH", path).replace("WHERE\n", where).replace("EXPR", expr)
    made = folder / "orders.yaml"
    made.write_text(text, encoding="utf-8")
    return made


def lints(path: Path) -> list[str]:
    """The faults of a mapping without its path."""
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    return [f"{one.place.line}:{one.place.column} {one.code}" for one in caught.value.lints]


@pytest.mark.parametrize(
    ("form", "places"),
    [
        ("{expr: lowr(qty)}", ["12:21 unknown-function"]),
        ('{expr: "qty + lowr(qty)"}', ["12:28 unknown-function"]),
        ('{expr: "\\"x\\" + lowr(qty)"}', ["12:30 unknown-function"]),
        ("{expr: '''x'' + lowr(qty) + a.b'}", ["12:30 unknown-function", "12:42 expr-refused"]),
        ("\n        expr: |\n          qty +\n            lowr(qty)", ["15:13 unknown-function"]),
        ("\n        expr: >-\n          qty\n          + lowr(qty)", ["15:13 unknown-function"]),
        ('\n        expr: "qty +\n\n          lowr(qty)"', ["15:11 unknown-function"]),
        ("{expr: qty +\n        lowr(qty)}", ["13:9 unknown-function"]),
        ("{expr: éé + lowr(qty)}", ["12:26 unknown-function"]),
        ('{expr: "\\u00e9 + lowr(qty)"}', ["12:31 unknown-function"]),
        ("{object: {a: {array: [{expr: a.b}]}}}", ["12:43 expr-refused"]),
        ("{each: items, as: {x: {expr: a.b}}}", ["12:43 expr-refused"]),
        ("{expr: 5}", ["12:15 wrong-type"]),
        ("{expr: qty, tpye: number}", ["12:26 unknown-key"]),
        ("{expr: qty, decimal: ','}", ["12:26 bad-option"]),
    ],
)
def test_a_fault_is_placed_at_its_very_character_of_the_file(
    form: str, places: list[str], tmp_path: Path
) -> None:
    assert lints(mapping(tmp_path, form)) == places


def test_faults_of_where_and_when_have_their_places(tmp_path: Path) -> None:
    path = mapping(tmp_path, "{expr: qty}", where="where: qty = 5\n")
    text = path.read_text().replace("    userId", "    when: lowr(qty)\n    userId")
    path.write_text(text)
    assert lints(path) == ["5:12 expr-syntax", "8:11 unknown-function"]
    path.write_text(text.replace("qty = 5", "id + 'x'").replace("lowr(qty)", "1 + 1"))
    assert lints(path) == ["5:8 expr-type", "8:11 expr-type"]


def test_every_character_of_a_text_has_its_place_in_the_file() -> None:
    text = (
        'a: "x\\t\\u0041 \\"b\\" \\\n   c"\nb:\n'
        "  - 'it''s'\n  - >-\n    d e\n    f\n\n    g\nh: i  j\n"
    )
    found = parse_yaml(text, "m.yaml")
    lines = text.split("\n")
    for path, event in found.scalars.items():
        for offset, char in enumerate(event.value):
            place = found.inside(path, offset)
            if not char.isspace() and char not in "A\"'":
                assert lines[place.line - 1][place.column - 1] == char


def test_the_columns_of_an_expression_count_as_named(tmp_path: Path) -> None:
    where = 'where: status != "TEST" and col("First Name") is not None\n'
    found = load_mapping(mapping(tmp_path, "{expr: qty * price}", where=where))
    assert found.columns == {"id", "person", "at", "qty", "price", "status", "First Name"}
    assert found.document.where == 'status != "TEST" and col("First Name") is not None'


def test_an_old_mapping_keeps_its_fingerprint_and_a_condition_changes_it(tmp_path: Path) -> None:
    """Else every unfinished run would end with 13 after an update of this program."""
    simple = (
        "version: 1\nname: x\nsource: {path: a.csv}\nmessages: [{type: identify, userId: id}]\n"
    )
    path = tmp_path / "m.yaml"
    path.write_text(simple)
    plain = load_mapping(path).fingerprint
    assert plain == OLD
    path.write_text(simple + "where: id > '5'\n")
    filtered = load_mapping(path).fingerprint
    path.write_text(simple.replace("userId: id", "userId: id, when: id > '5'"))
    assert len({plain, filtered, load_mapping(path).fingerprint}) == 3


OLD: Final = "b238919f411509e5a19b782f9834754afb88f538cc55950355cb6f7984989400"
"""What version 0.1 made of this mapping, before there were expressions."""


def test_expressions_work_from_end_to_end_on_a_csv(cli: Cli) -> None:
    form = "{expr: number(qty) * number(price)}"
    path = mapping(cli.folder, form)
    more = """
      name: {expr: 'f"{col(''First Name'')}!"', type: text}
      when: {expr: at, type: date}
      big: {expr: "'yes' if number(qty) > 1 else 'no'", map: {"yes": true, "no": false}}
      none: {expr: "None", default: 5}
""".lstrip("\n")
    path.write_text(path.read_text().replace("guards:", more + "guards:"))
    done = cli("preview", path)
    assert done.code == 0, done.err
    message = json.loads(done.out.split("↓\n")[1])
    assert message["userId"] == "17850"
    assert message["timestamp"] == "2020-01-01T00:00:00.000Z"
    assert message["properties"] == {
        "total": 3,
        "name": "Ann!",
        "when": "2020-01-01",
        "big": True,
        "none": 5,
    }


def test_a_column_with_a_blank_in_its_name_is_meant_as_it_is_written_in_an_expression(
    cli: Cli,
) -> None:
    mapping(cli.folder, "{column: Unit_Price}", where="where: unit_price == '5' or True\n")
    source = cli.folder / "o.csv"
    source.write_text(source.read_text().replace("price", "unit price", 1))
    done = cli("check", "orders.yaml")
    assert done.code == 2
    assert (
        "has no column 'unit_price' [unknown-column]\n  fix: did you mean col(\"unit price\")?"
        in (done.err)
    )
    assert (
        "has no column 'Unit_Price' [unknown-column]\n  fix: did you mean 'unit price'?" in done.err
    )


def test_texts_that_are_computed_with_are_told_before_the_first_row(cli: Cli) -> None:
    path = mapping(cli.folder, '{expr: "qty * price"}', where="where: qtty > 5 or qty > 5\n")
    done = cli("check", "orders.yaml")
    assert done.code == 2
    assert "orders.yaml:5:8: o.csv has no column 'qtty' [unknown-column]\n" in done.err
    path.write_text(path.read_text().replace("qtty > 5 or ", ""))
    done = cli("check", "orders.yaml")
    assert done.code == 2
    assert done.err == (
        "orders.yaml:5:8: qty is text; write number(qty) [expr-type]\n"
        "  fix: write number(qty): '>' compares it with 5, which is integer\n"
        "orders.yaml:12:22: qty is text; write number(qty) [expr-type]\n"
        "  fix: write number(qty): '*' takes number\n"
        "orders.yaml:12:28: price is text; write number(price) [expr-type]\n"
        "  fix: write number(price): '*' takes number\n"
    )


def test_expressions_work_from_end_to_end_on_a_parquet_file(cli: Cli) -> None:
    items = pa.list_(pa.struct([("sku", pa.string()), ("n", pa.int32())]))
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "person": pa.array([17850.0, 17850.5], pa.float64()),
            "at": pa.array([1577836800000, None], pa.timestamp("ms", "UTC")),
            "qty": pa.array([3, 1], pa.int32()),
            "price": pa.array(["0.10", "2"], pa.string()).cast(pa.decimal128(8, 2)),
            "items": pa.array([[{"sku": "a", "n": 2}], []], items),
        }
    )
    pq.write_table(table, cli.folder / "o.parquet")
    form = "{each: items, as: {sku: {expr: upper(sku)}, n: {expr: n * 2}}}"
    path = mapping(cli.folder, form, path="o.parquet")
    text = path.read_text().replace("guards:", "      cost: {expr: qty * price}\nguards:")
    path.write_text(text.replace("'timestamp(at, timezone=\"UTC\")'", "at"))
    done = cli("preview", path)
    assert done.code == 0, done.err
    message = json.loads(done.out.split("↓\n")[1].split("\n  }\n")[0] + "}")
    assert message["userId"] == "17850"
    assert message["properties"] == {"total": [{"sku": "A", "n": 4}], "cost": 0.3}
    assert "person: '17850.5' is not an integer" in done.out
    path.write_text(path.read_text().replace("upper(sku)", "upper(skuu) + n"))
    done = cli("check", path)
    assert done.code == 2
    assert "12:51: the items of 'items' have no field 'skuu' [unknown-column]\n" in done.err
    assert "12:59: n is integer; write text(n) [expr-type]\n" in done.err


def test_a_float_that_an_expression_gives_is_no_id(cli: Cli) -> None:
    path = mapping(cli.folder, "{expr: qty}")
    path.write_text(path.read_text().replace("text(integer(person))", "number(person) / 1"))
    done = cli("check", path)
    assert done.code == 3
    assert "person: the id '17850' is a float, so its digits cannot be trusted" in done.out


def test_the_schema_that_editors_use_knows_expressions(cli: Cli) -> None:
    schema = json.loads(cli("schema").out)
    assert "expr" in schema["$defs"]["ExprForm"]["properties"]
    assert "where" in schema["properties"]
    assert "when" in schema["$defs"]["TrackMessage"]["properties"]
