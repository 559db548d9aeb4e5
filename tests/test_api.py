"""The Python door: the same launch as the command, pandas in and out, errors with exit codes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from conftest import KEY, ROOT
from ledger import Ledger, Reply

import backfill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Door = Callable[..., dict[str, Any]]
    Orders = Callable[..., Path]


def test_a_mapping_with_faults_carries_every_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\nsource: {path: a.csv, formt: csv}\nmessages: [{type: trak}]\n")
    with pytest.raises(backfill.MappingError) as caught:
        backfill.load_mapping(path)
    assert len(caught.value.lints) == 2
    assert int(caught.value.exit_code) == 2
    assert "did you mean 'format'?" in str(caught.value)


def test_preview_is_a_frame_of_row_type_and_message(orders: Orders) -> None:
    frame = backfill.preview(backfill.load_mapping(orders(10, bad={1})), rows=3)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["row", "type", "message"]
    assert frame["row"].tolist() == [2, 4]
    assert frame["type"].tolist() == ["track", "track"]
    assert frame["message"][0]["properties"] == {"total": 0.5}
    assert frame["message"][1]["userId"] == "p2"


def test_the_door_stays_open_after_its_first_use(orders: Orders, tmp_path: Path) -> None:
    mapping = backfill.load_mapping(orders())
    for _ in range(2):
        assert len(backfill.preview(mapping, rows=2)) == 2
        report = backfill.run(mapping, to="sandbox", state=tmp_path / "state")
        assert isinstance(report, backfill.Report)


def test_preview_of_one_row_and_of_no_row(orders: Orders) -> None:
    mapping = backfill.load_mapping(orders(10))
    assert backfill.preview(mapping, rows=1, row=5)["row"].tolist() == [5]
    none = backfill.preview(mapping, row=999)
    assert (list(none.columns), len(none)) == (["row", "type", "message"], 0)


def test_a_run_to_the_sandbox_gives_a_report(
    orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUSTOMERIO_WRITE_KEY", raising=False)
    mapping = backfill.load_mapping(orders(10, bad={1, 2}))
    report = backfill.run(mapping, to="sandbox", state=str(tmp_path / "state"))
    assert isinstance(report, backfill.Report)
    assert (int(report.exit_code), report.rows["delivered"]) == (3, 8)
    rejects = report.rejects
    assert list(rejects.columns)[-4:] == ["_row", "_column", "_code", "_reason"]
    assert rejects["_row"].tolist() == [3, 4]
    assert rejects["total"].tolist() == ["none", "none"]
    assert rejects["id"].tolist() == ["1", "2"]


def test_no_rejects_are_an_empty_frame(orders: Orders, tmp_path: Path) -> None:
    report = backfill.run(backfill.load_mapping(orders()), to="sandbox", state=tmp_path / "state")
    assert len(report.rejects) == 0
    assert list(report.rejects.columns) == ["_row", "_column", "_code", "_reason"]


@pytest.mark.parametrize(
    ("reply", "code", "what"),
    [
        (Reply(401, b""), 12, "refused the key (401: no reason given)"),
        (Reply(503, b"", (("Retry-After", "301"),)), 4, "the destination asks to wait 301 s"),
    ],
)
def test_what_stops_a_run_is_raised_with_the_exit_code_of_the_command(
    door: Door, orders: Orders, ledger: Ledger, reply: Reply, code: int, what: str
) -> None:
    ledger.answer = lambda _body: reply
    report = door(orders())
    assert report["exit_code"] == code
    assert what in report["error"]["what"]
    assert report["error"]["where"] == ledger.url
    assert report["error"]["fix"]


def test_an_error_is_a_backfill_error(door: Door, orders: Orders, ledger: Ledger) -> None:
    ledger.answer = lambda _body: Reply(403, b"")
    mapping = backfill.load_mapping(orders())
    door(orders(), dry_run=True)
    with pytest.raises(backfill.BackfillError) as caught:
        backfill.run(mapping, to=ledger.url, state=orders().parent / "other")
    assert caught.value.exit_code is backfill.ExitCode.REFUSED


def test_an_option_that_is_not_known_is_a_type_error(orders: Orders) -> None:
    with pytest.raises(TypeError, match="unexpected option 'ratte'"):
        backfill.run(backfill.load_mapping(orders()), ratte=1)


def test_a_run_that_was_done_is_not_done_again(door: Door, orders: Orders, ledger: Ledger) -> None:
    mapping = orders()
    assert door(mapping)["rows"]["delivered"] == 10
    again = door(mapping)
    assert again["note"].startswith("nothing new since ")
    assert len(ledger.arrivals) == 1


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, backfill; assert set(backfill.__all__) <= set(dir(backfill)) | "
        "{'Mapping', 'Report', 'load_mapping', 'preview', 'run'};"
        "heavy = {'pandas', 'pyarrow', 'numpy', 'requests', 'pydantic', 'click', 'starlette'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        backfill.nope  # noqa: B018


def test_the_key_is_in_no_error(door: Door, orders: Orders, ledger: Ledger) -> None:
    ledger.answer = lambda _body: Reply(401, f'{{"error":"bad key {KEY}"}}'.encode())
    assert KEY not in repr(door(orders()))
