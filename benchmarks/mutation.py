"""Break the core on purpose, one small fault at a time, and count how many the tests notice.

    python benchmarks/mutation.py [--children 1] [MODULE ...]     # deliver, checkpoint, …; all

mutmut makes the faults; pyproject.toml says in which modules, and which tests speak for them.
Prints a line a module and the faults that nobody noticed (`mutmut show NAME` shows one). Exits 1
where a module is below the share of noticed faults that is promised. Results are kept in mutants/
(git-ignored): a fault that was asked about is not asked again, unless its module is named; remove
the folder to begin anew. A fault that makes a test hang counts as noticed after a time that a
machine which is busy with other things may pass by itself: `mutmut results` says which those were.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SHARE_MIN: Final = 0.85
NOTICED: Final = {"killed", "timeout", "segfault"}
UNASKED: Final = {"not checked", "skipped"}


def mutmut(*arguments: str) -> list[str]:
    """Return a command of the mutmut that is installed beside this Python."""
    return [str(Path(sys.executable).with_name("mutmut")), *arguments]


def told(text: str) -> dict[str, dict[str, str]]:
    """Read what `mutmut results` prints: module → fault → what became of it."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        name, _, status = line.strip().partition(": ")
        if name.startswith("backfill."):
            found[name.split(".")[1]][name] = status
    return found


def show(module: str, faults: dict[str, str]) -> bool:
    """Print the line of a module; whether it is as good as promised."""
    asked = {name: status for name, status in faults.items() if status not in UNASKED}
    missed = {name: status for name, status in asked.items() if status not in NOTICED}
    if not asked:
        return True
    share = 1 - len(missed) / len(asked)
    noticed = len(asked) - len(missed)
    print(f"{module:<12} {noticed:>4} of {len(asked):>4} faults noticed  {share:7.1%}")
    for name, status in missed.items():
        print(f"    {status}: {name}")
    return share >= SHARE_MIN


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--children", type=int, default=1, help="processes at a time")
    asked = parser.parse_args()
    names = [f"backfill.{module}.*" for module in asked.modules]
    command = mutmut("run", "--max-children", str(asked.children), *names)
    try:
        ran = subprocess.run(command, cwd=ROOT, check=False)
    except FileNotFoundError:
        print("mutmut is not installed here: pip install '.[mutation]'", file=sys.stderr)
        return 1
    if ran.returncode:
        return ran.returncode
    results = subprocess.run(
        mutmut("results", "--all", "true"), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    modules = {
        module: faults
        for module, faults in told(results.stdout).items()
        if module in (asked.modules or [module])
    }
    is_good = [show(module, faults) for module, faults in sorted(modules.items())]
    return 0 if is_good and all(is_good) else 1


if __name__ == "__main__":
    sys.exit(main())
