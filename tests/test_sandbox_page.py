"""The sandbox page shows what is so: real server, real runs, every text escaped, nothing false."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import closing
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from backfill.sandbox import Sandbox, Store, lists, tally
from backfill.sandbox import store as store_module
from backfill.sandbox.chart import BARS_MAX, HEIGHT, WIDTH, chart
from backfill.sandbox.database import ADDED, ORIGINS
from backfill.sandbox.provenance import BODIES_MAX, FileFacts, Provenance, RunFacts
from backfill.sandbox.wire import read_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Cli

    Orders = Callable[..., Path]

NAUGHTY: Final = Path(__file__).parent.parent / "../shared/data/strings/blns.json"
CANARIES: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'-alert(3)-'",
    "{{ 7 * 191 }}{% raw %}",
    "javascript:alert(4)",
    "</title></pre><h1>five</h1>",
    "&lt;b&gt;",
    "\u202eevil",
)
PAGES: Final = ("", "/people", "/events", "/objects", "/refused", "/runs")


class Read(HTMLParser):
    """The tags, the attributes and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag; its text stands apart from what is before it."""
        self.tags.append((tag, dict(attrs)))
        self.text += " " * (tag in {"td", "th", "dt", "dd", "p", "li", "h1", "h2", "h3"})

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def link(self, words: str) -> str:
        """Return the address of the first link whose address holds these words."""
        return next(str(a["href"]) for a in self.all("a") if words in str(a["href"]))


class Site:
    """The page of a running sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.url = sandbox.url
        self.store = sandbox.store

    def html(self, path: str, status: int = 200) -> str:
        """Get a page, whose address may begin with /page or not."""
        path = path if path.startswith("/page") else f"/page{path}"
        answer = requests.get(self.url + path, timeout=20)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        return answer.text

    def read(self, path: str, status: int = 200) -> Read:
        """Get a page and read it."""
        return Read(self.html(path, status))

    def send(self, *messages: dict[str, Any]) -> None:
        """Store messages as if a client had sent them."""
        self.store.accept(read_batch(json.dumps({"batch": messages}).encode()))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Sandbox(tmp_path / "s.sqlite") as sandbox:
        yield Site(sandbox)


def track(user: str, event: str = "Bought", at: str = "2020-01-02T03:04:05Z") -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": event, "timestamp": at}


def identify(user: str, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "traits": traits}


def group(key: str, user: str, **traits: Any) -> dict[str, Any]:
    return {"type": "group", "groupId": key, "userId": user, "traits": traits}


def everywhere(site: Site) -> list[str]:
    """Return every address of the page that links lead to, each once."""
    found, todo = ["/page"], ["/page"]
    while todo:
        for link in site.read(todo.pop()).all("a"):
            address = str(link["href"])
            if address.startswith("/page") and address not in found:
                found.append(address)
                todo.append(address)
    return found


# ---- what it shows


def test_an_empty_sandbox_says_how_to_fill_it(site: Site) -> None:
    assert "backfill run mappings/ --to sandbox" in site.html("")
    for path in PAGES:
        site.html(path)


def test_the_overview_counts_what_came_and_names_the_events(site: Site) -> None:
    site.send(identify("1"), track("1"), track("2"), track("2", "Left", "2022-05-01T00:00:00Z"))
    page = site.read("")
    assert re.search(r"People\s*2\s*Anonymous\s*0", page.text)
    assert "3 by month, 2020-01 to 2022-05. Most: 2 (2020-01). Nothing in 27 of 29" in page.text
    assert "/page/event?type=track&name=Bought" in [a["href"] for a in page.all("a")]
    site.send(track("3"))
    assert "4 by month" in site.read("").text, "what came since the last look is counted"


def test_a_person_is_found_by_id_by_email_and_by_the_begin_of_either(site: Site) -> None:
    site.send(identify("user/1", email="Ann@x.org"), identify("user/2", email="bob@x.org"))
    for words in ("user/1", "ANN@X.ORG", "ann@"):
        page = site.read(f"/people?q={words}")
        assert page.link("/page/people/") == "/page/people/1", words
        assert "/page/people/2" not in [a["href"] for a in page.all("a")]
    assert "Nobody has an id" in site.read("/people?q=%25").text, "no pattern of SQL"
    assert "Nobody has an id" in site.read("/people?q=USER/1").text


