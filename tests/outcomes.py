"""`python tests/outcomes.py`: every file of ../shared/data, read as its mapping says, in one table.

The mappings are written here: all columns of the file as properties of a track event. What must
come of each file stands in `outcomes.json`, with the options of `source` that it needs;
`test_outcomes.py` compares. Nothing is sent: the rooms are those of `backfill check`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from backfill.batch import Limits
from backfill.errors import BackfillError
from backfill.mapping import load_mapping
from backfill.mapping.document import SourceSpec
from backfill.plan import make_plan
from backfill.source import find_files, open_file
from backfill.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.plan import Plan

SHARED: Final = Path(__file__).parent.parent.parent / "shared" / "data"
EXPECTED: Final = Path(__file__).with_name("outcomes.json")
FOLDERS: Final = ("csv", "parquet", "json")
NOW_MS: Final = 1_700_000_000_000
NO_SOURCES: Final = ("README.md", "cases.json")
"""cases.json has 152 files in it: `test_papaparse.py`."""


class Trial(NamedTuple):
    """One file with one mapping, and what must come of it."""

    file: str
    source: dict[str, Any]
    """What the mapping says of the file but for its path."""
    outcome: str


def files() -> list[str]:
    """Return every file that must be in the table, named below ../shared/data."""
    found = (path for folder in FOLDERS for path in (SHARED / folder).rglob("*") if path.is_file())
    names = [path.relative_to(SHARED) for path in sorted(found)]
    twins = Path("csv/csv-spectrum/json")  # what csv-spectrum says that its files hold
    return [str(n) for n in names if n.name not in NO_SOURCES and twins not in n.parents]


def trials() -> Iterator[Trial]:
    """Yield what `outcomes.json` says."""
    for file, tried in json.loads(EXPECTED.read_bytes()).items():
        for source, outcome in tried:
            yield Trial(file, source, outcome)


def source_of(file: str, folder: Path) -> Path:
    """Return the path to be read; the texts of a JSON suite are lines of a file of their own."""
    path = SHARED / file
    if path.suffix != ".json":
        return path
    texts = [case["input"].replace("\n", " ") for case in json.loads(path.read_bytes())]
    made = folder / "texts.jsonl"
    made.write_text("".join(f'{{"value":{text}}}\n' for text in texts), "utf-8")
    return made


def planned(trial: Trial, folder: Path) -> Plan:
    """Write the mapping of a trial and plan it. Raises BackfillError."""
    path = source_of(trial.file, folder)
    spec = SourceSpec.model_validate({"path": [str(path)], **trial.source})
    (file,) = find_files([str(path)], folder, spec.format)
    reader = open_file(file, spec)
    names = [name for name in reader.columns if name]
    document = {
        "version": 1,
        "name": "outcome",
        "source": {"path": str(path), **trial.source},
        "messages": [
            {
                "type": "track",
                "userId": {"const": "x"},
                "event": {"const": "Row"},
                "timestamp": {"const": "2020-01-02T03:04:05Z"},
                "properties": {name: _form(name, reader.schema) for name in names},
            }
        ],
    }
    written = folder / "outcome.yaml"
    written.write_text(json.dumps(document), "utf-8")  # JSON is YAML
    mapping = load_mapping(written)
    limits, guards = Limits(475_000, 1_000), mapping.document.guards
    plan = make_plan(mapping, sources=[], guards=guards, limits=limits, now_ms=NOW_MS)
    return plan.hashed({})


def _form(name: str, schema: pa.Schema | None) -> Any:
    """Return the column as it is; times without a zone need one."""
    kind = None if schema is None else schema.field(name).type
    if kind is not None and pa.types.is_timestamp(kind) and kind.tz is None:
        return {"column": name, "timezone": "UTC"}
    return {"column": name}


def outcome(trial: Trial) -> str:
    """Return what becomes of the rows of a file, or the words of its error and the fix."""
    with tempfile.TemporaryDirectory() as name:
        try:
            found = survey(planned(trial, Path(name)), limit=None)
        except BackfillError as fault:
            return f"error: {fault.what}; fix: {fault.fix}".replace(str(SHARED), "…")
    words = [f"{found.rows} rows, {found.counts.built} sent"]
    words += [f"{count} {code}" for code, count in sorted(found.counts.by_code.items())]
    return ", ".join(words)


def main() -> int:
    """Print the table; 1 where an outcome is another than expected, 2 without the data."""
    if not SHARED.is_dir():
        sys.stderr.write(f"the shared data is not on this machine ({SHARED})\n")
        return 2
    others = 0
    for trial in trials():
        found = outcome(trial)
        others += found != trial.outcome
        mark = "" if found == trial.outcome else f"   EXPECTED {trial.outcome}"
        how = json.dumps(trial.source, ensure_ascii=False) if trial.source else ""
        sys.stdout.write(f"{trial.file}  {how}\n    {found}{mark}\n")
    sys.stdout.write(f"{len(files())} files, {others} outcomes other than expected\n")
    return 1 if others else 0


if __name__ == "__main__":
    raise SystemExit(main())
