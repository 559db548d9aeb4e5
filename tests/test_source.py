"""Files → rows: nothing guessed, nothing lost, a bad row costs only itself, from any row on."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Built, build
from rows import rows_of

from backfill.errors import SourceError, UsageError
from backfill.mapping.document import SourceSpec
from backfill.source import estimate_rows, find_files, hashed, open_file
from backfill.source.csv import BLOCK_BYTES, CsvReader
from backfill.source.jsonl import LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

MANY: Final = settings(max_examples=100, deadline=None, print_blob=True)
ROOT: Final = Path(__file__).parent.parent
SHARED: Final = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the shared data is not on this machine ({SHARED})"
)


def read(folder: Path, data: bytes | str, *, name: str = "t.csv", **how: Any) -> list[Any]:
    """The cells of each row of a CSV as text, or its code."""
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return [texts(cells) for _, cells in rows_of(folder, name, **how)]


def texts(cells: Any) -> Any:
    if isinstance(cells, dict):
        return [cell.decode() if isinstance(cell, bytes) else cell for cell in cells.values()]
    return cells


def traits(folder: Path, data: bytes | str, *names: str, name: str = "t.csv", **how: Any) -> Built:
    """Identify the rows of a file by their column `id`; the other columns named are traits."""
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    message = {"type": "identify", "userId": "id", "traits": {one: one for one in names}}
    source = {"path": name, **how}
    return build({"version": 1, "name": "t", "source": source, "messages": [message]}, folder)


def people(made: Built) -> dict[str, Any]:
    return {one["userId"]: one.get("traits", {}) for (one,) in made.messages.values()}


# CSV: the traps


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        pytest.param(
            "id,a\n007,12345678901234567890\n", [["007", "12345678901234567890"]], id="digits"
        ),
        pytest.param(
            "id,a\nNA,null\nNone,nan\n", [["NA", "null"], ["None", "nan"]], id="NA is a word"
        ),
        pytest.param(
            "id,a\nTrue,1e5\n0x10, 5 \n", [["True", "1e5"], ["0x10", " 5 "]], id="no guess"
        ),
        pytest.param('id,a\n1,""\n2,\n', [["1", ""], ["2", ""]], id="empty and quoted empty"),
        pytest.param(
            'id,a\n1,"x\ny"\n2,"x\r\ny"\n', [["1", "x\ny"], ["2", "x\r\ny"]], id="line ends"
        ),
        pytest.param('id,a\n1,"x""y,"\n', [["1", 'x"y,']], id="doubled quotes and a comma"),
        pytest.param('id,a\n1,x"y\n2,z\n', [["1", 'x"y'], ["2", "z"]], id="a stray quote inside"),
        pytest.param("id,a\n1,x\x00y\n", [["1", "x\x00y"]], id="NUL"),
        pytest.param("id,a\r1,x\r2,y\r", [["1", "x"], ["2", "y"]], id="CR only"),
        pytest.param("id,a\r\n1,x\r\n", [["1", "x"]], id="CRLF"),
        pytest.param(
            "id,a\n1,x\r\n2,y\r3,z", [["1", "x"], ["2", "y"], ["3", "z"]], id="mixed ends"
        ),
        pytest.param("id,a\n1,x", [["1", "x"]], id="no final newline"),
        pytest.param("\n\nid,a\n\n1,x\n\n\n2,y\n\n", [["1", "x"], ["2", "y"]], id="blank lines"),
        pytest.param("\ufeffid,a\n1,x\n", [["1", "x"]], id="BOM"),
        pytest.param('\ufeff"id",a\n1,x\n', [["1", "x"]], id="BOM before a quote"),
        pytest.param('"i""d","a\nb"\n1,x\n', [["1", "x"]], id="odd header names"),
        pytest.param("id,a\n", [], id="header only"),
        pytest.param("id,a", [], id="header only, no newline"),
        pytest.param("id,a\n\n\n", [], id="header and blank lines"),
        pytest.param("id\n1\n\n2\n", [["1"], ["2"]], id="one column, a blank line"),
        pytest.param('id\n1\n""\n2\n', [["1"], [""], ["2"]], id="one column, a blank cell"),
        pytest.param("id,a\n1,x,2\n3,y\n", ["row-ragged", ["3", "y"]], id="long first row"),
        pytest.param("id,a\n1\n3,y\n", ["row-ragged", ["3", "y"]], id="short first row"),
        pytest.param("id,a\n1,x\n3\n", [["1", "x"], "row-ragged"], id="ragged last row"),
        pytest.param("id,a\n1,2,3\n4\n", ["row-ragged"] * 2, id="only ragged rows"),
        pytest.param("id,a\n  \n1,x\n", ["row-ragged", ["1", "x"]], id="a line of spaces"),
        pytest.param(
            'id,a\n1,"x\ny",z\n2,y\n', ["row-ragged", ["2", "y"]], id="ragged, with a line end"
        ),
    ],
)
def test_a_csv_is_read_as_it_is_written(data: str, rows: list[Any], tmp_path: Path) -> None:
    assert read(tmp_path, data) == rows


def test_a_quote_that_is_never_closed_loses_no_row_in_silence(tmp_path: Path) -> None:
    """Else the rest of the file becomes the text of one cell."""
    data = 'id,a\n1,x\n2,"y\n3,z\n'
    try:
        made = traits(tmp_path, data, "a")
    except SourceError:
        return
    assert people(made).get("2") != {"a": "y\n3,z\n"}, "row 3 went out as a part of row 2"


def test_a_ragged_row_with_a_bad_byte_costs_only_itself_too(tmp_path: Path) -> None:
    """One row of another encoding with a comma too many must not stop the file."""
    made = traits(tmp_path, b"id,a\n0,y\n1,Bj\xf8rn,z\n2\n3,x\n", "a")
    assert people(made) == {"0": {"a": "y"}, "3": {"a": "x"}}
    assert sorted(made.rejects) == [1, 2]


def test_a_ragged_row_tells_how_many_cells_it_has_and_what_is_left_over(tmp_path: Path) -> None:
    made = traits(tmp_path, 'id,a\n1,x\n2,y,z,"w, v"\n\n3\n4,q\n', "a")
    assert people(made) == {"1": {"a": "x"}, "4": {"a": "q"}}
    told = {row: reason.split(";")[:2] for row, (_, _, reason) in made.rejects.items()}
    assert told[1] == ["the row has 4 cells, the header has 2", " left over: z,w, v"]
    assert told[2][0] == "the row has 1 cell, the header has 2"
    assert made.codes == {1: "row-ragged", 2: "row-ragged"}


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    """The header is row 1, blank lines are none; Parquet and JSON lines count from 1."""
    (tmp_path / "t.csv").write_text("id\n1\n2\nid\n3\n")
    (tmp_path / "t.jsonl").write_text('{"id":"1"}\n')
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "t.parquet")
    first = []
    for how in (
        *({"path": ["t.csv"]}, {"path": ["t.csv"], "csv": {"header": False}}),
        *({"path": ["t.csv"], "csv": {"skip_lines": 3}}, {"path": ["t.jsonl"]}),
        {"path": ["t.parquet"]},
    ):
        spec = SourceSpec.model_validate(how)
        (file,) = find_files(spec.path, tmp_path, None)
        first.append(open_file(file, spec).first_row)
    assert first == [2, 1, 5, 1, 1]


def test_a_bad_byte_costs_only_its_row(tmp_path: Path) -> None:
    data = b"id,a,b\n1,Bj\xc3\xb8rn,x\n2,Bj\xf8rn,y\n3,z,\xff\n"
    made = traits(tmp_path, data, "a")
    assert people(made) == {"1": {"a": "Bjørn"}, "3": {"a": "z"}}
    assert made.codes == {1: "not-utf8"}


@pytest.mark.parametrize(
    ("data", "how", "words"),
    [
        (b"", {}, "the file is empty"),
        (b"\n\n\r\n", {}, "the file is empty"),
        (b"id,a,a\n1,2,3\n", {}, "two columns are named 'a'"),
        ("id,a\n1,x\n".encode("utf-16"), {}, "the file is UTF-16"),
        ("id,é\n".encode("utf-16-be"), {}, "UTF-16|not UTF-8|no column|named"),
        ("id,Straße\n1,x\n".encode("latin-1"), {}, "the header is not UTF-8"),
        (b"id,a\n1,x\n", {"header": ["id", "id"]}, "two columns are named 'id'"),
    ],
)
def test_a_csv_that_cannot_be_read_is_refused_with_a_fix(
    data: bytes, how: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(SourceError, match=words) as caught:
        rows_of(tmp_path, "t.csv", csv=how)
    assert caught.value.fix
    assert caught.value.where == str(tmp_path / "t.csv")


def test_utf_16_is_named_as_the_fix_and_the_fix_works(tmp_path: Path) -> None:
    data = "id,a\n1,Bjørn\U0001f600\n".encode("utf-16")
    with pytest.raises(SourceError, match="encoding: utf-16"):
        read(tmp_path, data)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        text = "id,a\n1,Bjørn\U0001f600\n".encode(encoding)
        assert read(tmp_path, text, csv={"encoding": encoding}) == [["1", "Bjørn\U0001f600"]]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-8-sig", "shift_jis", "gbk", "utf-32"]
)
def test_another_encoding_is_read_when_it_is_named(encoding: str, tmp_path: Path) -> None:
    word = {"shift_jis": "日本", "gbk": "中文"}.get(encoding, "Bjørn")
    data = f"id,{word}\n1,{word}\n2,x\n".encode(encoding)
    assert read(tmp_path, data, csv={"encoding": encoding}) == [["1", word], ["2", "x"]]


@pytest.mark.parametrize("encoding", ["ascii", "shift_jis", "gbk", "cp1252"])
def test_a_byte_that_the_named_encoding_does_not_have_costs_only_its_row(
    encoding: str, tmp_path: Path
) -> None:
    bad = b"\x81" if encoding == "cp1252" else b"\xff"
    parts = ["id,a\n1,", "\n2,x\n"]
    data = parts[0].encode(encoding) + bad + parts[1].encode(encoding)
    made = traits(tmp_path, data, "a", csv={"encoding": encoding})
    assert made.codes == {0: "not-utf8"}
    assert people(made) == {"2": {"a": "x"}}


@pytest.mark.parametrize(
    ("data", "how", "rows"),
    [
        ("id;a\n1;x,y\n", {"delimiter": ";"}, [["1", "x,y"]]),
        ("id|a\n1|x\n", {"delimiter": "|"}, [["1", "x"]]),
        ("id\ta\n1\tx y\n", {"delimiter": "\t"}, [["1", "x y"]]),
        ("'id','a'\n'1','x,''y'\n", {"quote": "'"}, [["1", "x,'y"]]),
        ("1,x\n2,y\n", {"header": False}, [["1", "x"], ["2", "y"]]),
        ("1,x\n2,y\n", {"header": ["id", "a"]}, [["1", "x"], ["2", "y"]]),
        ("1,x\n2\n", {"header": False}, [["1", "x"], "row-ragged"]),
        ("Export of 1 May\n\nid,a\n1,x\n", {"skip_lines": 1}, [["1", "x"]]),
        ('say "hi\nid,a\n1,x\n', {"skip_lines": 1}, [["1", "x"]]),
        ("x\ny\n1,x\n2,y\n", {"skip_lines": 2, "header": ["id", "a"]}, [["1", "x"], ["2", "y"]]),
        ("", {"header": ["id", "a"]}, []),
        ("a\r\nid,a\r\n1,x\r\n", {"skip_lines": 1}, [["1", "x"]]),
        ("a\rid,a\r1,x\r", {"skip_lines": 1}, [["1", "x"]]),
    ],
)
def test_a_csv_is_read_by_the_dialect_that_is_said(
    data: str, how: dict[str, Any], rows: list[Any], tmp_path: Path
) -> None:
    assert read(tmp_path, data, csv=how) == rows


def test_columns_without_a_header_have_numbers_for_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,x\n")
    assert rows_of(tmp_path, "t.csv", csv={"header": False}) == [
        (0, {"column_1": b"1", "column_2": b"x"})
    ]


def test_a_tsv_is_split_at_tabs_unless_another_delimiter_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, "id\ta\n1\tx,y\n", name="t.tsv") == [["1", "x,y"]]
    data = gzip.compress(b"id\ta\n1\tx\n")
    assert read(tmp_path, data, name="t.tsv.gz") == [["1", "x"]]
    assert read(tmp_path, "id;a\n1;x\n", name="t.tsv", csv={"delimiter": ";"}) == [["1", "x"]]
    (tmp_path / "my.tsv.files").mkdir()
    assert read(tmp_path / "my.tsv.files", "id,a\n1,x\n", name="t.csv") == [["1", "x"]]


def test_a_header_without_a_name_is_no_fault_until_it_is_mapped(tmp_path: Path) -> None:
    assert people(traits(tmp_path, "id,,a,\n1,x,y,z\n", "a")) == {"1": {"a": "y"}}


@pytest.mark.parametrize(
    "long",
    [
        pytest.param("y" * (4 * BLOCK_BYTES), id="one long cell"),
        pytest.param('"' + 'y\n""' * BLOCK_BYTES + '"', id="quoted, with line ends and quotes"),
        pytest.param("y," * (2 * BLOCK_BYTES), id="many cells"),
        pytest.param('"y",' * BLOCK_BYTES, id="many quoted cells"),
    ],
)
def test_a_row_longer_than_the_limit_costs_only_itself(long: str, tmp_path: Path) -> None:
    data = f"id,a\n1,x\n2,{long}\n\n3\n4,\xff\n".encode("latin-1") + b"5,z"
    made = traits(tmp_path, data, "a")
    assert people(made) == {"1": {"a": "x"}, "5": {"a": "z"}}
    assert made.codes == {1: "row-too-long", 2: "row-ragged", 3: "not-utf8"}
    found = rows_of(tmp_path, "t.csv")
    for start in range(6):
        assert rows_of(tmp_path, "t.csv", start) == found[start:]


def test_ragged_rows_at_the_borders_of_pieces_keep_their_places_too(tmp_path: Path) -> None:
    """A long row makes the file be read in pieces, and pieces end with ragged rows."""
    rows = [f"{n}" if n % 5 > 1 else f"{n},x" for n in range(200_000)]
    rows[7] = "7," + "y" * (4 * BLOCK_BYTES)
    (tmp_path / "t.csv").write_text("id,a\n" + "\n".join(rows))
    found = rows_of(tmp_path, "t.csv")
    assert [row for row, _ in found] == list(range(200_000))
    ragged = [row for row, cells in found if cells == "row-ragged"]
    assert ragged == [n for n in range(200_000) if n % 5 > 1 and n != 7]
    assert all(int(cells["id"]) == row for row, cells in found if isinstance(cells, dict))


def test_the_cells_before_the_long_one_are_kept_for_the_rejects_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,a,b,c\n"2",x,' + "y" * (4 * BLOCK_BYTES) + ",z\n")
    (file,) = find_files(["t.csv"], tmp_path, None)
    ((broken,),) = (s.broken.values() for s in open_file(file, SourceSpec(path=["t.csv"])).spans(0))
    assert broken.cells == (b"2", b"x", b"", b"")


@pytest.mark.parametrize("before", ["", "y", 'y""', "y\n,"])
def test_a_quote_open_for_longer_than_a_row_may_be_stops_after_the_rows_before_it(
    before: str, tmp_path: Path
) -> None:
    """A stop and no reject: nobody knows how many rows are inside."""
    (tmp_path / "t.csv").write_text(f'id,a\n1,x\n2,"{before}' + "3,z\n" * BLOCK_BYTES)
    rows: list[Any] = []
    (file,) = find_files(["t.csv"], tmp_path, None)
    with pytest.raises(SourceError, match="from row 3 on: a quote is never closed") as caught:
        rows.extend(span.stop for span in open_file(file, SourceSpec(path=["t.csv"])).spans(0))
    assert rows == [1]
    assert caught.value.fix == "close the quote that row 3 opens"


def test_a_header_without_end_is_a_fault_and_not_a_shorter_header(tmp_path: Path) -> None:
    names = ",".join(f"column{n}" for n in range(200_000))
    with pytest.raises(SourceError, match="the header is longer than 1048576 bytes"):
        read(tmp_path, f"{names}\n1,2\n")


@pytest.mark.parametrize(("rows", "words"), [(20, "never closed"), (400_000, "an open quote")])
def test_a_header_that_opens_a_quote_and_never_closes_it_is_a_fault(
    rows: int, words: str, tmp_path: Path
) -> None:
    """Else the file is a header only, and its rows are gone without a word."""
    with pytest.raises(SourceError, match=words):
        read(tmp_path, 'id,"a\n' + "1,2\n" * rows)
    assert read(tmp_path, 'id,5" disk') == []


def test_a_ragged_row_with_a_cell_of_any_length_costs_only_itself(tmp_path: Path) -> None:
    """Python's own reader of CSV refuses a cell over 128 KiB."""
    made = traits(tmp_path, "id,a\n1,x\n2," + "y" * 300_000 + ",z\n3,w\n", "a")
    assert sorted(people(made)) == ["1", "3"]
    assert made.codes == {1: "row-ragged"}


