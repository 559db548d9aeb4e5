"""Pictures for the README and docs/ as SVG: the same figures, the same bytes. By matplotlib."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figures import Figures

OURS, FLOOR, PEER = "#1b7f79", "#b7bfc7", "#8a5a9e"
INK = "#76808a"
"""Readable on a light page and on a dark one."""
STYLE = {
    "svg.fonttype": "none",  # text stays text: small, and as the page's fonts are
    "svg.hashsalt": "backfill",  # else the ids inside are random
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure and its axes; no display and no global state is touched."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is made

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    """Return a picture that says what it shows, and names no address but those of its form."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", text.getvalue(), flags=re.DOTALL)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace(
        "xlink:href", "href"
    )
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    said = f'{head} role="img" aria-labelledby="title">\n <title id="title">{title}</title>{rest}'
    return "\n".join(line.rstrip() for line in said.splitlines()) + "\n"


def bars(contest: Figures) -> str:
    """Draw messages a second of everyone in the contest, on a log scale, the fastest on top."""
    import matplotlib as mpl  # noqa: PLC0415

    found = sorted(contest["entrants"].items(), key=lambda item: item[1]["messages_per_s"])
    titles = [one["title"] for _, one in found]
    values = [one["messages_per_s"] for _, one in found]
    colors = [_color(name) for name, _ in found]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9, 0.6 + 0.32 * len(found))
        drawn = axes.barh(titles, values, color=colors, height=0.7)
        axes.bar_label(drawn, [f"{value:,.0f}" for value in map(_rounded, values)], padding=4)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 4)
        axes.set_xlabel("messages a second, log scale")
        axes.tick_params(axis="y", length=0)
        return _svg(figure, "Messages a second of backfill, its floor and its peers")


def _color(name: str) -> str:
    if name.endswith("floor"):
        return FLOOR
    return OURS if name.partition(" ")[0] in {"csv", "parquet"} else PEER


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def lines(growth: Figures) -> str:
    """Draw time and peak memory against rows, both on log scales; a straight line is linear."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import NullFormatter  # noqa: PLC0415

    sizes = growth["sizes"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        time, memory = figure.subplots(1, 2)
        pairs = zip(growth["entrants"].values(), (OURS, PEER), ("o", "s"), strict=True)
        for one, color, marker in pairs:
            label = f"{one['title']}, exponent {one['exponent']:.3f}"
            seconds = [found["median"] for found in one["seconds"]]
            peaks = [found["median"] for found in one["peak_mb"]]
            time.plot(sizes, seconds, color=color, marker=marker, label=label)
            memory.plot(sizes, peaks, color=color, marker=marker, label=one["title"])
        time.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds after start-up")
        memory.set(xscale="log", xlabel="rows", ylabel="peak memory, MB")
        memory.set_ylim(0, 300)
        for axes in (time, memory):
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_minor_formatter(NullFormatter())  # the decades say enough
            axes.legend(frameon=False)
        return _svg(figure, "Time after start-up and peak memory against rows")
