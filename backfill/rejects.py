"""The dead-letter files: rows that were not sent, with their own cells and why.

Appended and made durable before the checkpoint that counts them; a resume cuts them back to what
the checkpoint knows, so that a row is told exactly once. CSV stays CSV, JSON lines stay JSON lines;
Parquet, which cannot be appended to, is an Arrow stream until the run ends.
"""

from __future__ import annotations

import csv
import errno
import io
import json
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from backfill.defuse import defused
from backfill.durable import Appended, write_whole
from backfill.errors import MismatchError
from backfill.source import LINE, WHICH, WHY, lettered

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.reading import Read
    from backfill.shard import Told
    from backfill.source import Span


class _Form(Protocol):
    suffix: str

    def opening(self) -> bytes: ...
    def lines(self, told: Told, read: Read) -> bytes: ...


class RejectsFile:
    """One dead-letter file of a run."""

    def __init__(self, folder: Path, name: str, form: _Form) -> None:
        self._folder = folder
        self._name = name
        self._form = form
        self._file = Appended(folder / f"{name}.{form.suffix}")

    @property
    def path(self) -> Path:
        """Where it is while the run goes on."""
        return self._file.path

    @property
    def length(self) -> int:
        """Bytes, 0 where there is no file. Raises OSError."""
        return self._file.length

    def cut_back(self, length: int) -> None:
        """Forget what was written after the last save. Raises MismatchError where less is there."""
        if (found := self.length) < length:
            raise MismatchError(
                f"the file has {found} bytes, the checkpoint knows of {length}",
                where=self.path,
                fix="put the file back as the run left it (a copy is for edits), or --restart",
            )
        self._file.cut(length)

    def append(self, tolds: tuple[Told, ...], read: Read) -> None:
        """Write the rows and make them durable. Raises OSError; then none of them stays."""
        if not tolds:
            return
        made = [] if self.length else [self._form.opening()]
        self._file.append([*made, *(self._form.lines(told, read) for told in tolds)])

    def finished(self) -> Path | None:
        """Return the file as a person gets it; an Arrow stream becomes Parquet. None: no rows."""
        if not self.length:
            return None
        if self._form.suffix != ArrowForm.suffix:
            return self.path
        import pyarrow.parquet as pq  # noqa: PLC0415

        final = self._folder / f"{self._name}.parquet"
        with pa.OSFile(str(self.path)) as stream:
            try:
                table = pa.ipc.open_stream(stream).read_all()
            except pa.ArrowInvalid as fault:  # torn, where a failed append could not be cut back
                raise OSError(errno.EIO, f"{self.path.name} is torn: {fault}") from None
        out = pa.BufferOutputStream()
        pq.write_table(table, out, write_page_checksum=True)
        write_whole(final, out.getvalue())
        return final


def form_of(file_format: str, read: Read, *, many: bool) -> _Form:
    """Return how the dead letters of a source are written. many: the source has several files."""
    if file_format == "csv":
        return CsvForm(read.reader.columns, many=many, has_nulls=read.reader.has_nulls)
    if file_format == "jsonl":
        return JsonlForm(many=many)
    return ArrowForm(read.reader.schema, many=many)


def _picked(told: Told, span: Span) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the offsets into a span, and what is told of each."""
    rows = told.table.to_pylist()
    here = [row for row in rows if span.start <= row["row"] < span.stop]
    return [row["row"] - span.start for row in here], here


def _why(row: dict[str, Any], called: tuple[int, str], *, many: bool) -> list[Any]:
    found = [called[0], row["column"], row["code"], row["reason"]]
    return [*found, called[1]] if many else found


class CsvForm:
    """The source's own columns as they were, but for formulas (`defuse`), then why."""

    suffix = "csv"

    def __init__(self, columns: list[str], *, many: bool, has_nulls: bool) -> None:
        self._columns = columns
        self._many = many
        self._cell = lettered if has_nulls else _cell

    def opening(self) -> bytes:
        """Return the header."""
        return _csv([[*self._columns, *WHY, *([WHICH] if self._many else [])]])

    def lines(self, told: Told, read: Read) -> bytes:
        """Return the rows; bytes that are no UTF-8 stay the bytes they were."""
        made: list[list[Any]] = []
        for span in told.spans:
            offsets, rows = _picked(told, span)
            if not rows:
                continue
            cells = span.batch.take(pa.array(offsets, pa.int32())).columns
            for at, (offset, row) in enumerate(zip(offsets, rows, strict=True)):
                broken = span.broken.get(offset)
                raw = (
                    broken.cells if broken else [self._cell(column[at].as_py()) for column in cells]
                )
                texts = [cell.decode(errors="surrogateescape") for cell in raw]
                made.append([*texts, *_why(row, read.called(span, offset), many=self._many)])
        return _csv(made)


