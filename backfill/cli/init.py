"""`backfill init`."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Any, Final

import click

from backfill import spec
from backfill.cli import complete, options
from backfill.cli.manual import Page
from backfill.codes import Code
from backfill.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.propose import Proposed
    from backfill.survey import Cause

SAMPLES: Final = 3
WIDE: Final = 40
"""Characters of a cell that are shown."""


@click.command(cls=Page, short_help="Look at data and propose a commented mapping.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", shell_complete=complete.files)
@click.option("--type", "kind", type=click.Choice(list(spec.TYPES)), help="The type of message.")
@click.option(
    "-o", "--out", metavar="PATH", help="Where to write; several files: a folder.  [mappings/]"
)
@click.option(
    "--day-first/--month-first",
    "is_day_first",
    default=None,
    help="How 03/04/2020 is meant, where no value proves it.",
)
@options.JSON
def init(
    files: tuple[str, ...],
    *,
    kind: str | None,
    out: str | None,
    is_day_first: bool | None,
    as_json: bool,
) -> None:
    """Look at data, and write a commented mapping with the evidence for each guess.

    Several files together propose how their ids join. Nothing is sent, and no file is overwritten.

    \b
    Example:
      backfill init exports/customers.csv
      backfill init exports/customers.csv exports/orders.parquet
      backfill init exports/clicks.csv --type track -o mappings/clicks.yaml
    """
    options.make_arrow_light()
    from backfill.propose import propose_all  # noqa: PLC0415  heavy, and --help needs none of it

    words = {None: None, True: "day-first", False: "month-first"}[is_day_first]
    now_ms = int(time.time() * 1000)
    found = propose_all(files, out=out, kind=kind, prefer=words, now_ms=now_ms)
    for one in found:
        _write(one.path, one.rehearsal.text)
    if as_json:
        click.echo(json.dumps(_as_json(found), ensure_ascii=False))
        return
    for one in found:
        click.echo(_as_text(one))
    click.echo(f"next: {_next(found)}")


def _write(path: Path, text: str) -> None:
    """Write a mapping that is not there yet. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        fix = "choose another file with -o, or move this one away: it is never overwritten"
        raise UsageError("this mapping is there already", where=path, fix=fix) from None
    except OSError as fault:
        what = f"cannot be written: {fault.strerror}"
        raise UsageError(what, where=path, fix="choose another place with -o") from None


def _next(found: list[Proposed]) -> str:
    """The command that shows what the proposal comes to."""
    if len(found) == 1:
        return f"backfill preview {shlex.quote(str(found[0].path))}"
    return "backfill check " + " ".join(shlex.quote(str(one.path)) for one in found)


def _as_json(found: list[Proposed]) -> dict[str, Any]:
    return {"exit_code": 0, "mappings": [_told(one) for one in found], "next_command": _next(found)}


def _told(one: Proposed) -> dict[str, Any]:
    from backfill.propose.proposal import forms  # noqa: PLC0415

    made, stream = one.proposal, one.stream
    return {
        "mapping": str(one.path),
        "source": list(stream.given),
        "rows": {"looked_at": stream.rows, "total": stream.rows_total, "all": stream.is_whole},
        "type": made.type,
        "why": made.why,
        "key": made.key,
        "after": made.after,
        "members": [
            {"member": name, "column": line.column, "why": line.why, "doubt": line.doubt}
            for name, line in forms(made)
        ],
        "left_out": [{"column": out.column, "why": out.why} for out in made.left_out],
        "would_reject": [
            {"code": cause.code, "column": cause.column, "count": cause.count}
            for cause in one.rehearsal.causes
        ],
    }


def _as_text(one: Proposed) -> str:
    made = one.proposal
    none = f"none: {made.key_why or 'no column makes a row one of its kind'}"
    lines = [
        *_source_lines(one),
        f"  {made.type}: {made.why}",
        *_member_lines(one),
        *(f"  left out: {out.column}: {out.why}" for out in made.left_out),
        f"  key: {', '.join(made.key)}: {made.key_why}" if made.key else f"  key: {none}",
        *(f"  LOOK  {name}: {doubt}" for name, doubt in made.doubts),
        *map(_fault, one.rehearsal.causes),
        f"wrote {one.path}",
    ]
    return "\n".join(lines)


def _source_lines(one: Proposed) -> list[str]:
    from backfill.propose import looked  # noqa: PLC0415

    stream = one.stream
    dialect = stream.samples[0].dialect
    lines = [f"{', '.join(stream.given)}: looked at {looked(stream)}"]
    for name, why in dialect.notes.items():
        value = dialect.options.get(name)
        lines.append(f"  {name}{'' if value is None else f' {value!r}'}: {why}")
    if stream.blanks:
        lines.append(f"  counts as blank: {', '.join(stream.blanks)}")
    return lines


def _member_lines(one: Proposed) -> list[str]:
    from backfill.propose.proposal import forms  # noqa: PLC0415

    cells = {finding.name: _samples(finding.column) for finding in one.stream.findings}
    members = list(forms(one.proposal))
    width = max((len(name) for name, _ in members), default=0)
    lines = []
    for name, line in members:
        constant = line.form.get("const", "") if isinstance(line.form, dict) else line.form
        words = "; ".join(part for part in (line.why, cells.get(line.column, "")) if part)
        told = f": {words}" if words else ""
        lines.append(f"    {name:<{width}} ← {line.column or repr(constant)}{told}")
    return lines


def _fault(cause: Cause) -> str:
    """Say what would become of rows of the sample, and the first reason."""
    bucket = "held" if cause.code == Code.RECENT_EVENT else "rejected"
    reason = cause.samples[0]["reason"] if cause.samples else ""
    return f"  would be {bucket}: {cause.count:,} × {cause.code}: {reason}"


def _samples(column: Any) -> str:
    """Some cells, as a person asked to see them; they go to the terminal and nowhere else."""
    if column.kind in {"list", "object"}:
        return ""
    texts = [" ".join(text.split()) for text in column.texts.slice(0, SAMPLES).to_pylist()]
    cut = [text if len(text) <= WIDE else text[: WIDE - 1] + "…" for text in texts]
    return "e.g. " + ", ".join(map(repr, cut)) if cut else ""
