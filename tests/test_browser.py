"""The sandbox's page and a run's report in a real browser: by mouse, by keyboard, light, dark."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from backfill.sandbox import Sandbox
from backfill.sandbox.wire import read_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
BROWSER: Final = next(filter(None, map(shutil.which, BROWSERS)), None)
DRIVER: Final = shutil.which("chromedriver")
PATHS: Final = (
    *("", "/people", "/people?q=u1", "/people/2", "/events", "/event?type=track&name=Bought"),
    *("/refused", "/runs", "/runs/2", "/objects", "/object?type=1&id=t1"),
    *("/messages/9", "/messages/9/row"),
)
"""Every kind of page of the sandbox."""
HOSTILE: Final = "<img src=//evil.example/x onerror=document.title='owned'>"

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no browser here: install chromium and chromium-driver to run these",
)
webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is not installed: pip install '.[dev]'"
)

WebDriverException = pytest.importorskip("selenium.common").WebDriverException
WebDriverWait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait

CONTRAST: Final = """
const channel = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
const parse = text => text.match(/[\\d.]+/g).map(Number);
const ground = element => {
  for (; element; element = element.parentElement) {
    const c = parse(getComputedStyle(element).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll('body *, ::placeholder')) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own && element.tagName !== 'INPUT') continue;
  const a = light(parse(getComputedStyle(element).color)), b = light(ground(element));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const words = element.textContent.slice(0, 30);
  found.push([ratio, element.tagName + '.' + element.className + ': ' + words]);
}
return found;
"""


FAULTS: Final = """
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const found = [];
const must = (holds, words) => { if (!holds) found.push(words); };
for (const tag of ['h1', 'main', 'body > header', 'body > footer'])
  must(all(tag).length === 1, 'one ' + tag);
must(document.documentElement.lang && document.title, 'a language and a title');
must(all('body a[href], body button, body input')[0].className === 'skip', 'skip link first');
for (const link of all('a[href^="#"]'))
  must(document.getElementById(link.hash.slice(1)), 'a target of ' + link.hash);
let last = 0;
for (const head of all('h1, h2, h3, h4')) {
  const level = Number(head.tagName[1]);
  must(level <= last + 1, 'the level of ' + head.textContent);
  last = level;
}
for (const nav of all('nav, [role=region]')) must(nav.ariaLabel, 'a label of ' + nav.tagName);
for (const one of all('[aria-labelledby]'))
  for (const id of one.getAttribute('aria-labelledby').split(' '))
    must(document.getElementById(id)?.textContent.trim(), 'words of ' + id);
for (const svg of all('svg'))
  must(svg.getAttribute('role') === 'img' && svg.hasAttribute('aria-labelledby'), 'svg as img');
for (const table of all('table')) {
  must(all('caption', table).length === 1, 'a caption');
  must(all('thead th[scope=col]', table).length > 0, 'heads of columns');
  for (const head of all('th', table))
    must(head.scope && head.textContent.trim(), 'scope and words of ' + head.outerHTML);
  for (const row of all('tbody tr', table))
    must(all('th[scope=row]', row).length === 1, 'a head of ' + row.textContent);
}
for (const input of all('input')) must(input.labels.length, 'a label of ' + input.name);
const ids = all('[id]').map(one => one.id);
must(new Set(ids).size === ids.length, 'ids once each');
return found;
"""
"""What a reader of the screen would stumble over."""

WIDER: Final = """
return [...document.querySelectorAll('html, body, .wide, figure, pre')]
  .filter(one => one.scrollWidth > one.clientWidth)
  .map(one => one.tagName + '.' + one.className + ' ' + one.scrollWidth);
