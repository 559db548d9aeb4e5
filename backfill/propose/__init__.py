"""Data → proposed mappings with their evidence: what `init` says and writes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backfill.errors import UsageError
from backfill.mapping.uri import is_uri
from backfill.propose import join
from backfill.propose.compose import propose
from backfill.propose.names import is_person
from backfill.propose.proposal import NoIdError, Proposal, UndecidedError
from backfill.propose.rehearse import Rehearsal, rehearse
from backfill.propose.stream import Stream, streams_of
from backfill.propose.unique import is_unique
from backfill.propose.writer import LOOK, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Proposed", "propose_all"]

FOLDER: Final = "mappings"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Proposed:
    """One mapping, ready to be written."""

    path: Path
    stream: Stream
    proposal: Proposal
    rehearsal: Rehearsal


def propose_all(
    paths: Sequence[str], *, out: str | None, kind: str | None, prefer: str | None, now_ms: int
) -> list[Proposed]:
    """Propose a mapping for each export among the paths. Nothing is written.

    out: the file (or, for several, the folder) of the mappings. kind: the type of message.
    prefer: `day-first` or `month-first`, for times that prove neither. Raises UsageError and
    SourceError; UsageError too where a mapping is there already.
    """
    streams = streams_of(paths, prefer)
    places = [_place(one, out, is_alone=len(streams) == 1) for one in streams]
    if doubled := {str(place) for place in places if places.count(place) > 1}:
        what = "two of the files would have this mapping"
        raise UsageError(what, where=min(doubled), fix="propose them one by one, with -o")
    for place in places:
        if place.exists():
            fix = "choose another file with -o, or move this one away: it is never overwritten"
            raise UsageError("this mapping is there already", where=place, fix=fix)
    made = [_proposal(one, kind, None) for one in streams]
    made = _joined(streams, made, places, kind)
    found = []
    for stream, proposal, place in zip(streams, made, places, strict=True):
        _check_key(stream, proposal)
        rehearsed = rehearse(proposal, _origin(stream, place), stream.samples, now_ms=now_ms)
        found.append(Proposed(place, stream, proposal, rehearsed))
    return sorted(found, key=lambda one: len(one.proposal.after))


def _place(stream: Stream, out: str | None, *, is_alone: bool) -> Path:
    if out is None:
        return Path(FOLDER) / f"{stream.name}.yaml"
    place = Path(out)
    is_file = place.suffix in {".yaml", ".yml"}
    if place.is_dir() or out.endswith(("/", os.sep)) or not (is_alone or is_file):
        return place / f"{stream.name}.yaml"
    if not is_alone:
        fix = "name a folder with -o, such as mappings/"
        raise UsageError("several mappings cannot be one file", where=out, fix=fix)
    if not is_file:
        raise UsageError("a mapping ends in .yaml", where=out, fix=f"write -o {out}.yaml")
    return place


def _proposal(stream: Stream, kind: str | None, person: str | None) -> Proposal:
    where = stream.given[0]
    try:
        return propose(list(stream.findings), stream.name, kind, person)
    except NoIdError:
        what = "no column can name a person or an object"
        fix = "add a column of ids to the export: rows must say whom or what they are about"
        if kind == "alias":
            what = "no two columns name the id to keep and the old one"
            fix = "name them userId and old_userId, or propose another --type"
        raise UsageError(what, where=where, fix=fix) from None
    except UndecidedError as fault:
        one = fault.finding
        fix = "say --day-first or --month-first; ask whoever made the export, it cannot be seen"
        raise UsageError(f"'{one.name}': {one.why}", where=where, fix=fix) from None


def _joined(
    streams: list[Stream], made: list[Proposal], places: list[Path], kind: str | None
) -> list[Proposal]:
    """Join the ids: where one file has the people, the others wait for it and name them alike."""
    people = [at for at, one in enumerate(made) if one.type == "identify"]
    if not people or len(streams) < 2:  # noqa: PLR2004  two make a pair
        return made
    at = people[0]
    column = made[at].members["userId"].column if "userId" in made[at].members else None
    if column is None:
        return made
    known = streams[at].column(column)
    found = list(made)
    for other, stream in enumerate(streams):
        if other == at or made[other].type == "alias":
            continue
        preferred = next((one.name for one in stream.findings if is_person(one.name)), None)
        joined = join.find(known, list(stream.columns), preferred)
        if joined is None:
            continue
        again = _proposal(stream, kind, joined.column)
        line = again.members.get("userId")
        if line is None or line.column != joined.column:
            continue
        words = f"{joined.share:.0%} of the different ids are found in {places[at].stem}.{column}"
        again.members["userId"] = type(line)(
            line.form, f"{line.why}; {words}", line.doubt, line.column
        )
        again.after = [places[at].stem]
        found[other] = again
    return found


def _check_key(stream: Stream, proposal: Proposal) -> None:
    """Ask all rows whether the key is one; where there are too many of them, say so."""
    if not proposal.key or (stream.is_whole and len(stream.samples) == 1):
        return
    is_all_there = stream.files_total == len(stream.samples)
    sure = is_unique(stream.samples, proposal.key) if is_all_there else None
    if sure is None:
        proposal.key_why += f" among the {stream.rows:,} looked at; {LOOK}is it so in all?"
    elif sure:
        proposal.key_why = "no two rows of all have the same; every row was compared"
    else:
        proposal.key_why = f"{', '.join(proposal.key)} comes twice where nobody looked"
        proposal.key = []


def _origin(stream: Stream, place: Path) -> Origin:
    """Say where the rows come from, relative to the mapping's folder."""
    first = stream.samples[0]
    # as the text says, like the reader of mappings: links are followed by neither
    paths = [
        path if is_uri(path) else Path(os.path.relpath(path, place.parent)).as_posix()
        for path in stream.given
    ]
    told = _by_ending(stream)
    return Origin(
        path=paths[0] if len(paths) == 1 else paths,
        name=None if NAME.fullmatch(place.stem) else stream.name,
        format=None if told else first.file.format,
        csv=first.dialect.options,
        csv_notes=first.dialect.notes,
        blank=stream.blanks,
        head=(
            f"Proposed by `backfill init`, which looked at {looked(stream)}.",
            "What it assumed and could not prove is marked LOOK. The editor's help:",
            "backfill schema > schema.json, beside this file.",
        ),
    )


def _by_ending(stream: Stream) -> bool:
    """Whether the endings tell the format."""
    from backfill.source.files import format_of  # noqa: PLC0415

    return all(format_of(Path(one.file.path)) for one in stream.samples)


def looked(stream: Stream) -> str:
    """Say how many rows were looked at, of how many."""
    if stream.is_whole:
        return f"all {stream.rows:,} rows"
    total = stream.rows_total
    some = f"{stream.rows:,} rows spread over the file"
    if stream.files_total > 1:
        some = f"{stream.rows:,} rows of {stream.files_total} files"
    if total is None:
        return some
    is_exact = stream.samples[0].file.format == "parquet"
    return f"{some}, of {'' if is_exact else 'about '}{total:,}"
