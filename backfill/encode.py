"""Typed members → one column of JSON text, a row's messages in each. The final bytes; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill import identity, spec
from backfill.cells import Fault
from backfill.codes import Code
from backfill.columns import join
from backfill.jsontext import Fixed, Parts, Typed, merged, object_of, plain
from backfill.texts import Texts

if TYPE_CHECKING:
    from backfill.jsontext import Value
    from backfill.message import Draft


@dataclass(frozen=True, slots=True)
class Named:
    """What the ids of a file's messages are made of."""

    stream: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """The texts of n kept rows; each is `,{message}` once a message."""

    texts: Texts
    messages: np.ndarray
    """How many messages each text holds."""
    too_long: Fault | None
    """Kept rows with a message over the limit, by their place among the kept."""
    longest: np.ndarray
    """The bytes of the longest message of each text."""

    def without(self, rows: np.ndarray) -> Encoded:
        """Return the texts of the other rows."""
        keep = np.ones(len(self.texts), bool)
        keep[rows] = False
        texts = self.texts.filter(keep)
        return Encoded(texts, self.messages[keep], None, self.longest[keep])


def encode(
    drafts: list[Draft],
    keys: list[pa.StringArray],
    rows: np.ndarray,
    named: Named,
    changes: np.ndarray | None = None,
) -> Encoded:
    """Write the messages of n rows. rows: their rows in the file; keys: n texts each, or none.

    changes: how often what was delivered under each key has changed with this row.
    """
    parts: list[pa.StringArray | str] = []
    longest = np.zeros(len(rows), np.int64)
    count = np.zeros(len(rows), np.int64)
    for draft in drafts:
        at: Any = slice(None) if draft.rows is None else draft.rows
        own = keys if draft.rows is None else [key.take(pa.array(at)) for key in keys]
        times = None if changes is None else changes[at]
        texts = _messages(draft, own, rows[at], named, times)
        longest[at] = np.maximum(longest[at], texts.sizes - 1)
        count[at] += 1
        all_have_it = draft.rows is None
        parts += texts.parts if all_have_it else [_spread(texts.joined(), draft.rows, len(rows))]
    whole = Texts.of(*parts)
    long = np.flatnonzero(longest > spec.LIMITS.message)
    values: list[str | None] = [str(size) for size in longest[long].tolist()]
    fault = Fault("", Code.MESSAGE_TOO_LONG, long, values) if len(long) else None
    return Encoded(whole, count, fault, longest)


def contents(drafts: list[Draft], count: int) -> pa.StringArray:
    """Return for each of n rows all that its messages say, but for their ids."""
    columns = []
    for draft in drafts:
        own = count if draft.rows is None else len(draft.rows)
        texts = _written(_members(draft), own, lead=f",{draft.index}:").joined()
        columns.append(_spread(texts, draft.rows, count))
    return columns[0] if len(columns) == 1 else join(*columns)


def _spread(texts: pa.StringArray, at: np.ndarray | None, count: int) -> pa.StringArray:
    """Put the texts at their places among n; the other rows have an empty one."""
    if at is None:
        return texts
    places = np.full(count, -1, np.int64)
    places[at] = np.arange(len(at))
    return texts.take(pa.array(places, mask=places < 0)).fill_null("")


def _members(draft: Draft) -> list[tuple[str, Value]]:
    """Return the members of the messages in a fixed order, but for their ids."""
    members: list[tuple[str, Value]] = [("type", Fixed(f'"{draft.kind.name}"'))]
    for name in spec.MEMBER_ORDER:
        if name == draft.kind.body and draft.body:
            members.append((name, object_of(draft.body)))
        elif name in draft.members:
            members.append((name, draft.members[name]))
    return members


def _messages(
    draft: Draft,
    keys: list[pa.StringArray],
    rows: np.ndarray,
    named: Named,
    changes: np.ndarray | None,
) -> Texts:
    """Return `,{…}` for each row: members in a fixed order, the id last."""
    members = _members(draft)
    if (mapped := draft.members.get("messageId")) is not None:
        return _written([*members, ("messageId", mapped)], len(rows))
    if not keys:
        before = identity.prefix(named.stream, named.sha256, draft.index)
        ids = Typed(identity.row_digits(rows), f'"{before}', '"')
        return _written([*members, ("messageId", ids)], len(rows))
    content = _written(members, len(rows), lead="").joined() if draft.kind.is_ordered else None
    if content is not None and changes is not None:
        content = _numbered(content, changes)
    ids = plain(identity.keyed(named.stream, draft.index, keys, content))
    return _written([*members, ("messageId", ids)], len(rows))


def _numbered(content: pa.StringArray, changes: np.ndarray) -> pa.StringArray:
    """Say which change of its key an update is: one that takes another back is a new message."""
    if not changes.any():
        return content
    number = pa.array(changes.astype(np.int64)).cast(pa.string())
    return pc.if_else(pa.array(changes > 0), join(content, ",", number), content)


def _written(members: list[tuple[str, Value]], count: int, lead: str = ",") -> Texts:
    """Write the messages; `type` is always there, so they are parts, or the same in every row."""
    made = object_of(members)
    if isinstance(made, Fixed):
        return Texts.of(pa.repeat(pa.scalar(lead + made.text, pa.string()), count))
    assert isinstance(made, Parts)
    return Texts.of(*merged([lead, *made.parts]))
