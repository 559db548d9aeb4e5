"""CSV → spans: every column as bytes, nothing guessed, a bad row costs only itself.

The settings answer measured traps: types guessed (ids lose zeros), `NA` turned into null, a short
row shifted, one bad byte failing the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from backfill.codes import Code
from backfill.errors import SourceError
from backfill.source.files import READ_FAULTS, open_stream
from backfill.source.recode import Recoded, is_utf8, mark, unmark, unmarked
from backfill.source.span import Broken, Span
from backfill.source.wholerows import ROW_BYTES_MAX, Grammar, LongRow, UnclosedError, whole_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backfill.mapping.document import CsvDialect
    from backfill.source.files import SourceFile

BLOCK_BYTES: Final = 1 << 20
"""A row that spans more than two blocks is refused by the parser."""

HEAD_BYTES: Final = 1 << 20
RAGGED_MAX: Final = 10_000
"""Arrow tells of the ragged rows before a row that is not; so many are kept in memory at most."""

csv.field_size_limit(max(csv.field_size_limit(), 2 * ROW_BYTES_MAX))
"""Python's own limit, 128 KiB, is below ours: a ragged row must not lose its cells by it."""

UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def _quiet(handler: Any) -> Iterator[None]:
    """Arrow reports what it cannot decode for the handler on stderr; it is told in another way."""
    before = sys.unraisablehook

    def hook(told: Any) -> None:
        if told.object is not handler:
            before(told)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


class _CareError(Exception):
    """Arrow cannot read on: the rows are to be cut by `wholerows`, which takes longer."""