def _cell(cell: bytes | None) -> bytes:
    return cell or b""


def _csv(rows: list[list[Any]]) -> bytes:
    """Write rows for a spreadsheet; names of columns and reasons repeat what the source says."""
    lines = _Lines()
    # "\r\n" so that a cell with either of them is quoted: the writer quotes only its own line ends
    writer = csv.writer(lines, lineterminator="\r\n")
    for row in rows:
        writer.writerow([defused(cell) if isinstance(cell, str) else cell for cell in row])
    return "".join(lines).encode(errors="surrogateescape")


class _Lines(list[str]):
    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


class JsonlForm:
    """The line as it was, with why as its last members."""

    suffix = "jsonl"

    def __init__(self, *, many: bool) -> None:
        self._many = many

    def opening(self) -> bytes:
        """Return nothing: JSON lines have no header."""
        return b""

    def lines(self, told: Told, read: Read) -> bytes:
        """Return the lines; one that is no object goes as a text under `_line`."""
        made = io.BytesIO()
        names = [*WHY, *([WHICH] if self._many else [])]
        for span in told.spans:
            offsets, rows = _picked(told, span)
            column = span.batch.column(span.batch.schema.get_field_index(LINE))
            for offset, row in zip(offsets, rows, strict=True):
                line = column[offset].as_py().strip()
                called = read.called(span, offset)
                why = dict(zip(names, _why(row, called, many=self._many), strict=True))
                tail = json.dumps(why, ensure_ascii=False)[1:].encode()
                if offset in span.broken:
                    text = json.dumps(line.decode(errors="replace"), ensure_ascii=False).encode()
                    made.write(b'{"_line":' + text + b"," + tail + b"\n")
                else:
                    body = line[:-1].rstrip()
                    made.write(body + (b"" if body == b"{" else b",") + tail + b"\n")
        return made.getvalue()


class ArrowForm:
    """Record batches with the source's own types, then why, as an Arrow stream."""

    suffix = "arrows"

    def __init__(self, schema: pa.Schema, *, many: bool) -> None:
        self._many = many
        fields = [pa.field(f.name, _undictionaried(f.type)) for f in schema]
        texts = [*WHY[1:], *([WHICH] if many else [])]
        why = [pa.field("_row", pa.int64()), *(pa.field(name, pa.string()) for name in texts)]
        self._schema = pa.schema([*fields, *why])

    def opening(self) -> bytes:
        """Return the schema message."""
        return bytes(self._schema.serialize())

    def lines(self, told: Told, read: Read) -> bytes:
        """Return record batch messages."""
        made = b""
        for span in told.spans:
            offsets, rows = _picked(told, span)
            if not rows:
                continue
            cells = span.batch.take(pa.array(offsets, pa.int32())).columns
            width = len(WHY) + self._many
            extra = [
                _why(row, read.called(span, offset), many=self._many)
                for offset, row in zip(offsets, rows, strict=True)
            ]
            why = [[values[at] for values in extra] for at in range(width)]
            arrays = [
                column.cast(field.type)
                if isinstance(column, pa.Array)
                else pa.array(column, field.type)
                for column, field in zip([*cells, *why], self._schema, strict=True)
            ]
            made += bytes(pa.RecordBatch.from_arrays(arrays, schema=self._schema).serialize())
        return made


def _undictionaried(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
