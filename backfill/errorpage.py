"""`docs/errors.md`, made of the tables that the program itself speaks from.

Written by `python -m backfill.errorpage > docs/errors.md`; a test compares.
"""

from __future__ import annotations

import sys

from backfill.codes import REASONS, Code
from backfill.errors import MEANINGS

HEAD = """\
# What can go wrong, and what to do

Made by `python -m backfill.errorpage > docs/errors.md` from the tables the program speaks from.

## Exit codes

| code | meaning | what to do |
| --- | --- | --- |
"""

TO_DO = {
    0: "nothing",
    1: "report it, with `log.jsonl` of the run; the state is saved, and the same command goes on",
    2: "read the words on stderr: they say what, where and how to correct it",
    3: "look at `report.html`; correct the cells in the rejects file, then `backfill retry`",
    4: "run the same command again later; it goes on where it stopped",
    5: "look at the first rejects: the mapping is wrong, not the rows; correct it, `--restart`",
    11: "wait; the other run releases the stream by itself, even when it is killed",
    12: "check the write key, its region (`--to us` or `eu`), the address, and proxies on the way",
    13: "do what the message says: put the source or mapping back, `--use-previous`, `--restart`",
    130: "run the same command again; it goes on where it stopped",
    143: "run the same command again; it goes on where it stopped",
}

ROWS = """
## Why a row is rejected or held

Each row of `rejects.csv` (or `held.csv`) has one of these in `_code`, and the exact words in
`_reason`. Correct the cells there, leave `_row` as it is, then `backfill retry MAPPING`; where the
fix is one of the mapping, correct the mapping first.
"""


def errors_page() -> str:
    """Return the page."""
    lines = [HEAD.rstrip("\n")]
    for number, meaning in MEANINGS.items():
        lines.append(f"| {int(number)} | {meaning} | {TO_DO[int(number)]} |")
    lines.append(ROWS.rstrip("\n"))
    for code in Code:
        reason = REASONS[code]
        what = reason.what.format(value="…")
        fix = reason.fix.format(value="…", integer='"text(integer(…))"')
        said = "says itself what is wrong, in `_reason`" if what == "…" else what
        lines += ["", f"### {code.value}", "", f"What: {said}.", "", f"Fix: {fix}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(errors_page())
