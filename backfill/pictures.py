"""The pictures of a report as inline SVG. The only room that knows matplotlib, loaded when asked.

The same figures give the same bytes. Colours are names that the page's style sheet fills in, so
that one picture does for light, dark and print. Its only words are those of its axes: what else
is to be said stands below it as text of the page, which a narrow window breaks and does not shrink.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backfill.chronicle import SHADES
from backfill.report import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from backfill.chronicle import Chronicle
    from backfill.history import Course
    from backfill.report import Report

INK: Final = "#010101"
LINE: Final = "#020202"
WARN: Final = "#030303"
STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["sans-serif"],
    "font.size": 10,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "patch.linewidth": 0,
}
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WIDTH_IN: Final = 9.4


def series(at: int) -> str:
    """Return the colour of a series, which the page calls `--s1` and so on."""
    return f"#0a0b{at + 1:02x}"


def shade(at: int) -> str:
    """Return the colour of a day in the calendar, `--d0` for none."""
    return f"#0a0c{at:02x}"


class Painter:
    """Draws one picture after the other. Raises ImportError without matplotlib."""

    def __init__(self) -> None:
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # stderr is for our own words
        import matplotlib as mpl  # noqa: PLC0415  a second of start-up, for a report alone
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415

        self._mpl, self._figure, self._canvas = mpl, Figure, FigureCanvasSVG

    def draw(self, name: str, height_in: float, paint: Callable[[Axes], None]) -> str:
        """Return a picture. name: its own on the page, which the parts are called after."""
        quiet = {"creator": None, "date": None, "format": None, "type": None}
        with (
            self._mpl.rc_context({**STYLE, "svg.hashsalt": name}),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # letters that its own font lacks; the browser's has
            figure = self._figure(figsize=(WIDTH_IN, height_in), layout="constrained")
            canvas = self._canvas(figure)
            axes = figure.add_subplot()
            paint(axes)
            out = io.BytesIO()
            metadata = {key.title(): value for key, value in quiet.items()}
            canvas.print_svg(out, metadata=metadata)
        return inlined(out.getvalue().decode(), name)


def inlined(svg: str, name: str) -> str:
    """Make a file of an SVG a part of a page: no address, names of its own, colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box, "matplotlib gives each picture a box"
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', rest)
    rest = rest.replace("url(#", f"url(#{name}-")
    rest = re.sub(r"#0a0b([0-9a-f]{2})", lambda m: f"var(--s{int(m[1], 16)})", rest)
    rest = re.sub(r"#0a0c([0-9a-f]{2})", lambda m: f"var(--d{int(m[1], 16)})", rest)
    for colour, known in ((INK, "ink"), (LINE, "line"), (WARN, "warn")):
        rest = rest.replace(colour, f"var(--{known})")
    return f'<svg {box[0]} role="img" aria-labelledby="{name}-title">{rest}'


def pictures_of(report: Report, chronicle: Chronicle, course: Course | None) -> dict[str, str]:
    """Return the pictures by name; those that have nothing to show are left out."""
    painter = Painter()
    found = {}
    if report.rows["read"]:
        found["books"] = painter.draw("books", 0.4, lambda axes: _books(axes, report.rows))
    if chronicle.starts:
        found["events"] = painter.draw("events", 3.2, lambda axes: _events(axes, chronicle))
    if chronicle.calendar:
        years = len(chronicle.calendar)
        height = 0.3 + 1.05 * years
        found["days"] = painter.draw("days", height, lambda axes: _calendar(axes, chronicle))
    if course is not None:
        found["speed"] = painter.draw("speed", 2.4, lambda axes: _speed(axes, course))
    return found


COLOURS: Final = {name: series(at) for at, name in enumerate(ROWS)}


def _books(axes: Axes, rows: dict[str, int]) -> None:
    left = 0
    for name in ROWS:
        if rows[name]:
            axes.barh([0], [rows[name]], left=left, height=1, color=COLOURS[name])
            left += rows[name]
    axes.set_xlim(0, rows["read"])
    axes.set_ylim(-0.5, 0.5)
    axes.set_axis_off()  # the table below it has the figures, and the colours beside them


def _grouped(number: float, _at: object = None) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"


def _events(axes: Axes, chronicle: Chronicle) -> None:
    """Bars of days (or longer), one name on the other."""
    starts = np.array(chronicle.starts, float)
    bottom = np.zeros(len(starts))
    for at, (_, counts) in enumerate(chronicle.series):
        heights = np.array(counts, float)
        left, right = starts, starts + chronicle.bar_days
        corners = [(left, bottom), (right, bottom), (right, bottom + heights)]
        corners += [(left, bottom + heights), (left, bottom)]
        shapes = np.array(corners).transpose(2, 0, 1)[heights > 0]
        _fill(axes, list(shapes), facecolor=series(at))
        bottom += heights
    axes.set_xlim(starts[0], starts[-1] + chronicle.bar_days)
    axes.set_ylim(0, 1.05 * max(bottom.max(), 1))
    axes.xaxis_date()
    _dates(axes)
    axes.yaxis.set_major_formatter(_grouped)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)


def _fill(axes: Axes, shapes: list[Any], **how: Any) -> None:
    """Draw rectangles as one shape: thousands of them cost no more than a few. shapes: 5 x 2."""
    from matplotlib.patches import PathPatch  # noqa: PLC0415
    from matplotlib.path import Path  # noqa: PLC0415

    if shapes:
        codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY]
        path = Path(np.concatenate(shapes), codes * len(shapes))
        patch = axes.add_artist(PathPatch(path, edgecolor="none", **how))
        # the limits are set by hand: to find them in thousands of lines takes half of the drawing
        patch.set_in_layout(False)


def _dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator(minticks=3, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _calendar(axes: Axes, chronicle: Chronicle) -> None:
    """A square a day, a column a week, a band a year: a hole or a spike of one day is seen."""
    corners = np.array([(0.08, 0.08), (0.92, 0.08), (0.92, 0.92), (0.08, 0.92), (0.08, 0.08)])
    squares: list[list[Any]] = [[] for _ in range(SHADES + 1)]
    for band, year in enumerate(chronicle.calendar):
        for week, weekday, level in year.squares:
            squares[level].append(np.add(corners, (week, band * 8.5 + weekday)))
    for level, mine in enumerate(squares):
        _fill(axes, mine, facecolor=shade(level))
    years = chronicle.calendar
    axes.set_yticks([band * 8.5 + 3.5 for band in range(len(years))])
    axes.set_yticklabels([str(year.year) for year in years])
    axes.set_xticks([4.345 * month + 2 for month in range(12)])
    axes.set_xticklabels(MONTHS)
    axes.set_xlim(-0.5, 54)
    axes.set_ylim(len(years) * 8.5 - 1, -0.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _speed(axes: Axes, course: Course) -> None:
    """Rows a second from each moment to the next; where requests were sent again is marked."""
    axes.stairs(course.speeds, course.edges, fill=True, color=series(0))
    if len(course.retried):
        axes.plot(
            course.retried,
            np.zeros(len(course.retried)),
            marker="|",
            linestyle="none",
            color=WARN,
            markersize=9,
            clip_on=False,
        )
    axes.set_xlim(0, max(course.edges[-1], 1e-9))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_grouped)
    axes.xaxis.set_major_formatter(_grouped)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
