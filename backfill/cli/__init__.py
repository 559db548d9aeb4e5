"""The command line: one verb a file, each loaded only when it is used."""

from __future__ import annotations

import gc
import importlib
import os
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import click

from backfill import spec
from backfill.cli import signals, stdio
from backfill.cli.manual import Pages
from backfill.cli.outcome import guarded, leave

VERBS: Final = {
    "check": "Every fault of a mapping, then every row: what would be sent, what rejected.",
    "init": "Look at data and propose a commented mapping, with the evidence.",
    "ping": "Is the key good, and is this its region?",
    "preview": "The exact messages of some rows, beside the row.",
    "retry": "Send the rejects (or held rows) after they were corrected.",
    "run": "Check as it goes, send, checkpoint, report; the same command again resumes.",
    "sandbox": "The local stand-in of the destination.",
    "schema": "The JSON Schema of the mapping language.",
    "status": "Where each stream stands, from the state alone.",
}


class _Verbs(Pages):
    """Loads a verb when it is called: `--help` stays quick."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if os.environ.get("NO_COLOR"):  # no-color.org: present and not empty
            extra["color"] = False
        return super().make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"backfill.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as fault:
            if near := get_close_matches(args[0], VERBS, 1):
                ctx.fail(f"{fault.message} Did you mean '{near[0]}'?")
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(spec.VERSION, prog_name="backfill")
def backfill() -> None:
    """Bring years of customer history into Customer.io.

    A mapping file says how the columns of CSV, Parquet and JSON lines become messages. Every row is
    checked, sent once, and counted; `backfill COMMAND --help` says more of each command.

    \b
    Example:
      backfill init exports/customers.csv
      backfill check mappings/
      backfill run mappings/ --to sandbox
      backfill sandbox show stats
    """


def main() -> None:
    """Run the command and end the process; every error becomes clear words and an exit code."""
    signals.end_at_once()
    stdio.outlive_readers()
    # numpy starts a pool of threads for algebra that is never done here: a tenth of a second
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # a start makes 300,000 objects that stay: looking through them over and over costs a twentieth
    gc.set_threshold(10_000)
    # one name however it was started: what the shells' completion goes by
    leave(guarded(partial(backfill, prog_name="backfill")))
