"""Reading from a place gives the very rows that reading from the begin gives."""

from __future__ import annotations

import codecs
import gzip
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.mapping.document import SourceSpec
from backfill.source import LINE, Place, SourceFile, Span, find_files, open_file
from backfill.source.csv import BLOCK_BYTES, CsvReader
from backfill.source.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANY: Final = settings(max_examples=250, deadline=None, print_blob=True)
WHOLE: Final = 1 << 30
STEP: Final = "backfill.source.parts.STEP_BYTES"
STEP_OF_LINES: Final = "backfill.source.jsonl.STEP_BYTES"

Row = tuple[int, Any]
"""The row; its cells (of JSON lines the line, since types depend on the lines that are read with
it), and what is told of it where it could not be split."""


def file_of(
    folder: Path, data: bytes, name: str = "t.csv", **how: Any
) -> tuple[SourceFile, SourceSpec]:
    (folder / name).write_bytes(data)
    (file,) = find_files([name], folder, None)
    return file, SourceSpec.model_validate({"path": [name], **how})


def rows_of(spans: Iterable[Span]) -> Iterator[Row]:
    for span in spans:
        for offset, cells in enumerate(span.batch.to_pylist()):
            told = {LINE: cells[LINE]} if LINE in cells else cells
            yield span.start + offset, (told, span.broken.get(offset))


def read(file: SourceFile, spec: SourceSpec, start: int = 0) -> list[Row]:
    return list(rows_of(open_file(file, spec).spans(start)))


def places_of(file: SourceFile, spec: SourceSpec) -> list[Place]:
    """The places that are passed by when a file is read from its begin."""
    found = [span.place for span in open_file(file, spec).spans(0)]
    return [place for place in dict.fromkeys(found) if place is not None]


def any_newline(_parts: Parts, window: bytes) -> int:
    """Guess badly: a newline, wherever it stands. What is proven must not depend on guesses."""
    ends = [at + 1 for at in range(len(window) - 3) if window[at] == ord("\n")]
    barred = (b"\r", b"\n", codecs.BOM_UTF8)
    return max((at for at in ends if not window.startswith(barred, at)), default=0)


TEXTS: Final = st.lists(
    st.sampled_from(
        [
            *(
                '"',
                '""',
                ",",
                "\n",
                "\r",
                "\r\n",
                "a",
                "é",
                "\ufeff",
                "\n\n",
                '"\n',
                ',"',
                '"x\ny",z',
            ),
            *(
                "a,b\n",
                "c,d\r\n",
                '"e","f"\n',
                "g\n",
                "1,2,3\n",
                'h"i,j\n',
                '"k""l",m\n',
                '"n"o,p\n',
            ),
            *('v,"w\nx"\n', 'v,"' + "t\n" * 9 + '"\n', 'y,"\r\n"\n', 'y,"a\r\nb""\r\n"\r\n'),
            *("q,r\r", "\r\n\r\n", "long" * 12 + ",s\n", '"' + "t\n" * 9 + '",u\n'),
        ]
    ),
    max_size=60,
).map("".join)
HOWS: Final = st.fixed_dictionaries(
    {},
    optional={
        "quote": st.sampled_from(['"', "'", "none"]),
        "skip_lines": st.integers(0, 2),
        "header": st.sampled_from([True, False, ["x", "y"]]),
        "delimiter": st.sampled_from([",", ";", "\t"]),
    },
)


@MANY
@given(
    TEXTS,
    HOWS,
    st.integers(1, 90),
    st.integers(64, 400),
    st.sampled_from(["", "\ufeff"]),
    st.data(),
)
def test_reading_from_any_place_gives_the_rows_that_reading_from_the_begin_gives(
    text: str, how: dict[str, Any], step: int, block: int, mark: str, data: st.DataObject
) -> None:
    begin = mark + "x,y\n" * (how.get("skip_lines", 0) + 1)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("backfill.source.csv.BLOCK_BYTES", block)
        patch.setattr("backfill.source.parts.GUESSES_MAX", data.draw(st.sampled_from([1, 3, 99])))
        if data.draw(st.integers(0, 4)):
            patch.setattr(Parts, "_guess", any_newline)
        file, spec = file_of(Path(name), (begin + text).encode(), csv=how)
        patch.setattr(STEP, WHOLE)
        wanted = read(file, spec)
        assert [row for row, _ in wanted] == list(range(len(wanted)))
        patch.setattr(STEP, step)
        assert read(file, spec) == wanted
        for place in places_of(file, spec):
            begun = replace(file, place=place)
            for start in {place.row, place.row + 1, (place.row + len(wanted)) // 2}:
                assert read(begun, spec, start) == wanted[start:], (place, start)
            assert read(begun, spec, place.row - 1) == wanted[place.row - 1 :]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "utf-16"])
