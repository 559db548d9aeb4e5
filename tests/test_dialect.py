"""CSV dialects that Arrow cannot split: the rows are those that their writers wrote."""

from __future__ import annotations

import csv
import encodings
import gzip
import io
import json
import pkgutil
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import build
from rows import rows_of
from test_source import read

from backfill.errors import MappingError, SourceError
from backfill.mapping.document import SourceSpec
from backfill.source import find_files, open_file
from backfill.source.dialect import lettered, unlettered
from backfill.source.wholerows import ROW_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Cli
    from ledger import Ledger

SOME: Final = settings(max_examples=50, deadline=None, print_blob=True)
COPY: Final = {"delimiter": "\t", "quote": "none", "escape": "\\", "header": ["id", "a"]}
"""What PostgreSQL's COPY writes unless it is told otherwise."""

ESCAPED: Final = {"escape": "\\"}
BLANKS: Final = {"delimiter": "whitespace"}


@pytest.mark.parametrize(
    ("data", "how", "rows"),
    [
        pytest.param("1\tx\n2\t\\N\n", COPY, [["1", "x"], ["2", None]], id="copy, null"),
        pytest.param("1\t\\\\N\n", COPY, [["1", "\\N"]], id="copy, an escaped backslash and N"),
        pytest.param("1\t\n", COPY, [["1", ""]], id="copy, empty is not null"),
        pytest.param("1\t\\Nx\n", COPY, [["1", "Nx"]], id="copy, N in a text"),
        pytest.param(
            "1\t\\b\\f\\n\\r\\t\\v\\\\\n", COPY, [["1", "\b\f\n\r\t\v\\"]], id="copy, all letters"
        ),
        pytest.param(
            "1\t\\\\n\\\\\\n\n", COPY, [["1", "\\n\\\n"]], id="copy, backslashes in a row"
        ),
        pytest.param("1\t\\x41\\x4a\\x4\\101\\7\n", COPY, [["1", "AJ\x04A\x07"]], id="copy, codes"),
        pytest.param("1\t\\xc3\\xa9\\303\\251\n", COPY, [["1", "éé"]], id="copy, bytes of UTF-8"),
        pytest.param("1\t\\q\\\"'\n", COPY, [["1", "q\"'"]], id="copy, others are themselves"),
        pytest.param("1\tx\\\ny\\\tz\\\r\\\nw\n", COPY, [["1", "x\ny\tz\r\nw"]], id="raw ones"),
        pytest.param("1\tx\\\r\n2\ty\n", COPY, [["1", "x\r"], ["2", "y"]], id="one character"),
        pytest.param('1\t"x\n2\ty"\n', COPY, [["1", '"x'], ["2", 'y"']], id="copy, no quotes"),
        pytest.param("1\tx\n2\n3\ty\n", COPY, [["1", "x"], "row-ragged", ["3", "y"]], id="ragged"),
        pytest.param("1\tx\n\\.\n", COPY, [["1", "x"]], id="copy, the end mark"),
        pytest.param("1\tx\r\n\\.\r\n\r\n", COPY, [["1", "x"]], id="copy, the end mark, CRLF"),
        pytest.param("1\t\\.\n", COPY, [["1", "."]], id="copy, no end mark"),
        pytest.param("", COPY, [], id="copy, nothing"),
        pytest.param("\\.\n", COPY, [], id="copy, nothing but the end mark"),
        pytest.param("i\\td\ta\n1\tx\n", COPY | {"header": True}, [["1", "x"]], id="copy, header"),
        pytest.param("1|x\\|y\n", COPY | {"delimiter": "|"}, [["1", "x|y"]], id="copy, by bars"),
        pytest.param('id,a\n1,"x\\"y"\n', ESCAPED, [["1", 'x"y']], id="escaped quote"),
        pytest.param('id,a\n1,"x""y"\n', ESCAPED, [["1", 'x"y']], id="doubled quote, too"),
        pytest.param(
            'id,a\n1,"x\\\\"\n2,y\n', ESCAPED, [["1", "x\\"], ["2", "y"]], id="at the end"
        ),
        pytest.param(
            'id,a\n1,"C:\\new \\\\n \\N"\n', ESCAPED, [["1", "C:\\new \\n \\N"]], id="letters stay"
        ),
        pytest.param('id,a\n1,x\\,y\\"\n', ESCAPED, [["1", 'x,y"']], id="escapes without quotes"),
        pytest.param('id,a\n1,"x\\\ny"\n2,x\\\ny\n', ESCAPED, [["1", "x\ny"], ["2", "x\ny"]]),
        pytest.param(
            "id|a\n1|'x\\'|'\n", {"delimiter": "|", "quote": "'", "escape": "\\"}, [["1", "x'|"]]
        ),
        pytest.param('id,a\n1,"^"x^^"\n', {"escape": "^"}, [["1", '"x^']], id="another escape"),
        pytest.param('id,a\n1,"x""y"\n', {"escape": '"'}, [["1", 'x"y']], id="the quote itself"),
        pytest.param(
            'id,a\n1,"x\n2,y"z"\n', {"quote": "none"}, [["1", '"x'], ["2", 'y"z"']], id="no quotes"
        ),
        pytest.param(
            "  id  a\n 1 \t x \n\n  \n2  y", BLANKS, [["1", "x"], ["2", "y"]], id="runs of blanks"
        ),
        pytest.param(" id a\r\n 1 x y\r\n 2 y\r\n", BLANKS, ["row-ragged", ["2", "y"]], id="CRLF"),
        pytest.param('id a\r1 "x\r2 y"\r', BLANKS, [["1", '"x'], ["2", 'y"']], id="CR, quotes"),
        pytest.param('id||a\n1||"x||y|"\n', {"delimiter": "||"}, [["1", "x||y|"]], id="two bars"),
        pytest.param('id, a\n1, "x, y"\n', {"delimiter": ", "}, [["1", "x, y"]], id="comma, blank"),
        pytest.param("id§a\n1§x\n2§y§z\n", {"delimiter": "§"}, [["1", "x"], "row-ragged"], id="§"),
        pytest.param("id::a\n1::x::y\n", {"delimiter": "::", "quote": "none"}, ["row-ragged"]),
        pytest.param("id\0a\n1\0x\n", {"delimiter": "\0"}, [["1", "x"]], id="NUL"),
        pytest.param("id\x1fa\n1\x1fx\n", {"delimiter": "\x1f"}, [["1", "x"]], id="U+001F"),
        pytest.param(
            '# "a\n\nid,a\n#,\n1,"# x\n#y"\n#\n2,z # w\n# end',
            {"comment": "#"},
            [["1", "# x\n#y"], ["2", "z # w"]],
            id="comments",
        ),
        pytest.param("//\nid,a\n/1,x\n", {"comment": "//"}, [["/1", "x"]], id="long comments"),
        pytest.param("\ufeff# x\nid,a\n1,y\n", {"comment": "#"}, [["1", "y"]], id="BOM, comment"),
        pytest.param("x\n# y\nid,a\n1,y\n", {"comment": "#", "skip_lines": 1}, [["1", "y"]]),
    ],
)
def test_a_dialect_is_read_as_its_writers_mean_it(
    data: str, how: dict[str, Any], rows: list[Any], tmp_path: Path
) -> None:
    assert read(tmp_path, data, csv=how) == rows


