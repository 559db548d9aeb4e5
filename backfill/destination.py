"""Where to send and with which key: `--to`, the key's own region, the environment. No request."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from backfill import spec
from backfill.errors import DestinationError, UsageError
from backfill.wire import Key, Target

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_VARIABLE = "CUSTOMERIO_WRITE_KEY"
TO_VARIABLE = "BACKFILL_TO"
SANDBOX = "sandbox"


def find_key(key_file: str | None) -> Key | None:
    """Return the write key: the file (- is stdin), else the environment, else the keyring."""
    if key_file == "-":
        return _key(sys.stdin.readline(), "stdin")
    if key_file is not None:
        try:
            return _key(Path(key_file).read_text(encoding="utf-8"), key_file)
        except (OSError, UnicodeDecodeError) as fault:
            what = f"the write key cannot be read: {getattr(fault, 'strerror', fault)}"
            raise UsageError(what, where=key_file, fix="check --write-key-file") from None
    if value := os.environ.get(KEY_VARIABLE):
        return _key(value, KEY_VARIABLE)
    try:
        import keyring  # noqa: PLC0415  used where it is installed
    except ImportError:
        return None
    value = keyring.get_password("backfill", "write-key")
    return _key(value, "keyring") if value else None


def _key(text: str, where: str) -> Key:
    value = text.strip()  # keys from mounted files end in a newline
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        fix = "it is one line of letters and digits, from the workspace's settings"
        raise UsageError("this is no write key", where=where, fix=fix)
    return Key(value)


def resolve(to: str | None, key: Key | None) -> str:
    """Return the destination's name: as given, else the key's region, else the environment's."""
    return to or _region(key) or os.environ.get(TO_VARIABLE) or "us"


def _region(key: Key | None) -> str | None:
    own = re.fullmatch(spec.KEY_PATTERN, key.reveal()) if key else None
    return own[1] if own else None


def find_target(to: str | None, key: Key | None) -> Target:
    """Return the target of `us`, `eu` or a URL; without `to` the key's own region, else us.

    Raises UsageError without a key or with a bad address, DestinationError where the key is of
    another region: the wrong one may answer 200 and keep nothing.
    """
    to = resolve(to, key)
    url = None if to in spec.REGIONS else _url(to)
    if key is None:
        fix = f"set {KEY_VARIABLE}, or give --write-key-file; --to sandbox needs none"
        raise UsageError("there is no write key", where=to, fix=fix)
    own = _region(key)
    if url is None and own not in {None, to}:
        fix = f"use --to {own}"
        raise DestinationError(f"the key is of the region {own}", where=f"--to {to}", fix=fix)
    return Target(url or spec.REGIONS[to], key, is_bearer=own is not None)


def _url(to: str) -> str:
    fix = "write us, eu, sandbox or an address such as https://cdp.customer.io"
    try:
        parts = urlsplit(to)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, or a port that is none
        parts, is_whole = urlsplit(""), False
    if not is_whole or re.search(r"\s", to) or parts.query or parts.fragment:
        raise UsageError(f"'{to}' is no destination", where="--to", fix=fix)
    if parts.username or parts.password:
        raise UsageError("an address with a password is refused", where="--to", fix=fix)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        fix = "use https://; http:// is for this machine only"
        raise UsageError("http:// would send the key in the clear", where=f"--to {to}", fix=fix)
    path = parts.path.rstrip("/").removesuffix("/batch").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}/v1"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def scrubber(key: Key) -> Callable[[str], str]:
    """Return a function that takes every form of the key out of a text."""
    value = key.reveal()
    basic = base64.b64encode(f"{value}:".encode()).decode()
    forms = {value, basic, basic.rstrip("="), quote(value, safe="")}

    def scrub(text: str) -> str:
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text

    return scrub
