"""What `check` has found, as text for people and as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from backfill.report import counted, sized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.folder import Folder
    from backfill.plan import Plan
    from backfill.report import Report
    from backfill.survey import Cause, Survey

NAMES_SHOWN: Final = 20
MINUTE_S: Final = 60
HOUR_S: Final = 3600


def stream_json(plan: Plan, found: Survey, report: Report, rate: float | None) -> dict[str, Any]:
    """Return what is found of one stream."""
    return {
        **report.to_json(),
        "would_send": {
            "messages": found.counts.built,
            "by_type": found.by_type,
            "requests": found.batches,
            "bytes": found.body_bytes,
            "seconds": found.batches / rate if rate else None,
            "longest_message_bytes": found.longest_bytes,
            "longest_message": found.longest_at or None,
        },
        "recent_events": _recent_json(plan, found, rate),
        "starred": [
            {"at": place, "members": members} for place, members in starred(plan) if members
        ],
        "notes": [
            {"column": column, "what": what, "count": count}
            for (column, what), count in found.notes.items()
        ],
        "causes": [vars(cause) for cause in _by_count(found)],
    }


def _recent_json(plan: Plan, found: Survey, rate: float | None) -> dict[str, Any]:
    recent = found.recent
    assert recent is not None
    return {
        "guard": plan.job.rules.recent_events or "undeclared",
        "rate": rate,
        "at_start": recent.all.at_start,
        "when_sent": recent.all.when_sent,
        "by_event": [
            {"event": name, "at_start": seen.at_start, "when_sent": seen.when_sent}
            for name, seen in recent.by_name()
        ],
        "ahead": recent.ahead._asdict(),
    }


def starred(plan: Plan) -> list[tuple[str, dict[str, str]]]:
    """Return for each `"*"` its place and which column became which member."""
    mapping = plan.job.mapping
    return [(str(mapping.star_places[path]), members) for path, members in mapping.taken()]


def _by_count(found: Survey) -> list[Cause]:
    return sorted(found.causes.values(), key=lambda cause: -cause.count)


def stream_text(plan: Plan, found: Survey, report: Report, rate: float | None) -> str:
    """Return what is found of one stream."""
    rows = report.rows
    lines = [f"{report.stream}: {counted(rows['read'], 'row')} read", *_sizes_text(found, rate)]
    lines += [f"  {place}: {_star_text(members)}" for place, members in starred(plan)]
    if rows["filtered"]:
        lines.append(f"  filtered {rows['filtered']:,}: `where` or `when` leaves them out")
    if report.timestamps["min"]:
        lines.append(f"  times from {report.timestamps['min']} to {report.timestamps['max']}")
    lines += _recent_text(plan, found, rate)
    for bucket in ("rejected", "held"):
        causes = [cause for cause in _by_count(found) if cause.bucket == bucket]
        lines += _causes_text(bucket, rows[bucket], causes)
    lines += [
        f"  note: {column}: {count:,} {what}" for (column, what), count in found.notes.items()
    ]
    if not rows["rejected"] and not rows["held"]:
        lines.append("  no row would be rejected or held")
    return "\n".join(lines)


def _sizes_text(found: Survey, rate: float | None) -> list[str]:
    messages, requests = counted(found.counts.built, "message"), counted(found.batches, "request")
    size, time = sized(found.body_bytes), _time(found.batches, rate)
    lines = [f"  would send {messages} in {requests}, {size}{time}"]
    if len(found.by_type) > 1:
        told = ", ".join(f"{count:,} {name}" for name, count in found.by_type.items())
        lines.append(f"    {told}")
    if found.longest_bytes:
        at = f"{found.longest_at['file']}:{found.longest_at['row']}"
        lines.append(f"  the longest message has {found.longest_bytes:,} bytes: {at}")
    return lines


def _time(requests: int, rate: float | None) -> str:
    if not rate or not requests:
        return ""
    return f", about {_long(requests / rate)} at {rate:g} requests/s"


def _long(seconds: float) -> str:
    if seconds < MINUTE_S:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:,.0f} min"
    return f"{seconds / HOUR_S:,.1f} h"


def total_json(streams: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of what all streams would send; they go one after the other."""
    each = [stream["would_send"] for stream in streams]
    by_type: dict[str, int] = {}
    for one in each:
        for name, count in one["by_type"].items():
            by_type[name] = by_type.get(name, 0) + count
    times = [one["seconds"] for one in each]
    sums = {name: sum(one[name] for one in each) for name in ("messages", "requests", "bytes")}
    return {**sums, "by_type": by_type, "seconds": None if None in times else sum(times)}


def total_text(total: dict[str, Any]) -> str:
    """Return the sum of what all streams would send."""
    messages, requests = (
        counted(total["messages"], "message"),
        counted(total["requests"], "request"),
    )
    seconds = total["seconds"]
    time = f", about {_long(seconds)}" if seconds else ""
    told = ", ".join(f"{count:,} {name}" for name, count in total["by_type"].items())
    types = f": {told}" if told else ""
    return f"in all: {messages} in {requests}, {sized(total['bytes'])}{time}{types}"


