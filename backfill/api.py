"""The Python door: the same launch as the command line, with pandas in and out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backfill.errors import BackfillError, ExitCode
from backfill.launch import Settings, plan_of, run_all
from backfill.runner import Stop
from backfill.sample import sample as rows_of

if TYPE_CHECKING:
    import pandas as pd

    from backfill.mapping import Mapping
    from backfill.report import Report


def preview(mapping: Mapping, *, rows: int = 5, row: int | None = None) -> pd.DataFrame:
    """Return the messages of some rows: `row` (as a spreadsheet counts), `type`, `message` (dict).

    row: the first row to show. A row that would not be sent has no line.
    """
    import json  # noqa: PLC0415

    import pandas as pd  # noqa: PLC0415  one of its three doors

    plan = plan_of(mapping, Settings()).hashed({})
    found = []
    for shown in rows_of(plan, count=rows, first=row):
        for text in shown.messages:
            message = json.loads(text)
            found.append({"row": shown.row, "type": message["type"], "message": message})
    return pd.DataFrame(found, columns=["row", "type", "message"])


def run(mapping: Mapping, *, stop: Stop | None = None, **options: Any) -> Report:
    """Run one stream and return its report (rejected and held rows are in it, not raised).

    options: those of the command line with underscores, see `launch.Settings`: `to`, `state`,
    `sources`, `limit`, `rate`, `connections`, `dry_run`, `max_rejects` …
    Raises a BackfillError whose `exit_code` is the command line's where the run stops early.
    """
    known = {f.name for f in fields(Settings)}
    if unknown := set(options) - known:
        raise TypeError(f"run() got an unexpected option {min(unknown)!r}")
    if "state" in options:
        options["state"] = Path(options["state"])
    settings = Settings(**{"command": f"backfill run {mapping.path}", **options})
    reports = list(run_all([mapping], settings, stop or Stop()))
    report = reports[0]
    if report.exit_code not in {ExitCode.OK, ExitCode.REJECTS}:
        raise _raised(report)
    return report


def _raised(report: Report) -> BackfillError:
    error = BackfillError(**report.error)
    error.exit_code = ExitCode(report.exit_code)
    return error
