"""Bytes of any encoding as UTF-8; those that are no text stay what they are, or are marked."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from backfill.source.files import open_stream

if TYPE_CHECKING:
    from backfill.source.files import SourceFile

READ_BYTES: Final = 1 << 20
RAW: Final = "surrogateescape"
MARK: Final = "backfill-mark"
MARK_BASE: Final = 0x10FF00
MARK_BYTES: Final = b"\xf4\x8f"
"""Bytes that are no text, as characters of the last private plane; the way back is `unmark`."""


def _marked(fault: UnicodeError) -> tuple[str, int]:
    assert isinstance(fault, UnicodeDecodeError)
    wrong = fault.object[fault.start : fault.end]
    return "".join(chr(MARK_BASE + byte) for byte in wrong), fault.end


codecs.register_error(MARK, _marked)


def _kept(fault: UnicodeError) -> tuple[str, int]:
    """Keep bytes that are no text; where one alone would be text, what stands there must not be."""
    assert isinstance(fault, UnicodeDecodeError)
    wrong = fault.object[fault.start : fault.end]
    return "".join(chr(0xDC00 + max(byte, FIRST_RAW)) for byte in wrong), fault.end


KEEP: Final = "backfill-keep"
FIRST_RAW: Final = 0x80
codecs.register_error(KEEP, _kept)


def is_utf8(encoding: str) -> bool:
    """Whether text of this encoding is UTF-8 as it stands."""
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}


def mark(data: bytes) -> bytes:
    """Return valid UTF-8: the bytes that are none are marked."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors=MARK).encode()
    return data


def unmark(cell: bytes) -> bytes:
    """Put the bytes back that are no text."""
    if MARK_BYTES not in cell:
        return cell
    text = cell.decode(errors=RAW)  # an escape of COPY may have made a byte that is no text, too
    return b"".join(
        bytes([ord(char) - MARK_BASE]) if ord(char) >= MARK_BASE else char.encode(errors=RAW)
        for char in text
    )


def unmarked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Put them back in every cell."""
    columns = []
    for column in batch.columns:
        if MARK_BYTES in memoryview(column.buffers()[2] or b"").tobytes():
            column = pa.array([unmark(cell) for cell in column.to_pylist()], pa.binary())  # noqa: PLW2901
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def open_text(file: SourceFile, encoding: str) -> Any:
    """Open a file as a stream of UTF-8 bytes."""
    stream = open_stream(file)
    return stream if is_utf8(encoding) else io.BufferedReader(Recoded(stream, encoding), READ_BYTES)


class Recoded(io.RawIOBase):
    """A stream in another encoding, as UTF-8.

    A byte that is not valid stays as it is, so that it costs its row and not the file.
    """

    def __init__(self, stream: Any, encoding: str) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors=KEEP)
        self._ready = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer; 0 at the end."""
        while not self._ready:
            raw = bytes(self._stream.read(READ_BYTES))
            text = self._decoder.decode(raw, final=not raw)
            self._ready = text.encode(errors=RAW)
            if not raw:
                break
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Close the stream below, too."""
        self._stream.close()
        super().close()
