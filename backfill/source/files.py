"""Paths → the files of a source, in order, with what identifies them. Reads no rows."""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import io
import lzma
import os
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from backfill.errors import SourceError, UsageError
from backfill.mapping.uri import (
    FORMATS,
    AddressError,
    address_of,
    local_of,
    shown,
    why_missing,
)
from backfill.source import remote
from backfill.source.trouble import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backfill.mapping.uri import Address
    from backfill.source.place import Place
    from backfill.source.remote import Object
    from backfill.source.span import Span

READ_FAULTS: Final = (OSError, EOFError, lzma.LZMAError, zlib.error, pa.ArrowException)
"""What the readers and unpackers raise for a file that is damaged."""

HASHED_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 1 << 18
ASK_S: Final = 5.0
"""How often a store is asked whether a file is still the same while it is read."""

PACKED: Final = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source: where it is, how to read it, and how to know it again."""

    path: str
    """Of a remote file its address, without options."""
    format: str
    size_bytes: int
    modified_ns: int
    sha256: str = ""
    address: Address | None = None
    """Where it is, if not on this machine."""
    place: Place | None = None
    """Where a run that goes on may begin to read."""

    @property
    def packing(self) -> str | None:
        """The compression, by the ending."""
        return PACKED.get(Path(self.path).suffix.lower())


def find_files(paths: Sequence[str], base: Path, file_format: str | None) -> list[SourceFile]:
    """Return the files of a list in the order written; those of a folder or glob by name.

    Raises UsageError for a path that is missing, and for a folder or glob with nothing in it.
    """
    files = [file for path in paths for file in _found(path, base, file_format)]
    if len({file.format for file in files}) > 1:
        fix = "one mapping reads one format: name the files, or a pattern such as *.csv"
        where = ", ".join(map(shown, paths))
        raise UsageError("the source mixes formats", where=where, fix=fix)
    return files


def _found(path: str, base: Path, file_format: str | None) -> list[SourceFile]:
    try:
        address = address_of(path)
    except AddressError as fault:
        raise UsageError(fault.what, where=shown(path), fix=fault.fix) from None
    if address is None:
        return [_described(one, file_format) for one in _local(local_of(path), base, file_format)]
    found = remote.find(address, lambda key: _is_data(Path(key), file_format))
    return [_told(one, file_format) for one in found]


def _local(path: str, base: Path, file_format: str | None) -> list[Path]:
    full = Path(os.path.normpath(base / Path(path).expanduser()))
    if full.is_dir():
        return _in_folder(full, file_format)
    if full.exists():
        return [full]
    if glob.has_magic(path):
        return _matching(full)
    near = get_close_matches(full.name, _names_in(full.parent), n=1)
    fix = why_missing(path, is_there=lambda other: (base / other).exists())
    fix = fix or (f"did you mean '{near[0]}'?" if near else "correct the path")
    raise UsageError("there is no such file", where=full, fix=fix)


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _in_folder(folder: Path, file_format: str | None) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and _is_data(p, file_format))
    if not files:
        fix = "put CSV, Parquet or JSON lines files there, or name another folder"
        raise UsageError("there is no data file in this folder", where=folder, fix=fix)
    return files


def _is_data(path: Path, file_format: str | None) -> bool:
    """Whether a file of a folder is meant: not what programs put beside it (`_SUCCESS`)."""
    return path.name[0] not in "._" and (file_format or format_of(path)) is not None


def _matching(pattern: Path) -> list[Path]:
    files = sorted(Path(p) for p in glob.glob(str(pattern), recursive=True) if Path(p).is_file())  # noqa: PTH207  an absolute pattern
    if not files:
        fix = "correct the pattern, or wait for the files"
        raise UsageError("no file matches", where=pattern, fix=fix)
    return files


def format_of(path: Path) -> str | None:
    """Return the format by the ending before .gz and its kind; None where it tells nothing."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _described(path: Path, file_format: str | None) -> SourceFile:
    known = _format(path, path, file_format)
    try:
        stat = path.stat()
        with path.open("rb"):
            pass
    except OSError as fault:
        what = f"cannot be read: {fault.strerror}"
        raise UsageError(what, where=path, fix="check its permissions") from None
    return SourceFile(str(path), known, stat.st_size, stat.st_mtime_ns)


def _told(one: Object, file_format: str | None) -> SourceFile:
    path = str(one.address)
    known = _format(Path(one.address.key), path, file_format)
    return SourceFile(path, known, one.size_bytes, one.modified_ns, address=one.address)


def _format(path: Path, where: object, file_format: str | None) -> str:
    known = file_format or format_of(path)
    if known is None:
        fix = "say source: {format: csv | parquet | jsonl}"
        raise UsageError("the ending does not tell the format", where=where, fix=fix)
    return known


