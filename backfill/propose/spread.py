"""A file → a sample of its rows, spread over all of it and not only from its head.

Small files are looked at whole. What is read is read by the very readers of a run, so that a cell
means here what it will mean there.
"""

from __future__ import annotations

import csv
import io
import tempfile
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backfill.errors import SourceError, UsageError
from backfill.mapping.document import CsvDialect, SourceSpec
from backfill.propose import dialect as written
from backfill.source import Span, open_file
from backfill.source.files import READ_FAULTS, SourceFile, format_of, open_stream
from backfill.source.parquet import ParquetReader
from backfill.source.recode import Recoded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.propose.dialect import Dialect
    from backfill.source import Reader

WHOLE_BYTES: Final = 8 << 20
HEAD_BYTES: Final = 1 << 18
WINDOW_BYTES: Final = 1 << 17
WINDOWS: Final = 48
STREAM_BYTES: Final = 64 << 20
"""Of a file that cannot be entered in its middle (packed, UTF-16) so much is read at most."""

PLACES: Final = 12
PLACE_ROWS: Final = 1 << 14
TRIES: Final = 40
"""Line ends tried until one is the end of a row and not inside of a quoted cell."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of one file."""

    file: SourceFile
    columns: list[str]
    spans: list[Span]
    """They tile [0, rows) of the sample."""
    dialect: Dialect
    is_whole: bool
    rows_total: int | None
    """Of the file: exact where it is whole or Parquet, else estimated; None where unknown."""
    reader: Reader

    @property
    def rows(self) -> int:
        """How many rows were looked at."""
        return self.spans[-1].stop if self.spans else 0


