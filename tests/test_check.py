"""`check` tells a folder's people and orders before anything is sent: real files, exact words."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from test_datasets import DATA, MAPPINGS, needs_data

from backfill.codes import Code, fix_of, without_fixes, words

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli

PEOPLE = """\
version: 1
source: {path: people.csv}
key: id
messages:
  - type: identify
    userId: id
    traits: {email: email, "*": {columns: "p_*", strip: p_}}
"""
ORDERS = """\
version: 1
source: {path: orders.csv}
after: [people]
key: order
where: status != "test"
messages:
  - type: track
    userId: person
    event: what
    timestamp: at
    properties: {total: {column: total, type: number}}
"""
PEOPLE_CSV = """\
id,email,p_plan,p_city
1,ann@example.com,pro,Rome
2,bob@example.com,free,Oslo
1,Ann@Example.com ,pro,Rome
1,ann@other.example,pro,Rome
3,BOB@example.com,free,Oslo
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder of two mappings, and their files; some orders are of the last hour."""
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "people.yaml").write_text(PEOPLE.replace("people.csv", "../people.csv"))
    (maps / "orders.yaml").write_text(ORDERS.replace("orders.csv", "../orders.csv"))
    (tmp_path / "people.csv").write_text(PEOPLE_CSV)
    hour_ago = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    rows = [
        "1,1,Bought,2020-01-02T03:04:05Z,1,ok",
        "2,9,Bought,2020-01-02T03:04:05Z,1.5,ok",
        "3,9,Bought,2020-01-02T03:04:05Z,2,ok",
        "4,2,Bought,2020-01-02T03:04:05Z,none,ok",
        "5,2,Bought,2020-01-02T03:04:05Z,nil,ok",
        "6,3,Bought,2020-01-02T03:04:05Z,1,test",
        f"7,3,Refunded,{hour_ago},1,ok",
        "8,2,Bought,2020-01-02T03:04:05Z,nix,ok",
        "9,2,Bought,2020-01-02T03:04:05Z,ten,ok",
    ]
    (tmp_path / "orders.csv").write_text("order,person,what,at,total,status\n" + "\n".join(rows))
    return tmp_path


TOLD = """\
people: 5 rows read
  would send 5 messages in 1 request, 706 bytes, about 1 s at 50 requests/s
  the longest message has 139 bytes: people.csv:5
  maps/people.yaml:7:28: '*' takes 2 columns: p_plan → plan, p_city → city
  no row would be rejected or held
orders: 9 rows read
  would send 3 messages in 1 request, 469 bytes, about 1 s at 50 requests/s
  the longest message has 153 bytes: orders.csv:3
  filtered 1: `where` or `when` leaves them out
  times from 2020-01-02T03:04:05.000Z to 2020-01-02T03:04:05.000Z
  1 event newer than 72 hours, which can start campaigns
            1 × Refunded
    they would be held: nothing is declared; decide with guards: {recent_events: send} or hold
  rejected 4:
            4 × number-unreadable in total
      orders.csv:5: total: 'none' is not a number
      orders.csv:6: total: 'nil' is not a number
      orders.csv:9: total: 'nix' is not a number
      fix: correct the cell, or set decimal: and thousands: for this column
  held 1:
            1 × recent-event in at
      orders.csv:8: at: the event of 'TIME' is newer than 72 hours and could start campaigns
      fix: decide with guards: {recent_events: send} or hold
in all: 8 messages in 2 requests, 1.2 kB, about 1 s: 5 identify, 3 track
people:
  1 id has several emails
    people.csv:2: '1' ann@example.com, people.csv:5: '1' ann@other.example
  1 email has several ids
    people.csv:3: '2' bob@example.com, people.csv:6: '3' bob@example.com
  2 events of people whom no identify creates
    orders: 2 events of 1 person
      orders.csv:3: '9'
