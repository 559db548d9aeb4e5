"""CSV bytes → pieces of whole rows, and rows too long to be loaded. Splits nothing into cells.

For the files that Arrow's own blocks cannot take. The borders are those that Arrow sees: a quote
opens a cell only at its begin, a doubled one stays inside, and what follows a closed one is text.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES: Final = 1 << 18
ROW_BYTES_MAX: Final = 2 << 20
"""Arrow takes every row up to a block of 1.3 MiB, some up to two such, and none above."""

HEAD_BYTES: Final = 1 << 12
"""How much is kept of a row that is too long."""


class UnclosedError(OSError):
    """A quote is open at the end of the file."""


@dataclass(frozen=True, slots=True)
class LongRow:
    """The begin of a row over ROW_BYTES_MAX; the rest of it was read and let go."""

    head: bytes


@dataclass(frozen=True, slots=True)
class OpenRow:
    """The last row of a file, with a quote in it that is never closed."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Grammar:
    """How cells and rows end, as patterns that never go back."""

    quote: bytes
    """Empty where quotes have no meaning."""
    escape: bytes
    delimiter: bytes
    rows: re.Pattern[bytes] = field(repr=False)
    own: re.Pattern[bytes] = field(repr=False)
    """Rows up to the first comment."""
    begin: bytes
    """What a comment begins with."""
    comment: re.Pattern[bytes] | None = field(repr=False)
    cells: re.Pattern[bytes] = field(repr=False)
    inside: re.Pattern[bytes] = field(repr=False)
    text: re.Pattern[bytes] = field(repr=False)
    last: re.Pattern[bytes] = field(repr=False)
    """A row without a line end, whose quotes are closed."""

    @classmethod
    def of(
        cls,
        delimiter: str,
        quote: str | None,
        escape: str | None = None,
        comment: str | None = None,
    ) -> Grammar:
        """Return the grammar of a dialect. comment: what begins a line that is no row."""
        d, q, e = (re.escape((mark or "").encode()) for mark in (delimiter, quote, escape))
        skip = rb"|%b(?s:.)" % e if e else b""
        if len(delimiter.encode()) == 1:
            text = rb"(?:[^%b%b\r\n]++%b)*+" % (d, e, skip)
        else:
            text = rb"(?:(?!%b)[^%b\r\n]%b)*+" % (d, e, skip)
        inside = rb"(?:[^%b%b]++|%b%b%b)*+" % (q, e, q, q, skip) if q else b""
        cell = (rb"(?:%b%b%b(?!%b)|(?!%b))" % (q, inside, q, q, q) if q else b"") + text
        line = rb"(?:\r\n|\r|\n)"
        row = rb"(?:%b%b)*+%b" % (cell, d, cell)
        own, rows, note = row + line, row + line, None
        if comment:
            begin = re.escape(comment.encode())
            own = rb"(?!%b)%b" % (begin, own)
            rows = rb"%b[^\r\n]*+%b|%b" % (begin, line, own)
            note = re.compile(rb"%b[^\r\n]*+%b?" % (begin, line))
        return cls(
            quote=(quote or "").encode(),
            escape=(escape or "").encode(),
            delimiter=delimiter.encode(),
            rows=re.compile(rb"(?:%b)*+" % rows),
            own=re.compile(rb"(?:%b)*+" % own),
            begin=(comment or "").encode(),
            comment=note,
            cells=re.compile(rb"(?:%b%b)*+" % (cell, d)),
            inside=re.compile(inside),
            text=re.compile(text),
            last=re.compile(row + (e + b"?" if e else b"")),
        )

    def end_of_rows(self, data: bytes) -> int:
        """Return where the last whole row ends, 0 where there is none."""
        if self.quote and self.quote in data:
            found = self.rows.match(data)
            return found.end() if found else 0
        at = len(data)
        while at := max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at)) + 1:
            if not self._is_escaped(data, at - 1):
                break
            at -= 1
        return at

    def _is_escaped(self, data: bytes, at: int) -> bool:
        """Whether a line end is part of a cell; an escape takes one character."""
        if not self.escape:
            return False
        begin = at
        while begin and data.startswith(self.escape, begin - 1):
            begin -= 1
        return (at - begin) % 2 == 1

    def without_comments(self, piece: bytes) -> bytes:
        """Return the rows of a piece that begins with a row or a comment."""
        if self.comment is None or self.begin not in piece:
            return piece
        kept, at = [], 0
        while at < len(piece):
            found = self.own.match(piece, at)
            stop = found.end() if found else at
            kept.append(piece[at:stop])
            note = self.comment.match(piece, stop)
            if note is None:  # the last row, without a line end
                kept.append(piece[stop:])
                break
            at = note.end()
        return b"".join(kept)

    def is_closed(self, row: bytes) -> bool:
        """Whether every quote of a row without a line end is closed."""
        return self.last.fullmatch(row) is not None