def test_a_person_has_traits_with_their_messages_relationships_and_merged_ids(site: Site) -> None:
    site.send(
        {"type": "track", "anonymousId": "anon-9", "event": "Seen"},
        {"type": "identify", "userId": "1", "anonymousId": "anon-9", "traits": {"plan": "a"}},
        identify("1", plan="b", city="Bern"),
        group("acme", "1", name="Acme"),
        track("old"),
        {"type": "alias", "userId": "1", "previousId": "old"},
    )
    page = site.read(site.read("/people?q=1").link("/page/people/"))
    assert re.search(r"anonymous ids\s*anon-9", page.text)
    assert re.search(r"merged into this person\s*old", page.text)
    assert re.search(r"plan\s*b\s*message 3", page.text)
    assert re.search(r"acme\s*1\s*none\s*message 4", page.text)
    assert "2 events, newest first" in page.text
    assert "Seen" in page.text
    made = site.read(page.link("/page/object?"))
    assert "last changed" in made.text
    assert made.link("/page/messages/") == "/page/messages/4"


def test_a_long_timeline_and_a_long_event_are_paged_without_a_gap(site: Site) -> None:
    for start in range(0, 130, 65):  # two of each moment, so that a page ends between equals
        site.send(*(track("1", at=f"2020-01-01T00:{n:02}:00Z") for n in range(65)))
        assert start < 130
    for first in ("/people/1", "/event?type=track&name=Bought"):
        seen, at = [], first
        while at:
            page = site.read(at)
            seen += re.findall(r"message (\d+)", page.text)
            at = next((str(a["href"]) for a in page.all("a") if a.get("rel") == "next"), "")
        assert len(seen) == len(set(seen)) == 130, first


def test_people_and_objects_and_refusals_are_paged_without_a_gap(site: Site) -> None:
    for n in range(3):
        site.send(*(group(f"o{n}-{k}", f"p{n}-{k}") for k in range(40)))
    site.store.refuse([(f"batch[{n}]: no reason", "{}") for n in range(120)], is_strict=True)
    wanted = {"/people": r">(p\d-\d+)<", "/objects": r">(o\d-\d+)<", "/refused": r'value="(\d+)"'}
    for first, pattern in wanted.items():
        seen, at = [], first
        while at:
            html = site.html(at)
            seen += re.findall(pattern, html)
            links = Read(html).all("a")
            at = next((str(a["href"]) for a in links if a.get("rel") == "next"), "")
        assert len(seen) == len(set(seen)) == 120, first


def test_refusals_are_told_by_cause_and_one_by_one(site: Site) -> None:
    told = {"Authorization": "Basic azo=", "X-Strict-Mode": "1"}
    bad = {"batch": [{"type": "track", "userId": "1"}, {"type": "track", "userId": "2"}]}
    for strict in ("1", "0"):
        requests.post(
            f"{site.url}/v1/batch", json=bad, headers=told | {"X-Strict-Mode": strict}, timeout=20
        )
    page = site.read("/refused")
    assert re.search(r"track needs event\s*4", page.text), "without the place in the batch"
    assert page.text.count("the sender was told") >= 2
    assert page.text.count("answered 200 and dropped: the sender was not told") == 2
    assert '{"type": "track", "userId": "2"}' in page.text
    assert "track needs event" in site.read("").text


def test_who_looks_at_millions_of_messages_is_told_to_wait_and_then_sees_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "WAITING_MAX", 2)
    monkeypatch.setattr(tally, "STEP", 1)
    site.send(*(track(str(n)) for n in range(5)))
    with site.store._write_lock:  # noqa: SLF001  so that it takes as long as we like
        page = site.read("", 503)
        assert "5 messages are still to be indexed and counted" in page.text
        assert {"http-equiv": "refresh", "content": "5"} in page.all("meta")
    for _ in range(200):
        if requests.get(f"{site.url}/page", timeout=20).status_code == 200:
            break
        time.sleep(0.05)
    assert re.search(r"Bought\s+track\s+5", site.read("/events").text)


