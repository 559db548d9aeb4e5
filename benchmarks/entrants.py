"""Who takes part: how each is started, what it needs, and what it reads. Nothing is run here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
CACHE: Final = ROOT / ".bench"
NODE: Final = CACHE / "node"

START_UP_ROWS: Final = 1_000
BODY_BYTES_MAX: Final = 475_000

TITLES: Final = {
    "csv": "backfill, CSV",
    "parquet": "backfill, Parquet",
    "per-row": "per-row script (csv, orjson, requests)",
    "dlt": "dlt, Arrow to a destination of its own",
    "records": "pandas, to_dict('records')",
    "iterrows": "pandas, iterrows",
    "mixpanel": "mixpanel-import (to the sink)",
    "official": "official Python client",
    "node": "official Node client",
}
"""The contest, best first."""

OURS: Final = {
    "csv": ("events.yaml", "events", "csv"),
    "parquet": ("events_parquet.yaml", "events", "parquet"),
    "users": ("users.yaml", "users", "csv"),
    "expressions": ("expressions.yaml", "events", "csv"),
    "where": ("where.yaml", "events", "csv"),
    "keys": ("keys.yaml", "events", "csv"),
    "wide": ("wide.yaml", "wide", "csv"),
}
"""What backfill runs: its mapping, the kind of data and the format."""

PEERS: Final = {
    "per-row": ("per_row.py",),
    "records": ("naive_pandas.py", "records"),
    "iterrows": ("naive_pandas.py", "iterrows"),
    "dlt": ("dlt_import.py",),
    "official": ("official.py",),
    "node": ("official_node.cjs",),
    "mixpanel": ("mixpanel_import.cjs",),
}
"""The script of each, and what it is told beside the file and the port."""

PACKAGES: Final = {
    "per-row": ("orjson", "requests"),
    "records": ("pandas", "requests"),
    "iterrows": ("pandas", "requests"),
    "dlt": ("dlt", "orjson", "requests"),
    "official": ("customerio",),
}
PROGRAMS: Final = {"node": ("node", "npm"), "mixpanel": ("node", "npm")}

HIDDEN: Final = ("BACKFILL_", "CUSTOMERIO_", "PYTHONDONTWRITEBYTECODE", "COVERAGE", "NODE_OPTIONS")
PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Entrant:
    """One program with its input."""

    name: str
    rows: int
    """Rows of its input."""
    options: tuple[str, ...] = ()
    """More options of `backfill run`."""
    program: tuple[str, ...] = ("-m", "backfill")
    """What Python runs, of ours."""

    @property
    def kind(self) -> str:
        """The kind of data it reads."""
        return OURS[self.name][1] if self.name in OURS else "events"

    @property
    def mapping(self) -> str:
        """The name of its mapping's file, of ours."""
        return OURS[self.name][0]

    def source(self, data: Path) -> Path:
        """Return its file in the folder of the data."""
        ending = OURS[self.name][2] if self.name in OURS else "csv"
        return data / f"{self.kind}-{self.rows}.{ending}"

    def command(self, *, data: Path, port: int, state: str) -> list[str]:
        """Return how to start it."""
        source = self.source(data)
        if self.name in OURS:
            mapping = str(HERE / "mappings" / self.mapping)
            options = self._options(source, port, state)
            return [sys.executable, *self.program, "run", mapping, *options]
        script, *more = PEERS[self.name]
        runtime = sys.executable if script.endswith(".py") else "node"
        return [runtime, str(HERE / script), str(source), str(port), *more]

    def _options(self, source: Path, port: int, state: str) -> list[str]:
        return [
            *("--source", str(source)),
            *("--to", f"http://127.0.0.1:{port}"),
            *("--rate", "unlimited", "--batch-messages", "100000"),  # fill bodies by bytes
            *("--state", state),
            *("--no-progress", "--quiet"),
            *self.options,
        ]


def environment() -> dict[str, str]:
    """Ours, without what would change a run: settings of backfill, proxies, no .pyc files."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(HIDDEN) and name.upper() not in PROXIES
    }
    node = {"NODE_PATH": str(NODE / "node_modules"), "NODE_ENV": "production"}
    plain = {"CUSTOMERIO_WRITE_KEY": "bench", "BACKFILL_PICTURES": "no"}  # part start-up has them
    return {**kept, **node, **plain}


def lacking(name: str) -> str | None:
    """Return why an entrant cannot run here, with what to do about it; None where it can."""
    packages = [p for p in PACKAGES.get(name, ()) if importlib.util.find_spec(p) is None]
    if packages:
        return f"{', '.join(packages)} not installed: pip install -e '.[bench]'"
    programs = [p for p in PROGRAMS.get(name, ()) if shutil.which(p) is None]
    if programs:
        return f"{', '.join(programs)} not found: install Node.js 20 or later with npm"
    return None
