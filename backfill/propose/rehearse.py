"""A proposal, checked as `check` would on the very sample; what does not hold is taken out.

So that what is written passes at once, and what still fails is the data's own fault.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backfill.batch import Limits
from backfill.mapping import load_mapping
from backfill.plan import Input, make_plan
from backfill.propose.writer import text_of
from backfill.survey import survey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.propose.proposal import Proposal
    from backfill.propose.spread import Sample
    from backfill.propose.writer import Origin
    from backfill.source import Reader, SourceFile
    from backfill.survey import Cause, Survey

ROUNDS: Final = 4
STANDING: Final = {"not-utf8", "row-ragged", "row-too-long", "row-unreadable", "refused"}
"""Faults of a row that no other mapping would mend."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a check of the sample came to."""

    text: str
    """The mapping as it is to be written."""
    rows: int
    messages: int
    causes: list[Cause] = field(default_factory=list)
    """Of what would be rejected or held."""


def rehearse(
    made: Proposal, origin: Origin, samples: Sequence[Sample], *, now_ms: int
) -> Rehearsal:
    """Check a proposal on its sample, and leave columns out until only real faults are left.

    A column goes where its cells alone would reject rows and the mapping has other ways.
    """
    readers = {one.file.path: one.reader for one in samples}
    files = [one.file for one in samples]

    def opened(file: SourceFile) -> Reader:
        return readers[file.path]

    given = Input(files, opened, len(files) > 1)
    text = text_of(made, origin)
    found = _check(text, given, now_ms)
    for _ in range(ROUNDS):
        mended = [_mend(made, cause) for cause in found.causes.values()]
        if not any(mended):
            break
        text = text_of(made, origin)
        found = _check(text, given, now_ms)
    causes = sorted(found.causes.values(), key=lambda cause: -cause.count)
    return Rehearsal(text, found.rows, found.counts.built, causes)


def _mend(made: Proposal, cause: Cause) -> bool:
    """Leave the column of a fault out; whether that was possible."""
    column = cause.column.partition(".")[0]
    if not column or cause.code in STANDING:
        return False
    if any(line.column == column and line.doubt for line in made.body.values()):
        return False  # said already, with the count
    why = f"{cause.count:,} cells would reject their rows ({cause.code})"
    names = [name for name in made.body if name == column or made.body[name].column == column]
    columns = [made.body[name].column for name in names]
    dropped = [made.drop(one, why) for one in columns or [column] if one]
    return any(dropped)


def _check(text: str, given: Input, now_ms: int) -> Survey:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proposed.yaml"
        path.write_text(text, encoding="utf-8")
        mapping = load_mapping(path)
        document = mapping.document
        limits = Limits(document.delivery.batch_bytes, document.delivery.batch_messages)
        plan = make_plan(
            mapping, sources=(), guards=document.guards, limits=limits, now_ms=now_ms, given=given
        )
        return survey(plan, limit=None)