# ---- where it comes from


KEYED = "version: 1\nname: orders\nsource: {path: orders.csv}\nkey: id\n"
KEYLESS = KEYED.replace("key: id\n", "")
TWO = """\
messages:
  - {type: identify, userId: person, traits: {note: note}}
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: at
    properties: {id: id}
"""


@pytest.mark.parametrize("head", [KEYED, KEYLESS])
def test_every_message_of_a_run_leads_to_its_very_row(
    cli: Cli, orders: Orders, tmp_path: Path, head: str
) -> None:
    orders(60, bad=(7,), mapping=head + TWO)
    assert cli("run", "orders.yaml", "--to", "sandbox", "--batch-messages", "9").code == 0
    with Sandbox(tmp_path / ".backfill/sandbox.sqlite") as sandbox:
        site = Site(sandbox)
        for seq in (1, 2, 60, 119, 120):
            found = site.store.look(lists.message, seq)
            assert found is not None
            sent = json.loads(found["body"])
            page = site.read(f"/messages/{seq}/row")
            assert "the row gives this very message" in page.text
            cells = re.search(r"Cell\s+id\s+(\d+)\s+person\s+(p\d)", page.text)
            assert cells is not None, page.text
            assert cells[2] == sent["userId"]
            assert int(cells[1]) + 2 == found["row"] + found["origin"]["first_row"]
            if sent["type"] == "track":
                assert cells[1] == sent["properties"]["id"]
        rows = [site.store.look(lists.message, seq) for seq in range(1, 121)]
        assert sorted(one["row"] for one in rows if one) == sorted([*range(60)] * 2)


