"""Every night: what each line of that part of the language promises, run after run."""

from __future__ import annotations

import errno
import hashlib
import json
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import KEY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger import Ledger, LedgerProcess, Reply, delivered
from test_crash import KINDS, OPTIONS, WINDOW, Kills, seed_of, write_events

import backfill
from backfill.errors import MappingError
from backfill.identity import murmur3
from backfill.known import journalled
from backfill.mapping import load_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conftest import Cli

    Door = Callable[..., dict[str, Any]]

PEOPLE = """\
version: 1
name: people
mode: changed
source: {path: people.csv}
key: id
messages:
  - type: identify
    userId: id
    traits: {plan: plan}
"""
SINCE = """\
version: 1
name: people
mode: since
source: {path: people.csv}
key: id
watermark: {column: at}
messages:
  - type: identify
    userId: id
    traits: {at: at}
"""
FILES = """\
version: 1
name: people
source: {path: "exports/*.csv", files: new}
key: id
messages:
  - type: identify
    userId: id
    traits: {plan: plan}
"""
EVENTS = """\
  - type: track
    userId: id
    event: {const: Seen}
    timestamp: {const: "2020-01-02T03:04:05Z"}
    properties: {plan: plan}
"""
RESTART = "or run with --restart to send all rows again"


@pytest.fixture
def night(tmp_path: Path, door: Door, ledger: Ledger) -> Night:
    return Night(tmp_path, door, ledger)


