"""Mapping + sources + settings → `Plan`: what will be done, before the first row is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backfill import spec
from backfill.errors import SourceError
from backfill.fit import check_fit
from backfill.grouping import Grouping, Seen
from backfill.mapping.uri import is_uri
from backfill.since import Since
from backfill.source import estimate_rows, find_files, hashed, open_file
from backfill.validate import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backfill.batch import Limits
    from backfill.changed import Changes
    from backfill.mapping import Mapping
    from backfill.mapping.document import Guards
    from backfill.marks import Legend
    from backfill.source import Reader, SourceFile

LANES_MAX = 16
LANE_BYTES = 1 << 20
"""A stream has a lane more for each of these, so that small ones go in few requests."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A place: one file of the source, and which of the files it is."""

    index: int
    file: SourceFile
    label: str = ""
    """The file as dead letters name it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards share."""

    mapping: Mapping
    rules: Rules
    is_ordered: bool
    lanes: int
    limits: Limits
    open: Callable[[SourceFile], Reader]
    is_many: bool
    """Whether the source has several files, so that dead letters say which."""
    grouping: Grouping | None = None
    """How rows go together in one message; None: each is one of its own."""
    changes: Changes | None = None
    """What is known of the runs before; None: all rows are sent."""
    since: Since | None = None
    """How later rows are told; None: all are sent."""
    legend: Legend | None = None
    """By which numbers texts are marked for the pictures; None: they are not."""

    @property
    def lane_member(self) -> tuple[int, str] | None:
        """The message and member whose id tells the lane; None where there is one lane."""
        if self.lanes == 1:
            return None
        found = _lane_members(self.mapping)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Plan:
    """One stream, ready to run."""

    job: Job
    shards: tuple[Shard, ...]
    found: tuple[SourceFile, ...] = ()
    """The files of the source, also those that are left out."""

    def hashed(
        self, known: dict[tuple[str, int, int], str], watch: Callable[[], None] = lambda: None
    ) -> Plan:
        """Return the plan with the sha256 of every file.

        known: hashes by path, size and time of change; a file that matches is not read again.
        watch: called now and then; what it raises ends the reading.
        """
        shards = []
        for shard in self.shards:
            file = shard.file
            digest = file.sha256 or known.get((file.path, file.size_bytes, file.modified_ns))
            found = replace(file, sha256=digest) if digest else hashed(file, watch)
            shards.append(replace(shard, file=found))
        return replace(self, shards=tuple(shards))

    def rows_expected(self, limit: int | None = None) -> int | None:
        """Guess at the rows of all files; None where that is not known, as of files in a store."""
        rows = 0
        for shard in self.shards:
            try:
                guess = None if is_uri(shard.file.path) else estimate_rows(shard.file)
            except (OSError, SourceError):
                guess = None
            if guess is None:
                return None
            rows += guess
        return rows if limit is None else min(rows, limit)

    def only(self, files: Sequence[SourceFile]) -> Plan:
        """Return the plan of some of the files, in this order, as if there were no others.

        Raises MappingError or SourceError for one that is looked at for the first time.
        """
        known = {shard.file.path for shard in self.shards}
        for file in files:
            if file.path not in known:
                check_fit(self.job.mapping, self.job.open(file), file.path)
        labels = labels_of([file.path for file in files])
        shards = [
            Shard(at, file, label)
            for at, (file, label) in enumerate(zip(files, labels, strict=True))
        ]
        if [shard.file.path for shard in shards] == [shard.file.path for shard in self.shards]:
            return replace(self, shards=tuple(shards))
        lanes = _lanes(self.job.mapping, list(files)) if self.job.is_ordered else 1
        job = replace(self.job, is_many=len(files) > 1, lanes=lanes)
        return replace(self, job=job, shards=tuple(shards))

    def judged_at(self, now_ms: int, lanes: int | None = None) -> Plan:
        """Return the plan with the clock (and lanes) of the run that it goes on with."""
        rules = replace(self.job.rules, now_ms=now_ms)
        return replace(self, job=replace(self.job, rules=rules, lanes=lanes or self.job.lanes))


@dataclass(frozen=True, slots=True)
class Input:
    """The files of a stream and how they are opened."""

    files: list[SourceFile]
    open: Callable[[SourceFile], Reader]
    is_many: bool
    found: Sequence[SourceFile] = ()
    """Also the files that are left out for now; none: these are all."""


def input_of(mapping: Mapping, sources: Sequence[str]) -> Input:
    """Find the files of a mapping, or those that are given instead. Raises UsageError."""
    how = mapping.document.source
    base = Path() if sources else Path(mapping.path).parent
    files = find_files(list(sources) or how.path, base, how.format)
    return Input(files, partial(open_file, how=how), len(files) > 1)


def make_plan(
    mapping: Mapping,
    *,
    sources: Sequence[str],
    guards: Guards,
    limits: Limits,
    now_ms: int,
    given: Input | None = None,
) -> Plan:
    """Find and open the files, and check that the mapping fits them. Reads headers only.

    given: what to read instead of the source (dead letters, some of its files). Raises UsageError,
    SourceError or MappingError with every fault of the mapping against the files.
    """
    found = given or input_of(mapping, sources)
    files = found.files
    for file in files:
        check_fit(mapping, found.open(file), file.path)
    is_ordered = any(spec.TYPES[m.type].is_ordered for m in mapping.document.messages)
    job = Job(
        mapping=mapping,
        rules=Rules.of(guards, now_ms),
        is_ordered=is_ordered,
        lanes=_lanes(mapping, files) if is_ordered else 1,
        limits=limits,
        open=found.open,
        is_many=found.is_many,
        grouping=_grouping(mapping, files),
        since=_since(mapping, now_ms),
    )
    labels = labels_of([file.path for file in files])
    shards = zip(files, labels, strict=True)
    made = tuple(Shard(at, file, label) for at, (file, label) in enumerate(shards))
    return Plan(job, made, tuple(found.found or files))


def _since(mapping: Mapping, now_ms: int) -> Since | None:
    """As long as nobody says what is known, all rows are later; their watermarks are read."""
    watermark = mapping.document.watermark
    return None if watermark is None else Since(watermark, now_ms, None)


def _grouping(mapping: Mapping, files: list[SourceFile]) -> Grouping | None:
    document = mapping.document
    if document.rows is None:
        return None
    is_csv = any(file.format == "csv" for file in files)
    blank = document.source.blank if is_csv else []
    return Grouping(tuple(document.rows.group_by), document.rows.max_rows, blank, Seen())


def labels_of(paths: list[str]) -> list[str]:
    """Return what dead letters call the files: their names, or their paths where names repeat."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else paths


def _lane_members(mapping: Mapping) -> list[tuple[int, str]]:
    """Return (message, member) of the id that orders each ordered message, one for each id."""
    found: dict[str, tuple[int, str]] = {}
    for index, message in enumerate(mapping.document.messages):
        kind = spec.TYPES[message.type]
        if kind.is_ordered:
            wanted = (*kind.required, *kind.any_of)
            member = next((m for m in wanted if getattr(message, m) is not None), wanted[0])
            found.setdefault(repr(getattr(message, member)), (index, member))
    return list(found.values())


def _lanes(mapping: Mapping, files: list[SourceFile]) -> int:
    """Several ids that each want their order leave one lane: no id could jump ahead."""
    if len(_lane_members(mapping)) > 1:
        return 1
    size = sum(f.size_bytes * (1 if f.format == "csv" and not f.packing else 4) for f in files)
    return max(1, min(LANES_MAX, size // LANE_BYTES))
