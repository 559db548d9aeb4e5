"""The pages in docs/ with sample files, mappings and messages, taken apart. No code of backfill.

A fenced block with a name after its language is a file (`csv orders.csv`); `json messages` are the
messages that the mappings of its section send, one a line; `text rejects` the rows that they do
not; `sh` what a person types first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

FENCE: Final = re.compile(r"^```(\w+)(?: ([\w./-]+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEAD: Final = re.compile(r"^## (.+)$", re.MULTILINE)


class Recipe(NamedTuple):
    """One section of a page."""

    page: str
    title: str
    files: dict[str, str]
    """By name, what is not a mapping."""
    mappings: dict[str, str]
    """By name, in the order of the page."""
    commands: list[str]
    messages: list[str]
    """As they are sent, but for their ids."""
    rejects: list[str]

    def written(self, folder: Path) -> list[Path]:
        """Write the files and mappings; return the mappings' paths."""
        for name, text in {**self.files, **self.mappings}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return [folder / name for name in self.mappings]


def recipes(page: Path) -> list[Recipe]:
    """Return the sections of a page that have a named mapping."""
    parts = HEAD.split(page.read_text(encoding="utf-8"))
    found = [_recipe(page.name, *pair) for pair in zip(parts[1::2], parts[2::2], strict=True)]
    return [one for one in found if one.mappings]


def _recipe(page: str, title: str, text: str) -> Recipe:
    made = Recipe(page, title, {}, {}, [], [], [])
    for language, name, body in FENCE.findall(text):
        if name == "messages":
            made.messages.extend(body.splitlines())
        elif name == "rejects":
            made.rejects.extend(body.splitlines())
        elif language == "sh":
            made.commands.append(body)
        elif name:
            (made.mappings if language == "yaml" else made.files)[name] = body
    return made
