"""A CSV dialect → what Arrow is told of it, and what is done around Arrow for the rest. No reading.

Arrow splits cells at one ASCII character. What it does not know is changed in pieces of whole rows
before it (runs of blanks, long delimiters, escapes), or in the cells after it (escapes of COPY); a
file whose dialect has none of these is read as it stands.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from backfill.source.wholerows import Grammar, LongRow, OpenRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backfill.mapping.document import CsvDialect

WHITESPACE: Final = "whitespace"
NONE: Final = "none"
STAND_IN: Final = "\x1f"
"""Stands for a delimiter that Arrow cannot take while a piece is split: ASCII's own separator."""

COPY_ESCAPES: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
COPY_NULL: Final = b"\\N"
COPY_END: Final = re.compile(rb"(?<![^\r\n])\\\.(?=[\r\n]|\Z)")
ODD: Final = rb"\\(?<!\\\\)((?:\\\\)*+)"
"""A backslash that is not escaped itself, and pairs of them; begins with a letter, for speed."""

ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
TABS: Final = bytes.maketrans(b" ", b"\t")
GUARD: Final = b"\xff"
"""Is in no UTF-8, so it can stand for an escaped backslash."""

NULL_LIKE: Final = re.compile(rb"\\+N")


Piece = bytes | LongRow | OpenRow


