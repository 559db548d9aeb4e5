"""One message of the mapping + a frame → its members as typed columns. No checks of the API yet."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import spec
from backfill.cells import Cells, Frame, texts_of
from backfill.codes import Code
from backfill.columns import (
    ASCII_END,
    FALSE,
    NEVER,
    NO_TEXT,
    integers,
    join,
    lengths,
    mask,
    nulled,
    offsets,
    raw_bytes,
    valid,
)
from backfill.convert import Times, times
from backfill.evaluate import label as computed_name
from backfill.jsontext import Fixed, Typed, Value, fixed, text
from backfill.mapping.forms import ColumnForm, ConstForm, ExprForm, column_form
from backfill.mapping.reads import NOW
from backfill.transform import column, members, resolved, value

if TYPE_CHECKING:
    from collections.abc import Callable

TRUE: Final = pa.scalar(True, pa.bool_())
TIME_END: Final = 'Z"'
"""What stands after each time in JSON: of a time that is an id or a name, the Z belongs to it."""
LABELS: Final = ("event", "name", "category")


@dataclass
class Draft:
    """The members of n messages of one type, before they are checked and written."""

    index: int
    kind: spec.MessageType
    frame: Frame
    """The rows that have this message."""
    members: dict[str, Value] = field(default_factory=dict)
    body: list[tuple[str, Value]] = field(default_factory=list)
    """The members of traits or properties."""
    instants: pa.Array | None = None
    """The timestamps as `timestamp[ms]`; None where the destination is to stamp the message."""
    time_texts: Callable[[], pa.Array] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    """Which column each member comes from, for the reasons."""
    rows: np.ndarray | None = None
    """Which of the rows have this message; None: all."""

    def spread(self, found: np.ndarray, count: int, blank: int) -> np.ndarray:
        """Return the numbers of its messages as those of n rows; blank where there is none."""
        if self.rows is None:
            return found
        spread = np.full(count, blank, np.int64)
        spread[self.rows] = found
        return spread

    def kept(self, keep: np.ndarray) -> Draft:
        """Return only the messages of these rows; `rows` are places among the kept ones."""
        mine = keep if self.rows is None else keep[self.rows]
        rows = None if self.rows is None else (np.cumsum(keep) - 1)[self.rows[mine]]
        if rows is not None and len(rows) == keep.sum():
            rows = None
        if mine.all():
            return replace(self, rows=rows)
        kept = pa.array(mine)
        return Draft(
            self.index,
            self.kind,
            self.frame,
            {name: found.filter(kept) for name, found in self.members.items()},
            [(name, found.filter(kept)) for name, found in self.body],
            rows=rows,
        )


@dataclass(frozen=True, slots=True)
class Made:
    """What n units (rows, or groups of them) were made into, for those who look and do not send."""

    drafts: list[Draft]
    rows: np.ndarray
    """The first row of the file that each unit stands for."""
    keep: np.ndarray
    """The mask of the units that would be sent."""
    held: np.ndarray
    """The mask of those that wait for a decision."""
    longest: np.ndarray
    """Of the units that would be sent: the bytes of the longest message."""
    where: np.ndarray | None = None
    """The mask of the rows for which `where` is true; None: it says nothing."""


def draft(message: Any, index: int, frame: Frame, wanted: np.ndarray | None = None) -> Draft:
    """Evaluate the members of one message. wanted: the rows that have it, if not all."""
    if wanted is None or wanted.all():
        return _filled_in(Draft(index, spec.TYPES[message.type], frame), message)
    made = Draft(index, spec.TYPES[message.type], frame.part(wanted), rows=np.flatnonzero(wanted))
    return _filled_in(made, message)


def _filled_in(made: Draft, message: Any) -> Draft:
    frame = made.frame
    for member in (*spec.MEMBER_ORDER, "category", "messageId"):
        form = getattr(message, member, None)
        if form is None:
            continue
        made.columns[member] = column_name(form, frame) or member
        if member in spec.IDS:
            made.members[member] = identifier(form, frame)
        elif member in LABELS:
            _put_label(made, member, label(form, frame))
        elif member == "timestamp":
            _put_timestamp(made, form, frame)
        elif member == made.kind.body:
            made.body += _body(form, frame, made.kind)
        elif (found := _free(member, form, frame)) is not None:
            made.members[member] = found
    return made


def column_name(form: Any, frame: Frame) -> str | None:
    """Return the column that a form reads, where it reads just one; the name of a computed one."""
    if isinstance(form, str):
        return form
    if isinstance(form, ExprForm):
        return computed_name(form.expr, frame)
    return form.column if isinstance(form, ColumnForm) else None


def _free(member: str, form: Any, frame: Frame) -> Value | None:
    return members(form, frame) if member == "context" else value(form, frame)


def _body(forms: dict[str, Any], frame: Frame, kind: spec.MessageType) -> list[tuple[str, Value]]:
    """Traits or properties; an object's type is text, whatever its column is."""
    found: list[tuple[str, Value]] = []
    for key, form in forms.items():
        is_text = kind.name == "group" and key == "objectTypeId"
        made = identifier(form, frame) if is_text else value(form, frame)
        if made is not None:
            found.append((key, made))
    return found


def _put_label(made: Draft, member: str, found: Value) -> None:
    if member == "category":  # the API has it among the properties
        made.body = [("category", found), *(pair for pair in made.body if pair[0] != "category")]
    else:
        made.members[member] = found


def label(form: Any, frame: Frame) -> Value:
    """Evaluate an event's or page's name: text; outer blanks go, as the destination trims them."""
    if isinstance(form, ConstForm):
        return fixed(str(_said(form.const)).strip())
    return text(_trimmed(_texts(*resolved(form, frame))))


