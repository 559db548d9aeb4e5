"""`preview` beside the row: why a row is not sent, groups whole, and each member's own line."""

from __future__ import annotations

import json
import os
import pty
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.cli.layout import lines_of
from backfill.mapping import load_mapping
from backfill.mapping.origin import Origins

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli

LINES = """\
order,person,sku,price,at,status,prop_a
1,p,s,1.50,2020-01-01T00:00:00Z,ok,x
1,p,t,2.25,2020-01-01T00:00:00Z,ok,x
2,q,s,1,2020-01-01T00:00:00Z,test,x
3,q,s,1,2020-01-01T00:00:00Z,ok,x
3,q,t,bad,2020-01-01T00:00:00Z,ok,x
4,,s,4,2999-01-01T00:00:00Z,ok,
5,z,s,0,2020-01-01T00:00:00Z,ok,
"""
MAPPING = """\
version: 1
source: {path: lines.csv}
rows: {group_by: [order]}
where: status != "test"
messages:
  - type: track
    when: person != "z"
    userId: person
    event: {const: Order Completed}
    timestamp: at
    properties:
      total: {agg: sum, column: price}
      products: {each_row: {sku: sku}}
      shop: {const: {name: "7", open: true}}
      "*": {columns: "prop_*", strip: prop_}
guards: {future: send}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lines.csv").write_text(LINES)
    (tmp_path / "lines.yaml").write_text(MAPPING)
    return tmp_path


EXPLAINED = """\
lines.csv:2
  order = 1
  person = p
  sku = s
  price = 1.50
  at = 2020-01-01T00:00:00Z
  status = ok
  prop_a = x
  ↓
  {
    "type": "track",  ← lines.yaml:6:5  type: track
    "userId": "p",  ← lines.yaml:8:5  userId: person
    "event": "Order Completed",  ← lines.yaml:9:5  event: {const: Order Completed}
    "timestamp": "2020-01-01T00:00:00.000Z",  ← lines.yaml:10:5  timestamp: at
    "properties": {  ← lines.yaml:11:5  properties: …
      "total": 3.75,  ← lines.yaml:12:7  total: {agg: sum, column: price}
      "products": [  ← lines.yaml:13:7  products: {each_row: {sku: sku}}
        {
          "sku": "s"  ← lines.yaml:13:29  sku: sku
        },
        {
          "sku": "t"  ← lines.yaml:13:29  sku: sku
        }
      ],
      "shop": {  ← lines.yaml:14:7  shop: {const: {name: "7", open: true}}
        "name": "7",  ← lines.yaml:14:22  name: "7"
        "open": true  ← lines.yaml:14:33  open: true
      },
      "a": "x"  ← lines.yaml:15:7  "*": {columns: prop_*, strip: prop_}, here prop_a
    },
    "messageId": "ID"  ← lines.yaml:3:8  group_by: [order]
  }
