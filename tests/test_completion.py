"""Tab completes what a person would have typed, in a real bash."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest
from conftest import ROOT

from backfill.cli import VERBS

if TYPE_CHECKING:
    from pathlib import Path

FILES: Final = ("orders.yaml", "other.yml", "notes.txt", ".hidden.yaml", "mappings/people.yaml")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder with mappings and other files, and the command on the PATH beside it."""
    for name in FILES:
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "here/exports/deep").mkdir(parents=True)
    program = tmp_path / "bin/backfill"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m backfill "$@"\n')
    program.chmod(0o755)
    return tmp_path / "here"


def environment(place: Path) -> dict[str, str]:
    path = os.pathsep.join([str(place.parent / "bin"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PS1": "$ ", "TERM": "dumb"}


LINES: Final[dict[str, list[str]]] = {
    "backfill re": ["retry"],
    "backfill run o": ["orders.yaml", "other.yml"],
    "backfill run ma": ["mappings/", "mappings/people.yaml"],
    "backfill run ./mappings/p": ["./mappings/people.yaml"],
    "backfill run .h": [".hidden.yaml"],
    "backfill run orders.yaml --re": ["--restart", "--recent-events"],
    "backfill run orders.yaml --to ": ["us", "eu", "sandbox"],
    "backfill ping --to s": ["sandbox"],
    "backfill run x --recent-events ": ["hold", "send"],
    "backfill preview other": ["other.yml"],
    "backfill status mappings/": ["mappings/people.yaml"],
    "backfill sandbox show s": ["stats"],
    "backfill init --type al": ["alias"],
    "backfill run exp": [],  # a folder without mappings: the shell goes on by itself
    "backfill init ": [],  # files of data: the shell knows them
}


@needs_bash
def test_bash_offers_verbs_mappings_options_and_destinations(place: Path) -> None:
    ask = (
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); _backfill_completion backfill;"
        ' echo "${COMPREPLY[*]}"'
    )
    lines = [f'{line}""' if line.endswith(" ") else line for line in LINES]
    calls = "\n".join(f"COMP_WORDS=({line}); {ask}" for line in lines)
    script = f'eval "$(_BACKFILL_COMPLETE=bash_source backfill)"\ncompopt() {{ :; }}\n{calls}\n'
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    offered = dict(zip(LINES, done.stdout.splitlines(), strict=True))
    assert {line: told.split() for line, told in offered.items()} == LINES


@needs_bash
def test_the_tab_key_completes_a_mapping_in_an_interactive_bash(place: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment(place))
    try:
        os.write(terminal, b'eval "$(_BACKFILL_COMPLETE=bash_source backfill)"; echo re""ady\n')
        assert "ready" in heard(terminal, "ready")
        os.write(terminal, b"echo backfill > /dev/null; backfill run ord\t")
        assert "orders.yaml " in heard(terminal, "orders.yaml ")
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(child, 0)


def heard(terminal: int, wanted: str, patience_s: float = 30) -> str:
    """Read a terminal until it says something, or nothing more."""
    told, until_s = "", time.monotonic() + patience_s
    while wanted not in told and time.monotonic() < until_s:
        if select.select([terminal], [], [], 0.2)[0]:
            told += os.read(terminal, 4096).decode()
    return told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(place: Path, shell: str) -> None:
    done = subprocess.run(
        ["backfill"],
        env={**environment(place), "_BACKFILL_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_BACKFILL_COMPLETE={shell}_complete" in done.stdout
    assert done.stderr == ""


def test_completion_loads_no_heavy_library(place: Path) -> None:
    code = (
        "import json, os, sys\n"
        "from backfill.cli import backfill\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    os.environ |= {'COMP_WORDS': words, 'COMP_CWORD': str(words.count(' '))}\n"
        "    try:\n"
        "        backfill(prog_name='backfill')\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, words\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    lines = ["backfill ", *[f"backfill {verb} --" for verb in VERBS], "backfill run o"]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)],
        cwd=place,
        env={**environment(place), "_BACKFILL_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = done.stdout.splitlines()
    assert {"plain,run", "plain,--dry-run", "plain,orders.yaml"} <= set(told)
    heavy = {"pandas", "pyarrow", "numpy", "requests", "pydantic", "ruamel", "starlette", "tqdm"}
    assert not heavy & set(json.loads(told[-1]))
