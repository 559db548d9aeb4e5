"""`backfill status`."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from backfill.cli import complete, options
from backfill.cli.manual import Page
from backfill.errors import ExitCode, MismatchError

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.checkpoint import State, Store

LINES_MAX: Final = 18
"""Of streams on one screen of 24 lines; beyond them, those that are finished are counted only."""

MINUTE_S: Final = 60


@click.command(cls=Page, short_help="Where each stream stands, from the state alone.")
@click.argument("mappings", nargs=-1, metavar="[MAPPING…]", shell_complete=complete.mappings)
@options.STATE
@options.JSON
def status(mappings: tuple[str, ...], *, state: Path, as_json: bool) -> int:
    """Tell where each stream stands, running or not, from the state alone.

    Nothing is read but checkpoints and what runs note beside them, and nothing is disturbed. What
    is left of a running stream is a guess from its rate over the last minute.

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
        click.echo(as_screen(found))
    return max((one["exit_code"] for one in found), default=0)


def _names(mappings: tuple[str, ...], state: Path) -> list[str]:
    if mappings:
        from backfill.mapping import find_mappings  # noqa: PLC0415

        return [mapping.name for mapping in find_mappings(mappings)]
    if not state.is_dir():
        return []
    marks = ("checkpoint.json", "checkpoint.json.prev", "lock")
    return sorted(p.name for p in state.iterdir() if any((p / m).exists() for m in marks))


def _state(folder: Path, name: str) -> dict[str, Any]:
    from backfill.checkpoint import Store  # noqa: PLC0415
    from backfill.lock import holder_of  # noqa: PLC0415
    from backfill.report import iso, rows_of  # noqa: PLC0415

    holder = holder_of(folder / name)
    try:
        found = Store(folder, name).load()
    except MismatchError as fault:
        error = {"what": fault.what, "where": fault.where, "fix": fault.fix}
        return {"stream": name, "exit_code": int(ExitCode.MISMATCH), "error": error}
    running = {"running": holder} if holder else {}
    if found is None:
        phase = "begins" if holder else "never run"
        return {"stream": name, "exit_code": 0, "phase": phase, **running}
    told = {
        "stream": name,
        "exit_code": 0,
        "phase": "finished" if found.is_finished else "unfinished",
        "run_id": found.run_id,
        "started_at": found.started_at,
        "saved_at": found.saved_at,
        "destination": found.destination,
        "rows": rows_of(found.counts, sum(f.rows for f in found.files)),
        **running,
    }
    if holder:
        moments = [one for one in (found.saved_at, str(holder["since"])) if one]
        since_s = max(datetime.fromisoformat(one).timestamp() for one in moments)
        told["seconds_since_saved"] = max(round(time.time() - since_s), 0)
    if mark := found.watermark:
        value = iso(mark["value"]) if mark["type"] == "time" else mark["value"]
        told["watermark"] = {"column": mark["column"], "value": value}
    if found.is_finished and (found.counts.rejected or found.counts.held):
        told |= _waiting(Store(folder, name), found)
    if not found.is_finished:
        told |= _ahead(folder / name / "runs" / found.run_id, found, is_running=bool(holder))
    return told


def _waiting(store: Store, state: State) -> dict[str, Any]:
    """Return which files of rejects and held rows wait to be sent again."""
    from backfill.retry import KINDS, waiting  # noqa: PLC0415  heavy, and only for who has some

    try:
        found = {kind: [str(one.path) for one in waiting(store, state, kind)[0]] for kind in KINDS}
    except MismatchError:  # the state of a retry is damaged: `retry` says so
        return {}
    return {"waiting": found}


