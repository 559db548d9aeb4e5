"""Texts of a mapping that have a language of their own: patterns, time formats, zones, marks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backfill.lints import LintCode
from backfill.mapping.functions import FUNCTIONS
from backfill.mapping.tree import Call, Const, ExprFault, Parsed, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EPOCHS: Final = {"unix_s", "unix_ms", "unix_us"}
DIRECTIVES: Final = re.compile("%[aAbBcdfGHIjmMpSuUVwWxXyYzZ%]")
ROUND_MAX: Final = 100
AMBIGUOUS: Final = ("reject", "earliest", "latest")


def is_zone(text: str) -> bool:
    """Whether a text is a name of the IANA list."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def no_zone(text: str) -> tuple[str, str]:
    """What to say of a text that is no zone, and what to do."""
    fix = "write a name of the IANA list, such as Europe/Berlin or UTC"
    return f"unknown time zone '{text}'", fix


def is_format(text: str) -> bool:
    """Whether a text is a format of times."""
    is_pattern = "%" in text and not re.sub(DIRECTIVES, "", text).count("%")
    return is_pattern or text in {"iso8601", *EPOCHS}


def no_format(text: str) -> tuple[str, str]:
    """What to say of a text that is no format, and what to do."""
    fix = "use iso8601, unix_s, unix_ms, unix_us or a pattern such as %d.%m.%Y"
    return f"'{text}' is no time format", fix


def regex_fault(pattern: str) -> str:
    """Return what is wrong with a pattern: by Python, whose words are better, then the engine."""
    try:
        re.compile(pattern)
    except re.error as fault:
        return str(fault)
    import pyarrow as pa  # noqa: PLC0415  only where there is a pattern
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        pc.match_substring_regex(pa.array(["a"], pa.string()), pattern)
    except pa.ArrowInvalid:
        return "look-around and back references are not known here (RE2)"
    return ""


def faults_in_literals(parsed: Parsed) -> list[ExprFault]:
    """Return every literal argument that its function could not use."""
    if parsed.tree is None:
        return []
    return [
        ExprFault(const.at, LintCode.WRONG_VALUE, what, fix)
        for name, const in _literals(parsed)
        if (told := CHECKS[name](const.value))
        for what, fix in [told]
    ]


def _literals(parsed: Parsed) -> Iterator[tuple[str, Const]]:
    assert parsed.tree is not None
    for node in walk(parsed.tree):
        if not isinstance(node, Call) or FUNCTIONS[node.name].is_many:
            continue
        for parameter, part in zip(FUNCTIONS[node.name].parameters, node.arguments, strict=True):
            may_be_any = node.name == "join"  # nothing may stand between what is joined
            if parameter.is_literal and isinstance(part, Const) and not may_be_any:
                yield parameter.name, part


def _zone(value: object) -> tuple[str, str] | None:
    return no_zone(str(value)) if not is_zone(str(value)) else None


def _format(value: object) -> tuple[str, str] | None:
    return no_format(str(value)) if not is_format(str(value)) else None


def _regex(value: object) -> tuple[str, str] | None:
    fault = regex_fault(str(value))
    return (f"not a regular expression: {fault}", "correct the pattern") if fault else None


def _mark(value: object) -> tuple[str, str] | None:
    return ("a mark has one character", "write one") if len(str(value)) != 1 else None


def _separator(value: object) -> tuple[str, str] | None:
    return None if value else ("an empty text separates nothing", "write the separator")


def _ambiguous(value: object) -> tuple[str, str] | None:
    fix = f"write {', '.join(AMBIGUOUS)}"
    return (f"ambiguous: {value!r} is not known", fix) if value not in AMBIGUOUS else None


def _digits(value: object) -> tuple[str, str] | None:
    is_fit = isinstance(value, int) and abs(value) <= ROUND_MAX
    return None if is_fit else ("so many digits have no number", f"at most {ROUND_MAX}")


CHECKS: Final[dict[str, Callable[[object], tuple[str, str] | None]]] = {
    "timezone": _zone,
    "format": _format,
    "ambiguous": _ambiguous,
    "regex": _regex,
    "decimal": _mark,
    "thousands": _mark,
    "separator": _separator,
    "digits": _digits,
}
"""By the name of the parameter."""
