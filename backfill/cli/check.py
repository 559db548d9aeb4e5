"""`backfill check`."""

from __future__ import annotations

import json
from typing import Any

import click

from backfill.cli import options
from backfill.cli.manual import Page
from backfill.cli.run import worst


@click.command(cls=Page, short_help="Every fault of the mapping, then every row. Nothing is sent.")
@options.MAPPINGS
@options.SOURCE
@options.LIMIT
@options.RECENT
@options.delivery_options
@options.JSON
def check(mappings: tuple[str, ...], *, as_json: bool, limit: int | None, **given: Any) -> int:
    """Tell every fault of a mapping, then what every row would become. Nothing is sent.

    \b
    Example:
      backfill check mappings/
      backfill check mappings/orders.yaml --source exports/orders_2024.csv
    """
    options.make_arrow_light()
    from backfill.cli import findings  # noqa: PLC0415  heavy, and --help needs none of it
    from backfill.folder import Folder  # noqa: PLC0415
    from backfill.launch import dry_report, plan_of, rate_of  # noqa: PLC0415
    from backfill.mapping import find_mappings  # noqa: PLC0415
    from backfill.people import EVENTS, People  # noqa: PLC0415
    from backfill.recent import Recent  # noqa: PLC0415
    from backfill.survey import survey  # noqa: PLC0415

    settings = options.settings_of(limit=limit, **given)
    plans = [plan_of(mapping, settings) for mapping in find_mappings(mappings)]
    types = {str(message.type) for plan in plans for message in plan.job.mapping.document.messages}
    folder = Folder(People(is_joined="identify" in types))
    results, is_cut = [], False
    begin_ms = min(plan.job.rules.now_ms for plan in plans)
    for plan in plans:
        rate = rate_of(plan, settings)
        recent = Recent(plan.job.rules.now_ms, rate, begin_ms)
        found = survey(plan, limit=limit, recent=recent, folder=folder)
        begin_ms = int(recent.next_ms)  # streams are sent one after the other
        is_cut |= found.is_cut
        report = dry_report(plan, found)
        results.append(findings.stream_json(plan, found, report, rate))
        if not as_json:
            click.echo(findings.stream_text(plan, found, report, rate))
    total = findings.total_json(results)
    if not as_json and len(plans) > 1:
        click.echo(findings.total_text(total))
    people = findings.people_json(folder, _why_not(types, is_cut=is_cut))
    has_events = bool(types & {*EVENTS})
    if not as_json and (told := findings.people_text(people, has_events=has_events)):
        click.echo(told)
    code = worst([result["exit_code"] for result in results])
    if as_json:
        one = {**results[0], "people": people}
        many = {"exit_code": code, "streams": results, "would_send": total, "people": people}
        click.echo(json.dumps(one if len(plans) == 1 else many, ensure_ascii=False))
    return code


def _why_not(types: set[str], *, is_cut: bool) -> str:
    """Return why events of people whom no identify creates are not looked for, '' if they are."""
    if "identify" not in types:
        return "since no identify is among these mappings; check them all together"
    return "since --limit leaves people out" if is_cut else ""