@needs_shared
@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted((SHARED / "csv" / "csv-spectrum" / "csvs").glob("*.csv"))
        if path.stem != "location_coordinates"  # its JSON has another phone number than its CSV
    ],
)
def test_the_csv_spectrum_is_read_as_it_says(path: Path) -> None:
    expected = json.loads((path.parent.parent / "json" / f"{path.stem}.json").read_text("utf-8"))
    found = [cells for _, cells in rows_of(path.parent, path.name)]
    assert [{k: v.decode() for k, v in row.items()} for row in found] == expected


@needs_shared
@pytest.mark.parametrize("path", sorted((SHARED / "csv").glob("[cp]*/*.csv*")))
def test_a_strange_csv_is_read_or_refused_with_a_word_but_never_a_crash(path: Path) -> None:
    try:
        found = rows_of(path.parent, path.name)
    except (SourceError, UsageError) as fault:
        assert fault.fix  # noqa: PT017  either way is right, but not without a word
    else:
        assert [row for row, _ in found] == list(range(len(found)))


# JSON lines


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("5", "row-unreadable"),
        ("[]", "row-unreadable"),
        ('{"id":"1"', "row-unreadable"),
        ('{"id":"1"} x', "row-unreadable"),
        ('{"id":"1","id":"2"}', "row-unreadable"),
        ('{"id":"1","a":NaN}', "row-unreadable"),
        ('{"id":"1","a":Infinity}', "row-unreadable"),
        ('{"id":"1","a":"\\ud800"}', "row-unreadable"),
        ("{'id':'1'}", "row-unreadable"),
        ('{"id":"1","a":01}', "row-unreadable"),
        ('{"id":"1",}', "row-unreadable"),
        ("\ufeff5", "row-unreadable"),
    ],
)
def test_a_bad_json_line_costs_only_itself(line: str, code: str, tmp_path: Path) -> None:
    data = f'{{"id":"a","n":1}}\n{line}\n\n{{"id":"b","n":2}}'
    made = traits(tmp_path, data, "n", name="t.jsonl")
    assert made.codes == {1: code}
    assert sorted(people(made)) == ["a", "b"]


