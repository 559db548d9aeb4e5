"""`report.html`: a run on one page that opens anywhere, offline. Values → text; no file.

Whatever comes from a source or a destination is escaped; the page loads nothing and runs nothing.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from backfill.chronicle import Chronicle
from backfill.codes import Code, fix_of
from backfill.errors import MEANINGS, ExitCode
from backfill.history import History
from backfill.page_style import POLICY, STYLE
from backfill.report import ROWS, counted, sized
from backfill.spec import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backfill.figures import Figures
    from backfill.report import Report

NAMES_SHOWN: Final = 60
TRAITS_SHOWN: Final = 200

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
    pictures: dict[str, str] = field(default_factory=dict)
    """SVG by name."""
    samples: str = "masked"
    words: list[str] = field(default_factory=list)
    """What a reader should know about the page: pictures that are missing, rows not covered."""


def page_of(scene: Scene) -> str:
    """Return the page."""
    report = scene.report
    title = f"{report.stream} – {report.run_id}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main>",
        *_head(scene),
        *_next(report),
        *_books(scene),
        *_events(scene),
        *_speed(scene),
        *_causes(scene),
        *_traits(scene),
        *_longest(scene),
        *_files(report),
        f"<footer>{_foot(scene)}</footer></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _text(value: object) -> str:
    """Escape; what is no character of a page (a control, half a pair) is shown as a mark."""
    clean = "".join(c if c.isprintable() or c in " \n" else "�" for c in str(value))
    return html.escape(clean, quote=True)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return a table. rows: of HTML; numbers: the columns that stand at the right."""
    found = list(rows)
    made = ['<div class="wide"><table><thead><tr>']
    kinds = [' class="n"' if at in numbers else "" for at in range(len(heads))]
    made += [
        f'<th scope="col"{kind}>{_text(head)}</th>' for head, kind in zip(heads, kinds, strict=True)
    ]
    made.append("</tr></thead><tbody>")
    for row in found:
        cells = [f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)]
        made.append(f"<tr>{''.join(cells)}</tr>")
    return "".join([*made, "</tbody></table></div>"])


def _picture(scene: Scene, name: str, title: str) -> list[str]:
    svg = scene.pictures.get(name)
    if svg is None:
        return []
    head, rest = svg.split(">", 1)
    told = f'<title id="{name}-title">{_text(title)}</title>'
    return [f'<figure class="{name}">{head}>{told}{rest}</figure>']


def _head(scene: Scene) -> list[str]:
    report = scene.report
    state = "good" if report.exit_code == 0 else "look" if report.exit_code == 3 else "bad"  # noqa: PLR2004
    meaning = MEANINGS[ExitCode(int(report.exit_code))]
    made = [
        f"<header><h1>{_text(report.stream)}</h1>",
        f'<p class="state {state}"><b>exit {int(report.exit_code)}</b> {_text(meaning)}</p>',
        f"<p>to <b>{_text(report.destination)}</b>, {_text(_span(report))}</p>",
        f"<p>run <code>{_text(report.run_id)}</code></p>",
    ]
    if report.error:
        error = report.error
        where = f"{error['where']}: " if error["where"] else ""
        told = f"{where}{error['what']}"
        made.append(f'<p class="error">{_text(told)}<br>fix: {_text(error["fix"])}</p>')
    starts, cuts = len(scene.history.starts_s), scene.history.cuts
    if starts > 1:
        told = f"It was resumed {counted(starts - 1, 'time')}"
        told += f", after {counted(cuts, 'cut')} without a word" if cuts > 0 else ""
        made.append(f"<p>{_text(told)}; this page shows the whole run.</p>")
    made += [f'<p class="note">{_text(words)}</p>' for words in scene.words]
    return [*made, "</header>"]


def _span(report: Report) -> str:
    try:
        begin, end = map(datetime.fromisoformat, (report.started_at, report.finished_at))
    except ValueError:
        return f"{report.started_at} to {report.finished_at}"
    took_s = int((end - begin).total_seconds())
    hours, rest = divmod(max(took_s, 0), 3600)
    minutes, seconds = divmod(rest, 60)
    took = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    return f"{report.started_at} to {report.finished_at} ({took if took_s > 59 else f'{took_s} s'})"  # noqa: PLR2004


def _next(report: Report) -> list[str]:
    made = ['<section><h2>What to do next</h2><ol class="next">']
    for why, command in report.next_steps:
        shown = f"<pre><code>{_text(command)}</code></pre>" if command else ""
        made.append(f"<li>{_text(why)}{shown}</li>")
    return [*made, "</ol></section>"] if report.next_steps else []


def _books(scene: Scene) -> list[str]:
    rows = scene.report.rows
    total = max(rows["read"], 1)
    lines = [
        (
            f'<i class="key {name}"></i>{name}',
            f"{rows[name]:,}",
            f"{100 * rows[name] / total:.1f} %",
            _text(MEANT[name]),
        )
        for name in ROWS
    ]
    told = " + ".join(f"{rows[name]:,}" for name in ROWS)
    is_even = sum(rows[name] for name in ROWS) == rows["read"]
    sign = "=" if is_even else "≠"
    return [
        "<section><h2>The books</h2>",
        *_picture(scene, "books", f"{rows['read']:,} rows read, by what became of them"),
        _table(("rows", "count", "share", "meaning"), lines, (1, 2)),
        f'<p class="sum">{rows["read"]:,} read {sign} {told}</p></section>',
    ]


