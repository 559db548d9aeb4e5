"""`backfill status`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from backfill.cli import complete, options
from backfill.cli.manual import Page
from backfill.errors import ExitCode, MismatchError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(cls=Page, short_help="Where each stream stands, from the state alone.")
@click.argument("mappings", nargs=-1, metavar="[MAPPING…]", shell_complete=complete.mappings)
@options.STATE
@options.JSON
def status(mappings: tuple[str, ...], *, state: Path, as_json: bool) -> int:
    """Tell where each stream stands, from the state alone; nothing is read but checkpoints.

    \b
    Example:
      backfill status
      backfill status mappings/orders.yaml
    """
    names = _names(mappings, state)
    found = [_state(state, name) for name in names]
    if as_json:
        code = max((one["exit_code"] for one in found), default=0)
        click.echo(json.dumps({"exit_code": code, "streams": found}, ensure_ascii=False))
    elif not found:
        click.echo(f"no stream has run with the state in {state}")
    else:
        for one in found:
            click.echo(_line(one))
    return max((one["exit_code"] for one in found), default=0)


def _names(mappings: tuple[str, ...], state: Path) -> list[str]:
    if mappings:
        from backfill.mapping import find_mappings  # noqa: PLC0415

        return [mapping.name for mapping in find_mappings(mappings)]
    if not state.is_dir():
        return []
    marks = ("checkpoint.json", "checkpoint.json.prev")
    return sorted(p.name for p in state.iterdir() if any((p / m).exists() for m in marks))


def _state(folder: Path, name: str) -> dict[str, Any]:
    from backfill.checkpoint import Store  # noqa: PLC0415
    from backfill.report import iso, rows_of  # noqa: PLC0415

    try:
        found = Store(folder, name).load()
    except MismatchError as fault:
        error = {"what": fault.what, "where": fault.where, "fix": fault.fix}
        return {"stream": name, "exit_code": int(ExitCode.MISMATCH), "error": error}
    if found is None:
        return {"stream": name, "exit_code": 0, "phase": "never run"}
    told = {
        "stream": name,
        "exit_code": 0,
        "phase": "finished" if found.is_finished else "unfinished",
        "run_id": found.run_id,
        "started_at": found.started_at,
        "saved_at": found.saved_at,
        "destination": found.destination,
        "rows": rows_of(found.counts, sum(f.rows for f in found.files)),
    }
    if mark := found.watermark:
        value = iso(mark["value"]) if mark["type"] == "time" else mark["value"]
        told["watermark"] = {"column": mark["column"], "value": value}
    return told


def _line(one: dict[str, Any]) -> str:
    if "error" in one:
        error = one["error"]
        return f"{one['stream']}: {error['where']}: {error['what']}\n  fix: {error['fix']}"
    if "rows" not in one:
        return f"{one['stream']}: {one['phase']}"
    rows = {name: count for name, count in one["rows"].items() if count and name != "read"}
    told = ", ".join(f"{count:,} {name}" for name, count in rows.items()) or "no rows"
    if mark := one.get("watermark"):
        told += f", {mark['column']} up to {mark['value']}"
    return (
        f"{one['stream']}: {one['phase']} → {one['destination']}, {told} (saved {one['saved_at']})"
    )