def hashed(file: SourceFile, watch: Callable[[], None] = lambda: None) -> SourceFile:
    """Return the file with the sha256 of its bytes as stored: what identifies its content.

    watch: called for each piece, since a large file takes a minute; what it raises ends it. Raises
    SourceError; ResumableError where the file changed meanwhile.
    """
    digest = hashlib.sha256()
    piece = memoryview(bytearray(HASHED_BYTES if file.address is None else remote.READ_BYTES))
    try:
        with open_raw(file) as stream:
            while count := stream.readinto(piece):
                digest.update(piece[:count])
                watch()
    except OSError as fault:
        raise _unread(file, fault) from None
    check_unchanged(file)
    return replace(file, sha256=digest.hexdigest())


def check_unchanged(file: SourceFile) -> None:
    """Raise ResumableError where a file is not the one that was found when the run was planned.

    To be asked after a read and before what was read is used, so that rows are never mixed. It
    does not judge: a run that begins again compares the content. Inodes are not compared, since
    mounts exist that give a file another one whenever they like.
    """
    found: tuple[int, int] | None = None
    if file.address is not None:
        found = remote.stamp(file.address)
    else:
        with suppress(OSError):
            stat = os.stat(file.path)  # noqa: PTH116  asked for every span
            found = (stat.st_size, stat.st_mtime_ns)
    if found != (file.size_bytes, file.modified_ns):
        raise changed(file.path, is_gone=found is None)


def unmixed(
    file: SourceFile, spans: Iterator[Span], clock: Callable[[], float] = time.monotonic
) -> Iterator[Span]:
    """Yield what is read of a file, and nothing that is read once it is known to have changed.

    A local file is asked for every span. A store is asked each ASK_S and, with the last span held
    back, at the end: rows of a replaced object can go out for so long, but it is never finished.
    Raises ResumableError.
    """
    is_local = file.address is None
    asked_s, held = float("-inf"), None
    try:
        for span in spans:
            if is_local or clock() - asked_s >= ASK_S:
                check_unchanged(file)
                asked_s = clock()
            if is_local:
                yield span
                continue
            if held is not None:
                yield held
            held = span
    except SourceError:
        check_unchanged(file)  # a file that was cut while it was read says so
        raise
    check_unchanged(file)
    if held is not None:
        yield held


def _unread(file: SourceFile, fault: OSError) -> SourceError:
    """Return what to raise where a file that is there cannot be read."""
    what, fix = f"cannot be read: {fault.strerror}", "check the disk and the rights to read it"
    return SourceError(what, where=file.path, fix=fix)


def begins_with(file: SourceFile, size_bytes: int, sha256: str) -> bool:
    """Whether the first bytes of a file are all the bytes of another: it has grown."""
    if file.size_bytes < size_bytes:
        return False
    digest, left = hashlib.sha256(), size_bytes
    try:
        with open_raw(file) as stream:
            while left and (part := stream.read(min(left, 1 << 20))):
                digest.update(part)
                left -= len(part)
    except OSError as fault:
        raise _unread(file, fault) from None
    return digest.hexdigest() == sha256


def open_raw(file: SourceFile) -> Any:
    """Open a file for reading its bytes as stored, from anywhere, without a buffer."""
    if file.address is None:
        return Path(file.path).open("rb", buffering=0)
    try:
        stream = remote.Remote(file.address, is_begun=bool(file.sha256))
    except FileNotFoundError:
        raise changed(file.path, is_gone=True) from None
    if stream.size_bytes != file.size_bytes:
        stream.close()
        raise changed(file.path, is_gone=False)
    return stream


def _open_stored(file: SourceFile) -> Any:
    """Open a file for reading its bytes as stored, one after the other, for Arrow and Python."""
    if file.address is None:
        return pa.OSFile(file.path)
    return io.BufferedReader(open_raw(file), remote.READ_BYTES)


def open_stream(file: SourceFile) -> Any:
    """Open a file for reading bytes from its begin, unpacked as its ending says."""
    if file.packing and not file.size_bytes:
        raise OSError("the file is empty, so it was not packed to its end")
    match file.packing:
        case None:
            return _open_stored(file)
        case "gzip":
            return gzip.open(file.path if file.address is None else _open_stored(file))
        case "bz2":
            return io.BufferedReader(_Members(_open_stored(file), bz2.BZ2Decompressor), PIECE_BYTES)
        case "xz":
            return io.BufferedReader(
                _Members(_open_stored(file), lzma.LZMADecompressor), PIECE_BYTES
            )
        case packing:
            return pa.CompressedInputStream(_open_stored(file), packing)


class _Members(io.RawIOBase):
    """One or more packed members as one stream.

    The standard library ends in silence where the second member is damaged, and its rows are gone.
    """

    def __init__(self, raw: Any, new: Callable[[], Any]) -> None:
        super().__init__()
        self._raw = raw
        self._new = new
        self._member = new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            packed = b""
            if self._member.eof:
                packed = self._member.unused_data or self._raw.read(PIECE_BYTES)
                packed = packed.lstrip(b"\x00")  # padding, which xz allows between and after
                if not packed and not (packed := self._raw.read(PIECE_BYTES).lstrip(b"\x00")):
                    return 0
                self._member = self._new()
            elif self._member.needs_input and not (packed := self._raw.read(PIECE_BYTES)):
                raise EOFError("the packed file ends too early")
            data = self._member.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._raw.close()
        super().close()
