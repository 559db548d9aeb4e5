"""`--help` reads like a page of a manual: complete, in 80 columns, and true."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click
import pytest
from conftest import ROOT

from backfill.cli import VERBS, backfill
from backfill.cli.manual import GROUPS, MANUAL, MEANINGS
from backfill.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Cli


def pages(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that call each command."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from pages(below, (*path, name))


PAGES: Final = list(pages(backfill))
SECTION: Final = re.compile(r"^(\S[\w ]*):$", re.MULTILINE)
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told() -> dict[tuple[str, ...], str]:
    """Return the help of every command, as it is printed."""
    found = {}
    for path in PAGES:
        done = subprocess.run(
            [sys.executable, "-m", "backfill", *path, "--help"],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=True,
        )
        found[path] = done.stdout
    return found


def test_every_command_has_its_page_in_the_manual() -> None:
    assert set(MANUAL) == {"backfill", *VERBS}
    assert ("sandbox", "show") in PAGES


def test_no_line_is_wider_than_80_columns_however_wide_the_terminal(
    told: dict[tuple[str, ...], str],
) -> None:
    for path, text in told.items():
        assert [line for line in text.splitlines() if len(line) > 80] == [], path


def test_every_page_says_what_how_with_which_example_and_which_exit_codes(
    told: dict[tuple[str, ...], str],
) -> None:
    for path, text in told.items():
        name = " ".join(("backfill", *path))
        assert text.startswith(f"Usage: {name} ["), path
        titles = SECTION.findall(text)
        assert titles[-1] in {"Exit codes", "Files", "Environment"}, path
        assert "Exit codes" in titles, path
        assert "Other options" not in titles, f"{name}: put its new option into manual.GROUPS"
        assert "Options" not in titles
        assert re.search(r"\n  Example:\n(    \S.*\n|  \S.*\n)+\n", text), path


def test_the_options_stand_in_groups_and_each_in_one() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(set(names)) == len(names)


def test_the_exit_codes_of_the_manual_are_all_there_are_and_those_of_the_readme() -> None:
    assert set(MEANINGS) == set(ExitCode)
    rows = re.findall(r"^\| (\d+)(?:, (\d+))? \| ", README, re.MULTILINE)
    assert {int(code) for row in rows for code in row if code} == {int(code) for code in ExitCode}


def test_the_examples_of_the_manual_are_commands_that_are_there(
    told: dict[tuple[str, ...], str],
) -> None:
    for path, text in told.items():
        for words in re.findall(r"^    (?:\w+=\S+ )?backfill (.*)$", text, re.MULTILINE):
            verb, *options = words.split()
            assert verb in VERBS, path
            page = told[verb, "show"] if options[:1] == ["show"] else told[verb,]
            known = page.split("\n  Example:\n")[1].partition("\n\n")[2]
            for option in options:
                if option.startswith("-"):
                    assert re.search(rf"(?<!\S){option}(?![\w-])", known), f"{path}: {option}"


def test_the_usage_has_the_same_name_however_the_program_was_started(cli: Cli) -> None:
    done = cli("run")
    assert done.code == 2
    assert done.err.splitlines()[0] == "Usage: backfill run [OPTIONS] MAPPING…"


def test_a_command_that_is_nearly_right_is_told_which_one_is_meant(cli: Cli) -> None:
    done = cli("chek", "mappings")
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        "Error: No such command 'chek'. Did you mean 'check'?",
    )
    assert cli("frobnicate").err.splitlines()[-1] == "Error: No such command 'frobnicate'."


def test_data_in_the_place_of_a_mapping_is_told_how_to_get_one(cli: Cli) -> None:
    (cli.folder / "people.csv").write_text("id\n1\n")
    for verb in ("run", "check", "preview"):
        done = cli(verb, "people.csv")
        assert (done.code, done.err.splitlines()) == (
            2,
            [
                "people.csv: this is data, no mapping",
                "  fix: backfill init people.csv writes a mapping for it",
            ],
        )


def on_a_terminal(folder: Path, *arguments: str, **more: str) -> str:
    """Run the command on a terminal and return what it wrote there."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
        words = [sys.executable, "-m", "backfill", *arguments]
        os.execvpe(sys.executable, words, environment)
    told = b""
    try:
        while part := os.read(terminal, 4096):
            told += part
    except OSError:  # how a terminal of Linux says that nobody writes to it any more
        pass
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0, told
    return told.decode()


def test_colours_are_for_terminals_and_no_color_takes_them_away(
    orders: Callable[..., Path], tmp_path: Path
) -> None:
    orders(2)
    preview = ("preview", "orders.yaml", "--explain")
    coloured = on_a_terminal(tmp_path, *preview, NO_COLOR="", TERM="xterm")
    assert "\x1b[" in coloured
    plain = on_a_terminal(tmp_path, *preview, NO_COLOR="1", TERM="xterm")
    assert "\x1b" not in plain
    assert plain == re.sub(r"\x1b\[[0-9;]*m", "", coloured)
