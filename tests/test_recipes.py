"""The recipes of docs/ are sent as they are printed, and become the messages that are printed."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from conftest import ROOT
from recipes import Recipe, recipes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger import Ledger

PAGES: Final = [ROOT / "docs/recipes.md", *sorted((ROOT / "docs/moving").glob("*.md"))]
RECIPES: Final = [
    pytest.param(one, id=f"{one.page}-{one.title}") for page in PAGES for one in recipes(page)
]
WANTED: Final = (
    *("Orders with their lines", "One file with many events", "German dates and numbers"),
    *("Several sources that speak of the same people", "Milliseconds since 1970"),
    *("What people did before they had a name", "Objects and relationships"),
)


def test_the_recipes_are_all_there() -> None:
    titles = {one.values[0].title for one in RECIPES if isinstance(one.values[0], Recipe)}
    assert set(WANTED) <= titles


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_sends_exactly_the_messages_it_shows(
    recipe: Recipe, tmp_path: Path, door: Callable[..., dict[str, Any]], ledger: Ledger
) -> None:
    mappings = recipe.written(tmp_path)
    typed(recipe.commands, tmp_path)
    rejects: list[str] = []
    for mapping in mappings:
        report = door(mapping)
        assert "error" not in report, report["error"]
        rejects += told(report["rejects"])
    assert sorted(shown(one.text) for one in ledger.sent) == sorted(recipe.messages)
    assert recipe.messages
    assert rejects == recipe.rejects


def typed(commands: list[str], folder: Path) -> None:
    """Run what a person types before the mapping, in a copy of where the page says it is typed."""
    if not commands:
        return
    (folder / "docs").symlink_to(ROOT / "docs")
    tools = folder / "bin"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    for command in commands:
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path},
            check=True,
            timeout=60,
        )


def shown(text: str) -> str:
    """Return a message as the pages show it: without its id, which says nothing to a reader."""
    return re.sub(r',"messageId":"[^"]*"\}$', "}", text)


def told(path: str | None) -> list[str]:
    """Return the rejects of a run as `backfill check` words them."""
    if path is None:
        return []
    assert path.endswith(".csv"), "of another format: read it here, too"
    with Path(path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [f"row {row['_row']}: {row['_reason']} [{row['_code']}]" for row in rows]
