"""CSV → spans: every column as bytes, nothing guessed, a bad row costs only itself.

The settings answer measured traps: types guessed (ids lose zeros), `NA` turned into null, a short
row shifted, one bad byte failing the file.
"""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from backfill.codes import Code
from backfill.errors import SourceError
from backfill.source.files import open_stream
from backfill.source.span import Broken, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backfill.mapping.document import CsvDialect
    from backfill.source.files import SourceFile

BLOCK_BYTES: Final = 1 << 20
"""Also the longest row: one that spans more than two blocks is refused by the parser."""

HEAD_BYTES: Final = 1 << 20
UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
        if _is_utf8(self._dialect.encoding):
            return stream
        return io.BufferedReader(_Recoded(stream, self._dialect.encoding), BLOCK_BYTES)

    def _head(self) -> bytes:
        try:
            with self._open() as stream:
                head = bytes(stream.read(HEAD_BYTES))
        except (OSError, EOFError, pa.ArrowException, UnicodeError) as fault:
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
        ragged: dict[int, Broken] = {}
        base = self._dialect.skip_lines + self._leading + (1 if self._has_header else 0) + 1

        def keep(row: Any) -> str:
            ragged[row.number - base] = self._ragged(row)
            return "skip"

        row = 0
        try:
            with self._open() as stream:
                for batch in self._parse(stream, keep):
                    span = _with_ragged(row, batch, ragged)
                    row = span.stop
                    if span.stop > start:
                        yield span.tail(max(start - span.start, 0))
            if ragged:  # the file ends with ragged rows
                yield _with_ragged(row, _no_rows(self.schema), ragged).tail(max(start - row, 0))
        except (OSError, EOFError, pa.ArrowException) as fault:
            raise _unreadable(self._file, fault) from None

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
        return Broken(Code.ROW_RAGGED, reason, tuple(cell.encode() for cell in padded))


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

    def __init__(self, stream: Any, encoding: str) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
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
