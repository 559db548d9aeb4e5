"""`backfill sandbox`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from backfill.cli.manual import Page, Pages
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.sandbox import Sandbox

DB = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    default=".backfill/sandbox.sqlite",
    show_default=True,
    help="The SQLite file of what it received.",
)


@click.group(
    cls=Pages, invoke_without_command=True, short_help="The local stand-in of the destination."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8722,
    show_default=True,
    metavar="N",
    help="Where it listens; 0 takes a free one.",
)
@DB
@click.option("--faults", metavar="KIND:P,…", help="For example 429:0.05,500:0.02,reset:0.01.")
@click.option("--seed", type=int, default=0, metavar="N", help="Draws the same faults again.")
@click.pass_context
def sandbox(ctx: click.Context, *, port: int, db: Path, faults: str | None, seed: int) -> None:
    """Serve the local stand-in of the destination on loopback, until it is stopped.

    Its page shows what it received: people, events, objects, refusals, what each run changed.

    \b
    Example:
      backfill sandbox --port 8722 --faults 429:0.05,500:0.02
      backfill run mappings/ --to http://127.0.0.1:8722
      backfill sandbox show person 1
    """
    if ctx.invoked_subcommand is not None:
        ctx.ensure_object(dict)["db"] = db
        return
    from backfill.launch import make_state  # noqa: PLC0415
    from backfill.sandbox import serve  # noqa: PLC0415

    make_state(db.parent)

    def ready(running: Sandbox) -> None:
        click.echo(f"the sandbox listens on {running.url} and keeps what it gets in {db}")
        click.echo(f"  look: {running.url}/page")
        click.echo(f"  send: backfill run mappings/ --to {running.url}   (any write key)")
        click.echo("  Ctrl-C ends it")

    serve(db, port=port, faults=faults, seed=seed, on_ready=ready)


TAKEN: Final = {
    "person": (1, "one id or email", "person 1"),
    "timeline": (1, "one id or email", "timeline 1"),
    "object": (2, "a type and an id", "object 1 acme"),
    "stats": (0, "no id", "stats"),
}
"""How many words follow, what they are, an example."""


@sandbox.command(
    cls=Page, short_help="What it received: person ID, timeline ID, object TYPE ID, stats."
)
@click.argument("what", type=click.Choice(["person", "timeline", "object", "stats"]))
@click.argument("ids", nargs=-1)
@DB
@click.pass_context
def show(ctx: click.Context, what: str, ids: tuple[str, ...], db: Path) -> None:
    """Show what the sandbox received, as JSON.

    \b
    Example:
      backfill sandbox show person 1
      backfill sandbox show timeline luisg@embraer.com.br
      backfill sandbox show object 1 acme
      backfill sandbox show stats
    """
    source = ctx.get_parameter_source("db")
    if source is not click.core.ParameterSource.COMMANDLINE and ctx.obj:
        db = ctx.obj["db"]
    if not db.exists():
        fix = "run something with --to sandbox first, or give --db"
        raise UsageError("no sandbox has run here", where=db, fix=fix)
    wanted, words, example = TAKEN[what]
    if len(ids) != wanted:
        fix = f"for example: backfill sandbox show {example}"
        raise UsageError(f"{what} takes {words}", where=shlex.join(["show", what, *ids]), fix=fix)
    found = _read(db, what, ids)
    if found is None:
        raise UsageError("nothing is known of it", where=" ".join(ids), fix="check the id")
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _read(db: Path, what: str, ids: tuple[str, ...]) -> Any:
    from backfill.sandbox import Store  # noqa: PLC0415

    with Store(db) as store:
        if what == "person":
            return store.person(ids[0])
        if what == "timeline":
            return store.timeline(ids[0])
        return store.object_(ids[0], ids[1]) if what == "object" else store.stats()
