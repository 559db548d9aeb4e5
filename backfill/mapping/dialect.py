"""What the models cannot say of a CSV dialect, and the delimiter that was meant. No I/O."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final

from backfill.lints import LintCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backfill.mapping.document import CsvDialect

AT: Final = ("source", "csv")
DELIMITER_CHARS_MAX: Final = 4
LINE_ENDS: Final = ("\r", "\n")
PLAIN: Final = {chr(code) for code in range(1, 128)}

DELIMITERS: Final = (";", "\t", "|", ",", None)
"""Those that files have without anybody saying so; None for runs of blanks."""


def delimiter_meant(name: str, columns: Sequence[str]) -> str:
    """Return the fix where a file has one column only, in whose name this one stands; else ""."""
    for mark in DELIMITERS if len(columns) == 1 else ():
        parts = [part.strip(" \"'") for part in columns[0].split(mark)]
        if name in parts and len(parts) > 1:
            word = "whitespace" if mark is None else '"\\t"' if mark == "\t" else f'"{mark}"'
            return f"the file has another delimiter: say source: {{csv: {{delimiter: {word}}}}}"
    return ""


def dialect_faults(how: CsvDialect) -> Iterator[tuple[Any, LintCode, str, str]]:
    """Yield every fault: path, code, what, fix."""
    try:
        "".encode(how.encoding)
        codecs.getincrementaldecoder(how.encoding)(errors="surrogateescape").decode(b"", final=True)
    except (LookupError, UnicodeError, TypeError):
        what = f"unknown encoding '{how.encoding}'"
        yield (*AT, "encoding"), LintCode.WRONG_VALUE, what, "for example utf-8"
    if how.delimiter != "whitespace" and len(how.delimiter) > DELIMITER_CHARS_MAX:
        what = f"delimiter: {how.delimiter!r} is neither 1 to 4 characters nor 'whitespace'"
        fix = 'write the characters, such as ";" or "||"'
        yield (*AT, "delimiter"), LintCode.WRONG_VALUE, what, fix
    if how.quote != "none" and (len(how.quote) > 1 or how.quote not in PLAIN):
        what = f"quote: {how.quote!r} is neither one ASCII character nor 'none'"
        yield (*AT, "quote"), LintCode.WRONG_VALUE, what, "write the character, or none"
    if how.escape is not None and how.escape not in PLAIN:
        what = f"escape: {how.escape!r} is not an ASCII character"
        yield (*AT, "escape"), LintCode.WRONG_VALUE, what, 'write the character, such as "\\\\"'
    yield from _together(how)


def _together(how: CsvDialect) -> Iterator[tuple[Any, LintCode, str, str]]:
    """Yield what is wrong with marks that are right one by one."""
    marks: dict[str, str | None] = {
        "delimiter": how.delimiter,
        "quote": how.quote,
        "escape": how.escape,
    }
    for name, mark in {**marks, "comment": how.comment}.items():
        if mark and any(end in mark for end in LINE_ENDS):
            what = f"{name}: a line end ends rows"
            yield (*AT, name), LintCode.WRONG_VALUE, what, "name another one"
    used = {name: marks[name] for name in ("quote", "escape") if marks[name] not in {None, "none"}}
    for name, mark in used.items():
        if how.delimiter == "whitespace" and name in how.model_fields_set:
            what = f"'{name}' says nothing with delimiter: whitespace"
            yield (*AT, name), LintCode.BAD_OPTION, what, 'leave it out, or use delimiter: " "'
        elif mark and mark in how.delimiter:
            what = f"{name}: {mark!r} is in the delimiter, too"
            yield (*AT, name), LintCode.WRONG_VALUE, what, "name another one, or leave it out"
    if how.quote == "none" and how.escape not in {None, "\\"}:
        what = f"escape: {how.escape!r} is not known without quotes"
        fix = 'with quote: none the escapes are those of COPY: write escape: "\\\\"'
        yield (*AT, "escape"), LintCode.WRONG_VALUE, what, fix
