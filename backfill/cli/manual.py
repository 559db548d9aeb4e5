"""What `--help` says beside the command itself, as a manual would, and in which order.

Options in groups, exit codes, files, environment. What a command does, and its example, stand in
the command's own file.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import click

from backfill.errors import ExitCode

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Source": ("sources", "limit", "count", "row"),
    "Proposal": ("kind", "out", "is_day_first"),
    "Destination": ("to", "key_file", "dry_run"),
    "Guard": ("recent_events", "is_held", "max_rejects", "max_outage_s"),
    "State": ("state", "restart", "yes", "use_previous"),
    "Speed": ("rate", "connections", "batch_bytes", "batch_messages", "gzip"),
    "Server": ("port", "db", "faults", "seed"),
    "Output": (
        *("explain", "samples", "as_json", "quiet", "verbose", "log_format", "no_progress"),
        *("version", "help"),
    ),
}
"""The section of `--help` that an option stands in, by the name of its parameter."""

MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "every row delivered, filtered or unchanged; or nothing new",
    ExitCode.FAULT: "a fault of backfill",
    ExitCode.USAGE: "wrong usage, faulty mapping, input missing or unreadable",
    ExitCode.REJECTS: "finished; some rows rejected or held",
    ExitCode.RESUMABLE: "stopped before the end; the same command goes on",
    ExitCode.STOPPED: "stopped: too many rejects, the mapping must be wrong",
    ExitCode.LOCKED: "another run holds this stream",
    ExitCode.REFUSED: "key, region or address refused",
    ExitCode.MISMATCH: "the checkpoint is damaged, or fits neither source nor mapping",
    ExitCode.SIGINT: "stopped by Ctrl-C, after what was under way was saved",
    ExitCode.SIGTERM: "the same by SIGTERM or SIGHUP",
}

KEY: Final = "CUSTOMERIO_WRITE_KEY"
ENVIRONMENT: Final = {
    KEY: "the write key; no option takes it, since others could read it",
    "BACKFILL_TO": "the destination, where --to is not given",
    "BACKFILL_STATE": "the folder of the state, where --state is not given",
    "NO_COLOR": "set to anything: no colours",
}

STATE: Final = ".backfill/STREAM/"
RUN: Final = {
    f"{STATE}checkpoint.json": "how far it is (before it: .prev)",
    f"{STATE}runs/RUN/report.json": "the books of a run",
    f"{STATE}runs/RUN/rejects.csv": "rows not sent, and why; for retry",
    f"{STATE}runs/RUN/held.csv": "events that wait for a word",
    f"{STATE}runs/RUN/log.jsonl": "what happened when",
}

READING: Final = (ExitCode.OK, ExitCode.FAULT, ExitCode.USAGE)
SENDING: Final = tuple(MEANINGS)


class Entry(NamedTuple):
    """What the manual of one command lists. codes: with words of its own, or None for ours."""

    codes: dict[ExitCode, str | None]
    files: dict[str, str]
    environment: tuple[str, ...]


def _codes(codes: tuple[ExitCode, ...], **own: str) -> dict[ExitCode, str | None]:
    return {code: own.get(code.name) for code in codes}


_LOOKING: Final = (*READING, ExitCode.REJECTS, ExitCode.RESUMABLE)
MANUAL: Final[dict[str, Entry]] = {
    "backfill": Entry(_codes(SENDING), RUN, tuple(ENVIRONMENT)),
    "init": Entry(
        _codes(READING, OK="the mapping is written"),
        {"mappings/NAME.yaml": "where it is written without -o; never over another file"},
        (),
    ),
    "check": Entry(
        _codes(
            _LOOKING,
            OK="no row would be rejected or held",
            REJECTS="some rows would be rejected or held",
            RESUMABLE="the store of the source cannot be reached; try again",
        ),
        {},
        (),
    ),
    "preview": Entry(_codes(READING, OK="shown"), {}, ("NO_COLOR",)),
    "run": Entry(_codes(SENDING), RUN, tuple(ENVIRONMENT)),
    "retry": Entry(_codes(SENDING), RUN, tuple(ENVIRONMENT)),
    "status": Entry(
        _codes((*READING, ExitCode.MISMATCH), OK="told", MISMATCH="a checkpoint is damaged"),
        {f"{STATE}checkpoint.json": "what is read"},
        ("BACKFILL_STATE",),
    ),
    "ping": Entry(
        _codes(
            (*READING, ExitCode.RESUMABLE, ExitCode.REFUSED),
            OK="the key is good",
            RESUMABLE="the destination is down or busy; ask again later",
        ),
        {},
        (KEY, "BACKFILL_TO"),
    ),
    "sandbox": Entry(
        _codes((*READING, ExitCode.SIGINT, ExitCode.SIGTERM), OK="shown", SIGINT="ended by Ctrl-C"),
        {".backfill/sandbox.sqlite": "what it received, without --db"},
        (),
    ),
    "schema": Entry(_codes((ExitCode.OK, ExitCode.FAULT), OK="printed"), {}, ()),
}
"""By command; a command below another has that one's."""


class Page(click.Command):
    """A command whose `--help` reads like a page of a manual, in at most 80 columns."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by group, then the commands below this one."""
        left = {
            "help" if "--help" in param.opts else str(param.name): record
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx))
        }
        for title, names in GROUPS.items():
            if rows := [left.pop(name) for name in names if name in left]:
                with formatter.section(f"{title} options"):
                    formatter.write_dl(rows)
        if left:
            with formatter.section("Other options"):
                formatter.write_dl(list(left.values()))
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the manual lists of the command."""
        names = ctx.command_path.split()
        entry = MANUAL.get(names[min(1, len(names) - 1)])
        if entry is None:
            return
        codes = [(str(int(code)), own or MEANINGS[code]) for code, own in entry.codes.items()]
        told = {name: ENVIRONMENT[name] for name in entry.environment}
        for title, rows in (
            ("Exit codes", codes),
            ("Files", list(entry.files.items())),
            ("Environment", list(told.items())),
        ):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=40)


class Pages(Page, click.Group):
    """The same of a command that has others below it."""
