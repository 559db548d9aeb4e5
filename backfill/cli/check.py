"""`backfill check`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from backfill.cli import options
from backfill.cli.run import worst

if TYPE_CHECKING:
    from backfill.plan import Plan
    from backfill.report import Report
    from backfill.survey import Survey


@click.command(short_help="Every fault of the mapping, then every row. Nothing is sent.")
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
    options.leave_pandas_out()
    from backfill.launch import dry_report, plan_of  # noqa: PLC0415  heavy, --help needs none
    from backfill.mapping import find_mappings  # noqa: PLC0415
    from backfill.survey import survey  # noqa: PLC0415

    settings = options.settings_of(limit=limit, **given)
    plans = [plan_of(mapping, settings) for mapping in find_mappings(mappings)]
    results = []
    for plan in plans:
        found = survey(plan, limit=limit)
        report = dry_report(plan, found)
        results.append(_as_json(found, report))
        if not as_json:
            click.echo(_as_text(plan, found, report, settings.rate))
    code = worst([result["exit_code"] for result in results])
    if as_json:
        told = results[0] if len(plans) == 1 else {"exit_code": code, "streams": results}
        click.echo(json.dumps(told, ensure_ascii=False))
    return code


def _as_json(found: Survey, report: Report) -> dict[str, Any]:
    return {
        **report.to_json(),
        "would_send": {
            "messages": found.counts.built,
            "requests": found.batches,
            "bytes": found.body_bytes,
            "longest_message_bytes": found.longest_bytes,
        },
        "notes": [
            {"column": column, "what": what, "count": count}
            for (column, what), count in found.notes.items()
        ],
        "causes": [vars(cause) for cause in found.causes.values()],
    }


def _as_text(plan: Plan, found: Survey, report: Report, rate: float | str | None) -> str:
    from backfill.report import counted, sized  # noqa: PLC0415  heavy, and --help needs none of it

    rows = report.rows
    lines = [f"{report.stream}: {counted(rows['read'], 'row')} read"]
    lines.append(
        f"  would send {counted(found.counts.built, 'message')}"
        f" in {counted(found.batches, 'request')}, {sized(found.body_bytes)}"
        f"{_time(plan, found, rate)}"
    )
    if found.longest_bytes:
        lines.append(f"  the longest row has {found.longest_bytes:,} bytes of messages")
    times = report.timestamps
    if times["min"]:
        lines.append(f"  times from {times['min']} to {times['max']}")
        lines.append(f"  {times['within_72h']:,} events are newer than 72 hours")
    for bucket in ("rejected", "held"):
        if rows[bucket]:
            lines.append(f"  {bucket} {rows[bucket]:,}:")
    for cause in sorted(found.causes.values(), key=lambda c: -c.count):
        lines.append(
            f"    {cause.count:>9,} × {cause.code}{' in ' + cause.column if cause.column else ''}"
        )
        lines += [f"      {s['file']}:{s['row']}: {s['reason']}" for s in cause.samples]
    for (column, what), count in found.notes.items():
        lines.append(f"  note: {column}: {count:,} {what}")
    if not rows["rejected"] and not rows["held"]:
        lines.append("  no row would be rejected or held")
    return "\n".join(lines)


def _time(plan: Plan, found: Survey, rate: float | str | None) -> str:
    given = plan.job.mapping.document.delivery.rate if rate is None else rate
    if isinstance(given, str) or not found.batches:
        return ""
    seconds = found.batches / given
    if seconds < 60:  # noqa: PLR2004  a minute
        return f", about {max(seconds, 1):.0f} s at {given:g} requests/s"
    return f", about {seconds / 60:,.0f} min at {given:g} requests/s"
