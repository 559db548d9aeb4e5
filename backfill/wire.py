"""One POST over one kept connection: body in, answer out, within a deadline. The network room.

requests' own habits are turned off, each for a measured reason: redirects (a 302 turns the POST
into an empty GET that "succeeds"), netrc (it replaces our key), retries, answers of any size,
timeouts that never fire while bytes drip.
"""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from backfill import spec
from backfill.causes import PROXY_REFUSALS, forget_locals, is_timeout, root, told
from backfill.deadline import Alarm, Noted
from backfill.errors import UsageError
from backfill.kept import Kept, rest
from backfill.whole import Whole, is_open_ended, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE_S: Final = 30.0
"""In all for one request, from the connect to the last byte of the answer."""

ANSWER_BYTES_MAX: Final = 65_536

PASSING_TLS: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
PASSING_TLS_WORDS: Final = re.compile("INTERNAL_ERROR|BAD_RECORD_MAC")
"""A far side that hangs up or breaks down says nothing about who it is."""


@dataclass(frozen=True, slots=True)
class Key:
    """The write key; it shows itself to nobody."""

    _value: str = field(repr=False)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def reveal(self) -> str:
        """Return the key, for the Authorization header alone."""
        return self._value


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and with which key."""

    url: str
    """Ends in /v1."""
    key: Key
    is_bearer: bool = False

    @property
    def origin(self) -> str:
        """Scheme and host, as a person reads it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; its words do not show themselves, they may repeat the key."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """None of a plain 200, which has none that matter."""
    body: bytes = field(repr=False)
    is_cut: bool = False
    """Whether it was longer than ANSWER_BYTES_MAX."""


class WireError(Exception):
    """No complete answer came: what was sent may or may not have arrived."""


class LateError(WireError):
    """Nor within the deadline."""


class TrustError(Exception):
    """The far side is not who it should be; asking again would not help."""


class _Secret(str):
    """A text that goes over the wire as it is, but shows itself in no repr: not in a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class _PlainConnection(Whole, Noted, HTTPConnection):
    debuglevel = 0  # whatever the host program sets in http.client: it would print the key


class _TlsConnection(Whole, Noted, HTTPSConnection):
    debuglevel = 0


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class Wire:
    """A sender's own connection. Not to be shared between threads."""

    def __init__(
        self, target: Target, *, deadline_s: float = DEADLINE_S, is_packed: bool = False
    ) -> None:
        """is_packed: bodies come by way of `packed.pack`."""
        self._url = f"{target.url}/batch"
        self._deadline_s = deadline_s
        self._how = _surroundings(self._url)
        session = requests.Session()
        session.trust_env = False  # netrc would replace our key
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"backfill/{spec.VERSION}",
            "X-Strict-Mode": "1",  # without it faults are answered 200 and dropped
            "Accept-Encoding": "identity",
        }
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        self._request = session.prepare_request(requests.Request("POST", self._url, headers))
        self._headers = {**self._request.headers, "Authorization": _authorization(target)}
        self._headers.pop("Content-Length", None)
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._pool: HTTPConnectionPool | None = None
        self._kept: Kept | None = None

    def post(self, body: bytes) -> Answer:
        """Send one body. Raises WireError where no complete answer came in time, or TrustError."""
        verify = self._how["verify"]
        if self._pool is None and isinstance(verify, str) and not Path(verify).exists():
            raise TrustError(f"there is no file of certificates at {verify} (REQUESTS_CA_BUNDLE)")
        alarm = Alarm(time.monotonic() + self._deadline_s)
        try:
            answer = self._exchange(body, alarm)
        except WireError as fault:
            self.close()
            raise (LateError(self._late) if alarm.has_rung else fault) from None
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as fault:
            self.close()
            if alarm.has_rung or is_timeout(fault):
                raise LateError(self._late) from None
            words = told(fault)
            if words in PROXY_REFUSALS:
                raise TrustError(PROXY_REFUSALS[words]) from None
            raise (TrustError if _is_distrust(fault) else WireError)(words) from None
        if alarm.has_rung:
            self.close()
            raise LateError(self._late)
        if answer.status < 200 or answer.is_cut:  # noqa: PLR2004  1xx: the real one is to come
            self.close()  # what may still come on this connection answers no later request
        return answer

    @property
    def _late(self) -> str:
        return f"no complete answer within {self._deadline_s:g} s"

    def _exchange(self, body: bytes, alarm: Alarm) -> Answer:
        if self._kept is None or not self._kept.is_good:
            self._kept = None
        try:
            with alarm:
                if self._kept is None:
                    return self._first(body)
                answer = self._kept.ask(body, self._deadline_s)
                if isinstance(answer, bytes):
                    return Answer(200, {}, answer)
                try:
                    return _read(answer, partial(rest, answer))
                finally:
                    if answer.will_close:
                        self.close()
                    answer.close()
        except BaseException as fault:
            forget_locals(fault)
            raise

    def _first(self, body: bytes) -> Answer:
        """Send the first request of a connection, which is opened for it."""
        # requests chose the pool (proxy, certificates) and the headers; what it does around each
        # request after that costs as much as all the rest. A redirect is an answer like any other.
        if self._pool is None:
            self._pool = self._open()
        response = self._pool.urlopen(
            "POST",
            self._path,
            body,
            self._headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._deadline_s,
            preload_content=False,
            decode_content=False,
        )
        try:
            answer = _read(response, partial(response.read, decode_content=False))
        finally:
            response.close()
        sock = Noted.held.sock
        if sock is not None and sock.fileno() >= 0:
            place = urlsplit(str(self._request.url)).netloc.rpartition("@")[2]
            self._kept = Kept(sock, (place, self._path), self._headers)
        return answer

    def _open(self) -> HTTPConnectionPool:
        """Choose the pool as requests does: of the proxy or the host, with its certificates."""
        how, adapter = self._how, self._adapter
        pool: Any = adapter.get_connection_with_tls_context(
            self._request, how["verify"], proxies=how["proxies"], cert=how["cert"]
        )
        adapter.cert_verify(  # type: ignore[no-untyped-call]
            pool, self._url, how["verify"], how["cert"]
        )
        self._path = adapter.request_url(self._request, how["proxies"])
        assert isinstance(pool, HTTPConnectionPool)
        return pool

    def close(self) -> None:
        """Close the connection."""
        self._pool = self._kept = None
        self._adapter.close()