def test_a_json_line_that_is_not_utf_8_costs_only_itself(tmp_path: Path) -> None:
    """What is sent must be UTF-8, or the destination refuses the whole batch."""
    data = b'{"id":"a","n":"x"}\n{"id":"1","n":"\xff"}\n{"id":"b","n":"y"}\n'
    made = traits(tmp_path, data, "n", name="t.jsonl")
    assert made.codes == {1: "not-utf8"}
    assert sorted(people(made)) == ["a", "b"]


@pytest.mark.parametrize("depth", [200, 1_500, 20_000, 100_000])
def test_a_json_line_nested_without_end_costs_only_itself(depth: int, tmp_path: Path) -> None:
    """In a process of its own, since a parser that recurses takes the process with it."""
    bomb = '{"id":"1","a":' + "[" * depth + "]" * depth + "}"
    (tmp_path / "t.jsonl").write_text(f'{{"id":"a"}}\n{bomb}\n{{"id":"b"}}\n')
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom rows import rows_of\n"
        f"found = rows_of(Path({str(tmp_path)!r}), 't.jsonl')\n"
        "assert len(found) == 3 and found[0][1]['id'] == 'a' and found[2][1]['id'] == 'b'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-500:] or f"exit code {done.returncode}"


@pytest.mark.parametrize("value", ["[null]", "[null,null]", "[[]]", "[{}]", "{}", "[[null],[1]]"])
def test_a_json_value_with_nothing_in_it_is_blank(value: str, tmp_path: Path) -> None:
    made = traits(tmp_path, f'{{"id":"1","n":{value}}}\n', "n", name="t.jsonl")
    assert people(made)["1"] == ({"n": [[1]]} if "1" in value else {})


