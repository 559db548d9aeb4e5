"""Files and folders of mappings → streams in the order in which they run. Every fault at once."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from backfill.errors import Lint, MappingError, Place, UsageError
from backfill.lints import LintCode
from backfill.mapping.load import ENDINGS, Mapping, load_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable


def find_mappings(paths: Iterable[str | FilePath]) -> list[Mapping]:
    """Load files and folders of them, in the order of `after:` (else as given, folders by name).

    Raises MappingError with the faults of all files together; nothing is half-loaded.
    """
    files: list[FilePath] = []
    for path in map(FilePath, paths):
        files += _in_folder(path) if path.is_dir() else [path]
    loaded: list[Mapping] = []
    lints: list[Lint] = []
    for file in files:
        try:
            loaded.append(load_mapping(file))
        except MappingError as fault:
            lints += fault.lints
    if lints:
        raise MappingError(lints)
    return _ordered(loaded)


def _in_folder(folder: FilePath) -> list[FilePath]:
    found = sorted(p for p in folder.iterdir() if p.suffix in ENDINGS and p.is_file())
    if not found:
        fix = "put a mapping file (.yaml) there, or name another folder"
        raise UsageError("there is no mapping in this folder", where=folder, fix=fix)
    return found


def _ordered(mappings: list[Mapping]) -> list[Mapping]:
    by_name: dict[str, Mapping] = {}
    for mapping in mappings:
        if (other := by_name.setdefault(mapping.name, mapping)) is not mapping:
            what = f"the name '{mapping.name}' is taken by {other.path}"
            at, fix = Place(mapping.path, 1, 1), "give one of them a name:"
            raise MappingError([Lint(at, LintCode.BAD_NAME, what, fix)])
    done: dict[str, Mapping] = {}
    waiting = list(mappings)
    while waiting:
        ready = [m for m in waiting if not _open(m, by_name, done)]
        if not ready:
            circle = [m for m in waiting if _is_in_circle(m, by_name, done)]
            raise MappingError([_cycle(m, by_name, done) for m in circle])
        done[ready[0].name] = ready[0]
        waiting.remove(ready[0])
    return list(done.values())


def _open(mapping: Mapping, known: dict[str, Mapping], done: dict[str, Mapping]) -> list[str]:
    """The streams of this run that this one still waits for; others are not waited for."""
    return [name for name in mapping.document.after if name in known and name not in done]


def _cycle(mapping: Mapping, known: dict[str, Mapping], done: dict[str, Mapping]) -> Lint:
    names = ", ".join(_open(mapping, known, done))
    what = f"'{mapping.name}' waits for {names} in a circle"
    at, fix = Place(mapping.path, 1, 1), "take one name out of after:"
    return Lint(at, LintCode.AFTER_CIRCLE, what, fix)


def _is_in_circle(mapping: Mapping, known: dict[str, Mapping], done: dict[str, Mapping]) -> bool:
    """Whether a stream waits for itself, and not only for others that do."""
    seen: set[str] = set()
    waiting = _open(mapping, known, done)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _open(known[name], known, done)
    return mapping.name in seen
