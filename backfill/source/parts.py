"""A CSV file as stored → parts to be read one after the other, so that places become known.

A part ends behind a newline; which one is a guess. What is certain is said by the parser after it
has read the part: a newline that stands in a cell is the end of the last cell (`is_whole`).
"""

from __future__ import annotations

import codecs
import csv
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from backfill.source.files import open_raw
from backfill.source.place import BEGIN, STEP_BYTES, Place, begin_of, proof_of, read_of
from backfill.source.recode import is_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.mapping.document import CsvDialect
    from backfill.source.dialect import Dialect
    from backfill.source.files import SourceFile
    from backfill.source.span import Span

WINDOW_BYTES: Final = 1 << 18
"""Before the end that is wished for: in its second half an end is looked for."""

LINES_MAX: Final = 64
GUESSES_MAX: Final = 3
"""Wrong ones, in a file: each costs to read a part again."""


class Parts:
    """Where the parts of one file end. Without parts it is read in one, as a stream."""

    def __init__(
        self, file: SourceFile, dialect: CsvDialect, split: Dialect, columns: list[str]
    ) -> None:
        self._file = file
        self._split = split
        self._count = len(columns)
        self._how = f"{split.delimiter!r} {split.quote!r} {dialect.skip_lines} {dialect.header}"
        self._how += f" {columns}"
        self._guesses_left = GUESSES_MAX
        is_stored = file.address is None and file.packing is None and is_utf8(dialect.encoding)
        self.are_possible = is_stored and split.is_plain
        """Whether the bytes of the file are those that the parser gets."""

    def begin(self, start: int) -> Place:
        """Return where to begin for the rows from `start` on: the file's begin, if in doubt."""
        if self._file.place is not None and self.are_possible:
            with suppress(OSError), open_raw(self._file) as stream:
                return begin_of(stream, self._file.place, start, self._how)
        return BEGIN

    def place(self, row: int, offset: int) -> Place:
        """Return a place that is certain. Raises OSError."""
        with open_raw(self._file) as stream:
            return Place(row, offset, proof_of(stream, offset, self._how))

    def stop_after(self, offset: int) -> int | None:
        """Return where a part ends that goes on behind this offset; None: with the file.

        No blank line follows it, and no mark of UTF-8: a parser would take them for the begin.
        """
        if not self.are_possible:
            return None
        with open_raw(self._file) as stream:
            while (offset := offset + STEP_BYTES) < self._file.size_bytes:
                first = offset - min(WINDOW_BYTES, STEP_BYTES)
                window = read_of(stream, first, offset + len(codecs.BOM_UTF8))
                if found := self._guess(window):
                    return first + found
        return None

    def moved(self, stop: int) -> int | None:
        """Return another end in place of one that is none, farther on; None: with the file."""
        self._guesses_left -= 1
        return self.stop_after(stop) if self._guesses_left > 0 else None

    def _guess(self, window: bytes) -> int:
        """Return where in its second half a row seems to end, 0 where none does."""
        at = len(window) // 2
        for _ in range(LINES_MAX):
            at = window.find(b"\n", at) + 1
            if not at:
                break
            stop = at + self._end_of_row(window[at : window.rfind(b"\n") + 1])
            is_end = stop > at and window[stop - 1] == ord("\n")
            if is_end and not window.startswith(codecs.BOM_UTF8, stop):
                return stop
        return 0

    def _end_of_row(self, text: bytes) -> int:
        """Return where the next row begins behind the first one, 0 where they look like no rows.

        Both must have all columns; what begins in a cell rarely has.
        """
        lengths: list[int] = []
        rows = self._split.rows(_told(text, lengths), strict=True)
        try:
            if len(next(rows, [])) != self._count:
                return 0
            end = sum(lengths)
            if len(next((row for row in rows if row), [])) != self._count:
                return 0
        except csv.Error:  # the text ends in a cell, or has line ends of another kind
            return 0
        rest = text[end:]
        return end + len(rest) - len(rest.lstrip(b"\r\n"))

    def open(self, offset: int, stop: int | None, *, block_bytes: int) -> Any:
        """Open [offset, stop) of a file that has parts, as a stream to be read in blocks."""
        whole = pa.OSFile(self._file.path)
        ends = range(offset + block_bytes, stop or self._file.size_bytes, block_bytes)
        is_cut = any(whole.read_at(2, end - 1) == b"\r\n" for end in ends)
        if stop is None:
            whole.seek(offset)  # only now, since reading at a place forgets where the stream is
        stream = whole if stop is None else whole.get_stream(offset, stop - offset)
        return Unbroken(stream) if is_cut else stream


def _told(text: bytes, lengths: list[int]) -> Iterator[str]:
    """Yield lines with their line ends, and tell how many bytes each has once it is taken."""
    for line in io.StringIO(text.decode("latin-1"), newline=""):
        lengths.append(len(line))
        yield line


class Unbroken(io.RawIOBase):
    """A stream none of whose blocks ends between CR and LF.

    At such an end Arrow drops the LF, also where both stand in a cell (apache/arrow#51368).
    """

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._held = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return a block, a byte shorter where it would end with CR; b"" at the end."""
        data = self._held + bytes(self._stream.read(size - len(self._held)))
        self._held = b"\r" if len(data) > 1 and data.endswith(b"\r") else b""
        return data[: len(data) - len(self._held)]

    def close(self) -> None:
        """Close the stream below, too."""
        self._stream.close()
        super().close()


def is_whole(last: Span | None) -> bool:
    """Whether the newline that ends a part ended a row, by the last rows that were read of it.

    The parser takes a quote that is open at the end for closed there: the row is then a ragged one,
    or its last cell ends with the newline, or with what stood before a newline that got lost.
    """
    if last is None or not last.batch.num_rows:
        return False
    row = last.batch.num_rows - 1
    if row in last.broken:
        return False
    cell = last.batch.column(last.batch.num_columns - 1)[row].as_py()
    return cell is not None and not cell.endswith((b"\n", b"\r"))