"""


def test_check_of_a_folder_tells_it_all_in_these_words(cli: Cli, folder: Path) -> None:
    done = cli("check", "maps")
    time = (folder / "orders.csv").read_text().split("Refunded,")[1].split(",")[0]
    assert done.out.replace(time, "TIME").replace("maps/../", "") == TOLD
    assert (done.code, done.err) == (3, "")


@pytest.mark.usefixtures("folder")
def test_check_tells_programs_the_same_under_stable_keys(cli: Cli) -> None:
    done = cli("check", "maps", "--json")
    people, orders = done.report["streams"]
    assert people["would_send"]["by_type"] == {"identify": 5}
    assert people["would_send"]["longest_message"]["row"] == 5
    assert people["would_send"]["seconds"] == 1 / 50
    assert people["starred"] == [
        {"at": "maps/people.yaml:7:28", "members": {"plan": "p_plan", "city": "p_city"}}
    ]
    assert orders["rows"]["filtered"] == 1
    assert orders["recent_events"] == {
        "guard": "undeclared",
        "rate": 50.0,
        "at_start": 1,
        "when_sent": 1,
        "by_event": [{"event": "Refunded", "at_start": 1, "when_sent": 1}],
        "ahead": {"at_start": 0, "when_sent": 0},
    }
    first = orders["causes"][0]
    assert (first["code"], first["bucket"], first["count"]) == ("number-unreadable", "rejected", 4)
    assert first["fix"] == "correct the cell, or set decimal: and thousands: for this column"
    assert first["samples"][0]["reason"] == "total: 'none' is not a number"
    assert done.report["would_send"] == {
        "messages": 8,
        "requests": 2,
        "bytes": 706 + 469,
        "by_type": {"identify": 5, "track": 3},
        "seconds": 2 / 50,
    }
    told = done.report["people"]
    assert told["identify_messages"] == 5
    assert told["ids_with_several_emails"]["count"] == 1
    assert [one["row"] for one in told["ids_with_several_emails"]["samples"][0]] == [2, 5]
    assert told["emails_with_several_ids"]["count"] == 1
    nobody = told["events_of_nobody"]
    assert (nobody["is_looked_for"], nobody["why_not"], nobody["events"]) == (True, None, 2)
    assert nobody["streams"][0]["samples"][0]["userId"] == "9"


@needs_data
def test_the_orders_of_real_people_who_are_left_out_are_those_a_plain_reading_finds(
    cli: Cli, tmp_path: Path
) -> None:
    """Only the first 40 customers are in the file, but the orders of all of them are."""
    chinook = DATA / "datasets/chinook"
    lines = (chinook / "Customer.csv").read_text(encoding="utf-8-sig").splitlines(keepends=True)
    (tmp_path / "Customer.csv").write_text("".join(lines[:41]), encoding="utf-8")
    for name in ("chinook_customer", "chinook_invoice"):
        text = (MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8")
        for source in ("Customer.csv", "Invoice.csv"):
            here = tmp_path if source == "Customer.csv" else chinook
            text = text.replace(
                f"../../../shared/data/datasets/chinook/{source}", f"{here}/{source}"
            )
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    with (tmp_path / "Customer.csv").open(encoding="utf-8", newline="") as file:
        known = {row["CustomerId"] for row in csv.DictReader(file)}
    with (chinook / "Invoice.csv").open(encoding="utf-8-sig", newline="") as file:
        strange = [row["CustomerId"] for row in csv.DictReader(file)]
    strange = [one for one in strange if one not in known]
    done = cli("check", "chinook_invoice.yaml", "chinook_customer.yaml", "--json")
    nobody = done.report["people"]["events_of_nobody"]
    assert len(known) == 40
    assert nobody["events"] == len(strange) > 100
    told = nobody["streams"][0]
    assert (told["stream"], told["people"]) == ("chinook_invoice", len(set(strange)))
    assert [one["userId"] for one in told["samples"]] == list(dict.fromkeys(strange))[:3]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ["maps/orders.yaml"],
            "since no identify is among these mappings; check them all together",
        ),
        (["maps", "--limit", "2"], "since --limit leaves people out"),
    ],
)
def test_check_says_why_events_of_nobody_were_not_looked_for(
    cli: Cli, arguments: list[str], why: str
) -> None:
    done = cli("check", *arguments)
    line = f"  events of people whom no identify creates: not looked for, {why}"
    assert line in done.out.splitlines()
    nobody = cli("check", *arguments, "--json").report["people"]["events_of_nobody"]
    assert (nobody["is_looked_for"], nobody["why_not"]) == (False, why)


def test_check_at_a_slow_rate_tells_what_is_recent_when_it_is_sent(cli: Cli, folder: Path) -> None:
    ago = f"{datetime.now(UTC) - timedelta(hours=71):%Y-%m-%dT%H:%M:%SZ}"
    rows = "".join(f"{n},1,Bought,{ago},1,ok\n" for n in range(4))
    (folder / "orders.csv").write_text("order,person,what,at,total,status\n" + rows)
    slow = ("--batch-messages", "1", "--rate", "0.0005", "--recent-events", "send")
    done = cli("check", "maps/orders.yaml", *slow)
    lines = done.out.splitlines()
    at = lines.index(
        "  4 events newer than 72 hours, which can start campaigns at the start,"
        " 2 when sent at 0.0005 requests/s"
    )
    assert lines[at + 1 : at + 3] == [
        "            4 × Bought (2 when sent)",
        "    they would be sent, as guards: {recent_events: send} says",
    ]
    assert "about 2.2 h at 0.0005 requests/s" in lines[1]
    later = cli("check", "maps", *slow, "--json").report["streams"][1]["recent_events"]
    assert (later["at_start"], later["when_sent"]) == (4, 0), "five people go before"


@pytest.mark.parametrize("code", Code)
def test_a_reason_without_its_fix_says_what_is_wrong_and_no_more(code: Code) -> None:
    whole = words(code, "a; b | c")
    bare = without_fixes(f"col: {whole}")
    assert whole.startswith(bare.removeprefix("col: "))
    assert len(whole) > len(bare.removeprefix("col: "))
    both = without_fixes(f"col: {whole} | other: {words(Code.KEY_BLANK, None)}")
    assert both == f"{bare} | other: the key is blank"
    assert "{" not in fix_of(code).replace("{", "", fix_of(code).count("}"))


def test_two_samples_of_one_cell_are_not_cut_at_its_own_semicolon() -> None:
    cell = "x; correct the cell or not"
    assert without_fixes(words(Code.NUMBER_UNREADABLE, cell)) == f"{cell!r} is not a number"