def _events(scene: Scene) -> list[str]:
    chronicle = scene.chronicle
    if not chronicle.names:
        return []
    made = ["<section><h2>Messages over time</h2>"]
    if chronicle.starts:
        made.append("<p>Delivered messages by the time they carry, not by the time of sending.</p>")
    made += _picture(scene, "events", f"messages a {chronicle.bar_name}, by name")
    made += _picture(scene, "days", "messages of each day; darker is more")
    if chronicle.outstanding:
        made.append("<h3>Days that stand out</h3>")
        lines = [
            (
                _text(one.first if one.days == 1 else f"{one.first} to {one.last}"),
                "hole" if one.is_hole else "spike",
                f"{one.events:,}",
                f"{one.usual:,} a day",
            )
            for one in chronicle.outstanding
        ]
        made.append(_table(("day", "", "messages", "usual around it"), lines, (2, 3)))
    most = max(count for _, count, _, _ in chronicle.names)
    shown = [
        (_text(name), f"{count:,}", _bar(count, most), _text(first or "–"), _text(last or "–"))
        for name, count, first, last in chronicle.names[:NAMES_SHOWN]
    ]
    made.append(_table(("name", "messages", "", "first day", "last day"), shown, (1, 3, 4)))
    if (more := len(chronicle.names) - NAMES_SHOWN) > 0:
        made.append(f"<p>and {counted(more, 'name')} with fewer messages</p>")
    return [*made, "</section>"]


def _bar(count: int, most: int) -> str:
    return f'<span class="bar"><span style="width:{100 * count / max(most, 1):.1f}%"></span></span>'


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
        (f"sent again: {_text(reason)}", f"{count:,}")
        for reason, count in sorted(history.retries.items(), key=lambda item: -item[1])
    ]
    busy_s = sum(figures.width_s for _ in figures.moments)
    rows = sum(done[0] for done in figures.moments.values())
    speed = f", {rows / busy_s:,.0f} rows a second while it worked" if busy_s > 1 else ""
    told = f"{counted(requests['sent'], 'request')}, {sized(requests['bytes'])}{speed}"
    return [
        "<section><h2>Throughput and answers</h2>",
        *_picture(scene, "speed", "rows a second over the run"),
        f"<p>{_text(told)}.</p>",
        _table(("answer", "requests"), lines, (1,)),
        "</section>",
    ]


def _causes(scene: Scene) -> list[str]:
    causes = scene.figures.causes
    if not causes:
        return []
    made = ["<section><h2>Rows that were not sent</h2>"]
    order = sorted(causes.items(), key=lambda item: (-item[1]["count"], item[0]))
    for (bucket, code, column), one in order[:NAMES_SHOWN]:
        at = f" in <code>{_text(column)}</code>" if column else ""
        made.append(f"<h3>{one['count']:,} × <code>{_text(code)}</code>{at} ({bucket})</h3>")
        made.append(f"<p>fix: {_text(fix_of(Code(code)))}</p><ul>")
        made += [
            f"<li><code>{_text(file)}:{row}</code> {_text(reason)}</li>"
            for file, row, reason in one["samples"]
        ]
        made.append("</ul>")
    paths = [path for path in (scene.report.rejects_path, scene.report.held_path) if path]
    made += [f"<p>with their cells: <code>{_text(path)}</code></p>" for path in paths]
    return [*made, "</section>"]


def _traits(scene: Scene) -> list[str]:
    traits = scene.figures.traits
    if not traits:
        return []
    totals: dict[str, int] = {}
    for name, count in scene.figures.by_name().items():
        totals[name.kind] = totals.get(name.kind, 0) + count
    made = ["<section><h2>Trait coverage</h2>"]
    for kind in sorted({kind for kind, _ in traits}):
        total = totals.get(kind, 0)
        made.append(f"<p>of {counted(total, f'{kind} message')} that were delivered</p>")
        mine = [(name, count) for (of, name), count in traits.items() if of == kind]
        mine.sort(key=lambda item: (-item[1], item[0]))
        lines = [
            (
                _text(name),
                f"{count:,}",
                f"{100 * count / max(total, 1):.1f} %",
                _bar(count, total),
            )
            for name, count in mine[:TRAITS_SHOWN]
        ]
        made.append(_table(("trait", "messages", "share", ""), lines, (1, 2)))
    return [*made, "</section>"]


def _longest(scene: Scene) -> list[str]:
    longest = scene.figures.longest
    if not longest:
        return []
    lines = [
        (f"{size:,}", _bar(size, LIMITS.message), f"<code>{_text(file)}:{row}</code>")
        for size, file, row in longest
    ]
    return [
        "<section><h2>The longest messages</h2>",
        f"<p>The API takes {LIMITS.message:,} bytes a message.</p>",
        _table(("bytes", "of the limit", "row"), lines, (0,)),
        "</section>",
    ]


def _files(report: Report) -> list[str]:
    lines = [(_text(one["path"]), f"{one['rows']:,}") for one in report.files[:NAMES_SHOWN]]
    made = ["<section><h2>Files</h2>", _table(("file", "rows"), lines, (1,))]
    if (more := len(report.files) - NAMES_SHOWN) > 0:
        made.append(f"<p>and {counted(more, 'file')} more, in report.json</p>")
    return [*made, "</section>"]


CELLS: Final[dict[str, Any]] = {
    "none": "No cell of the source is on this page (--samples none).",
    "masked": (
        "Cells are masked: a…(17) is a text of 17 characters that begins with a"
        " (--samples full shows them)."
    ),
    "full": "This page shows cells of the source (--samples full): pass it on with care.",
}


def _foot(scene: Scene) -> str:
    return _text(f"backfill. {CELLS[scene.samples]}")