def _star_text(members: dict[str, str]) -> str:
    told = [
        column if column == member else f"{column} → {member}" for member, column in members.items()
    ]
    more = f" and {len(told) - NAMES_SHOWN:,} more" if len(told) > NAMES_SHOWN else ""
    names = f": {', '.join(told[:NAMES_SHOWN])}{more}" if told else ""
    return f"'*' takes {counted(len(told), 'column')}{names}"


def _causes_text(bucket: str, count: int, causes: Sequence[Cause]) -> list[str]:
    lines = [f"  {bucket} {count:,}:"] if count else []
    for cause in causes:
        at = f" in {cause.column}" if cause.column else ""
        lines.append(f"    {cause.count:>9,} × {cause.code}{at}")
        lines += [f"      {s['file']}:{s['row']}: {s['reason']}" for s in cause.samples]
        lines.append(f"      fix: {cause.fix}")
    return lines


GUARDED: Final = {
    None: "held: nothing is declared; decide with guards: {recent_events: send} or hold",
    "hold": "held, as guards: {recent_events: hold} says",
    "send": "sent, as guards: {recent_events: send} says",
}


def _recent_text(plan: Plan, found: Survey, rate: float | None) -> list[str]:
    """Return the lines about events that could start campaigns, and what the guard does."""
    recent = found.recent
    assert recent is not None
    if not recent.all.at_start:
        return []
    start, sent = recent.all
    differs = start != sent and rate is not None
    lines = [f"  {counted(start, 'event')} newer than 72 hours, which can start campaigns"]
    if differs:
        lines[0] += f" at the start, {sent:,} when sent at {rate:g} requests/s"
    names = recent.by_name()
    for name, seen in names[:NAMES_SHOWN]:
        later = f" ({seen.when_sent:,} when sent)" if differs else ""
        lines.append(f"    {seen.at_start:>9,} × {name}{later}")
    if len(names) > NAMES_SHOWN:
        rest = sum(seen.at_start for _, seen in names[NAMES_SHOWN:])
        lines.append(f"    {rest:>9,} × {counted(len(names) - NAMES_SHOWN, 'other name')}")
    if recent.ahead.at_start:
        ahead = f"    {recent.ahead.at_start:,} of them lie in the future"
        later = f" at the start, {recent.ahead.when_sent:,} when sent"
        lines.append(ahead + (later if recent.ahead.at_start != recent.ahead.when_sent else ""))
    return [*lines, f"    they would be {GUARDED[plan.job.rules.recent_events]}"]


def people_json(folder: Folder, why_not: str) -> dict[str, Any]:
    """Return what is found over all streams. why_not: why events of nobody were not looked for."""
    people = folder.people
    found: dict[str, Any] = {"identify_messages": people.messages}
    clashes = {
        "ids_with_several_emails": people.ids_with_emails(),
        "emails_with_several_ids": people.emails_with_ids(),
    }
    strangers = [] if why_not else people.strangers()
    places = [p for one in clashes.values() for sample in one.samples for p in sample]
    told = folder.told(places + [place for one in strangers for place in one.samples])
    for name, clash in clashes.items():
        samples = [[told[p] for p in sample if p in told] for sample in clash.samples]
        found[name] = {"count": clash.count, "samples": samples}
    found["events_of_nobody"] = {
        "is_looked_for": not why_not,
        "why_not": why_not or None,
        "events": sum(one.events for one in strangers),
        "streams": [
            {
                "stream": one.stream,
                "events": one.events,
                "people": one.people,
                "samples": [told[place] for place in one.samples if place in told],
            }
            for one in strangers
        ],
    }
    return found


def people_text(found: dict[str, Any], *, has_events: bool) -> str:
    """Return what is found over all streams, or nothing where there is nothing to say."""
    lines: list[str] = []
    names = (
        ("ids_with_several_emails", "id", "several emails"),
        ("emails_with_several_ids", "email", "several ids"),
    )
    for key, noun, what in names:
        clash = found[key]
        if clash["count"]:
            verb = "has" if clash["count"] == 1 else "have"
            lines.append(f"  {counted(clash['count'], noun)} {verb} {what}")
            for sample in clash["samples"]:
                lines.append("    " + ", ".join(_person(told) for told in sample))
    strange = found["events_of_nobody"]
    if strange["why_not"] and has_events:
        lines.append(
            f"  events of people whom no identify creates: not looked for, {strange['why_not']}"
        )
    elif strange["events"]:
        lines.append(f"  {counted(strange['events'], 'event')} of people whom no identify creates")
        for one in strange["streams"]:
            people = "1 person" if one["people"] == 1 else f"{one['people']:,} people"
            lines.append(f"    {one['stream']}: {counted(one['events'], 'event')} of {people}")
            lines += [f"      {_person(told)}" for told in one["samples"]]
    return "\n".join(["people:", *lines]) if lines else ""


def _person(told: dict[str, Any]) -> str:
    email = f" {told['email']}" if "email" in told else ""
    return f"{told['file']}:{told['row']}: {told['userId']!r}{email}"
