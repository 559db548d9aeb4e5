"""The books of a run: counts that must balance; as JSON for programs, as text for people."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.defuse import restored
from backfill.durable import write_whole
from backfill.errors import BooksError

if TYPE_CHECKING:
    import pandas as pd

    from backfill.checkpoint import State
    from backfill.shard import Counts

SUFFIXES = (".csv", ".jsonl", ".parquet")
"""Of the dead letters as a person gets them."""

ROWS = ("delivered", "filtered", "held", "rejected", "unchanged", "pending")


@dataclass
class Report:
    """What one run of one stream did. `to_json` has the keys that other programs may read."""

    stream: str
    run_id: str
    started_at: str
    finished_at: str
    exit_code: int
    destination: str
    rows: dict[str, int]
    messages: dict[str, int]
    requests: dict[str, int]
    rejects_by_code: dict[str, int]
    timestamps: dict[str, Any]
    files: list[dict[str, Any]]
    resumed_from: int | None = None
    checkpoint: str | None = None
    rejects_path: str | None = None
    held_path: str | None = None
    next_command: str | None = None
    note: str = ""
    """A word to a person, where nothing was done and why."""
    error: dict[str, str] = field(default_factory=dict)
    next_steps: list[tuple[str, str]] = field(default_factory=list)
    """What to do next: why, and the exact command."""
    page_path: str | None = None
    """`report.html`."""

    def to_json(self) -> dict[str, Any]:
        """Return `report.json`."""
        members: dict[str, Any] = {
            "version": 1,
            "backfill": spec.VERSION,
            "run_id": self.run_id,
            "stream": self.stream,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "exit_code": int(self.exit_code),
            "destination": self.destination,
            "rows": self.rows,
            "messages": self.messages,
            "requests": self.requests,
            "rejects_by_code": self.rejects_by_code,
            "timestamps": self.timestamps,
            "files": self.files,
            "resumed_from": self.resumed_from,
            "checkpoint": self.checkpoint,
            "rejects": self.rejects_path,
            "held": self.held_path,
            "next_command": self.next_command,
        }
        if self.next_steps:
            members["next"] = [{"why": why, "command": told} for why, told in self.next_steps]
        if self.note:
            members["note"] = self.note
        if self.error:
            members["error"] = self.error
        return members

    @property
    def rejects(self) -> pd.DataFrame:
        """The rejected rows with their own cells and `_row _column _code _reason`; texts."""
        import pandas as pd  # noqa: PLC0415  one of its three doors

        path = Path(self.rejects_path) if self.rejects_path else None
        if path is None:
            return pd.DataFrame(columns=["_row", "_column", "_code", "_reason"])
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="replace")
        return frame.map(restored).rename(columns=restored).astype({"_row": int})

    def check(self, *, is_finished: bool) -> None:
        """Raise BooksError where the rows the reader counted are not those that were settled.

        Pending is what is read but not settled; nothing is pending in a run that is finished.
        """
        total = sum(self.rows[name] for name in ROWS)
        is_open = self.rows["pending"] < 0 or (is_finished and self.rows["pending"] > 0)
        if total != self.rows["read"] or is_open:
            told = ", ".join(f"{name} {self.rows[name]}" for name in ("read", *ROWS))
            raise BooksError(
                f"the books do not balance: {told}",
                where=self.stream,
                fix="this is a fault of backfill: please report it with the run's log.jsonl",
            )


def rows_of(counts: Counts, read: int) -> dict[str, int]:
    """Return the rows by what became of them."""
    return {
        "read": read,
        "delivered": counts.delivered,
        "filtered": counts.filtered,
        "held": counts.held,
        "rejected": counts.rejected,
        "unchanged": counts.unchanged,
        "pending": read - counts.settled,
    }


def times_of(counts: Counts) -> dict[str, Any]:
    """Return the range of the timestamps that were sent."""
    return {
        "min": iso(counts.oldest_ms),
        "max": iso(counts.newest_ms),
        "within_72h": counts.within_72h,
    }


def iso(instant_ms: int | None) -> str | None:
    """Return an instant as `2026-01-31T00:00:00.000Z`."""
    if instant_ms is None:
        return None
    seconds, thousandths = divmod(instant_ms, 1000)
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{thousandths:03d}Z"


def as_text(report: Report) -> str:
    """Return the report as a person pastes it into a ticket: no colour, at most 80 columns.

    Only what must be copied whole, a path or a command, may be longer.
    """
    rows, requests = report.rows, report.requests
    if report.note:
        return wrapped(f"{report.stream}: {report.note}", "  ")
    lines = [f"{report.stream}: {counted(rows['read'], 'row')} read → {report.destination}"]
    for name in ROWS:
        if rows[name] or name == "delivered":
            lines += _row_lines(name, report)
    sent = f"{counted(requests['sent'], 'request')}, {sized(requests['bytes'])}"
    retried = f", {requests['retried']:,} retried" if requests["retried"] else ""
    lines.append(f"  {'messages':<10}{report.messages['delivered']:>13,}  in {sent}{retried}")
    if report.timestamps["min"]:
        lines.append(f"  {'times':<10}{report.timestamps['min']} to {report.timestamps['max']}")
    if report.timestamps["within_72h"]:
        lines.append(f"  note: {report.timestamps['within_72h']:,} events are newer than 72 hours")
    return "\n".join([*lines, *_last_lines(report)])


def _last_lines(report: Report) -> list[str]:
    """Return where the page is, and what to do next."""
    lines = [f"  {'report':<10}{report.page_path}"] if report.page_path else []
    if report.next_command:
        lines.append(f"  go on with: {report.next_command}")
    for why, command in report.next_steps:
        if command != report.next_command:
            lines += [wrapped(f"  next: {why}:", "    "), f"    {command}"]
    return lines


WIDTH: Final = 80
CODES_SHOWN: Final = 4
"""Causes of rejects that the summary names; the report has all of them."""


def wrapped(text: str, indent: str) -> str:
    """Break a line after its words at 80 columns; a path or a command stays whole."""
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, **how)


def _row_lines(name: str, report: Report) -> list[str]:
    """Return the line of a bucket, and where its rows are."""
    line = f"  {name:<10}{report.rows[name]:>13,}"
    paths = {"rejected": report.rejects_path, "held": report.held_path}
    if hint := _hint(name, report):
        line = wrapped(f"{line}  {hint}", " " * 27)
    path = paths.get(name)
    return [line, f"    → {path}"] if path else [line]


def counted(number: int, noun: str) -> str:
    """`1 request`, `2,000 requests`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def sized(size_bytes: int) -> str:
    """`812 bytes`, `3.1 kB`, `1,204.5 MB`."""
    if size_bytes < 1000:  # noqa: PLR2004  a kilobyte
        return f"{size_bytes} bytes"
    if size_bytes < 1_000_000:  # noqa: PLR2004  a megabyte
        return f"{size_bytes / 1e3:,.1f} kB"
    return f"{size_bytes / 1e6:,.1f} MB"


