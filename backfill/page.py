"""`report.html`: a run on one page that opens anywhere, offline. Values → text; no file.

Whatever comes from a source or a destination is escaped; the page loads nothing and runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from backfill.chronicle import Chronicle
from backfill.codes import Code, fix_of
from backfill.errors import MEANINGS, ExitCode
from backfill.history import Course, History
from backfill.page_parts import BAR, Head, bar, key, picture, section, table, text
from backfill.page_style import POLICY, STYLE
from backfill.report import ROWS, counted, sized
from backfill.spec import LIMITS

if TYPE_CHECKING:
    from backfill.chronicle import Outstanding
    from backfill.figures import Figures
    from backfill.report import Report

NAMES_SHOWN: Final = 60
TRAITS_SHOWN: Final = 200
SHADES: Final = ("none", "under half", "less", "as usual", "more", "over 4 times")
"""Of the days in the calendar, beside a usual day: the steps are those of `chronicle`."""

MEANT: Final = {
    "delivered": "acknowledged by the destination",
    "filtered": "left out by where: or when:",
    "held": "newer than 72 hours: they could start campaigns",
    "rejected": "not sent; in the rejects file with the reason",
    "unchanged": "delivered before, as they are",
    "pending": "not settled yet; the same command sends them",
}


@dataclass
class Scene:
    """All that a page is made of."""

    report: Report
    figures: Figures
    chronicle: Chronicle = field(default_factory=Chronicle)
    history: History = field(default_factory=History)
    course: Course | None = None
    """None for a run that was too short to show one."""
    pictures: dict[str, str] = field(default_factory=dict)
    """SVG by name."""
    samples: str = "masked"
    words: list[str] = field(default_factory=list)
    """What a reader should know about the page: pictures that are missing, rows not covered."""


def page_of(scene: Scene) -> str:
    """Return the page."""
    report = scene.report
    title = f"{report.stream} – {report.run_id}"
    sections = {
        "next": ("What to do next", _next(report)),
        "books": ("The books", _books(scene)),
        "time": ("Messages over time", _events(scene)),
        "answers": ("Throughput and answers", _speed(scene)),
        "causes": ("Rows that were not sent", _causes(scene)),
        "traits": ("Trait coverage", _traits(scene)),
        "longest": ("The longest messages", _longest(scene)),
        "files": ("Files", _files(report)),
    }
    shown = {name: one for name, one in sections.items() if one[1]}
    links = [f'<li><a href="#{name}">{text(words)}</a></li>' for name, (words, _) in shown.items()]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>",
        '<a class="skip" href="#main">Skip to the content</a>',
        *_head(scene),
        f'<nav aria-label="On this page"><ul>{"".join(links)}</ul></nav>',
        '<main id="main" tabindex="-1">',
        *(line for name, one in shown.items() for line in section(name, *one)),
        f"</main><footer><p>{_foot(scene)}</p></footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(scene: Scene) -> list[str]:
    report = scene.report
    state = "good" if report.exit_code == 0 else "look" if report.exit_code == 3 else "bad"  # noqa: PLR2004
    meaning = MEANINGS[ExitCode(int(report.exit_code))]
    made = [
        f"<header><h1>{text(report.stream)}</h1>",
        f'<p class="state {state}"><b>exit {int(report.exit_code)}</b> {text(meaning)}</p>',
        f"<p>to <b>{text(report.destination)}</b>, {text(_span(report))}</p>",
        f"<p>run <code>{text(report.run_id)}</code></p>",
    ]
    if report.error:
        error = report.error
        where = f"{error['where']}: " if error["where"] else ""
        told = f"{where}{error['what']}"
        made.append(f'<p class="error">{text(told)}<br>fix: {text(error["fix"])}</p>')
    starts, cuts = len(scene.history.starts_s), scene.history.cuts
    if starts > 1:
        often = "once" if starts == 2 else counted(starts - 1, "time")  # noqa: PLR2004
        told = f"It was resumed {often}"
        told += f", after {counted(cuts, 'cut')} without a word" if cuts > 0 else ""
        made.append(f"<p>{text(told)}; this page shows the whole run.</p>")
    made += [f'<p class="note">{text(words)}</p>' for words in scene.words]
    return [*made, "</header>"]


def _span(report: Report) -> str:
    """Return when it ran: `2026-01-31 08:00:00 to 08:00:17 UTC (17 s)`."""
    try:
        begin, end = map(datetime.fromisoformat, (report.started_at, report.finished_at))
    except ValueError:
        return f"{report.started_at} to {report.finished_at}"
    took_s = int((end - begin).total_seconds())
    hours, rest = divmod(max(took_s, 0), 3600)
    minutes, seconds = divmod(rest, 60)
    took = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    until = f"{end:%H:%M:%S}" if begin.date() == end.date() else f"{end:%Y-%m-%d %H:%M:%S}"
    return f"{begin:%Y-%m-%d %H:%M:%S} to {until} UTC ({took if took_s > 59 else f'{took_s} s'})"  # noqa: PLR2004


def _next(report: Report) -> list[str]:
    made = ['<ol class="next">']
    for why, command in report.next_steps:
        shown = f":<pre><code>{text(command)}</code></pre>" if command else ""
        made.append(f"<li>{text(why)}{shown}</li>")
    return [*made, "</ol>"] if report.next_steps else []


def _books(scene: Scene) -> list[str]:
    rows = scene.report.rows
    total = max(rows["read"], 1)
    lines = [
        (
            key(f"s{at}", name),
            f"{rows[name]:,}",
            f"{100 * rows[name] / total:.1f} %",
            text(MEANT[name]),
        )
        for at, name in enumerate(ROWS, 1)
    ]
    told = " + ".join(f"{rows[name]:,}" for name in ROWS)
    is_even = sum(rows[name] for name in ROWS) == rows["read"]
    sign = "=" if is_even else "≠"
    title = f"{counted(rows['read'], 'row')} read, by what became of them"
    heads = (Head("rows"), Head("count", is_number=True), Head("share", is_number=True))
    return [
        *picture("books", scene.pictures.get("books"), title, ()),
        table(title, (*heads, Head("meaning")), lines),
        f'<p class="sum">{rows["read"]:,} read {sign} {told}</p>',
    ]


def _events(scene: Scene) -> list[str]:
    chronicle = scene.chronicle
    if not chronicle.names:
        return []
    made = []
    if chronicle.starts:
        lead = "Delivered messages by the time they carry, not by the time of sending."
        made.append(f'<p class="lead">{lead}</p>')
    told = f"messages a {chronicle.bar_name}, by name"
    keys = [key(f"s{at}", name) for at, (name, _) in enumerate(chronicle.series, 1)]
    words = [f"{told[0].upper()}{told[1:]}:", *keys]
    made += picture("events", scene.pictures.get("events"), told, words)
    keys = [key(f"d{at}", shade) for at, shade in enumerate(SHADES)]
    told = "messages of each day, beside a usual day"
    words = ["A square a day, beside a usual day:", *keys]
    made += picture("days", scene.pictures.get("days"), told, words)
    if chronicle.outstanding:
        made += ["<h3>Days that stand out</h3>", _outstanding(chronicle)]
    most = max(count for _, count, _, _ in chronicle.names)
    shown = [
        (text(name), f"{count:,}", bar(count, most), text(first or "–"), text(last or "–"))
        for name, count, first, last in chronicle.names[:NAMES_SHOWN]
    ]
    heads = (Head("name"), Head("messages", is_number=True), BAR)
    ends = (Head("first day", is_number=True), Head("last day", is_number=True))
    made += ["<h3>By name</h3>", table("messages by name", (*heads, *ends), shown)]
    if (more := len(chronicle.names) - NAMES_SHOWN) > 0:
        made.append(f"<p>and {counted(more, 'more name')}</p>")
    return made


def _days(one: Outstanding) -> str:
    first, last = (f'<span class="day">{text(day)}</span>' for day in (one.first, one.last))
    return first if one.days == 1 else f"{first} to {last}"


def _outstanding(chronicle: Chronicle) -> str:
    lines = [
        (
            _days(one),
            "hole" if one.is_hole else "spike",
            f"{one.events:,}",
            f"{one.usual:,}",
        )
        for one in chronicle.outstanding
    ]
    heads = (Head("day"), Head("what"), Head("messages", is_number=True))
    title = "days with far fewer or far more messages than those around them"
    return table(title, (*heads, Head("usual a day", is_number=True)), lines)


def _speed(scene: Scene) -> list[str]:
    report, figures, history = scene.report, scene.figures, scene.history
    requests = report.requests
    if not requests["sent"]:
        return []
    good = requests["sent"] - requests["retried"] - history.refused
    lines = [("taken (200)", f"{max(good, 0):,}")]
    if history.refused:
        lines.append(("refused, narrowed down to the row", f"{history.refused:,}"))
    lines += [
        (f"sent again: {text(reason)}", f"{count:,}")
        for reason, count in sorted(history.retries.items(), key=lambda item: -item[1])
    ]
    busy_s = sum(figures.width_s for _ in figures.moments)
    rows = sum(done[0] for done in figures.moments.values())
    speed = f", {rows / busy_s:,.0f} rows a second while it worked" if busy_s > 1 else ""
    told = f"{counted(requests['sent'], 'request')}, {sized(requests['bytes'])}{speed}"
    return [
        *picture("speed", scene.pictures.get("speed"), *_speed_words(scene)),
        f"<p>{text(told)}.</p>",
        table("requests by answer", (Head("answer"), Head("requests", is_number=True)), lines),
    ]


def _speed_words(scene: Scene) -> tuple[str, list[str]]:
    """Return the title of the picture, and what stands below it."""
    if scene.course is None:
        return "", []
    breaks = ", without the breaks" if len(scene.history.starts_s) > 1 else ""
    title = f"rows a second over the run, in {scene.course.unit}{breaks}"
    marks = [key("mark", "a request was sent again")] if len(scene.course.retried) else []
    return title, [f"{title[0].upper()}{title[1:]}.", *marks]


def _causes(scene: Scene) -> list[str]:
    causes = scene.figures.causes
    if not causes:
        return []
    made = []
    order = sorted(causes.items(), key=lambda item: (-item[1]["count"], item[0]))
    for (bucket, code, column), one in order[:NAMES_SHOWN]:
        at = f" in <code>{text(column)}</code>" if column else ""
        made.append('<div class="cause">')
        made.append(f"<h3>{one['count']:,} × <code>{text(code)}</code>{at} ({bucket})</h3>")
        made.append(f"<p>fix: {text(fix_of(Code(code)))}</p><ul>")
        made += [
            f"<li><code>{text(file)}:{row}</code> {text(reason)}</li>"
            for file, row, reason in one["samples"]
        ]
        made.append("</ul></div>")
    paths = [path for path in (scene.report.rejects_path, scene.report.held_path) if path]
    return made + [f"<p>with their cells: <code>{text(path)}</code></p>" for path in paths]


def _traits(scene: Scene) -> list[str]:
    traits = scene.figures.traits
    totals: dict[str, int] = {}
    for name, count in scene.figures.by_name().items():
        totals[name.kind] = totals.get(name.kind, 0) + count
    made = []
    heads = (Head("trait"), Head("messages", is_number=True), Head("share", is_number=True), BAR)
    for kind in sorted({kind for kind, _ in traits}):
        total = totals.get(kind, 0)
        title = f"of {counted(total, f'{kind} message')} that {_were(total)} delivered"
        mine = [(name, count) for (of, name), count in traits.items() if of == kind]
        mine.sort(key=lambda item: (-item[1], item[0]))
        lines = [
            (
                text(name),
                f"{count:,}",
                f"{100 * count / max(total, 1):.1f} %",
                bar(count, total),
            )
            for name, count in mine[:TRAITS_SHOWN]
        ]
        made += [f'<p class="lead">{text(title)}</p>', table(f"traits {title}", heads, lines)]
    return made


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _longest(scene: Scene) -> list[str]:
    longest = scene.figures.longest
    if not longest:
        return []
    lines = [
        (
            f"<code>{text(file)}:{row}</code>",
            f"{size:,}",
            f"{100 * size / LIMITS.message:.1f} %",
            bar(size, LIMITS.message),
        )
        for size, file, row in longest
    ]
    heads = (Head("row"), Head("bytes", is_number=True), Head("of the limit", is_number=True), BAR)
    return [
        f'<p class="lead">The API takes {LIMITS.message:,} bytes a message.</p>',
        table("the longest messages", heads, lines),
    ]


def _files(report: Report) -> list[str]:
    lines = [(text(one["path"]), f"{one['rows']:,}") for one in report.files[:NAMES_SHOWN]]
    made = [table("files", (Head("file"), Head("rows", is_number=True)), lines)]
    if (more := len(report.files) - NAMES_SHOWN) > 0:
        made.append(f"<p>and {counted(more, 'more file')}, in report.json</p>")
    return made


CELLS: Final[dict[str, Any]] = {
    "none": "No cell of the source is on this page (--samples none).",
    "masked": (
        "Cells are masked: a…(17) is a text of 17 characters that begins with a"
        " (--samples full shows them)."
    ),
    "full": "This page shows cells of the source (--samples full): pass it on with care.",
}


def _foot(scene: Scene) -> str:
    return text(f"backfill. {CELLS[scene.samples]}")
