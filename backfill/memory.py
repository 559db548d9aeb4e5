"""What a stream remembers over its runs: what is known under which key, and its watermark.

A run journals the prints of what was acknowledged, each before the state that counts its row. When
it ends they are merged into a file of their own, named after the run, and only then does the state
name it: at any moment the files that a state names are there, whole. They go when no state, nor the
one before it, names them any more.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from backfill.changed import Changes
from backfill.checkpoint import Store
from backfill.delivered import LENGTH, note_delivered
from backfill.durable import Appended, make_folder
from backfill.errors import MismatchError
from backfill.known import DamagedError, Known, block_of, journalled, merge
from backfill.mapping.nightly import keeps_ids, lag_of
from backfill.shard import highest_of
from backfill.since import Since

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from backfill.checkpoint import State
    from backfill.mapping import Mapping
    from backfill.plan import Plan
    from backfill.shard import Progress

FOLDER: Final = "known"
JOURNAL: Final = ".journal"
KNOWN: Final = "known"
"""Under this name the state keeps how long the journal is."""

RESTART: Final = "or run with --restart to send all rows again"


@dataclass
class Memory:
    """The memory of one run, or of one retry."""

    home: Store
    """The stream's own store, of a retry too."""
    main: State | None = None
    """The stream's own state, where this is a retry."""
    words: list[str] = field(default_factory=list)
    """What a person is told when a run begins."""

    @property
    def _folder(self) -> Path:
        return self.home.folder / FOLDER

    def _journal(self, state: State) -> Appended:
        name = state.run_id if self.main is None else f"{self.main.run_id}.{state.run_id}"
        return Appended(self._folder / (name + JOURNAL))

    def begin(self, state: State, before: State | None, mapping: Mapping) -> None:
        """Give a run that begins what the one before it left. Raises MismatchError, OSError."""
        document = mapping.document
        if self.main is not None:
            if document.mode != "changed" and self.main.known:
                self.main.known = ""  # what it says is no longer so once this retry has sent a row
                self.home.save(self.main)
            return
        self.words += _words(before, mapping)
        if before is None:
            return
        if document.source.files == "new":
            state.lengths[LENGTH] = note_delivered(self.home.folder, before)
        state.watermark = before.watermark
        if document.mode == "changed":
            state.known = before.known
            if left := sorted(self._folder.glob(f"{before.run_id}.*{JOURNAL}")):
                state.known = state.run_id + ".begin"
                self._merge(before.known, _salvaged(left), state.known)

    def planned(self, plan: Plan, state: State) -> Plan:
        """Return the plan with what its rows are judged by; what a resume does not know is cut."""
        document = plan.job.mapping.document
        changes = since = None
        if document.mode == "changed":
            make_folder(self._folder)
            changes = self.known(self.main or state)
            changes.is_retry = self.main is not None
            self._go_on(self._journal(state), state, changes)
        if document.mode == "since":
            since = since_of(plan, None if self.main else state, self.home.path)
        return replace(plan, job=replace(plan.job, changes=changes, since=since))

    def known(self, state: State | None) -> Changes:
        """Return what a state knows. Raises MismatchError where that is damaged."""
        path = self._folder / state.known if state and state.known else None
        with _named(path or self._folder):
            return Changes(Known(path))

    def _go_on(self, journal: Appended, state: State, changes: Changes) -> None:
        length = state.lengths.get(KNOWN, 0)
        with _named(journal.path):
            if journal.length < length:
                raise DamagedError("it is cut short" if journal.length else "it is missing")
            journal.cut(length)
            changes.remember(journalled(journal.path, length))

    def note(self, state: State, progress: Progress) -> None:
        """Make durable what was acknowledged, before the state that counts it. Raises OSError."""
        state.highest = highest_of(state.highest, progress.highest)
        if len(progress.prints):
            journal = self._journal(state)
            journal.append(block_of(progress.prints))
            state.lengths = {**state.lengths, KNOWN: journal.length}

    def finish(self, state: State, mapping: Mapping) -> None:
        """All rows are settled: the next run is to know. Raises MismatchError, OSError."""
        document = mapping.document
        if document.mode == "changed":
            owner = self.main or state
            name = state.run_id + ".sorted"
            prints = journalled(self._journal(state).path, state.lengths.get(KNOWN, 0))
            if owner.known != name:
                self._merge(owner.known, prints, name)
                owner.known = name
            if self.main is not None:
                self.home.save(self.main)
        if document.mode == "since" and self.main is None:
            assert document.watermark is not None
            value = highest_of(state.highest, state.watermark.get("value"))
            if value is not None:
                state.watermark = {**_kind_of(document.watermark), "value": value}

    def _merge(self, base: str, prints: Iterator[np.ndarray], name: str) -> None:
        path = self._folder / base if base else None
        with _named(path or self._folder):
            merge(path, prints, self._folder / name)

    def tidy(self, state: State, before: State | None) -> None:
        """Remove the files that neither this state nor the one before it names."""
        if self.main is not None or not self._folder.is_dir():
            return
        kept = {each.known for each in (state, before) if each}
        kept |= {each.run_id + JOURNAL for each in (state, before) if each}
        with suppress(OSError):  # they do no harm
            for path in self._folder.iterdir():
                if path.name not in kept:
                    path.unlink()


