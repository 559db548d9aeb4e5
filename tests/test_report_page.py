"""`report.html` tells the whole run, adds up, opens offline, and shows no more than it may."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from ledger import Ledger, Reply

from backfill.checkpoint import Store
from backfill.tallies import figures_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Cli

    Door = Callable[..., dict[str, Any]]

EVENTS = """\
version: 1
name: events
source: {path: events.csv}
key: id
guards: {recent_events: hold}
delivery: {batch_messages: 40}
messages:
  - type: track
    userId: person
    event: what
    timestamp: at
    properties: {total: {column: total, type: number}, note: note}
"""
CANARY = "canary-17-cell"
HOSTILE = '<img src=x onerror="alert(1)"> $x$ & \'"'


def events(folder: Path, count: int = 200, *, names: list[str] | None = None) -> Path:
    """Write events of 2020, a day each; every tenth total is no number."""
    names = names or ["Bought", "Viewed"]
    lines = ["id,person,what,at,total,note"]
    for n in range(count):
        total = CANARY if n % 10 == 3 else f"{n}.50"
        what = '"' + names[n % len(names)].replace('"', '""') + '"'
        day = f"2020-{1 + n // 28 % 12:02d}-{1 + n % 28:02d}"
        lines.append(f"{n},p{n % 7},{what},{day}T03:04:05Z,{total},note-{n}")
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    path = folder / "events.yaml"
    path.write_text(EVENTS)
    return path


class Page(HTMLParser):
    """The text of a page and its attributes, as a browser would take them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(self.raw)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)


