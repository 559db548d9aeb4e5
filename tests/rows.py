"""The rows of a file as its reader gives them, for tests and for processes without pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backfill.mapping.document import SourceSpec
from backfill.source import LINE, find_files, open_file

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[int, Any]
"""The row, and its cells by name, or the code of why it could not be split into cells."""


def rows_of(folder: Path, path: str, start: int = 0, **how: Any) -> list[Row]:
    """Read a file from a row on."""
    spec = SourceSpec.model_validate({"path": [path], **how})
    (file,) = find_files([path], folder, spec.format)
    found: list[Row] = []
    for span in open_file(file, spec).spans(start):
        assert span.start == (found[-1][0] + 1 if found else start), "spans must tile the file"
        cells = [{k: v for k, v in row.items() if k != LINE} for row in span.batch.to_pylist()]
        for offset, row in enumerate(cells):
            broken = span.broken.get(offset)
            found.append((span.start + offset, broken.code.value if broken else row))
    return found
