"""Message ids are a pure function of what identifies a row: derived in another way, and pinned.

If a test of this file fails, ids have changed: every repeat of a message would be a new message.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import build

from backfill import identity

if TYPE_CHECKING:
    from pathlib import Path

    from reference import Built

MANY: Final = settings(max_examples=120, deadline=None, print_blob=True)
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID: Final = re.compile(f"[0-7][{CROCKFORD}]{{25}}")
TEXTS: Final = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.binary(max_size=80).map(lambda data: data.decode("latin-1")),
    st.text("a", max_size=40),
)


def base32(number: int, digits: int) -> str:
    """A number in Crockford's base 32, most significant digit first."""
    made = ""
    for _ in range(digits):
        number, digit = divmod(number, 32)
        made = CROCKFORD[digit] + made
    return made


def escaped(text: str) -> str:
    """A JSON string as the encoder writes it: only what must be escaped is."""
    return json.dumps(text, ensure_ascii=False)


def murmur(text: str) -> tuple[int, int]:
    """MurmurHash3_x64_128 with seed 0, by mmh3."""
    high, low = mmh3.hash64(text.encode(), seed=0, x64arch=True, signed=False)
    return high, low


def keyed_id(stream: str, index: int, keys: list[str], content: str | None = None) -> str:
    """By the docstring of `identity`, from its JSON text and MurmurHash3_x64_128 of mmh3."""
    text = f"[{json.dumps(stream)},{index},{','.join(map(escaped, keys))}"
    text += f",{content}]" if content is not None else "]"
    high, low = murmur(text)
    return base32((high << 64) | low, 26)


def unkeyed_id(stream: str, sha256: str, index: int, row: int) -> str:
    """By the docstring of `identity`: 78 bits of BLAKE2b, then the row in 10 digits."""
    text = json.dumps([stream, sha256, index], separators=(",", ":"))
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=10).digest(), "big")
    return base32(number >> 2, 16) + base32(row, 10)


# The hash


@MANY
@given(st.lists(TEXTS, max_size=8))
def test_the_hash_of_a_column_is_murmurhash3_of_each_text(texts: list[str]) -> None:
    padded = pa.array(["before", *texts, "after"], pa.string()).slice(1, len(texts))
    high, low = identity.murmur3(padded)
    found = list(zip(high.tolist(), low.tolist(), strict=True))
    assert found == [murmur(text) for text in texts]


@pytest.mark.parametrize("size", [*range(70), 1_000, 65_536])
def test_the_hash_is_right_at_every_length(size: int) -> None:
    text = "".join(chr(33 + n % 90) for n in range(size))
    high, low = identity.murmur3(pa.array(["", text, "é"]))
    assert (int(high[1]), int(low[1])) == murmur(text)


@MANY
@given(
    st.text(st.characters(codec="utf-8"), max_size=10),
    st.integers(0, 99),
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5),
    st.booleans(),
)
def test_a_keyed_id_is_the_hash_of_its_json_text(
    stream: str,
    index: int,
    rows: list[tuple[str, str]],
    has_content: bool,  # noqa: FBT001  hypothesis gives it
) -> None:
    keys = [pa.array([row[at] for row in rows], pa.string()) for at in (0, 1)]
    contents = [json.dumps({"a": row}) for row in rows] if has_content else None
    found = identity.keyed(stream, index, keys, pa.array(contents) if contents else None)
    for at, row in enumerate(rows):
        content = contents[at] if contents else None
        assert found[at].as_py() == keyed_id(stream, index, list(row), content)
        assert ULID.fullmatch(found[at].as_py())


@MANY
@given(st.lists(st.integers(0, 2**50 - 1), max_size=5), st.text(max_size=8), st.integers(0, 9))
def test_an_id_without_a_key_is_made_of_the_file_and_the_row(
    rows: list[int], stream: str, index: int
) -> None:
    sha256 = hashlib.sha256(stream.encode()).hexdigest()
    before = identity.prefix(stream, sha256, index)
    found = [before + row for row in identity.row_digits(np.array(rows, np.int64)).to_pylist()]
    assert found == [unkeyed_id(stream, sha256, index, row) for row in rows]
    assert all(map(ULID.fullmatch, found))


# Ids of whole rows

ROWS: Final = 'id,shop,at,total\n7,Z\u00fcrich,2020-01-01,12.30\n007,"a""\U0001f600",2020-01-02,5\n'
IDENTIFY: Final = {"type": "identify", "userId": "id", "traits": {"shop": "shop"}}
TRACK: Final = {
    "type": "track",
    "userId": "id",
    "event": {"const": "Bought"},
    "timestamp": {"column": "at", "timezone": "UTC"},
    "properties": {"total": {"column": "total", "type": "number"}},
}


def made(folder: Path, *messages: dict[str, Any], rows: str = ROWS, **more: Any) -> Built:
    (folder / "orders.csv").write_text(rows, encoding="utf-8")
    document = {"version": 1, "name": "orders", "source": {"path": "orders.csv"}, **more}
    return build({**document, "messages": [*messages]}, folder)


