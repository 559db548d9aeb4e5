"""CSV bytes → pieces of whole rows, and rows too long to be loaded. Splits nothing into cells.

For the files that Arrow's own blocks cannot take. The borders are those that Arrow sees: a quote
opens a cell only at its begin, a doubled one stays inside, and what follows a closed one is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES: Final = 1 << 18
ROW_BYTES_MAX: Final = 2 << 20
"""Arrow takes every row up to a block of 1 MiB, some up to two, and none above."""

HEAD_BYTES: Final = 1 << 12
"""How much is kept of a row that is too long."""


class UnclosedError(OSError):
    """A quote is open at the end of the file."""


@dataclass(frozen=True, slots=True)
class LongRow:
    """The begin of a row over ROW_BYTES_MAX; the rest of it was read and let go."""

    head: bytes


@dataclass(frozen=True, slots=True)
class Grammar:
    """How cells and rows end, as patterns that never go back."""

    quote: bytes
    rows: re.Pattern[bytes] = field(repr=False)
    cells: re.Pattern[bytes] = field(repr=False)
    inside: re.Pattern[bytes] = field(repr=False)
    stop: re.Pattern[bytes] = field(repr=False)

    @classmethod
    def of(cls, delimiter: str, quote: str) -> Grammar:
        """Return the grammar of a dialect."""
        d, q = re.escape(delimiter.encode()), re.escape(quote.encode())
        inside = rb"(?:[^%b]++|%b%b)*+" % (q, q, q)
        text = rb"[^%b\r\n]*+" % d
        cell = rb"(?:%b%b%b(?!%b)%b|(?!%b)%b)" % (q, inside, q, q, text, q, text)
        row = rb"(?:%b%b)*+%b(?:\r\n|\r|\n)" % (cell, d, cell)
        return cls(
            quote=quote.encode(),
            rows=re.compile(rb"(?:%b)*+" % row),
            cells=re.compile(rb"(?:%b%b)*+" % (cell, d)),
            inside=re.compile(inside),
            stop=re.compile(rb"[%b\r\n]" % d),
        )


def whole_rows(stream: Any, grammar: Grammar, *, skip_lines: int) -> Iterator[bytes | LongRow]:
    """Yield pieces that tile the stream after its first `skip_lines` lines.

    Each is whole rows, about PIECE_BYTES; the last may end without a line end. Raises
    UnclosedError where a quote is open for more than ROW_BYTES_MAX and to the end.
    """
    rest = _without_lines(stream, skip_lines)
    while block := bytes(stream.read(PIECE_BYTES)):
        rest += block
        found = grammar.rows.match(rest)
        stop = found.end() if found else 0
        if stop:
            yield rest[:stop]
            rest = rest[stop:]
        if len(rest) > ROW_BYTES_MAX:
            head = rest[:HEAD_BYTES]
            rest = _Rest(stream, grammar, rest).after()
            yield LongRow(head)
    found = grammar.rows.match(rest)
    stop = found.end() if found else 0
    for piece in (rest[:stop], rest[stop:]):
        if piece:
            yield piece


def _without_lines(stream: Any, count: int) -> bytes:
    """Return what follows the first lines, as far as it is read by now; no quote counts in them."""
    rest = bytes(stream.read(PIECE_BYTES))
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
        is_quoted = self._data.startswith(self._grammar.quote, self._at)
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
        found = self._grammar.stop.search(self._data, self._at)
        self._at = found.end() if found else len(self._data)
        if found is None:
            return False
        if found.group() in (b"\r", b"\n"):
            return True  # of \r\n the rest is a blank line, which is no row
        self._step = self._begin
        return self._begin()