class Night:
    """One stream, night after night."""

    def __init__(self, folder: Path, door: Door, ledger: Ledger) -> None:
        self.folder = folder
        self.mapping = folder / "people.yaml"
        self.told: list[str] = []
        self._door = door
        self._ledger = ledger

    def write(self, text: str, name: str = "people.csv") -> None:
        """Write a file of the source."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def rows(self, rows: Iterable[str], header: str = "id,plan", name: str = "people.csv") -> None:
        """Write a file of the source, row by row."""
        self.write("\n".join([header, *rows]) + "\n", name)

    def run(self, mapping: str = PEOPLE, **options: Any) -> dict[str, Any]:
        """Run the stream once; what it sent since the last time is in `sent`."""
        self.mapping.write_text(mapping)
        self.told = []
        return self._door(self.mapping, tell=self.told.append, **options)

    @property
    def state(self) -> dict[str, Any]:
        """The checkpoint."""
        found: dict[str, Any] = json.loads(
            (self.folder / "state/people/checkpoint.json").read_bytes()
        )
        return found

    @property
    def sent(self) -> list[tuple[str, Any]]:
        """What was delivered since this was last asked: (userId, the one trait)."""
        found = [
            (m["userId"], next(iter((m.get("traits") or m.get("properties") or {}).values()), None))
            for m in self._ledger.kept
        ]
        self._ledger.arrivals.clear()
        return found


def counts(report: dict[str, Any]) -> dict[str, int]:
    assert "rows" in report, report
    return {name: count for name, count in report["rows"].items() if count}


# ---- mode: changed


def test_changed_sends_only_rows_whose_messages_differ_from_what_was_acknowledged(
    night: Night,
) -> None:
    night.rows(["1,a", "2,a", "3,a"])
    assert counts(night.run()) == {"read": 3, "delivered": 3}
    assert night.sent == [("1", "a"), ("2", "a"), ("3", "a")]
    night.rows(["3,a", "2,b", "1,a", "4,a"])
    assert counts(night.run()) == {"read": 4, "delivered": 2, "unchanged": 2}
    assert night.sent == [("2", "b"), ("4", "a")]
    night.rows(["4,a", "3,a", "2,b", "1,a"])
    assert counts(night.run()) == {"read": 4, "unchanged": 4}
    assert night.sent == []


def test_a_column_that_no_message_has_changes_nothing(night: Night) -> None:
    night.rows(["1,a,x", "2,a,x"], "id,plan,other")
    night.run()
    night.rows(["1,a,y", "2,a,z"], "id,plan,other")
    assert counts(night.run()) == {"read": 2, "unchanged": 2}


def test_a_finished_stream_whose_source_is_unchanged_has_nothing_to_do(night: Night) -> None:
    night.rows(["1,a"])
    night.run()
    assert night.sent
    report = night.run()
    assert (report["exit_code"], night.sent) == (0, [])
    assert report["note"].startswith("nothing new since ")


def test_each_night_is_a_run_of_its_own(night: Night) -> None:
    night.rows(["1,a"])
    first = night.run()
    night.rows(["1,b"])
    second = night.run()
    assert first["run_id"] != second["run_id"]
    assert (night.folder / "state/people/runs" / first["run_id"]).is_dir()
    assert second["resumed_from"] is None
    assert night.state["run_id"] == second["run_id"]


def test_a_change_that_is_taken_back_is_a_new_message(night: Night) -> None:
    """Or a destination that ignores repeats would keep what was taken back."""
    ids = []
    for plan in ("a", "b", "a", "b", "a"):
        night.rows([f"1,{plan}", "2,x"])
        night.run()
        ids += [m["messageId"] for m in night._ledger.kept if m["userId"] == "1"]  # noqa: SLF001
        night.sent  # noqa: B018  it forgets them
    assert len(set(ids)) == len(ids) == 5


def test_the_first_message_of_a_key_has_the_id_it_has_in_any_mode(night: Night) -> None:
    night.rows(["1,a"])
    night.run()
    night.run(PEOPLE.replace("mode: changed\n", ""), restart=True)
    assert len({m["messageId"] for m in night._ledger.kept}) == 1  # noqa: SLF001


def test_a_key_that_stands_twice_leaves_its_last_row_in_force(night: Night) -> None:
    night.rows(["1,a", "2,a"])
    night.run()
    assert len(night.sent) == 2
    night.rows(["1,b", "2,a", "1,a"])
    assert counts(night.run()) == {"read": 3, "delivered": 2, "unchanged": 1}
    assert night.sent == [("1", "b"), ("1", "a")], "the last one is as known, but not any more"
    night.rows(["1,a", "1,b", "1,b"])
    assert counts(night.run()) == {"read": 3, "delivered": 2, "unchanged": 1}
    assert night.sent == [("1", "b"), ("1", "b")]


def test_a_key_that_stands_twice_is_judged_the_same_after_an_interruption(night: Night) -> None:
    night.rows(["1,a", "2,a"])
    night.run()
    night.sent  # noqa: B018
    night.rows(["1,b", "2,a", "1,a"])
    night.run(limit=1)
    assert counts(night.run()) == {"read": 3, "delivered": 2, "unchanged": 1}
    assert night.sent == [("1", "b"), ("1", "a")]


def test_a_message_id_that_is_mapped_is_no_content(night: Night) -> None:
    mapping = PEOPLE.replace("userId: id", "userId: id\n    messageId: other")
    night.rows(["1,a,x"], "id,plan,other")
    night.run(mapping)
    night.rows(["1,a,y"], "id,plan,other")
    assert counts(night.run(mapping)) == {"read": 1, "unchanged": 1}


def test_a_row_that_was_rejected_held_or_refused_is_not_known(night: Night) -> None:
    mapping = PEOPLE.replace("plan: plan", "plan: {column: plan, type: integer}")
    night._ledger.answer = lambda body: Reply(400 if b'"plan":2' in body else 200)  # noqa: SLF001
    night.rows(["1,x", "2,2", "3,3"])
    assert counts(night.run(mapping)) == {"read": 3, "delivered": 1, "rejected": 2}
    night._ledger.answer = lambda _: Reply()  # noqa: SLF001
    night.sent  # noqa: B018
    night.rows(["1,x", "2,2", "3,3", "4,4"])
    assert counts(night.run(mapping)) == {
        "read": 4,
        "delivered": 2,
        "rejected": 1,
        "unchanged": 1,
    }
    assert [user for user, _ in night.sent] == ["2", "4"]


def test_a_retry_makes_known_what_it_delivers(night: Night, cli: Cli) -> None:
    mapping = PEOPLE.replace("plan: plan", "plan: {column: plan, type: integer}")
    night.rows(["1,1", "2,x", "3,y"])
    report = night.run(mapping)
    letters = Path(report["rejects"])
    letters.write_text(letters.read_text().replace("2,x", "2,2"))
    done = retried(night, cli)
    assert (done.code, counts(done.report)) == (3, {"read": 2, "delivered": 1, "rejected": 1})
    again = Path(cli.folder / done.report["rejects"])
    again.write_text(again.read_text().replace("3,y", "3,3"))
    assert retried(night, cli).code == 0
    night.sent  # noqa: B018
    night.rows(["1,1", "2,2", "3,3", "4,4"])
    assert counts(night.run(mapping, dry_run=True)) == {"read": 4, "pending": 1, "unchanged": 3}
    assert counts(night.run(mapping)) == {"read": 4, "delivered": 1, "unchanged": 3}
    night.rows(["1,1", "2,0", "3,3", "4,4"])
    assert counts(night.run(mapping)) == {"read": 4, "delivered": 1, "unchanged": 3}


def retried(night: Night, cli: Cli) -> Any:
    how = ["--to", night._ledger.url, "--state", "state", "--rate", "unlimited"]  # noqa: SLF001
    return cli("retry", "people.yaml", "--json", *how)


def test_a_retry_that_was_killed_is_known_all_the_same(night: Night, cli: Cli) -> None:
    """What it delivered stands in its journal, which the next run takes in."""
    mapping = PEOPLE.replace("plan: plan", "plan: {column: plan, type: integer}")
    night.rows(["1,1", "2,2", "3,y"])
    report = night.run(mapping)
    night.rows(["1,1", "2,2", "3,3"])
    letters = Path(report["rejects"])
    letters.write_text(letters.read_text().replace("3,y", "3,3"))
    checkpoint = night.folder / "state/people/checkpoint.json"
    before = checkpoint.read_bytes()
    assert retried(night, cli).code == 0
    checkpoint.write_bytes(before)  # as if it had not come so far
    assert counts(night.run(mapping)) == {"read": 3, "unchanged": 3}


def test_restart_forgets_what_is_known(night: Night) -> None:
    night.rows(["1,a", "2,a"])
    night.run()
    night.rows(["1,a", "2,b"])
    assert counts(night.run(restart=True)) == {"read": 2, "delivered": 2}
    night.rows(["1,a", "2,b", "3,c"])
    assert counts(night.run()) == {"read": 3, "delivered": 1, "unchanged": 2}


def test_a_dry_run_tells_what_a_run_would_send_and_leaves_all_as_it_was(night: Night) -> None:
    night.rows(["1,a", "2,a"])
    night.run()
    night.rows(["1,a", "2,b"])
    folder = night.folder / "state/people"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    night.sent  # noqa: B018
    assert counts(night.run(dry_run=True)) == {"read": 2, "pending": 1, "unchanged": 1}
    assert counts(night.run(dry_run=True, restart=True)) == {"read": 2, "pending": 2}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert night.sent == []


def test_a_limit_leaves_the_rest_for_the_next_run_which_goes_on(night: Night) -> None:
    night.rows(["1,a", "2,a", "3,a", "4,a"])
    night.run()
    night.rows(["1,b", "2,a", "3,b", "4,a"])
    assert counts(night.run(limit=2)) == {"read": 2, "delivered": 1, "unchanged": 1}
    assert counts(night.run()) == {"read": 4, "delivered": 2, "unchanged": 2}
    assert len(night.sent) == 4 + 2


def test_a_mapping_that_means_something_else_sends_what_differs_by_it_and_says_so(
    night: Night,
) -> None:
    night.rows(["1,a", "2,"])
    night.run()
    other = PEOPLE.replace("{plan: plan}", "{Plan: plan}")
    assert counts(night.run(other)) == {"read": 2, "delivered": 1, "unchanged": 1}
    told = "its meaning has changed since the last run: rows that differ by it are sent too"
    assert night.told == [f"{night.mapping}: {told}"]
    night.rows(["1,a", "2,", "3,c"])
    assert night.run(other)["exit_code"] == 0
    assert night.told == []


def test_an_unfinished_run_whose_mapping_changed_is_refused(night: Night) -> None:
    night.rows(["1,a", "2,a"])
    night.run(limit=1)
    for other in (PEOPLE.replace("plan: plan", "p: plan"), PEOPLE.replace("mode: changed\n", "")):
        report = night.run(other)
        assert report["exit_code"] == 13
        assert report["error"]["what"] == (
            "the run is not finished, and the meaning of its mapping has changed"
        )


def test_what_was_sent_in_another_mode_is_not_taken_for_known(night: Night) -> None:
    night.rows(["1,a"])
    night.run()
    night.rows(["1,b"])
    night.run(PEOPLE.replace("mode: changed", "mode: all"))
    night.rows(["1,a"])
    assert counts(night.run()) == {"read": 1, "delivered": 1}
    assert [plan for _, plan in night.sent] == ["a", "b", "a"]


def test_a_rehearsal_makes_nothing_known_to_the_real_destination(night: Night, cli: Cli) -> None:
    night.rows(["1,a"])
    night.mapping.write_text(PEOPLE)
    how = ["run", "people.yaml", "--state", "state", "--rate", "unlimited"]
    assert cli(*how, "--to", "sandbox").code == 0
    assert counts(night.run()) == {"read": 1, "delivered": 1}


def test_groups_of_rows_are_judged_whole(night: Night) -> None:
    mapping = PEOPLE.replace("key: id\n", "rows: {group_by: id}\n").replace(
        "plan: plan", "plans: {each_row: plan}"
    )
    night.rows(["1,a", "1,b", "2,a", "2,b"])
    assert counts(night.run(mapping)) == {"read": 4, "delivered": 4}
    night.rows(["1,a", "1,c", "2,a", "2,b"])
    assert counts(night.run(mapping)) == {"read": 4, "delivered": 2, "unchanged": 2}
    assert night.sent[-1] == ("1", ["a", "c"])


def test_events_keep_their_ids_and_that_is_said(night: Night, cli: Cli) -> None:
    mapping = PEOPLE + EVENTS
    night.rows(["1,a"])
    night.run(mapping)
    what = "events of a row that changes keep their message ids: they are taken for repeats"
    assert night.told == [f"{night.mapping}: {what}"]
    night.rows(["1,b"])
    night.run(mapping)
    assert night.told == []
    events = [m for m in night._ledger.kept if m["type"] == "track"]  # noqa: SLF001
    assert len(events) == 2
    assert len({m["messageId"] for m in events}) == 1
    done = cli("check", "people.yaml")
    assert (
        "  note: id: 1 rows have events, which keep their message ids when the row changes: the"
        " destination takes them for repeats\n"
    ) in done.out


# ---- what is known, damaged


def flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (lambda p: p.write_bytes(flip(p.read_bytes())), "its checksum does not match"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "it is cut short, or no such file"),
    "empty": (lambda p: p.write_bytes(b""), "it is cut short, or no such file"),
    "missing": (Path.unlink, "it is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_known_and_damaged_stops_the_next_run_with_the_ways_out(
    night: Night, name: str
) -> None:
    damage, words = DAMAGES[name]
    night.rows(["1,a", "2,a"])
    night.run()
    path = night.folder / "state/people/known" / night.state["known"]
    before = path.read_bytes()
    damage(path)
    night.rows(["1,a", "2,b"])
    night.sent  # noqa: B018
    for dry_run in (False, True):
        report = night.run(dry_run=dry_run)
        assert report == {
            "exit_code": 13,
            "error": {
                "what": f"what is known of the rows delivered before is damaged: {words}",
                "where": str(path),
                "fix": f"put it back as the run left it, {RESTART}",
            },
        }
    assert night.sent == []
    path.write_bytes(before)
    assert counts(night.run()) == {"read": 2, "delivered": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (DAMAGES["flipped"][0], "its checksum does not match"),
        (DAMAGES["cut"][0], "it is cut short"),
        (DAMAGES["missing"][0], "it is missing"),
    ],
    ids=["flipped", "cut", "missing"],
)
def test_a_damaged_journal_stops_a_resume_with_the_ways_out(
    night: Night, damage: Callable[[Path], object], words: str
) -> None:
    night.rows(["1,a", "2,a", "3,a"])
    night.run(limit=2)
    path = next((night.folder / "state/people/known").glob("*.journal"))
    before = path.read_bytes()
    damage(path)
    night.sent  # noqa: B018
    report = night.run()
    assert report["exit_code"] == 13
    assert report["error"]["what"].endswith(f"is damaged: {words}")
    assert report["error"]["where"] == str(path)
    assert night.sent == []
    path.write_bytes(before + b"torn")
    assert counts(night.run()) == {"read": 3, "delivered": 3}
    assert night.sent == [("3", "a")]


def test_use_previous_goes_on_with_what_was_known_then(night: Night) -> None:
    night.rows(["1,a", "2,a", "3,a"])
    night.run()
    night.rows(["1,b", "2,b", "3,a"])
    night.run(batch_messages=1, connections=1)
    night.sent  # noqa: B018
    (night.folder / "state/people/checkpoint.json").write_bytes(b"")
    assert night.run()["exit_code"] == 13
    report = night.run(use_previous=True)
    assert counts(report) == {"read": 3, "delivered": 2, "unchanged": 1}
    night.sent  # noqa: B018
    night.rows(["1,b", "2,b", "3,b"])
    assert counts(night.run()) == {"read": 3, "delivered": 1, "unchanged": 2}
    assert len(list((night.folder / "state/people/known").iterdir())) <= 4, "they do not pile up"


@pytest.mark.parametrize("step", ["backfill.memory.block_of", "backfill.memory.merge"])
def test_a_disk_that_is_full_stops_the_run_and_the_same_command_goes_on(
    night: Night, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    night.rows(["1,a", "2,a"])
    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        report = night.run()
    assert report["exit_code"] == 4
    assert report["error"]["what"] == "the state cannot be saved: No space left on device"
    assert counts(night.run()) == {"read": 2, "delivered": 2}
    assert len({user for user, _ in night.sent}) == 2
    night.rows(["1,a", "2,b"])
    assert counts(night.run()) == {"read": 2, "delivered": 1, "unchanged": 1}


def test_no_key_and_no_cell_can_be_read_out_of_what_is_kept(night: Night) -> None:
    night.rows(["canary-key,canary-cell"])
    night.run()
    folder = night.folder / "state/people"
    kept = [*(folder / "known").iterdir(), *folder.glob("checkpoint.json*")]
    assert len(kept) >= 4
    assert not [
        path
        for path in kept
        if b"canary" in path.read_bytes().replace(str(night.folder).encode(), b"")
    ]


# ---- mode: since


def at(*times: str) -> list[str]:
    return [f"{number},{when}" for number, when in enumerate(times, 1)]


def test_since_sends_only_rows_later_than_the_highest_settled_value(night: Night) -> None:
    night.rows(at("2020-01-01T00:00:00Z", "2020-01-03T00:00:00Z", "2020-01-02T00:00:00Z"), "id,at")
    assert counts(night.run(SINCE)) == {"read": 3, "delivered": 3}
    night.sent  # noqa: B018
    night.rows(
        at("2020-01-02T23:00:00Z", "2020-01-03T00:00:00Z", "2020-01-03T00:00:00.001Z"), "id,at"
    )
    assert counts(night.run(SINCE)) == {"read": 3, "delivered": 1, "unchanged": 2}
    assert [user for user, _ in night.sent] == ["3"]
    assert night.state["watermark"] == {
        "column": "at",
        "type": "time",
        "value": 1_578_009_600_001,
    }


@pytest.mark.parametrize(
    ("lag", "later"),
    [("0s", 1), ("90s", 2), ("30m", 3), ("2h", 4), ("1d", 5), ("1d 2h", 6), ("'0'", None)],
)
def test_rows_within_the_lag_are_sent_again(night: Night, lag: str, later: int | None) -> None:
    mapping = SINCE.replace("column: at", f"column: at, lag: {lag}")
    if later is None:
        assert night.run(mapping)["exit_code"] == 2
        return
    night.rows(at("2020-01-03T00:00:00Z"), "id,at")
    night.run(mapping)
    times = [
        "2020-01-01T22:00:00.001Z",
        "2020-01-02T00:00:00.001Z",
        "2020-01-02T22:00:00.001Z",
        "2020-01-02T23:30:00.001Z",
        "2020-01-02T23:58:30.001Z",
        "2020-01-03T00:00:00.001Z",
        "2020-01-01T22:00:00.000Z",
    ]
    night.rows(at(*times), "id,at")
    report = counts(night.run(mapping))
    assert (report["delivered"], report["unchanged"]) == (later, 7 - later)


def test_the_watermark_moves_only_when_all_rows_of_the_run_are_settled(night: Night) -> None:
    night.rows(at("2020-01-05T00:00:00Z", "2020-01-01T00:00:00Z"), "id,at")
    night.run(SINCE, limit=1)
    assert night.state["watermark"] == {}
    assert counts(night.run(SINCE)) == {"read": 2, "delivered": 2}
    assert night.state["watermark"]["value"] == 1_578_182_400_000
    night.rows(at("2020-01-06T00:00:00Z", "2020-01-05T12:00:00Z"), "id,at")
    night.run(SINCE, limit=1)
    assert night.state["watermark"]["value"] == 1_578_182_400_000
    assert counts(night.run(SINCE)) == {"read": 2, "delivered": 2}, "the second row is not late"


def test_an_unchanged_source_sends_nothing_not_even_what_is_within_the_lag(night: Night) -> None:
    mapping = SINCE.replace("column: at", "column: at, lag: 2h")
    night.rows(at("2020-01-01T00:00:00Z"), "id,at")
    night.run(mapping)
    night.sent  # noqa: B018
    assert night.run(mapping)["note"].startswith("nothing new since")
    assert night.sent == []


def test_a_watermark_that_is_blank_unreadable_or_in_the_future_rejects_its_row(
    night: Night, cli: Cli
) -> None:
    night.rows(
        at("", "soon", "2020-01-01", "9999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"), "id,at"
    )
    report = night.run(SINCE)
    assert counts(report) == {"read": 5, "delivered": 1, "rejected": 4}
    lines = Path(report["rejects"]).read_text().splitlines()[1:]
    assert [line.split(",", 5)[-1].strip('"') for line in lines] == [
        "at: the watermark is blank; fill the cell",
        (
            "at: 'soon' is not a time; give this column a format in the mapping, or correct the"
            " cell; words for none go under source: {blank: ['', n/a]}"
        ),
        "at: the time '2020-01-01' has no zone; add timezone: to this column in the mapping",
        (
            "at: the watermark '9999-01-01T00:00:00Z' lies in the future, and all rows up to it"
            " would count as delivered; correct the cell"
        ),
    ]
    assert night.state["watermark"]["value"] == 1_577_836_800_000
    assert counts(night.run(SINCE, dry_run=True, restart=True))["rejected"] == 4
    assert "watermark-blank" in cli("check", "people.yaml").out


@pytest.mark.parametrize(
    ("how", "before", "after", "sent"),
    [
        ("type: integer", ["9", "10"], ["10", "11", "9"], ["2"]),
        ("type: integer, lag: 1", ["9", "10"], ["10", "11", "9"], ["1", "2"]),
        ("type: date", ["2020-01-02"], ["2020-01-02", "2020-01-03"], ["2"]),
        ("type: date, lag: 1d", ["2020-01-02"], ["2020-01-02", "2020-01-01"], ["1"]),
        ("timezone: Europe/Berlin", ["2020-01-02 10:00"], ["2020-01-02T09:00:00.5Z"], ["1"]),
        ('format: "%d.%m.%Y", type: date', ["09.02.2020"], ["10.01.2020", "10.02.2020"], ["2"]),
        ("format: unix_s", ["1577836800"], ["1577836800", "1577836801"], ["2"]),
    ],
)
def test_a_watermark_is_a_time_a_date_or_an_integer(
    night: Night, how: str, before: list[str], after: list[str], sent: list[str]
) -> None:
    mapping = SINCE.replace("column: at", f"column: at, {how}")
    night.rows(at(*before), "id,at")
    assert night.run(mapping)["exit_code"] == 0
    night.sent  # noqa: B018
    night.rows(at(*after), "id,at")
    assert night.run(mapping)["exit_code"] == 0
    assert [user for user, _ in night.sent] == sent


def test_a_typed_column_is_a_watermark_by_its_type_or_a_fault(night: Night) -> None:
    mapping = SINCE.replace("people.csv", "people.parquet").replace("traits: {at: at}", "")
    path = night.folder / "people.parquet"

    def write(*values: Any, kind: pa.DataType) -> None:
        ids = pa.array([str(n) for n in range(len(values))])
        pq.write_table(pa.table({"id": ids, "at": pa.array(values, kind)}), path)

    write(18_000, 18_001, kind=pa.date32())
    assert night.run(mapping)["exit_code"] == 0
    write(18_001, 18_002, kind=pa.date32())
    assert counts(night.run(mapping)) == {"read": 2, "delivered": 1, "unchanged": 1}
    write(10**15, 10**15 + 10**9, kind=pa.timestamp("us", "UTC"))
    assert night.run(mapping)["exit_code"] == 0
    write(1, kind=pa.int64())
    report = night.run(mapping)
    assert report["exit_code"] == 2
    assert report["error"]["what"] == "the watermark 'at' is int64, not a time [column-type]"
    assert report["error"]["fix"] == "add type: integer to the watermark, or format: unix_s"
    assert report["error"]["where"].endswith("people.yaml:6:13")


def test_a_watermark_of_another_column_is_refused(night: Night) -> None:
    night.rows(["1,2020-01-01T00:00:00Z,5"], "id,at,n")
    night.run(SINCE)
    night.rows(["1,2020-01-01T00:00:00Z,5", "2,2020-01-01T00:00:00Z,6"], "id,at,n")
    report = night.run(SINCE.replace("{column: at}", "{column: n, type: integer}"))
    assert report["exit_code"] == 13
    assert report["error"]["what"] == (
        "the watermark of this stream is of 'at' (time), not of 'n' (integer): what is later"
        " cannot be told"
    )
    assert report["error"]["fix"] == f"put the mapping back, {RESTART}"


def test_a_group_is_as_late_as_its_latest_row(night: Night) -> None:
    mapping = SINCE.replace("key: id\n", "rows: {group_by: id}\n").replace(
        "at: at", "n: {agg: count}"
    )
    old, new = "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"
    night.rows([f"1,{old}", f"1,{old}", f"2,{old}"], "id,at")
    assert counts(night.run(mapping)) == {"read": 3, "delivered": 3}
    night.sent  # noqa: B018
    night.rows([f"1,{old}", f"1,{new}", f"2,{old}"], "id,at")
    assert counts(night.run(mapping)) == {"read": 3, "delivered": 2, "unchanged": 1}
    assert night.sent == [("1", 2)]


def test_a_row_that_was_told_is_not_told_every_night(night: Night) -> None:
    """Neither for what its cells mean, nor for their bytes."""
    mapping = SINCE.replace("traits: {at: at}", "traits: {n: {column: n, type: integer}, t: t}")
    old = b"id,at,n,t\n1,2020-01-01T00:00:00Z,x,a\n2,2020-01-01T00:00:00Z,2,\xff\n"
    (night.folder / "people.csv").write_bytes(old)
    assert counts(night.run(mapping)) == {"read": 2, "rejected": 2}
    (night.folder / "people.csv").write_bytes(old + b"3,2020-01-02T00:00:00Z,3,a\n")
    assert counts(night.run(mapping)) == {"read": 3, "delivered": 1, "unchanged": 2}


def test_status_tells_the_watermark(night: Night, cli: Cli) -> None:
    night.rows(at("2020-01-01T00:00:00Z"), "id,at")
    night.run(SINCE)
    told = cli("status", "--state", "state").out.splitlines()
    assert "people: at up to 2020-01-01T00:00:00.000Z" in told
    told = cli("status", "--state", "state", "--json").report["streams"][0]["watermark"]
    assert told == {"column": "at", "value": "2020-01-01T00:00:00.000Z"}


# ---- files: new


def test_new_files_are_those_not_delivered_before_by_content(night: Night) -> None:
    night.rows(["1,a"], name="exports/1.csv")
    assert counts(night.run(FILES)) == {"read": 1, "delivered": 1}
    night.sent  # noqa: B018
    night.rows(["2,b"], name="exports/2.csv")
    (night.folder / "exports/1.csv").rename(night.folder / "exports/0.csv")
    report = night.run(FILES)
    assert counts(report) == {"read": 1, "delivered": 1}
    assert [Path(file["path"]).name for file in report["files"]] == ["2.csv"]
    assert night.sent == [("2", "b")]
    left_out = f"left out, since delivered before: {night.folder / 'exports/0.csv'}"
    assert night.told == [left_out]
    for number in (3, 4):
        night.rows(["3,c"], name=f"exports/{number}.csv")
    assert counts(night.run(FILES)) == {"read": 1, "delivered": 1}, "one content, one delivery"


def test_where_no_file_is_new_nothing_is_sent_and_that_is_said(night: Night) -> None:
    night.rows(["1,a"], name="exports/1.csv")
    night.run(FILES)
    night.rows(["1,a"], name="exports/2.csv")
    night.sent  # noqa: B018
    for _ in range(2):
        report = night.run(FILES)
        assert (report["exit_code"], night.sent) == (0, [])
        assert report["note"].startswith("no new file since 20")
        assert report["note"].endswith(" (2 files delivered before): no request was made")


def test_a_file_that_changed_after_delivery_is_sent_whole_and_said(night: Night) -> None:
    for number in (1, 2):
        night.rows([f"{number},a"], name=f"exports/{number}.csv")
    night.run(FILES)
    night.sent  # noqa: B018
    night.rows(["1,a", "3,c"], name="exports/1.csv")
    report = night.run(FILES)
    assert night.sent == [("1", "a"), ("3", "c")]
    path = night.folder / "exports/1.csv"
    words = f"{path}: has changed since it was delivered, and is sent whole"
    assert words in night.told
    log = night.folder / "state/people/runs" / report["run_id"] / "log.jsonl"
    assert words in [json.loads(line).get("words") for line in log.read_text().splitlines()]
    for number in range(3, 6):  # a file is known for good
        night.rows([f"{number},a"], name=f"exports/{number}.csv")
        night.run(FILES)
    night.sent  # noqa: B018
    night.rows(["1,a"], name="exports/1.csv")
    assert "no new file" in night.run(FILES)["note"]


def test_a_changed_file_whose_events_count_twice_is_said_to_do_so(night: Night) -> None:
    mapping = FILES.replace("key: id\n", "") + EVENTS
    night.rows(["1,a"], name="exports/1.csv")
    night.run(mapping)
    night.rows(["2,a"], name="exports/2.csv")
    assert night.run(mapping)["exit_code"] == 0
    night.rows(["1,a", "3,a"], name="exports/1.csv")
    report = night.run(mapping)
    assert (report["exit_code"], counts(report)) == (0, {"read": 2, "delivered": 2})
    path = night.folder / "exports/1.csv"
    assert [words for words in night.told if words.startswith(str(path))] == [
        f"{path}: has changed since it was delivered, and is sent whole",
        f"{path}: without key: in the mapping, its rows that were delivered before count twice",
    ]


def test_old_files_are_no_reason_to_refuse_the_new_ones(night: Night) -> None:
    """A column that came later is in none of them."""
    night.rows(["1,a"], name="exports/1.csv")
    night.run(FILES)
    night.rows(["2,b,x"], "id,plan,more", name="exports/2.csv")
    other = FILES.replace("{plan: plan}", "{plan: plan, more: more}")
    assert counts(night.run(other)) == {"read": 1, "delivered": 1}


def test_restart_sends_all_files(night: Night) -> None:
    for number in (1, 2):
        night.rows([f"{number},a"], name=f"exports/{number}.csv")
        night.run(FILES)
    assert counts(night.run(FILES, restart=True)) == {"read": 2, "delivered": 2}


@pytest.mark.parametrize("name", ["flipped", "cut", "missing"])
def test_a_damaged_list_of_delivered_files_is_refused(night: Night, name: str) -> None:
    for number in (1, 2):
        night.rows([f"{number},a"], name=f"exports/{number}.csv")
        night.run(FILES)
    path = night.folder / "state/people/delivered.jsonl"
    DAMAGES[name][0](path)
    night.rows(["3,a"], name="exports/3.csv")
    night.sent  # noqa: B018
    report = night.run(FILES)
    assert (report["exit_code"], night.sent) == (13, [])
    assert report["error"]["what"].startswith("the list of delivered files is damaged: it")
    assert report["error"]["where"] == str(path)
    assert "--restart to send all files again" in report["error"]["fix"]


def test_dead_letters_of_a_night_say_which_of_its_files_they_are_of(night: Night, cli: Cli) -> None:
    mapping = FILES.replace("plan: plan", "plan: {column: plan, type: integer}")
    night.rows(["1,1"], name="exports/1.csv")
    night.run(mapping)
    for number in (2, 3):
        night.rows([f"{number},x"], name=f"exports/{number}.csv")
    letters = Path(night.run(mapping)["rejects"])
    assert [line.rsplit(",", 1)[1] for line in letters.read_text().splitlines()] == [
        "_file",
        "2.csv",
        "3.csv",
    ]
    letters.write_text(letters.read_text().replace("2,x", "2,2"))
    again = cli.folder / retried(night, cli).report["rejects"]
    assert [line.rsplit(",", 1)[1] for line in again.read_text().splitlines()] == ["_file", "3.csv"]


# ---- pinned files


@pytest.mark.parametrize("files", ["all", "new"])
@pytest.mark.parametrize("path", ['"exports/*.csv"', "exports"])
def test_files_that_arrive_later_belong_to_the_next_run(
    night: Night, files: str, path: str
) -> None:
    mapping = FILES.replace("files: new", f"files: {files}").replace('"exports/*.csv"', path)
    for number in (2, 3):
        night.rows([f"{number},a"], name=f"exports/{number}.csv")
    night.run(mapping, limit=1)
    night.rows(["1,a"], name="exports/1.csv")
    night.write("no such columns\n", "exports/4.csv")  # nor is it looked at
    assert counts(night.run(mapping)) == {"read": 2, "delivered": 2}
    came = [str(night.folder / f"exports/{number}.csv") for number in (1, 4)]
    assert night.told == [f"left for the next run, since it came after this one: {', '.join(came)}"]
    (night.folder / "exports/4.csv").unlink()
    night.sent  # noqa: B018
    night.run(mapping)
    assert [user for user, _ in night.sent] == (["1"] if files == "new" else ["1", "2", "3"])


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_pinned_file_that_is_gone_or_changed_is_refused(night: Night, change: str) -> None:
    for number in (1, 2):
        night.rows([f"{number},a"], name=f"exports/{number}.csv")
    night.run(FILES, limit=1)
    night.rows(["0,a"], name="exports/0.csv")
    path = night.folder / "exports/2.csv"
    if change == "gone":
        path.unlink()
    else:
        path.write_text("id,plan\n2,b\n")
    report = night.run(FILES)
    assert report["exit_code"] == 13
    told = {"gone": "is gone", "changed": "has the same size but another content"}[change]
    assert f"{path} {told}" in report["error"]["what"]


# ---- faults of a mapping


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ("key: id\n", ""),
            (
                "3:1: mode: changed needs a key [missing-key]\n"
                "  fix: add key: with the column or columns that tell one row from another"
            ),
        ),
        (
            ("mode: changed", "mode: since"),
            (
                "3:1: mode: since needs a watermark [missing-key]\n"
                "  fix: add watermark: {column: the column that says when a row last changed}"
            ),
        ),
        (
            ("key: id", "key: id\nwatermark: {column: plan}"),
            "6:1: 'watermark' says nothing here [bad-option]\n  fix: add mode: since",
        ),
        (
            ("mode: changed", "mode: nightly"),
            "3:1: mode: 'nightly' is none of all, changed, since [wrong-value]",
        ),
        (
            ("people.csv}", "people.csv, files: old}"),
            "4:28: files: 'old' is none of all, new [wrong-value]",
        ),
    ],
)
def test_faults_of_the_mode_are_told_with_place_and_fix(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(PEOPLE.replace(*change))
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    assert str(caught.value).startswith(f"{path}:{told}")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            "lag: 2 weeks",
            (
                "25: lag: '2 weeks' is no length of time [wrong-value]\n"
                "  fix: write it as 90s, 30m, 2h, 1d or 1d 12h"
            ),
        ),
        (
            "lag: 5",
            (
                "25: lag: 5 is no length of time [wrong-value]\n"
                "  fix: write it as 90s, 30m, 2h, 1d or 1d 12h"
            ),
        ),
        ("lag: -5", "25: lag: -5 is out of bounds [wrong-value]\n  fix: write at least 0"),
        (
            "type: integer, lag: 2h",
            (
                "40: lag: '2h' is no whole number, and the watermark is one [wrong-value]\n"
                "  fix: write how far below the highest value, such as 100, or leave it out"
            ),
        ),
        (
            "type: integer, timezone: UTC",
            "40: 'timezone' says nothing for an integer [bad-option]\n  fix: leave it out",
        ),
        (
            "timezone: Berlin",
            (
                "25: unknown time zone 'Berlin' [wrong-value]\n"
                "  fix: write a name of the IANA list, such as Europe/Berlin or UTC"
            ),
        ),
        ("lags: 2h", "25: unknown key 'lags' [unknown-key]\n  fix: did you mean 'lag'?"),
    ],
)
def test_faults_of_the_watermark_are_told_with_place_and_fix(
    tmp_path: Path, how: str, told: str
) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(SINCE.replace("column: at", f"column: at, {how}"))
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    assert str(caught.value) == f"{path}:6:{told}"


def test_a_lag_without_a_key_is_a_fault_where_events_would_count_twice(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    mapping = SINCE.replace("key: id\n", "").replace("column: at", "column: at, lag: 2h")
    path.write_text(mapping)
    load_mapping(path)
    path.write_text(mapping + EVENTS)
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    assert str(caught.value) == (
        f"{path}:5:25: without a key the events within the lag would be sent under other message"
        " ids [missing-key]\n  fix: add key:, or leave lag out"
    )


def test_a_mapping_without_these_words_means_what_it_meant_before_them(tmp_path: Path) -> None:
    """Or every unfinished run would be refused after an update."""
    path = tmp_path / "people.yaml"
    plain = PEOPLE.replace("mode: changed\n", "")
    path.write_text(plain)
    mapping = load_mapping(path)
    found = mapping.fingerprint
    left_out = {"delivery", "after", "mode", "watermark", "where", "rows"}
    meaning = mapping.document.model_dump(mode="json", by_alias=True, exclude=left_out)
    for name in ("path", "files"):
        del meaning["source"][name]
    for name in ("escape", "comment"):
        del meaning["source"]["csv"][name]
    for message in meaning["messages"]:
        del message["when"]
    text = json.dumps({**meaning, "name": "people"}, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == found
    path.write_text(plain.replace("people.csv", "people.csv, files: all") + "mode: all\n")
    assert load_mapping(path).fingerprint == found
    path.write_text(PEOPLE)
    assert load_mapping(path).fingerprint != found


# ---- many nights


NIGHT = st.fixed_dictionaries(
    {
        "rows": st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "3", "x"])),
        "refused": st.sampled_from(["", "1", "2"]),
        "limit": st.none() | st.integers(1, 3),
        "order": st.randoms(use_true_random=False),
    }
)


class Destination:
    """What a destination holds that applies each message id once, and refuses some values."""

    def __init__(self) -> None:
        self.plans: dict[str, int] = {}
        self.seen: set[str] = set()
        self.came: list[tuple[str, int]] = []
        self.refused = ""

    def take(self, body: bytes) -> Reply:
        """Answer a request; the ledger's thread calls it."""
        batch = json.loads(body)["batch"]
        if self.refused and any(m["traits"]["plan"] == int(self.refused) for m in batch):
            return Reply(400, b'{"meta":{"errors":["one of the messages is invalid"]}}')
        for m in batch:
            self.came.append((m["userId"], m["traits"]["plan"]))
            if m["messageId"] not in self.seen:
                self.seen.add(m["messageId"])
                self.plans[m["userId"]] = m["traits"]["plan"]
        return Reply()