def test_a_key_that_is_null_in_every_line_is_a_column_in_both_ways(tmp_path: Path) -> None:
    for other in ("1.5", "1.50"):
        made = traits(tmp_path, f'{{"id":"1","a":null,"n":{other}}}\n', "a", "n", name="t.jsonl")
        assert list(people(made)["1"]) == ["n"]


def test_json_texts_that_look_like_times_stay_texts(tmp_path: Path) -> None:
    rows = ['{"id":"1","a":"2020-01-01","b":{"c":"2020-01-01T00:00:00Z"},"d":["2020-01-01"]}'] * 2
    made = traits(tmp_path, "\n".join(rows), "a", "b", "d", name="t.jsonl")
    assert people(made)["1"] == {
        "a": "2020-01-01",
        "b": {"c": "2020-01-01T00:00:00Z"},
        "d": ["2020-01-01"],
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_json_line_may_be_long_but_one_without_end_costs_itself(end: str, tmp_path: Path) -> None:
    long = '{"id":"1","a":"' + "x" * (LINE_BYTES_MAX + (2 << 20))
    data = '{"id":"a"}\n{"id":"b","z":"' + "x" * (3 << 20) + f'"}}\n{long}{end}'
    if end:
        data += '{"id":"c"}\n{"id":"d"}'
    made = traits(tmp_path, data, "a", name="t.jsonl")
    assert made.codes == {2: "row-too-long"}
    assert sorted(people(made)) == ["a", "b", *(["c", "d"] if end else [])]
    assert len(rows_of(tmp_path, "t.jsonl", 2)) == (3 if end else 1)


def test_json_lines_that_each_have_keys_of_their_own_are_read_in_small_parts(
    tmp_path: Path,
) -> None:
    """Else a file of a megabyte has thousands of columns of thousands of rows: gigabytes."""
    data = [f'{{"id":"{n}","at{n}":"2020-01-01","n":{{"k{n}":1}}}}' for n in range(4_000)]
    (tmp_path / "t.jsonl").write_text("\n".join(data))
    (file,) = find_files(["t.jsonl"], tmp_path, None)
    spans = list(open_file(file, SourceSpec(path=["t.jsonl"])).spans(0))
    assert sum(span.batch.num_rows for span in spans) == 4_000
    assert max(span.batch.num_rows * span.batch.num_columns for span in spans) < 3 << 20
    ids = [cell for span in spans for cell in span.batch.column("id").to_pylist()]
    assert ids == [str(n) for n in range(4_000)]


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t\n\r\n"])
def test_json_lines_without_a_line_have_no_rows(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, data, name="t.jsonl") == []


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    for other in ("", '{"id":"2","n":1.50}'):
        made = traits(tmp_path, f'\ufeff{{"id":"1"}}\n{other}', name="t.jsonl")
        assert "1" in people(made)
        assert not made.rejects


# Packed files


def packed(data: bytes, ending: str) -> bytes:
    """Compress as the ending says."""
    if ending == ".gz":
        return gzip.compress(data)
    if ending == ".bz2":
        return bz2.compress(data)
    if ending == ".xz":
        return lzma.compress(data)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, {".zst": "zstd", ".lz4": "lz4"}[ending]) as stream:
        stream.write(data)
    return bytes(sink.getvalue())


