"""The house stands: modules import only what is before them, and each library has one door."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
ROOMS: Final = (
    *("lints", "errors", "spec", "codes", "log", "private"),
    *(
        "mapping.strict_yaml",
        "mapping.forms",
        "mapping.document",
        "mapping.words",
        "mapping.functions",
    ),
    *("mapping.tree", "mapping.syntax", "mapping.reader", "mapping.calls", "mapping.expression"),
    *("mapping.kinds", "mapping.literals", "mapping.reads", "mapping.groups", "mapping.star"),
    *("mapping.nightly", "mapping.dialect", "mapping.uri", "mapping.check"),
    *(
        "mapping.load",
        "mapping.streams",
        "mapping.origin",
        "mapping.hover",
        "mapping.schema",
        "mapping",
    ),
    *(
        "columns",
        "texts",
        "source.place",
        "source.span",
        "source.trouble",
        "source.remote",
        "source.files",
    ),
    *("source.recode", "source.wholerows"),
    *("source.dialect", "source.header", "source.parts", "source.ragged", "source.csv"),
    *("source.jsontree", "source.jsonl"),
    *("source.parquet", "source.letters", "source"),
    *("jsontext", "number", "zone", "clock", "timestamp", "cells"),
    *("natural", "convert"),
    *("exact", "operand", "coerce", "judge", "casts", "compute", "evaluate"),
    *("aggregate", "transform", "message"),
    *("validate", "identity", "encode", "durable", "known", "changed", "marks", "piece", "batch"),
    *(
        "watermark",
        "order",
        "grouping",
        "units",
        "since",
        "fit",
        "plan",
        "reading",
        "pipeline",
        "ahead",
        "slots",
        "apart",
    ),
    *(
        "answer",
        "whole",
        "packed",
        "ratelimit",
        "backoff",
        "deadline",
        "kept",
        "causes",
        "wire",
        "destination",
        "narrow",
        "senders",
        "errand",
        "deliver",
        "figures",
        "shard",
        "engine",
        "engine.local",
    ),
    *(
        "lock",
        "defuse",
        "rejects",
        "checkpoint",
        "veil",
        "tallies",
        "delivered",
        "resume",
        "memory",
        "report",
    ),
    *("chronicle", "history", "pictures", "page_style", "page_parts", "page", "ending"),
    *("recent", "people", "folder", "survey", "sample"),
    *("propose.names", "propose.facts", "propose.numerals", "propose.moments", "propose.values"),
    *("propose.roles", "propose.proposal", "propose.body", "propose.compose", "propose.join"),
    *("propose.dialect", "propose.spread", "propose.unique", "propose.stream"),
    *("propose.writer", "propose.rehearse", "propose"),
    *("verdict", "runner", "retry"),
    *("sandbox.rules", "sandbox.auth", "sandbox.wire", "sandbox.faults", "sandbox.database"),
    *("sandbox.provenance", "sandbox.seen", "sandbox.people", "sandbox.acts", "sandbox.view"),
    *(
        "sandbox.batch",
        "sandbox.tally",
        "sandbox.store",
        "sandbox.lists",
        "sandbox.changes",
        "sandbox.chart",
    ),
    *("sandbox.row", "sandbox.pages", "sandbox.reads", "sandbox.guard", "sandbox.app"),
    *("sandbox.server", "sandbox", "sandbox.rehearsal"),
    "launch",
    *("cli.stdio", "cli.signals", "cli.outcome", "cli.complete", "cli.manual"),
    *("cli.options", "cli.progress", "cli.run"),
    *("cli.findings", "cli.layout"),
    *("cli.check", "cli.preview", "cli.retry", "cli.init"),
    *("cli.ping", "cli.sandbox", "cli.schema", "cli.status", "cli"),
    *("api", "", "__main__"),
)
"""In import order; the package itself is '', since `import backfill` gives what `api` has."""

DOORS: Final = {
    "ruamel": {"mapping.strict_yaml", "propose.writer"},
    "pydantic": {"mapping.forms", "mapping.document", "mapping.load"},
    "pydantic_core": {"mapping.words"},
    "requests": {"wire"},
    "urllib3": {"wire"},
    "isal": {"packed"},
    "filelock": {"lock"},
    "keyring": {"destination"},
    "starlette": {"sandbox.app", "sandbox.reads", "sandbox.pages", "sandbox.guard"},
    "jinja2": {"sandbox.pages"},
    "uvicorn": {"sandbox.server"},
    "tqdm": {"cli.progress"},
    "matplotlib": {"pictures"},
    "click": {room for room in ROOMS if room.split(".")[0] == "cli"},
    "pandas": {"timestamp", "report", "api"},
}
FREE: Final = {"pyarrow", "numpy"}
LINES_MAX: Final = 350
BARRED: Final = {"types", "utils", "util", "common", "helpers", "helper", "misc", "base"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name below `backfill`."""
    found = {}
    for path in sorted((ROOT / "backfill").rglob("*.py")):
        parts = path.relative_to(ROOT / "backfill").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(room: str) -> tuple[set[str], set[str]]:
    """What a module imports, anywhere in it and for types too: rooms of ours, and libraries."""
    ours: set[str] = set()
    theirs: set[str] = set()
    for node in ast.walk(ast.parse(modules()[room].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{room} has a relative import"
            names = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "backfill":
                ours.add(rest if rest in modules() else rest.rpartition(".")[0])
            elif top not in sys.stdlib_module_names:
                theirs.add(top)
    return ours, theirs


def test_every_module_has_its_place_in_the_order() -> None:
    assert set(modules()) == set(ROOMS)
    assert len(set(ROOMS)) == len(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_imports_only_modules_before_it(room: str) -> None:
    ours, _ = imports(room)
    later = [name for name in ours if ROOMS.index(name) >= ROOMS.index(room)]
    assert not later, f"{room} imports {later}, which stand after it"


@pytest.mark.parametrize("library", sorted({name for room in ROOMS for name in imports(room)[1]}))
def test_a_library_comes_in_through_its_doors_only(library: str) -> None:
    found = {room for room in ROOMS if library in imports(room)[1]}
    assert library in FREE or found <= DOORS.get(library, set()), found


def test_no_module_is_too_long() -> None:
    lines = {n: len(p.read_text(encoding="utf-8").splitlines()) for n, p in modules().items()}
    assert {name for name, count in lines.items() if count > LINES_MAX} == set()


def test_no_module_is_a_drawer_for_everything() -> None:
    assert not [name for name in modules() if name.rpartition(".")[2] in BARRED]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["init", "--help"]]
)
def test_a_quick_word_at_the_command_line_loads_no_heavy_library(arguments: list[str]) -> None:
    """`backfill --help` must feel instant, so Arrow and the like are loaded by the verbs."""
    code = (
        "import json, sys\n"
        "from backfill.cli import backfill, guarded\n"
        f"sys.argv = ['backfill', *{arguments!r}]\n"
        "assert guarded(backfill) == 0\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {"pandas", "pyarrow", "numpy", "requests", "pydantic", "ruamel"}
    heavy |= {"starlette", "uvicorn", "jinja2"}
    assert not loaded & (heavy if arguments[0] != "run" else {"pandas"})