@given(nights=st.lists(NIGHT, min_size=2, max_size=6))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_nights_the_destination_holds_the_last_and_no_row_came_unchanged(
    nights: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMERIO_WRITE_KEY", KEY)
    there, model = Destination(), dict[str, int]()
    with tempfile.TemporaryDirectory() as name, Ledger(there.take) as ledger:
        folder = Path(name)
        path = folder / "people.yaml"
        path.write_text(PEOPLE.replace("plan: plan", "plan: {column: plan, type: integer}"))
        how: dict[str, Any] = {"to": ledger.url, "state": folder / "state", "rate": "unlimited"}
        for night in nights:
            rows = list(night["rows"].items())
            night["order"].shuffle(rows)
            lines = "".join(f"{key},{plan}\n" for key, plan in rows)
            (folder / "people.csv").write_text("id,plan\n" + lines)
            there.refused, there.came = night["refused"], []
            limits = [{"limit": night["limit"]}] if night["limit"] else []
            reports = [backfill.run(load_mapping(path), **how, **more) for more in (*limits, {})]
            if all("nothing new" in report.note for report in reports):
                assert not there.came
                continue
            good = {key: int(plan) for key, plan in rows if plan != "x"}
            differ = {key: plan for key, plan in good.items() if model.get(key) != plan}
            taken = {key: plan for key, plan in differ.items() if str(plan) != night["refused"]}
            model |= taken
            told = next(counts(r.to_json()) for r in reversed(reports) if r.run_id)
            assert told.get("delivered", 0) == len(taken)
            assert told.get("unchanged", 0) == len(good) - len(differ)
            assert sorted(there.came) == sorted(taken.items()), "each once, and no other"
            assert there.plans == model


# ---- kills


def edited(path: Path, draw: random.Random, share: float) -> set[str]:
    """Change the notes of some rows; return the ids of these."""
    lines = path.read_text(encoding="utf-8").splitlines()
    chosen = {n for n in range(1, len(lines)) if draw.random() < share}
    made = [
        line.replace("of ", "again of ", 1) if n in chosen else line for n, line in enumerate(lines)
    ]
    path.write_text("\n".join(made) + "\n", encoding="utf-8")
    return {lines[n].split(",", 1)[0] for n in chosen}


def prints_of(ids: Iterable[str]) -> set[int]:
    """Return the upper halves of the keys as they are known."""
    return set(murmur3(pa.array([f'","{one}' for one in ids], pa.string()))[0].tolist())


def test_a_kill_in_a_changed_night_loses_no_row_and_makes_none_known_that_did_not_arrive(
    cli: Cli, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = seed_of(request)
    draw = random.Random(seed)
    write_events(tmp_path, 12_000, draw, KINDS["csv-identify"])
    path = tmp_path / "events.yaml"
    path.write_text(path.read_text().replace("key: id", "key: id\nmode: changed"))
    known = tmp_path / ".backfill/events/known"
    with LedgerProcess(tmp_path / "ledger.log", latency_s=0.02) as there:
        command = ["run", "events.yaml", "--to", there.url, "--json", *OPTIONS]
        first = cli(*command)
        assert first.code == 0
        there.news()
        changed = edited(tmp_path / "events.csv", draw, 0.7)
        run = Kills(cli, there, seed)
        for _ in range(4):
            run.kill()
            came = delivered(arrival for arrivals in run.arrivals for arrival in arrivals)
            arrived = prints_of(str(json.loads(sent.text)["traits"]["n"]) for sent in came)
            state = json.loads((tmp_path / ".backfill/events/checkpoint.json").read_bytes())
            if state["run_id"] == first.report["run_id"]:
                continue  # it was killed before it began
            journal = known / f"{state['run_id']}.journal"
            blocks = list(journalled(journal, state["lengths"].get("known", 0)))
            journalled_keys = {int(high) for block in blocks for high in block["high"]}
            assert journalled_keys <= arrived, f"seed {seed}"
            assert len(journalled_keys) == state["counts"]["delivered"] % 12_000, f"seed {seed}"
        report = run.finish()
        assert max(run.resent()) <= WINDOW, f"seed {seed}: {run.resent()}"
        came = delivered(arrival for arrivals in run.arrivals for arrival in arrivals)
        got = {str(json.loads(sent.text)["traits"]["n"]) for sent in came}
        assert got == changed, f"seed {seed}: the changed rows, all of them, and no other"
        rows = {"read": 12_000, "delivered": len(changed), "unchanged": 12_000 - len(changed)}
        assert counts(report) == rows, f"seed {seed}"
        assert sum(n > 0 for n in run.resent()) >= 1, f"seed {seed}: the kills meant nothing"
        edited(tmp_path / "events.csv", draw, 0.01)
        report = cli(*command).report
        assert report["rows"]["delivered"] < 400, "all that arrived is known"


def test_a_kill_in_a_night_of_since_loses_no_row_and_moves_no_watermark(
    cli: Cli, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = seed_of(request)
    write_events(tmp_path, 9_000, random.Random(seed), KINDS["csv-identify"])
    path = tmp_path / "events.yaml"
    since = "key: id\nmode: since\nwatermark: {column: id, type: integer}"
    path.write_text(path.read_text().replace("key: id", since))
    source = tmp_path / "events.csv"
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    source.write_text("".join(lines[:1001]), encoding="utf-8")
    checkpoint = tmp_path / ".backfill/events/checkpoint.json"
    with LedgerProcess(tmp_path / "ledger.log", latency_s=0.02) as there:
        assert cli("run", "events.yaml", "--to", there.url, "--json", *OPTIONS).code == 0
        there.news()
        source.write_text("".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
        run = Kills(cli, there, seed)
        for _ in range(3):
            run.kill()
            state = json.loads(checkpoint.read_bytes())
            assert state["is_finished"] or state["watermark"]["value"] == 999, f"seed {seed}"
        report = run.finish()
        assert json.loads(checkpoint.read_bytes())["watermark"]["value"] == 8_999
        came = delivered(arrival for arrivals in run.arrivals for arrival in arrivals)
        got = {json.loads(sent.text)["traits"]["n"] for sent in came}
        assert got == set(range(1_000, 9_000)), f"seed {seed}"
        assert counts(report) == {"read": 9_000, "delivered": 8_000, "unchanged": 1_000}
