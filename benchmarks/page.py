"""Markdown of figures: tables, spreads, targets with met or not met, and the setting."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from figures import Figures

VERSIONS = ("pyarrow", "pandas", "orjson", "requests", "customerio-cdp-analytics", "dlt")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table: the first column is text, the others are figures."""
    rule = ("---", *["---:"] * (len(head) - 1))
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def rounded(number: float) -> str:
    """Three digits are more than a shared machine can promise."""
    return f"{float(f'{number:.3g}'):,.0f}" if number >= 100 else f"{number:.3g}"


def spread_text(found: Figures) -> str:
    """Write a median with the smallest and the largest."""
    low, mid, high = (rounded(found[name]) for name in ("min", "median", "max"))
    return f"{mid} ({low}–{high})"


def target_rows(targets: Sequence[Figures], *, is_trial: bool) -> list[str]:
    """Return a table of targets; none where there are none. A trial judges nothing."""
    if not targets:
        return []
    rows = [
        (
            target["title"],
            f"{'≥' if target['is_least'] else '≤'} {target['limit']:g}{target['unit']}",
            (spread_text(target["spread"]) if target["spread"] else rounded(target["value"]))
            + target["unit"],
            "trial" if is_trial else "met" if target["is_met"] else "**not met**",
        )
        for target in targets
    ]
    return ["", *table(("target", "limit", "found", ""), rows)]


def setting() -> Figures:
    """Describe the machine and what is installed, for the JSON."""
    found = {name: _version(name) for name in VERSIONS}
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: version for name, version in found.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def setting_lines(figures: Figures) -> list[str]:
    """Say where and how noisily the figures of a part came about."""
    about = figures["setting"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    busy = " / ".join(f"{share:.0%}" for share in _ordered(figures["noise"]["busy"]))
    loop = " / ".join(f"{s * 1000:.0f}" for s in _ordered(figures["noise"]["loop_s"]))
    stolen = " / ".join(f"{share:.0%}" for share in _ordered(figures["noise"]["stolen"]))
    packages = f"Python {about['python']}, {packages}"
    noise = f"a fixed loop took {loop} ms, others used {busy} of the cores"
    before = f"Noise before each run, min / median / max: {noise}"
    lines = [
        "",
        f"Medians of {figures['pairs']}; {about['cores']} cores, {packages}.",
        "",
        f"{before}; during the runs the host took {stolen} away.",
    ]
    if figures["is_trial"]:
        lines += ["", "A trial: too few rows or pairs for these figures to mean anything."]
    return lines


def _ordered(found: Figures) -> list[float]:
    return [found["min"], found["median"], found["max"]]
