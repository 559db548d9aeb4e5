"""Where a row of a file is known to begin, so that a resume need not read all before it. Pure.

A wrong offset would lose rows or double them. So a place is made only where a reader has proven
that a row begins there, and it is believed again only where the same bytes stand around it and
rows are told apart by the same marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP_BYTES: Final = 8 << 20
"""How far places are apart: a resume reads at most so much that it does not need."""

AROUND_BYTES: Final = 4 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """A row, from 0, and the byte of the file as stored that it begins with."""

    row: int
    offset: int
    proof: str
    """`proof_of` the place."""

    def dump(self) -> list[Any]:
        """Return it for the checkpoint."""
        return [self.row, self.offset, self.proof]

    @staticmethod
    def load(members: Sequence[Any]) -> Place | None:
        """Read what `dump` wrote; None where that is nothing."""
        if not members:
            return None
        row, offset, proof = members
        return Place(int(row), int(offset), str(proof))


BEGIN: Final = Place(0, 0, "")
"""What stands before row 0 (a header, lines that are skipped) is read with it."""


def proof_of(stream: Any, offset: int, how: str) -> str:
    """Return what tells a place: the bytes around it, and how rows are told apart there.

    stream: of the bytes as stored, that can be read from anywhere. how: of the dialect, as text.
    """
    first = max(offset - AROUND_BYTES, 0)
    around = read_of(stream, first, offset + AROUND_BYTES)
    told = f"{offset} {offset - first} {how}".encode(errors="backslashreplace")
    return blake2b(told + b"\0" + around, digest_size=16).hexdigest()


def begin_of(stream: Any, place: Place | None, start: int, how: str) -> Place:
    """Return the place that was known, to read from it the rows from `start` on; BEGIN if in doubt.

    It is none where the bytes around it, or what tells rows apart, are other than they were.
    """
    if place is None or not 0 < place.row <= start or place.offset <= 0:
        return BEGIN
    return place if proof_of(stream, place.offset, how) == place.proof else BEGIN


def read_of(stream: Any, first: int, stop: int) -> bytes:
    """Read the bytes [first, stop) of a stream that can be read from anywhere; less at its end."""
    stream.seek(first)
    found = b""
    while len(found) < stop - first and (part := bytes(stream.read(stop - first - len(found)))):
        found += part
    return found


class Places:
    """The places that were passed by; those are forgotten that no resume would begin at."""

    def __init__(self) -> None:
        self._known: list[Place] = []

    def note(self, place: Place | None) -> None:
        """Add a place; they come in the order of their rows, each as often as it likes."""
        if place is not None and (not self._known or self._known[-1].row < place.row):
            self._known.append(place)

    def before(self, row: int) -> Place | None:
        """Return the last one at or before a row, which never goes back; None: the file's begin."""
        while len(self._known) > 1 and self._known[1].row <= row:
            del self._known[0]
        if self._known and self._known[0].row <= row:
            return self._known[0]
        return None
