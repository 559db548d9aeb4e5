"""The pages in docs/ say what is so: their mappings pass check, their tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from backfill.mapping.document import keys_of
from backfill.mapping.forms import Options
from backfill.mapping.functions import FUNCTIONS, SPECIAL

if TYPE_CHECKING:
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


def test_links_between_the_docs_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