@dataclass
class Held:
    """A sample as a reader, so that all that a run does can be done with it."""

    columns: list[str]
    has_all_columns: bool
    schema: Any
    first_row: int
    held: list[Span]
    has_nulls: bool = False

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on."""
        for span in self.held:
            if span.stop > start:
                yield span.tail(max(start - span.start, 0))


def sample(file: SourceFile, share: int = 1) -> Sample:
    """Look at a file. share: how many files have the budget together.

    Raises UsageError and SourceError, in the words of a run where it could not read it either.
    """
    if file.format == "parquet":
        return _of_parquet(file, share)
    parts, is_whole, total = _parts(file, share)
    default = "\t" if ".tsv" in Path(file.path).suffixes else ","
    found = written.Dialect()
    if file.format == "csv":
        found = written.sniff(parts, file.path, default=default)
    text = _text(parts, found, file.format)
    made = _read(file, found, text, is_whole=is_whole)
    known = sum(map(len, parts))
    rows = made.rows if is_whole else total and int(made.rows * total / max(known, 1))
    return replace(made, rows_total=rows)


def format_by_content(path: Path) -> str | None:
    """Return the format by the first bytes, for endings that tell nothing; None: no idea."""
    if (known := format_of(path)) is not None:
        return known
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 12)
    except OSError:
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"{"):
        if start[1:].lstrip(b" \t")[:1] in b"\r\n" and path.suffix.lower() == ".json":
            fix = "make lines of it: docs/moving/lines.py does, or jq -c"
            raise UsageError("this is JSON over several lines", where=path, fix=fix)
        return "jsonl"
    if start.startswith(b"[") and path.suffix.lower() == ".json":
        fix = "turn it into JSON lines first, for example: jq -c '.[]'"
        raise UsageError("this is one JSON array, not one object a line", where=path, fix=fix)
    written.refuse_binary(head, str(path))
    return "csv" if head and b"\x00" not in head[:100] else None


def _parts(file: SourceFile, share: int) -> tuple[list[bytes], bool, int | None]:
    """Pieces cut at line ends, whether they are all of it, and the bytes of the whole."""
    budget = max(WHOLE_BYTES // share, HEAD_BYTES)
    try:
        with open_stream(file) as stream:
            if file.packing:
                return _streamed(stream, budget)
            head = bytes(stream.read(min(file.size_bytes, budget)))
            if file.size_bytes <= budget:
                return [head], True, file.size_bytes
            encoding = written.encoding_of([head[:HEAD_BYTES]])[0]
            if encoding.startswith("utf-16"):
                stream.seek(0)
                parts, is_whole, _ = _streamed(Recoded(stream, encoding), budget)
                return [part.decode().encode(encoding) for part in parts], is_whole, None
            return (
                _windows(stream, head[:HEAD_BYTES], file.size_bytes, share),
                False,
                file.size_bytes,
            )
    except (*READ_FAULTS, UnicodeError) as fault:
        what = f"cannot be read: {fault}"
        raise SourceError(what, where=file.path, fix="check the export") from None


def _streamed(stream: Any, budget: int) -> tuple[list[bytes], bool, int | None]:
    """Read on and keep every n-th piece; n doubles whenever the budget is full."""
    kept: list[tuple[int, bytes]] = []
    stride, number, read, rest = 1, 0, 0, b""
    while read < STREAM_BYTES and (block := bytes(stream.read(WINDOW_BYTES))):
        read += len(block)
        piece = _to_line_end(rest + block)
        rest = (rest + block)[len(piece) :]
        if piece and number % stride == 0:  # the first one, which has the header, is always kept
            kept.append((number, piece))
        number += bool(piece)
        if sum(len(part) for _, part in kept) > budget:
            stride *= 2
            kept = [(n, part) for n, part in kept if n % stride == 0]
    is_all = not bytes(stream.read(1))
    if is_all and rest:
        kept.append((number, rest))
    parts = [part for _, part in kept]
    return parts or [b""], is_all and stride == 1, read if is_all else None


def _windows(stream: Any, head: bytes, size: int, share: int) -> list[bytes]:
    """The head, and windows spread evenly over the rest, the last one at the very end."""
    parts = [_to_line_end(head) or head]
    count = max(WINDOWS // share, 4)
    for n in range(1, count + 1):
        start = len(head) + (size - WINDOW_BYTES - len(head)) * n // count
        stream.seek(max(start, 0))
        window = bytes(stream.read(WINDOW_BYTES))
        begin = _line_start(window)
        piece = window[begin:] if n == count else _to_line_end(window[begin:])
        if begin and piece:  # a line longer than the window has neither begin nor end in it
            parts.append(piece)
    return parts


def _line_start(window: bytes) -> int:
    found = window.find(b"\n") + 1
    return found or window.find(b"\r") + 1


def _to_line_end(part: bytes) -> bytes:
    """Cut behind the last line end; nothing is left of a piece without one."""
    return part[: part.rfind(b"\n") + 1 or part.rfind(b"\r") + 1]


def _text(parts: list[bytes], found: Dialect, file_format: str) -> bytes:
    """Put pieces together so that each begins and ends with a row."""
    if file_format == "jsonl" or len(parts) == 1:
        return b"".join(parts)
    encoding = found.encoding
    texts = [part.decode(encoding, errors="surrogateescape") for part in parts]
    whole = [_whole_rows(text, found, is_head=not at) for at, text in enumerate(texts)]
    return "".join(whole).encode(encoding, errors="surrogateescape")


def _whole_rows(text: str, found: Dialect, *, is_head: bool) -> str:
    """Cut a piece to whole rows: where it begins inside of a quoted cell, its begin is left out."""
    if found.quote not in text:
        return text
    lines = io.StringIO(text, newline="").readlines()  # splits where a CSV does, and nowhere else
    first = 0 if is_head else _begin(lines, found)
    return "".join(lines[first : _end(lines, first, found)])


def _begin(lines: list[str], found: Dialect) -> int:
    for first in range(min(TRIES, len(lines))):
        rows = list(islice(_split(lines[first:], found), 12))
        if len(rows) > 1 and all(len(row) == found.width for _, row in rows[:-1]):
            return first
    return len(lines)


def _end(lines: list[str], first: int, found: Dialect) -> int:
    """The line behind the last row that is surely whole."""
    whole = [line for line, row in _split(lines[first:], found) if len(row) == found.width]
    return first + whole[-2] if len(whole) > 1 else first


def _split(lines: list[str], found: Dialect) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=found.delimiter, quotechar=found.quote)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error:
        return


def _read(file: SourceFile, found: Dialect, text: bytes, *, is_whole: bool) -> Sample:
    """Read the sample by the reader of a run, from a file of its own."""
    spec = SourceSpec(path=[file.path], csv=CsvDialect(**found.options))
    if is_whole:
        return _sample(open_file(file, spec), file, found, is_whole=True)
    suffix = ".tsv" if ".tsv" in Path(file.path).suffixes else ".txt"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sample{suffix}"
        path.write_bytes(text)
        stat = path.stat()
        here = SourceFile(str(path), file.format, stat.st_size, stat.st_mtime_ns)
        try:
            return _sample(open_file(here, spec), file, found, is_whole=False)
        except SourceError as fault:
            raise SourceError(fault.what, where=file.path, fix=fault.fix) from None


def _sample(reader: Reader, file: SourceFile, found: Dialect, *, is_whole: bool) -> Sample:
    spans = list(reader.spans(0))
    held = Held(reader.columns, reader.has_all_columns, reader.schema, reader.first_row, spans)
    held.has_nulls = reader.has_nulls
    return Sample(file, reader.columns, spans, found, is_whole, None, held)


def _of_parquet(file: SourceFile, share: int) -> Sample:
    """Some thousand rows from each of some places."""
    reader = ParquetReader(file)
    total, spans = reader.row_count, []
    places = max(PLACES // share, 2)
    if total <= places * PLACE_ROWS:
        made = _sample(reader, file, written.Dialect(), is_whole=True)
        return replace(made, rows_total=total)
    row = 0
    for n in range(places):
        start = (total - PLACE_ROWS) * n // (places - 1)
        left = PLACE_ROWS
        for span in reader.spans(start):
            part = span.head(left)
            spans.append(Span(row, part.batch, part.broken))
            row, left = row + part.batch.num_rows, left - part.batch.num_rows
            if not left:
                break
    held = Held(reader.columns, has_all_columns=True, schema=reader.schema, first_row=1, held=spans)
    return Sample(file, reader.columns, spans, written.Dialect(), False, total, held)
