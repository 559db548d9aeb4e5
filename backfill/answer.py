"""What the body of an answer says, whatever its form. Pure: bytes in, words and places out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from backfill import spec

if TYPE_CHECKING:
    from collections.abc import Callable

REASON_CHARS: Final = 300
NAMED_MAX: Final = 100
WORD: Final = re.compile(r"[^\s\"'`,;:()\[\]{}<>|=]{3,}")
API_WORDS: Final = {*spec.TYPES, *spec.MEMBER_ORDER, "batch", "type", "traits", "properties"}
INDEX_KEYS: Final = ("batch_index", "index", "item")
INDEX_WORDS: Final = re.compile(r"\b(?:batch|messages?|items?|events?)\s*[\[./# ]\s*([0-9]{1,6})\b")
"""Whether an answer names the message at fault is not documented: what reads like it is tried."""


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


def unrepeated(text: str, sent: bytes) -> str:
    """Return the words of an answer without those that repeat what was sent, but for API's names.

    What stops a run is told on the terminal and in the report, where no cell belongs.
    """

    def judged(match: re.Match[str]) -> str:
        word = match[0]
        return word if word in API_WORDS or word.encode() not in sent else "…"

    return WORD.sub(judged, text)


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


def named(body: bytes) -> tuple[int, ...]:
    """Return the messages (from 0, ascending) that an error seems to name, maybe wrong ones."""
    try:
        found = set(_places(json.loads(body)))
    except (ValueError, RecursionError):
        return ()
    return tuple(sorted(found)[:NAMED_MAX])


def _places(answer: Any) -> list[int]:
    if isinstance(answer, str):
        return [int(digits) for digits in INDEX_WORDS.findall(answer)]
    if isinstance(answer, list):
        return [at for item in answer for at in _places(item)]
    if isinstance(answer, dict):
        own = [answer[key] for key in INDEX_KEYS if type(answer.get(key)) is int]
        rest = [at for key, item in answer.items() if key not in INDEX_KEYS for at in _places(item)]
        return [at for at in own if at >= 0] + rest
    return []
