"""Which dead letters wait to be sent again, and the plan that reads them. Sends nothing.

A dead-letter file is read once: the first `retry` copies it beside the state that it is read with,
so that an edit during a retry mixes nothing, and a row that was delivered is never read again. Rows
that still fail are in the rejects file of the retry, which is the next one to be read.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from filecmp import cmp
from functools import partial
from typing import TYPE_CHECKING, Final

from backfill.checkpoint import Store
from backfill.defuse import restored
from backfill.durable import make_folder, sync_folder, write_part
from backfill.errors import MismatchError, UsageError
from backfill.plan import Input, labels_of
from backfill.source import Dialect, first_row_of
from backfill.source.files import SourceFile
from backfill.source.letters import Files, open_letters

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.checkpoint import State
    from backfill.mapping import Mapping

KINDS: Final = ("rejects", "held")
FOLDER: Final = "retry"


@dataclass(frozen=True, slots=True)
class Letters:
    """One dead-letter file that is to be sent again."""

    path: Path
    store: Store
    """Where its retry keeps its state; the copy that is read is there too."""
    is_begun: bool

    @property
    def copy(self) -> Path:
        """The file as it was when its retry began."""
        return self.store.folder / f"letters{self.path.suffix}"

    @property
    def is_as_copied(self) -> bool:
        """Whether the file still is what its retry read."""
        return self.copy.exists() and cmp(self.path, self.copy, shallow=False)

    def give_back(self) -> None:
        """Forget a retry that delivered nothing: the file stays the one to be corrected."""
        self.store.forget()
        self.copy.unlink(missing_ok=True)


def finished_state(main: Store, destination: str, mapping: Mapping) -> State:
    """Return the state of the run whose dead letters these are.

    Raises UsageError where it never ran or is not finished, MismatchError for another destination.
    """
    state = main.load()
    if state is None:
        what = "this stream has not run, so there is nothing to send again"
        raise UsageError(what, where=main.folder, fix=f"backfill run {mapping.path}")
    if not state.is_finished:
        what = "the run is not finished; its rejects are not complete"
        raise UsageError(what, where=main.path, fix=f"backfill run {mapping.path}, then retry")
    if state.destination != destination:
        what = f"these rows are of a run to {state.destination}, not to {destination}"
        raise MismatchError(what, where=main.path, fix=f"retry with --to {state.destination}")
    return state


def waiting(main: Store, state: State, kind: str) -> tuple[list[Letters], list[Path]]:
    """Return the dead-letter files of a run, and of its retries, that are not sent again yet.

    Also those that were sent again and have been edited since: nobody reads them any more.
    """
    found: list[Letters] = []
    edited: list[Path] = []
    runs = [(state.run_id, main.folder / "runs" / state.run_id)]
    while runs:
        run_id, folder = runs.pop(0)
        for each in KINDS:
            path = next((p for p in sorted(folder.glob(f"{each}.*")) if p.suffix in SUFFIXES), None)
            if path is None:
                continue
            store = Store(main.folder / FOLDER, f"{run_id}-{each}")
            known = store.load()
            letters = Letters(path, store, is_begun=known is not None)
            if known is not None and known.is_finished:
                runs.append((known.run_id, store.folder / "runs" / known.run_id))
                if each == kind and not letters.is_as_copied:
                    edited.append(path)
            elif each == kind:
                found.append(letters)
    return found, edited


SUFFIXES: Final = (".csv", ".jsonl", ".parquet")


def input_of_letters(letters: Letters, state: State, mapping: Mapping) -> Input:
    """Return the dead letters as what a plan reads. Raises SourceError with every fault of them."""
    if not letters.is_begun:
        _take(letters)
    how = mapping.document.source
    suffix = letters.path.suffix.removeprefix(".")
    labels = labels_of([file.path for file in state.files])
    hashes = {label: file.sha256 for label, file in zip(labels, state.files, strict=True)}
    files = Files(hashes, first_row_of(suffix, how))
    stat = letters.copy.stat()
    file = SourceFile(str(letters.copy), suffix, stat.st_size, stat.st_mtime_ns)
    opened = partial(
        open_letters,
        files=files,
        where=str(letters.path),
        restored=restored,
        has_nulls=suffix == "csv" and Dialect.of(how.csv).is_copy,
    )
    opened(file).check()
    return Input([file], opened, files.is_many)


def _take(letters: Letters) -> None:
    """Copy the file as it is now; from here on edits of it are too late."""
    try:
        make_folder(letters.store.folder)
        part = write_part(letters.copy, b"")
        with letters.path.open("rb") as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        part.replace(letters.copy)
        sync_folder(letters.store.folder)
    except OSError as fault:
        what = f"the dead letters cannot be copied: {fault.strerror}"
        where = fault.filename or letters.store.folder
        raise UsageError(what, where=where, fix="make room and retry") from None
