"""The figures of a run in its folder: small blocks, appended before the state that counts them.

A resume cuts the file back to the length that its state knows, so that nothing is counted twice.
Not fsynced: what a power cut takes away is a picture, never a row, and the report says how many
messages its pictures cover. A file that has grown is written anew under the next number, since the
state before the last one may still be gone back to; the number is in the state, too.

A block is a line of JSON, then the marks and their counts as 64-bit integers. Names of events are
cells where they come from a column: they are in this file alone, for its owner, and in no state.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backfill.figures import DAY_MASK, Figures, floored
from backfill.marks import Legend, Name
from backfill.veil import Samples, reason_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from backfill.checkpoint import State
    from backfill.plan import Plan
    from backfill.shard import Progress, Told

LENGTH: Final = "figures"
NUMBER: Final = "figures-file"
"""Under these names the state keeps how long the file is, and which one."""

BYTES_MAX: Final = 1 << 22
"""Beyond these, and twice what it began with, a file is written anew."""

SAMPLES_SHOWN: Final = 3


@dataclass
class Tallies:
    """The figures of one run, in memory and in its folder. Raises nothing: they stop no run."""

    folder: Path
    legend: Legend
    samples: Samples = Samples.MASKED
    clock: Callable[[], float] = time.time
    figures: Figures = field(default_factory=Figures)
    fault: str = ""
    """Why they are kept no longer."""
    _begin_bytes: int = 0
    _names_written: int = 1

    def open(self, state: State, rows_expected: int | None) -> None:
        """Go on with what the state knows of."""
        length, number = state.lengths.get(LENGTH, 0), state.lengths.get(NUMBER, 0)
        try:
            if length:
                self.figures = loaded(path_of(self.folder, number), length)
                os.truncate(path_of(self.folder, number), length)
            else:
                self.figures = Figures(rows_expected=rows_expected)
                self._write_anew(state, number)
        except (OSError, ValueError, KeyError, TypeError):
            self.figures = Figures(rows_expected=rows_expected)
            try:
                self._write_anew(state, number + 1)
            except OSError as fault:
                self.fault = fault.strerror or str(fault)
        self._names_written = len(self.figures.names)

    def note(self, state: State, progress: Progress) -> None:
        """Count what was acknowledged, before the state that counts its rows is saved."""
        if self.fault:
            return
        try:
            self._append(state, self._block(progress))
        except OSError as fault:
            self.fault = fault.strerror or str(fault)

    def _block(self, progress: Progress) -> bytes:
        figures, counts = self.figures, progress.counts
        effort = [counts.settled, counts.sent, counts.retried, counts.body_bytes]
        at_s = int(self.clock())
        figures.add_moment(at_s, effort)
        head: dict[str, Any] = {"moments": [[at_s, *effort]]}
        marks = sums = np.empty(0, np.int64)
        if (tally := progress.tally) is not None:
            marks = figures.numbered(tally.marks, self.legend.names)
            sums = tally.counts.astype(np.int64)
            figures.count(marks, sums)
            figures.add_traits(tally.traits)
            head["traits"] = _listed(tally.traits)
            head["longest"] = figures.add_long(list(tally.longest))
        told = [("rejected", one) for one in progress.rejects]
        told += [("held", one) for one in progress.held]
        for bucket, one in told:
            head.setdefault("causes", []).extend(self._causes(bucket, one, progress))
        if fresh := figures.names[self._names_written :]:
            head["names"] = fresh
            self._names_written = len(figures.names)
        return _block(head, marks, sums)

    def _causes(self, bucket: str, told: Told, progress: Progress) -> list[list[Any]]:
        """Count rows by cause, and take the first as samples. Returns what is new of it."""
        table, found = told.table, []
        keys = table.select(["code", "column"]).group_by(["code", "column"], use_threads=False)
        for one in keys.aggregate([([], "count_all")]).to_pylist():
            place = (bucket, one["code"], one["column"])
            found.append([*place, one["count_all"], self._samples(told, place, progress)])
            _add_cause(self.figures, found[-1])
        return found

    def _samples(self, told: Told, place: tuple[str, str, str], progress: Progress) -> list[Any]:
        """Return the first rows of a cause, where they are before those that are known."""
        known = self.figures.causes.get(place, {"samples": []})["samples"]
        codes = np.array(told.table["code"].to_pylist()) == place[1]
        columns = np.array(told.table["column"].to_pylist()) == place[2]
        samples = []
        for row in told.table.take(np.flatnonzero(codes & columns)[:SAMPLES_SHOWN]).to_pylist():
            span = next(one for one in told.spans if one.start <= row["row"] < one.stop)
            called, label = progress.read.called(span, row["row"] - span.start)
            if len(known) < SAMPLES_SHOWN or [label, called] < known[-1][:2]:
                samples.append([label, called, reason_shown(row, span, self.samples)])
        return samples

    def _append(self, state: State, block: bytes) -> None:
        number, length = state.lengths[NUMBER], state.lengths[LENGTH]
        if length + len(block) > max(BYTES_MAX, 2 * self._begin_bytes):
            self._write_anew(state, number + 1)
            return
        _write(path_of(self.folder, number), block, os.O_APPEND)
        state.lengths = {**state.lengths, LENGTH: length + len(block)}

    def _write_anew(self, state: State, number: int) -> None:
        """Write all there is as one block; the file before the last one goes."""
        block = _whole(self.figures)
        _write(path_of(self.folder, number), block, os.O_TRUNC)
        self._begin_bytes = len(block)
        state.lengths = {**state.lengths, LENGTH: len(block), NUMBER: number}
        path_of(self.folder, number - 2).unlink(missing_ok=True)


def opened(
    folder: Path, plan: Plan, state: State, samples: Samples, limit: int | None
) -> tuple[Plan, Tallies]:
    """Return the plan of a run that is counted, and what counts it. folder: the run's."""
    legend = Legend(plan.job.mapping.document.messages)
    plan = replace(plan, job=replace(plan.job, legend=legend))
    tallies = Tallies(folder, legend, samples)
    tallies.open(state, plan.rows_expected(limit))
    return plan, tallies


