"""152 cases of another project's CSV parser: its rows, or a difference that is listed with why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from test_source import SHARED, needs_shared, read

from backfill.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = SHARED / "csv" / "papaparse" / "cases.json"
CASES: Final[list[dict[str, Any]]] = json.loads(FILE.read_bytes()) if FILE.is_file() else []

EMPTY: Final = "the file is empty"
RAGGED: Final = "row-ragged"
GUESSED: Final = {121: "|", 123: ";", 124: ";", 125: ";"}
"""Delimiters that papaparse finds by itself; here a person says them (`init` proposes them)."""

DIFFERENT: Final[dict[int, tuple[str, Any]]] = {
    # a quote that does not close its cell: Arrow goes on behind it, papaparse looks for another
    19: ("the rest of the file is a reject", [RAGGED]),
    20: ("text after a closed quote is kept", [["a,b", 'c"'], RAGGED]),
    21: ("text after a closed quote is kept", [["a", "b,c"], RAGGED]),
    22: ("text after a closed quote is kept", [["a", "bc", "d"], ["e", "f", "g"]]),
    23: ("text after a closed quote is kept", [["a", "b,c\nde", "f", "g"]]),
    # blanks behind a closed quote: nothing is trimmed
    67: ("nothing is trimmed", [["A", "B ", "C", "D"], ["E", "F", "G  ", "H"]]),
    68: (
        "nothing is trimmed",
        [["A", "B", "C", "D "], ["E", "F", "G", "H  "], ["Q", "W", "E", "R"]],
    ),
    69: (
        "nothing is trimmed",
        [["A", "B ", "C", "D "], ["E", "F", "G  ", "H  "], ["Q", "W", "E ", "R"]],
    ),
    145: ("nothing is trimmed", [["A", ",B ", "C", "D"], ["E", "F", "G", "H"]]),
    146: ("nothing is trimmed", [["a", "b", "c\n "], ["d", "e", "f"]]),
    # nothing to read is a fault, not an empty result
    **dict.fromkeys((35, 45, 49, 50, 103, 116), ("a file without a row is a fault", EMPTY)),
    47: ("a comment is named by a text, so 5 is '5'", [["a", "b", "c"], ["d", "e", "f"]]),
    # names that come twice
    59: ("a name twice is a fault with its fix", "two columns are named 'A'"),
    60: ("a name twice is a fault with its fix", "two columns are named 'c'"),
    61: ("a name twice is a fault with its fix", "two columns are named '__proto__'"),
    71: ("every line end ends a row", [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]]),
    74: ("a row with too few cells is a reject", [RAGGED]),
    75: ("a row with too many cells is a reject", [RAGGED, ["f", "g", "h"]]),
    92: ("a row with too many cells is a reject", [RAGGED, ["-4", "-4.5", "-4e-5"]]),
    143: (
        "rows of blanks are rows",
        [["a", "b"], ["", ""], ["c", "d"], [" ", " "], ["", " "], ["\t", "\t"], RAGGED],
    ),
    144: (
        "rows of blanks are rows",
        [["a", "b"], ["", ""], ["c", "d"], [" , ", ","], ['" "', '""']],
    ),
}


def dialect(at: int, config: dict[str, Any]) -> dict[str, Any]:
    """Return a config as our dialect; newline, skipEmptyLines and fastMode need no word here."""
    how: dict[str, Any] = {"header": bool(config.get("header"))}
    if at in GUESSED:
        how["delimiter"] = GUESSED[at]
    if config.get("delimiter", "\n") != "\n":  # it ignores a bad one and guesses
        how["delimiter"] = config["delimiter"]
    if "quoteChar" in config:
        how["quote"] = config["quoteChar"]
    if "escapeChar" in config:
        how["escape"] = config["escapeChar"]
    if "comments" in config:
        how["comment"] = "#" if config["comments"] is True else str(config["comments"])
    if config.get("skipFirstNLines", 0) > 0:
        how["skip_lines"] = config["skipFirstNLines"]
    return how


def rows_wanted(case: dict[str, Any]) -> list[Any]:
    """Return its rows as ours: no blank ones, and those of another width are rejects."""
    data, has_header = case["expected"]["data"], case["config"].get("header")
    if has_header and data and isinstance(data[0], list):
        data = data[1:]
    rows = [list(row.values()) if isinstance(row, dict) else row for row in data]
    rows = [row for row in rows if row != [""]]
    if has_header:
        return rows
    return [row if len(row) == len(rows[0]) else RAGGED for row in rows]


def same(ours: Any, theirs: Any) -> bool:
    """Whether a text is the value; papaparse types some (dynamicTyping), here mappings do."""
    if isinstance(theirs, bool):
        return isinstance(ours, str) and ours.lower() == str(theirs).lower()
    if isinstance(theirs, int | float):
        return float(ours) == theirs
    return bool(ours == ("" if theirs is None else theirs))


@needs_shared
@pytest.mark.parametrize("at", range(152))
def test_a_case_of_papaparse_gives_its_rows_or_a_difference_that_is_listed(
    at: int, tmp_path: Path
) -> None:
    case = CASES[at]
    try:
        found: Any = read(tmp_path, case["input"], csv=dialect(at, case["config"]))
    except SourceError as fault:
        found = fault.what
        assert fault.fix  # noqa: PT017  either way is right, but not without a word
    if preview := case["config"].get("preview"):
        found = found[:preview]
    if at in DIFFERENT:
        assert found == DIFFERENT[at][1]
        return
    wanted = rows_wanted(case)
    assert len(found) == len(wanted), (found, wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs)
        assert all(map(same, ours, theirs)), (ours, theirs)


@needs_shared
def test_every_case_is_run() -> None:
    assert len(CASES) == 152