def _hint(name: str, report: Report) -> str:
    if name == "rejected" and report.rejects_path:
        codes = sorted(report.rejects_by_code.items(), key=lambda item: -item[1])
        told = [f"{code} {count:,}" for code, count in codes[:CODES_SHOWN]]
        if more := codes[CODES_SHOWN:]:
            told.append(f"others {sum(count for _, count in more):,}")
        return ", ".join(told)
    if name == "held" and report.held_path:
        return "events newer than 72 hours: they could start campaigns"
    if name == "pending":
        return "not settled yet; a resume sends them"
    return ""


def report_of(state: State, folder: Path, destination: str, exit_code: int) -> Report:
    """Return the report of a stream as its state tells it. folder: the stream's."""
    counts = state.counts
    runs = folder / "runs" / state.run_id
    found: dict[str, Any] = {
        name: next((str(p) for p in sorted(runs.glob(f"{name}.*")) if p.suffix in SUFFIXES), None)
        for name in ("rejects", "held")
    }
    return Report(
        stream=state.stream,
        run_id=state.run_id,
        started_at=state.started_at,
        finished_at=now_text(),
        exit_code=exit_code,
        destination=destination,
        rows=rows_of(counts, sum(f.rows for f in state.files)),
        messages={
            "built": counts.built,
            "delivered": counts.delivered_messages,
            "refused": counts.refused_messages,
        },
        requests={"sent": counts.sent, "retried": counts.retried, "bytes": counts.body_bytes},
        rejects_by_code=dict(sorted(counts.by_code.items())),
        timestamps=times_of(counts),
        files=[{"path": f.path, "rows": f.rows, "fingerprint": f.sha256} for f in state.files],
        checkpoint=str(folder / "checkpoint.json"),
        rejects_path=found["rejects"],
        held_path=found["held"],
    )


def write_report(path: Path, report: Report) -> None:
    """Write `report.json`, for its owner alone; whole, or the one before it stays."""
    text = json.dumps(report.to_json(), ensure_ascii=False, indent=2)
    write_whole(path, (text + "\n").encode(errors="backslashreplace"))


def now_text() -> str:
    """Return the time as reports and states have it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
