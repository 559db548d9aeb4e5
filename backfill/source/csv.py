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
from backfill.source.span import Broken, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backfill.mapping.document import CsvDialect
    from backfill.source.files import SourceFile

BLOCK_BYTES: Final = 1 << 20
"""Also the longest row: one that spans more than two blocks is refused by the parser."""

HEAD_BYTES: Final = 1 << 20
MARK: Final = "backfill-mark"
MARK_BASE: Final = 0x10FF00
MARK_BYTES: Final = b"\xf4\x8f"
"""Bytes that are no text, as characters of the last private plane; the way back is `_unmark`."""

UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _marked(fault: UnicodeError) -> tuple[str, int]:
    assert isinstance(fault, UnicodeDecodeError)
    wrong = fault.object[fault.start : fault.end]
    return "".join(chr(MARK_BASE + byte) for byte in wrong), fault.end


codecs.register_error(MARK, _marked)


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


class _UndecodableRowError(Exception):
    pass


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

    def _open(self, *, is_marked: bool = False) -> Any:
        stream = open_stream(self._file)
        if is_marked:
            return io.BufferedReader(_Recoded(stream, self._dialect.encoding, MARK), BLOCK_BYTES)
        if _is_utf8(self._dialect.encoding):
            return stream
        return io.BufferedReader(_Recoded(stream, self._dialect.encoding), BLOCK_BYTES)

    def _head(self) -> bytes:
        try:
            with self._open() as stream:
                head = bytes(stream.read(HEAD_BYTES))
        except (*READ_FAULTS, UnicodeError) as fault:
            raise _unreadable(self._file, fault) from None
        if head.startswith(UTF16) and _is_utf8(self._dialect.encoding):
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
        blank = 0
        for row in self._cells(stream):
            if row:
                if any("�" in cell for cell in row) and self._dialect.header is True:
                    fix = "name the file's encoding as source: {csv: {encoding: …}}"
                    raise SourceError("the header is not UTF-8", where=self._file.path, fix=fix)
                self._has_rows = bool(next(stream, "")) or self._dialect.header is not True
                return blank, row
            blank += 1
        self._has_rows = False
        return blank, None

    def _cells(self, lines: Iterable[str]) -> Iterator[list[str]]:
        yield from csv.reader(
            lines, delimiter=self._dialect.delimiter, quotechar=self._dialect.quote
        )

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on. A CSV has no index, so earlier rows are read and left."""
        if not self._has_rows:
            return
        done = start
        try:
            for span in self._read(start, is_marked=False):
                yield span
                done = span.stop
        except _UndecodableRowError:
            # Arrow cannot tell of a ragged row with a bad byte in it: read with such bytes marked
            yield from self._read(done, is_marked=True)

    def _read(self, start: int, *, is_marked: bool) -> Iterator[Span]:
        ragged: dict[int, Broken] = {}
        base = self._dialect.skip_lines + self._leading + (1 if self._has_header else 0) + 1

        def keep(row: Any) -> str:
            ragged[row.number - base] = self._ragged(row)
            return "skip"

        row = 0
        last: Span | None = None
        try:
            with _quiet(keep), self._open(is_marked=is_marked) as stream:
                for batch in self._parse(stream, keep):
                    if last is not None and last.stop > start:
                        yield last.tail(max(start - last.start, 0))
                    last = _with_ragged(row, _unmarked(batch) if is_marked else batch, ragged)
                    row = last.stop
            if last is not None and last.stop > start:
                yield self._closed(last).tail(max(start - last.start, 0))
            if ragged:  # the file ends with ragged rows
                yield _with_ragged(row, _no_rows(self.schema), ragged).tail(max(start - row, 0))
        except READ_FAULTS as fault:
            if not is_marked and "columns, got" in str(fault):
                raise _UndecodableRowError from None
            raise _unreadable(self._file, fault) from None

    def _closed(self, last: Span) -> Span:
        """Return the last span; where a quote is never closed, its last row is no row but the rest.

        The parser takes the rest of the file for one cell. A cell that is closed ends before the
        file does, at least by its quote; one that holds a quote, or line ends alone, may still look
        like the end of the file.
        """
        if not last.batch.num_rows or self._file.packing or not _is_utf8(self._dialect.encoding):
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

    def _parse(self, stream: Any, keep: Any) -> Any:
        dialect = self._dialect
        return pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(
                use_threads=False,  # only then the handler learns the row's number
                block_size=BLOCK_BYTES,
                column_names=self.columns,
                skip_rows=dialect.skip_lines + self._leading,
                skip_rows_after_names=1 if self._has_header else 0,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote,
                newlines_in_values=True,
                invalid_row_handler=keep,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=self.schema, null_values=[], strings_can_be_null=False
            ),
        )

    def _ragged(self, row: Any) -> Broken:
        text = row.text or ""
        cells = next(iter(self._cells([text])), []) if text else []
        wanted = len(self.columns)
        some = "1 cell" if row.actual_columns == 1 else f"{row.actual_columns} cells"
        reason = f"the row has {some}, the header has {wanted}"
        if len(cells) > wanted:
            reason += f"; left over: {self._dialect.delimiter.join(cells[wanted:])}"
        padded = (cells + [""] * wanted)[:wanted]
        return Broken(Code.ROW_RAGGED, reason, tuple(_unmark(cell.encode()) for cell in padded))


def _with_ragged(start: int, batch: pa.RecordBatch, ragged: dict[int, Broken]) -> Span:
    """Put ragged rows back in their places as rows of nulls, so that the rows tile the file."""
    here: dict[int, Broken] = {}
    stop = start + batch.num_rows
    for row in sorted(ragged):  # each of them moves the end by one
        if row > stop or (row == stop and batch.num_rows):
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


def _unmark(cell: bytes) -> bytes:
    """Put the bytes back that are no text."""
    if MARK_BYTES not in cell:
        return cell
    text = cell.decode()
    return b"".join(
        bytes([ord(char) - MARK_BASE]) if ord(char) >= MARK_BASE else char.encode() for char in text
    )


def _unmarked(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = []
    for column in batch.columns:
        if MARK_BYTES in memoryview(column.buffers()[2] or b"").tobytes():
            column = pa.array([_unmark(cell) for cell in column.to_pylist()], pa.binary())  # noqa: PLW2901
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}


def _unreadable(file: SourceFile, fault: BaseException) -> SourceError:
    what = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    if "straddl" in what:
        what = f"a row is longer than {BLOCK_BYTES} bytes, or a quote is never closed"
    return SourceError(f"cannot be read as CSV: {what}", where=file.path, fix="check the export")


class _Recoded(io.RawIOBase):
    """A stream in another encoding, as UTF-8.

    A byte that is not valid stays as it is, so that it costs its row and not the file.
    """

    def __init__(self, stream: Any, encoding: str, errors: str = "surrogateescape") -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors=errors)
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            raw = bytes(self._stream.read(BLOCK_BYTES))
            text = self._decoder.decode(raw, final=not raw)
            self._ready = text.encode(errors="surrogateescape")
            if not raw:
                break
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._stream.close()
        super().close()
