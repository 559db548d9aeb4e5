"""The columns of a record batch as a value form sees them: few canonical types, blanks as nulls.

Canonical: string, bool, intN/uintN, float32/64, decimal, date32, time64, timestamp, list, struct,
map, null; JSON texts (`source.JSON_KIND`). Rows that fail are noted by offset, never raised.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.codes import Code
from backfill.columns import STRING, hidden, is_ascii, is_utf8, mask, nulled, offsets, valid
from backfill.source import JSON_KIND, Span
from backfill.source.jsontree import is_json

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_ROWS: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows that failed at one place for one reason; rows are offsets into the record batch."""

    column: str
    code: Code
    rows: np.ndarray
    values: list[str | None]


class UnsupportedTypeError(Exception):
    """A column of a type that has no form in JSON."""


@dataclass(frozen=True, slots=True)
class Cells:
    """One column: its values, and whether its texts are JSON texts already."""

    data: pa.Array
    is_json: bool = False


@dataclass
class Frame:
    """n rows and their columns; the faults found in them.

    For what stands inside a list column, a frame has one row an item, and `parents` tells the row
    of the record batch that each item belongs to. Where rows go together in one message, a frame
    has one row a group, and `inside` are the rows of the groups.
    """

    count: int
    columns: dict[str, Cells]
    faults: list[Fault] = field(default_factory=list)
    parents: np.ndarray | None = None
    prefix: str = ""
    notes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Values that are sent, but worth a word of `check`: (column, what) → how many."""
    made_of: dict[str, frozenset[str]] = field(default_factory=dict)
    """The name of a computed column → the columns it is computed from, if several."""
    is_part: bool = False
    """Whether it has some of the rows of another frame, each once: `parents` are those."""
    inside: Inside | None = None

    def cells(self, name: str) -> Cells:
        """Return a column; one that is not there is blank (JSON lines may miss a key).

        Of a group it is the one value that all its rows have; else the group fails.
        """
        found = self.columns.get(name)
        if found is None and self.inside is not None:
            found = self.columns[name] = self._shared(name, self.inside)
        return found if found is not None else Cells(pa.nulls(self.count))

    def _shared(self, name: str, inside: Inside) -> Cells:
        cells = inside.frame.cells(name)
        first = cells.data.take(pa.array(inside.firsts(self.count)))
        differs = ~_same(cells.data, first.take(pa.array(inside.parents))) & inside.is_whole
        if differs.any():
            bad = np.zeros(self.count, bool)
            bad[inside.parents[differs]] = True
            self.fail(name, Code.GROUP_DIFFERS, bad, None)
        return Cells(first, cells.is_json)

    def fail(self, column: str, code: Code, mask: np.ndarray, shown: pa.Array | None) -> None:
        """Note the rows of a mask; `shown` has the values to be repeated in the reason."""
        at = np.flatnonzero(mask)
        if not len(at):
            return
        values: list[str | None] = [None] * len(at) if shown is None else _shown(shown, at)
        rows = at if self.parents is None else self.parents[at]
        self.faults.append(Fault(self.prefix + column, code, rows, values))

    def note(self, column: str, what: str, count: int) -> None:
        """Count values that are worth a word."""
        if count:
            at = (self.prefix + column, what)
            self.notes[at] = self.notes.get(at, 0) + count

    def failed(self, column: str) -> np.ndarray:
        """Return the mask of the rows that failed at a column. Only for a frame of whole rows."""
        if self.parents is not None and not self.is_part:
            return np.zeros(self.count, bool)
        names = self.made_of.get(column, frozenset()) | {column}
        bad = [fault.rows for fault in self.faults if fault.column in names]
        rows = np.arange(self.count) if self.parents is None else self.parents
        return np.isin(rows, np.concatenate(bad)) if bad else np.zeros(self.count, bool)

    def part(self, keep: np.ndarray) -> Frame:
        """Return a frame of only these rows; what fails in it is noted here."""
        if keep.all():
            return self
        kept, at = pa.array(keep), np.flatnonzero(keep)
        columns = {
            name: Cells(cells.data.filter(kept), cells.is_json)
            for name, cells in self.columns.items()
        }
        return replace(
            self,
            count=len(at),
            columns=columns,
            parents=at if self.parents is None else self.parents[at],
            is_part=True,
            inside=self.inside and self.inside.part(keep),
        )

    def inner(self, column: str, items: pa.StructArray, parents: np.ndarray) -> Frame:
        """Return the frame of the items of a list of structs."""
        inner = self.within(parents, f"{self.prefix}{column}.")
        for about, array in zip(items.type, items.flatten(), strict=True):
            inner.columns[about.name] = inner.canonical(array, about, about.name)
        return inner

    def within(self, parents: np.ndarray, prefix: str | None = None) -> Frame:
        """Return a frame of items without columns; parents: the row here of each item."""
        rows = parents if self.parents is None else self.parents[parents]
        named = self.prefix if prefix is None else prefix
        return Frame(len(parents), {}, self.faults, rows, named, self.notes, self.made_of)

    def canonical(self, data: pa.Array, about: pa.Field, name: str) -> Cells:
        """Make one array canonical; rows that cannot be decoded are noted."""
        if _is_extension(data.type, "arrow.json"):
            return Cells(self._checked(_plain(data), name), is_json=True)
        data = _plain(data)
        kind = data.type
        if pa.types.is_binary(kind):
            return Cells(_decoded(data, self, name))
        if pa.types.is_duration(kind) or pa.types.is_interval(kind) or pa.types.is_union(kind):
            raise UnsupportedTypeError(str(about.type))
        return Cells(data, is_json=(about.metadata or {}).items() >= JSON_KIND.items())

    def _checked(self, texts: pa.StringArray, name: str) -> pa.StringArray:
        """Return JSON texts; rows whose text is none fail."""
        bad = np.array([t is not None and not is_json(t) for t in texts.to_pylist()], bool)
        self.fail(name, Code.JSON_UNREADABLE, bad, texts)
        return nulled(texts, bad) if bad.any() else texts


def _is_extension(kind: pa.DataType, name: str) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == name


@dataclass(frozen=True, slots=True)
class Inside:
    """The rows of n groups, in the order in which each group wants them."""

    frame: Frame
    parents: np.ndarray
    """The group of each row, ascending; every group has a row."""
    is_whole: np.ndarray
    """Whether the row was split into cells; in a group, those that were come first."""

    def firsts(self, count: int) -> np.ndarray:
        """Return where the rows of each group begin."""
        found: np.ndarray = np.searchsorted(self.parents, np.arange(count))
        return found

    def part(self, keep: np.ndarray) -> Inside:
        """Return only the rows of these groups."""
        rows = keep[self.parents]
        numbers = np.cumsum(keep) - 1
        return Inside(self.frame.part(rows), numbers[self.parents[rows]], self.is_whole[rows])


def _same(left: pa.Array, right: pa.Array) -> np.ndarray:
    """Return whether values are the same, pair by pair; blanks are."""
    if pa.types.is_nested(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return np.array([one == other for one, other in pairs], bool)
    same: np.ndarray = mask(pc.equal(left, right)) | ~(valid(left) | valid(right))
    return same


def _shown(values: pa.Array, at: np.ndarray) -> list[str | None]:
    taken = values.take(pa.array(at)).to_pylist()
    return [None if value is None else str(value) for value in taken]


def frame_of(span: Span, names: Sequence[str], blank: Sequence[str]) -> Frame:
    """Make the columns of a span that a mapping names canonical.

    blank: the texts that count as blank; they hold for byte columns only (CSV).
    """
    batch = span.batch
    frame = Frame(batch.num_rows, {})
    schema = batch.schema
    for name in names:
        if (at := schema.get_field_index(name)) < 0:
            continue
        column = batch.column(at)
        if pa.types.is_binary(column.type):
            column = _without_blanks(column, blank)
        frame.columns[name] = frame.canonical(column, schema.field(at), name)
    return frame


def _without_blanks(column: pa.BinaryArray, blank: Sequence[str]) -> pa.BinaryArray:
    """Cells with one of these texts, compared before any trimming, become null."""
    rest = [text.encode() for text in blank if text]
    if "" in blank:
        at = offsets(column)
        filled = at[1:] != at[:-1]
        if not filled.all():
            if column.null_count:  # of a COPY file
                filled &= valid(column)
            column = hidden(column, filled)
    if rest:
        is_blank = pc.is_in(column, value_set=pa.array(rest, pa.binary()))
        column = pc.if_else(is_blank, pa.scalar(None, pa.binary()), column)
    return column


def _plain(data: pa.Array) -> pa.Array:
    """Take away what is only storage: dictionaries, views, large offsets, extensions, widths."""
    kind = data.type
    if kind in USUAL:
        return data
    if isinstance(kind, pa.BaseExtensionType):
        return _stored(data, kind)
    if pa.types.is_dictionary(kind):
        return _plain(data.dictionary_decode())
    for is_kind, target in STORAGE:
        if is_kind(kind):
            return data.cast(target)
    if not any(is_list(kind) for is_list in LISTS):
        return data
    plain = pa.list_(kind.value_field)
    # the nulls of a fixed size list keep items, and those of a view make a cast fail
    return pa.array(data.to_pylist(), plain) if data.null_count else data.cast(plain)


def _stored(data: pa.ExtensionArray, kind: pa.BaseExtensionType) -> pa.Array:
    """Return what an extension stands for."""
    match kind.extension_name:
        case "arrow.uuid":
            return pa.array([None if u is None else str(u) for u in data.to_pylist()], pa.string())
        case "arrow.bool8":
            return pc.not_equal(data.storage, pa.scalar(0, pa.int8()))
        case "arrow.opaque":  # bytes that are no text, of a type that Arrow does not know
            raise UnsupportedTypeError(kind.type_name)
        case _:
            return _plain(data.storage)


USUAL: Final = frozenset({STRING, pa.binary(), pa.int64(), pa.float64(), pa.bool_()})
"""Asked first, since the rest asks many questions of each column."""

LISTS: Final = (
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
STORAGE: Final = (
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_binary_view, pa.binary()),
    (pa.types.is_fixed_size_binary, pa.binary()),
    (pa.types.is_float16, pa.float32()),
    (pa.types.is_date64, pa.date32()),
    (pa.types.is_time32, pa.time64("us")),
)


def _decoded(data: pa.BinaryArray, frame: Frame, name: str) -> pa.StringArray:
    """Decode as UTF-8; a cell that is not valid fails its row only."""
    if is_ascii(data) or is_utf8(data):  # the whole costs a tenth of each cell
        return pa.Array.from_buffers(STRING, len(data), data.buffers(), -1, data.offset)
    try:
        return data.cast(pa.string())
    except pa.ArrowInvalid:
        cells = data.to_pylist()
        bad = np.array([cell is not None and not _is_utf8(cell) for cell in cells])
        shown = pa.array([None if cell is None else repr(cell[:40]) for cell in cells], pa.string())
        frame.fail(name, Code.NOT_UTF8, bad, shown)
        return pc.if_else(pa.array(bad), pa.scalar(None, pa.binary()), data).cast(pa.string())


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def texts_of(cells: Cells) -> pa.StringArray:
    """The values of scalars as text: digits, true and false, ISO dates; JSON strings unescaped."""
    if cells.is_json:
        if not pc.any(pc.starts_with(cells.data, '"')).as_py():
            return cells.data  # numbers and the like, which say themselves
        return pa.array([_unquoted(text) for text in cells.data.to_pylist()], pa.string())
    if pa.types.is_nested(cells.data.type):
        return pa.nulls(len(cells.data), pa.string())
    return cells.data.cast(pa.string())


def _unquoted(text: str | None) -> Any:
    return json.loads(text) if text is not None and text.startswith('"') else text
