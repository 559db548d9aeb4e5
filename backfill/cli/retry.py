"""`backfill retry`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from backfill.cli import options, signals
from backfill.cli.manual import Page
from backfill.cli.run import ended, shown

if TYPE_CHECKING:
    from backfill.report import Report


@click.command(cls=Page, short_help="Send the rejects (or held rows) after they were corrected.")
@options.MAPPINGS
@click.option("--held", "is_held", is_flag=True, help="The rows of held.csv: send them now.")
@options.TO
@options.sending_options
def retry(  # noqa: PLR0913  one parameter an option
    mappings: tuple[str, ...],
    *,
    is_held: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_format: str,
    no_progress: bool,
    **given: Any,
) -> int:
    """Send the rows of the rejects file again, after a person corrected their cells.

    Correct the cells in place and leave _row (and _file) as they are: each row gets the message ids
    that it would have had. Rows that still fail are in a new rejects file, for the next retry. Rows
    that were taken out are not sent. What was delivered is never sent again by a retry.

    \b
    Example:
      backfill retry mappings/orders.yaml
      backfill retry mappings/orders.yaml --held
    """
    options.make_arrow_light()
    from backfill.cli.progress import Bar  # noqa: PLC0415  heavy, and --help needs none of it
    from backfill.launch import rate_of, retry_all  # noqa: PLC0415
    from backfill.mapping import find_mappings  # noqa: PLC0415
    from backfill.runner import Stop  # noqa: PLC0415

    kind = "held" if is_held else "rejects"
    if is_held:
        given["recent_events"] = "send"  # whoever asks for the held rows has decided
    found = find_mappings(mappings)
    echo = log_format if verbose else None
    stop = Stop()
    signals.drain(stop)
    bar = Bar(is_shown=sys.stderr.isatty() and not (quiet or no_progress), streams=len(found))
    talk = {"tell": options.talk(is_quiet=quiet), "hear": bar.hear}
    settings = options.settings_of(**given, log_echo=echo, **talk)
    bar.rate_of = lambda plan: rate_of(plan, settings)
    reports: list[Report] = []
    try:
        for mapping in found:
            before = len(reports)
            for letters, report in retry_all(mapping, settings, stop, bar.watch, kind=kind):
                bar.close()
                reports.append(report)
                if not quiet and not as_json:
                    click.echo(f"retry of {letters.path}")
                shown(report, quiet=quiet, as_json=as_json)
            if len(reports) == before and not quiet and not as_json:
                none = "no held rows wait" if is_held else "no rejects wait"
                click.echo(f"{mapping.name}: {none} to be sent again")
            if reports and reports[-1].error:
                break
    finally:
        bar.close()
    return ended(reports, given["state"], as_json=as_json, many=len(found) > 1, quiet=quiet)
