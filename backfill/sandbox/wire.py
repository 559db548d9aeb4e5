"""Request bodies to messages, each with the exact text and bytes that were sent.

Nothing but parsing may live here: what a message must hold is the business of `rules`. The body
is walked member by member, since `json.loads` forgets where a message began, and limits are
measured on the bytes sent, not on bytes we would write.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH_DEFAULTS: Final = ("context", "integrations")
"""Members of the envelope that are the default of messages without their own: `context` by the
description of Sep 2026, `integrations` by that of Aug 2026."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class BodyError(ValueError):
    """A body that is not what a route wants; its text is what the sandbox answers."""


class Received(NamedTuple):
    """One item of a batch, or the body of a single call."""

    body: Any
    """The parsed item; an object (dict) once `rules` found no fault."""
    text: str
    """The item as it was sent (or with the defaults of its envelope, where it had to take them)."""
    size_bytes: int
    """UTF-8 bytes as sent."""


def _refuse_constant(name: str) -> NoReturn:
    raise BodyError(f"the body is not JSON: {name} is no JSON value")


# `raw_decode` without its frame: this runs once a message. (typeshed leaves the attribute out.)
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder(
    parse_constant=_refuse_constant
).scan_once  # type: ignore[attr-defined]


def unpacked(raw: bytes, bytes_max: int) -> bytes:
    """Unpack gzip, up to a byte more than allowed; what is none or breaks off comes as it is."""
    opened = zlib.decompressobj(wbits=31)
    try:
        body = opened.decompress(raw, bytes_max + 1)
    except zlib.error:
        return raw
    return body if opened.eof or len(body) > bytes_max else raw


def read_single(raw: bytes) -> Received:
    """Read the body of /v1/identify and its like: one JSON object. Raises BodyError."""
    text = _text(raw)
    value, end = _value(text, _skip(text, 0))
    if _skip(text, end) != len(text):
        raise BodyError(f"the body is not JSON: text after its end, at {end}")
    if not isinstance(value, dict):
        raise BodyError("the body must be an object")
    text = text.strip()
    return _received(value, text, len(text.encode()))


def read_batch(raw: bytes) -> list[Received]:
    """Read the body of /v1/batch: an object with a non-empty array `batch`. Raises BodyError.

    Members beside it (sentAt, writeKey, context, integrations ...) may stand before or after.
    """
    text = _text(raw)
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        _value(text, at)
        raise BodyError("the body must be an object with an array 'batch'")
    members: dict[str, Any] = {}
    items: list[Received] | None = None
    at = _skip(text, at + 1)
    is_open = text[at : at + 1] != "}"
    at += not is_open
    while is_open:
        name, at = _name(text, at)
        if name == "batch" and text[at : at + 1] == "[":
            items, at = _items(text, at + 1)
        else:
            members[name], at = _value(text, at)
        is_open, at = _after(text, at, "}")
    if _skip(text, at) != len(text):
        raise BodyError(f"the body is not JSON: text after its end, at {at}")
    if items is None:
        raise BodyError("batch must be an array")
    if not items:
        raise BodyError("batch must not be empty")
    return _with_defaults(items, members)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BodyError(f"the body is not UTF-8: byte {error.start}") from None


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None, "the pattern matches nothing at all, too"
    return match.end()


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _SCAN(text, at)
    except BodyError:
        raise
    except StopIteration as stop:
        raise BodyError(f"the body is not JSON: a value expected at {stop.value}") from None
    except json.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error.msg} at {error.pos}") from None
    except (ValueError, RecursionError) as error:  # 5,000 digits, or 5,000 brackets
        raise BodyError(f"the body is not JSON we can read: {error}") from None


def _name(text: str, at: int) -> tuple[str, int]:
    name, end = _value(text, at)
    colon = _skip(text, end)
    if not isinstance(name, str) or text[colon : colon + 1] != ":":
        raise BodyError(f"the body is not JSON: a member expected at {at}")
    return name, _skip(text, colon + 1)


def _after(text: str, at: int, closing: str) -> tuple[bool, int]:
    """Read `,` or the closing bracket: whether more follows, and where."""
    at = _skip(text, at)
    mark = text[at : at + 1]
    if mark not in {",", closing}:
        raise BodyError(f"the body is not JSON: ',' or '{closing}' expected at {at}")
    return mark == ",", _skip(text, at + 1)


def _items(text: str, at: int) -> tuple[list[Received], int]:
    items: list[Received] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return items, at + 1
    is_ascii = text.isascii()  # then characters are bytes
    is_open = True
    while is_open:
        value, end = _value(text, at)
        item = text[at:end]
        size_bytes = end - at if is_ascii else len(item.encode())
        items.append(_received(value, item, size_bytes))
        if text.startswith(",{", end):  # what nearly all clients write between two items
            at = end + 1
        else:
            is_open, at = _after(text, end, "]")
    return items, at


def _received(value: Any, text: str, size_bytes: int) -> Received:
    if "\\u" in text and _SURROGATE.search(text):
        # Half a surrogate pair is legal JSON and no text: like most parsers we read U+FFFD.
        # (SQLite could not store it.)
        plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        whole = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if whole != plain:
            return Received(json.loads(whole), whole, size_bytes)
    return Received(value, text, size_bytes)


def _with_defaults(items: list[Received], members: dict[str, Any]) -> list[Received]:
    defaults = {n: members[n] for n in BATCH_DEFAULTS if isinstance(members.get(n), dict)}
    if not any(defaults.values()):
        return items
    return [_completed(item, defaults) for item in items]


def _completed(item: Received, defaults: dict[str, Any]) -> Received:
    if not isinstance(item.body, dict) or defaults.keys() <= item.body.keys():
        return item
    body = {**defaults, **item.body}
    text = json.dumps(body, separators=(",", ":"))
    return _received(body, text, item.size_bytes)
