"""What the models cannot say of runs that come every night: mode, key and watermark. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from backfill import spec
from backfill.lints import LintCode

if TYPE_CHECKING:
    from backfill.mapping.document import Document, WatermarkSpec
    from backfill.mapping.strict_yaml import Path

    Fault = tuple[Path, LintCode, str, str]

UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
LAG: Final = re.compile(r"[0-9]{1,6}[smhd](?: +[0-9]{1,6}[smhd])*")
OF_TIMES: Final = ("format", "timezone", "ambiguous")


def lag_of(watermark: WatermarkSpec) -> int | None:
    """Return how far below the highest value rows are still sent; None where it is no lag.

    Milliseconds for times and dates, the number itself for integers.
    """
    lag = watermark.lag
    if isinstance(lag, int):
        return lag if watermark.type == "integer" or not lag else None
    if watermark.type == "integer" or not LAG.fullmatch(lag.strip()):
        return None
    return sum(int(part[:-1]) * UNITS_MS[part[-1]] for part in lag.split())


def counts_twice(document: Document) -> bool:
    """Whether an event that is sent again counts again: nothing but its row says what it is."""
    has_key = document.key or document.rows is not None
    return not has_key and any(
        _is_event(one) and one.messageId is None for one in document.messages
    )


def keeps_ids(document: Document) -> bool:
    """Whether it has events whose message id stays the same while their content changes."""
    return any(_is_event(one) and one.messageId is None for one in document.messages)


def _is_event(message: Any) -> bool:
    return not spec.TYPES[message.type].is_ordered


def nightly_faults(document: Document) -> list[Fault]:
    """Return what is wrong with mode and watermark, and with what they need."""
    found: list[Fault] = []
    watermark = document.watermark
    if document.mode == "changed" and not (document.key or document.rows):
        fix = "add key: with the column or columns that tell one row from another"
        found.append((("mode",), LintCode.MISSING_KEY, "mode: changed needs a key", fix))
    if document.mode == "since" and watermark is None:
        fix = "add watermark: {column: the column that says when a row last changed}"
        found.append((("mode",), LintCode.MISSING_KEY, "mode: since needs a watermark", fix))
    if watermark is None:
        return found
    if document.mode != "since":
        what = "'watermark' says nothing here"
        found.append((("watermark",), LintCode.BAD_OPTION, what, "add mode: since"))
    return found + _watermark(watermark) + _lag(document, watermark)


def _watermark(watermark: WatermarkSpec) -> list[Fault]:
    if watermark.type != "integer":
        return []
    said = [name for name in OF_TIMES if name in watermark.model_fields_set]
    what, fix = "'{}' says nothing for an integer", "leave it out"
    return [(("watermark", one), LintCode.BAD_OPTION, what.format(one), fix) for one in said]


def _lag(document: Document, watermark: WatermarkSpec) -> list[Fault]:
    at: Path = ("watermark", "lag")
    lag = lag_of(watermark)
    if lag is None and watermark.type == "integer":
        fix = "write how far below the highest value, such as 100, or leave it out"
        what = f"lag: {watermark.lag!r} is no whole number, and the watermark is one"
        return [(at, LintCode.WRONG_VALUE, what, fix)]
    if lag is None:
        fix = "write it as 90s, 30m, 2h, 1d or 1d 12h"
        return [(at, LintCode.WRONG_VALUE, f"lag: {watermark.lag!r} is no length of time", fix)]
    if lag and counts_twice(document):
        what = "without a key the events within the lag would be sent under other message ids"
        return [(at, LintCode.MISSING_KEY, what, "add key:, or leave lag out")]
    return []
