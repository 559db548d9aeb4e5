"""The bytes of a text file → how it is written: encoding, delimiter, quote, header. Pure.

Only what the mapping language can say is proposed (`mapping.document.CsvDialect`); what it cannot
say ends in clear words.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from backfill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

DELIMITERS: Final = (",", ";", "\t", "|")
ROWS: Final = 500
JUNK_MAX: Final = 30
FEW_BAD: Final = 0.05
"""So few broken characters among many good ones are damage, not another encoding."""

MAGIC: Final = (
    (
        b"PK\x03\x04",
        "a ZIP file or an Excel workbook",
        "unpack it first (docs/moving says how), or export the sheet as CSV",
    ),
    (b"Obj\x01", "Avro", "pip install fastavro, then: fastavro FILE > rows.jsonl"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "export the sheet as CSV"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF", "export the data as CSV"),
    (b"\x1f\x8b", "packed by gzip", "name it with .gz at its end"),
    (b"BZh", "packed by bzip2", "name it with .bz2 at its end"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "name it with .zst at its end"),
    (b"\xfd7zXZ", "packed by xz", "name it with .xz at its end"),
)
CLASSES: Final = (
    ("year", r"(19|20)[0-9]{2}"),
    ("number", r"[+-]?[0-9][0-9.,' ]*"),
    ("time", r"[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}.*"),
    ("email", r"[^@\s]+@[^@\s]+\.[a-zA-Z]+"),
    ("uuid", r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
)
SPOKEN: Final = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
    "whitespace": "runs of blanks",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text file is written."""

    options: dict[str, Any] = field(default_factory=dict)
    """Of `source.csv`, where they are not the default."""
    notes: dict[str, str] = field(default_factory=dict)
    """Option → why; what begins with `a guess` is to be looked at."""
    width: int = 0
    """Cells of a row."""

    @property
    def encoding(self) -> str:
        """The encoding, by Python's name."""
        return str(self.options.get("encoding", "utf-8"))

    @property
    def delimiter(self) -> str:
        """What is between two cells."""
        return str(self.options.get("delimiter", ","))

    @property
    def quote(self) -> str:
        """What is around a cell that holds a delimiter."""
        return str(self.options.get("quote", '"'))


def refuse_binary(head: bytes, where: str) -> None:
    """Raise UsageError for what is no text at all, by its first bytes."""
    for magic, what, fix in MAGIC:
        if head.startswith(magic):
            raise UsageError(f"this is {what}, not CSV", where=where, fix=fix)


def encoding_of(parts: Sequence[bytes]) -> tuple[str, str]:
    """Return the encoding and why; '' for plain UTF-8.

    parts: pieces of the file, the first from its begin, all cut at line ends.
    """
    head = parts[0]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "by the mark at its begin"
    for name, at in (("utf-16-le", 1), ("utf-16-be", 0)):
        if len(head) > 3 and head[at::2].count(0) > 0.4 * len(head) / 2:  # noqa: PLR2004
            return name, "a guess: every second byte is 0"
    texts = [part.decode(errors="replace") for part in parts]
    bad = sum(text.count("\ufffd") for text in texts) - sum(p.count(b"\xef\xbf\xbd") for p in parts)
    if not bad:
        return "utf-8", ""
    foreign = sum(len(re.findall(r"[^\x00-\x7f]", text)) for text in texts)
    if bad <= FEW_BAD * foreign:
        return "utf-8", f"{bad:,} characters are damaged; their rows would be rejected"
    try:
        b"".join(parts).decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1", "a guess: it is not UTF-8; look at the accents in the preview"
    return "cp1252", "a guess: it is not UTF-8; look at the accents in the preview"


def sniff(parts: Sequence[bytes], where: str, *, default: str = ",") -> Dialect:
    """Find out how a file is written.

    default: the delimiter that needs no saying (a tab for .tsv). Raises UsageError where the
    language has no words for it.
    """
    refuse_binary(parts[0], where)
    encoding, why = encoding_of(parts)
    text = parts[0].decode(encoding, errors="replace").removeprefix("\ufeff")
    options: dict[str, Any] = {} if encoding == "utf-8" else {"encoding": encoding}
    notes = {"encoding": why} if why else {}
    if not text.strip():
        raise UsageError("the file is empty", where=where, fix="check the export")
    delimiter, rows = _delimiter(text, default)
    if (runs := _blank_runs(text, rows)) is not None:
        delimiter, rows = "whitespace", runs
    if delimiter != default:
        options["delimiter"] = delimiter
        notes["delimiter"] = f"{SPOKEN[delimiter]}, {_modal(rows)[0]} cells a row"
    quote = '"' if runs is not None else _quote(text, delimiter)
    if quote != '"':
        options["quote"] = quote
        rows = _rows(text, delimiter, quote)
    _head(rows, options, notes)
    return Dialect(options, notes, _modal(rows)[0])


