"""Dead letters → spans: the rows of a rejects or held file again, each with where it once stood.

Their cells may have been corrected by a person; `_row` (and `_file`) say which row of the source
each is, so that its messages get the ids they would have had.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.codes import Code
from backfill.errors import SourceError
from backfill.mapping.document import CsvDialect
from backfill.source.csv import CsvReader
from backfill.source.dialect import lettered, unlettered
from backfill.source.jsonl import JsonlReader
from backfill.source.parquet import ParquetReader
from backfill.source.span import WHICH, WHY, Broken, Origin, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backfill.source.files import SourceFile
    from backfill.source.span import Reader

TOLD: Final = (*WHY, WHICH)
WHOLE: Final = "_line"
"""Holds a line that was no object."""

UNSPLIT: Final = (Code.ROW_RAGGED, Code.ROW_TOO_LONG)
APART: Final = (
    "other rows of its group were sent already, and a second message would have the same id;"
    " to send these rows as a group all the same, clear their _code"
)
NOT_CLEARED: Final = "the row could not be split into cells; once they are right, clear its _code"

TOLD_MAX: Final = 5
"""So many faults of one kind are told, and how many more there are."""

TAIL: Final = re.compile(rb',?\s*"_row"\s*:\s*[0-9]+\s*,\s*"_column"\s*:.*\}\s*$', re.DOTALL)
"""What was appended to a JSON line, where nobody has moved it: the line before it is kept as is."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of the source that the dead letters are of, by their labels."""

    sha256: dict[str, str]
    first_row: int

    @property
    def is_many(self) -> bool:
        """Whether each dead letter says which file it is of."""
        return len(self.sha256) > 1


