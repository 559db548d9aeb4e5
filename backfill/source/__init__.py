"""Files → record batches that tile them, behind one small protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backfill.source.dialect import Dialect, lettered
from backfill.source.files import (
    SourceFile,
    begins_with,
    check_unchanged,
    find_files,
    hashed,
    open_raw,
    unmixed,
)
from backfill.source.place import Place, Places
from backfill.source.span import JSON_KIND, LINE, WHICH, WHY, Broken, Groups, Origin, Reader, Span

if TYPE_CHECKING:
    from backfill.mapping.document import SourceSpec

__all__ = [
    "JSON_KIND",
    "LINE",
    "WHICH",
    "WHY",
    "Broken",
    "Dialect",
    "Groups",
    "Origin",
    "Place",
    "Places",
    "Reader",
    "SourceFile",
    "Span",
    "begins_with",
    "check_unchanged",
    "estimate_rows",
    "find_files",
    "first_row_of",
    "hashed",
    "lettered",
    "open_file",
    "unmixed",
]


def open_file(file: SourceFile, how: SourceSpec) -> Reader:
    """Open one file. Raises SourceError where it cannot be read as its format."""
    if file.format == "csv":
        from backfill.source.csv import CsvReader  # noqa: PLC0415  only the reader that is used

        dialect = how.csv
        if ".tsv" in Path(file.path).suffixes and "delimiter" not in dialect.model_fields_set:
            dialect = dialect.model_copy(update={"delimiter": "\t"})
        return CsvReader(file, dialect)
    if file.format == "parquet":
        from backfill.source.parquet import ParquetReader  # noqa: PLC0415

        return ParquetReader(file)
    from backfill.source.jsonl import JsonlReader  # noqa: PLC0415

    return JsonlReader(file)


def first_row_of(file_format: str, how: SourceSpec) -> int:
    """Return the number of a file's row 0 as a spreadsheet counts: a CSV's header is row 1."""
    if file_format != "csv":
        return 1
    return how.csv.skip_lines + (2 if how.csv.header is True else 1)


def estimate_rows(file: SourceFile) -> int | None:
    """Guess how many rows a file has, for a progress bar; exact for Parquet, None where packed."""
    if file.packing:
        return None
    if file.format == "parquet":
        from backfill.source.parquet import ParquetReader  # noqa: PLC0415

        return ParquetReader(file).row_count
    with open_raw(file) as stream:
        head = stream.read(1 << 18)
    lines = max(head.count(b"\n"), head.count(b"\r"), 1)
    return int(file.size_bytes / max(len(head), 1) * lines)
