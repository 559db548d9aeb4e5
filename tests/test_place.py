"""A resume begins to read at a byte that is proven, and reads all where it is not."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger import Reply

from backfill.source.place import AROUND_BYTES, BEGIN, Place, Places, begin_of, proof_of

if TYPE_CHECKING:
    from conftest import Cli
    from ledger import Ledger

ROWS: Final = 6_500
LIMIT: Final = 6_200
PAD: Final = "x" * 6_000
"""So that 40 MB have few rows: places are 8 MiB apart."""

START_BYTES: Final = 20 << 20
"""More than a command reads for itself, of modules and the like, beside the file."""

MAPPING: Final = """\
version: 1
name: events
source: {path: FILE}
messages:
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: at
    properties: {total: {column: total, type: number}, note: note}
"""
RUN: Final = ("run", "events.yaml", "--json", "--rate", "unlimited")


def write(folder: Path, form: str) -> Path:
    """Write rows with all that a line end may be taken for, and some that are rejected."""
    path = folder / f"events.{form}"
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write("person,at,total,note,pad\r\n" if form == "csv" else "")
        for n in range(ROWS):
            total = "none" if n % 977 == 0 else f"{n}.25"
            note, at = f"a “note”\n{n},b\r\n", "2020-01-02T03:04:05Z"
            if form == "csv":
                row = "ragged" if n % 499 == 0 else f'p{n % 9},{at},{total},"{note}",{PAD}'
                stream.write(f"{row}\r\n" + "\n" * (n % 13 == 0))
            else:
                cells = {"person": f"p{n % 9}", "at": at, "total": total, "note": note, "pad": PAD}
                stream.write(json.dumps(cells) + "\n" + "\r\n" * (n % 13 == 0))
    (folder / "events.yaml").write_text(MAPPING.replace("FILE", path.name))
    return path


def resume(cli: Cli, ledger: Ledger) -> tuple[int, dict[str, Any]]:
    """Run to the end. Returns the bytes read by the first request, and the report."""
    read: list[int] = []

    def answer(_body: bytes) -> Reply:
        if not read:
            io_of = Path(f"/proc/{running.pid}/io").read_text(encoding="ascii")
            read.append(int(io_of.split()[1]))  # rchar
        return Reply()

    ledger.answer = answer
    running = cli.start(*RUN, "--to", ledger.url)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 3, err
    return read[0], json.loads(out.splitlines()[-1])


def state_of(folder: Path) -> Path:
    return folder / ".backfill" / "events" / "checkpoint.json"


def with_place(path: Path, place: list[Any] | None) -> None:
    """Put another place into a state; None: as versions wrote it that knew of none."""
    members = json.loads(path.read_text())
    del members["crc32"], members["files"][0]["place"]
    if place is not None:
        members["files"][0]["place"] = place
    data = json.dumps(members, separators=(",", ":")).encode()
    path.write_bytes(data[:-1] + f',"crc32":"{zlib.crc32(data):08x}"}}\n'.encode())


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_resume_reads_little_before_its_first_request_and_sends_what_is_left(
    form: str, cli: Cli, ledger: Ledger, tmp_path: Path
) -> None:
    path = write(tmp_path, form)
    size_bytes = path.stat().st_size
    assert cli(*RUN, "--to", ledger.url, "--limit", LIMIT).code == 3
    first, saved = len(ledger.sent), state_of(tmp_path).read_bytes()
    row, offset, proof = json.loads(saved)["files"][0]["place"]
    assert size_bytes // 2 < offset < size_bytes
    assert LIMIT // 2 < row <= LIMIT

    read_bytes, report = resume(cli, ledger)
    assert read_bytes < size_bytes - offset + START_BYTES, f"{read_bytes:,} of {size_bytes:,}"
    rows, ids = report["rows"], [sent.message_id for sent in ledger.sent]
    assert (rows["read"], rows["pending"]) == (ROWS, 0)
    assert len(set(ids)) == len(ids) == rows["delivered"]
    rejects = (tmp_path / report["rejects"]).read_bytes()

    # what is wrong with a place costs time, and nothing else: the very same messages and rejects
    sent = sorted(one.text for one in ledger.sent[first:])
    before = len(ledger.sent)
    state_of(tmp_path).write_bytes(saved)
    with_place(state_of(tmp_path), None if form == "csv" else [row, offset + 1, proof])
    read_bytes, again = resume(cli, ledger)
    assert read_bytes > LIMIT / ROWS * size_bytes, f"{read_bytes:,} of {size_bytes:,}"
    assert sorted(one.text for one in ledger.sent[before:]) == sent
    assert again["rows"] == rows
    assert (tmp_path / again["rejects"]).read_bytes() == rejects


PLACES: Final = st.lists(st.integers(1, 90), max_size=9).map(sorted)


@given(PLACES, st.lists(st.integers(0, 99), max_size=9).map(sorted))
def test_the_last_place_at_or_before_a_row_is_found(rows: list[int], asked: list[int]) -> None:
    places = Places()
    for row in rows:
        places.note(Place(row, 10 * row, ""))
    places.note(None)
    for row in asked:
        found = places.before(row)
        assert (found.row if found else None) == max((r for r in rows if r <= row), default=None)


def test_a_place_is_believed_where_the_same_bytes_are_around_it() -> None:
    data = bytes(n % 251 for n in range(4 * AROUND_BYTES))
    place = Place(7, 2 * AROUND_BYTES, proof_of(io.BytesIO(data), 2 * AROUND_BYTES, "how"))
    assert Place.load(place.dump()) == place
    assert Place.load([]) is None

    def begin(data: bytes, start: int = 9, how: str = "how", place: Place | None = place) -> Place:
        return begin_of(io.BytesIO(data), place, start, how)

    assert begin(data) is begin(data, start=7) is place
    assert begin(data, start=6) is BEGIN
    assert begin(data, how="other") is BEGIN
    assert begin(data, place=None) is BEGIN
    assert begin(data[: place.offset]) is BEGIN
    assert begin(b"x" + data) is BEGIN
    for at in (place.offset - AROUND_BYTES, place.offset - 1, place.offset, place.offset + 4_000):
        assert begin(data[:at] + b"\xff" + data[at + 1 :]) is BEGIN
    assert begin(data, place=Place(7, place.offset + 251, place.proof)) is BEGIN
