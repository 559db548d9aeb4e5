"""Random small mappings over random rows: the columns give what a reading row by row gives.

Value forms nested at random, options, expressions, `where`, `when` and `"*"`, all together; the
second opinion is `reference.py`, which lets Python itself evaluate the expressions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import Phase, event, example, given, settings
from hypothesis import strategies as st
from reference import build, starless
from test_evaluate import ROWS, TYPES, flags, numbers, texts
from test_transform import BLANKS, expect

GUARDS: Final = {"recent_events": "send"}
BARE: Final[dict[str, Any]] = dict.fromkeys(TYPES)
AT: Final = {"const": "2020-01-01T00:00:00Z"}
STARS: Final = st.sampled_from(
    [
        {"columns": "*"},
        {"columns": "t*", "strip": "t"},
        {"columns": ["i?", "d*"], "except": ["i1"]},
        {"columns": ["First Name", "b*"], "strip": "b"},
        {"columns": "*", "except": ["list", "t1", "f1"]},
    ]
)
SAFE: Final = st.sampled_from(
    [
        {},
        {"map": {"a": "b", "": "c", "1": 5}, "else": "keep"},
        {"map": {"a": None}, "else": {"const": [1]}},
        {"map": {"a": "x"}, "else": "omit"},
        {"split": "a"},
    ]
)
RISKY: Final = st.sampled_from(
    [
        {"type": "number"},
        {"type": "integer", "thousands": ","},
        {"type": "boolean"},
        {"map": {"a": "x"}},
        {"check": "^[a-z]*$"},
    ]
)
"""What rejects most rows, so it comes seldom: a row is to be compared, not only rejected."""

ON_TEXT: Final = st.integers(0, 9).flatmap(lambda n: RISKY if n == 9 else SAFE)
FILLINGS: Final = st.sampled_from(
    [{}, {"default": "d"}, {"default": [1]}, {"blank": "null"}, {"blank": "keep"}]
)
ON_FLAGS: Final = st.sampled_from([{}, {"type": "text"}, {"type": "boolean"}])


@st.composite
def leaves(draw: Any) -> Any:
    """A column, an expression or a constant, with options that fit it."""
    blank = draw(BLANKS if draw(st.integers(0, 9)) == 9 else FILLINGS)
    kind = draw(st.sampled_from(["name", "column", "column", "text", "number", "flag", "const"]))
    if kind == "name":
        return draw(st.sampled_from(sorted(TYPES)))
    if kind == "const":
        return {"const": draw(st.sampled_from([None, 1, "a", [1, None], {"k": "v"}]))}
    if kind == "column":
        column = draw(st.sampled_from(["t1", "t2", "digits", "First Name"]))
        return {"column": column, **draw(ON_TEXT), **blank}
    if kind == "text":
        return {"expr": draw(texts(1)), **draw(ON_TEXT), **blank}
    if kind == "number":
        return {"expr": draw(numbers(1)), **blank}
    return {"expr": draw(flags(1)), **draw(ON_FLAGS), **blank}


EMPTY: Final = st.sampled_from(["omit", "keep"])
NAMES: Final = st.sampled_from(["m0", "m1", "m 2", "m.3", 'm"4'])


def members(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Members of an object, some with a `"*"` among them."""
    plain = st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    return st.one_of(
        plain,
        plain,
        st.builds(lambda forms, star: {**forms, "*": star}, plain, STARS),
    )


FORMS: Final = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(lambda forms, how: {"object": forms, "empty": how}, members(inner), EMPTY),
        st.builds(
            lambda items, how: {"array": items, "empty": how},
            st.lists(inner, min_size=1, max_size=3),
            EMPTY,
        ),
    ),
    max_leaves=4,
)


@st.composite
def messages(draw: Any) -> dict[str, Any]:
    """A message for some of the rows."""
    ids = st.sampled_from(
        ["t1", {"expr": "concat('u', i2)"}, {"expr": "upper(t2)"}, {"const": "u"}]
    )
    made: dict[str, Any] = {"userId": draw(ids)}
    if draw(st.integers(0, 3)) == 3:
        made["when"] = draw(flags(1))
    if draw(st.booleans()):
        return {"type": "identify", **made, "traits": draw(members(FORMS))}
    seen = draw(st.sampled_from([{"const": "Seen"}, {"expr": "f'Seen {coalesce(i2, 0)}'"}]))
    made |= {"event": seen, "timestamp": AT, "context": draw(members(FORMS))}
    return {"type": "track", **made, "properties": draw(members(FORMS))}


@settings(max_examples=60, deadline=None, print_blob=True, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(messages(), min_size=1, max_size=3),
    st.integers(0, 3).flatmap(lambda n: flags(1) if n == 3 else st.none()),
    st.tuples(ROWS, ROWS, ROWS).map(lambda parts: [row for part in parts for row in part]),
)
@example(
    [{"type": "identify", "userId": {"const": "u"}, "when": "b1", "traits": {"m0": "t1"}}],
    "b2",
    [{**BARE, "b1": one, "b2": two, "t1": "x"} for one in (True, None) for two in (True, False)],
)
@example(
    [
        {
            "type": "identify",
            "userId": {"const": "u"},
            "traits": {"m0": {"array": ["t1"], "empty": how}, "m1": {"const": 1}},
        }
        for how in ("omit", "keep")
    ],
    None,
    [{**BARE, "t1": "x"}, BARE],
)
def test_any_mapping_gives_what_a_row_by_row_reading_gives(
    wanted: list[dict[str, Any]], where: str | None, rows: list[dict[str, Any]]
) -> None:
    document: dict[str, Any] = {"version": 1, "name": "t", "source": {"path": "t.parquet"}}
    document |= {"guards": GUARDS, "messages": wanted} | ({} if where is None else {"where": where})
    with tempfile.TemporaryDirectory() as name:
        schema = pa.schema(list(TYPES.items()))
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), Path(name) / "t.parquet")
        built = build(document, Path(name))
    event(f"rows sent: {min(len(built.messages), 5)}")
    plain = {**document, "messages": [starless(one, list(TYPES)) for one in wanted]}
    expect(built, plain, rows)