@pytest.mark.parametrize(
    ("data", "how", "words", "fix"),
    [
        (
            *("1\tx\n\\.\n2\ty\n", COPY),
            r"cannot be read as CSV, from row 2 on: rows follow the line '\.', which ends the data",
            "take that line out of the file, or cut the file behind it",
        ),
        (
            *("id||a\n1||x\x1f\n", {"delimiter": "||"}),
            "cannot be read as CSV: the text holds U+001F, so that it cannot be split at '||'",
            "take that character out of the file, or use another delimiter",
        ),
    ],
)
def test_a_file_that_is_not_of_its_dialect_stops_with_a_fix(
    data: str, how: dict[str, Any], words: str, fix: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, data, csv=how)
    assert (caught.value.what, caught.value.fix) == (words, fix)


def test_rows_before_the_fault_of_a_dialect_are_read_first(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id||a\n" + "1||x\n" * 300_000 + "2||\x1f\n")
    (file,) = find_files(["t.csv"], tmp_path, None)
    spec = SourceSpec.model_validate({"path": ["t.csv"], "csv": {"delimiter": "||"}})
    stops: list[int] = []
    with pytest.raises(SourceError, match=r"from row \d+ on: the text holds") as caught:
        stops.extend(span.stop for span in open_file(file, spec).spans(0))
    assert stops[-1] > 200_000
    assert f"from row {stops[-1] + 2} on" in caught.value.what


@pytest.mark.parametrize("piece", [4, 9, 1 << 18])
def test_rows_behind_the_end_mark_of_copy_are_a_fault_wherever_pieces_end(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backfill.source.wholerows.PIECE_BYTES", piece)
    with pytest.raises(SourceError, match="rows follow the line"):
        read(tmp_path, "1\tx\n\\.\n\n\n\n2\ty\n", csv=COPY)
    assert read(tmp_path, "1\tx\n\\.\n\n\n\n\n", csv=COPY) == [["1", "x"]]


def test_names_that_are_blank_in_a_header_are_those_of_their_places(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,,a,\n1,2,3,4\n")
    assert rows_of(tmp_path, "t.csv")[0][1] == {
        "id": b"1",
        "column_2": b"2",
        "a": b"3",
        "column_4": b"4",
    }


def test_a_name_of_a_place_is_not_given_where_a_column_has_it_already(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("column_2,,a\n1,2,3\n")
    assert rows_of(tmp_path, "t.csv")[0][1] == {"column_2": b"1", "": b"2", "a": b"3"}


def test_names_that_come_twice_are_a_fault_whose_fix_works(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\nid,a,a\n1,2,3\n")
    with pytest.raises(SourceError) as caught:
        rows_of(tmp_path, "t.csv", csv={"skip_lines": 1})
    assert caught.value.fix is not None
    assert "source: {csv: {skip_lines: 2, header: [a, a_2, …]}}" in caught.value.fix
    how = {"skip_lines": 2, "header": ["id", "a", "a_2"]}
    assert rows_of(tmp_path, "t.csv", csv=how)[0][1] == {"id": b"1", "a": b"2", "a_2": b"3"}
    with pytest.raises(SourceError) as caught:
        rows_of(tmp_path, "t.csv", csv={"skip_lines": 2, "header": ["id", "a", "a"]})
    assert caught.value.fix == "name each column once under header:"


@pytest.mark.parametrize("ending", ["gz", "utf-16"])
def test_an_open_quote_at_the_end_is_seen_in_files_that_are_not_stored_as_utf_8_too(
    ending: str, tmp_path: Path
) -> None:
    """Else the rest of the file is one cell, and its rows are gone without a word."""
    text = 'id,a\n1,x\n2,"y\n3,z\n'
    if ending == "gz":
        assert read(tmp_path, gzip.compress(text.encode()), name="t.csv.gz") == [
            ["1", "x"],
            "row-ragged",
        ]
        whole = gzip.compress(b'id,a\n1,x\n2,"y\n3"\n')
        assert read(tmp_path, whole, name="t.csv.gz") == [["1", "x"], ["2", "y\n3"]]
    else:
        found = read(tmp_path, text.encode("utf-16"), csv={"encoding": "utf-16"})
        assert found == [["1", "x"], "row-ragged"]


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("id;a", '";"'),
        ('"id";"a"', '";"'),
        ("id\ta", '"\\t"'),
        ("id | a", '"|"'),
        (" id   a", "whitespace"),
        ("First Name;id", '";"'),
        ("idea", None),
    ],
)
def test_a_file_of_another_delimiter_is_told_which(
    header: str, word: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n1\n")
    with pytest.raises(MappingError) as caught:
        build({**MAPPING, "source": {"path": "t.csv"}}, tmp_path)
    fix = caught.value.lints[0].fix
    said = f"the file has another delimiter: say source: {{csv: {{delimiter: {word}}}}}"
    assert fix == said if word else "delimiter" not in fix


# Encodings


@pytest.mark.parametrize("rows", [1, 6_000])  # the second is beyond what is read at once
@pytest.mark.parametrize("bad", [b"\x00\xd8", b"\x00\xdc", b"\x41\xd8"])
def test_half_a_character_of_utf_16_costs_only_its_row_wherever_it_stands(
    bad: bytes, rows: int, tmp_path: Path
) -> None:
    utf16 = "utf-16-le"
    begin = "\ufeffid,a\n" + f"1,{'x' * 100}\n" * rows + "2,y"
    (tmp_path / "t.csv").write_bytes(begin.encode(utf16) + bad + "\n3,z\n".encode(utf16))
    source = {"path": "t.csv", "csv": {"encoding": "utf-16"}}
    message = {"type": "identify", "userId": "id", "traits": {"a": "a"}}
    made = build({"version": 1, "source": source, "messages": [message]}, tmp_path)
    assert made.codes == {rows: "not-utf8"}
    assert made.rows == rows + 2
    assert made.messages[rows + 1][0]["traits"] == {"a": "z"}


def test_a_file_of_utf_16_that_is_cut_within_a_character_costs_its_last_row(tmp_path: Path) -> None:
    data = "id,a\n1,é\n2,x".encode("utf-16")[:-1]
    (tmp_path / "t.csv").write_bytes(data)
    found = rows_of(tmp_path, "t.csv", csv={"encoding": "utf-16"})
    assert found[0] == (0, {"id": b"1", "a": "é".encode()})
    with pytest.raises(UnicodeDecodeError):
        found[1][1]["a"].decode()


@pytest.mark.parametrize(
    ("encoding", "words", "fix"),
    [
        ("utf-8", "the names in the header hold NUL characters", "if it is UTF-16, say source: "),
        (
            "utf-16",
            "cannot be read as CSV: UTF-16 stream does not start with BOM",
            "name the order of the bytes: source: ",
        ),
    ],
)
def test_utf_16_without_a_byte_order_mark_is_named_with_the_fix(
    encoding: str, words: str, fix: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_bytes("id,a\n1,é\n".encode("utf-16-le"))
    with pytest.raises(SourceError) as caught:
        rows_of(tmp_path, "t.csv", csv={"encoding": encoding})
    assert caught.value.what == words
    assert caught.value.fix == fix + "{csv: {encoding: utf-16-le}}, or utf-16-be"
    found = rows_of(tmp_path, "t.csv", csv={"encoding": "utf-16-le"})
    assert found == [(0, {"id": b"1", "a": "é".encode()})]


def test_every_codec_of_python_reads_what_it_writes_or_is_a_fault_of_the_mapping(
    tmp_path: Path,
) -> None:
    message = {"type": "identify", "userId": "id", "traits": {"a": "a"}}
    faults = set()
    for codec in sorted({module.name for module in pkgutil.iter_modules(encodings.__path__)}):
        body = {"version": 1, "source": {"path": "t.csv", "csv": {"encoding": codec}}}
        try:
            (tmp_path / "t.csv").write_bytes("id,a\r\n1,xyz\r\n".encode(codec))
            made = build({**body, "messages": [message]}, tmp_path)
        except MappingError as fault:
            assert [lint.what for lint in fault.lints] == [f"unknown encoding '{codec}'"]  # noqa: PT017
            faults.add(codec)
        except (LookupError, UnicodeError):  # it cannot write, so it must be a fault to read it
            with pytest.raises(MappingError):
                build({**body, "messages": [message]}, tmp_path)
            faults.add(codec)
        else:
            assert made.messages[0][0]["traits"] == {"a": "xyz"}, codec
    assert {"base64_codec", "rot_13", "undefined", "idna"} <= faults
    assert len(faults) < 20


# What other writers write

TEXT: Final = st.text(st.sampled_from("ab\n\r\t\\\",;|N'é# .\x1e"), max_size=6)
TABLE: Final = st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=12)
PIECES: Final = st.integers(1, 40)


def as_copy(cell: str | None) -> str:
    """Escape as PostgreSQL's CopyAttributeOutText does, for a tab as the delimiter."""
    if cell is None:
        return "\\N"
    letters = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}
    return "".join(letters.get(char, char) for char in cell)


def cells_of(data: str, piece: int, start: int, **how: Any) -> list[Any]:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("backfill.source.wholerows.PIECE_BYTES", piece)
        (Path(name) / "t.csv").write_bytes(data.encode())
        found = rows_of(Path(name), "t.csv", start, csv=how)
    return [tuple(cells.values()) if isinstance(cells, dict) else cells for _, cells in found]


def as_bytes(rows: Sequence[tuple[str, str | None]]) -> list[Any]:
    return [tuple(None if cell is None else cell.encode() for cell in row) for row in rows]


@SOME
@given(TABLE, PIECES, st.integers(0, 4))
def test_what_copy_writes_is_read_back_wherever_pieces_end(
    rows: list[tuple[str, str | None]], piece: int, start: int
) -> None:
    data = "".join("\t".join(map(as_copy, row)) + "\n" for row in rows)
    assert cells_of(data, piece, start, **COPY) == as_bytes(rows)[start:]


@SOME
@given(TABLE, PIECES, st.sampled_from("\t|"))
def test_what_is_written_with_a_backslash_before_raw_characters_is_read_back(
    rows: list[tuple[str, str | None]], piece: int, delimiter: str
) -> None:
    """As Redshift and MySQL do: the delimiter and line ends stay what they are behind it."""

    def written(cell: str | None) -> str:
        if cell is None:
            return "\\N"
        return re.sub(rf"[\\\r\n{delimiter}]", r"\\\g<0>", cell)

    data = "".join(delimiter.join(map(written, row)) + "\n" for row in rows)
    assert cells_of(data, piece, 0, **COPY | {"delimiter": delimiter}) == as_bytes(rows)


@SOME
@given(TABLE, PIECES, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_what_the_csv_writer_of_python_escapes_is_read_back(
    rows: list[tuple[str, str | None]], piece: int, quoting: Literal[0, 1]
) -> None:
    filled = [(first, second or "") for first, second in rows]
    stream = io.StringIO()
    writer = csv.writer(
        stream, escapechar="\\", doublequote=False, quoting=quoting, lineterminator="\r\n"
    )
    writer.writerows(filled)
    how = {**ESCAPED, "header": ["id", "a"]}
    assert cells_of(stream.getvalue(), piece, 0, **how) == as_bytes(filled)


@SOME
@given(TABLE, PIECES, st.sampled_from(["||", "§", ", ", "\0"]))
def test_what_is_split_by_a_long_delimiter_is_read_back(
    rows: list[tuple[str, str | None]], piece: int, delimiter: str
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    filled = [(first, second or "") for first, second in rows]
    data = "".join(delimiter.join(map(quoted, row)) + "\n" for row in filled)
    how = {"delimiter": delimiter, "header": ["id", "a"]}
    assert cells_of(data, piece, 0, **how) == as_bytes(filled)


@SOME
@given(st.none() | st.binary(max_size=4) | st.sampled_from([b"\\N", b"\\\\N", b"", b"N"]))
def test_a_cell_of_copy_comes_back_from_the_dead_letters(cell: bytes | None) -> None:
    assert unlettered(lettered(cell)) == cell


@pytest.mark.parametrize("how", [COPY, {**ESCAPED, "header": ["id", "a"]}, {"delimiter": "||"}])
def test_a_row_that_is_too_long_costs_only_itself_in_every_dialect(
    how: dict[str, Any], tmp_path: Path
) -> None:
    delimiter = how.get("delimiter", ",")
    long = "y\\\\" * ROW_BYTES_MAX
    rows = ["1", "x"], ["2", long], ["3", "z"]
    data = "".join(delimiter.join(row) + "\n" for row in rows)
    found = read(tmp_path, data, csv={**how, "header": ["id", "a"]})
    assert found == [["1", "x"], "row-too-long", ["3", "z"]]


def test_a_ragged_row_of_copy_keeps_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"1\t\\377\t\\376\n2\tx\n\xff\t\\N\t\\\\N\n")
    (file,) = find_files(["t.csv"], tmp_path, None)
    spec = SourceSpec.model_validate({"path": ["t.csv"], "csv": COPY})
    broken = {row: b for span in open_file(file, spec).spans(0) for row, b in span.broken.items()}
    assert {row: b.cells for row, b in broken.items()} == {
        0: (b"1", b"\xff"),
        2: (b"\xff", b"\\N"),
    }
    for one in broken.values():
        assert one.reason.startswith("the row has 3 cells, the header has 2; left over: ")
        assert one.reason.encode()


# The command line

NOTES: Final[dict[str, str | None]] = {
    "\\N": None,
    "\\\\N": "\\N",
    "": "",
    "a\\tb\\n=1": "a\tb\n=1",
}
"""What COPY wrote → what it meant."""

MAPPING: Final = {
    "version": 1,
    "name": "t",
    "source": {
        "path": "t.csv",
        "csv": {"delimiter": "\t", "quote": "none", "escape": "\\"},
        "blank": ["unknown"],
    },
    "messages": [
        {
            "type": "track",
            "userId": "id",
            "event": {"const": "E"},
            "timestamp": "at",
            "properties": {
                "n": {"column": "n", "type": "number"},
                "note": {"column": "note", "blank": "null"},
            },
        }
    ],
}


def test_rejects_of_copy_are_ordinary_csv_and_retry_sends_what_copy_meant(
    cli: Cli, ledger: Ledger, tmp_path: Path
) -> None:
    lines = [f"{n}\t2020-01-02T00:00:00Z\tx\t{note}\n" for n, note in enumerate(NOTES, 1)]
    (tmp_path / "t.csv").write_text("id\tat\tn\tnote\n" + "".join(lines))
    (tmp_path / "t.yaml").write_text(json.dumps(MAPPING))
    done = cli("run", "t.yaml", "--to", ledger.url, "--json")
    assert done.code == 3, done.err
    (rejects,) = (tmp_path / ".backfill").glob("*/runs/*/rejects.csv")
    with rejects.open(newline="", encoding="utf-8") as stream:
        told = [(row["_row"], row["n"], row["note"]) for row in csv.DictReader(stream)]
    cells = ["\\N", "\\\\N", "", "a\tb\n=1"]
    assert told == [(str(n), "x", cell) for n, cell in enumerate(cells, 2)]
    rejects.write_text(rejects.read_text().replace("00Z,x,", "00Z,7,"), newline="")
    done = cli("retry", "t.yaml", "--to", ledger.url, "--json")
    assert done.code == 0, done.err
    sent = {one["userId"]: one["properties"] for one in ledger.kept}
    assert sent == {str(n): {"n": 7, "note": note} for n, note in enumerate(NOTES.values(), 1)}