ENDINGS: Final = [".gz", ".bz2", ".zst", ".xz", ".lz4"]
CSV: Final = b"id,a\n" + b"".join(b"%d,%s\n" % (n, b"xyz" * 30) for n in range(20_000))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_packed_file_is_read_as_its_ending_says(ending: str, tmp_path: Path) -> None:
    plain = read(tmp_path, CSV)
    assert len(plain) == 20_000
    assert read(tmp_path, packed(CSV, ending), name=f"t.csv{ending}") == plain
    lines = b'{"id":"1"}\n{"id":"2"}\n'
    found = read(tmp_path, packed(lines, ending), name=f"t.jsonl{ending}")
    assert found == [["1"], ["2"]]
    pq.write_table(pa.table({"id": ["1", "2"]}), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    found = read(tmp_path, packed(data, ending), name=f"t.parquet{ending}")
    assert found == [["1"], ["2"]]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_packed_file_that_is_cut_or_damaged_is_a_fault_and_never_a_shorter_file(
    ending: str, name: str, tmp_path: Path
) -> None:
    data = {"t.csv": CSV, "t.jsonl": b'{"id":"1"}\n' * 50_000, "t.parquet": CSV}[name]
    whole = packed(data, ending)
    for broken in (whole[: len(whole) // 2], whole[:-1], whole[:40], b"no such format", b""):
        with pytest.raises(SourceError):
            read(tmp_path, broken, name=f"{name}{ending}")


def test_packed_members_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        data = packed(b"id,a\n1,x\n", ending) + packed(b"2,y\n", ending)
        assert read(tmp_path, data, name=f"t.csv{ending}") == [["1", "x"], ["2", "y"]]


# Paths


def test_files_of_a_list_come_in_order_and_those_of_a_folder_or_glob_by_name(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.csv", "a.csv", "c.tsv", ".hidden.csv", "_partial.csv", "notes.md"):
        (folder / name).write_text("id\n1\n")
    (folder / "sub.csv").mkdir()

    def names(*paths: str, form: str | None = None) -> list[str]:
        return [Path(file.path).name for file in find_files(paths, tmp_path, form)]

    assert names("in") == ["a.csv", "b.csv", "c.tsv"]
    assert names("in/*.csv") == ["_partial.csv", "a.csv", "b.csv"]
    assert names("in/b.csv", "in/a.csv") == ["b.csv", "a.csv"]
    assert names("in/[ab].csv", "in/c.tsv") == ["a.csv", "b.csv", "c.tsv"]
    assert names("**/c.tsv") == ["c.tsv"]
    assert names(str(folder / "a.csv")) == ["a.csv"]
    assert names("in/notes.md", form="csv") == ["notes.md"]
    (folder / "[1].csv").write_text("id\n")
    assert names("in/[1].csv") == ["[1].csv"]


def test_a_path_is_relative_to_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "t.csv").write_text("id\n1\n")
    message = {"type": "identify", "userId": "id"}
    document = {"version": 1, "source": {"path": "../t.csv"}, "messages": [message]}
    assert build(document, tmp_path / "maps").rows == 1


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["missing.csv"], "there is no such file"),
        (["missing*.csv"], "no file matches"),
        (["empty"], "no data file in this folder"),
        (["a.csv", "b.jsonl"], "the source mixes formats"),
        (["c.data"], "the ending does not tell the format"),
    ],
)
def test_a_path_that_gives_nothing_is_wrong_usage(
    paths: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("a.csv", "b.jsonl", "c.data"):
        (tmp_path / name).write_text("id\n")
    with pytest.raises(UsageError, match=words) as caught:
        find_files(paths, tmp_path, None)
    assert caught.value.fix


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    (tmp_path / "b.csv").write_text("id\n1\n")
    first, second = (hashed(file) for file in find_files(["a.csv", "b.csv"], tmp_path, None))
    assert first.sha256 == second.sha256
    assert len(first.sha256) == 64


def test_rows_are_estimated_for_a_progress_bar_only(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV))
    pq.write_table(pa.table({"id": list(range(7))}), tmp_path / "t.parquet")
    (csv_file,) = find_files(["t.csv"], tmp_path, None)
    (packed_file,) = find_files(["t.csv.gz"], tmp_path, None)
    (parquet_file,) = find_files(["t.parquet"], tmp_path, None)
    assert abs((estimate_rows(csv_file) or 0) - 20_000) < 200
    assert estimate_rows(packed_file) is None
    assert estimate_rows(parquet_file) == 7


