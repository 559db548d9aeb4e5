"""Parquet → spans, by row groups, streaming, with the columns' own types."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from backfill.errors import SourceError
from backfill.source.files import READ_FAULTS, open_raw, open_stream
from backfill.source.span import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.source.files import SourceFile

BATCH_BYTES: Final = 3 << 19
ROW_BYTES_MAX: Final = 64 << 20
"""On the average of a row group; one row is loaded at once, and Arrow has it twice for a moment."""

ROWS_MAX: Final = 1 << 15
BUFFER_BYTES: Final = 1 << 20
OPAQUE: Final = {"BSON", "INTERVAL"}
FAULTS: Final = (*READ_FAULTS, UnicodeDecodeError)
"""The names of columns are text that Arrow does not look at before Python does."""


class ParquetReader:
    """One Parquet file."""

    has_all_columns = True
    first_row = 1
    has_nulls = False

    def __init__(self, file: SourceFile) -> None:
        """Read the footer. Raises SourceError where it is no Parquet file."""
        self._file = file
        try:
            self._parquet = self._open()
            self.schema = self._typed(self._parquet.schema_arrow)
        except FAULTS as fault:
            raise self._unreadable(fault) from None
        self._check_size()
        self.columns = list(self.schema.names)
        if doubled := {name for name in self.columns if self.columns.count(name) > 1}:
            what = f"two columns are named '{min(doubled)}'"
            raise SourceError(what, where=file.path, fix="rename one of them")

    def _open(self) -> Any:
        source: Any = self._file.path if self._file.address is None else open_raw(self._file)
        if self._file.packing:  # the footer stands at the end, so a packed file is unpacked first
            source = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the reader
            weakref.finalize(self, source.close)
            with open_stream(self._file) as stream:
                shutil.copyfileobj(stream, source)
        return pq.ParquetFile(
            source,
            buffer_size=BUFFER_BYTES,  # streams a row group instead of loading it whole
            pre_buffer=False,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit="ms",  # nanoseconds end in 2262, and wrap in silence
        )

    def _typed(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema; types whose bytes Arrow gives for texts are opaque in it."""
        columns = self._parquet.schema
        for column in (columns.column(at) for at in range(len(columns))):
            if column.converted_type in OPAQUE and column.path in schema.names:
                at = schema.get_field_index(column.path)
                kind = pa.opaque(schema.field(at).type, column.converted_type, "Parquet")
                schema = schema.set(at, schema.field(at).with_type(kind))
        return schema

    def _check_size(self) -> None:
        """Raise SourceError where rows are so large that few of them would fill the memory."""
        meta = self._parquet.metadata
        for group in (meta.row_group(n) for n in range(meta.num_row_groups)):
            row_bytes = group.total_byte_size // max(group.num_rows, 1)
            if row_bytes > ROW_BYTES_MAX:
                what = f"its rows have {row_bytes:,} bytes each, more than {ROW_BYTES_MAX:,}"
                fix = "write it without its largest column, which no message could hold"
                raise SourceError(what, where=self._file.path, fix=fix)

    @property
    def row_count(self) -> int:
        """How many rows the footer says."""
        return int(self._parquet.metadata.num_rows)

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on; whole row groups before it are not touched."""
        meta = self._parquet.metadata
        groups = [meta.row_group(n).num_rows for n in range(meta.num_row_groups)]
        row, first = 0, 0
        while first < len(groups) and row + groups[first] <= start:
            row += groups[first]
            first += 1
        try:
            for batch in self._parquet.iter_batches(
                batch_size=self._rows(), row_groups=range(first, len(groups)), use_threads=False
            ):
                span = Span(row, batch)
                row = span.stop
                if span.stop > start:
                    yield span.tail(max(start - span.start, 0))
        except FAULTS as fault:
            raise self._unreadable(fault, row) from None
        if row != sum(groups):
            raise self._unreadable(EOFError(f"{row} rows, but the footer says {sum(groups)}"))

    def _rows(self) -> int:
        """Return how many rows make about BATCH_BYTES, by the sizes in the footer."""
        meta = self._parquet.metadata
        sizes = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
        row_bytes = max(sizes / max(meta.num_rows, 1), 16 * len(self.columns), 1)
        return int(min(max(BATCH_BYTES / row_bytes, 1), ROWS_MAX))

    def _unreadable(self, fault: BaseException, row: int | None = None) -> SourceError:
        """Return the fault in words; row: the first of the batch that could not be read."""
        what = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        fix = "check the export; read it with another tool"
        if "encrypted" in what:
            fix = "write it without encryption"
        at = "" if row is None else f", from row {row + self.first_row} on"
        what = f"cannot be read as Parquet{at}: {what}"
        return SourceError(what, where=self._file.path, fix=fix)