"""


class Browser:
    """Chromium without a window, with what it says in its console and asks of the network."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
        for flag in flags:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)

    def look(self, scheme: str, width: int, media: str = "") -> None:
        """Be a light or dark window of so many pixels; or a sheet of paper: media `print`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def follow(self, words: str) -> None:
        """Click the first link with exactly these words in the content."""
        self.driver.find_element("xpath", f"//main//a[normalize-space()='{words}']").click()

    def nav(self, words: str) -> None:
        """Click a link of the navigation."""
        self.driver.find_element("xpath", f"//nav//a[.='{words}']").click()

    @property
    def text(self) -> str:
        """The content, as it is seen."""
        found: str = self.driver.find_element("tag name", "main").text
        return found

    def comes_to(self, words: str) -> bool:
        """Wait until the content has these words: a key that leads to a page returns at once."""
        waiting = WebDriverWait(self.driver, 20, ignored_exceptions=[WebDriverException])
        return bool(waiting.until(lambda _: words in self.text, words))

    def press(self, *keys: str) -> Any:
        """Press keys where the focus is, and return what has it then."""
        self.driver.switch_to.active_element.send_keys(*keys)
        return self.driver.switch_to.active_element

    def requested(self) -> list[str]:
        """Return the addresses asked for since the last time."""
        found = []
        for entry in self.driver.get_log("performance"):
            if '"Network.requestWillBeSent"' in entry["message"]:
                found += re.findall(r'"request":\{.*?"url":"([^"]*)"', entry["message"])
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    running = Browser()
    yield running
    running.driver.quit()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve what two runs of a stream left, with refusals and hostile names."""
    from conftest import Cli  # noqa: PLC0415

    folder: Path = tmp_path_factory.mktemp("browser")
    mapping = "version: 1\nsource: {path: p.csv}\nkey: id\nmessages:\n"
    mapping += "  - {type: identify, userId: id, traits: {plan: plan, note: note}}\n"
    mapping += "  - {type: track, userId: id, event: Bought, timestamp: at}\n"
    mapping += "  - {type: group, groupId: team, userId: id, traits: {name: team}}\n"
    mapping = mapping.replace("event: Bought", "event: {const: Bought}")
    (folder / "p.yaml").write_text(mapping)
    for plan in ("basic", "gold"):
        rows = [f"u{n},{plan},{HOSTILE},20{n % 20:02}-03-04T05:06:07Z,t{n % 3}" for n in range(120)]
        (folder / "p.csv").write_text("\n".join(["id,plan,note,at,team", *rows]) + "\n")
        assert Cli(folder)("run", "p.yaml", "--to", "sandbox").code == 0
    with Sandbox(folder / ".backfill/sandbox.sqlite") as sandbox:
        sandbox.store.refuse([("batch[3]: track needs event", '{"type":"track"}')], is_strict=True)
        body = b'{"batch":[{"type":"track","userId":"u1","event":"%s"}]}' % HOSTILE.encode()
        sandbox.store.accept(read_batch(body))
        yield sandbox.url


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a report with all its parts: long names, rejects, a hole, pictures."""
    from conftest import Cli  # noqa: PLC0415

    folder: Path = tmp_path_factory.mktemp("report")
    name = f"{'export_of_the_old_system_' * 3}final.csv"
    lines = ["id,who,what,at,total"]
    for n in range(600):
        day = np.datetime64("2022-11-01") + n // 5 + (30 if n >= 300 else 0)
        total = "none" if n % 50 == 7 else n
        what = (HOSTILE, "Bought", "AVeryLongNameWithoutAnyBlankThatSomebodyChose")[n % 3]
        lines.append(f"{n},p{n},{what},{day}T03:04:05Z,{total}")
    lines.append(f"600,p1,Bought,{np.datetime64('now')}Z,1")
    (folder / name).write_text("\n".join(lines) + "\n")
    mapping = f"version: 1\nsource: {{path: {name}}}\nkey: id\nguards: {{recent_events: hold}}\n"
    mapping += "messages:\n  - {type: track, userId: who, event: what, timestamp: at, properties: "
    mapping += "{total: {column: total, type: number}}}\n"
    mapping += "  - {type: identify, userId: who, traits: {preferred_address_of_the_person: who}}\n"
    (folder / "events.yaml").write_text(mapping)
    cli = Cli(folder)
    env = cli.environment(BACKFILL_PICTURES="yes")
    done = cli("run", "events.yaml", "--to", "sandbox", env=env)
    assert done.code == 3, done.err
    (path,) = folder.glob(".backfill/events/runs/*/report.html")
    return path.as_uri()


@pytest.fixture(autouse=True)
def _quiet(browser: Browser, url: str) -> Iterator[None]:
    """No test of the page may leave an error in the console, or ask anyone else for anything."""
    browser.look("light", 1280)
    browser.driver.get_log("browser")
    browser.requested()
    yield
    assert browser.driver.get_log("browser") == []
    asked = browser.requested()
    assert asked, "requests are seen at all"
    assert [one for one in asked if not one.startswith((url, "file:///"))] == []
    assert browser.driver.title != "owned"


def test_from_the_overview_to_a_person_to_a_message_to_its_row(browser: Browser, url: str) -> None:
    browser.driver.get(url)
    assert browser.driver.current_url == f"{url}/page"
    assert "What the sandbox received" in browser.text
    field = browser.driver.find_element("id", "q")
    field.send_keys("u117")
    field.submit()
    browser.follow("u117")
    assert re.search(r"plan\s+gold\s+message \d+", browser.text)
    assert HOSTILE in browser.text
    browser.follow(re.findall(r"Bought (message \d+)", browser.text)[0])
    assert '"event": "Bought"' in browser.text
    assert re.search(r"row\s+119 as a spreadsheet counts", browser.text)
    browser.follow("Show the row")
    assert re.search(r"Row 119", browser.text)


def test_events_by_name_with_a_histogram_page_by_page(browser: Browser, url: str) -> None:
    browser.driver.get(f"{url}/page")
    browser.nav("Events")
    browser.follow("Bought")
    bars = browser.driver.find_elements("css selector", "svg[role=img] rect")
    assert len(bars) == 20
    assert all(bar.size["height"] > 1 for bar in bars)
    assert "120 by quarter" in browser.text or "120 by year" in browser.text
    first = browser.text
    browser.follow("Next")
    assert browser.text != first
    browser.follow("Back to the first")
    assert browser.text == first
    summary = browser.driver.find_element("tag name", "summary")
    summary.click()
    assert browser.driver.find_element("css selector", "details table").is_displayed()


def test_refusals_objects_and_what_the_last_run_changed(browser: Browser, url: str) -> None:
    browser.driver.get(f"{url}/page")
    browser.follow("Look at what was refused")
    assert "track needs event" in browser.text
    browser.nav("Objects")
    browser.follow("t1")
    assert "People related to it" in browser.text
    browser.nav("Overview")
    browser.nav("Runs")
    rows = browser.driver.find_elements("css selector", "tbody th a")
    rows[1].click()  # the first is what was sent from elsewhere
    assert "People changed 120" in browser.text
    assert re.search(r'plan\s+"basic"\s+"gold"', browser.text)


def test_the_keyboard_alone_is_enough_and_the_focus_is_seen(browser: Browser, url: str) -> None:
    keys = webdriver.Keys
    browser.driver.get(f"{url}/page")
    skip = browser.press(keys.TAB)
    assert skip.text == "Skip to the content"
    assert skip.rect["x"] >= 0, "it is seen when it has the focus"
    browser.press(keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "main"
    browser.driver.get(f"{url}/page")
    for _ in range(12):
        if browser.press(keys.TAB).get_attribute("id") == "q":
            break
    outline = browser.driver.switch_to.active_element.value_of_css_property("outline-style")
    assert outline == "solid"
    browser.driver.switch_to.active_element.send_keys("u11", keys.ENTER)
    assert browser.comes_to("People found")
    for _ in range(20):
        if browser.press(keys.TAB).text == "u11":
            break
    browser.driver.switch_to.active_element.send_keys(keys.ENTER)
    assert browser.comes_to("Person\nu11")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_and_no_page_is_wider_than_a_phone(
    browser: Browser, url: str, scheme: str
) -> None:
    browser.look(scheme, 400)
    for path in PATHS:
        browser.driver.get(f"{url}/page{path}")
        found = browser.driver.execute_script(CONTRAST)
        assert len(found) > 15, path
        assert [one for one in found if one[0] < 4.5] == [], path
        assert browser.driver.execute_script(WIDER) == [], path
    ground = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")


def test_a_reader_of_the_screen_finds_its_way_on_every_page(
    browser: Browser, url: str, report: str
) -> None:
    for address in (*(f"{url}/page{path}" for path in PATHS), report):
        browser.driver.get(address)
        assert browser.driver.execute_script(FAULTS) == [], address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_a_phone_and_every_text_of_it_has_contrast(
    browser: Browser, report: str, scheme: str
) -> None:
    browser.look(scheme, 400)
    browser.driver.get(report)
    assert browser.driver.execute_script(WIDER) == []
    found = browser.driver.execute_script(CONTRAST)
    assert len(found) > 150
    assert [one for one in found if one[0] < 4.5] == []
    texts = browser.driver.find_elements("css selector", "svg text")
    assert len(texts) > 20
    assert min(one.size["height"] for one in texts) > 10, "the words of a picture can be read"
    for told in (HOSTILE, "2022-12-31 to 2023-01-29", "AVeryLongNameWithout"):
        assert told[:39] in browser.text
    ground = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")


def test_the_report_is_printed_in_light_colours_whole_and_without_its_links(
    browser: Browser, report: str
) -> None:
    browser.look("dark", 690, "print")  # what a sheet of A4 has between its margins
    browser.driver.get(report)
    assert browser.driver.execute_script(WIDER) == []
    assert [one for one in browser.driver.execute_script(CONTRAST) if one[0] < 4.5] == []
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    told = {
        name: browser.driver.execute_script(style, *name)
        for name in (
            ("body", "backgroundColor"),
            ("body", "color"),
            ("nav", "display"),
            ("tr", "breakInside"),
            ("figure", "breakInside"),
        )
    }
    assert list(told.values()) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)", "none", "avoid", "avoid"]


def test_the_report_is_read_by_keyboard_and_its_links_lead_to_its_parts(
    browser: Browser, report: str
) -> None:
    keys = webdriver.Keys
    browser.driver.get(report)
    skip = browser.press(keys.TAB)
    assert (skip.text, skip.value_of_css_property("outline-style")) == (
        "Skip to the content",
        "solid",
    )
    assert skip.rect["height"] > 20, "it is seen when it has the focus"
    links = [browser.press(keys.TAB) for _ in range(5)]
    assert links[-1].text == "Rows that were not sent"
    assert links[-1].value_of_css_property("outline-style") == "solid"
    browser.press(keys.ENTER)
    top = "return document.querySelector('#causes').getBoundingClientRect().top"
    assert 0 <= browser.driver.execute_script(top) < 40
