"""Makes JSON lines of what other tools export: `python lines.py EXPORT… > rows.jsonl`.

Reads .zip and .gz (also within each other), JSON lines, one JSON array, and with `--in data` the
array that stands under a key of each answer of an API; `-` is stdin. `--lift properties` takes the
members of an object, or of a text that holds one, out of it: {"properties": {"plan": "pro"}}
becomes {"properties.plan": "pro"}, which a mapping can name. Every value is passed on as it is
written, so numbers keep their digits. It needs Python's own library only: copy it anywhere.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

DECODER: Final = json.JSONDecoder()
BLANKS: Final = " \t\r\n"
PACKED: Final = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip"}


class ExportError(Exception):
    """What is wrong with an export, and where."""


def texts(stream: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the files in a stream with their names, unpacked to the bottom."""
    seekable = stream if stream.seekable() else io.BytesIO(stream.read())
    head = seekable.read(4)
    seekable.seek(0)
    if head[:4] in PACKED:
        with zipfile.ZipFile(seekable) as archive:
            for inside in sorted(archive.namelist()):
                if not inside.endswith("/") and not Path(inside).name.startswith("."):
                    with archive.open(inside) as member:
                        yield from texts(member, f"{name}/{inside}")
    elif head[:2] in PACKED:
        with gzip.open(seekable) as unpacked:
            yield from texts(cast("IO[bytes]", unpacked), name)
    else:
        yield name, seekable


def objects(stream: IO[bytes], under: str | None) -> Iterator[tuple[int, str]]:
    """Yield each JSON object of a file as it is written, with the number of its line."""
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig")
    for number, line in enumerate(lines, 1):
        text = line.strip(BLANKS)
        if not text:
            continue
        if text.startswith("{") and under is None and _is_whole(text):
            yield number, text
            continue
        # an array, or an answer over several lines: only the whole of it is JSON
        whole = text + "\n" + lines.read()
        for found in _values(whole):
            for one in items(found) if found.startswith("[") else under_key(found, under):
                yield number, one
        return


def _is_whole(text: str) -> bool:
    try:
        return DECODER.raw_decode(text)[1] == len(text)
    except json.JSONDecodeError:
        return False


def _values(text: str) -> Iterator[str]:
    at = _skip(text, 0)
    while at < len(text):
        _, end = DECODER.raw_decode(text, at)
        yield text[at:end]
        at = _skip(text, end)


def under_key(text: str, key: str | None) -> Iterator[str]:
    """Yield the objects of the array that stands under a key; without a key, the object itself."""
    if key is None:
        yield text
        return
    found = dict(members(text))
    if not found.get(key, "").startswith("["):
        raise ExportError(f"there is no array under '{key}'; its keys are {', '.join(found)}")
    yield from items(found[key])


def members(text: str) -> Iterator[tuple[str, str]]:
    """Yield the members of a JSON object, each value as it is written."""
    at = _skip(text, 1)
    while text[at] != "}":
        key, at = DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = DECODER.raw_decode(text, start)
        yield key, text[start:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def items(text: str) -> Iterator[str]:
    """Yield the items of a JSON array as they are written."""
    at = _skip(text, 1)
    while text[at] != "]":
        _, end = DECODER.raw_decode(text, at)
        yield text[at:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def lifted(text: str, paths: set[str], before: str = "") -> Iterator[str]:
    """Yield the members of an object as they are to be written, those of the paths taken out."""
    for key, value in members(text):
        path = f"{before}{key}"
        inside = _opened(value) if path in paths else ""
        if inside.startswith("{"):
            yield from lifted(inside, paths, f"{path}.")
        else:
            yield f"{json.dumps(path, ensure_ascii=False)}:{value}"


def _opened(value: str) -> str:
    """Return an object that may be inside a text of its own, as warehouses write it."""
    if not value.startswith('"{'):
        return value
    text = str(json.loads(value)).strip(BLANKS)
    return text if _is_whole(text) else value


def written(text: str, paths: set[str]) -> str:
    """Return an object as one line."""
    if not text.startswith("{"):
        raise ExportError(f"this is no JSON object: {text[:40]}")
    parts = lifted(text, paths) if paths else [text[1:-1].strip(BLANKS)]
    return "{" + ",".join(parts).replace("\r", " ").replace("\n", " ") + "}"


def prefixes(path: str) -> set[str]:
    """`a.b.c` → a, a.b, a.b.c: whoever lifts the last lifts what it stands in."""
    parts = path.split(".")
    return {".".join(parts[: n + 1]) for n in range(len(parts))}


def main() -> None:
    """Write the lines of all exports to stdout."""
    words = argparse.ArgumentParser(description="Make JSON lines of what other tools export.")
    words.add_argument("exports", nargs="+", type=Path, metavar="EXPORT")
    words.add_argument("--in", dest="under", metavar="KEY", help="the array under this key")
    words.add_argument("--lift", action="append", default=[], metavar="KEY[.KEY]")
    given = words.parse_args()
    paths = {prefix for path in given.lift for prefix in prefixes(path)}
    out = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="\n")
    at = ""
    try:
        for export in given.exports:
            at = str(export)
            with sys.stdin.buffer if at == "-" else export.open("rb") as stream:
                for name, text in texts(stream, at):
                    at = name
                    for number, one in objects(text, given.under):
                        at = f"{name}:{number}"
                        out.write(written(one, paths) + "\n")
        out.flush()
    except (ExportError, OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as fault:
        sys.exit(f"{at}: {fault}\n  fix: look at this place; the lines before it are written")


if __name__ == "__main__":
    main()
