"""The page of errors is the one that the program's own tables make."""

from __future__ import annotations

from pathlib import Path

from backfill.codes import Code
from backfill.errorpage import TO_DO, errors_page
from backfill.errors import ExitCode

PAGE = Path(__file__).parent.parent / "docs/errors.md"


def test_the_committed_page_of_errors_is_the_one_that_is_made() -> None:
    assert PAGE.read_text(encoding="utf-8") == errors_page()


def test_every_code_has_a_place_of_its_own_on_the_page() -> None:
    heads = [line[4:] for line in errors_page().splitlines() if line.startswith("### ")]
    assert heads == [code.value for code in Code]
    assert set(TO_DO) == {int(code) for code in ExitCode}