def _rows(text: str, delimiter: str, quote: str = '"') -> list[tuple[int, list[str]]]:
    """The first rows that are not blank, each with the number of lines up to its end."""
    found = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
    try:
        for row in reader:
            if row:
                found.append((reader.line_num, row))
            if len(found) >= ROWS:
                break
    except csv.Error:  # what was read until here tells enough
        pass
    return found


def _modal(rows: list[tuple[int, list[str]]]) -> tuple[int, float]:
    """The cells that most rows have, and the share of those rows."""
    widths = Counter(len(row) for _, row in rows)
    width, count = widths.most_common(1)[0]
    return width, count / len(rows)


def _delimiter(text: str, default: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """The delimiter that splits most rows into equally many cells, more than one."""
    best, best_rows, best_score = default, _rows(text, default), (0.0, 0)
    for delimiter in (default, *(one for one in DELIMITERS if one != default)):
        rows = _rows(text, delimiter)
        width, share = _modal(rows)
        score = (round(share, 1), width)
        if width > 1 and score > best_score:
            best, best_rows, best_score = delimiter, rows, score
    return best, best_rows


def _blank_runs(text: str, rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]] | None:
    """The rows, where runs of blanks are between the cells: no single character is."""
    if _modal(rows)[0] > 1 or len(rows) < 3:  # noqa: PLR2004  too few to see a habit
        return None
    lines = text.splitlines()[:ROWS]
    found = [(at, line.split()) for at, line in enumerate(lines, 1) if line.strip()]
    width, share = _modal(found)
    runs = sum(bool(re.search(r"\S  +\S|^ +\S", lines[at - 1])) for at, _ in found)
    if width > 2 and share > 0.9 and runs > 0.5 * len(found):  # noqa: PLR2004
        return found
    return None


def _quote(text: str, delimiter: str) -> str:
    """A single quote, where cells are in those and in no double ones."""
    edge = re.escape(delimiter)
    double = len(re.findall(rf'(?:^|{edge})"', text, re.MULTILINE))
    single = len(re.findall(rf"(?:^|{edge})'[^'\r\n]*'(?={edge}|$)", text, re.MULTILINE))
    return "'" if single > 2 and not double else '"'  # noqa: PLR2004  more than a chance


def _head(
    rows: list[tuple[int, list[str]]], options: dict[str, Any], notes: dict[str, str]
) -> None:
    """Say how many lines stand before the header, and whether there is one."""
    first = _first(rows)
    if first:
        options["skip_lines"] = rows[first - 1][0]
        notes["skip_lines"] = "what stands above the table"
    _, header = rows[first]
    data = [row for _, row in rows[first + 1 :]]
    if not is_header(header, data):
        options["header"] = False
        notes["header"] = "the first row looks like the others, so columns are numbered"
        return
    names = [name for name in header if name]
    if len(set(names)) < len(names):
        options["header"] = _distinct(header)
        options["skip_lines"] = rows[first][0]
        notes["header"] = "names came twice, so they are written out; correct them as you like"


def _first(rows: list[tuple[int, list[str]]]) -> int:
    """The number of rows of junk on top: fewer cells than nearly all that follow."""
    width, share = _modal(rows)
    first = next((n for n, (_, row) in enumerate(rows[:JUNK_MAX]) if len(row) == width), 0)
    junk = [row for _, row in rows[:first]]
    if not junk or width == 1 or any(len(row) > width for row in junk):
        return 0
    after = [len(row) == width for _, row in rows[first:]]
    is_even = len(after) > 1 and sum(after) >= 0.9 * len(after)
    is_named = is_header(rows[first][1], [row for _, row in rows[first + 1 :]])
    return first if is_even and is_named and share else 0


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: it has other cells than those below it."""
    votes = 0
    for at, cell in enumerate(first):
        mine = _class(cell)
        below = Counter(_class(row[at]) for row in rows if len(row) > at and row[at].strip())
        usual = below.most_common(1)[0][0] if below else mine
        if mine == "text":
            votes += usual != "text"
        elif mine:
            votes -= usual == mine
    return votes >= 0


def _class(cell: str) -> str:
    """The kind of a cell; '' for a blank one."""
    text = cell.strip()
    known = (name for name, shape in CLASSES if re.fullmatch(shape, text))
    return next(known, "text") if text else ""


def _distinct(header: Sequence[str]) -> list[str]:
    """Names, each once: `a, b, a` → a, b, a_2; a blank one → column_3."""
    found: list[str] = []
    for at, name in enumerate(header, 1):
        base = name or f"column_{at}"
        count = 2
        new = base
        while new in found:
            new = f"{base}_{count}"
            count += 1
        found.append(new)
    return found
