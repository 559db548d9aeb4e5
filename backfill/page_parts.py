"""What `report.html` is put together from: text, tables, pictures. Values → HTML; no file."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Head(NamedTuple):
    """What stands above a column."""

    words: str
    is_number: bool = False
    """It stands at the right and is never broken."""
    is_bar: bool = False
    """It draws what the column before it says: seen only, and only where there is room."""


BAR: Final = Head("", is_bar=True)


def text(value: object) -> str:
    """Escape; what is no character of a page (a control, half a pair) is shown as a mark."""
    clean = "".join(c if c.isprintable() or c in " \n" else "�" for c in str(value))
    return html.escape(clean, quote=True)


def section(name: str, title: str, parts: Iterable[str]) -> list[str]:
    """Return a part of the page that a link can name. name: one word of ours."""
    head = f'<section id="{name}" aria-labelledby="{name}-head"><h2 id="{name}-head">'
    return [f"{head}{text(title)}</h2>", *parts, "</section>"]


def table(title: str, heads: Sequence[Head], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. rows: of HTML, the first cell names the row.

    title: for those who hear the page.
    """
    made = [f'<div class="wide"><table><caption class="away">{text(title)}</caption><thead><tr>']
    for head in heads:
        kind = ' class="n"' if head.is_number else ""
        made.append(
            '<td class="deco"></td>'
            if head.is_bar
            else f'<th scope="col"{kind}>{text(head.words)}</th>'
        )
    made.append("</tr></thead><tbody>")
    for row in rows:
        made.append("<tr>")
        for at, (head, cell) in enumerate(zip(heads, row, strict=True)):
            kind = ' class="deco"' if head.is_bar else ' class="n"' if head.is_number else ""
            made.append(
                f'<th scope="row"{kind}>{cell}</th>' if not at else f"<td{kind}>{cell}</td>"
            )
        made.append("</tr>")
    return "".join([*made, "</tbody></table></div>"])


def bar(count: int, most: int) -> str:
    """Return a bar of a table."""
    share = 100 * min(count / max(most, 1), 1)
    return f'<span class="bar"><span style="width:{share:.1f}%"></span></span>'


def picture(name: str, svg: str | None, title: str, words: Sequence[str]) -> list[str]:
    """Return a picture with its words below it. words: of HTML; svg: none where none was drawn."""
    if svg is None:
        return []
    head, rest = svg.split(">", 1)
    told = f'<title id="{name}-title">{text(title)}</title>'
    below = f"<figcaption>{' '.join(words)}</figcaption>" if words else ""
    return [f'<figure class="{name}">{head}>{told}{rest}{below}</figure>']


def key(colour: str, words: str) -> str:
    """Return what a colour stands for. colour: a class of the style sheet."""
    return f'<span class="of"><i class="key {colour}"></i>{text(words)}</span>'