lines.csv:3
"""


@pytest.mark.usefixtures("folder")
def test_explain_tells_the_line_of_each_member(cli: Cli) -> None:
    done = cli("preview", "lines.yaml", "-n", "1", "--explain")
    message = json.loads(cli("preview", "lines.yaml", "-n", "1", "--json").out)["rows"][0]
    text = done.out.replace(message["messages"][0]["messageId"], "ID")
    assert text[: len(EXPLAINED)] == EXPLAINED
    assert text.endswith("  goes with row 2\n")


@pytest.mark.usefixtures("folder")
def test_preview_says_of_each_row_what_becomes_of_it(cli: Cli) -> None:
    done = cli("preview", "lines.yaml", "-n", "9")
    assert [
        line for line in done.out.splitlines() if " = " not in line and line[2:3] not in "{} ↓"
    ] == [
        "lines.csv:2",
        "lines.csv:3",
        "  goes with row 2",
        "lines.csv:4",
        '  filtered: where: status != "test"',
        "lines.csv:5",
        (
            "  rejected: another row of its group was rejected, and a group is sent whole;"
            " correct that row"
        ),
        "lines.csv:6",
        (
            "  rejected: price: 'bad' is not a number; correct the cell, or set decimal: and"
            " thousands: for this column"
        ),
        "lines.csv:7",
        '  filtered: when: person != "z"',
        "lines.csv:8",
        '  filtered: when: person != "z"',
    ]
    rows = cli("preview", "lines.yaml", "-n", "9", "--json").report["rows"]
    outcomes = ["sent", "grouped", "filtered", "rejected", "rejected", "filtered", "filtered"]
    assert [row["outcome"] for row in rows] == outcomes
    assert rows[1]["with_row"] == 2
    assert rows[2]["reason"] == 'where: status != "test"'


def test_a_held_row_says_held(cli: Cli, folder: Path) -> None:
    lines = (folder / "lines.csv").read_text().replace("4,,s", "4,r,s")
    (folder / "lines.csv").write_text(lines)
    shown = cli("preview", "lines.yaml", "--row", "7", "-n", "1")
    assert shown.out.splitlines()[-1] == (
        "  held: at: the event of '2999-01-01T00:00:00Z' is newer than 72 hours and could start"
        " campaigns; decide with guards: {recent_events: send} or hold"
    )
    sent = cli("preview", "lines.yaml", "--row", "7", "-n", "1", "--recent-events", "send")
    assert '"userId": "r"' in sent.out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("row", "rows"), [(3, [2, 3]), (2, [2, 3]), (6, [5, 6]), (8, [8])])
def test_a_row_inside_a_group_brings_its_whole_group(cli: Cli, row: int, rows: list[int]) -> None:
    shown = cli("preview", "lines.yaml", "--row", row, "-n", "1", "--json").report["rows"]
    assert [one["row"] for one in shown] == rows


@pytest.mark.usefixtures("folder")
def test_the_origins_are_told_to_programs_too(cli: Cli) -> None:
    done = cli("preview", "lines.yaml", "-n", "1", "--explain", "--json")
    origins = done.report["rows"][0]["origins"][0]
    by_member = {".".join(map(str, one["member"])): one for one in origins}
    assert by_member["properties.products.1.sku"] == {
        "member": ["properties", "products", 1, "sku"],
        "at": "lines.yaml:13:29",
        "mapping": "sku: sku",
    }
    assert "origins" not in cli("preview", "lines.yaml", "--json").report["rows"][0]


def test_every_member_of_every_form_has_an_origin(tmp_path: Path) -> None:
    """Whatever is in a message, its nearest explained member stands on a line that says its key."""
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nsource: {path: a.csv}\nkey: [a, b]\nmessages:\n  - type: page\n"
        "    userId: a\n"
        "    timestamp: now\n    category: k\n    properties:\n"
        "      n: {object: {o: {array: [b, c]}}}\n"
        "      l: {each: items, as: {x: y, z: {object: {w: v}}}}\n      s: {each: items, as: x}\n"
        '      j: {json: c}\n      e: {expr: "upper(a)"}\n    context: {ip: d}\n'
        "    integrations: {const: {All: [true, 1.5]}}\n"
    )
    message = {
        "type": "page",
        "userId": "1",
        "context": {"ip": "::1"},
        "integrations": {"All": [True, 1.5]},
        "properties": {
            "category": "k",
            "n": {"o": ["1", "2"]},
            "l": [{"x": 1, "z": {"w": 2}}, {"x": 3}],
            "s": [1],
            "j": {"deep": [1]},
            "e": "A",
        },
        "messageId": "0",
    }
    found = Origins(load_mapping(path)).of(0, message)
    told = {".".join(map(str, member)): one for member, one in found.items()}
    lines = path.read_text().splitlines()
    words = {at: (one.place.line, one.words) for at, one in told.items()}
    assert words["properties.category"] == (8, "category: k")
    assert words["properties.n.o.1"] == (10, "array: c")
    assert words["properties.l.0.z.w"] == (11, "w: v")
    assert words["properties.e"] == (14, "e: {expr: upper(a)}")
    assert words["integrations.All.1"][0] == 16
    assert words["messageId"] == (3, "key: [a, b]")
    assert "properties.j.deep" not in words
    for at, one in told.items():
        key = str(at.split(".")[-1])
        assert key.isdecimal() or key in lines[one.place.line - 1] or key == "messageId", at


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def at_path(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@given(value=JSON, is_ascii=st.booleans())
def test_a_message_on_lines_is_the_same_message(value: Any, *, is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, separators=(",", ":"))
    lines = lines_of(text)
    assert json.loads("\n".join(line.text for line in lines)) == value
    for line in lines[1:]:
        assert (line.member is None) == (line.text.strip(" ,") in "]}")
        if line.member is not None:
            at_path(value, line.member)


@pytest.mark.parametrize(("columns", "is_beside"), [(140, True), (100, False)])
def test_a_wide_terminal_has_the_row_and_the_messages_side_by_side(
    cli: Cli, folder: Path, columns: int, *, is_beside: bool
) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "backfill", "preview", "lines.yaml", "-n", "1"]
    env = {k: v for k, v in cli.environment().items() if k not in {"COLUMNS", "LINES"}}
    done = subprocess.Popen(command, cwd=folder, env={**env, "NO_COLOR": "1"}, stdout=theirs)
    os.close(theirs)
    told = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        told += part
    os.close(ours)
    assert done.wait(60) == 0
    lines = told.decode().splitlines()
    assert any("order = 1" in line and "↓" in line for line in lines) is is_beside