def test_a_row_of_a_file_that_changed_or_went_is_not_shown(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    orders(3, mapping=KEYED + TWO)
    assert cli("run", "orders.yaml", "--to", "sandbox").code == 0
    with Sandbox(tmp_path / ".backfill/sandbox.sqlite") as sandbox:
        site, source = Site(sandbox), tmp_path / "orders.csv"
        assert "this very message" in site.read("/messages/2/row").text
        mapping = tmp_path / "orders.yaml"
        mapping.write_text(mapping.read_text().replace("name: orders", "name: others"))
        assert "the row gives no message with this id" in site.read("/messages/2/row").text
        mapping.write_text("version: 2\n")
        assert "cannot be read any more" in site.read("/messages/2/row").text
        source.write_text(source.read_text() + "9,9,2020-01-02T03:04:05Z,1,x\n")
        page = site.read("/messages/2/row")
        assert "the file has changed since" in page.text
        assert "p0" not in page.text
        source.unlink()
        assert "is not at its place any more" in site.read("/messages/2/row").text


def test_what_others_sent_is_not_given_a_row(site: Site) -> None:
    site.send(
        {**track("1"), "messageId": "0123456789ABCDEF000000001Z"},
        {**track("1"), "messageId": "0123456789ABCDEF12345678ZZ"},
    )
    first = site.read("/messages/1").text
    assert "a request does not say which row it is from" in first
    assert "that is row 64 of the data, the header not counted" in first  # 1Z is 63, from 0
    assert "of the data" not in site.read("/messages/2").text
    assert "is not known" in site.read("/messages/1/row", 404).text


def test_corrected_rejects_lead_to_the_row_they_had(
    cli: Cli, orders: Orders, tmp_path: Path
) -> None:
    orders(9, bad=(5,))
    assert cli("run", "orders.yaml", "--to", "sandbox").code == 3
    rejects = next((tmp_path / ".backfill").rglob("rejects.csv"))
    rejects.write_text(rejects.read_text().replace("none", "5"))
    assert cli("retry", "orders.yaml", "--to", "sandbox").code == 0
    with Store(tmp_path / ".backfill/sandbox.sqlite") as store:
        found = store.look(lists.message, 9)
    assert found is not None
    assert json.loads(found["body"])["properties"]["total"] == 5
    assert found["row"] == 5


def test_the_rows_of_a_refused_body_are_known_in_the_smaller_ones_that_follow() -> None:
    known = Provenance()
    file = FileFacts("orders.csv", 2)
    whole = [{**track("1"), "messageId": str(n)} for n in range(4)]
    body, part = (json.dumps({"batch": some}).encode() for some in (whole, whole[2:]))
    known.begin(RunFacts("r", "orders"))
    known.announce(body, file, [10, 11, 12, 13])
    assert list(known.rows_of(part, read_batch(part))[1]) == [None, None]
    known.note_refused(body, read_batch(body))
    found, rows = known.rows_of(part, read_batch(part))
    assert (found, list(rows)) == (file, [12, 13])
    for n in range(BODIES_MAX):
        known.announce(str(n).encode(), file, [])
    assert list(Provenance().rows_of(body, read_batch(body))[1]) == [None] * 4


# ---- what a run changed


def test_the_last_run_is_told_as_what_it_changed(cli: Cli, tmp_path: Path) -> None:
    mapping = "version: 1\nsource: {path: p.csv}\nkey: id\nmessages:\n"
    mapping += "  - {type: identify, userId: id, traits: {plan: plan, city: city}}\n"
    (tmp_path / "p.yaml").write_text(mapping)
    (tmp_path / "p.csv").write_text("id,plan,city\n1,a,Bern\n2,a,Bern\n3,a,Bern\n")
    assert cli("run", "p.yaml", "--to", "sandbox").code == 0
    (tmp_path / "p.csv").write_text("id,plan,city\n1,b,Bern\n2,a,Bern\n3,a,Bern\n4,a,Rom\n")
    assert cli("run", "p.yaml", "--to", "sandbox").code == 0
    with Sandbox(tmp_path / ".backfill/sandbox.sqlite") as sandbox:
        site = Site(sandbox)
        page = site.read(site.read("").link("/page/runs/2"))
        assert "People changed 1" in page.text
        assert re.search(r'plan\s*"a"\s*"b"', page.text)
        assert "city" not in page.text.split("People new")[0]
        assert re.search(r"People new 1\s.*\s4\s+city: Rom", page.text, re.DOTALL)
        assert re.search(r"identify\s*identify\s*2\s*3", page.text), "beside the run before"
        first = site.read("/runs/1").text
        assert "People new 3" in first
        assert "it is the first of its stream" in first


def test_an_earlier_run_is_told_as_it_was_and_those_who_went_are_named(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "s.sqlite") as sandbox:
        site = Site(sandbox)
        runs = (
            [identify("1", n=1), identify("2", n=1), identify("3", n=1)],
            [identify("1", n=2), {"type": "alias", "userId": "1", "previousId": "2"}],
            [identify("1", n=3), track("3", "User Deleted")],
            [identify("1", n=4)],
        )
        for number, messages in enumerate(runs):
            site.store.provenance.begin(RunFacts(f"r{number}", "s"))
            site.send(*messages)
        second, third = (site.read(f"/runs/{n}").text for n in (2, 3))
    assert re.search(r"n\s*1\s*2\s", second), "what it was then, not what it is now"
    assert re.search(r"2\s*merged into another person", second)
    assert re.search(r"n\s*2\s*3\s", third)
    assert re.search(r"3\s*deleted", third)


def test_a_run_that_goes_on_is_one_run(tmp_path: Path) -> None:
    for number in range(2):
        with Store(tmp_path / "s.sqlite") as store:
            store.provenance.begin(RunFacts("r", "s"))
            body = json.dumps({"batch": [identify(str(number))]}).encode()
            store.accept(read_batch(body))
            assert store.provenance.run == 1


# ---- files of before


def test_a_file_of_the_version_before_opens_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with Store(path) as store:
        store.accept(read_batch(json.dumps({"batch": [track("1", "Old")]}).encode()))
    with closing(sqlite3.connect(path)) as db:
        for statement in re.findall(r"CREATE TABLE (\w+)", ORIGINS):
            db.execute(f"DROP TABLE {statement}")
        for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\S+)", ADDED):
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
        names = [row[1] for row in db.execute("PRAGMA table_info(messages)")]
    assert names[-1] == "body", "as it was"
    with Sandbox(path) as sandbox:
        site = Site(sandbox)
        assert "received before the sandbox kept this" in site.read("/messages/1").text
        assert "Old" in site.read("/events").text
        site.send(track("1", "New"), identify("1", n=1), group("g", "1"))
        assert len(everywhere(site)) > 12


