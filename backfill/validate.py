"""Typed members → which rows are kept, rejected or held, and why. The API's rules, by columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import spec
from backfill.cells import Fault
from backfill.codes import Code, words
from backfill.columns import BLANK_MS, lengths, mask, offsets, valid
from backfill.jsontext import Fixed, Parts, Typed
from backfill.message import instants_of, texts_of_value

if TYPE_CHECKING:
    from backfill.cells import Frame
    from backfill.jsontext import Value
    from backfill.mapping.document import Guards
    from backfill.message import Draft

REJECTS: pa.Schema = pa.schema(
    [("row", pa.int64()), ("column", pa.string()), ("code", pa.string()), ("reason", pa.string())]
)
"""Rejects are a table: row of the file (from 0), and the words a person reads."""

NONE: pa.Table = REJECTS.empty_table()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the guards of a mapping mean at one moment; times in milliseconds since 1970."""

    now_ms: int
    not_before_ms: int
    is_future_sent: bool
    recent_events: str | None
    allowed: frozenset[str]

    @staticmethod
    def of(guards: Guards, now_ms: int) -> Rules:
        """The guards, judged at the begin of the run, so that a resume judges the same."""
        oldest = datetime.fromisoformat(guards.not_before or spec.NOT_BEFORE).replace(tzinfo=UTC)
        return Rules(
            now_ms=now_ms,
            not_before_ms=int(oldest.timestamp() * 1000),
            is_future_sent=guards.future == "send",
            recent_events=guards.recent_events,
            allowed=frozenset(guards.allow),
        )


@dataclass
class Checked:
    """The verdict on n rows. Every row is exactly one of kept, rejected, held and filtered."""

    keep: np.ndarray
    rejects: pa.Table
    held: pa.Table
    filtered: np.ndarray
    times: list[np.ndarray] = field(default_factory=list)
    """Per message with a timestamp: n instants in ms, the smallest int64 where there is none."""


def validate(drafts: list[Draft], frame: Frame, rules: Rules) -> Checked:
    """Judge n rows (or groups of them); the tables count them from 0.

    frame.faults has what failed before; a row is rejected whole, with all its reasons.
    """
    for draft in drafts:
        _check_ids(draft, draft.frame, rules)
        _check_event(draft, draft.frame, rules)
        _check_body(draft, draft.frame)
        if draft.instants is not None:
            _check_times(draft, draft.frame, rules)
    bad = np.zeros(frame.count, bool)
    for fault in frame.faults:
        bad[fault.rows] = True
    held = [recent for draft in drafts if (recent := _recent(draft, rules, bad))]
    keep = ~bad
    for recent in held:
        keep[recent.rows] = False
    filtered = ~(bad | wanted_of(drafts, frame.count))
    keep &= ~filtered
    times = [
        draft.spread(instants_of(draft.instants), frame.count, BLANK_MS)
        for draft in drafts
        if draft.instants is not None
    ]
    return Checked(keep, table_of(frame.faults, 0), table_of(held, 0), filtered, times)


def wanted_of(drafts: list[Draft], count: int) -> np.ndarray:
    """Return the mask of the rows that some message wants."""
    if any(draft.rows is None for draft in drafts):
        return np.ones(count, bool)
    wanted = np.zeros(count, bool)
    for draft in drafts:
        wanted[draft.rows] = True
    return wanted


def table_of(faults: list[Fault], start: int) -> pa.Table:
    """One line a row: the first fault's column and code, the words of all of them."""
    if not faults:
        return NONE
    first: dict[int, tuple[str, str]] = {}
    reasons: dict[int, dict[str, None]] = {}
    for fault in faults:
        for row, value in zip(fault.rows.tolist(), fault.values, strict=True):
            first.setdefault(row, (fault.column, fault.code.value))
            told = words(fault.code, value, fault.column)
            told = f"{fault.column}: {told}" if fault.column else told
            reasons.setdefault(row, {})[told] = None
    rows = sorted(first)
    return pa.table(
        {
            "row": pa.array([row + start for row in rows], pa.int64()),
            "column": [first[row][0] for row in rows],
            "code": [first[row][1] for row in rows],
            "reason": [" | ".join(reasons[row]) for row in rows],
        },
        schema=REJECTS,
    )


