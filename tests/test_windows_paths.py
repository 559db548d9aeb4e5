"""Paths as Windows writes them are paths to us, no addresses, and where one is missing we say why.

Pure functions only: nothing here runs on Windows itself, and docs/first-migration.md says so.
"""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.mapping.uri import address_of, is_uri, local_of, shown, why_missing

if TYPE_CHECKING:
    from conftest import Cli

PATHS: Final = (
    r"C:\data\x.csv",
    "C:/data/x.csv",
    "c://data//x.csv",
    r"c:x.csv",
    r"\\server\share\x.csv",
    r"exports\orders_*.csv",
)


@pytest.mark.parametrize("path", PATHS)
def test_a_drive_is_no_scheme(path: str) -> None:
    assert not is_uri(path)
    assert address_of(path) is None
    assert shown(path) == local_of(path) == path


@given(
    st.from_regex(r"[A-Za-z]:[\\/]{1,3}", fullmatch=True),
    st.lists(st.from_regex(r"[\w .-]{1,8}", fullmatch=True), min_size=1, max_size=4),
    st.sampled_from("\\/"),
)
def test_whatever_follows_a_drive_it_stays_a_path(drive: str, names: list[str], slash: str) -> None:
    path = drive + slash.join(names)
    assert PureWindowsPath(path).drive == drive[:2]
    assert address_of(path) is None
    assert local_of(path) == path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///C:/data/my%20x.csv", "C:/data/my x.csv"),
        ("file:///data/C:/x.csv", "/data/C:/x.csv"),
        ("file:///data/x.csv", "/data/x.csv"),
    ],
)
def test_a_file_uri_with_a_drive_means_the_drive(uri: str, path: str) -> None:
    assert local_of(uri) == path


WHY: Final[dict[str, str | None]] = {
    r"exports\orders.csv": "write / between the names: exports/orders.csv",
    r"exports\none.csv": None,
    r"C:\data\my x.csv": "this is a path of Windows; under WSL it is /mnt/c/data/my x.csv",
    "D:/x.csv": "this is a path of Windows; under WSL it is /mnt/d/x.csv",
    "exports\new.csv": (
        r"in double quotes \n and \t are signs of their own: write / between the names"
    ),
    "exports/none.csv": None,
    "c:x.csv": None,
}


@pytest.mark.parametrize("path", WHY)
def test_a_missing_path_of_windows_is_told_how_it_is_written_here(path: str) -> None:
    assert why_missing(path, is_there=lambda name: name == "exports/orders.csv") == WHY[path]


def test_the_command_says_it_where_the_path_stands(cli: Cli) -> None:
    mapping = cli.folder / "m.yaml"
    (cli.folder / "exports").mkdir()
    (cli.folder / "exports/orders.csv").write_text("id\n1\n")
    tail = "messages: [{type: identify, userId: id}]\n"
    mapping.write_text(f"version: 1\nsource: {{path: 'exports\\orders.csv'}}\n{tail}")
    done = cli("check", "m.yaml")
    assert done.code == 2
    assert done.err.splitlines()[1] == "  fix: write / between the names: exports/orders.csv"
    mapping.write_text(f'version: 1\nsource: {{path: "C:\\data\\x.csv"}}\n{tail}')
    assert cli("check", "m.yaml").err.splitlines() == [
        "m.yaml:2:20: this is not YAML: found unknown escape character 'd' [yaml-syntax]",
        (
            r"  fix: in double quotes \ begins a sign of its own: use single quotes, or / between"
            " folders"
        ),
    ]