def path_of(folder: Path, number: int) -> Path:
    """Return where the figures of a run are."""
    return folder / f"figures-{number}.bin"


def figures_of(folder: Path, state: State) -> Figures | None:
    """Return the figures that a state knows of, None where they are lost. folder: the run's."""
    length = state.lengths.get(LENGTH, 0)
    try:
        return loaded(path_of(folder, state.lengths.get(NUMBER, 0)), length) if length else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def loaded(path: Path, length: int) -> Figures:
    """Read the first bytes of a file. Raises OSError, or ValueError and its like for damage."""
    figures = Figures()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        data = stream.read(length)
    if len(data) < length:
        raise ValueError("it is cut short")
    for head, marks, counts in _blocks(data):
        for name in head.get("names", ()):
            figures.numbered(marks[:0], [Name(*name)])
        figures.width_s = max(figures.width_s, head.get("width_s", 1))
        figures.rows_expected = head.get("rows_expected", figures.rows_expected)
        if head.get("level", 0) > figures.level:
            figures.coarsen(head["level"])
        days = floored(marks & DAY_MASK, figures.level)
        figures.count((marks & ~DAY_MASK) | days, counts)
        figures.add_traits({(kind, trait): n for kind, trait, n in head.get("traits", ())})
        figures.add_long([(one[0], one[1], one[2]) for one in head.get("longest", ())])
        for at_s, *effort in head.get("moments", ()):
            figures.add_moment(at_s, effort)
        for cause in head.get("causes", ()):
            _add_cause(figures, cause)
    return figures


def _add_cause(figures: Figures, cause: list[Any]) -> None:
    bucket, code, column, count, samples = cause
    known = figures.causes.setdefault((bucket, code, column), {"count": 0, "samples": []})
    known["count"] += count
    known["samples"] = sorted([*known["samples"], *samples])[:SAMPLES_SHOWN]


def _listed(traits: dict[tuple[str, str], int]) -> list[list[Any]]:
    return [[kind, trait, count] for (kind, trait), count in traits.items()]


def _whole(figures: Figures) -> bytes:
    figures.settle()
    head = {
        "names": figures.names[1:],
        "level": figures.level,
        "width_s": figures.width_s,
        "rows_expected": figures.rows_expected,
        "traits": _listed(figures.traits),
        "longest": figures.longest,
        "moments": [[at_s, *effort] for at_s, effort in figures.moments.items()],
        "causes": [[*place, one["count"], one["samples"]] for place, one in figures.causes.items()],
    }
    return _block(head, figures.marks, figures.counts)


def _block(head: dict[str, Any], marks: np.ndarray, counts: np.ndarray) -> bytes:
    line = json.dumps({"pairs": len(marks), **head}, separators=(",", ":"))
    return line.encode() + b"\n" + marks.tobytes() + counts.tobytes()


def _blocks(data: bytes) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    at = 0
    while at < len(data):
        end = data.index(b"\n", at) + 1
        head = json.loads(data[at:end])
        size = 8 * head["pairs"]
        both = np.frombuffer(data[end : end + 2 * size], np.int64)
        yield head, both[: head["pairs"]], both[head["pairs"] :]
        at = end + 2 * size


def _write(path: Path, data: bytes, how: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | how
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
        stream.write(data)