# ---- safe to look at


def test_every_text_is_escaped_on_every_page(site: Site) -> None:
    for n, text in enumerate(CANARIES):
        site.send(
            identify(f"{text}{n}", **{text: text, "email": f"{n}@x.org"}),
            track(f"{text}{n}", text),
            {"type": "page", "userId": text, "name": text, "properties": {text: text}},
            group(text, text, **{text: text}),
        )
        site.store.refuse([(text, text)], is_strict=True)
        site.store.provenance.begin(RunFacts(f"{text}{n}", text, text))
    site.send(identify(f"{CANARIES[0]}0", **{CANARIES[0]: CANARIES[1]}))
    found = everywhere(site)
    assert len(found) > 60
    for address in found:
        html = site.html(address)
        page = Read(html)
        names = {name for name, _ in page.tags}
        assert not names & {"script", "img", "iframe", "object", "style", "b"}, address
        assert len(page.all("h1")) == 1, address
        for name, attributes in page.tags:
            assert not [at for at in attributes if at.startswith("on") or at == "style"], name
            for at in ("href", "src", "action"):
                assert str(attributes.get(at, "/page")).startswith(("/page", "#")), attributes
        assert "1337" not in page.text, "no template within a template"


def test_naughty_strings_are_shown_as_they_are(site: Site) -> None:
    if not NAUGHTY.exists():
        pytest.skip(f"the shared data is not here: {NAUGHTY}")
    strings = [text for text in json.loads(NAUGHTY.read_text()) if text.strip()]
    site.send(identify("1", **{f"n{at}": text for at, text in enumerate(strings)}))
    page = site.read("/people/1")
    missing = [text for text in strings if "\r" not in text and "\0" not in text]
    assert [text for text in missing if text not in page.text] == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8722", "localhost@e", ""])
@pytest.mark.parametrize("path", ["/page", "/people/1", "/stats", "/page/style.css"])
def test_a_name_that_is_not_this_machines_is_not_answered(site: Site, host: str, path: str) -> None:
    site.send(identify("1", secret="canary"))
    answer = requests.get(site.url + path, headers={"Host": host}, timeout=20)
    assert answer.status_code in ({421} if host else {400, 421})
    assert "canary" not in answer.text


def test_this_machine_is_answered_by_each_of_its_names(site: Site) -> None:
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8722", "[::1]"):
        answer = requests.get(f"{site.url}/page", headers={"Host": host}, timeout=20)
        assert answer.status_code == 200, host


@pytest.mark.parametrize("path", [*PAGES, "/style.css", "/nothing", "/people/1"])
def test_a_browser_is_told_to_load_and_keep_nothing(site: Site, path: str) -> None:
    answer = requests.get(f"{site.url}/page{path}", timeout=20)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; script-src 'none';")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert requests.post(f"{site.url}/page{path}", timeout=20).status_code == 405


def test_no_key_is_shown_anywhere(cli: Cli, orders: Orders, tmp_path: Path) -> None:
    orders(3)
    key = "canary4711writekey"
    with Sandbox(tmp_path / "s.sqlite") as sandbox:
        assert cli("run", "orders.yaml", "--to", sandbox.url).code == 0
        requests.post(f"{sandbox.url}/v1/track", auth=(key, ""), data="no", timeout=20)
        site = Site(sandbox)
        pages = [site.html(address) for address in everywhere(site)]
    assert "3 received" in "".join(pages)
    assert key not in "".join(pages)


