"""The pages in docs/ say what is so: their mappings pass check, their tables are the code's."""

from __future__ import annotations

import gzip
import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import pytest

from backfill.mapping.document import MODELS, keys_of
from backfill.mapping.forms import Options
from backfill.mapping.functions import FUNCTIONS, SPECIAL

if TYPE_CHECKING:
    from types import ModuleType

    from conftest import Cli

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGES: Final = sorted(path.name for path in DOCS.glob("*.md"))
MAPPINGS: Final = [
    pytest.param(page, text, id=f"{page}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"```yaml\n(version: 1\n.*?)```", (DOCS / page).read_text(), re.DOTALL)
    )
]


def test_there_are_mappings_in_the_docs() -> None:
    assert len(MAPPINGS) >= 2


@pytest.mark.parametrize(("page", "text"), MAPPINGS)
def test_a_mapping_in_the_docs_passes_check(page: str, text: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "samples").symlink_to(DOCS.parent / "samples")
    (tmp_path / "docs" / "mapping.yaml").write_text(text)
    done = cli("check", "docs/mapping.yaml", "--json")
    assert done.code == 0, f"{page}: {done.out}{done.err}"
    assert done.report["would_send"]["messages"] > 0


def test_the_functions_in_the_docs_are_those_of_the_program() -> None:
    table = re.findall(
        r"^\| `(.+\(.*\))` \| (.*) \|$", (DOCS / "language.md").read_text(), re.MULTILINE
    )
    told = dict(table)
    assert [name for name, _ in table] == [
        *[str(function) for function in FUNCTIONS.values()],
        *SPECIAL.values(),
    ]
    for function in FUNCTIONS.values():
        assert told[str(function)] == function.does


def test_every_option_of_a_column_is_in_the_docs() -> None:
    page = (DOCS / "language.md").read_text()
    section = page.split("## Options of a column")[1].split("\n## ")[0]
    named = re.findall(
        r"`([a-z]+)`", " ".join(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))
    )
    assert set(named) == set(keys_of(Options))


def maker() -> ModuleType:
    """Return docs/make.py, which writes the pages that are made from the program."""
    found = importlib.util.spec_from_file_location("make", DOCS / "make.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "errors.md", "mapping-reference.md"])
def test_the_pages_that_are_made_from_the_program_are_current(name: str) -> None:
    """If one is not: `python docs/make.py`."""
    assert (DOCS / name).read_text(encoding="utf-8") == maker().PAGES[name]()


@pytest.mark.parametrize("words", [[], ["run"], ["sandbox", "show"]], ids=" ".join)
def test_the_page_of_the_commands_shows_what_help_prints(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backfill", *words, "--help"],
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    head = " ".join(["backfill", *words])
    assert f"\n## {head}\n\n```text\n{done.stdout}```\n" in page


def test_every_key_of_the_language_is_in_the_reference() -> None:
    page = (DOCS / "mapping-reference.md").read_text(encoding="utf-8")
    for model in MODELS.values():
        assert {key for key in keys_of(model) if f"| `{key}` |" not in page} == set()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, made of its headings as they are where it is shown."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
    return {
        f"{one}-{n}" if n else one for i, one in enumerate(plain) for n in [plain[:i].count(one)]
    }


LINKING: Final = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_between_the_docs_lead_to_a_page_and_a_heading(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_can_be_reached_from_the_index_and_the_index_from_the_readme() -> None:
    index = DOCS / "README.md"
    assert "docs/README.md" in links(DOCS.parent / "README.md")
    reached, waiting = {index.resolve()}, [index]
    while waiting:
        page = waiting.pop()
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert {page.resolve() for page in DOCS.rglob("*.md")} <= reached


@pytest.mark.parametrize("picture", sorted(DOCS.rglob("*.svg")), ids=lambda path: path.name)
def test_a_picture_speaks_to_those_who_do_not_see_it_and_asks_nobody(picture: Path) -> None:
    root = ET.parse(picture).getroot()
    told = [one for one in root if one.tag.endswith(("}title", "}desc"))]
    assert {str(one.get("id")) for one in told} == set(root.get("aria-labelledby", "").split())
    assert all(one.text for one in told)
    outside = re.sub(r'xmlns="[^"]+"', "", picture.read_text(encoding="utf-8"))
    assert not re.search(r'https?:|href(?!="#)|@import|<script|url\((?!#)', outside)


LINES: Final = DOCS / "moving" / "lines.py"


def lines(folder: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run docs/moving/lines.py as a person does."""
    done = subprocess.run(
        [sys.executable, LINES, *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_lines_come_out_of_packed_files_to_the_last_digit(tmp_path: Path) -> None:
    first = (
        '{"n": 12.30, "big": 123456789012345678901, "s": "é\\u00e9 \\"x\\"", "o": {"a.b": [1, {}]}}'
    )
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(f"\ufeff{first}\r\n\r\n{{}}\n".encode()))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "a.json.gz", "deep/a.json.gz")
        archive.writestr("deep/b.txt", '[{"c": 1},\n {"c": null}]')
        archive.writestr(".DS_Store", "no JSON")
    code, out, said = lines(tmp_path, "x.zip")
    assert (code, said) == (0, "")
    assert out.decode().splitlines() == [first, "{}", '{"c": 1}', '{"c": null}']
    code, out, said = lines(tmp_path, "x.zip", "--lift", "o")
    assert out.decode().splitlines()[0] == (
        '{"n":12.30,"big":123456789012345678901,"s":"é\\u00e9 \\"x\\"","o.a.b":[1, {}]}'
    )


@pytest.mark.parametrize(
    ("given", "arguments", "said"),
    [
        (b'{"a": 1', [], "-: "),
        (b'{"data": {}}', ["--in", "data"], "there is no array under 'data'; its keys are data"),
        (b"[1]", [], "this is no JSON object: 1"),
        (b"PK\x03\x04no zip", [], "File is not a zip file"),
        (b"\x1f\x8b\x08", [], "-: "),
        (b'{"a": "\xff"}', [], "-: "),
    ],
)
def test_an_export_that_is_damaged_ends_in_its_place_and_no_traceback(
    given: bytes, arguments: list[str], said: str, tmp_path: Path
) -> None:
    code, _, told = lines(tmp_path, "-", *arguments, stdin=given)
    assert code == 1
    assert said in told
    assert "\n  fix: " in told
    assert "Traceback" not in told
