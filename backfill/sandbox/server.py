"""Running the sandbox: in a thread beside the caller, or in the foreground until a signal."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from backfill.errors import UsageError
from backfill.sandbox.app import create_app
from backfill.sandbox.faults import Faults
from backfill.sandbox.store import Store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

HOST: Final = "127.0.0.1"
"""Loopback only: a sandbox knows no secrets, but it holds personal data."""

START_S: Final = 30.0
DRAIN_S: Final = 5
"""How long requests on their way may take when the sandbox stops."""


class Sandbox:
    """A sandbox that serves while the `with` block runs.

    db: the SQLite file, made where it is missing; it stays afterwards. port: 0 for a free one.
    faults: as `Faults.parse` reads them, drawn from `seed`. latency_s: what each send waits.
    key: the only write key that is good; None: any of the right shape. takes_gzip: packed bodies,
    too; whether the real destination does is not known.
    Raises UsageError on entering: the file or the port cannot be used, the faults not be read.
    """

    url: str
    """`http://127.0.0.1:PORT`, without /v1."""
    store: Store
    """What was received; closed at the end of the block."""

    def __init__(  # noqa: PLR0913  one parameter a habit of the far side
        self,
        db: Path,
        *,
        port: int = 0,
        faults: str | None = None,
        seed: int = 0,
        latency_s: float = 0.0,
        key: str | None = None,
        takes_gzip: bool = False,
    ) -> None:
        self._db = db
        self._port = port
        self._faults = faults
        self._seed = seed
        self._latency_s = latency_s
        self._key = key
        self._takes_gzip = takes_gzip
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        faults = Faults.parse(self._faults, seed=self._seed) if self._faults else None
        with ExitStack() as stack:
            listener = stack.enter_context(_listen(self._port))
            self.store = stack.enter_context(Store(self._db))
            app = create_app(
                self.store,
                faults=faults,
                latency_s=self._latency_s,
                key=self._key,
                takes_gzip=self._takes_gzip,
            )
            server = _Server(_config(app))
            stack.callback(server.stop)
            server.start(listener)
            self.url = f"http://{HOST}:{listener.getsockname()[1]}"
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()


def serve(  # noqa: PLR0913  each is a setting a user may give
    db: Path,
    *,
    port: int,
    faults: str | None = None,
    seed: int = 0,
    latency_s: float = 0.0,
    key: str | None = None,
    on_ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then end cleanly. For the main thread; prints nothing.

    on_ready: called once it listens, so that the caller can say where. Raises as `Sandbox` does.
    """
    stopped = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in signals}
    try:
        with Sandbox(
            db, port=port, faults=faults, seed=seed, latency_s=latency_s, key=key
        ) as sandbox:
            if on_ready is not None:
                on_ready(sandbox)
            stopped.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Protocol(H11Protocol):
    """uvicorn's own, and the application is handed the connection, so that it can reset it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """uvicorn in a daemon thread, where it leaves the signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._is_ready = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, listener: socket.socket) -> None:
        """Begin to serve; returns when requests are answered."""
        target, sockets = self.run, [listener]
        self._thread = threading.Thread(
            target=target, args=(sockets,), name="backfill-sandbox", daemon=True
        )
        self._thread.start()
        if not self._is_ready.wait(START_S):
            raise UsageError("the sandbox did not start", where=HOST, fix="try another --port")

    def stop(self) -> None:
        """End what is on its way, close every connection, and wait for the thread."""
        self.should_exit = True
        if self._thread is not None:
            self._thread.join()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._is_ready.set()


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what fails is in the answer, never on a user's terminal
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _listen(port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it each answer,
    # two small packets, waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        fix = "end what listens there, or give another --port (0: a free one)"
        raise UsageError(f"cannot listen: {reason}", where=f"{HOST}:{port}", fix=fix) from None
    return listener
