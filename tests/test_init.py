"""`backfill init`: from a file to the first right preview, on data that nobody here wrote.

`init_edits.jsonl` is the table of the datasets: which edits a person must make (two at most), what
`check` then rejects, and the messages of two rows, which were compared with the files by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import BackfillError
from backfill.launch import Settings, plan_of
from backfill.mapping import load_mapping
from backfill.propose import propose_all
from backfill.sample import sample
from backfill.survey import survey

if TYPE_CHECKING:
    from conftest import Cli

    from backfill.propose import Proposed

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the shared datasets are not on this machine ({DATA})"
)
NOW_MS = 1_760_000_000_000
EDITS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (ROOT / "tests" / "init_edits.jsonl").read_text(encoding="utf-8").splitlines()
]
ROWS_MAX = 80_000
"""Of 3,000,000 flights `check` looks at so many here; that is enough for a fault of the mapping."""


def proposed(*sources: object, out: Path, **how: Any) -> list[Proposed]:
    """Propose in this process, and write as the command does."""
    given = {"kind": None, "prefer": None, "now_ms": NOW_MS, **how}
    found = propose_all([str(one) for one in sources], out=str(out), **given)
    for one in found:
        one.path.parent.mkdir(exist_ok=True)
        one.path.write_text(one.rehearsal.text, encoding="utf-8")
    return found


def messages(mapping: Path, row: int) -> list[dict[str, Any]]:
    """The messages of one row, as `preview` shows them, without their ids."""
    plan = plan_of(load_mapping(mapping), Settings())
    (shown,) = sample(plan, count=1, first=row)
    assert shown.row == row
    found = [json.loads(text) for text in shown.messages]
    return [{name: value for name, value in one.items() if name != "messageId"} for one in found]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@needs_data
def test_the_table_names_every_dataset() -> None:
    named = {one["source"] for one in EDITS}
    found = {
        str(path.relative_to(DATA / "datasets"))
        for path in (DATA / "datasets").rglob("*")
        if path.suffix in {".csv", ".parquet"}
    }
    in_folders = {path for path in found if path.startswith("online-retail/")}
    assert found - in_folders == named - {"online-retail"}
    assert in_folders


def test_no_dataset_takes_more_than_two_edits() -> None:
    assert max(len(one["edits"]) for one in EDITS) == 2


@needs_data
@pytest.mark.parametrize("case", EDITS, ids=lambda case: str(case["source"]))
def test_a_dataset_is_previewed_right_after_at_most_two_edits(
    case: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "proposed.yaml"
    proposed(DATA / "datasets" / case["source"], out=path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=")
    assert survey(plan_of(load_mapping(path), Settings()), limit=9).rows, "it passes as it is"
    for edit in case["edits"]:
        assert text.count(edit["from"]) == 1, text
        text = text.replace(edit["from"], edit["to"])
    path.write_text(text, encoding="utf-8")
    for one in case["rows"]:
        assert messages(path, one["row"]) == one["messages"]
    counts = survey(plan_of(load_mapping(path), Settings()), limit=ROWS_MAX).counts
    assert counts.by_code == case["rejects"]
    assert counts.held == 0


@needs_data
@pytest.mark.parametrize("name", ["CDNOW_master", "CDNOW_sample"])
def test_columns_apart_by_runs_of_blanks_are_proposed_like_any(name: str, tmp_path: Path) -> None:
    source = DATA / "datasets" / "cdnow" / f"{name}.txt"
    proposed(source, out=tmp_path / "x.yaml")
    assert "delimiter: whitespace" in (tmp_path / "x.yaml").read_text()
    first = 2 if name == "CDNOW_master" else 1
    (message,) = messages(tmp_path / "x.yaml", first)
    assert message["userId"] in {"00001", "00004"}, "zeros are kept"
    assert message["timestamp"] == "1997-01-01T00:00:00.000Z"


TORTURE = (
    [
        path
        for folder in ("csv/csvkit", "csv/csv-spectrum/csvs", "csv/papaparse", "parquet")
        for path in sorted((DATA / folder).rglob("*"))
        # one cell of it is over 1 GiB
        if path.is_file() and "large_string_map" not in path.name
    ]
    if DATA.is_dir()
    else []
)


@needs_data
def test_there_is_a_torture_to_go_through() -> None:
    assert len(TORTURE) > 80


def outcome(path: Path, out: Path) -> Proposed | BackfillError:
    """What `init` comes to: anything but these two is a traceback."""
    try:
        (one,) = proposed(path, out=out, prefer="day-first")
    except BackfillError as fault:
        return fault
    return one


@pytest.mark.parametrize("path", TORTURE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_torture_file_gives_a_mapping_that_loads_or_a_word_with_a_fix(
    path: Path, tmp_path: Path
) -> None:
    found = outcome(path, tmp_path / "x.yaml")
    if isinstance(found, BackfillError):
        assert (found.exit_code, bool(found.what), bool(found.fix)) == (2, True, True)
        assert str(path) in found.where
        return
    checked = survey(plan_of(load_mapping(found.path), Settings()), limit=None)
    assert checked.counts.by_code.keys() <= {"row-ragged"}, "no reject is the mapping's fault"


def test_a_person_gets_from_two_files_to_their_preview_by_the_commands_that_are_printed(
    cli: Cli,
) -> None:
    samples = ROOT / "samples"
    made = cli("init", samples / "customers.csv", samples / "orders.parquet")
    assert (made.code, made.err) == (0, "")
    assert "100% of the different ids" in (cli.folder / "mappings" / "orders.yaml").read_text()
    command = made.out.splitlines()[-1]
    assert command == "next: backfill check mappings/customers.yaml mappings/orders.yaml"
    checked = cli(*command.split()[2:])
    assert checked.code == 0, checked.out + checked.err
    assert checked.out.index("customers: 59 rows") < checked.out.index("orders: 412 rows")
    shown = cli("preview", "mappings/orders.yaml", "-n", "1", "--json")
    (message,) = shown.report["rows"][0]["messages"]
    assert message["properties"]["items"][0] == {"sku": "2", "unit_price": 0.99, "quantity": 1}


def test_the_evidence_is_printed_beside_what_it_is_for(cli: Cli) -> None:
    made = cli("init", ROOT / "samples" / "merged_accounts.csv", "-o", "merges.yaml")
    words = made.out
    assert "looked at all 8 rows" in words
    assert "alias: an old id stands beside the one to keep" in words
    assert "merged_at: 5 values can only be day-first, none contradicts" in words
    assert "LOOK  timestamp: no zone in the data; UTC is ASSUMED" in words
    assert words.splitlines()[-2:] == ["wrote merges.yaml", "next: backfill preview merges.yaml"]


def test_the_report_for_programs_names_members_doubts_and_the_next_command(cli: Cli) -> None:
    write(cli.folder / "people.csv", "id,email,password", "1,a@b.org,x", "2,c@d.org,y")
    report = cli("init", "people.csv", "--json").report
    (one,) = report["mappings"]
    assert report["exit_code"] == 0
    assert report["next_command"] == "backfill preview mappings/people.yaml"
    assert one["rows"] == {"looked_at": 2, "total": 2, "all": True}
    assert (one["type"], one["key"]) == ("identify", ["id"])
    assert [member["member"] for member in one["members"]] == ["userId", "email"]
    (out,) = one["left_out"]
    assert out == {"column": "password", "why": "looks like a secret: by its name"}


def test_a_mapping_that_is_there_is_never_overwritten(cli: Cli) -> None:
    write(cli.folder / "people.csv", "id,email", "1,a@b.org", "2,c@d.org")
    (cli.folder / "mappings").mkdir()
    mine = write(cli.folder / "mappings" / "people.yaml", "mine")
    made = cli("init", "people.csv")
    assert made.code == 2
    assert "mappings/people.yaml: this mapping is there already" in made.err
    assert "fix: choose another file with -o" in made.err
    assert mine.read_text() == "mine\n"


def test_several_mappings_go_into_a_folder_with_or_without_its_slash(cli: Cli) -> None:
    files = [ROOT / "samples" / name for name in ("companies.csv", "customers.csv")]
    assert cli("init", *files, "-o", "one").code == 0
    assert cli("init", *files, "-o", "two/").code == 0
    for folder in ("one", "two"):
        names = {path.name for path in (cli.folder / folder).iterdir()}
        assert names == {"companies.yaml", "customers.yaml"}
    done = cli("init", *files, "-o", "one.yaml")
    assert done.code == 2
    assert done.err.splitlines() == [
        "one.yaml: several mappings cannot be one file",
        "  fix: name a folder with -o, such as mappings/",
    ]


def test_the_schema_that_a_proposal_names_is_the_one_it_says_how_to_write(cli: Cli) -> None:
    assert cli("init", ROOT / "samples" / "customers.csv", "-o", "my/x.yaml").code == 0
    head = (cli.folder / "my/x.yaml").read_text(encoding="utf-8")
    (named,) = re.findall(r"\$schema=(\S+)", head)
    (written,) = re.findall(r"backfill schema > (\S+), beside this file", head)
    assert named == written


def test_day_and_month_are_asked_for_and_never_guessed(cli: Cli) -> None:
    write(cli.folder / "orders.csv", "id,customer_id,date", "1,7,03/04/2020", "2,8,05/06/2020")
    asked = cli("init", "orders.csv")
    assert asked.code == 2
    assert "'date': all 2 values can be read day-first and month-first" in asked.err
    assert "fix: say --day-first or --month-first" in asked.err
    assert not (cli.folder / "mappings").exists()
    assert cli("init", "orders.csv", "--day-first").code == 0
    mapping = cli.folder / "mappings" / "orders.yaml"
    assert messages(mapping, 2)[0]["timestamp"] == "2020-04-03T00:00:00.000Z"


def test_a_time_that_is_no_message_s_own_is_left_out_with_both_ways(tmp_path: Path) -> None:
    source = write(
        tmp_path / "people.csv", "id,email,dob", "1,a@b.org,03/04/1990", "2,b@c.org,05/06/1991"
    )
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    text = one.rehearsal.text
    assert '#   dob: {column: dob, type: timestamp, format: "%d/%m/%Y"}' in text
    assert '#   dob: {column: dob, type: timestamp, format: "%m/%d/%Y"}' in text
    assert "dob" not in messages(one.path, 2)[0]["traits"]


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (["id;email;sum", "1;a@b.org;1,5", "2;c@d.org;2,25"], {"delimiter": ";"}),
        (["id|email", "1|a@b.org", "2|c@d.org"], {"delimiter": "|"}),
        (["Export of today", "", "id,email", "1,a@b.org", "2,c@d.org"], {"skip_lines": 1}),
        (["1,a@b.org,x", "2,c@d.org,y"], {"header": False}),
        (["id,email,id", "1,a@b.org,x", "2,c@d.org,y"],
         {"header": ["id", "email", "id_2"], "skip_lines": 1}),
        (["'id','email'", "'1','a@b.org'", "'2','c,d@d.org'"], {"quote": "'"}),
    ],
)  # fmt: skip
def test_how_a_file_is_written_is_seen_and_read_so(
    lines: list[str], options: dict[str, Any], tmp_path: Path
) -> None:
    (one,) = proposed(write(tmp_path / "people.csv", *lines), out=tmp_path / "x.yaml")
    assert one.stream.samples[0].dialect.options == options
    mapping = load_mapping(one.path)
    assert mapping.document.source.csv.model_dump(include=set(options)) == options
    found = survey(plan_of(mapping, Settings()), limit=None)
    assert (found.rows, found.counts.rejected) == (2, 0)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_an_encoding_is_seen_and_a_guess_is_called_one(encoding: str, tmp_path: Path) -> None:
    text = "id,name\n" + "".join(f"{n},Zoë {n} “Ünal”\n" for n in range(20))
    source = tmp_path / "people.csv"
    source.write_bytes(text.encode(encoding))
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    assert messages(one.path, 2)[0]["traits"] == {"name": "Zoë 0 “Ünal”"}
    assert ("a guess" in one.rehearsal.text) == (encoding in {"utf-16-le", "cp1252"})


def test_texts_that_stand_for_nothing_are_blanks_only_where_a_type_proves_it(
    tmp_path: Path,
) -> None:
    rows = ["1,a@b.org,5,None", "2,c@d.org,NULL,Lee", "3,e@f.org,7,\\N"]
    source = write(tmp_path / "people.csv", "id,email,visits,last_name", *rows)
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    assert load_mapping(one.path).document.source.blank == ["", "NULL", "\\N"]
    assert messages(one.path, 2)[0]["traits"] == {
        "email": "a@b.org",
        "visits": 5,
        "last_name": "None",
    }
    assert messages(one.path, 3)[0]["traits"] == {"email": "c@d.org", "last_name": "Lee"}
    assert messages(one.path, 4)[0]["traits"] == {"email": "e@f.org", "visits": 7}


def test_what_must_not_or_cannot_be_sent_is_left_out_with_its_reason(tmp_path: Path) -> None:
    prose = "It was late and the parcel came to the wrong door so I called them twice about it. "
    header = "id,customer_id,ordered_at,card,notes,recipient,blob,shop_pin,nothing"
    cards = ["4242424242424242", "5555555555554444", "378282246310005"]
    rows = [
        f"{n},{n % 2},2020-01-02T03:04:05Z,{card},{prose * (n + 1)},x@y.org,{'z' * 1200 * n},1{n},"
        for n, card in enumerate(cards)
    ]
    (one,) = proposed(write(tmp_path / "orders.csv", header, *rows), out=tmp_path / "x.yaml")
    why = {out.column: out.why for out in one.proposal.left_out}
    assert why == {
        "card": "looks like a secret: 3 values pass the check of card numbers (Luhn)",
        "notes": "free text, 166 characters on average",
        "recipient": "an event's property of this name overrides the settings of campaigns;"
        " rename it",
        "blob": "2 values are over 1000 bytes, more than a trait may hold",
        "shop_pin": "looks like a secret: by its name",
        "nothing": "every cell is blank",
    }  # fmt: skip
    assert messages(one.path, 2)[0]["properties"] == {"order_id": "0"}
    assert not [card for card in cards if card in one.rehearsal.text], "no cell is in a mapping"


def test_what_would_reject_a_row_by_its_cells_alone_is_left_out_by_the_rehearsal(
    tmp_path: Path,
) -> None:
    rows = [f'{n},p{n}@b.org,"{{""a"": ""{"x" * 600 * n}""}}"' for n in range(4)]
    source = write(tmp_path / "people.csv", "id,email,extra", *rows)
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    (out,) = one.proposal.left_out
    assert (out.column, out.why) == ("extra", "2 cells would reject their rows (value-too-long)")
    assert "#   extra: 2 cells would reject their rows" in one.rehearsal.text
    assert one.rehearsal.causes == []
    assert survey(plan_of(load_mapping(one.path), Settings()), limit=None).counts.rejected == 0


def test_a_float_is_no_key_and_as_an_id_it_loses_its_point(tmp_path: Path) -> None:
    table = pa.table({"customer_id": [1.0, 2.0, 3.0], "email": ["a@b.org", "b@b.org", "c@b.org"]})
    pq.write_table(table, tmp_path / "customers.parquet")
    (one,) = proposed(tmp_path / "customers.parquet", out=tmp_path / "x.yaml")
    assert load_mapping(one.path).document.key == []
    assert messages(one.path, 2)[0]["userId"] == "2"


def test_events_of_the_last_days_are_held_and_said(tmp_path: Path) -> None:
    rows = ["1,7,2025-10-08T00:00:00Z", "2,8,2020-01-01T00:00:00Z"]
    source = write(tmp_path / "orders.csv", "id,customer_id,at", *rows)
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    assert load_mapping(one.path).document.guards.recent_events == "hold"
    assert [(cause.code, cause.count) for cause in one.rehearsal.causes] == [("recent-event", 1)]


TRAPS = [
    # a post code that happens to be unique is nobody's id; an address is, with a word
    ("members.csv", "PLZ,E-Mail", [f"0{n},p{n}@b.org" for n in range(9)], "identify",
     {"userId": "E-Mail"}),
    # a visitor is no user
    ("visits.csv", "visitor_id,page_url,at",
     [f"v{n % 2},/x,2020-01-0{n}T00:00:00Z" for n in (1, 2, 3)], "page",
     {"anonymousId": "visitor_id", "timestamp": "at"}),
    ("memberships.csv", "account_id,user_id", ["A1,1", "A1,2"], "group",
     {"groupId": "account_id", "userId": "user_id"}),
    # a team without a person has no pair of ids to be known by
    ("teams.csv", "team_id,user_id", ["t1,1", "t2,"], "group",
     {"groupId": "team_id", "userId": "user_id"}),
    ("subscriptions.csv", "id,user_id,plan", ["s1,1,x", "s2,1,y"], "group",
     {"groupId": "id", "userId": "user_id"}),
    ("people.csv", "user_id,name,updated_at", ["1,Ann,2020-01-02", "2,Ann,2020-01-03"], "identify",
     {"userId": "user_id"}),
    ("clicks.csv", "user_id,updated_at,clicked_at",
     [f"{n % 2},2020-01-0{n},2019-01-0{n}" for n in (1, 2, 3)], "track",
     {"userId": "user_id", "timestamp": "clicked_at", "event": ""}),
    ("log.csv", "user_id,event,time", ["1,a,2020-01-02", "1,b,2020-01-03"], "track",
     {"userId": "user_id", "timestamp": "time", "event": "event"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "header", "rows", "kind", "members"), TRAPS, ids=[one[0] for one in TRAPS]
)
def test_a_column_is_what_its_name_and_its_cells_say_together(
    name: str, header: str, rows: list[str], kind: str, members: dict[str, str], tmp_path: Path
) -> None:
    (one,) = proposed(write(tmp_path / name, header, *rows), out=tmp_path / "x.yaml")
    assert one.proposal.type == kind
    assert {name: line.column for name, line in one.proposal.members.items()} == members
    assert survey(plan_of(load_mapping(one.path), Settings()), limit=None).counts.rejected == 0


def test_an_id_that_may_be_blank_beside_another_is_no_matter_for_a_word(tmp_path: Path) -> None:
    lines = {
        "anonymous_id": ["a1", None, "a3"],
        "user_id": ["1", "2", "3"],
        "at": [1_600_000_000] * 3,
    }
    rows = [dict(zip(lines, row, strict=True)) for row in zip(*lines.values(), strict=True)]
    source = write(tmp_path / "clicks.jsonl", *map(json.dumps, rows))
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    assert set(one.proposal.members) == {"userId", "anonymousId", "timestamp", "event"}
    assert [member for member, _ in one.proposal.doubts] == ["event"]


def test_a_zone_in_the_name_of_a_column_is_taken_at_its_word(tmp_path: Path) -> None:
    rows = ["1,7,2020-01-02 03:04", "2,7,2020-01-03 03:04"]
    source = write(tmp_path / "orders.csv", "id,customer_id,Created (UTC)", *rows)
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    assert [member for member, _ in one.proposal.doubts] == ["event"]
    assert messages(one.path, 2)[0]["timestamp"] == "2020-01-02T03:04:00.000Z"


def test_files_of_one_export_become_one_mapping_that_lists_them(tmp_path: Path) -> None:
    paths = [
        write(
            tmp_path / f"orders_2020-0{n}.csv", "id,customer_id,at", f"{n},7,2020-0{n}-01T00:00:00Z"
        )
        for n in (1, 2, 3)
    ]
    (one,) = proposed(*paths, out=tmp_path / "m" / "x.yaml")
    assert load_mapping(one.path).document.source.path == [
        f"../orders_2020-0{n}.csv" for n in (1, 2, 3)
    ]
    assert survey(plan_of(load_mapping(one.path), Settings()), limit=None).rows == 3


def test_a_folder_is_one_mapping_and_its_files_must_be_of_one_export(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    write(folder / "a.csv", "id,customer_id,at", "1,7,2020-01-01T00:00:00Z")
    write(folder / "b.csv", "id,customer_id,at", "2,7,2020-02-01T00:00:00Z")
    (one,) = proposed(folder, out=tmp_path / "x.yaml")
    assert load_mapping(one.path).document.source.path == ["orders"]
    assert one.stream.rows == 2
    write(folder / "c.csv", "id,name", "1,Ann")
    with pytest.raises(BackfillError, match="its columns are others than those of") as fault:
        proposed(folder, out=tmp_path / "y.yaml")
    assert fault.value.where == str(folder / "c.csv")


def test_a_key_that_comes_twice_where_nobody_looked_is_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backfill.propose.spread.PLACE_ROWS", 4)
    count = 1_000
    ids = [*range(count - 1), 500]  # only the last two rows of all are looked at
    ids[-1], ids[700] = 999, 500
    times = pa.array([1_600_000_000_000 + n for n in range(count)], pa.timestamp("ms", "UTC"))
    table = pa.table({"order_id": ids, "customer_id": [n % 9 for n in ids], "at": times})
    pq.write_table(table, tmp_path / "orders.parquet")
    (one,) = proposed(tmp_path / "orders.parquet", out=tmp_path / "x.yaml")
    assert one.stream.rows < count
    assert one.stream.column("order_id").is_unique, "nothing that was looked at tells"
    assert one.proposal.key == []
    assert "comes twice" in one.rehearsal.text


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"id,name\n", "there are no rows to look at"),
        ("a.csv", b"id,name\n1,2,3\n4\n", "no row has as many cells as the header"),
        ("a.csv", b"PK\x03\x04rest", "this is a ZIP file or an Excel workbook, not CSV"),
        ("a.csv", b"\x1f\x8brest", "this is packed by gzip, not CSV"),
        ("a.json", b'[{"id": 1}]', "this is one JSON array, not one object a line"),
        ("a.json", b'{\n  "data": [{"id": 1}]\n}\n', "this is JSON over several lines"),
        ("a.avro", b"Obj\x01\x04\x14avro.codec", "this is Avro, not CSV"),
        ("a.yaml", b"version: 1\n", "this is a mapping, no data"),
        ("a.bin", b"\x00\x01\x02", "this is neither CSV nor Parquet nor JSON lines"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"x,y\n1.5,2.5\n1.5,2.5\n", "no column can name a person or an object"),
    ],
)
def test_a_file_that_cannot_be_proposed_for_is_told_why_with_a_fix(
    name: str, content: bytes, what: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackfillError) as fault:
        proposed(tmp_path / name, out=tmp_path / "x.yaml")
    assert what in fault.value.what
    assert (fault.value.exit_code, bool(fault.value.fix)) == (2, True)
    assert fault.value.where == str(tmp_path / name)


def test_an_ending_that_tells_nothing_is_no_hindrance(tmp_path: Path) -> None:
    source = tmp_path / "people.export"
    source.write_text('{"id": "a1", "email": "a@b.org"}\n{"id": "a2", "email": "b@c.org"}\n')
    (one,) = proposed(source, out=tmp_path / "x.yaml")
    assert load_mapping(one.path).document.source.format == "jsonl"
    assert messages(one.path, 2)[0]["userId"] == "a2"


def test_lines_of_orders_are_said_to_be_one_event_a_row(cli: Cli) -> None:
    lines = (ROOT / "samples/order_lines.csv").read_text()
    (cli.folder / "order_lines.csv").write_text(lines)
    done = cli("init", "order_lines.csv", "-o", "lines.yaml")
    assert done.code == 0
    assert (
        "LOOK  event: named after the file: write what your campaigns call it; one event a row, but"
        " order_id has 80 different in 442 rows: for one event each, rows: {group_by: [order_id]}"
        " and each_row\n"
    ) in done.out + done.err
    path = cli.folder / "lines.yaml"
    path.write_text(path.read_text() + "rows: {group_by: [order_id]}\n")
    check = cli("check", "lines.yaml").out
    assert "group-differs in line_no\n" in check
    assert "fix: map it inside each_row" in check
