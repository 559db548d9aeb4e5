"""`s3://bucket/key?region=…` → its parts, or why it is no place to read from. Pure: asks nobody.

A key is written as the store's own tools print it: nothing in it is percent-encoded. What follows
the last `?` are options where it reads as `name=value`, else it is a wildcard.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""What a file of a source is, by its ending."""

KINDS: Final = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
OTHER_NAMES: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "wasb": "az"}
OPTIONS: Final = {
    "s3": ("region", "endpoint_override", "scheme", "anonymous"),
    "gs": ("project_id", "endpoint_override", "scheme", "anonymous"),
    "az": ("account_name", "endpoint_override", "scheme"),
}
ALLOWED: Final = {
    "scheme": re.compile("https?"),
    "anonymous": re.compile("true|false"),
    "endpoint_override": re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9a-fA-F:]+\](:[0-9]+)?"),
    "region": re.compile("[a-z0-9-]+"),
    "project_id": re.compile("[a-z0-9.:-]+"),
    "account_name": re.compile("[a-z0-9]+"),
}
URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
"""One letter before the colon is a drive of Windows, however many slashes follow."""

DRIVE: Final = re.compile(r"\A/(?=[A-Za-z]:[/\\])")
QUERY: Final = re.compile(r"\?[A-Za-z_][A-Za-z0-9_-]*=.*\Z", re.DOTALL)
BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")
CONTAINER_OF: Final = re.compile(BUCKET.pattern + r"@[a-z0-9]+(\.[a-z0-9.-]+)?")
SECRET: Final = re.compile("key|secret|token|sig|sas|password|credential|auth", re.IGNORECASE)
WILD: Final = re.compile(r"[*?\[]")

NO_SECRETS: Final = "credentials do not belong in a mapping"
ENVIRONMENT: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the machine",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the service account of the machine",
    "az": "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or the identity of the machine",
}
"""Where the credentials for a store come from."""


class AddressError(ValueError):
    """What is wrong with an address, and the fix; no part of it that could be a secret."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Address:
    """An object, folder or glob of a store."""

    scheme: str
    """As it was written, in small letters."""
    authority: str
    """The bucket; of Azure a container, or `container@account.host`."""
    key: str
    """Without a slash at either end; "" is the whole bucket."""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """Which store: s3, gs or az."""
        return KINDS[self.scheme]

    @property
    def bucket(self) -> str:
        """The bucket or container."""
        return self.authority.partition("@")[0]

    @property
    def root(self) -> str:
        """The address of the bucket, without options."""
        return f"{self.scheme}://{self.authority}"

    @property
    def is_glob(self) -> bool:
        """Whether the key has wildcards."""
        return bool(WILD.search(self.key))

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root


def is_uri(path: str) -> bool:
    """Whether a path of a source is no path of this machine's."""
    return URI.match(path) is not None


def shown(path: str) -> str:
    """Return a path without what could be a secret in it: user names, and values of options.

    A secret may hold slashes, so where the bucket is none nothing behind it is shown either.
    """
    found = URI.fullmatch(path)
    if found is None:
        return path
    scheme = found[1].lower()
    bare, query = _halves(found[2])
    kind = KINDS.get(scheme, "")
    if kind and not _is_authority(kind, bare.partition("/")[0]):
        return f"{scheme}://…"
    if not kind:  # of any other we know nothing
        bare = bare.rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{bare}" + ("?…" if query else "")


def local_of(path: str) -> str:
    """Return the path that a `file://` URI means; any other one as it is."""
    if path[:8].lower() == "file:///":
        return DRIVE.sub("", unquote(path[7:]))  # file:///C:/x is C:/x
    return path


def why_missing(path: str, *, is_there: Callable[[str], bool]) -> str | None:
    """Return the fix where a path is missing because of how Windows writes paths, else None.

    is_there: whether there is a file of this name.
    """
    if any(character in path for character in "\n\t\r\a\b\f\v"):
        return "in double quotes \\n and \\t are signs of their own: write / between the names"
    windows = PureWindowsPath(path)
    if (slashed := windows.as_posix()) != path and is_there(slashed):
        return f"write / between the names: {slashed}"
    if windows.drive[1:] == ":" and windows.root:
        here = "/".join(["/mnt", windows.drive[0].lower(), *windows.parts[1:]])
        return f"this is a path of Windows; under WSL it is {here}"
    return None