@pytest.mark.parametrize(
    ("messages", "key", "row", "index", "expected"),
    [
        pytest.param([TRACK], "id", 0, 0, "0KM36HC6CNHR0106HT756XA0KB", id="a keyed track"),
        pytest.param(
            [IDENTIFY],
            "id",
            0,
            0,
            "4XWWTSQ57QR5NY802CC6570ZD6",
            id="a keyed identify, with its content",
        ),
        pytest.param([TRACK], [], 1, 0, "3YECSYKFJSKJF4EZ0000000001", id="no key: file and row"),
        pytest.param(
            [TRACK], ["id", "shop"], 0, 0, "41AQAVRY33DYANM0PN6NAYBT55", id="a key of two columns"
        ),
        pytest.param(
            [TRACK], "shop", 1, 0, "3PD3YBQ9JXPYED0136CGX38FE4", id="a key with quotes and an emoji"
        ),
        pytest.param(
            [IDENTIFY, TRACK],
            "id",
            1,
            1,
            "58KXB8CFDHX76RF9H4KVQWVJRK",
            id="the second message of a row",
        ),
    ],
)
def test_golden_ids_never_change(
    messages: list[dict[str, Any]], key: Any, row: int, index: int, expected: str, tmp_path: Path
) -> None:
    found = made(tmp_path, *messages, key=key)
    assert found.ids(row)[index] == expected


def test_ids_are_derived_as_the_docstring_says(tmp_path: Path) -> None:
    """The content of an identify is its message without the id."""
    keyed = made(tmp_path, IDENTIFY, TRACK, key=["id", "shop"])
    for row, keys in enumerate([["7", "Zürich"], ["007", 'a"\U0001f600']]):
        identify, track = keyed.ids(row)
        content = keyed.texts[row].split(',"messageId"')[0].removeprefix(",") + "}"
        assert json.loads(content)["type"] == "identify"
        assert identify == keyed_id("orders", 0, keys, content)
        assert track == keyed_id("orders", 1, keys)
    unkeyed = made(tmp_path, IDENTIFY, TRACK)
    sha256 = hashlib.sha256((tmp_path / "orders.csv").read_bytes()).hexdigest()
    for row in (0, 1):
        assert unkeyed.ids(row) == [unkeyed_id("orders", sha256, n, row) for n in (0, 1)]


def test_an_update_is_a_new_message_and_an_event_is_one_event(tmp_path: Path) -> None:
    before = made(tmp_path, IDENTIFY, TRACK, key="id")
    after = made(tmp_path, IDENTIFY, TRACK, key="id", rows=ROWS.replace("Z\u00fcrich", "Bern"))
    assert after.ids(0)[0] != before.ids(0)[0]
    assert after.ids(0)[1] == before.ids(0)[1]
    assert after.ids(1) == before.ids(1)


def test_a_keyed_id_knows_neither_file_nor_place_nor_neighbours(tmp_path: Path) -> None:
    head, first, second, _ = ROWS.split("\n")
    turned = f"{head}\n{second}\nx,y,2020-01-03,1\n{first}\n"
    before = made(tmp_path, IDENTIFY, TRACK, key="id")
    after = made(tmp_path, IDENTIFY, TRACK, key="id", rows=turned)
    assert [after.ids(2), after.ids(0)] == [before.ids(0), before.ids(1)]


def test_keys_that_read_alike_joined_up_are_told_apart(tmp_path: Path) -> None:
    rows = 'a,b\nx,"y"",""z"\n"x"",""y",z\nxy,\n'
    track = {"type": "track", "userId": "a", "event": {"const": "E"}, "timestamp": "now"}
    found = made(tmp_path, track, rows=rows, key=["a", "b"], guards={"recent_events": "send"})
    assert len({found.ids(row)[0] for row in found.messages}) == len(found.messages) == 2
    assert found.codes == {2: "key-blank"}


def test_a_name_is_part_of_every_id(tmp_path: Path) -> None:
    ids = {made(tmp_path, TRACK, key="id", name=name).ids(0)[0] for name in ("a", "b", "orders")}
    assert len(ids) == 3


def test_a_mapped_message_id_is_text_and_stays_as_it_is(tmp_path: Path) -> None:
    found = made(tmp_path, {**TRACK, "messageId": "id"})
    assert [found.ids(0), found.ids(1)] == [["7"], ["007"]]


def test_a_blank_in_a_mapped_message_id_never_leaves_a_message_without_one(tmp_path: Path) -> None:
    """Sent without an id, a repeat would be another message."""
    rows = "id,mid,at,total\n1,m1,2020-01-01,5\n2,,2020-01-01,5\n"
    found = made(tmp_path, {**TRACK, "messageId": "mid"}, rows=rows)
    assert 1 in found.rejects or found.ids(1)[0]


# Lanes


@MANY
@given(st.lists(st.none() | TEXTS, max_size=20), st.integers(1, 16))
def test_one_id_always_travels_in_one_lane(ids: list[str | None], count: int) -> None:
    found = identity.lanes(pa.array(ids, pa.string()), count).tolist()
    again = identity.lanes(pa.array([*ids[::-1], "more"], pa.string()), count).tolist()
    lane = dict(zip(ids[::-1], again, strict=False))
    assert found == [lane[one] for one in ids]
    assert all(0 <= one < count for one in found)


def test_lanes_are_pinned_since_a_resume_must_find_the_same_ones() -> None:
    ids = [str(n) for n in range(1_000)]
    found = identity.lanes(pa.array(ids), 16)
    assert found.tolist() == [murmur(one)[0] % 16 for one in ids]
    assert np.bincount(found, minlength=16).min() > 30, "a lane has next to nothing to do"