def page_of(folder: Path, stream: str = "events") -> Page:
    """Read the page of the one run of a stream."""
    (path,) = folder.glob(f"*/{stream}/runs/*/report.html")
    return Page(path)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pictures be drawn."""
    monkeypatch.delenv("BACKFILL_PICTURES")


@pytest.mark.usefixtures("drawn")
def test_a_run_leaves_a_page_with_pictures_that_opens_offline(door: Door, tmp_path: Path) -> None:
    report = door(events(tmp_path))
    page = page_of(tmp_path)
    (path,) = tmp_path.glob("state/events/runs/*/report.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert page.tags.count("svg") >= 3, "books, events over time, days"
    assert not {"script", "link", "img", "iframe", "object", "image", "form"} & set(page.tags)
    told = [value for name, value in page.attributes if name in {"href", "src", "xlink:href"}]
    assert all(value.startswith("#") for value in told)
    assert not re.search(r"url\((?!#)", page.raw)
    assert "@import" not in page.raw
    addresses = set(re.findall(r"https?://[^\s<\"']+", page.raw))
    assert addresses <= {report["destination"]}, "only as words"
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("drawn")
def test_the_same_run_draws_the_same_bytes(door: Door, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        door(events(tmp_path / name), state=tmp_path / name / "state")
        raw = page_of(tmp_path / name).raw
        found.append(
            re.findall(r'<figure class="(?:books|events|days)">.*?</figure>', raw, re.DOTALL)
        )
    assert len(found[0]) == 3
    assert found[0] == found[1]


def test_the_books_on_the_page_add_up_to_those_of_the_report(door: Door, tmp_path: Path) -> None:
    rows = door(events(tmp_path))["rows"]
    text = page_of(tmp_path).text
    names = ("delivered", "filtered", "held", "rejected", "unchanged", "pending")
    told = " + ".join(f"{rows[name]:,}" for name in names)
    assert rows == dict.fromkeys(rows, 0) | {"read": 200, "delivered": 180, "rejected": 20}
    assert f"200 read = {told}" in text
    assert "Bought 100" in text
    assert "20 × number-unreadable in total (rejected)" in text
    assert "correct the cell, or set decimal: and thousands: for this column" in text
    assert "backfill retry" in text


def test_names_from_a_source_are_words_on_the_page_and_nothing_else(
    door: Door, tmp_path: Path
) -> None:
    door(events(tmp_path, names=[HOSTILE, "a\x07b"]))
    page = page_of(tmp_path)
    assert HOSTILE[:39] in page.text.replace("…", "")[:20000] or HOSTILE in page.text
    assert "<img" not in page.raw
    assert "img" not in page.tags
    assert "\x07" not in page.raw


@pytest.mark.usefixtures("drawn")
def test_names_that_a_picture_could_take_for_formulas_are_drawn_as_they_are(
    door: Door, tmp_path: Path
) -> None:
    door(events(tmp_path, names=[r"$\frac{1}$", "</svg><script>", "漢字 \U0001f600"]))
    page = page_of(tmp_path)
    assert "could not be drawn" not in page.text
    assert "script" not in page.tags
    assert page.text.count(r"$\frac{1}$") == 2, "in the picture and in the table"


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ("none", "events.csv:5 … is not a number"),
        ("masked", "events.csv:5 c…(14) is not a number"),
        ("full", f"events.csv:5 total: '{CANARY}' is not a number"),
    ],
)
def test_a_cell_is_on_the_page_only_as_far_as_samples_says(
    door: Door, tmp_path: Path, samples: str, told: str
) -> None:
    door(events(tmp_path), samples=samples)
    page = page_of(tmp_path)
    assert told in page.text
    run = next(tmp_path.glob("state/events/runs/*"))
    kept = b"".join(path.read_bytes() for path in run.glob("figures-*.bin"))
    is_shown = samples == "full"
    assert (CANARY in page.raw) == is_shown
    assert (CANARY.encode() in kept) == is_shown
    assert "note-1" not in page.raw
    state = (tmp_path / "state/events/checkpoint.json").read_text()
    assert "Bought" not in state


def test_what_a_destination_repeats_of_a_row_is_masked(tmp_path: Path, cli: Cli) -> None:
    def refuse(body: bytes) -> Reply:
        if b"note-4" in body:
            return Reply(400, b'{"errors":[{"reason":"note-4 is no good note"}]}')
        return Reply()

    mapping = events(tmp_path, 12)
    with Ledger(refuse) as ledger:
        done = cli("run", mapping.name, "--to", ledger.url)
    assert done.code == 3, done.err
    page = page_of(tmp_path)
    assert "1 × refused (rejected)" in page.text
    assert "events.csv:6 the destination refused it: … is no good …" in page.text
    assert "note-4" not in page.raw


def test_very_many_names_are_cells_and_masked(door: Door, tmp_path: Path) -> None:
    mapping = events(tmp_path, 600, names=[f"secret-{n:03d}" for n in range(300)])
    door(mapping)
    page = page_of(tmp_path)
    assert "secret-" not in page.raw
    assert "s…(10) #" in page.text
    assert "all others" in page.text


def test_pictures_that_cannot_be_drawn_stop_nothing_and_are_said(
    tmp_path: Path, cli: Cli, ledger: Ledger
) -> None:
    mapping = events(tmp_path, 12)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/matplotlib.py").write_text("raise ImportError('no')\n")
    env = cli.environment(BACKFILL_PICTURES="yes")
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "broken"), env["PYTHONPATH"]])
    done = cli("run", mapping.name, "--to", ledger.url, env=env)
    assert done.code == 3
    assert done.err == "the pictures of report.html could not be drawn: ImportError\n"
    page = page_of(tmp_path)
    assert "could not be drawn: ImportError; the tables say the same." in page.text
    assert "Bought" in page.text


def test_a_page_that_cannot_be_written_stops_nothing_and_is_said(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise RuntimeError("no page today")

    monkeypatch.setattr("backfill.ending.page_of", fail)
    words: list[str] = []
    report = door(events(tmp_path, 12), tell=words.append)
    assert report["exit_code"] == 3
    assert words == ["report.html was not written: RuntimeError"]


def test_the_pictures_cover_the_whole_run_however_often_it_is_killed(
    tmp_path: Path, cli: Cli
) -> None:
    """Killed and resumed: the figures are those of a run that nothing disturbed."""
    mapping = events(tmp_path, 2000)
    kills = 0

    def answer(_: bytes) -> Reply:
        time.sleep(0.01)
        return Reply()

    with Ledger(answer) as ledger:
        command = ["run", mapping.name, "--to", ledger.url, "--rate", "unlimited"]
        for wanted in (120, 600, 1100):
            running = cli.start(*command)
            until_s = time.monotonic() + 30
            while len(ledger.sent) < wanted and running.poll() is None:
                assert time.monotonic() < until_s
                time.sleep(0.002)
            if running.poll() is None:
                os.kill(running.pid, signal.SIGKILL)
                kills += 1
            running.communicate(timeout=30)
        done = cli(*command)
    assert kills == 3
    assert done.code == 3, done.err
    state = Store(tmp_path / ".backfill", "events").load()
    assert state is not None
    figures = figures_of(next(tmp_path.glob(".backfill/events/runs/*")), state)
    assert figures is not None
    assert figures.messages == state.counts.delivered_messages == 1800
    assert {name.name: n for name, n in figures.by_name().items() if n} == {
        "Viewed": 800,
        "Bought": 1000,
    }
    assert sum(done[0] for done in figures.moments.values()) == 2000
    causes = {place: one["count"] for place, one in figures.causes.items()}
    assert causes == {("rejected", "number-unreadable", "total"): 200}
    page = page_of(tmp_path)
    assert "It was resumed 3 times, after 3 cuts without a word" in page.text
    assert "not counted" not in page.text


def test_figures_that_are_lost_are_said_and_stop_nothing(door: Door, tmp_path: Path) -> None:
    mapping = events(tmp_path, 200)
    door(mapping, limit=100)
    (kept,) = tmp_path.glob("state/events/runs/*/figures-0.bin")
    kept.write_bytes(kept.read_bytes()[:-9])
    report = door(mapping)
    assert report["rows"]["delivered"] == 180
    told = "The pictures cover 90 of 180 delivered messages: the others were not counted."
    assert told in page_of(tmp_path).text


def test_a_run_with_nothing_new_leaves_the_page_as_it_is(door: Door, tmp_path: Path) -> None:
    mapping = events(tmp_path, 12)
    door(mapping)
    (path,) = tmp_path.glob("state/events/runs/*/report.html")
    before = path.stat().st_mtime_ns
    assert "nothing new" in door(mapping)["note"]
    assert path.stat().st_mtime_ns == before


def test_a_run_that_stops_has_a_page_that_says_how_to_go_on(tmp_path: Path, cli: Cli) -> None:
    mapping = events(tmp_path, 100)
    with Ledger(lambda body: Reply(401 if b'"p3"' in body else 200)) as ledger:
        done = cli("run", mapping.name, "--to", ledger.url)
    assert done.code == 12
    page = page_of(tmp_path)
    assert "exit 12 key, region or address refused" in page.text
    assert f"backfill run events.yaml --to {ledger.url}" in page.text


def test_the_summary_is_what_it_is_at_80_columns(tmp_path: Path, cli: Cli, ledger: Ledger) -> None:
    mapping = events(tmp_path, 200)
    done = cli("run", mapping.name, "--to", ledger.url, env=cli.environment(NO_COLOR="1"))
    run = json.loads(next(tmp_path.glob(".backfill/events/runs/*/report.json")).read_text())
    size = f"{run['requests']['bytes'] / 1e3:.1f} kB"
    folder = f".backfill/events/runs/{run['run_id']}"
    assert (
        done.out
        == f"""\
