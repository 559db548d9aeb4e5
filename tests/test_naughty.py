"""Every naughty string arrives as it is wherever a text may stand, or is told for a stated reason.

The Big List of Naughty Strings, as id, key, value, event, name of a column, and in the mapping.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from reference import build, written
from test_encode import csv_cell

from backfill.errors import MappingError
from backfill.spec import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger import Ledger
    from reference import Built

LIST: Final = ROOT.parent / "shared" / "data" / "strings" / "blns.json"
pytestmark = pytest.mark.skipif(
    not LIST.is_file(), reason=f"the shared data is not on this machine ({LIST})"
)
WORDS: Final = list(dict.fromkeys(json.loads(LIST.read_text("utf-8")))) if LIST.is_file() else []
FORMATS: Final = ["csv", "parquet", "jsonl"]
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
AT: Final = {"const": "2020-01-01T00:00:00Z"}


def size(text: str) -> int:
    """Bytes as they are sent."""
    return len(text.encode())


KEYS: Final = [word for word in WORDS if len(json.dumps(word)) < 1_000]
"""A key of YAML that stands on one line has at most 1,024 characters."""

NAMES: Final = [word for word in WORDS if 0 < size(word) <= LIMITS.name and word != "id"]


def put(folder: Path, ending: str, rows: list[dict[str, str]]) -> str:
    """Write rows in a format; the name of the file."""
    path = folder / f"t.{ending}"
    if ending == "csv":
        cells = [list(rows[0]), *[list(row.values()) for row in rows]]
        text = "".join(",".join(map(csv_cell, line)) + "\n" for line in cells)
        path.write_text(text, encoding="utf-8", newline="")
    elif ending == "jsonl":
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8"
        )
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path.name


def made(folder: Path, ending: str, rows: list[dict[str, str]], *wanted: Any, **more: Any) -> Built:
    """What a mapping makes of rows in a format."""
    source = {"path": put(folder, ending, rows)}
    document = {"version": 1, "name": "t", "source": source, "messages": [*wanted], **more}
    return build(document, folder)


def test_the_list_is_whole() -> None:
    assert len(WORDS) > 450
    assert any("\u202e" in word or "\u202a" in word for word in WORDS)
    assert any(max(word, default="") > "\uffff" for word in WORDS), "beyond the first plane"


@pytest.mark.parametrize("ending", FORMATS)
def test_an_id_and_a_key_are_exact_or_told_with_the_reason(ending: str, tmp_path: Path) -> None:
    identify = {"type": "identify", "userId": "c"}
    found = made(tmp_path, ending, [{"c": word} for word in WORDS], identify, key="c")
    assert found.rows == len(WORDS)
    ids: dict[str, str] = {}
    for row, word in enumerate(WORDS):
        if not word:
            assert found.codes[row] in {"id-missing", "key-blank"}
        elif size(word) > LIMITS.id:
            assert found.codes[row] == "id-too-long"
        else:
            (message,) = found.messages[row]
            assert message["userId"] == word
            ids[message["messageId"]] = word
    assert len(ids) == sum(0 < size(word) <= LIMITS.id for word in WORDS), "keys are told apart"


@pytest.mark.parametrize("ending", FORMATS)
def test_a_value_is_exact_or_told_with_the_reason(ending: str, tmp_path: Path) -> None:
    """Bare, typed as text, and through expressions that change nothing."""
    forms: dict[str, Any] = {
        "bare": "c",
        "text": {"column": "c", "type": "text"},
        "kept": {"column": "c", "map": {"\0": "x"}, "else": "keep"},
        "expr": {"expr": "c"},
        "joined": {"expr": 'f"{c}"'},
        "case": {"expr": 'c if c != "\\0" else None'},
        "replaced": {"expr": 'replace(c, "\\0", "x")'},
        "inside": {"object": {"a": {"array": ["c"]}}},
    }
    identify = {"type": "identify", "userId": {"const": "u"}, "traits": forms}
    found = made(tmp_path, ending, [{"c": word} for word in WORDS], identify)
    for row, word in enumerate(WORDS):
        if size(word) > LIMITS.value:
            assert found.codes[row] == "value-too-long"
            continue
        (message,) = found.messages[row]
        if not word and ending == "csv":
            assert "traits" not in message
            continue
        whole = {**dict.fromkeys(forms, word), "inside": {"a": [word]}}
        assert message["traits"] == whole


@pytest.mark.parametrize("ending", FORMATS)
def test_an_event_keeps_all_but_the_blanks_around_it(ending: str, tmp_path: Path) -> None:
    event = {"type": "track", "userId": {"const": "u"}, "event": "c", "timestamp": AT}
    found = made(tmp_path, ending, [{"c": word} for word in WORDS], event)
    for row, word in enumerate(WORDS):
        if row in found.codes:
            stripped = word.strip()
            reason = "event-missing" if not stripped else "event-too-long"
            assert found.codes[row] == reason, word
            assert not stripped or size(stripped) > LIMITS.event
            continue
        (message,) = found.messages[row]
        before, _, after = word.partition(message["event"])
        assert message["event"]
        assert not (before + after).strip(), word


WAYS: Final[dict[str, Callable[[str], Any]]] = {
    "name": lambda name: name,
    "column": lambda name: {"column": name, "type": "text"},
    "col": lambda name: {"expr": f"col({name!r})"},
    "coalesce": lambda name: {"expr": f"coalesce(None, col({name!a}))"},
}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("way", [*WAYS, "*"])
def test_a_column_of_any_name_is_found_and_its_member_has_the_name(
    way: str, ending: str, tmp_path: Path
) -> None:
    row = {"id": "u", **{name: f"v{at}" for at, name in enumerate(NAMES)}}
    star = {"*": {"columns": "*"}}
    members = star if way == "*" else {name: WAYS[way](name) for name in NAMES}
    event = {"type": "track", "userId": "id", "event": {"const": "Seen"}, "timestamp": AT}
    found = made(tmp_path, ending, [row], {**event, "properties": members})
    (message,) = found.messages[0]
    assert message["properties"] == {name: f"v{at}" for at, name in enumerate(NAMES)}
    if way != "*":
        assert [*message["properties"]] == NAMES


def test_a_name_that_no_member_may_have_is_told(tmp_path: Path) -> None:
    long = [word for word in KEYS if size(word) > LIMITS.name]
    assert len(long) > 5
    for name in ["", *long]:
        event = {"type": "track", "userId": "id", "event": {"const": "Seen"}, "timestamp": AT}
        with pytest.raises(MappingError, match=r"the name .* must have 1 to 150 bytes"):
            made(tmp_path, "csv", [{"id": "1"}], {**event, "properties": {name: "id"}})


def test_a_text_of_the_mapping_is_sent_as_it_is_written(tmp_path: Path) -> None:
    """As a constant, a default, both sides of a map, and the literal of an expression."""
    few = [word for word in KEYS if size(word) <= LIMITS.value]
    forms: dict[str, Any] = {}
    for at, word in enumerate(few):
        forms[f"const{at}"] = {"const": [word, {word: None}]}
        forms[f"map{at}"] = {"column": "c", "map": {"x": word}}
        forms[f"expr{at}"] = {"expr": f"col('c') + {word!r}"}
        forms[f"default{at}"] = {"column": "blank", "default": word}
    keys = sorted(forms, key=lambda key: size(few[int(key.strip(LETTERS))]))
    for at in range(0, len(keys), 100):  # the long ones would be too long for one message
        some = keys[at : at + 100]
        parts = [some] if size(few[int(some[-1].strip(LETTERS))]) < 100 else [[key] for key in some]
        for part in parts:
            identify = {"type": "identify", "userId": {"const": "u"}}
            traits = {key: forms[key] for key in part}
            found = made(tmp_path, "jsonl", [{"c": "x"}], {**identify, "traits": traits})
            assert found.codes == {}
            for key, sent in found.messages[0][0]["traits"].items():
                word = few[int(key.strip(LETTERS))]
                kinds = {"const": [word, {word: None}], "expr": f"x{word}"}
                assert sent == kinds.get(key.rstrip("0123456789"), word), key


def test_a_map_finds_every_text(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        "parquet",
        [{"c": word} for word in KEYS],
        {
            "type": "identify",
            "userId": {"const": "u"},
            "traits": {"n": {"column": "c", "map": {word: at for at, word in enumerate(KEYS)}}},
        },
    )
    sent = [found.messages[row][0]["traits"]["n"] for row in range(found.rows)]
    assert sent == [*range(len(KEYS))]


def test_what_arrives_over_http_is_what_was_in_the_file(
    tmp_path: Path, door: Callable[..., dict[str, Any]], ledger: Ledger
) -> None:
    few = [word for word in WORDS if 0 < size(word) <= LIMITS.id]
    source = {"path": put(tmp_path, "csv", [{"id": word} for word in few])}
    traits = {"c": "id", "x": {"expr": 'concat("<", id, ">")'}}
    identify = {"type": "identify", "userId": "id", "traits": traits}
    document = {"version": 1, "source": source, "messages": [identify]}
    report = door(written(document, tmp_path / "m.yaml"))
    assert report["rows"]["delivered"] == len(few)
    assert {one["userId"]: one["traits"] for one in ledger.kept} == {
        word: {"c": word, "x": f"<{word}>"} for word in few
    }
