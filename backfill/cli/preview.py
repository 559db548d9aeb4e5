"""`backfill preview`."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import click

from backfill.cli import complete, options
from backfill.cli.layout import lines_of
from backfill.cli.manual import Page
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.mapping.origin import Origins
    from backfill.plan import Plan
    from backfill.sample import Shown

CELL_CHARS: Final = 100
WIDE: Final = 120
"""A terminal with so many columns has the cells and the messages side by side."""
CELLS_WIDTH: Final = 46


@click.command(cls=Page, short_help="The exact messages of some rows, beside the row.")
@click.argument("mapping", shell_complete=complete.mappings)
@options.SOURCE
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="N",
    help="How many rows.",
)
@click.option(
    "--row",
    type=click.IntRange(1),
    metavar="N",
    help="Begin at this row, as a spreadsheet counts.",
)
@click.option(
    "--explain", is_flag=True, help="Say which line of the mapping each member comes from."
)
@options.RECENT
@options.JSON
def preview(
    mapping: str,
    *,
    sources: tuple[str, ...],
    count: int,
    row: int | None,
    explain: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Show the exact messages of some rows, beside the row. Nothing is sent.

    \b
    Example:
      backfill preview mappings/orders.yaml -n 2
      backfill preview mappings/orders.yaml --row 1042 -n 1 --explain
    """
    options.make_arrow_light()
    from backfill.launch import plan_of  # noqa: PLC0415  heavy, and --help needs none of it
    from backfill.mapping import load_mapping  # noqa: PLC0415
    from backfill.mapping.origin import Origins  # noqa: PLC0415
    from backfill.sample import sample as rows_of  # noqa: PLC0415

    settings = options.settings_of(sources=sources, **given)
    loaded = load_mapping(mapping)
    plan = plan_of(loaded, settings).hashed({})
    shown = list(rows_of(plan, count=count, first=row))
    if row and not shown:
        raise _no_row(plan, row)
    origins = Origins(loaded) if explain else None
    if as_json:
        rows = [_as_json(one, origins) for one in shown]
        click.echo(json.dumps({"exit_code": 0, "rows": rows}, ensure_ascii=False, default=str))
        return
    if not shown:
        click.echo("the source has no rows")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for one in shown:
        click.echo(_as_text(one, origins, is_wide=width >= WIDE))


def _no_row(plan: Plan, row: int) -> UsageError:
    from backfill.report import counted  # noqa: PLC0415
    from backfill.sample import longest  # noqa: PLC0415

    file, rows, last = longest(plan)
    fix = f"its last row is {last:,}: it has {counted(rows, 'row')}"
    if last >= rows + 1:
        fix += ", and a spreadsheet counts the header as well"
    if not rows:
        fix = "the source has no rows"
    elif len(plan.shards) > 1:
        fix = f"that is the longest of {len(plan.shards):,} files; {fix}"
    return UsageError(f"there is no row {row:,}", where=file, fix=fix)


def _as_json(one: Shown, origins: Origins | None) -> dict[str, Any]:
    messages = [json.loads(text) for text in one.messages]
    told: dict[str, Any] = {"outcome": one.outcome}
    if one.reason:
        told["reason"] = one.reason
    if one.with_row is not None:
        told["with_row"] = one.with_row
    if origins is not None:
        told["origins"] = [
            [
                {"member": list(path), "at": str(found.place), "mapping": found.words}
                for path, found in origins.of(index, message).items()
            ]
            for index, message in zip(one.indexes, messages, strict=True)
        ]
    return {"file": one.file, "row": one.row, "cells": one.cells, "messages": messages, **told}


def _as_text(one: Shown, origins: Origins | None, *, is_wide: bool) -> str:
    head = click.style(f"{one.file}:{one.row}", bold=True)
    cells = [f"  {name} = {_short(str(value))}" for name, value in one.cells.items()]
    right = []
    if one.with_row is not None:
        right.append(f"  goes with row {one.with_row}")
    elif one.outcome != "sent":
        right.append(click.style(f"  {one.outcome}: {one.reason}", fg="yellow"))
    for at, text in enumerate(one.messages):
        right += ["  ↓", *_message(text, one.indexes[at], origins)]
    return "\n".join([head, *(_beside(cells, right) if is_wide else [*cells, *right])])


def _short(text: str) -> str:
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"


def _beside(cells: list[str], right: list[str]) -> list[str]:
    """Put two columns side by side; a cell that is too wide for its column is cut."""
    lines = []
    for cell, text in zip_longest(cells, right, fillvalue=""):
        fits = cell if len(cell) <= CELLS_WIDTH else cell[: CELLS_WIDTH - 1] + "…"
        lines.append(f"{fits:<{CELLS_WIDTH}}{text}".rstrip())
    return lines


def _message(text: str, index: int, origins: Origins | None) -> list[str]:
    lines = lines_of(text)
    if origins is None:
        return [f"  {line.text}" for line in lines]
    found = origins.of(index, json.loads(text))
    told = []
    for line in lines:
        origin = None if line.member is None else found.get(line.member)
        arrow = "" if origin is None else f"  ← {origin.place}  {origin.words}"
        told.append(f"  {line.text}{click.style(arrow, dim=True) if arrow else ''}")
    return told
