"""Whether a request carries a key, in the shape its kind wants. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from backfill.spec import KEY_PATTERN


def is_authorized(header: str | None, key: str | None = None) -> bool:
    """Check an Authorization header.

    Classic keys come as Basic, base64 of `KEY:` (empty password); pk_ and sk_ keys as Bearer, as
    the official Python client 1.1.0 sends them. key: the only good one; None: any of its shape.
    """
    scheme, _, value = (header or "").partition(" ")
    found = None
    if scheme.lower() == "bearer":
        found = value.strip() if re.fullmatch(KEY_PATTERN, value.strip()) else None
    elif scheme.lower() == "basic":
        found = _basic_key(value.strip())
    return found is not None and (key is None or found == key)


def _basic_key(value: str) -> str | None:
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    is_classic = bool(user.strip()) and not re.fullmatch(KEY_PATTERN, user)
    return user if is_classic and colon and not password else None