# Parquet


def parquet_bytes(rows: int = 500, **how: Any) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"id": [f"u{n}" for n in range(rows)], "n": list(range(rows))})
    pq.write_table(table, sink, **how)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("empty", lambda data: data[:0]),
        ("too short", lambda data: data[:8]),
        ("wrong magic", lambda data: b"XXXX" + data[4:-4] + b"XXXX"),
        ("footer cut", lambda data: data[:-1]),
        ("half", lambda data: data[: len(data) // 2]),
        ("footer of zeros", lambda data: data[:-200] + bytes(192) + data[-8:]),
        ("huge footer", lambda data: data[:-8] + b"\xff\xff\xff\x7f" + data[-4:]),
        ("negative footer", lambda data: data[:-8] + b"\xff\xff\xff\xff" + data[-4:]),
        ("a CSV", lambda data: b"id,n\n1,2\n" * (len(data) // 9)),
        (
            "pages of zeros",
            lambda data: data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :],
        ),
    ],
)
def test_a_damaged_parquet_file_is_a_fault_of_the_source(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    (tmp_path / "t.parquet").write_bytes(damage(parquet_bytes()))
    with pytest.raises(SourceError, match="cannot be read as Parquet") as caught:
        rows_of(tmp_path, "t.parquet")
    assert caught.value.fix, name


@settings(max_examples=150, deadline=None, print_blob=True)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_parquet_file_is_found_where_pages_have_checksums(
    at: float, bit: int
) -> None:
    """Flips in the data pages; the footer has no checksum in the format."""
    data = bytearray(parquet_bytes(write_page_checksum=True, compression="snappy"))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.parquet"
        path.write_bytes(data)
        whole = rows_of(Path(name), "t.parquet")
        meta = pq.read_metadata(path).row_group(0)
        first = meta.column(0).dictionary_page_offset or meta.column(0).data_page_offset
        last = meta.column(1)
        end = (last.dictionary_page_offset or last.data_page_offset) + last.total_compressed_size
        data[first + int(at * (end - first))] ^= 1 << bit
        path.write_bytes(data)
        with contextlib.suppress(SourceError):
            assert rows_of(Path(name), "t.parquet") == whole


@needs_shared
@pytest.mark.parametrize("path", sorted((SHARED / "parquet" / "bad").glob("*.parquet")))
def test_a_bad_parquet_file_of_the_testing_suite_is_refused_and_no_crash(path: Path) -> None:
    """Or read, where Arrow has learnt to: a dictionary of one value needs no bits."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom backfill.errors import SourceError\n"
        f"from rows import rows_of\npath = Path({str(path)!r})\n"
        "try:\n    rows_of(path.parent, path.name)\n"
        "except SourceError as fault:\n    assert fault.fix\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-500:] or f"exit code {done.returncode}"


GOOD: Final = sorted((SHARED / "parquet" / "good").glob("*.parquet*"))
HEAVY: Final = {"large_string_map.brotli.parquet"}


@needs_shared
@pytest.mark.parametrize("path", [path for path in GOOD if path.name not in HEAVY])
def test_a_good_parquet_file_of_the_testing_suite_is_read(path: Path) -> None:
    if "encrypt" in path.name or "corrupt" in path.name:
        with pytest.raises(SourceError):
            rows_of(path.parent, path.name, format="parquet")
    else:
        (file,) = find_files([path.name], path.parent, "parquet")
        batches = [s.batch for s in open_file(file, SourceSpec(path=[path.name])).spans(0)]
        assert sum(batch.num_rows for batch in batches) == pq.read_metadata(path).num_rows
        for batch in batches:
            batch.validate(full=True)


def test_two_parquet_columns_of_one_name_are_a_fault(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="two columns are named 'a'"):
        rows_of(tmp_path, "t.parquet")


def test_a_parquet_file_without_rows_or_row_groups_has_no_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "t.parquet")
    assert rows_of(tmp_path, "t.parquet") == []
    with pq.ParquetWriter(tmp_path / "t.parquet", pa.schema({"id": pa.string()})):
        pass
    assert rows_of(tmp_path, "t.parquet") == []


# From any row on

CELL: Final = st.text(st.sampled_from('ab\n",;é '), max_size=6)
LINES: Final = st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=40)


def csv_of(rows: list[list[str]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["x", "y"], *rows])
    return stream.getvalue().encode()


@MANY
@given(LINES, st.integers(64, 400), st.integers(0, 45))
def test_ragged_rows_keep_their_places_wherever_blocks_end_and_reading_begins(
    rows: list[list[str]], block: int, start: int
) -> None:
    expected = [
        (at, {"x": row[0].encode(), "y": row[1].encode()} if len(row) == 2 else "row-ragged")
        for at, row in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("backfill.source.csv.BLOCK_BYTES", block)
        (Path(name) / "t.csv").write_bytes(csv_of(rows))
        assert rows_of(Path(name), "t.csv") == expected
        if start <= len(rows):
            assert rows_of(Path(name), "t.csv", start) == expected[start:]


ROWS: Final = st.lists(
    st.sampled_from(['"', '""', ",", "\n", "\r", "\r\n", "a", " ", "é", "\ufeff"])
)


@MANY
@given(ROWS.map("".join), st.integers(1, 9), st.integers(0, 2))
def test_rows_cut_with_care_are_the_rows_that_arrow_sees(text: str, size: int, skip: int) -> None:
    data = b"x,y\n" * (skip + 1) + text.encode()
    how = {"skip_lines": skip}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        (Path(name) / "t.csv").write_bytes(data)
        found = rows_of(Path(name), "t.csv", csv=how)
        patch.setattr("backfill.source.wholerows.PIECE_BYTES", size)
        patch.setattr(CsvReader, "_blocks", vars(CsvReader)["_pieces"])
        assert rows_of(Path(name), "t.csv", csv=how) == found


@pytest.mark.parametrize("cell", ["\n", "\r\n", '"\n"\n', "a\n", 'a"\n'])
def test_a_last_cell_of_line_ends_and_quotes_is_closed(cell: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(csv_of([["", cell]]))
    assert rows_of(tmp_path, "t.csv") == [(0, {"x": b"", "y": cell.encode()})]


@pytest.mark.parametrize("ragged", ["first", "last", "both"])
def test_ragged_rows_at_the_borders_of_real_blocks_keep_their_places(
    ragged: str, tmp_path: Path
) -> None:
    """Every row is 64 bytes, so that a block of 1 MiB ends exactly between two rows."""
    per_block = BLOCK_BYTES // 64
    odd = {
        "first": [0, per_block, 2 * per_block],
        "last": [per_block - 1, 2 * per_block - 1],
        "both": [per_block - 2, per_block - 1, per_block, per_block + 1],
    }[ragged]
    count = 2 * per_block + 10
    rows = [f"{n:07}," + "y" * 55 for n in range(count)]
    for at in odd:
        rows[at] = f"{at:07}" + "z" * 56
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    found = rows_of(tmp_path, "t.csv")
    assert [row for row, _ in found] == list(range(count))
    assert [row for row, cells in found if cells == "row-ragged"] == odd
    assert all(cells["x"] == b"%07d" % row for row, cells in found if isinstance(cells, dict))
    for start in (odd[0], odd[0] + 1, odd[-1], count - 1):
        assert rows_of(tmp_path, "t.csv", start) == found[start:]


@MANY
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 9), st.integers(0, 65))
def test_a_parquet_file_is_read_from_any_row_on(
    count: int, group: int, size: int, start: int
) -> None:
    table = pa.table({"n": pa.array(list(range(count)), pa.int64())})
    expected = [(n, {"n": n}) for n in range(count)]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("backfill.source.parquet.ROWS_MAX", size)
        pq.write_table(table, f"{name}/t.parquet", row_group_size=group)
        found = rows_of(Path(name), "t.parquet", min(start, count))
        assert found == expected[start:]


JSON_LINES: Final = st.lists(
    st.sampled_from(
        ['{"n":1}', '{"n":"é"}', '{"n":1.50,"m":[1]}', "", "  ", "{", "5", '{"n":null}']
    ),
    max_size=30,
)


@MANY
@given(JSON_LINES, st.integers(4, 60), st.integers(0, 30), st.sampled_from(["\n", "\r\n"]))
def test_json_lines_are_read_from_any_row_on_wherever_blocks_end(
    lines: list[str], block: int, start: int, end: str
) -> None:
    data = end.join(lines).encode()
    present = [line for line in lines if line.strip()]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        (Path(name) / "t.jsonl").write_bytes(data)
        whole = rows_of(Path(name), "t.jsonl")
        patch.setattr("backfill.source.jsonl.BLOCK_BYTES", block)
        cut = rows_of(Path(name), "t.jsonl")
        tail = rows_of(Path(name), "t.jsonl", min(start, len(present)))
    bad = [at for at, line in enumerate(present) if line in {"{", "5"}]
    assert [row for row, _ in whole] == list(range(len(present)))
    for found in (whole, cut):
        assert [row for row, cells in found if cells == "row-unreadable"] == bad
    assert [row for row, _ in cut] == [row for row, _ in whole]
    assert tail == cut[start:]


@MANY
@given(st.binary(max_size=120))
def test_any_bytes_are_a_csv_or_a_fault_of_the_source(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        for head in (b"", b"a,b\n"):
            (Path(name) / "t.csv").write_bytes(head + data)
            try:
                found = rows_of(Path(name), "t.csv")
            except SourceError:
                continue
            assert [row for row, _ in found] == list(range(len(found)))


@MANY
@given(st.one_of(st.binary(max_size=120), st.text('{}[]":,ab1 \n\\u', max_size=60).map(str.encode)))
def test_any_bytes_are_json_lines_that_can_or_cannot_be_read(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "t.jsonl").write_bytes(b'{"id":"1"}\n' + data)
        found = rows_of(Path(name), "t.jsonl")
    assert found[0][1].get("id") == "1"
    assert len(found) == 1 + len([line for line in data.split(b"\n") if line.strip(b" \t\r")])