def address_of(path: str) -> Address | None:
    """Take an address apart; None where it is a local path. Raises AddressError."""
    found = URI.fullmatch(local_of(path))
    if found is None:
        return None
    scheme = found[1].lower()
    if scheme not in KINDS:
        raise _unknown(scheme, shown(path))
    bare, query = _halves(found[2])
    authority, _, key = bare.partition("/")
    _check_authority(KINDS[scheme], authority)
    return Address(scheme, authority, _key(key), _options(KINDS[scheme], query))


def _halves(rest: str) -> tuple[str, str]:
    """What stands before the options, and the options."""
    found = QUERY.search(rest)
    return (rest[: found.start()], rest[found.start() + 1 :]) if found else (rest, "")


def _is_authority(kind: str, authority: str) -> bool:
    is_of = kind == "az" and CONTAINER_OF.fullmatch(authority) is not None
    return is_of or BUCKET.fullmatch(authority) is not None


def _unknown(scheme: str, where: str) -> AddressError:
    what = f"{where}: files are read from this machine and from s3://, gs:// and az://"
    if scheme in {"http", "https"}:
        return AddressError(what, "download it and name the file; pages are not read")
    if scheme == "file":
        return AddressError(what, "write the path itself, such as /data/orders.csv")
    meant = OTHER_NAMES.get(scheme) or next(iter(get_close_matches(scheme, KINDS, 1)), "")
    return AddressError(what, f"did you mean {meant}://?" if meant else "copy it to one of them")


def _check_authority(kind: str, authority: str) -> None:
    if _is_authority(kind, authority):
        return
    word = "container" if kind == "az" else "bucket"
    if "@" in authority or ":" in authority:
        raise AddressError(NO_SECRETS, f"take them out of the address; set {ENVIRONMENT[kind]}")
    if not authority:
        raise AddressError(f"the address names no {word}", f"write {kind}://{word}/path")
    if WILD.search(authority):
        what = f"the {word} has a wildcard; only the path behind it may"
        raise AddressError(what, f"name the {word}s one by one")
    raise AddressError(f"this cannot be the name of a {word}", f"write {kind}://{word}/path")


def _key(key: str) -> str:
    key = key.removesuffix("/")
    if any(part in {"", ".", ".."} for part in key.split("/")) and key:
        what = f"the path '{key}' has an empty part, '.' or '..' between its slashes"
        raise AddressError(what, "write the key with one slash between its parts")
    return key


def _options(kind: str, query: str) -> tuple[tuple[str, str], ...]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    for name in sorted((name for name, _, _ in pairs), key=lambda name: not SECRET.search(name)):
        if name not in OPTIONS[kind]:
            raise _no_option(kind, name)
    for name, _, value in pairs:
        if not ALLOWED[name].fullmatch(value):
            raise AddressError(f"'{name}' has a value that it cannot have", _example(name))
    return tuple((name, value) for name, _, value in pairs)


def _no_option(kind: str, name: str) -> AddressError:
    if SECRET.search(name):
        return AddressError(NO_SECRETS, f"take '{name}' out; set {ENVIRONMENT[kind]}")
    near = get_close_matches(name, OPTIONS[kind], 1)
    fix = f"did you mean '{near[0]}'?" if near else f"options are {', '.join(OPTIONS[kind])}"
    return AddressError(f"{kind}:// has no option '{name}'", fix)


def _example(name: str) -> str:
    examples = {
        "scheme": "write scheme=https, or scheme=http",
        "anonymous": "write anonymous=true, or leave it out",
        "endpoint_override": "write a host with its port, such as 127.0.0.1:9000",
        "region": "write one such as eu-central-1",
    }
    return examples.get(name, "write its name as the store's console shows it")
