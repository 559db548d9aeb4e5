"""JSON lines → spans, numbers with their exact digits, a bad line costs only itself.

A block goes through Arrow's JSON reader where that is exact. Where it would not be (long numbers,
decimals ending in 0, exponents, values of several types), or where it fails, the lines of this
block are read one by one; both ways give the same messages.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from backfill.codes import Code
from backfill.columns import offsets
from backfill.errors import SourceError
from backfill.source.files import READ_FAULTS, open_raw, open_stream
from backfill.source.jsontree import DEPTH_MAX, JSON_FIELD, column_of, parsed
from backfill.source.place import BEGIN, STEP_BYTES, Place, begin_of, proof_of
from backfill.source.span import LINE, Broken, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.source.files import SourceFile

BLOCK_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 4 << 20
HEAD_BYTES: Final = 1 << 12
"""How much is kept of a line that is too long."""

CELLS_MAX: Final = 1 << 20
SAMPLE: Final = 64
TEXT_KEYS_MAX: Final = 1_000
KEY: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)"\s*+:')
SPACES: Final = np.frombuffer(b" \t\r\n", np.uint8)
HOW: Final = "lines"
"""How rows are told apart; nothing that a mapping says changes it."""

INEXACT: Final = re.compile(
    rb"[:\[,]\s*(?:-?(?:[0-9.]{16,}|[0-9]{10,}\.|0\.00000|[0-9]+\.[0-9]*0[\s,}\]]|[0-9.]+[eE]"
    rb"|Infinity)|-0\b|NaN)"
)
"""A number that int64 or double might not give back digit by digit."""


class JsonlReader:
    """One file of JSON lines."""

    first_row = 1
    has_nulls = False
    schema = None

    def __init__(self, file: SourceFile) -> None:
        """Look at the first block for the keys. Raises SourceError where it cannot be read."""
        self._file = file
        self._text_keys: dict[str, pa.DataType] = {}
        blocks = self._blocks()
        first = next(blocks, None)
        self.has_all_columns = next(blocks, None) is None
        blocks.close()
        spans = [] if first is None else self._spans(first[1], 0)
        names = (name for span in spans for name in span.batch.schema.names[:-1])
        self.columns = list(dict.fromkeys(names))

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on; blank lines are not rows."""
        place = self._begin(start)
        row = place.row
        for offset, block in self._blocks(place.offset):
            count = 1 if isinstance(block, bytes) else len(block)
            if row + count > start:
                place = self._place(place, row, offset)
                for span in self._spans(block, row):
                    if span.stop > start:
                        known = replace(span, place=None if place is BEGIN else place)
                        yield from known.tail(max(start - span.start, 0)).parts()
            row += count

    @property
    def _is_stored(self) -> bool:
        """Whether the lines are read as they stand, from anywhere."""
        return self._file.address is None and self._file.packing is None

    def _begin(self, start: int) -> Place:
        """Return where to begin for the rows from `start` on: the file's begin, if in doubt."""
        if self._file.place is not None and self._is_stored:
            with suppress(OSError), open_raw(self._file) as stream:
                return begin_of(stream, self._file.place, start, HOW)
        return BEGIN

    def _place(self, last: Place, row: int, offset: int) -> Place:
        """Return the place of a line, or the last one where that is near enough."""
        if offset < last.offset + STEP_BYTES or not self._is_stored:
            return last
        with suppress(OSError), open_raw(self._file) as stream:
            return Place(row, offset, proof_of(stream, offset, HOW))
        return last

    def _blocks(self, begin: int = 0) -> Any:
        """Yield arrays of lines (binary, no blank ones), about BLOCK_BYTES each, and their offset.

        Of a line that is too long its begin comes alone, as bytes; the rest is read and let go.
        Blocks end where they would, had the file been read from its begin: what is too long must
        not depend on that.
        """
        rest, read = b"", begin
        try:
            with open_stream(self._file) as stream:
                if begin:
                    stream.seek(begin)
                while block := bytes(stream.read(BLOCK_BYTES - read % BLOCK_BYTES)):
                    rest, read = rest + block, read + len(block)
                    end = rest.rfind(b"\n") + 1
                    lines, offset = _lines(rest[:end]), read - len(rest)
                    rest = rest[end:]
                    if len(lines):
                        yield offset, lines
                    if len(rest) > LINE_BYTES_MAX:
                        yield read - len(rest), rest[:HEAD_BYTES]
                        rest, skipped = _next_lines(stream)
                        read += skipped
            lines = _lines(rest)
            if len(lines):
                yield read - len(rest), lines
        except READ_FAULTS as fault:
            what = f"cannot be read: {fault}"
            raise SourceError(what, where=self._file.path, fix="check the export") from None

    def _spans(self, block: bytes | pa.BinaryArray, row: int) -> Iterator[Span]:
        if isinstance(block, bytes):
            lines = pa.array([block], pa.binary())
            broken = Broken(Code.ROW_TOO_LONG, f"{LINE_BYTES_MAX:,}", ())
            yield Span(row, pa.RecordBatch.from_arrays([lines], [LINE]), {0: broken})
            return
        count = _rows_at_once(block)
        for first in range(0, len(block), count):
            yield self._span(block.slice(first, count), row + first)

    def _span(self, lines: pa.BinaryArray, row: int) -> Span:
        text = _text(lines)
        is_plain = not INEXACT.search(text) and _depth(text, lines) <= DEPTH_MAX and _is_utf8(text)
        batch = self._fast(text) if is_plain else None
        broken: dict[int, Broken] = {}
        if batch is None or batch.num_rows != len(lines):
            batch, broken = _slow(lines)
        return Span(row, batch.append_column(LINE, lines), broken)

    def _fast(self, text: memoryview) -> pa.RecordBatch | None:
        for _ in range(2):
            try:
                table = pa_json.read_json(
                    pa.BufferReader(text),
                    read_options=pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                    parse_options=pa_json.ParseOptions(
                        explicit_schema=pa.schema(self._text_keys) if self._text_keys else None
                    ),
                )
            except (pa.ArrowException, UnicodeDecodeError):
                return None
            guessed = {f.name: _untimed(f.type) for f in table.schema if _untimed(f.type) != f.type}
            if not guessed:
                with suppress(pa.ArrowException):  # [[null, null]] makes columns that are broken
                    return _exact(table)
                return None
            if len(self._text_keys) > TEXT_KEYS_MAX:  # every line has keys of its own
                self._text_keys = {}
            self._text_keys |= guessed  # Arrow takes texts for times; texts they stay
        return None


