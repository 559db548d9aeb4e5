"""`backfill run`."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from backfill.cli import options, signals
from backfill.cli.manual import Page
from backfill.errors import BackfillError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.report import Report


@click.command(cls=Page, short_help="Send, checkpoint, report; the same command again resumes.")
@options.MAPPINGS
@options.SOURCE
@options.TO
@click.option("--dry-run", is_flag=True, help="All but sending; writes nothing.")
@options.LIMIT
@click.option("--restart", is_flag=True, help="Forget the checkpoint and send all again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.RECENT
@click.option("--use-previous", is_flag=True, help="Resume from checkpoint.json.prev.")
@options.sending_options
def run(  # noqa: PLR0913  one parameter an option
    mappings: tuple[str, ...],
    *,
    as_json: bool,
    yes: bool,
    quiet: bool,
    verbose: bool,
    log_format: str,
    no_progress: bool,
    **given: Any,
) -> int:
    """Check as it goes, send, checkpoint, report; the same command again resumes.

    MAPPING is a file or a folder of them.

    \b
    Example:
      backfill run mappings/ --to sandbox
      backfill run mappings/orders.yaml --to eu --rate 100
    """
    options.make_arrow_light()
    from backfill.cli.progress import Bar  # noqa: PLC0415  heavy, and --help needs none of it
    from backfill.launch import rate_of, run_all  # noqa: PLC0415
    from backfill.mapping import find_mappings  # noqa: PLC0415
    from backfill.runner import Stop  # noqa: PLC0415

    found = find_mappings(mappings)
    if given["restart"]:
        _confirm([mapping.name for mapping in found], yes=yes)
    echo = log_format if verbose else None
    stop = Stop()
    signals.drain(stop)
    bar = Bar(is_shown=sys.stderr.isatty() and not (quiet or no_progress), streams=len(found))
    talk = {"tell": options.talk(is_quiet=quiet), "hear": bar.hear}
    settings = options.settings_of(**given, log_echo=echo, **talk)
    bar.rate_of = lambda plan: rate_of(plan, settings)
    reports: list[Report] = []
    try:
        for report in run_all(found, settings, stop, bar.watch):
            bar.close()
            reports.append(report)
            shown(report, quiet=quiet, as_json=as_json, many=len(found) > 1)
    except BackfillError as fault:
        if not (as_json and reports):
            raise
        bar.close()
        return _cut_short(reports, fault)
    finally:
        bar.close()
    code = ended(reports, given["state"], as_json=as_json, many=len(found) > 1, quiet=quiet)
    if len(found) > 1 and not (quiet or as_json):
        _say_for_real(reports, mappings)
    return code


def _say_for_real(reports: list[Report], mappings: tuple[str, ...]) -> None:
    """Say once what the streams of a rehearsal would say one by one."""
    from backfill.ending import REHEARSED  # noqa: PLC0415
    from backfill.report import wrapped  # noqa: PLC0415

    is_over = not any(report.error for report in reports)
    if is_over and any(why == REHEARSED for one in reports for why, _ in one.next_steps):
        click.echo(wrapped(f"next: {REHEARSED}:", "  "))
        click.echo(f"  {shlex.join(['backfill', 'run', *mappings, '--to', 'us'])}")


def _confirm(names: list[str], *, yes: bool) -> None:
    what = f"forget the checkpoint of {', '.join(names)} and send all rows again?"
    if yes:
        return
    if not sys.stdin.isatty():
        fix = "add --yes where nobody can be asked"
        raise UsageError("--restart sends all rows again", where="--restart", fix=fix)
    click.confirm(what, abort=True, err=True)


def shown(report: Report, *, quiet: bool, as_json: bool, many: bool = False) -> None:
    """Say what a stream did, and what stopped it. many: what all of them say is said at the end."""
    from backfill.ending import REHEARSED  # noqa: PLC0415
    from backfill.report import as_text  # noqa: PLC0415

    if not quiet and not as_json:
        steps = [step for step in report.next_steps if not (many and step[0] == REHEARSED)]
        click.echo(as_text(replace(report, next_steps=steps)))
    if report.error:
        error = report.error
        told = BackfillError(error["what"], where=error["where"], fix=error["fix"])
        click.echo(str(told), err=True)


def ended(reports: list[Report], state: Path, *, as_json: bool, many: bool, quiet: bool) -> int:
    """Say the last word of a command and return its exit code."""
    code = worst([int(report.exit_code) for report in reports])
    if as_json and (many or len(reports) != 1):
        streams = [report.to_json() for report in reports]
        click.echo(json.dumps({"exit_code": code, "streams": streams}, ensure_ascii=False))
    elif as_json:
        click.echo(json.dumps(reports[0].to_json(), ensure_ascii=False))
    elif not quiet and any(report.destination == "sandbox" for report in reports):
        command = shlex.join(["backfill", "sandbox", "--db", str(state / "sandbox.sqlite")])
        click.echo(f"look at what it received: {command}", err=True)
    return code


def _cut_short(reports: list[Report], fault: BackfillError) -> int:
    """A later stream could not start: what the ones before it did is told all the same."""
    error = {"what": fault.what, "where": fault.where, "fix": fault.fix}
    streams = [report.to_json() for report in reports]
    told = {"exit_code": int(fault.exit_code), "streams": streams, "error": error}
    click.echo(json.dumps(told, ensure_ascii=False))
    click.echo(str(fault), err=True)
    return int(fault.exit_code)


def worst(codes: list[int]) -> int:
    """Return the code that a scheduler should hear of: what stopped a stream, then rejects."""
    return max(codes, key=lambda code: (code not in {0, 3}, code), default=0)
