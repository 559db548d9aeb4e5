"""Ids and emails that do not agree, and events of nobody, are found as a plain dict finds them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import NOW_MS, plan_for

from backfill import people as module
from backfill.folder import Folder
from backfill.people import Clashes, People, Table, clashes, hashed, lowered
from backfill.survey import survey

if TYPE_CHECKING:
    from pathlib import Path

IDS = st.sampled_from(["", "1", "2", "3", "a", "b"])
EMAILS = st.sampled_from(["", "x@y.z", " X@y.Z ", "q@y.z", "Ä@y.z", "ä@Y.z", "r@y.z"])
Files = dict[str, tuple[str, list[dict[str, Any]]]]
ROWS = st.lists(st.tuples(IDS, EMAILS), max_size=30)


def plainly(pairs: list[tuple[str, str]]) -> tuple[dict[str, list[int]], int]:
    """Return the first few rows of each key with several partners, and how many these are."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row, (key, partner) in enumerate(pairs):
        if key and partner:
            found[key].setdefault(partner, row)
    several = {key: [*rows.values()] for key, rows in found.items() if len(rows) > 1}
    return several, len(several)


def told(pairs: list[tuple[str, str]]) -> Clashes:
    """Return what is told of them."""
    several, count = plainly(pairs)
    first = sorted(several.values())[:3]
    return Clashes(count, [rows[:3] for rows in first])


@pytest.mark.parametrize("tidy_rows", [1, 7, 1 << 21])
@given(parts=st.lists(ROWS, max_size=4))
def test_clashes_are_those_of_a_plain_dict(
    tidy_rows: int, parts: list[list[tuple[str, str]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TIDY_ROWS", tidy_rows)
        people, base = People(), 0
        for part in parts:
            if part:
                ids, emails = (pa.array(column, pa.string()) for column in zip(*part, strict=True))
                places = np.arange(base, base + len(part))
                known = hashed(ids) != 0
                people.pairs.add(hashed(ids)[known], hashed(lowered(emails))[known], places[known])
            base += len(part)
    rows = [(key, email.strip().lower()) for part in parts for key, email in part]
    assert people.ids_with_emails() == told(rows)
    assert people.emails_with_ids() == told([(email, key) for key, email in rows])


@given(st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), max_size=9), max_size=9))
def test_counts_of_one_person_are_summed_however_often_they_are_tidied(
    parts: list[list[tuple[int, int]]],
) -> None:
    table, sums, first = Table(is_summed=True), defaultdict[int, int](int), dict[int, int]()
    for at, part in enumerate(parts):
        for number, count in part:
            sums[number] += count
            first.setdefault(number, at)
        numbers = np.array([number for number, _ in part], np.uint64)
        counts = np.array([count for _, count in part], np.uint64)
        table.add(numbers, counts, np.full(len(part), at))
        if at % 2:
            table.tidy()
    columns = [column.tolist() for column in table.tidy()]
    found = {number: (count, at) for number, count, at in zip(*columns, strict=True)}
    assert found == {number: (sums[number], first[number]) for number in sums}


def test_a_million_pairs_take_twenty_bytes_each() -> None:
    table = Table()
    numbers = np.arange(1, 1_000_001, dtype=np.uint64)
    table.add(numbers, numbers, numbers.astype(np.int64))
    assert sum(column.nbytes for column in table.tidy()) == 20_000_000
    assert clashes(numbers, numbers.astype(np.uint32)) == Clashes(0, [])


def looked(folder: Path, files: Files) -> Folder:
    """Survey several streams, in this order."""
    found = Folder()
    for name, (csv, messages) in files.items():
        (folder / f"{name}.csv").write_text(csv)
        document = {
            "version": 1,
            "name": name,
            "source": {"path": f"{name}.csv"},
            "messages": messages,
        }
        survey(plan_for(document, folder, now_ms=NOW_MS), limit=None, folder=found)
    return found