def _ahead(folder: Path, state: State, *, is_running: bool) -> dict[str, Any]:
    """Return how many rows there may be, and of a run that goes on its rate and what is left."""
    from backfill.tallies import figures_of  # noqa: PLC0415

    figures = figures_of(folder, state)
    expected = None if figures is None else figures.rows_expected
    told: dict[str, Any] = {"rows_expected": expected}
    if figures is None or not is_running or not figures.moments:
        return told
    now_s = time.time()
    since_s = max(now_s - MINUTE_S, min(figures.moments))
    rows = sum(done[0] for at_s, done in figures.moments.items() if at_s >= since_s)
    rate = rows / max(now_s - since_s, 1)
    told["rows_per_second"] = round(rate, 1)
    if expected is not None and rate:
        told["seconds_left"] = round(max(expected - state.counts.settled, 0) / rate)
    return told


def as_screen(found: list[dict[str, Any]]) -> str:
    """Return all streams on one screen of 80 columns, what needs a person or goes on first."""
    bad = [one for one in found if "error" in one]
    rest = [one for one in found if "error" not in one]
    rest.sort(key=lambda one: (one.get("phase") == "finished", "running" not in one))
    shown = rest if len(rest) <= LINES_MAX else rest[: LINES_MAX - 1]
    lines = [HEAD] if shown else []
    lines += [_line(one) for one in shown]
    if more := len(rest) - len(shown):
        lines.append(f"and {more:,} more; `backfill status --json` tells them all")
    notes = [line for one in shown for note in _notes(one) for line in _lines(note)]
    lines += notes[: max(23 - len(lines), 3)]
    for one in bad:
        error = one["error"]
        lines.append(f"{one['stream']}: {error['where']}: {error['what']}\n  fix: {error['fix']}")
    return "\n".join(lines)


HEAD: Final = (
    f"{'stream':<20} {'state':<10} {'settled':>12} {'of rows':>12} {'rejected':>8} {'held':>5}"
    f" {'left':>7}"
)


def _line(one: dict[str, Any]) -> str:
    name = one["stream"] if len(one["stream"]) <= 20 else one["stream"][:19] + "…"  # noqa: PLR2004
    phase = "running" if "running" in one else one["phase"]
    if "rows" not in one:
        return f"{name:<20} {phase}"
    rows = one["rows"]
    settled = rows["read"] - rows["pending"]
    expected = one.get("rows_expected")
    of = f"{rows['read']:,}" if expected is None else f"~{max(expected, rows['read']):,}"
    left = _long(one["seconds_left"]) if "seconds_left" in one else ""
    return (
        f"{name:<20} {phase:<10} {settled:>12,} {of:>12} {rows['rejected'] or '':>8}"
        f" {rows['held'] or '':>5} {left:>7}"
    ).rstrip()


def _lines(note: str) -> list[str]:
    from backfill.report import wrapped  # noqa: PLC0415  with what it needs, for --help does not

    return wrapped(note, "  ").splitlines()


def _notes(one: dict[str, Any]) -> list[str]:
    """Return what is to be known of a stream beside its numbers."""
    name = one["stream"]
    if holder := one.get("running"):
        rate = f", {one['rows_per_second']:,.0f} rows/s" if "rows_per_second" in one else ""
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        idle_s = one.get("seconds_since_saved", 0)
        idle = f"; nothing settled for {_long(idle_s)}" if idle_s >= MINUTE_S else ""
        return [f"{name}: {who}{rate}{idle}"]
    if one.get("phase") == "unfinished":
        return [f"{name}: saved {one['saved_at']} → {one['destination']}; run it again to go on"]
    if mark := one.get("watermark"):
        return [f"{name}: {mark['column']} up to {mark['value']}"]
    if one.get("phase") == "finished":
        return [f"{name}: saved {one['saved_at']} → {one['destination']}{_wait(one)}"]
    return []


def _wait(one: dict[str, Any]) -> str:
    """Say what became of rejects and held rows since; the table counts those of the run."""
    if "waiting" not in one:
        return ""
    words = {"rejects": "rejects", "held": "held rows"}
    kinds = [words[kind] for kind, paths in one["waiting"].items() if paths]
    return f"; {' and '.join(kinds)} wait for a retry" if kinds else "; a retry sent the others"


def _long(seconds: float) -> str:
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 120 * MINUTE_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / MINUTE_S / 60:.1f} h"