@pytest.mark.parametrize(
    "path",
    [
        *("/people/99", "/messages/99", "/runs/99", "/object?type=1&id=none", "/event?type=x"),
        *(
            "/people?after=x",
            "/people?after=" + "9" * 30,
            "/people/" + "9" * 30,
            "/refused?before=-1",
        ),
        *(
            "/people/1?before=1",
            "/people/1?before=1.x",
            "/people/1?before=--1.1",
            "/nope/x",
            "/object",
        ),
        "/people?after=%F0%9F%98%80",
    ],
)
def test_an_address_that_leads_nowhere_says_so(site: Site, path: str) -> None:
    site.send(track("1"))
    page = site.read(path, 404)
    assert "Not here" in page.text
    assert page.link("/page") == "/page"


def test_a_browser_at_the_root_is_led_to_the_page_and_a_program_to_the_list(site: Site) -> None:
    led = requests.get(site.url, headers={"Accept": "text/html,*/*"}, timeout=20)
    assert led.url == f"{site.url}/page"
    assert requests.get(site.url, timeout=20).json()["look"] == ["/page"]


def test_tables_have_heads_figures_have_words_and_landmarks_are_named(site: Site) -> None:
    site.send(identify("1", a=1), track("1"), group("g", "1", a=1))
    site.store.refuse([("no", "{}")], is_strict=False)
    for address in everywhere(site):
        page = site.read(address)
        names = [name for name, _ in page.tags]
        assert names.count("table") == names.count("caption")
        assert all("scope" in one for one in page.all("th")), address
        assert {"header", "main", "nav", "footer"} <= set(names)
        assert page.all("html")[0]["lang"] == "en"
        labels = {one.get("for") for one in page.all("label")}
        assert all(one["id"] in labels for one in page.all("input"))
        assert all(one.get("role") == "img" and one["aria-labelledby"] for one in page.all("svg"))
        ids = [one["id"] for _, one in page.tags if "id" in one]
        assert len(ids) == len(set(ids)), address
        assert page.all("a")[0]["href"] == "#main"


# ---- the histogram


@given(st.dictionaries(st.integers(-719162, 2932896), st.integers(1, 10**9), max_size=40))
def test_a_histogram_counts_every_event_once_and_fits(days: dict[int, int]) -> None:
    made = chart(sorted(days.items()))
    assert sum(bar.n for bar in made.bars) == sum(days.values())
    assert len(made.bars) <= BARS_MAX
    for bar in made.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= HEIGHT
        assert (bar.height > 0) == (bar.n > 0)
    if days:
        assert made.bars[0].n
        assert made.bars[-1].n
        assert f"{sum(days.values()):,} by {made.unit}" in made.words


@pytest.mark.parametrize(
    ("first", "last", "unit", "label"),
    [
        ("2024-02-28", "2024-03-01", "day", "2024-02-28"),
        ("2024-01-03", "2024-12-01", "week", "week of 2024-01-01"),
        ("2020-11-30", "2024-12-01", "month", "2020-11"),
        ("2010-05-01", "2024-12-01", "quarter", "2010 Q2"),
        ("1969-12-31", "2024-12-01", "year", "1969"),
        ("1900-01-01", "2024-12-01", "decade", "1900s"),
        ("0001-01-01", "9999-12-31", "millennium", "0000s"),
    ],
)
def test_the_unit_of_a_histogram_is_as_short_as_fits(
    first: str, last: str, unit: str, label: str
) -> None:
    epoch = date(1970, 1, 1)
    days = [((date.fromisoformat(at) - epoch).days, 1) for at in (first, last)]
    made = chart(days)
    assert (made.unit, made.bars[0].label) == (unit, label)


def test_events_before_1970_stand_on_their_own_day(site: Site) -> None:
    site.send(track("1", at="1969-12-31T23:59:59.999Z"), track("1", at="1970-01-01T00:00:00Z"))
    assert "2 by day, 1969-12-31 to 1970-01-01. Most: 1" in site.read("").text


# ---- as it is shipped


@pytest.mark.large
def test_a_wheel_has_the_templates_and_the_stylesheet(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), "."]
    done = subprocess.run(build, cwd=root, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    there = {path.name for path in (root / "backfill/sandbox/templates").iterdir()}
    assert {f"backfill/sandbox/templates/{name}" for name in there} <= set(names)
    assert {"base.html", "style.css"} <= there
