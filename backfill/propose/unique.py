"""Whether a proposed key is unique in every row, and not only in those that were looked at.

Two rows under one key are one event to the destination: the second would be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from backfill.cells import frame_of, texts_of
from backfill.columns import join
from backfill.mapping.document import CsvDialect, SourceSpec
from backfill.source import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backfill.propose.spread import Sample
    from backfill.source import Span

BYTES_MAX: Final = 256 << 20
"""Of all files: larger ones would take minutes."""

APART: Final = "\x1f"


def is_unique(samples: Sequence[Sample], names: Sequence[str]) -> bool | None:
    """Read every row of the files and compare the key; None: they are too large for that.

    Raises SourceError where a file cannot be read to its end.
    """
    if all(one.is_whole for one in samples):
        return _differ((span for one in samples for span in one.spans), names)
    if sum(one.file.size_bytes for one in samples) > BYTES_MAX:
        return None
    return _differ(_rows(samples), names)


def _rows(samples: Sequence[Sample]) -> Iterable[Span]:
    for one in samples:
        how = SourceSpec(path=[one.file.path], csv=CsvDialect(**one.dialect.options))
        yield from open_file(one.file, how).spans(0)


def _differ(spans: Iterable[Span], names: Sequence[str]) -> bool:
    """Whether no two rows have the same key, and none has a blank in it."""
    found = []
    for span in spans:
        frame = frame_of(span, list(names), [""])
        parts = [texts_of(frame.cells(name)).cast(pa.string()) for name in names]
        key = parts[0]
        for part in parts[1:]:
            key = join(key, APART, part)
        found.append(key)
    keys = pa.chunked_array(found, pa.string())
    return int(pc.count_distinct(keys, mode="only_valid").as_py()) == len(keys)