class DialectError(OSError):
    """The file is not written in the dialect that the mapping says."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Dialect:
    """How Arrow and Python's csv split the cells, once the pieces are changed."""

    delimiter: str
    quote: str | None
    escape: str | None
    """As Arrow takes it: the next character stands for itself."""
    changed: Callable[[bytes], bytes] | None
    """Piece of whole rows → one that Arrow splits; None where it is one as it stands."""
    grammar: Grammar
    """Where rows end in the file as it stands."""
    is_copy: bool = False
    r"""Cells are escaped as by PostgreSQL's COPY, and a cell of `\N` is null."""
    written: str = ""
    """The delimiter in the file, where Arrow sees STAND_IN."""

    @classmethod
    def of(cls, how: CsvDialect) -> Dialect:
        """Return that of a mapping; its faults are told by now."""
        quote = None if how.quote == NONE else how.quote
        escape = None if how.escape == quote else how.escape
        delimiter, written = how.delimiter, ""
        if delimiter == WHITESPACE:
            delimiter, quote = "\t", None
        elif len(delimiter.encode()) > 1 or delimiter == "\0":
            delimiter, written = STAND_IN, delimiter
        is_copy = escape is not None and quote is None
        steps = list(_steps(how, escape if quote else None, written, is_copy=is_copy))
        return cls(
            delimiter=delimiter,
            quote=quote,
            escape=None if is_copy else escape,
            changed=(lambda piece: _all(steps, piece)) if steps else None,
            grammar=Grammar.of(written or delimiter, quote, escape, how.comment),
            is_copy=is_copy,
            written=written,
        )

    @property
    def is_plain(self) -> bool:
        """Whether Arrow can read the file as it stands."""
        return self.changed is None and self.grammar.comment is None

    def ready(self, rows: bytes) -> bytes:
        """Return whole rows as Arrow can split them; b"" where all are blank lines or comments."""
        rows = self.grammar.without_comments(rows)
        return (rows if self.changed is None else self.changed(rows)).lstrip(b"\r\n")

    def before_end(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        r"""Yield what stands before the `\.` of COPY. Raises DialectError where rows follow it."""
        if not self.is_copy:
            yield from pieces
            return
        for piece in pieces:
            end = COPY_END.search(piece) if isinstance(piece, bytes) else None
            if end is None:
                yield piece
                continue
            assert isinstance(piece, bytes)
            yield piece[: end.start()]
            for rest in (piece[end.end() :], *pieces):
                if not isinstance(rest, bytes) or rest.strip(b"\r\n"):
                    fix = "take that line out of the file, or cut the file behind it"
                    raise DialectError(r"rows follow the line '\.', which ends the data", fix)

    def rows(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        """Split changed text as Arrow does, by Python: a header, or a row that is ragged."""
        for cells in csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            strict=strict,
        ):
            yield [self._shown(cell) for cell in cells]

    def _shown(self, cell: str) -> str:
        r"""Return a cell as dead letters have it: a null among them is `\N`."""
        if self.written:
            cell = cell.replace(STAND_IN, self.written)
        if self.is_copy:
            raw = cell.encode(errors="surrogateescape")
            made = lettered(None if raw == COPY_NULL else _unescaped(raw))
            cell = made.decode(errors="surrogateescape")
        return cell

    def restored(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the cells as the writer of the file had them."""
        if not (self.written or self.is_copy):
            return batch
        columns = [self._column(column) for column in batch.columns]
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def _column(self, column: pa.BinaryArray) -> pa.BinaryArray:
        data = memoryview(column.buffers()[2] or b"").tobytes()
        if self.written and STAND_IN.encode() in data:
            column = pc.replace_substring(column, STAND_IN.encode(), self.written.encode())
        return _of_copy(column, data) if self.is_copy and b"\\" in data else column


def _all(steps: list[Callable[[bytes], bytes]], piece: bytes) -> bytes:
    for step in steps:
        piece = step(piece)
    return piece


def _steps(
    how: CsvDialect, escape: str | None, written: str, *, is_copy: bool
) -> Iterator[Callable[[bytes], bytes]]:
    """Yield what is done to a piece. escape: that of quoted cells."""
    if how.delimiter == WHITESPACE:
        yield _without_runs
    if is_copy:
        yield _raw_escapes(how.delimiter.encode())
    if escape is not None:
        kept = re.escape(f"{escape}{how.quote}\r\n".encode())
        mark, after = re.escape(escape.encode()), re.escape(how.delimiter.encode())
        lone = re.compile(rb"%b(?<!%b%b)((?:%b%b)*+)(?!%b|[%b])" % (*5 * (mark,), after, kept))
        double = 2 * escape.encode().replace(b"\\", b"\\\\") + rb"\g<1>"
        yield lambda piece: lone.sub(double, piece) if escape.encode() in piece else piece
    if written:
        yield lambda piece: _with_stand_in(piece, written)


def _without_runs(piece: bytes) -> bytes:
    """Return rows with one tab where blanks were, and none at the ends of lines."""
    piece = piece.translate(TABS)
    while b"\t\t" in piece:
        piece = piece.replace(b"\t\t", b"\t")
    for end in (b"\n", b"\r"):
        piece = piece.replace(end + b"\t", end).replace(b"\t" + end, end)
    return piece.strip(b"\t")


def _with_stand_in(piece: bytes, written: str) -> bytes:
    if STAND_IN.encode() in piece:
        what = f"the text holds U+001F, so that it cannot be split at {written!r}"
        raise DialectError(what, "take that character out of the file, or use another delimiter")
    return piece.replace(written.encode(), STAND_IN.encode())


def _raw_escapes(delimiter: bytes) -> Callable[[bytes], bytes]:
    """Return what writes a delimiter or line end behind a backslash as letters, as COPY does."""
    raw = re.compile(ODD + rb"([\r\n]|%b)" % re.escape(delimiter))
    hexed = {ord(b"\r"): b"\\r", ord(b"\n"): b"\\n", ord(b"\t"): b"\\t"}

    def letters(found: re.Match[bytes]) -> bytes:
        return found[1] + b"".join(hexed.get(byte, b"\\x%02x" % byte) for byte in found[2])

    ends = (b"\\\n", b"\\\r", b"\\" + delimiter)
    return lambda piece: raw.sub(letters, piece) if any(e in piece for e in ends) else piece


def _of_copy(column: pa.BinaryArray, data: bytes) -> pa.BinaryArray:
    r"""Undo the escapes; `\N` alone is null. Arrow's kernels do it, but for rare escapes."""
    null = pc.equal(column, pa.scalar(COPY_NULL, pa.binary()))
    cells = made = pc.if_else(null, pa.scalar(None, pa.binary()), column)
    if b"\\\\" in data:
        made = pc.replace_substring(made, b"\\\\", GUARD)
    for letter, stands_for in COPY_ESCAPES.items():
        if b"\\" + letter in data:
            made = pc.replace_substring(made, b"\\" + letter, stands_for)
    rare = pc.fill_null(pc.match_substring(made, b"\\"), fill_value=False)
    if b"\\\\" in data:
        made = pc.replace_substring(made, GUARD, b"\\")
    if pc.any(rare).as_py():
        others = pa.array([_unescaped(cell) for cell in cells.filter(rare).to_pylist()])
        made = pc.replace_with_mask(made, rare, others.cast(pa.binary()))
    return made


def _unescaped(cell: bytes) -> bytes:
    """Undo the escapes of one cell of COPY."""

    def meant(found: re.Match[bytes]) -> bytes:
        if found[3] is not None:
            return COPY_ESCAPES.get(found[3], found[3])
        return bytes([int(found[1], 16) if found[1] else int(found[2], 8) & 0xFF])

    return ESCAPE.sub(meant, cell)


def lettered(cell: bytes | None) -> bytes:
    r"""Return a cell of COPY as dead letters have it: null is `\N`, a text `\N` has a `\` more.

    `unlettered` is the way back, so that a null is no empty text once it is sent again.
    """
    if cell is None:
        return COPY_NULL
    return b"\\" + cell if NULL_LIKE.fullmatch(cell) else cell


def unlettered(cell: bytes | None) -> bytes | None:
    """Return what was in the source."""
    if cell is None or cell == COPY_NULL:
        return None
    return cell[1:] if NULL_LIKE.fullmatch(cell) else cell
