"""Turn figures into what readers see: the README's tables and the pictures.

    python benchmarks/publish.py [--results .bench/results] [--check]

Reads contest.json and the other parts that are there, writes their figures without the single runs
to docs/benchmark.json, the tables between `<!-- benchmark -->` and `<!-- /benchmark -->` of the
README, and docs/benchmark.svg and docs/growth.svg. The same figures give the same bytes. --check
reads docs/benchmark.json instead and writes nothing: it exits 1 where the README says otherwise.
A trial (--small, or too few rows or pairs) is refused.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import page
from entrants import CACHE, ROOT
from loopback import BenchmarkError
from run import PARTS, parts

if TYPE_CHECKING:
    from figures import Figures

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
ALT = "Messages a second of backfill, its floor and its peers"


def collected(folder: Path) -> Figures:
    """Return the figures of every part in a folder of results, without the single runs.

    Raises BenchmarkError where there is no contest, or where a part is only a trial.
    """
    found: Figures = {}
    for name in PARTS:
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        part = json.loads(path.read_bytes())
        if part["is_trial"]:
            raise BenchmarkError(f"{path} is a trial: run it without --small, with 3 pairs or more")
        found[name] = {key: value for key, value in part.items() if not key.endswith("runs")}
    if "contest" not in found:
        raise BenchmarkError(f"no contest.json in {folder}: run python benchmarks/run.py first")
    return found


def section(figures: Figures) -> str:
    """Return what stands between the markers: picture, contest, all targets, the setting."""
    every = parts([])
    contest = figures["contest"]
    targets = [target for part in figures.values() for target in part["targets"]]
    lines = [f"![{ALT}](docs/benchmark.svg)", "", *every["contest"].told(contest)]
    lines += page.target_rows(targets, is_trial=False)
    for name in ("far", "shapes", "resume", "check"):
        if name in figures:
            lines += ["", *every[name].told(figures[name])]
    lines += page.setting_lines(contest)
    return "\n".join(lines)


def rewritten(text: str, inside: str) -> str:
    """Put a section between the markers. Raises BenchmarkError unless each is there once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise BenchmarkError(f"the README needs one {BEGIN} and after it one {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{inside}\n{END}{after}"


def pictures(figures: Figures) -> dict[str, str]:
    """Draw what the figures allow; nothing, said, where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        fix = "pip install -e '.[bench]'"
        print(f"no pictures: matplotlib is not installed\n  fix: {fix}", file=sys.stderr)
        return {}
    import picture  # noqa: PLC0415

    found = {"benchmark.svg": picture.bars(figures["contest"])}
    if "growth" in figures:
        found["growth.svg"] = picture.lines(figures["growth"])
    return found


def publish(results: Path, root: Path) -> None:
    """Write everything below a root."""
    figures = collected(results)
    readme, docs = root / "README.md", root / "docs"
    text = rewritten(readme.read_text(encoding="utf-8"), section(figures))
    drawn = pictures(figures)
    docs.mkdir(exist_ok=True)
    written = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    (docs / "benchmark.json").write_text(written, encoding="utf-8")
    for name, svg in drawn.items():
        (docs / name).write_text(svg, encoding="utf-8")
    readme.write_text(text, encoding="utf-8")


def is_current(root: Path) -> bool:
    """Whether the README says what docs/benchmark.json says."""
    path = root / "docs" / "benchmark.json"
    if not path.exists():
        raise BenchmarkError(f"no {path.name} in docs: nothing was published yet")
    text = (root / "README.md").read_text(encoding="utf-8")
    return rewritten(text, section(json.loads(path.read_bytes()))) == text


def main() -> int:
    """Publish, or check what is published."""
    parser = argparse.ArgumentParser(description="Figures into the README and the pictures.")
    parser.add_argument("--results", type=Path, default=CACHE / "results")
    parser.add_argument("--root", type=Path, default=ROOT, help="where README.md and docs/ are")
    parser.add_argument("--check", action="store_true", help="only compare; 1 where they differ")
    options = parser.parse_args()
    try:
        if options.check:
            if is_current(options.root):
                return 0
            print("the README is not what docs/benchmark.json says", file=sys.stderr)
            return 1
        publish(options.results, options.root)
    except BenchmarkError as error:
        print(f"nothing published: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