class LettersReader:
    """One dead-letter file, as if it were the source."""

    def __init__(
        self,
        inner: Reader,
        files: Files,
        where: str,
        restored: Callable[[str], str] | None,
        *,
        has_nulls: bool = False,
    ) -> None:
        """restored: undoes in CSV cells what keeps spreadsheets from running them."""
        self.has_nulls = has_nulls
        self._inner = inner
        self._files = files
        self._where = where
        self._restored = restored
        self.columns = [self._name(name) for name in inner.columns if name not in TOLD]
        self.has_all_columns = inner.has_all_columns
        self.schema = None if inner.schema is None else self._fields(inner.schema)
        self.first_row = inner.first_row

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on; each span holds rows of one file of the source."""
        for span in self._inner.spans(start):
            rows, labels = self._places(span)
            cuts = [at for at in range(1, len(labels)) if labels[at] != labels[at - 1]]
            for first, last in zip([0, *cuts], [*cuts, len(labels)], strict=True):
                if first < last:
                    part = span.tail(first).head(last - first)
                    at = np.array(rows[first:last], np.int64) - self._files.first_row
                    sha256 = self._files.sha256[labels[first]]
                    origin = Origin(labels[first], sha256, self._files.first_row, at)
                    own = self._own(part.batch)
                    broken = part.broken | self._unsplit(part.batch, own)
                    yield Span(part.start, own, broken, origin)

    def _unsplit(self, batch: pa.RecordBatch, own: pa.RecordBatch) -> dict[int, Broken]:
        """Rows that wait for a person's word, and whose `_code` still says so.

        Of a row of CSV that was never split into cells, what stands in them was made to fit the
        header. Of a group that stood apart from its other rows, those have been sent.
        """
        if WHY[2] not in batch.schema.names:
            return {}
        why = {Code.GROUP_AGAIN: APART}
        if self._restored is not None:
            why |= dict.fromkeys(UNSPLIT, NOT_CLEARED)
        codes = _texts(batch.column(WHY[2]))
        found = {}
        for at in [n for n, code in enumerate(codes) if code in why]:
            raw = [column[at].as_py() for column in own.columns]
            cells = tuple(lettered(cell) if self.has_nulls else _cell(cell) for cell in raw)
            found[at] = Broken(Code(codes[at]), why[Code(codes[at])], cells)
        return found

    def _own(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the source's own columns, as the source had them."""
        kept = [at for at, name in enumerate(batch.schema.names) if name not in TOLD]
        arrays = [self._cells(batch.column(at)) for at in kept]
        if not kept:
            return batch.select([])
        return pa.RecordBatch.from_arrays(arrays, schema=self._fields(batch.schema))

    def _fields(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([f.with_name(self._name(f.name)) for f in schema if f.name not in TOLD])

    def _name(self, name: str) -> str:
        return name if self._restored is None else self._restored(name)

    def _cells(self, column: Any) -> Any:
        if self._restored is not None and pc.any(pc.starts_with(column, b"'")).as_py():
            cells = [None if cell is None else self._bytes(cell) for cell in column.to_pylist()]
            column = pa.array(cells, column.type)
        if self.has_nulls:
            column = pa.array([unlettered(cell) for cell in column.to_pylist()], column.type)
        return column

    def _bytes(self, cell: bytes) -> bytes:
        assert self._restored is not None
        text = cell.decode(errors="surrogateescape")
        return self._restored(text).encode(errors="surrogateescape")

    def _places(self, span: Span) -> tuple[list[int], list[str]]:
        found = list(self._said(span))
        return [int(row) for row, _ in found], [label for _, label in found]

    def _said(self, span: Span) -> Iterator[tuple[str, str]]:
        """Yield the texts of `_row` and `_file`."""
        only = next(iter(self._files.sha256))
        names = span.batch.schema.names
        rows = _texts(span.batch.column(WHY[0]))
        many = self._files.is_many and WHICH in names
        labels = _texts(span.batch.column(WHICH)) if many else [only] * len(rows)
        yield from zip(rows, labels, strict=True)

    def check(self) -> None:
        """Read it once; raise SourceError with every row that does not say which row it was."""
        wanted = [WHY[0], *([WHICH] if self._files.is_many else [])]
        missing = [name for name in wanted if name not in self._inner.columns]
        if missing and self._inner.columns:  # a JSON line may have any keys
            what = f"the column {missing[0]} is missing: it says which row of the source each is"
            raise SourceError(what, where=self._where, fix="put it back as the run wrote it")
        faults, seen = [], set()
        for span in self._inner.spans(0):
            for offset, said in enumerate(self._said(span)):
                broken = span.broken.get(offset)
                if broken is not None and self.schema is not None:
                    fault = broken.reason  # a row of CSV that cannot be split says nothing else
                else:
                    twice = f"row {said[0]} is there twice" if said in seen else ""
                    fault = self._fault(*said) or twice
                if fault:
                    row = span.start + offset + self._inner.first_row
                    faults.append(f"{self._where}:{row}: {fault}")
                seen.add(said)
        if faults:
            more = f"\n… and {len(faults) - TOLD_MAX:,} more" if len(faults) > TOLD_MAX else ""
            fix = "correct the cells of a row, and leave _row and _file as the run wrote them"
            raise SourceError("\n".join(faults[:TOLD_MAX]) + more, fix=fix)

    def _fault(self, row: str, label: str) -> str:
        if not re.fullmatch("[0-9]{1,18}", row) or int(row) < self._files.first_row:
            return f"_row '{row[:40]}' is no row of the source"
        if label not in self._files.sha256:
            return f"_file '{label[:80]}' is no file of the source"
        return ""


def _cell(found: Any) -> bytes:
    return found if isinstance(found, bytes) else b"" if found is None else str(found).encode()


def _texts(column: Any) -> list[str]:
    found = column.to_pylist()
    texts = [item.decode(errors="replace") if isinstance(item, bytes) else item for item in found]
    return ["" if text is None else str(text) for text in texts]


class LetterLines(JsonlReader):
    """JSON lines without what the run appended to them; that stands in hidden columns."""

    def __init__(self, file: SourceFile) -> None:
        self._said: list[tuple[str, str]] = []
        super().__init__(file)
        self.columns = [*WHY, WHICH, *(name for name in self.columns if name not in TOLD)]

    def spans(self, start: int) -> Iterator[Span]:
        """Yield the rows from `start` on, with `_row` and `_file` as columns."""
        for span in super().spans(start):
            said = self._said[span.start : span.stop]
            batch = span.batch
            for at, name in enumerate((WHY[0], WHICH)):
                texts = pa.array([one[at] for one in said], pa.string())
                batch = batch.append_column(name, texts)
            yield Span(span.start, batch, span.broken)

    def _blocks(self, begin: int = 0) -> Iterator[Any]:
        assert begin == 0, "what the lines say is known from the first one on"
        self._said = []
        for offset, lines in super()._blocks():
            if isinstance(lines, bytes):  # too long to be read; so it says of no row what it is
                self._said.append(("", ""))
                yield offset, lines
                continue
            made = []
            for line in lines.to_pylist():
                bare, row, label = _stripped(line)
                made.append(bare + b"\n")
                self._said.append((row, label))
            yield offset, pa.array(made, pa.binary())


def _stripped(line: bytes) -> tuple[bytes, str, str]:
    """Return a line as the source had it, and its `_row` and `_file`; it may be no JSON at all."""
    try:
        text = line.decode()
        members = json.loads(text)
    except (ValueError, RecursionError):
        found = re.search(rb'"_row"\s*:\s*([0-9]+)', line)
        label = re.search(rb'"_file"\s*:\s*"([^"]*)"', line)
        told = [match[1].decode(errors="replace") if match else "" for match in (found, label)]
        return TAIL.sub(b"}", line), told[0], told[1]
    if not isinstance(members, dict):
        return line, "", ""
    row, label_ = str(members.get(WHY[0], "")), str(members.get(WHICH, ""))
    if isinstance(members.get(WHOLE), str):  # it was no object; the person may have mended it
        return members[WHOLE].encode(), row, label_
    own = [member for name, member in _members(text) if name not in TOLD]
    return ("{" + ",".join(own) + "}").encode(), row, label_


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Yield the members of an object that is known to parse: the name, and the text as it is."""
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        if text[at] == "}":
            return
        begin = at
        name, at = decoder.raw_decode(text, at)
        at = text.index(":", at) + 1
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
        _, at = decoder.raw_decode(text, at)
        yield name, text[begin:at]


def open_letters(
    file: SourceFile,
    *,
    files: Files,
    where: str,
    restored: Callable[[str], str],
    has_nulls: bool = False,
) -> LettersReader:
    """Open a dead-letter file of the format of its source. where: what faults are told of."""
    if file.format == "csv":
        cells = CsvReader(file, CsvDialect())
        return LettersReader(cells, files, where, restored, has_nulls=has_nulls)
    inner = ParquetReader(file) if file.format == "parquet" else LetterLines(file)
    return LettersReader(inner, files, where, None)