def rehearsed(plan: Plan, state: State | None, folder: Path) -> Plan:
    """Return the plan with what its rows would be judged by, for those who only look.

    folder: the state folder. Raises MismatchError where what is known is damaged.
    """
    document = plan.job.mapping.document
    home = Store(folder, plan.job.mapping.name)
    changes = since = None
    if document.mode == "changed":
        changes = Memory(home).known(state)
    if document.mode == "since":
        since = since_of(plan, state, home.path)
    return replace(plan, job=replace(plan.job, changes=changes, since=since))


def _words(before: State | None, mapping: Mapping) -> list[str]:
    if mapping.document.mode != "changed":
        return []
    if before is not None and before.known:
        if before.mapping == mapping.fingerprint:
            return []
        what = "its meaning has changed since the last run: rows that differ by it are sent too"
    elif keeps_ids(mapping.document):
        what = "events of a row that changes keep their message ids: they are taken for repeats"
    else:
        return []
    return [f"{mapping.path}: {what}"]


def since_of(plan: Plan, state: State | None, where: Path) -> Since:
    """Return how rows are judged. state: of which watermark; None: all are later.

    Raises MismatchError where the watermark is one of another column.
    """
    watermark = plan.job.mapping.document.watermark
    assert watermark is not None
    floor = None
    if state is not None and state.watermark:
        kept = {name: state.watermark[name] for name in ("column", "type")}
        if kept != _kind_of(watermark):
            now = _kind_of(watermark)
            what = (
                f"the watermark of this stream is of '{kept['column']}' ({kept['type']}), not of"
                f" '{now['column']}' ({now['type']}): what is later cannot be told"
            )
            raise MismatchError(what, where=where, fix=f"put the mapping back, {RESTART}")
        floor = int(state.watermark["value"]) - (lag_of(watermark) or 0)
    return Since(watermark, plan.job.rules.now_ms, floor)


def _kind_of(watermark: Any) -> dict[str, str]:
    kind = "integer" if watermark.type == "integer" else "time"
    return {"column": watermark.column, "type": kind}


def _salvaged(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yield what is whole of journals: all of it was acknowledged, whatever a state counts."""
    for path in paths:
        with suppress(DamagedError):
            yield from journalled(path, Appended(path).length)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file into the error that names it."""
    try:
        yield
    except DamagedError as fault:
        raise _damaged(path, str(fault)) from None
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    except OSError as fault:
        if fault.errno in {errno.ELOOP, errno.EISDIR, errno.EIO}:
            raise _damaged(path, f"it cannot be read ({fault.strerror})") from None
        raise


def _damaged(path: Path, how: str) -> MismatchError:
    what = f"what is known of the rows delivered before is damaged: {how}"
    return MismatchError(what, where=path, fix=f"put it back as the run left it, {RESTART}")
