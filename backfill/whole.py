"""Whether a request went out whole and its answer came back whole. No network of its own.

What urllib3 and the standard library let pass here: an answer to half a request, an end of the
connection for the end of an answer, and 103 Early Hints for the answer itself.
"""

from __future__ import annotations

import http.client
from typing import Any

from backfill.answer import is_answer


class Final(http.client.HTTPResponse):
    """Passes over 103 Early Hints and their like, as it does over 100: the answer is to come."""

    is_early = False

    @property
    def length_remaining(self) -> int | None:
        """As urllib3 calls it: bytes of the body that are to come, None where nothing said so."""
        return self.length

    def begin(self) -> None:
        """Read up to the headers of the answer that counts."""
        super().begin()
        while 101 < self.status < 200:  # noqa: PLR2004
            self.headers = self.msg = None  # type: ignore[assignment]  # as before its first begin
            super().begin()


class Whole:
    """Mixed into urllib3's connections: notes on each answer whether the request went out whole.

    urllib3 reads an answer even where sending broke off, which is right for a 413.
    """

    response_class: Any = Final
    is_sent = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request."""
        self.is_sent = False
        super().request(*args, **kwargs)  # type: ignore[misc]
        self.is_sent = True

    def getresponse(self) -> Any:
        """Return the answer, read up to its body."""
        response = super().getresponse()  # type: ignore[misc]
        response.is_early = not self.is_sent
        return response


def is_open_ended(response: Any) -> bool:
    """Whether nothing said how long an answer is, so that it ends with its connection.

    response: urllib3's or a `Final`, before its body is read.
    """
    return response.length_remaining is None and not response.chunked


def missing(response: Any, body: bytes, *, is_open: bool) -> str | None:
    """Say what keeps an answer, read to its end, from being believed; None where nothing does.

    Only 200 and 400 settle rows, so only they have to prove themselves.
    """
    head = getattr(response, "_original_response", response)
    if head is not None and getattr(head.msg, "defects", None):
        return "the answer's headers are cut short"
    if response.status not in {200, 400}:
        return None
    if getattr(response, "is_early", False):
        return f"answered {response.status} before the request was sent whole"
    text = body.strip()
    is_broken_off = not text or (text.startswith(b"{") and not is_answer(text))
    if is_open and is_broken_off:
        return "the answer is cut short, or empty without saying so"
    return None
