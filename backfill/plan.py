"""Mapping + sources + settings → `Plan`: what will be done, before the first row is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backfill import spec
from backfill.batch import no_rows
from backfill.cells import UnsupportedTypeError, frame_of
from backfill.errors import Lint, MappingError, Place
from backfill.grouping import Grouping, Seen
from backfill.mapping.document import ColumnForm, EachForm
from backfill.mapping.reads import forms_of
from backfill.mapping.words import nearest
from backfill.message import draft
from backfill.natural import parents_of
from backfill.operand import kind_of
from backfill.source import Groups, Span, find_files, hashed, open_file
from backfill.units import grouped
from backfill.validate import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backfill.batch import Limits
    from backfill.cells import Frame
    from backfill.mapping import Mapping
    from backfill.mapping.document import Guards
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
            digest = known.get((file.path, file.size_bytes, file.modified_ns))
            found = replace(file, sha256=digest) if digest else hashed(file, watch)
            shards.append(replace(shard, file=found))
        return replace(self, shards=tuple(shards))

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

    given: what to read instead of a source (dead letters). Raises UsageError, SourceError or
    MappingError with every fault of the mapping against the files.
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
    )
    labels = labels_of([file.path for file in files])
    shards = zip(files, labels, strict=True)
    return Plan(job, tuple(Shard(at, file, label) for at, (file, label) in enumerate(shards)))


def _grouping(mapping: Mapping, files: list[SourceFile]) -> Grouping | None:
    document = mapping.document
    if document.rows is None:
        return None
    blank = document.source.blank if files[0].format == "csv" else []
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


def check_fit(mapping: Mapping, reader: Reader, where: str) -> None:
    """Raise MappingError with every column that is missing or of a type that cannot be sent."""
    if reader.has_all_columns and reader.columns:
        mapping.check_columns(reader.columns, where, is_open=reader.schema is None)
    lints = list(_zone_lints(mapping, reader.schema))
    if reader.schema is None:
        if lints:
            raise MappingError(lints)
        return
    lints += _each_lints(mapping, reader.schema)
    none = pa.RecordBatch.from_pylist([], schema=reader.schema)
    empty = Span(0, none, groups=Groups(no_rows(), {}))
    try:
        names = mapping.names_in(reader.schema.names)
        frame = frame_of(empty, names, mapping.document.source.blank)
        lints += _formula_lints(mapping, frame)
        if mapping.document.rows is not None:
            frame = grouped(empty, frame, np.ones(0, bool), None).frame
        messages, _ = mapping.messages(tuple(reader.schema.names))
        for index, message in enumerate(messages if not lints else []):  # what fits can be tried
            draft(message, index, frame)
    except UnsupportedTypeError as fault:
        places = dict(mapping.column_places)
        names = [f.name for f in reader.schema if f.name in places and str(fault) in str(f.type)]
        name = names[0] if names else "?"
        what = f"column '{name}' has the type {fault}, which has no form in JSON"
        place = places.get(name, Place(mapping.path, 1, 1))
        lints.append(Lint(place, "column-type", what, "cast it where it comes from"))
    if lints:
        raise MappingError(lints)


def _formula_lints(mapping: Mapping, frame: Frame) -> list[Lint]:
    """What does not fit in the expressions, now that the kinds of the columns are known."""
    frames: dict[tuple[str, ...], Frame] = {(): frame}
    lints: list[Lint] = []
    for formula in mapping.formulas:
        around = formula.expression.around
        if around not in frames and len(around) == 1:
            lists = frame.cells(around[0]).data
            if pa.types.is_list(lists.type) and pa.types.is_struct(lists.type.value_type):
                frames[around] = frame.inner(around[0], lists.flatten(), parents_of(lists))
        found = frames.get(around)
        if found is None:  # its list is none, or inside another: what is wrong there is told
            continue
        kinds = {name: kind_of(one.data.type) for name, one in found.columns.items()}
        lints += formula.lints(kinds)
        for name, at in formula.expression.columns() if around else ():
            if name not in kinds:
                what = f"the items of '{around[0]}' have no field '{name}'"
                place = formula.places[at]
                lints.append(Lint(place, "unknown-column", what, nearest(name, kinds)))
    return lints


def _zone_lints(mapping: Mapping, schema: pa.Schema | None) -> Iterator[Lint]:
    """Yield where a zone would say nothing: what is no time would be sent as it stands."""
    places = dict(mapping.column_places)
    for message in mapping.document.messages:
        for path, form, around in forms_of(message, ()):
            if not isinstance(form, ColumnForm) or form.timezone is None or form.type is not None:
                continue
            if path == ("timestamp",) or around:
                continue
            if schema is not None and _may_hold_times(schema, form.column):
                continue
            what = f"'{form.column}' is no column of times, so that 'timezone' says nothing"
            yield Lint(places[form.column], "bad-option", what, "add type: timestamp")


def _may_hold_times(schema: pa.Schema, column: str) -> bool:
    if column not in schema.names:
        return True
    kind = schema.field(column).type
    return bool(pa.types.is_temporal(kind) or pa.types.is_nested(kind))


def _each_lints(mapping: Mapping, schema: pa.Schema) -> list[Lint]:
    lints = []
    places = dict(mapping.column_places)
    for message in mapping.document.messages:
        for _, form, _ in forms_of(message, ()):
            if not isinstance(form, EachForm) or form.each not in schema.names:
                continue
            kind = schema.field(form.each).type
            is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            if not is_list or not pa.types.is_struct(kind.value_type):
                kind = "text" if pa.types.is_binary(kind) else kind
                what = f"each: '{form.each}' is {kind}, not a list of structs"
                fix = "use {json: …} for JSON text, or the column as it is"
                lints.append(Lint(places[form.each], "column-type", what, fix))
                continue
            fields = [field.name for field in kind.value_type]
            for name in _inner_columns(form.as_):
                if name not in fields:
                    what = f"the items of '{form.each}' have no field '{name}'"
                    fix = nearest(name, fields)
                    lints.append(Lint(places[form.each], "unknown-column", what, fix))
    return lints


def _inner_columns(form: Any) -> list[str]:
    """Every field that stands inside `each … as`."""
    if isinstance(form, str):
        return [form]
    if isinstance(form, dict):
        form = list(form.values())
    if isinstance(form, list):
        return [name for inner in form for name in _inner_columns(inner)]
    parts = (getattr(form, name, None) for name in ("column", "object", "array", "each", "json_"))
    return [name for part in parts if part is not None for name in _inner_columns(part)]
