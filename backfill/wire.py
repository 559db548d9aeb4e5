"""One POST over one kept connection: body in, answer out, within a deadline. The network room.

requests' own habits are turned off, each for a measured reason: redirects (a 302 turns the POST
into an empty GET that "succeeds"), netrc (it replaces our key), retries, answers of any size,
timeouts that never fire while bytes drip.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from backfill import spec
from backfill.whole import Whole, is_open_ended, missing

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False
    """Whether it was longer than ANSWER_BYTES_MAX."""


class WireError(Exception):
    """No complete answer came: what was sent may or may not have arrived."""


class TrustError(Exception):
    """The far side is not who it should be; asking again would not help."""


class _Bearer(AuthBase):
    def __init__(self, key: Key) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


class _Noted:
    """Remembers the socket of the connection in use, so that the deadline can shut it."""

    sock: socket.socket | None
    held = threading.local()

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # mixed into urllib3's connections
        _Noted.held.sock = self.sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        _Noted.held.sock = self.sock
        super().request(*args, **kwargs)  # type: ignore[misc]


class _PlainConnection(Whole, _Noted, HTTPConnection):
    pass


class _TlsConnection(Whole, _Noted, HTTPSConnection):
    pass


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

    def __init__(self, target: Target, *, deadline_s: float = DEADLINE_S) -> None:
        self._url = f"{target.url}/batch"
        self._deadline_s = deadline_s
        session = requests.Session()
        # proxies and CA files are looked up once, and netrc never: it would replace our key
        found = session.merge_environment_settings(self._url, {}, True, None, None)
        self._how: dict[str, Any] = {name: found[name] for name in ("proxies", "verify", "cert")}
        session.trust_env = False
        key = target.key
        request = session.prepare_request(
            requests.Request(
                "POST",
                self._url,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": f"backfill/{spec.VERSION}",
                    "X-Strict-Mode": "1",  # without it faults are answered 200 and dropped
                    "Accept-Encoding": "identity",
                },
                auth=_Bearer(key) if target.is_bearer else HTTPBasicAuth(key.reveal(), ""),
            )
        )
        self._request = request
        self._headers = dict(request.headers)
        self._headers.pop("Content-Length", None)
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._pool: HTTPConnectionPool | None = None

    def post(self, body: bytes) -> Answer:
        """Send one body. Raises WireError where no complete answer came in time, or TrustError."""
        verify = self._how["verify"]
        if self._pool is None and isinstance(verify, str) and not Path(verify).exists():
            raise TrustError(f"there is no file of certificates at {verify} (REQUESTS_CA_BUNDLE)")
        alarm = _Alarm(time.monotonic() + self._deadline_s)
        try:
            answer = self._exchange(body, alarm)
        except WireError as fault:
            self.close()
            raise WireError(self._late if alarm.has_rung else str(fault)) from None
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as fault:
            self.close()
            if alarm.has_rung or _is_timeout(fault):
                raise WireError(self._late) from None
            raise (TrustError if _is_distrust(fault) else WireError)(_told(fault)) from None
        if alarm.has_rung:
            self.close()
            raise WireError(self._late)
        if answer.status < 200 or answer.is_cut:  # noqa: PLR2004  1xx: the real one is to come
            self.close()  # what may still come on this connection answers no later request
        return answer

    @property
    def _late(self) -> str:
        return f"no complete answer within {self._deadline_s:g} s"

    def _exchange(self, body: bytes, alarm: _Alarm) -> Answer:
        # requests chose the pool (proxy, certificates) and the headers; what it does around each
        # request after that costs as much as all the rest. A redirect is an answer like any other.
        if self._pool is None:
            self._pool = self._open()
        with alarm:
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
                return _read(response)
            finally:
                response.close()

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
        self._pool = None
        self._adapter.close()


def _read(response: urllib3.BaseHTTPResponse) -> Answer:
    """Read a capped answer; urllib3 raises where it is shorter than it said."""
    body = b""
    is_open = is_open_ended(response)
    while len(body) <= ANSWER_BYTES_MAX:
        part = response.read(ANSWER_BYTES_MAX + 1 - len(body), decode_content=False)
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
    root = _root(fault)
    return not (isinstance(root, PASSING_TLS) or PASSING_TLS_WORDS.search(str(root)))


def _is_timeout(fault: BaseException) -> bool:
    """Whether our own deadline ended it; where the system gave up, there is an errno."""
    root = _root(fault)
    return isinstance(root, TimeoutError) and root.errno is None


def _root(fault: BaseException) -> BaseException:
    while (inner := fault.__cause__ or fault.__context__) is not None:
        fault = inner
    return fault


def _told(fault: BaseException) -> str:
    """Return the innermost words of a chain of errors; they hold host and errno, never the body."""
    fault = _root(fault)
    text = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return (text or type(fault).__name__)[:200]


class _Alarm:
    """Shuts the socket of a request that passes its deadline; a drip of bytes resets timeouts."""

    def __init__(self, until_s: float) -> None:
        self._until_s = until_s
        self.has_rung = False
        _Noted.held.sock = None

    def __enter__(self) -> None:
        self._held = _Noted.held.__dict__
        _WATCH.add(self)

    def __exit__(self, *_: object) -> None:
        _WATCH.remove(self)

    def ring(self, now_s: float) -> None:
        """Shut the socket if it is time."""
        if now_s < self._until_s or self.has_rung:
            return
        self.has_rung = True
        sock = self._held.get("sock")
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already


class _Watch:
    """One thread that looks at all open requests a few times a second."""

    TICK_S: Final = 0.2

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alarms: set[_Alarm] = set()
        self._thread: threading.Thread | None = None

    def add(self, alarm: _Alarm) -> None:
        with self._lock:
            self._alarms.add(alarm)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="deadlines", daemon=True)
                self._thread.start()

    def remove(self, alarm: _Alarm) -> None:
        with self._lock:
            self._alarms.discard(alarm)

    def _look(self) -> None:
        while True:
            time.sleep(self.TICK_S)
            with self._lock:
                alarms = list(self._alarms)
            for alarm in alarms:
                alarm.ring(time.monotonic())


_WATCH: Final = _Watch()
