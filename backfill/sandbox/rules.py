"""What strict mode refuses: one parsed message in, a list of faults out.

Pure, and only what the Pipelines API itself is known to check. The workspace's own limits (ids of
150 bytes, 300 attributes, values of 1,000 bytes) are not refused: the API answers 200 and they
fail later, out of sight.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from backfill.spec import LIMITS, TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_BYTES_MAX: Final = 500_000
"""500 KB a batch is documented (`spec.LIMITS.batch` is what official clients cut at)."""

DEVICE_EVENTS: Final = frozenset({"Device Created or Updated", "Device Deleted"})
PERSON_EVENTS: Final = frozenset({"User Deleted", "User Suppressed", "User Unsuppressed"})
REPORT_EVENTS: Final = frozenset({"Report Delivery Event", "Report Content Event"})

COMMAND_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(DEVICE_EVENTS, ("userId", "context.device.token")),
    **dict.fromkeys(PERSON_EVENTS, ("userId",)),
    **dict.fromkeys(REPORT_EVENTS, ("properties",)),
    "Relationship Deleted": ("userId", "properties.objectId"),
    "Object Deleted": ("anonymousId", "properties.objectId"),
}
"""What the events that act must hold (OpenAPI description, Aug and Sep 2026). That an Object
Deleted needs an anonymousId is odd, but it says so."""

_DATE_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_OBJECT_TYPE: Final = re.compile(r"[1-9][0-9]*", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def message_faults(message: Any, size_bytes: int) -> list[str]:
    """Say what strict mode would find wrong with one message; an empty list: nothing.

    size_bytes: the UTF-8 bytes of the message as it was sent.
    A member that is null counts as left out: official clients send `"anonymousId":null`. So does
    a blank id. No fault quotes a value, so answers may be logged.
    """
    if not isinstance(message, dict):
        return ["must be an object"]
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return [f"type must be one of {', '.join(TYPES)}"]
    found = []
    if size_bytes > LIMITS.message:
        found.append(f"{kind} is {size_bytes:,} bytes; the limit is {LIMITS.message:,}")
    for name, value in message.items():
        if value is not None and name in _SHAPES and type(value) not in _SHAPES[name]:
            found.append(f"{name} must be {_WORDS[_SHAPES[name]]}")
        elif name in _TIMES and isinstance(value, str) and to_ms(value) is None:
            found.append(f"{name} must be an ISO 8601 date-time with a zone")
    return found or _missing(message, kind)


def is_present(value: object) -> bool:
    """Whether a member says anything: not null, not blank text."""
    return bool(value.strip()) if isinstance(value, str) else value is not None


@lru_cache(maxsize=16_384)  # asked twice for each message: when judged and when stored
def to_ms(text: str) -> int | None:
    """Read an RFC 3339 date-time as milliseconds since 1970 UTC; None: it is none.

    The descriptions say `format: date-time`, which wants date, time and zone.
    """
    if not _DATE_TIME.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MS
    except (ValueError, OverflowError):
        return None


def object_type(value: object) -> str | None:
    """Read the type of an object, `"1"` or 1, as text; None: it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _OBJECT_TYPE.fullmatch(value) else None


def group_object_type(message: Mapping[str, Any], member: str = "traits") -> object:
    """Find the type of the object a message is about, `"1"` where none is named.

    The spelling is `objectTypeId` in the description of Sep 2026, `object_type_id` in Aug, and an
    older one has it at the root.
    """
    inner = message.get(member) or {}
    for value in (
        inner.get("objectTypeId"),
        inner.get("object_type_id"),
        message.get("objectTypeId"),
    ):
        if value is not None:
            return value
    return "1"


def _missing(message: dict[str, Any], kind: str) -> list[str]:
    known = TYPES[kind]
    found = [f"{kind} needs {name}" for name in known.required if not is_present(message.get(name))]
    event = message["event"].strip() if kind == "track" and not found else ""
    if event in COMMAND_NEEDS:
        found += [f"{event} needs {p}" for p in COMMAND_NEEDS[event] if not _has(message, p)]
        if event in {"Relationship Deleted", "Object Deleted"} and not found:
            found += _object_type_faults(message, "properties")
    elif known.any_of and not _has_any(message, known.any_of):
        # Not asked of commands: each names its own id, and reports belong to a delivery.
        found.append(f"{kind} needs {_or(known.any_of)}")
    if kind == "group" and not found:
        found += _object_type_faults(message, "traits")
    return found


def _object_type_faults(message: dict[str, Any], member: str) -> list[str]:
    value = group_object_type(message, member)
    return [] if object_type(value) else ["objectTypeId must be a whole number from 1, as text"]


def _has(message: dict[str, Any], path: str) -> bool:
    value: Any = message
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return is_present(value)


def _has_any(message: dict[str, Any], names: tuple[str, ...]) -> bool:
    for name in names:  # noqa: SIM110  a loop, as this runs once a message and `any` costs double
        if is_present(message.get(name)):
            return True
    return False


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


# Types, not predicates: these are looked at for every member of millions of messages. An id may be
# a whole number: the types of customerio-node 5.2.0 allow one as userId. (type(True) is bool.)
_TEXT: Final = (str,)
_ID: Final = (str, int)
_OBJECT: Final = (dict,)
_WORDS: Final[Mapping[tuple[type, ...], str]] = {_TEXT: "text", _ID: "text", _OBJECT: "an object"}
_TIMES: Final = frozenset({"timestamp", "originalTimestamp", "sentAt"})
_SHAPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("userId", "anonymousId", "groupId", "previousId"), _ID),
    **dict.fromkeys(("messageId", "event", "name", "category", *_TIMES), _TEXT),
    **dict.fromkeys(("traits", "properties", "context", "integrations"), _OBJECT),
}