class CsvReader:
    """One CSV file."""

    has_all_columns = True

    def __init__(self, file: SourceFile, dialect: CsvDialect) -> None:
        """Read the header. Raises SourceError where there is none."""
        self._file = file
        self._dialect = dialect
        head = self._head()
        names = dialect.header if isinstance(dialect.header, list) else None
        self._leading, row = self._first_row(head)
        if row is None and names is None:
            fix = "check the export; a CSV begins with a header"
            raise SourceError("the file is empty", where=file.path, fix=fix)
        self._has_header = dialect.header is True
        if names is None:
            assert row is not None
            names = row if self._has_header else [f"column_{n}" for n in range(1, len(row) + 1)]
        self.columns = names
        self._check_names()
        self.schema = pa.schema([(name, pa.binary()) for name in names])
        self.first_row = dialect.skip_lines + (2 if self._has_header else 1)

    def _check_names(self) -> None:
        seen: set[str] = set()
        for name in self.columns:
            if name and name in seen:
                fix = "rename one of them in the file, or give header: a list of names"
                raise SourceError(f"two columns are named '{name}'", where=self._file.path, fix=fix)
            seen.add(name)

    def _open(self) -> Any:
        stream = open_stream(self._file)
        if is_utf8(self._dialect.encoding):
            return stream
        return io.BufferedReader(Recoded(stream, self._dialect.encoding), BLOCK_BYTES)

    def _head(self) -> bytes:
        try:
            with self._open() as stream:
                head = bytes(stream.read(HEAD_BYTES))
        except (*READ_FAULTS, UnicodeError) as fault:
            raise self._unreadable(fault) from None
        if head.startswith(UTF16) and is_utf8(self._dialect.encoding):
            fix = "say source: {csv: {encoding: utf-16}}"
            raise SourceError("the file is UTF-16", where=self._file.path, fix=fix)
        return head.removeprefix(codecs.BOM_UTF8)

    def _first_row(self, head: bytes) -> tuple[int, list[str] | None]:
        """Return how many blank lines stand first, and the cells of the first row that is not."""
        try:
            text = head.decode() if len(head) < HEAD_BYTES else head.decode(errors="replace")
        except UnicodeDecodeError:
            text = head.decode(errors="replace")
        stream = io.StringIO(text, newline="")
        for _ in range(self._dialect.skip_lines):
            stream.readline()
        begin = stream.tell()
        blank = 0
        for row in self._cells(stream):
            if row:
                self._has_rows = bool(stream.read(1)) or self._dialect.header is not True
                if self._dialect.header is True:
                    self._check_header(row, text[begin:], is_cut=len(head) == HEAD_BYTES)
                return blank, row
            blank += 1
        self._has_rows = False
        return blank, None

    def _check_header(self, row: list[str], text: str, *, is_cut: bool) -> None:
        """Raise SourceError where it cannot be the header that was meant."""
        where, fix = self._file.path, "check that it is a CSV, with its header first"
        if any("�" in cell for cell in row):
            fix = "name the file's encoding as source: {csv: {encoding: …}}"
            raise SourceError("the header is not UTF-8", where=where, fix=fix)
        if self._has_rows:
            return
        if is_cut:
            what = f"the header is longer than {HEAD_BYTES} bytes, or it has an open quote"
            raise SourceError(what, where=where, fix=fix)
        try:
            list(self._cells(io.StringIO(text, newline=""), strict=True))
        except csv.Error as fault:
            if "unexpected end" in str(fault):  # all the file is one name
                what = "a quote in the header is never closed"
                raise SourceError(what, where=where, fix=fix) from None

    def _cells(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        delimiter, quote = self._dialect.delimiter, self._dialect.quote
        yield from csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=strict)

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on. A CSV has no index, so earlier rows are read and left."""
        if not self._has_rows:
            return
        done = start
        try:
            for span in self._from(start, self._blocks()):
                yield span
                done = span.stop
        except _CareError:
            yield from self._from(done, self._pieces())

    def _from(self, start: int, spans: Iterator[Span]) -> Iterator[Span]:
        """Leave the rows before `start` out. A fault comes after all that was read before it."""
        last: Span | None = None
        fault: BaseException | None = None
        try:
            for span in spans:
                if last is not None and last.stop > start:
                    yield from last.tail(max(start - last.start, 0)).parts()
                last = span
        except READ_FAULTS as found:
            fault = found
        if last is not None and last.stop > start:
            whole = last if fault else self._closed(last)
            yield from whole.tail(max(start - last.start, 0)).parts()
        if fault is not None:
            raise self._unreadable(fault, last.stop if last else 0) from None

    def _blocks(self) -> Iterator[Span]:
        """Yield all rows as Arrow cuts them. Raises _CareError where it cannot."""
        ragged: dict[int, Broken] = {}
        base = self._dialect.skip_lines + self._leading + (1 if self._has_header else 0) + 1

        def keep(row: Any) -> str:
            ragged[row.number - base] = self._ragged(row)
            return "skip" if len(ragged) <= RAGGED_MAX else "error"

        row = 0
        try:
            with _quiet(keep), self._open() as stream:
                for batch in pa_csv.open_csv(stream, *self._settings(keep)):
                    span = _with_ragged(row, batch, ragged)
                    row = span.stop
                    yield span
        except READ_FAULTS:  # whole pieces come nearer to what is damaged, and name its row
            raise _CareError from None
        if ragged:  # the file ends with ragged rows
            yield _with_ragged(row, _no_rows(self.schema), ragged)

    def _pieces(self) -> Iterator[Span]:
        """Yield the same rows from whole pieces, and each that is too long as a broken one."""
        grammar = Grammar.of(self._dialect.delimiter, self._dialect.quote)
        skip_lines = self._dialect.skip_lines + self._leading
        row, has_header = 0, self._has_header
        with self._open() as stream:
            for piece in whole_rows(stream, grammar, skip_lines=skip_lines):
                span = self._span(row, piece, has_header=has_header)
                row, has_header = span.stop, False
                yield span

    def _span(self, row: int, piece: bytes | LongRow, *, has_header: bool) -> Span:
        """Return the rows of a piece; a byte that is no text is marked while Arrow has it."""
        if isinstance(piece, LongRow):
            return Span(row, _nulls(self.schema), {0: self._long(piece)})
        text = mark(piece)
        ragged: dict[int, Broken] = {}

        def keep(one: Any) -> str:
            ragged[row + one.number - 1 - has_header] = self._ragged(one)
            return "skip"

        read, parse, convert = self._settings(keep)
        read.skip_rows, read.skip_rows_after_names = 0, int(has_header)
        read.block_size = len(text) + 1
        table = pa_csv.read_csv(pa.BufferReader(text), read, parse, convert).combine_chunks()
        batch = next(iter(table.to_batches()), _no_rows(self.schema))
        span = _with_ragged(row, batch if text is piece else unmarked(batch), ragged, is_whole=True)
        assert not ragged, "a ragged row outside of its piece"
        return span

    def _long(self, row: LongRow) -> Broken:
        """What is known of a row that is too long: the cells at its begin that are whole."""
        text = row.head.decode(errors="surrogateescape")
        cells = next(iter(self._cells([text])), [])[:-1]
        whole = [cell.encode(errors="surrogateescape") for cell in cells]
        padded = (whole + [b""] * len(self.columns))[: len(self.columns)]
        return Broken(Code.ROW_TOO_LONG, f"{ROW_BYTES_MAX:,}", tuple(padded))

    def _closed(self, last: Span) -> Span:
        """Return the last span; where a quote is never closed, its last row is no row but the rest.

        The parser takes the rest of the file for one cell. A cell that is closed ends before the
        file does, at least by its quote; one that holds a quote, or line ends alone, may still look
        like the end of the file.
        """
        if not last.batch.num_rows or self._file.packing or not is_utf8(self._dialect.encoding):
            return last
        row = last.batch.num_rows - 1
        cell = last.batch.column(last.batch.num_columns - 1)[row].as_py() or b""
        is_many_lines = b"\n" in cell or b"\r" in cell
        if not is_many_lines or not cell.strip(b"\r\n") or self._dialect.quote.encode() in cell:
            return last
        with Path(self._file.path).open("rb") as stream:
            stream.seek(-min(len(cell), self._file.size_bytes), io.SEEK_END)
            if stream.read() != cell:
                return last
        cells = tuple(column[row].as_py() or b"" for column in last.batch.columns)
        reason = "a quote is never closed, so that the rest of the file is one cell"
        return Span(
            last.start, last.batch, {**last.broken, row: Broken(Code.ROW_RAGGED, reason, cells)}
        )

    def _settings(self, keep: Any) -> tuple[Any, Any, Any]:
        dialect = self._dialect
        read = pa_csv.ReadOptions(
            use_threads=False,  # only then the handler learns the row's number
            block_size=BLOCK_BYTES,
            column_names=self.columns,
            skip_rows=dialect.skip_lines + self._leading,
            skip_rows_after_names=1 if self._has_header else 0,
        )
        parse = pa_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            newlines_in_values=True,
            invalid_row_handler=keep,
        )
        convert = pa_csv.ConvertOptions(
            column_types=self.schema, null_values=[], strings_can_be_null=False
        )
        return read, parse, convert

    def _unreadable(self, fault: BaseException, row: int | None = None) -> SourceError:
        """Return the fault in words; row: the first that could not be read."""
        what = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        at = "" if row is None else f", from row {row + self.first_row} on"
        fix = "check the export"
        if isinstance(fault, UnclosedError):
            fix = f"close the quote that row {(row or 0) + self.first_row} opens"
        what = f"cannot be read as CSV{at}: {what}"
        return SourceError(what, where=self._file.path, fix=fix)

    def _ragged(self, row: Any) -> Broken:
        text = row.text or ""
        cells = next(iter(self._cells([text])), []) if text else []
        wanted = len(self.columns)
        some = "1 cell" if row.actual_columns == 1 else f"{row.actual_columns} cells"
        reason = f"the row has {some}, the header has {wanted}"
        if len(cells) > wanted:
            reason += f"; left over: {self._dialect.delimiter.join(cells[wanted:])}"
        padded = (cells + [""] * wanted)[:wanted]
        return Broken(Code.ROW_RAGGED, reason, tuple(unmark(cell.encode()) for cell in padded))


def _with_ragged(
    start: int, batch: pa.RecordBatch, ragged: dict[int, Broken], *, is_whole: bool = False
) -> Span:
    """Put ragged rows back in their places as rows of nulls, so that the rows tile the file.

    is_whole: those after the last row of the batch are of it, too, and not of the next one.
    """
    here: dict[int, Broken] = {}
    stop = start + batch.num_rows
    for row in sorted(ragged):  # each of them moves the end by one
        if row > stop or (row == stop and batch.num_rows and not is_whole):
            break
        here[row - start] = ragged.pop(row)
        stop += 1
    if not here:
        return Span(start, batch)
    order: list[int | None] = []
    following = iter(range(batch.num_rows))
    for offset in range(stop - start):
        order.append(None if offset in here else next(following))
    taken = batch.take(pa.array(order, pa.int32()))
    return Span(start, taken, here)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _nulls(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{}], schema=schema)