def _trimmed(texts: pa.StringArray) -> pa.StringArray:
    """Trim only where some text begins or ends with what may be white space."""
    at, size = offsets(texts), lengths(texts)
    filled = np.flatnonzero(size > 0)
    data = texts.buffers()[2]
    if not len(filled) or data is None:
        return texts
    found = np.frombuffer(data, np.uint8)
    edges = (found[at[filled]], found[at[filled + 1] - 1])
    if all(((edge > ord(" ")) & (edge < ASCII_END)).all() for edge in edges):
        return texts
    return pc.utf8_trim_whitespace(texts)


def _texts(how: ColumnForm, frame: Frame) -> pa.StringArray:
    """A column with its options, as texts; what an option makes of it becomes text too."""
    if not how.model_fields_set - {"column"}:
        return texts_of(frame.cells(how.column))
    # a default of any type is text here, and a blank has no other meaning than blank
    bare: dict[str, Any] = {"default": None, "blank": "omit"}
    if how.map is not None:
        bare["map"] = {key: _said(item) for key, item in how.map.items()}
    if isinstance(how.else_, dict):
        bare["else_"] = {"const": _said(how.else_["const"])}
    made = column(how.model_copy(update=bare), frame)
    assert isinstance(made, Typed)
    texts = join(made.data, "Z") if made.after == TIME_END else made.data
    if how.default is None or not texts.null_count:
        return texts
    filled = pc.fill_null(texts, pa.scalar(_said(how.default), pa.string()))
    return nulled(filled, frame.failed(how.column))


def _said(const: Any) -> str | None:
    """A constant as an id or a name says it: texts as they are, true as true."""
    return const if const is None or isinstance(const, str) else json.dumps(const)


def identifier(form: Any, frame: Frame) -> Value:
    """Evaluate an id. Text for ever: digits stay as they are, floats fail, blank is null."""
    if isinstance(form, ConstForm):
        return fixed(_said(form.const))
    how, frame = resolved(form, frame)
    if how.type is not None or how.map is not None:  # what a person asked for by name is the id
        return _no_empty(_texts(how, frame))
    cells = frame.cells(how.column)
    texts = id_texts(how.column, cells, frame)
    if how.model_fields_set - {"column"}:
        frame = replace(frame, columns={**frame.columns, how.column: Cells(texts)})
        texts = _texts(how, frame)
    return _no_empty(texts)


def id_texts(name: str, cells: Cells, frame: Frame) -> pa.StringArray:
    """The texts of an id or key column; values that cannot be ids fail."""
    kind = cells.data.type
    texts = texts_of(cells)
    if cells.is_json:
        return _json_ids(name, cells, texts, frame)
    if pa.types.is_string(kind):
        _note_floats(name, texts, frame)
        return texts
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return texts
    if pa.types.is_decimal(kind) and kind.scale <= 0:
        return texts
    is_float = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    present = valid(cells.data)
    frame.fail(name, Code.ID_FLOAT if is_float else Code.ID_TYPE, present, texts)
    return pa.nulls(len(texts), pa.string())


def _note_floats(name: str, texts: pa.StringArray, frame: Frame) -> None:
    """Texts such as 17850.0 stay what they are; but an export may have made floats of the ids."""
    if len(texts) and (raw_bytes(texts) == ord(".")).any():
        count = int(mask(pc.match_substring_regex(texts, r"^[0-9]+\.0$")).sum())
        what = "ids that look like floats (17850.0): if they are integers, add type: integer"
        frame.note(name, what, count)


def _json_ids(name: str, cells: Cells, texts: pa.StringArray, frame: Frame) -> pa.StringArray:
    """Mixed values of JSON lines: texts and integers are ids, each judged by its own digits."""
    is_text = pc.starts_with(cells.data, '"')
    is_integer = pc.match_substring_regex(cells.data, r"^-?[0-9]+$")
    is_number = pc.match_substring_regex(cells.data, r"^-?[0-9]")
    good = pc.fill_null(pc.or_(is_text, is_integer), TRUE)
    floats = pc.fill_null(pc.and_(is_number, pc.invert(good)), FALSE)
    others = pc.and_(pc.invert(good), pc.invert(floats))
    frame.fail(name, Code.ID_FLOAT, mask(floats), texts)
    frame.fail(name, Code.ID_TYPE, mask(others), texts)
    return pc.if_else(good, texts, NO_TEXT)


def _no_empty(data: pa.StringArray) -> Typed:
    """An empty text is no id."""
    return text(nulled(data, (lengths(data) == 0) & valid(data)))


def _put_timestamp(made: Draft, form: Any, frame: Frame) -> None:
    if form == NOW:
        return
    if isinstance(form, ConstForm):
        constant = Cells(pa.repeat(pa.scalar(str(form.const), pa.string()), frame.count))
        found = times(column_form("timestamp"), constant, frame)
    else:
        found = _filled(*resolved(form, frame))
    made.members["timestamp"] = found.typed
    made.instants = found.instants
    made.time_texts = found.texts


def _filled(how: ColumnForm, frame: Frame) -> Times:
    cells = frame.cells(how.column)
    if how.default is not None and cells.data.null_count:
        texts = pc.fill_null(texts_of(cells), str(how.default))
        cells = Cells(texts)
    return times(how, cells, frame)


def texts_of_value(found: Value, count: int) -> pa.StringArray:
    """An id or label as n texts."""
    if isinstance(found, Fixed):
        return pa.repeat(pa.scalar(json.loads(found.text), pa.string()), count)
    assert isinstance(found, Typed)
    return found.data


def instants_of(instants: pa.Array) -> np.ndarray:
    """Milliseconds since 1970, the smallest int64 where blank."""
    filled = pc.fill_null(instants.cast(pa.int64()), NEVER)
    return integers(filled)
