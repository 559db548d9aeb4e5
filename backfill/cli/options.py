"""Options that several verbs share, and the settings made of them."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from backfill.cli import complete

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.launch import Settings

BEGIN_AGAIN = {"--restart", "--yes", "--use-previous"}
"""Not in the command that resumes: it is to go on, not to begin again."""

MAPPINGS = click.argument(
    "mappings", nargs=-1, required=True, metavar="MAPPING…", shell_complete=complete.mappings
)
SOURCE = click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PATH",
    shell_complete=complete.files,
    help="Instead of the mapping's path; may be given again.",
)
LIMIT = click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows.")
STATE = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=".backfill",
    envvar="BACKFILL_STATE",
    show_default=True,
    metavar="DIRECTORY",
    help="The folder of the state.",
)
TO = click.option(
    "--to",
    metavar="us|eu|sandbox|URL",
    shell_complete=complete.destinations,
    help="The destination. Without it: the region in the key, else BACKFILL_TO, else us.",
)
KEY_FILE = click.option(
    "--write-key-file",
    "key_file",
    metavar="PATH",
    shell_complete=complete.files,
    help="The file of the write key; - is stdin.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="The last line of stdout is JSON.")
RECENT = click.option(
    "--recent-events",
    type=click.Choice(["hold", "send"]),
    help="Events newer than 72 hours can start campaigns: hold or send them.",
)
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Tell more on stderr.")


SAMPLES = click.option(
    "--samples",
    type=click.Choice(["none", "masked", "full"]),
    default="masked",
    show_default=True,
    help="How much of a cell report.html shows: a…(17) is masked.",
)
LOG_FORMAT = click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="How -v tells it."
)
QUIET = click.option("--quiet", is_flag=True, help="Say nothing but errors.")
NO_PROGRESS = click.option("--no-progress", is_flag=True, help="No progress bar.")
MAX_OUTAGE = click.option(
    "--max-outage",
    "max_outage_s",
    type=click.FloatRange(0),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="Stop, resumable, when nothing has succeeded for so long.",
)


def rate(_ctx: Any, _param: Any, value: str | None) -> float | str | None:
    """`50` or `unlimited`."""
    if value is None or value == "unlimited":
        return value
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1000:  # noqa: PLR2004  the documented ceiling of the API
        raise click.BadParameter("write requests a second (up to 1000), or unlimited")
    return number


def rejects(_ctx: Any, _param: Any, value: str | None) -> str | None:
    """`100` or `2%`."""
    if value is not None and not re.fullmatch(r"[0-9]+(\.[0-9]+%|%)?", value):
        raise click.BadParameter("write a number of rows, or a share such as 2%")
    return value


GZIP = click.option(
    "--gzip", is_flag=True, help="Pack request bodies, for a destination that takes it."
)

MAX_REJECTS = click.option(
    "--max-rejects", callback=rejects, metavar="N|P%", help="Stop when more are rejected."
)


def delivery_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that override `delivery:`."""
    for option in (
        click.option(
            "--batch-messages", type=click.IntRange(1), metavar="N", help="Messages a request."
        ),
        click.option(
            "--batch-bytes",
            type=click.IntRange(1000, 500_000),
            metavar="N",
            help="Bytes a request.",
        ),
        click.option(
            "--connections", type=click.IntRange(1, 64), metavar="N", help="Requests at a time."
        ),
        click.option(
            "--rate",
            callback=rate,
            metavar="N|unlimited",
            shell_complete=lambda _ctx, _param, start: [
                word for word in ("unlimited",) if word.startswith(start)
            ],
            help="Requests a second.",
        ),
    ):
        command = option(command)
    return command


def sending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the verbs that send: how patient they are, and how much they say."""
    talk = (NO_PROGRESS, LOG_FORMAT, VERBOSE, QUIET, JSON)
    for option in (*talk, SAMPLES, KEY_FILE, MAX_OUTAGE, MAX_REJECTS, STATE, GZIP):
        command = option(command)
    return delivery_options(command)


DECAY_MS: Final = 400
"""How long memory that was given back is kept for the next record batch: 1000 as Arrow has it is
15 MB more at the peak, 200 a twentieth more CPU."""


def make_arrow_light() -> None:
    """Make pyarrow cost less start-up and memory, before it makes its first array.

    It would import pandas, only to know a Series if it met one: a quarter of a second. Where pandas
    is really used it is imported then, as ever. And it takes the allocator that gives most memory
    back: with mimalloc, the default, a run is 30 MB larger and as fast. Only for this process,
    whose arrays are all our own: a library must not do that to its host.
    """
    import pyarrow as pa  # noqa: PLC0415

    is_chosen = "ARROW_DEFAULT_MEMORY_POOL" in os.environ
    if not is_chosen and "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(DECAY_MS)
    shim = getattr(pa.lib, "_pandas_api", None)
    if shim is None or "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas())
    try:
        assert not shim.have_pandas
    finally:
        sys.meta_path.pop(0)


class _NoPandas:
    """An importer that knows one thing: there is no pandas."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse pandas, leave the others to the importers after this one."""
        if name == "pandas":
            raise ImportError(name)


def talk(*, is_quiet: bool = False) -> Callable[[str], None]:
    """Return what says words to a person: on stderr, since stdout is data."""
    return lambda words: None if is_quiet else click.echo(words, err=True)


def settings_of(**given: Any) -> Settings:
    """Make settings of what click gave."""
    from backfill.launch import Settings  # noqa: PLC0415  heavy, and --help needs none of it

    resuming = [word for word in sys.argv[1:] if word not in BEGIN_AGAIN]
    return Settings(**given, command=shlex.join(["backfill", *resuming]), is_alone=True)