def _next_lines(stream: Any) -> tuple[bytes, int]:
    """Read a line to its end. Returns what is read of those after it, and how much was read."""
    read = 0
    while block := bytes(stream.read(BLOCK_BYTES)):
        read += len(block)
        if end := block.find(b"\n") + 1:
            return block[end:], read
    return b"", read


def _rows_at_once(lines: pa.BinaryArray) -> int:
    """How many lines to read together, so that they have about CELLS_MAX cells at most.

    Judged by a sample: where each line brings keys of its own, the columns grow with the rows.
    """
    if len(lines) <= SAMPLE:
        return len(lines)
    sample = lines.take(pa.array(np.linspace(0, len(lines) - 1, SAMPLE, dtype=np.int64)))
    found = [KEY.findall(line) for line in sample.to_pylist()]
    half = {key for keys in found[: SAMPLE // 2] for key in keys}
    known = half.union(*found[SAMPLE // 2 :])
    fresh = (len(known) - len(half)) / (SAMPLE / 2)  # a line
    if not fresh:
        return max(CELLS_MAX // max(len(known), 1), 1)
    root = float(np.sqrt(len(known) ** 2 + 4 * fresh * CELLS_MAX))
    return max(int((root - len(known)) / (2 * fresh)), 1)


def _lines(text: bytes) -> pa.BinaryArray:
    """Split into lines, each with its line end, without a Python object each; no blank lines."""
    data = np.frombuffer(text, np.uint8)
    stops = np.flatnonzero(data == ord("\n")) + 1
    if len(text) and (not len(stops) or stops[-1] != len(text)):
        stops = np.append(stops, len(text))
    offsets = np.concatenate(([0], stops)).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    lines = pa.Array.from_buffers(pa.binary(), len(stops), buffers)
    starts = offsets[:-1]
    spaced = np.flatnonzero(np.isin(data[starts], SPACES)) if len(starts) else starts
    blank = [int(n) for n in spaced if not lines[int(n)].as_py().strip()]
    if not blank:
        return lines
    keep = np.ones(len(lines), bool)
    keep[blank] = False
    return lines.filter(pa.array(keep))


def _text(lines: pa.BinaryArray) -> memoryview:
    """Return the bytes of the lines; they lie one after the other."""
    offsets = np.frombuffer(lines.buffers()[1], np.int32)
    first, last = offsets[lines.offset], offsets[lines.offset + len(lines)]
    return memoryview(lines.buffers()[2])[first:last]


def _is_utf8(text: memoryview) -> bool:
    """Arrow takes any bytes for text here."""
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _depth(text: memoryview, lines: pa.BinaryArray) -> int:
    """How deep a line nests at most (brackets in texts count too); Arrow's parser has no bound."""
    data = np.frombuffer(text, np.uint8)
    opens = (data == ord("[")) | (data == ord("{"))
    closes = (data == ord("]")) | (data == ord("}"))
    depth = np.cumsum(opens.astype(np.int32) - closes)
    at = offsets(lines)
    starts = (at[:-1] - at[0]).astype(np.int64)
    before = np.where(starts > 0, depth[starts - 1], 0)
    return int((np.maximum.reduceat(depth, starts) - before).max())


def _untimed(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _untimed(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_untimed(kind.value_type))
    return kind


def _exact(table: pa.Table) -> pa.RecordBatch:
    """Doubles as JSON text, since an id among them is to be judged by its own digits."""
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        whole = column.combine_chunks()
        if pa.types.is_float64(field.type):
            whole, field = whole.cast(pa.string()), JSON_FIELD.with_name(field.name)  # noqa: PLW2901
        columns.append(whole)
        fields.append(field)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _slow(lines: pa.BinaryArray) -> tuple[pa.RecordBatch, dict[int, Broken]]:
    """Line by line: for blocks that Arrow would not read exactly, or not at all."""
    rows: list[dict[str, Any]] = []
    broken: dict[int, Broken] = {}
    for offset, line in enumerate(lines.to_pylist()):
        row = parsed(line)
        if isinstance(row, Broken):
            broken[offset] = row
            row = {}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [column_of(name, [row.get(name) for row in rows]) for name in names]
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([]))), broken
    schema = pa.schema([field for field, _ in columns])
    return pa.RecordBatch.from_arrays([array for _, array in columns], schema=schema), broken
