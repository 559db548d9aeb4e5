"""What a run says at its end: what to do next, and its page. None of it can fail a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backfill.chronicle import chronicle_of
from backfill.durable import write_whole
from backfill.errors import ExitCode
from backfill.figures import Figures
from backfill.history import course_of, history_of
from backfill.marks import NAMES_MAX, OTHERS, Name
from backfill.page import Scene, page_of
from backfill.report import counted, report_of
from backfill.resume import REHEARSAL, has_events
from backfill.tallies import figures_of
from backfill.veil import Samples, masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.checkpoint import State
    from backfill.errors import BackfillError
    from backfill.plan import Plan
    from backfill.report import Report
    from backfill.resume import Past

NO_PICTURES: Final = "BACKFILL_PICTURES"
"""Set to `no`, the page has its tables only: drawing takes a second, whatever the run took."""

NAME_CHARS: Final = 40

REHEARSED: Final = "this was a rehearsal; for real (--to eu for a workspace in the EU)"


def next_steps(report: Report, mapping: str, flags: str) -> list[tuple[str, str]]:
    """Return what to do next, each with the exact command. flags: where to, which state."""
    found: list[tuple[str, str]] = []
    if report.next_command:
        fix = report.error.get("fix", "")
        why = "it stopped before the end, and goes on where it stopped with"
        if report.exit_code in UNHEALED:
            why = f"{fix}; then go on with"
        found.append((why, report.next_command))
    is_over = not report.error
    if report.rejects_path and is_over:
        name = Path(report.rejects_path).name
        why = f"correct the cells in {name} (the reasons stand beside them), then"
        found.append((why, f"backfill retry {mapping}{flags}"))
    if report.held_path and is_over:
        why = "events newer than 72 hours wait, since they could start campaigns; to send them"
        found.append((why, f"backfill retry {mapping} --held{flags}"))
    if report.destination == REHEARSAL and is_over:
        found.append((REHEARSED, f"backfill run {mapping} --to us"))
    return found


def nothing_new(
    past: Past, folder: Path, plan: Plan, destination: str, limit: int | None
) -> Report:
    """Return the report of a run that has nothing to do. folder: the stream's."""
    state = past.state
    assert state is not None
    report = report_of(state, folder, destination, ExitCode.OK)
    done = state.saved_at or state.started_at
    report.note = f"nothing new since {done}: no request was made"
    if not state.is_finished:
        first = "the first row is" if limit == 1 else f"the first {limit:,} rows are"
        report.note = f"{first} settled: no request was made; a higher --limit, or none, goes on"
    elif past.picked.delivered:
        told = counted(len(past.picked.delivered), "file")
        report.note = f"no new file since {done} ({told} delivered before): no request was made"
    elif state.mapping != plan.job.mapping.fingerprint:
        report.note += "; the mapping has changed since: --restart sends all rows again"
        if not plan.job.mapping.key or has_events(plan.job.mapping):
            report.note += (
                ". Events, and rows without key:, keep their message ids, and a destination that"
                " knows them ignores them: rehearse again with another --state"
            )
    if state.is_finished and limit is not None:
        report.note += (
            "; --limit takes rows that were not sent yet, and none is left: to send the first ones"
            " again, give another --state, or --restart, which forgets this run"
        )
    return report


def put_error(report: Report, error: BackfillError | None, command: str) -> None:
    """Put into a report what stopped its run. command: what goes on."""
    if error is None:
        return
    report.exit_code = int(error.exit_code)
    report.error = {"what": error.what, "where": error.where, "fix": error.fix}
    report.next_command = command or None


UNHEALED: Final = frozenset({1, 5, 12, 13})
"""Exit codes after which the same command alone does not help."""


def name_shown(samples: Samples, figures: Figures) -> Callable[[Name], str]:
    """Return how the names of events are written.

    They are structure, not cells, unless they come from a column that has very many of them.
    """
    are_cells = len(figures.names) > NAMES_MAX and samples is not Samples.FULL
    numbers = {name: at for at, name in enumerate(figures.names)}

    def shown(name: Name) -> str:
        if name == OTHERS:
            return "all others"
        told = name.name
        if are_cells and name.is_cell:
            told = masked(told) if samples is Samples.MASKED else "name"
            told = f"{told} #{numbers[name]}"
        if len(told) > NAME_CHARS:
            told = told[: NAME_CHARS - 1] + "…"
        clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in told)
        return clean if name.kind == "track" else f"{name.kind} {clean}".strip()

    return shown


def write_page(folder: Path, report: Report, state: State, samples: Samples) -> str:
    """Write `report.html` into a run's folder. Returns why it, or a part of it, is not there."""
    try:
        figures = figures_of(folder, state)
        scene = Scene(report, figures or Figures(), samples=samples.value)
        scene.chronicle = chronicle_of(scene.figures, name_shown(samples, scene.figures))
        scene.history = history_of(folder / "log.jsonl")
        moments = scene.figures.moments
        if len(moments) > 1:
            scene.course = course_of(moments, scene.figures.width_s, scene.history)
        covered, delivered = scene.figures.messages, report.messages["delivered"]
        if covered != delivered:
            told = f"{covered:,} of {counted(delivered, 'delivered message')}"
            scene.words.append(f"The pictures cover {told}: the others were not counted.")
        why = _draw(scene)
        path = folder / "report.html"
        write_whole(path, page_of(scene).encode(errors="replace"))
        report.page_path = str(path)
    except Exception as fault:  # noqa: BLE001  rows are what counts: a page never fails a run
        return f"report.html was not written: {type(fault).__name__}"
    return why


def _draw(scene: Scene) -> str:
    """Put the pictures into a scene. Returns why there are none."""
    if os.environ.get(NO_PICTURES, "").lower() in {"no", "0", "off"}:
        return ""
    try:
        from backfill.pictures import pictures_of  # noqa: PLC0415  a library of a second

        scene.pictures = pictures_of(scene.report, scene.chronicle, scene.course)
    except Exception as fault:  # noqa: BLE001  the tables say the same
        why = f"the pictures of report.html could not be drawn: {type(fault).__name__}"
        scene.words.append(f"{why[0].upper()}{why[1:]}; the tables say the same.")
        return why
    return ""
