"""The stand-in of the destination: the Pipelines API on loopback, with what it received readable.

It keeps the documented rules, and where those are unknown it assumes. Each assumption is the one
that asks more of a client, so that what passes here should pass there:

| where the contract is silent or unsure | what the sandbox does |
| --- | --- |
| a strict batch with an invalid item | 400 naming each one, nothing of the batch is stored |
| body over 500,000 bytes | strict: 413; permissive: 200, dropped |
| message over 32,000 bytes | strict: 400; permissive: 200, that message dropped |
| 32/500 KB or the newer 64 KB/1 MB | the smaller, KB as 1000, on the bytes sent |
| messages in a batch | no limit but bytes |
| empty batch, no JSON, NaN | strict: 400; permissive: 200, dropped |
| gzip | not accepted: strict 415; permissive: 200, dropped (taken by that of `--to sandbox`) |
| wrong or missing key | strict: 401; permissive: 200, nothing stored |
| which keys are good | any of the right shape, unless the sandbox was given one |
| pk_/sk_ key as Basic, other key as Bearer | wrong shape |
| wrong region | not simulated |
| messageId seen before | 200, no effect, for ever; without one a random one is given |
| a null member, a blank id | counts as left out |
| numeric ids | accepted, kept as text |
| email without userId and anonymousId | refused |
| page or screen without name | accepted |
| timestamp | RFC 3339 with zone or refused; any year; without one, time of receipt |
| skew (sentAt) | ignored |
| objectTypeId | trait, older spelling of it, or root; text or whole number; types need no setup |
| a null person trait | removes it; an empty text stays |
| a null or empty attribute of an object or relationship | removes it |
| createdAt | kept as created_at; without one, when the person was first seen |
| identify older than the last one | 200, dropped; a profile known from events alone has no age |
| email of another person, or a second email | the rest applies, the email stays (conflict) |
| userId and anonymousId on identify | the anonymous profile joins, unless it is someone's already |
| userId cio_… | one more kind of id, known only if it was used here |
| email-shaped userId | the email, in any case of letters |
| alias | merges at once, the receiver's traits win; an unknown previousId is reserved |
| suppressed ids | messages are recorded as suppressed and do nothing |
| deleted people | their timeline is gone; later messages for the id make a new person |
| Application Installed, Opened, Uninstalled | device commands where they have a token |
| a track with groupId alone | recorded, makes no object |
| context, integrations beside batch | the default of messages without their own |
| order | messages take effect in the order of the batch, batches in the order of arrival |
| ingestion | at once: a 200 means stored and readable |
| limits of the workspace (ids of 150 bytes, 300 attributes ...) | not checked |
| rate limits | none but the faults asked for |

`Sandbox` and `serve` start it, `Store` reads its file without a server. Importing this package
loads neither starlette nor uvicorn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from backfill.sandbox.server import Sandbox, serve
    from backfill.sandbox.store import Store

__all__ = ["ASSUMPTIONS", "Sandbox", "Store", "serve"]


def _table(text: str) -> tuple[tuple[str, str], ...]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return tuple((row[0], row[1]) for row in rows[2:])  # after the head and its rule


ASSUMPTIONS: Final[tuple[tuple[str, str], ...]] = _table(__doc__ or "")
"""The table above: where the contract is unknown, and what the sandbox does."""


def __getattr__(name: str) -> Any:
    # Late, so that a command that only reads a file does not wait for a web server to load.
    if name in {"Sandbox", "serve"}:
        from backfill.sandbox import server  # noqa: PLC0415

        return getattr(server, name)
    if name == "Store":
        from backfill.sandbox.store import Store  # noqa: PLC0415

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
