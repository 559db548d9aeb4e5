"""What the body of an answer says, whatever its form. Pure: bytes in, words out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

REASON_CHARS: Final = 300


def is_answer(body: bytes) -> bool:
    """An empty body or a JSON object: a page of a proxy is neither."""
    if not body.strip():
        return True
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def words(body: bytes, scrub: Callable[[str], str]) -> str:
    """Return what an error says, whatever its form: the contract promises none."""
    text = scrub(body.decode(errors="replace").strip())  # before it is cut, or half a key stays
    try:
        found = [scrub(reason) for reason in _reasons(json.loads(body))]
    except (ValueError, RecursionError):
        found = []
    return ("; ".join(found) or " ".join(text.split()))[:REASON_CHARS]


def _reasons(answer: Any) -> list[str]:
    """`{"meta":{"errors":[…]}}`, `{"meta":{"error":…}}`, `{"errors":[{"reason":…}]}` and so on."""
    if isinstance(answer, str):
        return [answer]
    if isinstance(answer, list):
        return [reason for item in answer for reason in _reasons(item)]
    if isinstance(answer, dict):
        keys = ("meta", "errors", "error", "reason", "message")
        return [reason for key in keys if key in answer for reason in _reasons(answer[key])]
    return []
