"""Errors → words on stderr (or JSON on stdout) and an exit code. The only place that does it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from backfill.cli import stdio
from backfill.errors import BackfillError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable


def guarded(command: Callable[..., object]) -> int:
    """Call a command and return its exit code; no traceback for a user's own mistake."""
    try:
        code = command(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        code = ExitCode.SIGINT
    except click.ClickException as fault:
        if "--json" in sys.argv:
            _as_json(fault.exit_code, fault.format_message(), "", "see --help")
        fault.show()
        code = fault.exit_code
    except BackfillError as fault:
        code = told(fault)
    except Exception as fault:  # noqa: BLE001  the last net
        code = _own_fault(fault)
    return int(code) if isinstance(code, int) else 0


def leave(code: int) -> NoReturn:
    """End the process without freeing what the system frees anyway: that takes a tenth of a second.

    All that must last is on disk by now; only what is still to be said is left.
    """
    sys.stdout.flush()
    if (why := stdio.lost()) is not None:
        fix = "what was done is done and saved; `backfill status` tells it"
        click.echo(BackfillError(f"cannot be written: {why}", where="stdout", fix=fix), err=True)
        code = code or int(ExitCode.FAULT)
    sys.stderr.flush()
    os._exit(code)


def told(fault: BackfillError) -> int:
    """Say what stopped a command and return its exit code."""
    if "--json" in sys.argv:
        _as_json(int(fault.exit_code), fault.what, fault.where, fault.fix)
    click.echo(str(fault), err=True)
    return int(fault.exit_code)


def _as_json(code: int, what: str, where: str, fix: str) -> None:
    error = {"what": what, "where": where, "fix": fix}
    click.echo(json.dumps({"exit_code": code, "error": error}))


def _own_fault(fault: Exception) -> int:
    """Our own fault: the place in our code helps us, the values of a user's data stay out."""
    last = traceback.extract_tb(fault.__traceback__)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119  a traceback's text
    click.echo(f"backfill failed: {type(fault).__name__} at {where}", err=True)
    click.echo("  fix: this is a fault of backfill; run again with -v and report it", err=True)
    if "-v" in sys.argv or "--verbose" in sys.argv:
        _trace(fault)
    return int(ExitCode.FAULT)


def _trace(fault: BaseException) -> None:
    """Print the places of an error and of those before it; what they say may quote a cell."""
    if (before := fault.__cause__ or fault.__context__) is not None:
        _trace(before)
    click.echo("".join(traceback.format_tb(fault.__traceback__)), err=True, nl=False)
    click.echo(type(fault).__name__, err=True)