def _check_ids(draft: Draft, frame: Frame, rules: Rules) -> None:
    for member in spec.IDS:
        found = draft.members.get(member)
        if found is None:
            continue
        column = draft.columns[member]
        texts = texts_of_value(found, frame.count) if isinstance(found, Typed) else None
        if texts is not None:
            long = lengths(texts) > spec.LIMITS.id
            frame.fail(column, Code.ID_TOO_LONG, long, texts)
            if spec.INTERNAL_ID_PREFIX not in rules.allowed and member in {"userId", "previousId"}:
                internal = mask(pc.starts_with(texts, spec.INTERNAL_ID_PREFIX))
                frame.fail(column, Code.ID_RESERVED, internal, texts)
        if member in draft.kind.required or member == "messageId":
            _fail_blank(frame, column, Code.ID_MISSING, _blank(found, frame.count))
    mapped = [m for m in draft.kind.any_of if m in draft.members]
    if mapped:
        blank = np.logical_and.reduce([_blank(draft.members[m], frame.count) for m in mapped])
        _fail_blank(frame, draft.columns[mapped[0]], Code.ID_MISSING, blank)


def _fail_blank(frame: Frame, column: str, code: Code, blank: np.ndarray) -> None:
    """Note blanks, but not where the cell is only blank because it failed."""
    if blank.any():
        frame.fail(column, code, blank & ~frame.failed(column), None)


def _check_event(draft: Draft, frame: Frame, rules: Rules) -> None:
    found = draft.members.get("event")
    if not isinstance(found, Typed):
        return
    column, texts = draft.columns["event"], found.data
    size = lengths(texts)
    _fail_blank(frame, column, Code.EVENT_MISSING, size == 0)
    frame.fail(column, Code.EVENT_TOO_LONG, size > spec.LIMITS.event, texts)
    commands = pa.array(sorted(spec.COMMANDS - rules.allowed), pa.string())
    frame.fail(column, Code.EVENT_COMMAND, mask(pc.is_in(texts, value_set=commands)), texts)


def _check_body(draft: Draft, frame: Frame) -> None:
    for name, found in draft.body:
        if draft.kind.name == "identify" and not isinstance(found, Fixed):
            long = value_bytes(found) > spec.LIMITS.value
            if long.any():
                frame.fail(name, Code.VALUE_TOO_LONG, long, found.json())
        elif draft.kind.name == "group" and name == "objectTypeId" and isinstance(found, Typed):
            wrong = ~mask(pc.match_substring_regex(found.data, "^[1-9][0-9]*$"))
            wrong &= valid(found.data)
            frame.fail(name, Code.OBJECT_TYPE, wrong, found.data)


def value_bytes(found: Typed | Parts) -> np.ndarray:
    """Return the bytes of n values: of a text its own, of anything else those of its JSON.

    How the destination measures nested values is not known.
    """
    if isinstance(found, Typed):
        return np.diff(offsets(found.data))
    sizes = [len(p.encode()) if isinstance(p, str) else np.diff(offsets(p)) for p in found.parts]
    return np.asarray(sum(sizes))


def _check_times(draft: Draft, frame: Frame, rules: Rules) -> None:
    assert draft.instants is not None
    assert draft.time_texts is not None
    column = draft.columns["timestamp"]
    at = draft.instants.cast(pa.int64())
    if at.null_count and draft.kind.needs_timestamp:
        _fail_blank(frame, column, Code.TIME_MISSING, ~valid(at))
    limits = pc.min_max(at).as_py()
    if limits["min"] is None:
        return
    newest = rules.now_ms + 1000 * spec.FUTURE_S
    if limits["max"] > newest and not rules.is_future_sent:
        frame.fail(
            column,
            Code.TIME_FUTURE,
            mask(pc.greater(at, pa.scalar(newest, pa.int64()))),
            draft.time_texts(),
        )
    if limits["min"] < rules.not_before_ms:
        old = mask(pc.less(at, pa.scalar(rules.not_before_ms, pa.int64())))
        frame.fail(column, Code.TIME_TOO_OLD, old, draft.time_texts())


def _recent(draft: Draft, rules: Rules, bad: np.ndarray) -> Fault | None:
    """Return the good rows whose event could start a campaign, unless sending them is allowed."""
    if draft.kind.name != "track" or rules.recent_events == "send":
        return None
    mine = np.arange(len(bad)) if draft.rows is None else draft.rows
    if draft.instants is None:  # `timestamp: now`: recent by definition
        rows = mine[~bad[mine]]
        return Fault("timestamp", Code.RECENT_EVENT, rows, ["now"] * len(rows))
    recent = rules.now_ms - 1000 * spec.RECENT_S
    at = np.flatnonzero((instants_of(draft.instants) > recent) & ~bad[mine])
    if not len(at):
        return None
    assert draft.time_texts is not None
    shown: list[str | None] = [
        str(text) for text in draft.time_texts().take(pa.array(at)).to_pylist()
    ]
    return Fault(draft.columns["timestamp"], Code.RECENT_EVENT, mine[at], shown)


def _blank(found: Value, count: int) -> np.ndarray:
    if not isinstance(found, Typed):
        return np.zeros(count, bool)
    return ~valid(found.data)
