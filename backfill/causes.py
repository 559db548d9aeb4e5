"""What a chain of errors says of the network, without what it must not say."""

from __future__ import annotations

import traceback
from typing import Final

_TUNNEL: Final = "Tunnel connection failed: "
"""How http.client begins what a proxy answered, then the status."""

PROXY_REFUSALS: Final = {
    f"{_TUNNEL}403": "the proxy does not let it through (403)",
    f"{_TUNNEL}407": "the proxy refuses its user and password (407)",
}


def forget_locals(fault: BaseException | None) -> None:
    """Empty the frames below: http.client's hold the request as it is sent, key and all.

    What collects tracebacks with their locals would keep them. Files and lines stay.
    """
    while fault is not None:
        traceback.clear_frames(fault.__traceback__)
        fault = fault.__cause__ or fault.__context__


def root(fault: BaseException) -> BaseException:
    """Return the innermost error."""
    while (inner := fault.__cause__ or fault.__context__) is not None:
        fault = inner
    return fault


def is_timeout(fault: BaseException) -> bool:
    """Whether our own deadline ended it; where the system gave up, there is an errno."""
    first = root(fault)
    return isinstance(first, TimeoutError) and first.errno is None


def told(fault: BaseException) -> str:
    """Return the innermost words of a chain of errors, where they are the system's: host and errno.

    Others quote what the far side said, and that may repeat the key: their kind must do.
    """
    fault = root(fault)
    if not isinstance(fault, OSError):
        return f"the answer cannot be read ({type(fault).__name__})"
    text = fault.strerror or str(fault) or type(fault).__name__
    if text.startswith(_TUNNEL):  # then the proxy's words: it knows its own password
        text = text[: len(_TUNNEL) + 3]
    return text[:200]
