"""`backfill preview`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from backfill.cli import options

if TYPE_CHECKING:
    from backfill.sample import Shown


@click.command(short_help="The exact messages of some rows, beside the row.")
@click.argument("mapping")
@options.SOURCE
@click.option("-n", "count", type=click.IntRange(1), default=5, show_default=True)
@click.option("--row", type=click.IntRange(1), help="Begin at this row, as a spreadsheet counts.")
@options.RECENT
@options.JSON
def preview(
    mapping: str,
    *,
    sources: tuple[str, ...],
    count: int,
    row: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show the exact messages of some rows, beside the row. Nothing is sent.

    \b
    Example:
      backfill preview mappings/orders.yaml -n 2
      backfill preview mappings/orders.yaml --row 1042 -n 1
    """
    options.leave_pandas_out()
    from backfill.launch import plan_of  # noqa: PLC0415  heavy, and --help needs none of it
    from backfill.mapping import load_mapping  # noqa: PLC0415
    from backfill.sample import sample as rows_of  # noqa: PLC0415

    settings = options.settings_of(sources=sources, **given)
    plan = plan_of(load_mapping(mapping), settings).hashed({})
    shown = list(rows_of(plan, count=count, first=row))
    if as_json:
        rows = [_as_json(one) for one in shown]
        click.echo(json.dumps({"exit_code": 0, "rows": rows}, ensure_ascii=False, default=str))
        return
    if not shown:
        click.echo("there is no such row" if row else "the source has no rows")
    for one in shown:
        click.echo(_as_text(one))


def _as_json(one: Shown) -> dict[str, Any]:
    messages = [json.loads(text) for text in one.messages]
    told = {"reason": one.reason} if one.reason else {}
    return {"file": one.file, "row": one.row, "cells": one.cells, "messages": messages, **told}


def _as_text(one: Shown) -> str:
    lines = [click.style(f"{one.file}:{one.row}", bold=True)]
    for name, value in one.cells.items():
        shown = str(value)
        lines.append(f"  {name} = {shown if len(shown) <= 100 else shown[:99] + '…'}")  # noqa: PLR2004
    if one.reason:
        lines.append(click.style(f"  not sent: {one.reason}", fg="yellow"))
    for text in one.messages:
        lines.append("  ↓")
        lines += [f"  {line}" for line in _indented(text)]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    """Break a message into lines without touching its values: numbers keep their digits."""
    lines, depth, in_string, at = [""], 0, False, 0
    while at < len(text):
        char = text[at]
        if in_string:
            step = 2 if char == "\\" else 1
            lines[-1] += text[at : at + step]
            in_string = char != '"'
            at += step
            continue
        in_string = char == '"'
        if char in "}]" and text[at - 1] not in "{[":
            depth -= 1
            lines.append("  " * depth)
        elif char in "}]":
            depth -= 1
        lines[-1] += char + (" " if char == ":" else "")
        if char in "{[":
            depth += 1
        if char == "," or (char in "{[" and text[at + 1] not in "}]"):
            lines.append("  " * depth)
        at += 1
    return lines
