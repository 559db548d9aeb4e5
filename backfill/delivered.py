"""Which files of a source a run reads: those it began with, and of new ones those not delivered.

A file is known by its content. The list of those that were delivered only grows; the state knows
how long it is.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from backfill.checkpoint import FileState, State
from backfill.durable import Appended
from backfill.errors import MismatchError
from backfill.mapping.nightly import counts_twice
from backfill.mapping.uri import is_uri
from backfill.source import hashed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from backfill.mapping.document import Document
    from backfill.source import SourceFile

NAME: Final = "delivered.jsonl"
LENGTH: Final = "delivered"
"""Under this name the state keeps how long the list is."""

NAMED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Picked:
    """The files of one run, and what is to be said of the others."""

    files: list[SourceFile]
    found: list[SourceFile]
    """All that were looked at."""
    delivered: list[str] = field(default_factory=list)
    """Left out, since their content was delivered before."""
    changed: list[str] = field(default_factory=list)
    """Delivered before with another content; they are among the files."""
    late: list[str] = field(default_factory=list)
    """Left out, since they came after the run had begun."""

    @property
    def words(self) -> list[str]:
        """What a person is told."""
        told = [
            f"{path}: has changed since it was delivered, and is sent whole"
            for path in self.changed
        ]
        if self.delivered and self.files:
            told.append(f"left out, since delivered before: {_named(self.delivered)}")
        if self.late:
            told.append(f"left for the next run, since it came after this one: {_named(self.late)}")
        return told


def doubling(picked: Picked, document: Document) -> list[str]:
    """What is to be said where a changed file holds events that nothing tells from new ones."""
    if not counts_twice(document):
        return []
    return [
        f"{path}: without key: in the mapping, its rows that were delivered before count twice"
        for path in picked.changed
    ]


def _named(paths: list[str]) -> str:
    more = len(paths) - NAMED_MAX
    return ", ".join(paths[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")


def place_of(path: str) -> str:
    """A path as it is the same from wherever the command is given in one folder."""
    if is_uri(path):
        return path
    return os.path.abspath(path)  # noqa: PTH100  a link is a place of its own


def pick(
    found: list[SourceFile],
    state: State | None,
    folder: Path,
    *,
    is_new_only: bool,
    watch: Callable[[], None] = lambda: None,
) -> Picked:
    """Choose the files of the run that is to go on or to begin. folder: the stream's.

    A run goes on with the files that it began with, as long as they are all there. Raises
    MismatchError where the list of delivered files is not what the state knows of.
    """
    if state is not None and not state.is_finished:
        return _pinned(found, state)
    if not is_new_only:
        return Picked(found, found)
    before = delivered_before(folder, state)
    known = {file.sha256 for file in before}
    places = {place_of(file.path) for file in before}
    made = Picked([], with_hashes(found, before, watch))
    for file in made.found:
        if file.sha256 in known:
            made.delivered.append(file.path)
            continue
        known.add(file.sha256)
        made.files.append(file)
        if place_of(file.path) in places:
            made.changed.append(file.path)
    return made


def _pinned(found: list[SourceFile], state: State) -> Picked:
    by_place = {place_of(file.path): file for file in found}
    pinned = [by_place.pop(place_of(file.path), None) for file in state.files]
    if None in pinned:  # they may have been renamed; what does not fit is named elsewhere
        return Picked(found, found)
    files = [file for file in pinned if file]
    return Picked(files, found, late=[file.path for file in by_place.values()])


def with_hashes(
    found: Sequence[SourceFile], known: Sequence[FileState], watch: Callable[[], None]
) -> list[SourceFile]:
    """Return the files with the sha256 of each; one that looks as it did is not read again."""
    hashes = {(file.path, file.size_bytes, file.modified_ns): file.sha256 for file in known}
    made = []
    for file in found:
        digest = file.sha256 or hashes.get((file.path, file.size_bytes, file.modified_ns))
        made.append(replace(file, sha256=digest) if digest else hashed(file, watch))
    return made


def delivered_before(folder: Path, state: State | None) -> list[FileState]:
    """Return the files of all finished runs, the last one's among them; oldest first."""
    if state is None:
        return []
    listed = [FileState(**one) for one in _listed(folder / NAME, state.lengths.get(LENGTH, 0))]
    return [*listed, *(state.files if state.is_finished else [])]


def note_delivered(folder: Path, before: State) -> int:
    """Add the files of a finished run to the list and return its length. Raises OSError.

    What stands there already is not added once more.
    """
    length = before.lengths.get(LENGTH, 0)
    listed = {(one["path"], one["sha256"]) for one in _listed(folder / NAME, length)}
    file = Appended(folder / NAME)
    file.cut(length)
    lines = [_line(one) for one in before.files if (one.path, one.sha256) not in listed]
    if lines:
        file.append(lines)
    return file.length


def _line(file: FileState) -> bytes:
    names = ("path", "size_bytes", "modified_ns", "sha256")
    members = {name: getattr(file, name) for name in names}
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    # as in the state: a name may be no text
    data = text.encode(errors="backslashreplace")
    return data[:-1] + f',"crc32":"{zlib.crc32(data):08x}"}}\n'.encode()


def _listed(path: Path, length: int) -> list[dict[str, Any]]:
    if not length:
        return []
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:  # noqa: PTH123
            data = stream.read(length)
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    except OSError as fault:
        raise _damaged(path, f"it cannot be read ({fault.strerror})") from None
    if len(data) < length:
        raise _damaged(path, f"it has {len(data):,} bytes, the checkpoint knows of {length:,}")
    return [_parsed(line, path) for line in data.splitlines()]


def _parsed(line: bytes, path: Path) -> dict[str, Any]:
    tail = len(',"crc32":"00000000"}')
    text, end = line[:-tail] + b"}", line[-tail:]
    if end != f',"crc32":"{zlib.crc32(text):08x}"}}'.encode():
        raise _damaged(path, "its checksum does not match")
    members: dict[str, Any] = json.loads(text)
    return members


def _damaged(path: Path, how: str) -> MismatchError:
    fix = "put it back as the run left it, or run with --restart to send all files again"
    return MismatchError(f"the list of delivered files is damaged: {how}", where=path, fix=fix)