events: 200 rows read → {ledger.url}
  delivered           180
  rejected             20  number-unreadable 20
    → {folder}/rejects.csv
  messages            180  in 5 requests, {size}
  times     2020-01-01T03:04:05.000Z to 2020-08-04T03:04:05.000Z
  report    {folder}/report.html
  next: correct the cells in rejects.csv (the reasons stand beside them), then:
    backfill retry events.yaml --to {ledger.url}
"""
    )
    assert max(map(len, done.out.splitlines())) <= 80


def test_traits_are_counted_by_the_people_who_have_them(door: Door, tmp_path: Path) -> None:
    people = [f"{n},{'a@b.c' if n % 4 else ''},{'Rome' if n % 2 else ''}" for n in range(100)]
    (tmp_path / "people.csv").write_text("\n".join(["id,email,city", *people]) + "\n")
    (tmp_path / "people.yaml").write_text(
        "version: 1\nsource: {path: people.csv}\nkey: id\nmessages:\n"
        "  - {type: identify, userId: id, traits: {email: email, city: city, old: {const: 1}}}\n"
    )
    door(tmp_path / "people.yaml")
    text = page_of(tmp_path, "people").text
    assert "of 100 identify messages that were delivered" in text
    for told in ("old 100 100.0 %", "email 75 75.0 %", "city 50 50.0 %"):
        assert told in text


def test_what_was_counted_but_not_saved_is_not_counted_twice(door: Door, tmp_path: Path) -> None:
    """What a kill between the figures and the state leaves behind is cut away by the resume."""
    mapping = events(tmp_path, 200)
    door(mapping, limit=100)
    (kept,) = tmp_path.glob("state/events/runs/*/figures-0.bin")
    data = kept.read_bytes()
    kept.write_bytes(data + data)
    door(mapping)
    state = Store(tmp_path / "state", "events").load()
    assert state is not None
    figures = figures_of(kept.parent, state)
    assert figures is not None
    assert figures.messages == 180
    assert sum(figures.by_name().values()) == 180
