"""The begin of a CSV file → the names of its columns. Reads no row."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backfill.errors import SourceError
from backfill.source.dialect import DialectError
from backfill.source.files import READ_FAULTS
from backfill.source.recode import is_utf8, open_text
from backfill.source.wholerows import UnclosedError

if TYPE_CHECKING:
    from backfill.mapping.document import CsvDialect
    from backfill.source.dialect import Dialect
    from backfill.source.files import SourceFile

HEAD_BYTES: Final = 1 << 20
UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Header:
    """What the begin of a file says."""

    columns: list[str]
    leading: int
    """How many blank lines stand before the first row that is not."""
    has_rows: bool


def header_of(file: SourceFile, how: CsvDialect, split: Dialect) -> Header:
    """Read the begin of a file. Raises SourceError where its columns cannot be known."""
    try:
        with open_text(file, how.encoding) as stream:
            head = bytes(stream.read(HEAD_BYTES))
        stream = _after(head.removeprefix(codecs.BOM_UTF8), how.skip_lines, split)
    except (*READ_FAULTS, UnicodeError) as fault:
        raise unreadable(fault, file.path) from None
    if head.startswith(UTF16) and is_utf8(how.encoding):
        fix = "say source: {csv: {encoding: utf-16}}"
        raise SourceError("the file is UTF-16", where=file.path, fix=fix)
    is_cut = len(head) == HEAD_BYTES
    begin, leading, has_rows = stream.tell(), 0, False
    for row in split.rows(stream):
        if row:
            has_rows = bool(stream.read(1)) or how.header is not True
            if how.header is True:
                stream.seek(begin)
                rest = None if has_rows else stream.read()
                _check(row, rest, is_cut=is_cut, file=file, as_=split)
            return Header(_names(row, how, file), leading, has_rows)
        leading += 1
    if not isinstance(how.header, list):
        fix = "check the export; a CSV begins with a header"
        raise SourceError("the file is empty", where=file.path, fix=fix)
    return Header(_names([], how, file), leading, has_rows)


def _after(head: bytes, skip_lines: int, split: Dialect) -> io.StringIO:
    """Return what follows the lines to be skipped, ready to be split."""
    try:
        text = head.decode() if len(head) < HEAD_BYTES else head.decode(errors="replace")
    except UnicodeDecodeError:
        text = head.decode(errors="replace")
    stream = io.StringIO(text, newline="")
    for _ in range(skip_lines):
        stream.readline()
    if split.is_plain:
        return stream
    return io.StringIO(split.ready(stream.read().encode()).decode(), newline="")


def _check(
    row: list[str], rest: str | None, *, is_cut: bool, file: SourceFile, as_: Dialect
) -> None:
    """Raise SourceError where it cannot be the header that was meant.

    rest: the text from the header on, where nothing follows it.
    """
    where, fix = file.path, "check that it is a CSV, with its header first"
    if any("\ufffd" in cell for cell in row):
        fix = "name the file's encoding as source: {csv: {encoding: …}}"
        raise SourceError("the header is not UTF-8", where=where, fix=fix)
    if any("\0" in cell for cell in row):
        fix = "if it is UTF-16, say source: {csv: {encoding: utf-16-le}}, or utf-16-be"
        raise SourceError("the names in the header hold NUL characters", where=where, fix=fix)
    if rest is None:
        return
    if is_cut:
        what = f"the header is longer than {HEAD_BYTES} bytes, or it has an open quote"
        raise SourceError(what, where=where, fix=fix)
    try:
        list(as_.rows(io.StringIO(rest, newline=""), strict=True))
    except csv.Error as fault:
        if "unexpected end" in str(fault):  # all the file is one name
            what = "a quote in the header is never closed"
            raise SourceError(what, where=where, fix=fix) from None


def _names(row: list[str], how: CsvDialect, file: SourceFile) -> list[str]:
    """Return the names; a blank one is that of its place, as where there is no header."""
    given = row if how.header is True else [""] * len(row) if how.header is False else how.header
    taken = set(given)
    found = []
    for place, name in enumerate(given, 1):
        by_place = f"column_{place}"
        found.append(name or ("" if by_place in taken else by_place))
    seen: set[str] = set()
    for name in found:
        if name and name in seen:
            skip = how.skip_lines + (how.header is True)
            fix = (
                "rename one of them in the file, or name all columns in the mapping:"
                f" source: {{csv: {{skip_lines: {skip}, header: [{name}, {name}_2, …]}}}}"
            )
            if isinstance(how.header, list):
                fix = "name each column once under header:"
            raise SourceError(f"two columns are named '{name}'", where=file.path, fix=fix)
        seen.add(name)
    return found


def unreadable(fault: BaseException, path: str, *, row: int | None = None) -> SourceError:
    """Return the fault in words; row: the first that could not be read, as a person counts."""
    what = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    at = "" if row is None else f", from row {row} on"
    fix = "check the export"
    if isinstance(fault, DialectError):
        fix = fault.fix
    elif isinstance(fault, UnicodeError) and "BOM" in what:
        fix = "name the order of the bytes: source: {csv: {encoding: utf-16-le}}, or utf-16-be"
    elif isinstance(fault, UnclosedError):
        fix = f"close the quote that row {row} opens"
    return SourceError(f"cannot be read as CSV{at}: {what}", where=path, fix=fix)
