"""Where to send and with which key: `--to`, the key's own region, the environment. No request."""

from __future__ import annotations

import base64
import html
import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from backfill import spec
from backfill.errors import DestinationError, UsageError
from backfill.private import warning_of_secret
from backfill.wire import Key, Target

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_VARIABLE = "CUSTOMERIO_WRITE_KEY"
TO_VARIABLE = "BACKFILL_TO"
SANDBOX = "sandbox"
KEY_CHARS_MAX: Final = 1000

_HOST: Final = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:[0-9]*)?", re.IGNORECASE
)
"""All that may stand between `//` and the path: what two readers of URLs could take differently
(`evil.example[::1]`, `127.0.0.1\\@evil.example`) is no address.
"""


def find_key(
    key_file: str | None, tell: Callable[[str], None] = lambda _warning: None
) -> Key | None:
    """Return the write key: the file (- is stdin), else the environment, else the keyring.

    tell: is told where others may read the file. Raises UsageError: no key there, or unreadable.
    """
    # at once a Key, so that no frame here has it as a text when something is raised
    if key_file is not None:
        return _checked(_key_of_file(key_file, tell), "stdin" if key_file == "-" else key_file)
    if os.environ.get(KEY_VARIABLE):
        return _checked(Key(os.environ[KEY_VARIABLE].strip()), KEY_VARIABLE)
    found = _key_of_keyring()
    return _checked(found, "keyring") if found else None


def _key_of_file(key_file: str, tell: Callable[[str], None]) -> Key:
    try:
        if key_file == "-":
            return Key(sys.stdin.readline(2 * KEY_CHARS_MAX).strip())
        if warning := warning_of_secret(Path(key_file)):
            tell(warning)
        with Path(key_file).open(encoding="utf-8") as stream:
            return Key(stream.read(2 * KEY_CHARS_MAX).strip())  # mounted files end in a newline
    except (OSError, UnicodeDecodeError) as fault:
        what = f"the write key cannot be read: {getattr(fault, 'strerror', 'it is no text')}"
    raise UsageError(what, where=key_file, fix="check --write-key-file")


def _key_of_keyring() -> Key | None:
    try:
        import keyring  # noqa: PLC0415  used where it is installed
    except ImportError:
        return None
    try:
        found = keyring.get_password("backfill", "write-key")
    except keyring.errors.NoKeyringError:  # installed, on a machine that has none
        return None
    except keyring.errors.KeyringError as fault:
        what = f"the keyring cannot be read: {type(fault).__name__}"
        fix = f"unlock it, or set {KEY_VARIABLE}"
        raise UsageError(what, where="keyring", fix=fix) from None
    return Key(found.strip()) if found else None


def _checked(key: Key, where: str) -> Key:
    if not re.fullmatch(f"[!-~]{{1,{KEY_CHARS_MAX}}}", key.reveal()):
        fix = "it is one line of letters and digits, from the workspace's settings"
        raise UsageError("this is no write key", where=where, fix=fix)
    return key


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
    if "@" in to:  # and is not repeated
        raise UsageError("an address with a password is refused", where="--to", fix=fix)
    try:
        parts = urlsplit(to)
        is_whole = parts.scheme in {"http", "https"} and parts.port != 0
        is_whole = is_whole and _HOST.fullmatch(parts.netloc) is not None
    except ValueError:  # brackets, or a port that is none
        parts, is_whole = urlsplit(""), False
    if not is_whole or re.search(r"\s", to) or parts.query or parts.fragment:
        raise UsageError(f"'{to}' is no destination", where="--to", fix=fix)
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
    forms = {value, value.encode().hex()}
    for text in (f"{value}:", value):
        coded = base64.b64encode(text.encode()).decode()
        forms |= {coded, coded.rstrip("="), coded.replace("+", "-").replace("/", "_").rstrip("=")}
    for form in tuple(forms):
        forms |= {quote(form, safe=""), html.escape(form), json.dumps(form)[1:-1]}
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)  # %2B is %2b too
    return lambda text: pattern.sub("***", text)
