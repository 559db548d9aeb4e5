"""Objects of S3, Google Cloud Storage and Azure: found, opened, asked after. Never written.

Arrow's file systems do the talking; they are imported by the first remote path and not before.
Whatever a store answers leaves here as a BackfillError, so that readers know nothing of stores: it
goes through Arrow's readers and the unpackers as it is.
"""

from __future__ import annotations

import fnmatch
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import pyarrow as pa

from backfill.errors import UsageError
from backfill.mapping.uri import WILD, Address
from backfill.source.trouble import changed, trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAULTS: Final = (OSError, pa.ArrowException)
CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
"""Arrow's own are 1 and 3 seconds; each request is tried three times."""

RETRY: Final = timedelta(seconds=20)
"""Of Google's client, which would go on for a quarter of an hour."""

SECOND_NS: Final = 1_000_000_000
READ_BYTES: Final = 4 << 20
"""One request asks for so much where a file is read from its begin to its end."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object, as the store lists it."""

    address: Address
    size_bytes: int
    modified_ns: int
    """Differs for another content; see `_version`."""


@cache
def filesystem(address: Address) -> Any:
    """Return the file system of an address without a key: a client, its connections and retries."""
    options = dict(address.options)
    is_anonymous = options.get("anonymous") == "true"
    shared = {name: options[name] for name in ("endpoint_override", "scheme") if name in options}
    from pyarrow import fs  # noqa: PLC0415  slow to load, and only remote paths need it

    if address.kind == "s3":
        return fs.S3FileSystem(
            anonymous=is_anonymous,
            region=options.get("region") or _region(address, fs),
            connect_timeout=CONNECT_S,
            request_timeout=ANSWER_S,
            **shared,
        )
    if address.kind == "gs":
        project = options.get("project_id")
        return fs.GcsFileSystem(
            anonymous=is_anonymous, project_id=project, retry_time_limit=RETRY, **shared
        )
    return fs.AzureFileSystem(**azure_options(address))


def _region(address: Address, fs: Any) -> str | None:
    """Ask where a bucket is, unless somebody said so. None: the SDK's own rules hold."""
    said = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    if "endpoint_override" in dict(address.options) or any(os.environ.get(name) for name in said):
        return None
    found: str = fs.resolve_s3_region(address.bucket)
    return found


def azure_options(address: Address) -> dict[str, str]:
    """Return how to reach an account; its credentials are the environment's."""
    options = dict(address.options)
    host = address.authority.partition("@")[2]
    account, _, cloud = host.partition(".")
    env = os.environ.get
    account = account or options.get("account_name") or env("AZURE_STORAGE_ACCOUNT_NAME") or ""
    account = account or env("AZURE_STORAGE_ACCOUNT") or ""
    if not account:
        fix = "add ?account_name=… to its address, or set AZURE_STORAGE_ACCOUNT_NAME"
        raise UsageError("the address names no storage account", where=address, fix=fix)
    found = {"account_name": account}
    suffix = cloud.partition(".")[2]
    for service in ("blob", "dfs"):
        if suffix:
            found[f"{service}_storage_authority"] = f".{service}.{suffix}"
        if "endpoint_override" in options:
            found[f"{service}_storage_authority"] = options["endpoint_override"]
        if "scheme" in options:
            found[f"{service}_storage_scheme"] = options["scheme"]
    if key := env("AZURE_STORAGE_ACCOUNT_KEY") or env("AZURE_STORAGE_KEY"):
        return {**found, "account_key": key}
    if token := env("AZURE_STORAGE_SAS_TOKEN"):
        return {**found, "sas_token": token}
    return found


def _asked(address: Address, ask: Callable[[Any], Any], *, is_begun: bool = False) -> Any:
    """Ask a store. Raises BackfillError; FileNotFoundError where it says so."""
    try:
        root = Address(address.scheme, address.authority, "", address.options)
        return ask(filesystem(root))
    except FileNotFoundError:
        raise
    except FAULTS as fault:
        raise trouble(fault, address, str(address), is_begun=is_begun) from None


def _path(address: Address) -> str:
    return f"{address.bucket}/{address.key}" if address.key else address.bucket


def find(address: Address, is_data: Callable[[str], bool]) -> list[Object]:
    """Return an object, those of a folder that are data, or those of a glob; by name.

    Raises UsageError for what is missing, and for a folder or glob with nothing in it.
    """
    info = _asked(address, lambda fs: fs.get_file_info(_path(address)))
    if info.is_file:
        return [_object(address, info)]
    if info.type.name == "Directory":
        found = [one for one in _list(address, is_deep=False) if is_data(one[0].key)]
        what = "there is no data file in this folder"
        fix = "put CSV, Parquet or JSON lines files there, or name another folder"
    elif not _has_bucket(address):
        word = "container" if address.kind == "az" else "bucket"
        fix = "correct its name, or the endpoint"
        raise UsageError(f"there is no such {word}", where=address.root, fix=fix)
    elif address.is_glob:
        found, what = _matching(address), "no file matches"
        fix = "correct the pattern, or wait for the files"
    else:
        found, what = [], "there is no such file"
        near = get_close_matches(address.key.rpartition("/")[2], _names_beside(address), n=1)
        fix = f"did you mean '{near[0]}'?" if near else "correct the path"
    if not found:
        raise UsageError(what, where=address, fix=fix)
    return [_object(*one) for one in sorted(found, key=lambda one: one[0].key.split("/"))]