@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_a_line_end_in_a_cell_stays_whole_where_a_block_ends_in_it(
    name: str, shift: int, tmp_path: Path
) -> None:
    """apache/arrow#51368: of CR and LF in two blocks, the LF is lost."""
    begin = b"x,y\r\n" + b"1234567,12345\r\n" * 130_000
    cell = b"z" * (BLOCK_BYTES - len(begin) - 3 + shift) + b"\r\nend"
    text = (begin + b'k,"' + cell + b'"\r\nlast,row\r\n').decode()
    data = text.encode("utf-16" if name == "utf-16" else "utf-8")
    path = tmp_path / (name if "." in name else "t.csv")
    path.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    (file,) = find_files([path.name], tmp_path, None)
    how = {"csv": {"encoding": "utf-16"}} if name == "utf-16" else {}
    found = read(file, SourceSpec.model_validate({"path": [path.name], **how}))
    assert [tuple(cells.values()) for _, (cells, _) in found[-2:]] == [
        (b"k", cell),
        (b"last", b"row"),
    ]
    assert len(found) == 130_002


LINES: Final = st.lists(
    st.sampled_from(
        [
            *(
                '{"a":1,"b":"x"}',
                '{"b":"y","c":[1]}',
                '{"a":"1"}',
                '{"a":1.50}',
                "[]",
                "no",
                '{"a":',
            ),
            *("", " ", "\r", '{"t":"2020-01-02"}', '{"a":"é"}', '{"long":"' + "z" * 70 + '"}'),
        ]
    ),
    max_size=50,
)


@MANY
@given(LINES, st.integers(1, 90), st.integers(8, 64), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_json_lines_from_any_place_are_those_from_the_begin(
    lines: list[str], step: int, block: int, end: str
) -> None:
    text = end.join(lines).encode()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("backfill.source.jsonl.BLOCK_BYTES", block)
        patch.setattr("backfill.source.jsonl.LINE_BYTES_MAX", 70)
        file, spec = file_of(Path(name), text, "t.jsonl")
        patch.setattr(STEP_OF_LINES, WHOLE)
        wanted = read(file, spec)
        assert [row for row, _ in wanted] == list(range(len(wanted)))
        patch.setattr(STEP_OF_LINES, step)
        assert read(file, spec) == wanted
        for place in places_of(file, spec):
            begun = replace(file, place=place)
            for start in {place.row, place.row + 1, (place.row + len(wanted)) // 2}:
                assert read(begun, spec, start) == wanted[start:], (place, start)


KINDS: Final = {
    "plain": ('p{n},"a {n}"\n', "x,y\n"),
    "crlf": ("p{n},{n}\r\n", "x,y\r\n"),
    "two lines in every row": ('"p\n{n}","{n},\r\nq"\r\n', "x,y\r\n"),
    "quotes amid cells": ('p"{n},q"{n}\n', "x,y\n"),
    "blank lines and ragged rows": ("p{n},{n}\n\n\nragged\nq{n},{n}{n}\n", "x,y\n"),
    "one column of texts": ('"text {n}\nmore, {n}"\n', "x\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_large_files_are_read_by_arrow_alone_and_have_their_places(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, begin = KINDS[kind]
    text = begin + "".join(row.replace("{n}", f"{n:050}") for n in range(20_000))
    file, spec = file_of(tmp_path, text.encode())
    monkeypatch.setattr(STEP, WHOLE)
    wanted = read(file, spec)
    monkeypatch.setattr(STEP, 700_001)
    monkeypatch.setattr(CsvReader, "_pieces", None)
    assert read(file, spec) == wanted
    places = places_of(file, spec)
    assert len(places) >= file.size_bytes // 700_001
    for place in places:
        assert read(replace(file, place=place), spec, place.row) == wanted[place.row :]
