"""What a shell is offered when a person presses Tab. Reads names of files, and nothing in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import click

ENDINGS: Final = (".yaml", ".yml")
DESTINATIONS: Final = {
    "us": "cdp.customer.io",
    "eu": "cdp-eu.customer.io",
    "sandbox": "the stand-in of this machine",
}


def mappings(_ctx: click.Context, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Offer mapping files, and folders that hold some; where there is none, any folder.

    A folder comes with the mappings in it, so that a shell stops behind its slash, not with a blank
    after it: the folder is a good answer itself, and so is each of them.
    """
    folder, start = os.path.split(incomplete)
    items: list[CompletionItem] = []
    for path in _entries(folder):
        if not path.name.startswith(start) or (path.name.startswith(".") and not start):
            continue
        name = os.path.join(folder, path.name)  # noqa: PTH118  as it was typed: ./x, ~ and all
        if path.suffix in ENDINGS and path.is_file():
            items.append(CompletionItem(name))
        elif path.is_dir():
            inside = [os.path.join(name, one.name) for one in _entries(str(path)) if _is_one(one)]  # noqa: PTH118
            items += map(CompletionItem, [os.path.join(name, ""), *inside] if inside else [])  # noqa: PTH118
    return items or [CompletionItem(incomplete, type="dir")]


def files(_ctx: click.Context, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows files best."""
    return [CompletionItem(incomplete, type="file")]


def destinations(_ctx: click.Context, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Offer the destinations that have a name."""
    return [
        CompletionItem(name, help=told)
        for name, told in DESTINATIONS.items()
        if name.startswith(incomplete)
    ]


def _is_one(path: Path) -> bool:
    return path.suffix in ENDINGS


def _entries(folder: str) -> list[Path]:
    """Return what is in a folder, by name; nothing where it cannot be read."""
    try:
        return sorted(Path(folder or ".").expanduser().iterdir())
    except OSError:
        return []