def _has_bucket(address: Address) -> bool:
    try:
        info = _asked(address, lambda fs: fs.get_file_info(address.bucket))
    except UsageError:  # one may be allowed to read objects of a bucket, and nothing else
        return True
    return bool(info.type.name != "NotFound")


def _names_beside(address: Address) -> list[str]:
    parent = address.key.rpartition("/")[0]
    folder = Address(address.scheme, address.authority, parent, address.options)
    with suppress(UsageError, FileNotFoundError):
        return [one.key.rpartition("/")[2] for one, _ in _list(folder, is_deep=False)]
    return []


def _list(folder: Address, *, is_deep: bool) -> Iterator[tuple[Address, Any]]:
    """Yield the objects of a folder: where each is, and what is listed of it."""
    from pyarrow import fs  # noqa: PLC0415

    selector = fs.FileSelector(_path(folder), recursive=is_deep, allow_not_found=True)
    for info in _asked(folder, lambda fs: fs.get_file_info(selector)):
        if info.is_file:
            key = info.path.partition("/")[2]
            yield Address(folder.scheme, folder.authority, key, folder.options), info


def _object(address: Address, info: Any) -> Object:
    """Describe an object by what was listed of it, and by its etag, for which it is asked."""
    with Remote(address, is_begun=False) as opened:
        return Object(address, opened.size_bytes, _version(info, opened.etag))


def _version(info: Any, etag: str) -> int:
    """Return the time of change in ns: whole seconds, and below them a number made of the etag.

    Stores list no finer times, or only here and there; one that is replaced by as many bytes within
    the second differs all the same. Multipart or encrypted, an etag is no hash of the content.
    """
    second = (info.mtime_ns or 0) // SECOND_NS
    return second * SECOND_NS + crc32(etag.encode()) % SECOND_NS


def _matching(address: Address) -> list[tuple[Address, Any]]:
    """Return the objects of a glob.

    Where folders have wildcards, all below the last one without is listed: a thousand names a
    request, which is fewer requests than one a folder.
    """
    parts = address.key.split("/")
    first = next(at for at, part in enumerate(parts) if WILD.search(part))
    folder = Address(address.scheme, address.authority, "/".join(parts[:first]), address.options)
    found = _list(folder, is_deep=first < len(parts) - 1 or "**" in parts)
    rest = parts[first:]
    return [one for one in found if _fits(one[0].key.split("/")[first:], rest)]


def _fits(names: list[str], parts: list[str]) -> bool:
    """Whether names are what `glob` means by parts: `*` stays in one, `**` is any or none.

    As on a disk, a name that begins with a dot is matched only where the pattern says the dot.
    """
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    is_hidden = names[0].startswith(".") and not parts[0].startswith(".")
    if parts[0] == "**":
        return _fits(names, parts[1:]) or (not is_hidden and _fits(names[1:], parts))
    fits = not is_hidden and fnmatch.fnmatchcase(names[0], parts[0])
    return fits and _fits(names[1:], parts[1:])


class Remote(io.RawIOBase):
    """One object as a file that can be read from anywhere; what goes wrong is in words."""

    def __init__(self, address: Address, *, is_begun: bool) -> None:
        """Ask for the object. is_begun: it was read before, so that a fault began since.

        Raises BackfillError; FileNotFoundError where it is not there.
        """
        super().__init__()
        self._address = address
        self._is_begun = is_begun
        self._native = _asked(
            address, lambda fs: fs.open_input_file(_path(address)), is_begun=is_begun
        )
        self.size_bytes = int(self._native.size())

    @property
    def etag(self) -> str:
        """What the store calls this content; "" where it does not say."""
        found = {name.lower(): value for name, value in (self._native.metadata() or {}).items()}
        etag = found.get("etag", b"")
        return etag.decode(errors="replace") if isinstance(etag, bytes) else str(etag)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return int(self._native.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is asked of the store."""
        return int(self._native.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer by one request; less at the end of the object."""
        try:
            count = int(self._read(buffer))
        except FileNotFoundError:
            raise changed(str(self._address), is_gone=True) from None
        self._is_begun = self._is_begun or count > 0
        return count

    def _read(self, buffer: Any) -> Any:
        return _asked(
            self._address, lambda _fs: self._native.readinto(buffer), is_begun=self._is_begun
        )

    def close(self) -> None:
        """Let the connection go."""
        if not self.closed and hasattr(self, "_native"):
            self._native.close()
        super().close()


def stamp(address: Address) -> tuple[int, int] | None:
    """Ask what an object is now: size and time of change, as in `Object`. None: it has gone.

    Raises BackfillError where the store does not say.
    """
    try:
        info = _asked(address, lambda fs: fs.get_file_info(_path(address)), is_begun=True)
        if not info.is_file:
            return None
        with Remote(address, is_begun=True) as opened:
            return opened.size_bytes, _version(info, opened.etag)
    except FileNotFoundError:
        return None
