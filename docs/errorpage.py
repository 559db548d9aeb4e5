"""`errors.md`, made of the tables that the program speaks from and of the tests' faulty mappings.

`make.py` writes it. The words about a mapping are those beside the files of tests/faults, which a
test holds the program to, so that no example can be out of date.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from situations import SITUATIONS

from backfill.codes import REASONS, Code
from backfill.errors import MEANINGS, ExitCode
from backfill.lints import LINTS, LintCode
from backfill.source.trouble import CAUSES, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS: Final = Path(__file__).parent.parent / "tests" / "faults"
LINE_CHARS: Final = 90
"""How much of a line of a mapping is shown."""

HEAD: Final = """\
# What can go wrong, and what to do

Everything that backfill says of a fault has three parts: what is wrong, where, and the fix. By what
you have before you:

- `file:line:column: … [code]`: a [fault of a mapping](#faults-of-a-mapping);
- a code in `_code` of `rejects.csv`, in the report or in `check`:
  [why a row is rejected or held](#why-a-row-is-rejected-or-held);
- anything else on stderr, and a scheduler's exit code: [exit codes](#exit-codes), each with
  [what stops a command](#what-stops-a-command) with it. `…` stands there for what differs.

## Exit codes

| code | meaning | what to do |
| --- | --- | --- |
"""

TO_DO: Final = {
    ExitCode.OK: "nothing",
    ExitCode.FAULT: "report it, with `log.jsonl` of the run; the state is saved, and the same"
    " command goes on",
    ExitCode.USAGE: "read the words on stderr: they say what, where and how to correct it",
    ExitCode.REJECTS: "look at `report.html`; correct the cells in the rejects file, then"
    " `backfill retry`",
    ExitCode.RESUMABLE: "run the same command again later; it goes on where it stopped",
    ExitCode.STOPPED: "look at the first rejects: the mapping is wrong, not the rows; correct it,"
    " `--restart`",
    ExitCode.LOCKED: "wait; the other run releases the stream by itself, even when it is killed",
    ExitCode.REFUSED: "check the write key, its region (`--to us` or `eu`), the address, and"
    " proxies on the way",
    ExitCode.MISMATCH: "do what the message says: put the source or mapping back,"
    " `--use-previous`, `--restart`",
    ExitCode.SIGINT: "run the same command again; it goes on where it stopped",
    ExitCode.SIGTERM: "run the same command again; it goes on where it stopped",
}

MAPPINGS: Final = """\

## Faults of a mapping

`check` and `run` tell them before a row is read, and end with exit code 2. All are told at once,
with two exceptions: a text that is not YAML hides the rest, and what the source has or lacks is
told once the mapping itself is right. The examples are mappings of the tests, with the very words
that are said of them.
"""

ROWS: Final = """
## Why a row is rejected or held

Each row of `rejects.csv` (or `held.csv`) has one of these in `_code`, and the exact words in
`_reason`. Correct the cells there, leave `_row` as it is, then `backfill retry MAPPING`; where the
fix is one of the mapping, correct the mapping first.
"""

STOPS: Final = """
## What stops a command

By exit code. 3 has no words of its own: the run is finished, and its report names the rejects. 143
has those of 130.
"""

FOUND: Final = re.compile(
    r"^(?P<file>\S[^:\n]*):(?P<line>\d+):(?P<column>\d+): [^\n]* \[(?P<code>[a-z-]+)\]"
    r"(?:\n  [^\n]*)*",
    re.MULTILINE,
)
"""A fault of a mapping as it is told, with its fix."""

SHOWN: Final = {
    LintCode.TAG: "the tag !env",
    LintCode.UNKNOWN_KEY: "'userld'",
    LintCode.MISSING_KEY: "mode: changed needs a key",
    LintCode.BAD_NAME: "cannot name a folder",
    LintCode.MISSING_MEMBER: "track needs 'timestamp'",
    LintCode.WRONG_TYPE: "traits: ['email', 'name']",
    LintCode.WRONG_VALUE: "unknown time zone",
    LintCode.BAD_OPTION: "without a type",
    LintCode.RESERVED: "'User Deleted'",
    LintCode.EXPR_SYNTAX: "'&&'",
    LintCode.EXPR_REFUSED: "the method",
    LintCode.UNKNOWN_FUNCTION: "'lenght'",
    LintCode.EXPR_ARGUMENTS: "replace needs",
    LintCode.EXPR_TYPE: "city is text",
    LintCode.EXPR_TOO_LONG: "more than 1000",
    LintCode.UNKNOWN_COLUMN: "'emial'",
}
"""Which of the examples is shown, by words of it, where the first is not what people meet."""


class Example(NamedTuple):
    """A fault of a mapping of the tests."""

    line: str
    """What stands in the mapping; "" where the fault is one of the whole file."""
    words: str
    """What is said of it."""


def errors_page() -> str:
    """Return the page."""
    lines = [HEAD.rstrip("\n")]
    for code, meaning in MEANINGS.items():
        lines.append(f"| {_number(code)} | {meaning} | {TO_DO[code]} |")
    lines += [MAPPINGS.rstrip("\n"), *_lints(), ROWS.rstrip("\n"), *_rejects()]
    return "\n".join([*lines, STOPS.rstrip("\n"), *_stops()]) + "\n"


def _number(code: ExitCode) -> str:
    at = ExitCode.SIGINT if code is ExitCode.SIGTERM else code  # both are told there
    return f"[{int(code)}](#exit-{int(at)})" if at in SITUATIONS else f"{int(code)}"


def _lints() -> Iterator[str]:
    found = examples()
    for code in LintCode:
        yield from ("", f"### {code.value}", "", LINTS[code].what, "")
        shown = found[code]
        if shown.line:
            yield from ("```yaml", shown.line, "```", "")
        yield from ("```text", shown.words, "```", "", f"Fix: {LINTS[code].fix}")


def examples() -> dict[LintCode, Example]:
    """Return one example of each code, from the mappings of the tests."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(FAULTS.glob("*.txt"))]
    told = [match for text in texts for match in FOUND.finditer(text)]
    found = {}
    for code in LintCode:
        match = next(m for m in told if m["code"] == code and SHOWN.get(code, "") in m[0])
        found[code] = Example(_line(match), match[0])
    return found


def _line(match: re.Match[str]) -> str:
    """Return the line of the mapping that a fault is in, shortened."""
    number, column = int(match["line"]), int(match["column"])
    lines = (FAULTS / match["file"]).read_text(encoding="utf-8").split("\n")
    if (number, column) == (1, 1) or number > len(lines):
        return ""
    line = lines[number - 1].strip()
    return line if len(line) <= LINE_CHARS else line[: LINE_CHARS - 1] + "…"


def _rejects() -> Iterator[str]:
    for code in Code:
        reason = REASONS[code]
        what = reason.what.format(value="…")
        fix = reason.fix.format(value="…", integer='"text(integer(…))"')
        said = "says itself what is wrong, in `_reason`" if what == "…" else what
        yield from ("", f"### {code.value}", "", f"What: {said}.", "", f"Fix: {fix}.")


def _stops() -> Iterator[str]:
    for code, chapters in SITUATIONS.items():
        meaning = MEANINGS[code]
        yield from ("", f"### Exit {int(code)}", "", f"{meaning[0].upper()}{meaning[1:]}.")
        for title, chapter in chapters.items():
            if title:
                yield from ("", f"**{title}**")
            yield from ("", "| what is said | what to do |", "| --- | --- |")
            for said, fix in chapter.items():
                yield f"| {_cell(said)} | {_cell(fix)} |"
            if "store" in title:
                yield from _stores(is_passing=False)
        if code is ExitCode.RESUMABLE:
            yield from _stores(is_passing=True)


def _stores(*, is_passing: bool) -> Iterator[str]:
    """Yield what stores say, in a table's rows, from the table that reads their words."""
    for cause in (*CAUSES, UNKNOWN):
        if cause.is_passing is is_passing:
            fix = cause.fix.format(environment="the environment", again="then run it again")
            yield f"| {_cell(cause.what)} (…) | {_cell(fix)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