def whole_rows(
    stream: Any, grammar: Grammar, *, skip_lines: int
) -> Iterator[bytes | LongRow | OpenRow]:
    """Yield pieces that tile the stream after its first `skip_lines` lines.

    Each is whole rows, about PIECE_BYTES; the last may end without a line end, and is an OpenRow
    where a quote is open to the end. Raises UnclosedError where it is open for over ROW_BYTES_MAX.
    """
    rest = _without_lines(stream, skip_lines)
    while block := bytes(stream.read(PIECE_BYTES)):
        rest += block
        if stop := grammar.end_of_rows(rest):
            yield rest[:stop]
            rest = rest[stop:]
        if len(rest) > ROW_BYTES_MAX:
            head = rest[:HEAD_BYTES]
            rest = _Rest(stream, grammar, rest).after()
            yield LongRow(head)
    if stop := grammar.end_of_rows(rest):
        yield rest[:stop]
    if left := rest[stop:]:
        yield left if grammar.is_closed(left) else OpenRow(left)


def _without_lines(stream: Any, count: int) -> bytes:
    """Return what follows the first lines, as far as it is read by now; no quote counts in them."""
    rest = bytes(stream.read(PIECE_BYTES)).removeprefix(codecs.BOM_UTF8)
    lines = re.compile(rb"(?:[^\r\n]*+(?:\r\n|\r(?!\Z)|\n)){%d}" % count)
    while (found := lines.match(rest)) is None:
        block = bytes(stream.read(PIECE_BYTES))
        if not block:
            return b""
        rest += block
    return rest[found.end() :]


class _Rest:
    """The rest of a row that is too long: it is read to its end and let go."""

    def __init__(self, stream: Any, grammar: Grammar, data: bytes) -> None:
        self._stream = stream
        self._grammar = grammar
        self._data = data
        self._at = 0
        self._step = self._begin

    def after(self) -> bytes:
        """Return what is read of the rows after it, b"" at the end of the file."""
        while not self._step():
            left = self._data[self._at :]  # a quote that may be the first of two, or nothing
            block = bytes(self._stream.read(PIECE_BYTES))
            if not block:
                if self._step == self._inside and left != self._grammar.quote:
                    raise UnclosedError("a quote is never closed")
                return b""
            self._data, self._at = left + block, 0
        return self._data[self._at :]

    def _begin(self) -> bool:
        """At the begin of a cell."""
        found = self._grammar.cells.match(self._data, self._at)
        self._at = found.end() if found else self._at
        if self._at == len(self._data):
            return False
        quote = self._grammar.quote
        is_quoted = bool(quote) and self._data.startswith(quote, self._at)
        self._at += is_quoted
        self._step = self._inside if is_quoted else self._text
        return self._step()

    def _inside(self) -> bool:
        """Between quotes."""
        found = self._grammar.inside.match(self._data, self._at)
        self._at = found.end() if found else self._at
        if self._at >= len(self._data) - 1:  # the next byte tells whether a quote is doubled
            return False
        self._at += 1
        self._step = self._text
        return self._text()

    def _text(self) -> bool:
        """In a cell without quotes, or after its closed one. Returns whether the row has ended."""
        found = self._grammar.text.match(self._data, self._at)
        delimiter = self._grammar.delimiter
        left = len(self._data) - len(delimiter) + 1  # from here on a delimiter may be cut
        self._at = max(self._at, min(found.end() if found else self._at, left))
        if self._at >= left:
            return False
        if self._data[self._at] in b"\r\n":
            self._at += 1
            return True  # of \r\n the rest is a blank line, which is no row
        if not self._data.startswith(delimiter, self._at):
            return False  # an escape whose character is not read yet
        self._at += len(delimiter)
        self._step = self._begin
        return self._begin()