PEOPLE = [{"type": "identify", "userId": "id", "traits": {"email": "email"}}]
AT = {"const": "2020-01-01T00:00:00Z"}
ORDERS = [{"type": "track", "userId": "person", "event": {"const": "Bought"}, "timestamp": AT}]
VIEWS = [{"type": "page", "userId": "person", "timestamp": AT}]
MERGES = [{"type": "alias", "userId": "new", "previousId": "old"}]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(IDS, max_size=6),
    events=st.lists(IDS, max_size=12),
    is_first=st.booleans(),
)
def test_events_of_nobody_are_found_in_any_order_of_mappings(
    tmp_path: Path, people: list[str], events: list[str], *, is_first: bool
) -> None:
    files: Files = {
        "people": ("id,email\n" + "".join(f"{one},\n" for one in people), PEOPLE),
        "orders": ("person,n\n" + "".join(f"{one},1\n" for one in events), ORDERS),
    }
    found = looked(tmp_path, dict(sorted(files.items(), reverse=is_first)))
    strange = [one for one in events if one and one not in people]
    strangers = found.people.strangers()
    assert sum(one.events for one in strangers) == len(strange)
    assert sum(one.people for one in strangers) == len(set(strange))
    rows = [place for one in strangers for place in one.samples]
    shown = found.told(rows)
    assert [shown[place]["userId"] for place in rows] == list(dict.fromkeys(strange))[:3]
    assert [events[shown[place]["row"] - 2] for place in rows] == list(dict.fromkeys(strange))[:3]


def test_whom_an_alias_merges_is_no_stranger(tmp_path: Path) -> None:
    files: Files = {
        "views": ("person,n\nold1,1\nold2,1\nnobody,1\n", VIEWS),
        "merges": ("old,new\nold1,1\nold2,1\n", MERGES),
        "people": ("id,email\n1,a@b.c\n", PEOPLE),
    }
    strangers = looked(tmp_path, files).people.strangers()
    assert [(one.stream, one.events, one.people) for one in strangers] == [("views", 1, 1)]


def test_people_who_are_rejected_or_filtered_are_not_made(tmp_path: Path) -> None:
    checked = [
        {
            "type": "identify",
            "userId": "id",
            "when": "email != 'no'",
            "traits": {"email": {"column": "email", "check": "(@|^no$)"}},
        }
    ]
    files: Files = {
        "people": ("id,email\n1,a@b.c\n2,bad\n3,no\n", checked),
        "views": ("person,n\n1,1\n2,1\n3,1\n", VIEWS),
    }
    assert looked(tmp_path, files).people.strangers()[0].people == 2


def test_samples_are_the_rows_of_their_own_files(tmp_path: Path) -> None:
    more = "id,email\n" + "".join(f"{n},p{n}@b.c\n" for n in range(100))
    files = {
        "one": (more + "7,other@b.c\n", PEOPLE),
        "two": ("id,email\nx,X@b.c\n8, p9@B.c \n", PEOPLE),
        "three": ("id,email\nx,X@b.c\nx,y@b.c\n", PEOPLE),
    }
    found = looked(tmp_path, files)
    ids = found.people.ids_with_emails()
    assert ids.count == 3
    shown = [[found.told(rows)[row] for row in rows] for rows in ids.samples]
    assert [[(one["row"], one["userId"], one["email"]) for one in rows] for rows in shown] == [
        [(9, "7", "p7@b.c"), (102, "7", "other@b.c")],
        [(10, "8", "p8@b.c"), (3, "8", "p9@b.c")],
        [(2, "x", "x@b.c"), (3, "x", "y@b.c")],
    ]
    files_of = [[str(one["file"]).rpartition("/")[2] for one in rows] for rows in shown]
    assert files_of == [["one.csv"] * 2, ["one.csv", "two.csv"], ["two.csv", "three.csv"]]
    assert found.people.emails_with_ids().count == 1
