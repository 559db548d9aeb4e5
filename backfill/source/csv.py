"""CSV → spans: every column as bytes, nothing guessed, a bad row costs only itself.

The settings answer measured traps: types guessed (ids lose zeros), `NA` turned into null, a short
row shifted, one bad byte failing the file.
"""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from backfill.codes import Code
from backfill.columns import offsets
from backfill.source.dialect import Dialect
from backfill.source.files import READ_FAULTS, open_raw
from backfill.source.header import header_of, unreadable
from backfill.source.parts import Parts, Unbroken, is_whole
from backfill.source.place import BEGIN, STEP_BYTES
from backfill.source.ragged import RAGGED_MAX, no_rows, nulls, quiet, with_ragged
from backfill.source.recode import is_utf8, mark, open_text, unmark, unmarked
from backfill.source.span import Broken, Span
from backfill.source.wholerows import (
    ROW_BYTES_MAX,
    LongRow,
    OpenRow,
    whole_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backfill.mapping.document import CsvDialect
    from backfill.source.dialect import Piece
    from backfill.source.files import SourceFile
    from backfill.source.place import Place

BLOCK_BYTES: Final = STEP_BYTES // 7
"""A row that spans more than two blocks is refused by the parser. Larger blocks cost memory, and
smaller ones time: what is done once a record batch weighs as much as what is done once a row. So
many fill a part that no small one is left at its end."""

csv.field_size_limit(max(csv.field_size_limit(), 2 * ROW_BYTES_MAX))
"""Python's own limit, 128 KiB, is below ours: a ragged row must not lose its cells by it."""

UNCLOSED: Final = "a quote is never closed, so that the rest of the file is one cell"


class _CareError(Exception):
    """Arrow cannot read on: the rows are to be cut by `wholerows`, which takes longer."""


def _may_be_too_long(batch: pa.RecordBatch) -> bool:
    """Whether a row may have had over ROW_BYTES_MAX, of which the parser takes some.

    Each byte of a cell may have been two, and each cell had up to two quotes and a delimiter.
    """
    most = ROW_BYTES_MAX // 2 - 3 * batch.num_columns
    if batch.nbytes <= most or not batch.num_rows:
        return False
    sizes = [np.diff(offsets(column)) for column in batch.columns]
    if sum(int(size.max()) for size in sizes) <= most:  # the longest cells, were they of one row
        return False
    return bool(np.sum(sizes, axis=0, dtype=np.int64).max() > most)


class CsvReader:
    """One CSV file."""

    has_all_columns = True

    def __init__(self, file: SourceFile, dialect: CsvDialect) -> None:
        """Read the header. Raises SourceError where there is none."""
        self._file = file
        self._dialect = dialect
        self._as = Dialect.of(dialect)
        self.has_nulls = self._as.is_copy
        head = header_of(file, dialect, self._as)
        self.columns = head.columns
        self._leading, self._has_rows = head.leading, head.has_rows
        self._has_header = dialect.header is True
        self.schema = pa.schema([(name, pa.binary()) for name in self.columns])
        self.first_row = dialect.skip_lines + (2 if self._has_header else 1)
        self._parts = Parts(file, dialect, self._as, self.columns)

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on; earlier ones are read and left, from a known place on."""
        if not self._has_rows:
            return
        done, place = start, self._parts.begin(start)
        try:
            for span in self._from(start, place, self._blocks(place), self._closed):
                yield span
                done, place = span.stop, span.place or place
        except _CareError:
            yield from self._from(done, place, self._pieces(place), self._closed_with_care)

    def _from(
        self, start: int, place: Place, spans: Iterator[Span], closed: Callable[[Span], Span]
    ) -> Iterator[Span]:
        """Leave out rows before `start`, and what comes again. A fault comes after what was read.

        place: where the spans begin.
        """
        last: Span | None = None
        fault: BaseException | None = None
        try:
            for span in spans:
                if last is not None and last.stop > start:
                    yield from last.tail(max(start - last.start, 0)).parts()
                    start = last.stop
                last = span
        except READ_FAULTS as found:
            fault = found
        if last is not None and last.stop > start:
            whole = last if fault else closed(last)
            yield from whole.tail(max(start - last.start, 0)).parts()
        if fault is not None:
            row = self.first_row + (last.stop if last else place.row)
            raise unreadable(fault, self._file.path, row=row) from None

    def _blocks(self, place: Place) -> Iterator[Span]:
        """Yield the rows from a place on. Raises _CareError where Arrow cannot read on."""
        if not self._as.is_plain:
            raise _CareError
        try:
            yield from self._in_parts(place)
        except READ_FAULTS:  # whole pieces come nearer to what is damaged, and name its row
            raise _CareError from None

    def _in_parts(self, place: Place) -> Iterator[Span]:
        """Yield them part by part, and some of them again where the end of a part is moved."""
        stop = self._parts.stop_after(place.offset)
        while True:
            last: Span | None = None
            for span in self._part(place, stop):
                if last is not None:
                    yield last
                last = span
            if stop is not None and not is_whole(last):
                stop = self._parts.moved(stop)
                continue
            if last is not None:
                yield last
            if stop is None or last is None:
                return
            place = self._parts.place(last.stop, stop)
            stop = self._parts.stop_after(stop)

    def _part(self, place: Place, stop: int | None) -> Iterator[Span]:
        """Yield the rows of the bytes [place, stop) as Arrow cuts them."""
        ragged: dict[int, Broken] = {}
        row, lines = place.row, 1 - place.row
        if place is BEGIN:
            lines += self._dialect.skip_lines + self._leading + self._has_header

        def keep(one: Any) -> str:
            ragged[one.number - lines] = self._ragged(one)
            return "skip" if len(ragged) <= RAGGED_MAX else "error"

        settings = self._settings(keep, is_begin=place is BEGIN)
        known = None if place is BEGIN else place
        with quiet(keep), self._open(place, stop) as stream:
            for batch in pa_csv.open_csv(stream, *settings):
                if _may_be_too_long(batch):
                    raise _CareError
                span = with_ragged(row, batch, ragged, known)
                row = span.stop
                yield span
        if ragged:  # the part ends with ragged rows
            yield with_ragged(row, no_rows(self.schema), ragged, known)

    def _open(self, place: Place, stop: int | None) -> Any:
        """Open the bytes [place, stop) as Arrow may have them in blocks."""
        if self._parts.are_possible:
            return self._parts.open(place.offset, stop, block_bytes=BLOCK_BYTES)
        return Unbroken(open_text(self._file, self._dialect.encoding))

    def _pieces(self, place: Place) -> Iterator[Span]:
        """Yield the same rows from whole pieces, and each that is too long as a broken one."""
        row, has_header, skip_lines = place.row, False, 0
        if place is BEGIN:
            has_header = self._has_header
            skip_lines = self._dialect.skip_lines + (self._leading if self._as.is_plain else 0)
        with open_text(self._file, self._dialect.encoding) as stream:
            if place is not BEGIN:
                stream.seek(place.offset)
            pieces = whole_rows(stream, self._as.grammar, skip_lines=skip_lines)
            for found in self._as.before_end(pieces):
                piece = self._piece(found)
                if piece is None:
                    span = Span(row, nulls(self.schema), {0: self._unsplit(found)})
                elif piece:
                    span = self._span(row, piece, has_header=has_header)
                else:
                    continue
                row, has_header = span.stop, False
                yield span

    def _piece(self, found: Piece) -> bytes | None:
        """Return rows that Arrow can split, None for what is no row that it could."""
        if isinstance(found, LongRow):
            return None
        if isinstance(found, OpenRow):
            is_many = len(found.text.splitlines()) > 1
            if is_many and not self._is_judged_by_its_end:
                return None
            found = found.text
        return found if self._as.is_plain else self._as.ready(found)

    def _span(self, row: int, piece: bytes, *, has_header: bool) -> Span:
        """Return the rows of a piece; a byte that is no text is marked while Arrow has it."""
        text = marked = mark(piece)
        if text.startswith(codecs.BOM_UTF8):  # not the file's, and Arrow would take it away
            text = codecs.BOM_UTF8 + text
        ragged: dict[int, Broken] = {}

        def keep(one: Any) -> str:
            ragged[row + one.number - 1 - has_header] = self._ragged(one)
            return "skip"

        read, parse, convert = self._settings(keep, is_begin=False)
        read.skip_rows_after_names = int(has_header)
        read.block_size = len(text) + 1
        table = pa_csv.read_csv(pa.BufferReader(text), read, parse, convert).combine_chunks()
        batch = self._as.restored(next(iter(table.to_batches()), no_rows(self.schema)))
        batch = batch if marked is piece else unmarked(batch)
        span = with_ragged(row, batch, ragged, None, is_whole=True)
        assert not ragged, "a ragged row outside of its piece"
        return span

    def _unsplit(self, row: Piece) -> Broken:
        """What is known of a row that is too long, or that is no row but the rest of the file."""
        if isinstance(row, OpenRow):
            return Broken(Code.ROW_RAGGED, UNCLOSED, self._begin_of(row.text, whole=False))
        assert isinstance(row, LongRow)
        return Broken(Code.ROW_TOO_LONG, f"{ROW_BYTES_MAX:,}", self._begin_of(row.head, whole=True))

    def _begin_of(self, row: bytes, *, whole: bool) -> tuple[bytes, ...]:
        """Return as many cells as there are columns. whole: not the last one, which is cut."""
        text = (row if self._as.is_plain else self._as.ready(row)).decode(errors="surrogateescape")
        cells = next(iter(self._as.rows([text])), [])
        kept = [cell.encode(errors="surrogateescape") for cell in cells[: -1 if whole else None]]
        return tuple((kept + [b""] * len(self.columns))[: len(self.columns)])

    @property
    def _is_judged_by_its_end(self) -> bool:
        """Whether the bytes that end the file tell of a quote that is never closed."""
        is_stored = not self._file.packing and is_utf8(self._dialect.encoding)
        return is_stored and self._as.is_plain

    def _closed_with_care(self, last: Span) -> Span:
        """Return the last of the spans from whole rows, which know an open quote of themselves."""
        return self._closed(last) if self._is_judged_by_its_end else last

    def _closed(self, last: Span) -> Span:
        """Return the last span; where a quote is never closed, its last row is no row but the rest.

        The parser takes the rest of the file for one cell. A cell that is closed ends before the
        file does, at least by its quote; one that holds a quote, or line ends alone, may still look
        like the end of the file.
        """
        if not last.batch.num_rows or self._as.quote is None:
            return last
        row = last.batch.num_rows - 1
        cell = last.batch.column(last.batch.num_columns - 1)[row].as_py() or b""
        is_many_lines = b"\n" in cell or b"\r" in cell
        if not is_many_lines or not cell.strip(b"\r\n") or self._as.quote.encode() in cell:
            return last
        if not self._is_judged_by_its_end:
            raise _CareError
        with open_raw(self._file) as stream:
            stream.seek(-min(len(cell), self._file.size_bytes), io.SEEK_END)
            if stream.read() != cell:
                return last
        cells = tuple(column[row].as_py() or b"" for column in last.batch.columns)
        broken = {**last.broken, row: Broken(Code.ROW_RAGGED, UNCLOSED, cells)}
        return Span(last.start, last.batch, broken, place=last.place)

    def _settings(self, keep: Any, *, is_begin: bool) -> tuple[Any, Any, Any]:
        """Return what Arrow is told. is_begin: of what is read first, with the header."""
        read = pa_csv.ReadOptions(
            use_threads=False,  # only then the handler learns the row's number
            block_size=BLOCK_BYTES,
            column_names=self.columns,
            skip_rows=self._dialect.skip_lines + self._leading if is_begin else 0,
            skip_rows_after_names=int(is_begin and self._has_header),
        )
        parse = pa_csv.ParseOptions(
            delimiter=self._as.delimiter,
            quote_char=self._as.quote or False,
            escape_char=self._as.escape or False,
            newlines_in_values=self._as.quote is not None,
            invalid_row_handler=keep,
        )
        convert = pa_csv.ConvertOptions(
            column_types=self.schema, null_values=[], strings_can_be_null=False
        )
        return read, parse, convert

    def _ragged(self, row: Any) -> Broken:
        text = row.text or ""
        cells = next(iter(self._as.rows([text])), []) if text else []
        wanted = len(self.columns)
        some = "1 cell" if row.actual_columns == 1 else f"{row.actual_columns} cells"
        reason = f"the row has {some}, the header has {wanted}"
        if len(cells) > wanted:
            left = (self._as.written or self._as.delimiter).join(cells[wanted:])
            reason += f"; left over: {left.encode(errors='replace').decode()}"
        padded = (cells + [""] * wanted)[:wanted]
        raw = (cell.encode(errors="surrogateescape") for cell in padded)
        return Broken(Code.ROW_RAGGED, reason, tuple(unmark(cell) for cell in raw))
