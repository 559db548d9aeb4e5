"""Paths as a person gives them → the streams to propose mappings for: files, sample, columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backfill.errors import UsageError
from backfill.mapping.load import ENDINGS
from backfill.mapping.uri import address_of
from backfill.propose.facts import columns_of
from backfill.propose.spread import Sample, format_by_content, sample
from backfill.propose.values import Finding, blanks_of, judge
from backfill.source import find_files
from backfill.source.files import PACKED, format_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.propose.facts import Column

FILES_MAX: Final = 16
"""Of a folder so many files are looked at, spread over it."""

NAME_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Stream:
    """What becomes one mapping."""

    given: tuple[str, ...]
    """The paths as they were given."""
    files_total: int
    samples: tuple[Sample, ...]
    columns: tuple[Column, ...]
    blanks: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def stem(self) -> str:
        """The name without endings: `exports/orders_*.csv.gz` → orders_."""
        return stem_of(self.given[0])

    @property
    def name(self) -> str:
        """The name of mapping and stream: what can be a folder's name."""
        stem = self.stem if len(self.given) == 1 else _common(self.given)
        return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:NAME_CHARS] or "stream"

    @property
    def rows(self) -> int:
        """How many rows were looked at."""
        return sum(one.rows for one in self.samples)

    @property
    def is_whole(self) -> bool:
        """Whether every row was looked at."""
        whole = all(one.is_whole for one in self.samples)
        return whole and len(self.samples) == self.files_total

    @property
    def rows_total(self) -> int | None:
        """How many rows there are, exact or estimated; None where nothing tells."""
        known = [one.rows_total for one in self.samples]
        found = [rows for rows in known if rows is not None]
        return sum(found) * self.files_total // len(known) if len(found) == len(known) else None

    def column(self, name: str) -> Column:
        """Return a column by its name."""
        return next(one for one in self.columns if one.name == name)


def stem_of(path: str) -> str:
    """`exports/Orders.csv.gz` → Orders."""
    address = address_of(path)
    name = Path(path.rstrip("/") if address is None else str(address)).name
    parts = name.split(".")
    while len(parts) > 1 and (
        f".{parts[-1].lower()}" in PACKED or format_of(Path(f"x.{parts[-1]}"))
    ):
        parts.pop()
    return ".".join(parts)


def _common(paths: Sequence[str]) -> str:
    """`orders_01.csv, orders_02.csv` → orders; names of digits alone → the folder's name."""
    name = re.sub(r"[-_. ]*[0-9]+[-_. ]*", "_", stem_of(paths[0])).strip("_")
    if re.search("[A-Za-z]", name):
        return name
    return Path(paths[0]).resolve().parent.name


def streams_of(paths: Sequence[str], prefer: str | None) -> list[Stream]:
    """Look at every path; files of one export become one stream. Raises UsageError, SourceError.

    prefer: see `moments.prove`.
    """
    looked = [_look(path) for path in paths]
    groups: dict[object, list[tuple[str, int, list[Sample]]]] = {}
    for path, count, samples in looked:
        groups.setdefault(_kind_of_export(path, samples), []).append((path, count, samples))
    return [_stream(group, prefer) for group in groups.values()]


def _look(path: str) -> tuple[str, int, list[Sample]]:
    full = Path(path)
    if full.suffix in ENDINGS:
        fix = "name the files of data; `backfill check` says what a mapping does"
        raise UsageError("this is a mapping, no data", where=path, fix=fix)
    known = format_by_content(full) if full.is_file() else None
    if full.is_file() and known is None:
        fix = "export it as one of these; docs/moving has commands for zip, Avro and JSON arrays"
        raise UsageError("this is neither CSV nor Parquet nor JSON lines", where=path, fix=fix)
    files = find_files([path], Path(), known)
    step = max(len(files) / FILES_MAX, 1)
    chosen = [files[int(n * step)] for n in range(min(len(files), FILES_MAX))]
    return path, len(files), [sample(file, len(chosen)) for file in chosen]


def _kind_of_export(path: str, samples: Sequence[Sample]) -> object:
    """What files of one export have in common: format, columns, and the name but for its digits."""
    first = samples[0]
    name = re.sub("[0-9]+", "#", stem_of(path))
    is_alone = "#" not in name
    return (first.file.format, tuple(first.columns), name, path if is_alone else "")


def _stream(group: list[tuple[str, int, list[Sample]]], prefer: str | None) -> Stream:
    samples = [one for _, _, found in group for one in found]
    where = group[0][0]
    _same_columns(samples)
    spans = (span for one in samples for span in one.reader.spans(0))
    columns = columns_of(spans, samples[0].columns)
    if not columns or not columns[0].rows:
        is_ragged = any(one.rows for one in samples)
        none = (
            "no row has as many cells as the header"
            if is_ragged
            else "there are no rows to look at"
        )
        raise UsageError(none, where=where, fix="check the export")
    blanks: tuple[str, ...] = ()
    if samples[0].file.format == "csv":
        found = [word for column in columns for word in blanks_of(column, prefer)]
        blanks = tuple(dict.fromkeys(found))
        columns = [column.without(blanks) for column in columns]
    findings = tuple(judge(column, prefer) for column in columns)
    given = tuple(path for path, _, _ in group)
    total = sum(count for _, count, _ in group)
    return Stream(given, total, tuple(samples), tuple(columns), blanks, findings)


def _same_columns(samples: Sequence[Sample]) -> None:
    """Raise UsageError where the files of a folder are not of one export."""
    first: Any = samples[0]
    for one in samples[1:]:
        if one.file.format != "jsonl" and one.columns != first.columns:
            what = f"its columns are others than those of {first.file.path}"
            raise UsageError(what, where=one.file.path, fix="name the files one by one")
