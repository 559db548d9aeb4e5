"""The API's rules as tables: message types, their members, limits, commands. No logic.

Every fact comes from the vendor's published description of the Pipelines API or from its
official clients; what is inferred or reported says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION: Final = "0.1.0"
"""The version of this program, sent as User-Agent."""

REGIONS: Final = {"us": "https://cdp.customer.io/v1", "eu": "https://cdp-eu.customer.io/v1"}
"""The two documented hosts (servers of the OpenAPI description)."""

KEY_PATTERN: Final = r"(?:pk|sk)_(us|eu)_.+"
"""Keys since 30 Oct 2026 name their region and go as Bearer (customerio-cdp-analytics 1.1.0)."""

COMMON: Final = ("messageId", "timestamp", "context", "integrations")
IDS: Final = ("userId", "anonymousId", "groupId", "previousId", "messageId")
"""Text for ever: `007` stays `007`."""


@dataclass(frozen=True, slots=True)
class MessageType:
    """One of the six calls."""

    name: str
    members: tuple[str, ...]
    required: tuple[str, ...]
    any_of: tuple[str, ...]
    """At least one of these must be mapped, and not blank in a row."""
    body: str
    """The member that holds the free data: traits or properties; '' for alias."""
    needs_timestamp: bool
    """Without one the destination would stamp history with the time of receipt."""
    is_ordered: bool
    """Whether one id's messages must arrive in the order of the rows (upserts and merges)."""


TYPES: Final = {
    t.name: t
    for t in (
        MessageType(
            "identify",
            ("userId", "anonymousId", "traits", *COMMON),
            (),
            ("userId", "anonymousId"),
            "traits",
            needs_timestamp=False,
            is_ordered=True,
        ),
        MessageType(
            "track",
            ("userId", "anonymousId", "groupId", "event", "properties", *COMMON),
            ("event",),
            ("userId", "anonymousId", "groupId"),
            "properties",
            needs_timestamp=True,
            is_ordered=False,
        ),
        MessageType(
            "page",
            ("userId", "anonymousId", "name", "category", "properties", *COMMON),
            (),
            ("userId", "anonymousId"),
            "properties",
            needs_timestamp=True,
            is_ordered=False,
        ),
        MessageType(
            "screen",
            ("userId", "anonymousId", "name", "category", "properties", *COMMON),
            (),
            ("userId", "anonymousId"),
            "properties",
            needs_timestamp=True,
            is_ordered=False,
        ),
        MessageType(
            "group",
            ("groupId", "userId", "anonymousId", "traits", *COMMON),
            ("groupId",),
            (),
            "traits",
            needs_timestamp=False,
            is_ordered=True,
        ),
        MessageType(
            "alias",
            ("userId", "previousId", *COMMON),
            ("userId", "previousId"),
            (),
            "",
            needs_timestamp=False,
            is_ordered=True,
        ),
    )
}
"""Strict mode wants userId or anonymousId on the first four (reported), groupId on group, both
ids on alias. A track may name a groupId alone: an event on an object."""

MEMBER_ORDER: Final = (
    "userId",
    "anonymousId",
    "previousId",
    "groupId",
    "event",
    "name",
    "timestamp",
    "context",
    "integrations",
    "properties",
    "traits",
)
"""The order of members in a message, after `type`; `messageId` is last."""


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes of exact UTF-8, KB read as 1000. The last five are those of a workspace."""

    message: int = 32_000
    batch: int = 475_000
    id: int = 150
    name: int = 150
    value: int = 1_000
    traits: int = 300
    event: int = 100


LIMITS: Final = Limits()
"""32 KB a call and 500 KB a batch are documented; 475,000 is what the official client cuts at.
The workspace's own (id 150, attribute name 150, value 1,000, 300 attributes, event name 100) come
from the Track API's pages: the Pipelines API accepts a breach with 200 and it fails later."""

COMMANDS: Final = frozenset(
    {
        "Device Created or Updated",
        "Device Deleted",
        "User Deleted",
        "User Suppressed",
        "User Unsuppressed",
        "Relationship Deleted",
        "Object Deleted",
        "Report Delivery Event",
        "Report Content Event",
        "Application Installed",
        "Application Opened",
        "Application Uninstalled",
    }
)
"""A track whose event is exactly one of these acts on the workspace; it is no history. The
Application names are read as device commands by the destination's public code (inferred)."""

OVERRIDES: Final = frozenset({"recipient", "from_address", "reply_to"})
"""Event properties that override a campaign's own settings (Track API description)."""

INTERNAL_ID_PREFIX: Final = "cio_"
"""A userId of this form is read as the destination's internal id."""

RECENT_S: Final = 72 * 3600
"""Events up to 72 hours old can start campaigns; older ones do not ("Importing old data")."""

FUTURE_S: Final = 5 * 60
"""How far ahead of our clock a timestamp may be: clocks differ a little, history is past."""

NOT_BEFORE: Final = "1990-01-01"
"""Older timestamps are nearly always a wrong epoch unit or a default of the source."""
