"""The README is the front door: every command in it is run here, in a copy, as it is printed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backfill.cli import VERBS
from backfill.mapping.document import (
    CsvDialect,
    DeliverySpec,
    Document,
    Guards,
    SourceSpec,
    keys_of,
)
from backfill.mapping.forms import FORMS, ColumnForm
from backfill.sandbox import ASSUMPTIONS, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give a copy of the checkout without a state, and an environment with a local destination."""
    for name in ("samples", "mappings", "benchmarks", "README.md"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "backfill"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m backfill "$@"\n')
    program.chmod(0o755)
    with Sandbox(tmp_path / "elsewhere.sqlite") as sandbox:
        path = os.pathsep.join([str(tools), sysconfig.get_path("scripts"), os.environ["PATH"]])
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "BACKFILL_TO": sandbox.url,
        }
        yield tmp_path, environment


def _run(script: str, fresh: tuple[Path, dict[str, str]]) -> subprocess.CompletedProcess[str]:
    folder, environment = fresh
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_the_first_command_sends_the_samples_and_what_arrived_can_be_shown(
    fresh: tuple[Path, dict[str, str]],
) -> None:
    first = SHELL[0].strip()
    assert first == "pip install . && backfill run mappings/ --to sandbox"
    ran = _run(first.removeprefix("pip install . && "), fresh)
    assert ran.returncode == 0, ran.stderr
    shown = _run("backfill sandbox show person 1", fresh)
    assert "luisg@embraer.com.br" in shown.stdout


def test_the_second_command_is_the_one_that_ci_calls() -> None:
    assert SHELL[1].strip() == "pip install '.[dev]' && pytest"
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "pip install --quiet '.[dev]'" in ci
    assert ci[-1] == "pytest"


def test_the_first_migration_runs_as_it_is_printed(fresh: tuple[Path, dict[str, str]]) -> None:
    tutorial = [block for block in SHELL[2:] if "my" in block or "ping" in block]
    assert len(tutorial) == 4
    script = "\n".join(tutorial).replace("CUSTOMERIO_WRITE_KEY=...", "CUSTOMERIO_WRITE_KEY=key")
    ran = _run(script, fresh)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no row would be rejected or held" in ran.stdout
    assert "leonekohler@surfeu.de" in ran.stdout
    assert "the key is good" in ran.stdout
    assert re.search(r"^people +finished +59 +59$", ran.stdout, re.MULTILINE)
    assert re.search(r"^people: saved \S+ → http://127\.0\.0\.1:\d+$", ran.stdout, re.MULTILINE)
    again = _run("CUSTOMERIO_WRITE_KEY=key backfill run my/people.yaml", fresh)
    assert "nothing new" in again.stdout


MIGRATION = (ROOT / "docs" / "first-migration.md").read_text(encoding="utf-8")


def test_the_long_migration_runs_as_it_is_printed_and_says_what_is_printed(
    fresh: tuple[Path, dict[str, str]],
) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", MIGRATION, re.DOTALL)
    assert len(blocks) == 8
    script = "\n".join(blocks).replace("CUSTOMERIO_WRITE_KEY=...", "CUSTOMERIO_WRITE_KEY=key")
    ran = _run(script, fresh)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for text in re.findall(r"```text\n(.*?)```", MIGRATION, re.DOTALL):
        assert [line for line in text.splitlines() if line.strip() not in ran.stdout] == []
    asked = _run("backfill status --json; backfill status --json --state .backfill-test", fresh)
    real, rehearsed = [json.loads(line)["streams"] for line in asked.stdout.splitlines()]
    delivered = {one["stream"]: one["rows"]["delivered"] for one in real}
    assert delivered == {"customers": 59, "orders": 412, "late": 1}  # and one by the retry
    assert [one["rows"]["delivered"] for one in rehearsed] == [20, 20]
    corrected = _run("backfill sandbox show person 61 --db elsewhere.sqlite", fresh)
    assert "bob@example.com" in corrected.stdout


PROMISES = re.findall(r"\| `([^`|]*pytest tests/[^`|]*)` \|", README)


def test_every_command_of_a_promise_selects_tests() -> None:
    """The commands take minutes; that each names tests that are there takes seconds."""
    assert len(PROMISES) == 22
    named = sorted(set(re.findall(r"tests/\S+", " ".join(PROMISES))))
    ask = ["--collect-only", "-q", "-n0", "-m", "large or not large", *named]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *ask],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = ran.stdout.splitlines()
    for command in PROMISES:
        words = shlex.split(command)
        files = [word for word in words if word.startswith("tests/")]
        mine = [node for node in found if node.split("::")[0] in files]
        assert {node.split("::")[0] for node in mine} == set(files), command
        if "-k" in words:
            parts = words[words.index("-k") + 1].split(" or ")
            assert all(any(part in node for node in mine) for part in parts), command
        if "-m" in words:
            texts = [(ROOT / file).read_text(encoding="utf-8") for file in files]
            assert all("pytest.mark.large" in text for text in texts), command


def test_the_python_lines_run_as_they_are_printed(fresh: tuple[Path, dict[str, str]]) -> None:
    ran = _run(f"{sys.executable} - <<'PYTHON'\n{PYTHON[0]}PYTHON", fresh)
    assert ran.returncode == 0, ran.stderr
    assert "'type': 'track'" in ran.stdout
    assert "'delivered': 412" in ran.stdout


def test_the_benchmark_rehearses_itself(tmp_path: Path) -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler: the benchmark's sink cannot be built")
    assert "python benchmarks/run.py --small" in SHELL[-1]
    # the parts and entrants that are not here share their machinery: tests/test_benchmarks.py
    parts = ["contest", "start-up", "far", "resume"]
    ours_and_theirs = ["--only=csv", "--only=parquet", "--only=per-row", "--only=official"]
    command = [sys.executable, "benchmarks/run.py", "--small", "--out", str(tmp_path)]
    ran = subprocess.run(
        [*command, *parts, *ours_and_theirs],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for title in ("backfill, CSV", "floor, Parquet: Arrow reads, then C sends the bytes"):
        assert f"| {title} |" in ran.stdout
    assert {path.name for path in tmp_path.glob("*.json")} == {f"{name}.json" for name in parts}


def test_every_verb_option_and_key_is_named() -> None:
    words = set(re.findall(r"[A-Za-z_0-9-]+", README))
    assert set(VERBS) <= words
    helped = subprocess.run(
        [sys.executable, "-m", "backfill", "run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    options = set(re.findall(r"--[a-z-]+", helped.stdout)) - {"--help"}
    assert options <= words
    for model in (Document, SourceSpec, ColumnForm, Guards, DeliverySpec, CsvDialect):
        assert set(keys_of(model)) <= words, model
    assert set(FORMS) <= words


def test_the_sandbox_table_says_what_the_sandbox_assumes() -> None:
    for silent, assumed in ASSUMPTIONS:
        assert f"| {silent} | {assumed} |" in README
