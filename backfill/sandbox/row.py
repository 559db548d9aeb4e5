"""From a message back to its row: the cells, read again from a file that is as it was.

Nothing false: where the file is not the one that was read, its cells are not shown, and whether
the row still gives the very message is computed, not assumed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backfill.errors import BackfillError

if TYPE_CHECKING:
    from backfill.plan import Plan


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of the row of a message."""

    cells: dict[str, Any] = field(default_factory=dict)
    is_same: bool = False
    """Whether the row still gives the message: one with its id."""
    why_not: str = ""
    """Why there are no cells."""


def row_of(origin: dict[str, Any], row: int, message_id: str) -> Row:
    """Read a row again. origin: as `lists.origin` gives it; row: from 0."""
    if not (origin["modified_ns"] and origin["mapping"]):
        return Row(why_not="it was sent again from a rejects file; look for the row there")
    try:
        told = Path(origin["file"]).stat()
    except OSError:
        return Row(why_not="the file is not at its place any more")
    if (told.st_size, told.st_mtime_ns) != (origin["size_bytes"], origin["modified_ns"]):
        return Row(why_not="the file has changed since; its row may be another one now")
    try:
        return _read(origin, row, message_id)
    except BackfillError as fault:
        return Row(why_not=f"the mapping or the file cannot be read any more: {fault.what}")


def _read(origin: dict[str, Any], row: int, message_id: str) -> Row:
    from backfill.sample import sample  # noqa: PLC0415  all readers, only for who asks for a row

    first = row + origin["first_row"]
    for shown in sample(_plan(origin), count=1, first=first):
        if shown.row == first:
            is_same = any(f'"{message_id}"' in text for text in shown.messages)
            return Row(shown.cells, is_same)
    return Row(why_not="the file has no such row any more")


def _plan(origin: dict[str, Any]) -> Plan:
    from backfill.batch import Limits  # noqa: PLC0415  as above
    from backfill.mapping import load_mapping  # noqa: PLC0415
    from backfill.plan import make_plan  # noqa: PLC0415

    mapping = load_mapping(origin["mapping"])
    document = mapping.document
    guards = document.guards.model_copy(update={"recent_events": "send"})  # it was sent
    limits = Limits(document.delivery.batch_bytes, document.delivery.batch_messages)
    now_ms = int(time.time() * 1000)
    sources = (origin["file"],)
    plan = make_plan(mapping, sources=sources, guards=guards, limits=limits, now_ms=now_ms)
    file = (origin["file"], origin["size_bytes"], origin["modified_ns"])
    return plan.hashed({file: origin["sha256"]} if origin["sha256"] else {})