def proxy_of(target: Target) -> str | None:
    """Return the proxy that requests to a target go through, None for none.

    As a person may read it: without user and password. Raises UsageError where it cannot be used.
    """
    url = f"{target.url}/batch"
    found = select_proxy(url, _surroundings(url)["proxies"])
    if not found:
        return None
    try:
        parts = urlsplit(found if "://" in found else f"http://{found}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port or brackets that are none
        parts, host, port = urlsplit(""), None, None
    if not host or parts.scheme not in {"http", "https"}:
        fix = "write it as http://HOST:PORT, or name the destination in NO_PROXY"
        what = "the proxy of the environment cannot be used"
        raise UsageError(what, where="HTTPS_PROXY or ALL_PROXY", fix=fix)
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _surroundings(url: str) -> dict[str, Any]:
    """Return proxies and certificates as the environment has them, by requests' own rules."""
    found = requests.Session().merge_environment_settings(url, {}, True, None, None)
    how: dict[str, Any] = {name: found[name] for name in ("proxies", "verify", "cert")}
    # http:// is for this machine only: through a proxy the key would leave it in the clear
    if url.startswith("http://"):
        how["proxies"] = {}
    return how


def _authorization(target: Target) -> str:
    if target.is_bearer:
        return _Secret(f"Bearer {target.key.reveal()}")
    return _Secret("Basic " + base64.b64encode(f"{target.key.reveal()}:".encode()).decode())


def _read(response: Any, read: Callable[[int], bytes]) -> Answer:
    """Read a capped answer. read: raises where it is shorter than it said."""
    body = b""
    is_open = is_open_ended(response)
    while len(body) <= ANSWER_BYTES_MAX:
        part = read(ANSWER_BYTES_MAX + 1 - len(body))
        if not part:
            break
        body += part
    is_cut = len(body) > ANSWER_BYTES_MAX
    if (what := missing(response, body, is_open=is_open and not is_cut)) is not None:
        raise WireError(what)
    return Answer(response.status, response.headers, body[:ANSWER_BYTES_MAX], is_cut)


def _is_distrust(fault: BaseException) -> bool:
    """Whether TLS failed for what the far side is, and asking again would not help."""
    if not isinstance(fault, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
        return False
    first = root(fault)
    return not (isinstance(first, PASSING_TLS) or PASSING_TLS_WORDS.search(str(first)))
