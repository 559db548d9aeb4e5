"""`python -m backfill` in a process that has the program loaded: half a second of imports less.

`Ready` starts a server that loads all modules of backfill and forks, for every command, a process
of the command's own: its arguments, folder, environment and descriptors are its own. What begins
there is `backfill/__main__.py`, and it ends as any Python process does. But it encodes in a process
apart, however small the data is. A test whose claim is the start of the interpreter, its limits or
its death starts `python -m backfill` itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REQUEST_BYTES_MAX: Final = 1 << 17
SELDOM: Final = {"backfill.__main__", "backfill.pictures"}
"""What a command begins with, and what only a command that draws needs: a second of matplotlib."""
LATE: Final = ("anyio._backends._asyncio", "numpy.char", "uvicorn.protocols.http.h11_impl")
"""What libraries load only at work: some of them by names that are no import."""


class Ready:
    """A server. It ends when `close` is called, or with us."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},  # as the command does
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # Python looks at what they are: as those of a command
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        if not self._socket.recv(1):
            raise RuntimeError(self._process.communicate()[1].decode())

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.communicate()

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        stdin: str,
        timeout_s: float,
    ) -> tuple[int, str, str]:
        """Run a command to its end: its code (-9 if it was killed by that), its stdout and stderr.

        Raises subprocess.TimeoutExpired after it killed what did not end.
        """
        request = {"arguments": arguments, "folder": str(folder), "env": dict(env)}
        (theirs_in, ours_in), *outs = [os.pipe() for _ in range(4)]
        given = [theirs_in, *(theirs for _, theirs in outs)]
        try:
            with self._lock:
                socket.send_fds(self._socket, [json.dumps(request).encode()], given)
        finally:
            for number in given:
                os.close(number)
        shown, said, told = (os.fdopen(ours, encoding="utf-8") for ours, _ in outs)
        with shown, said, told, ThreadPoolExecutor(3) as threads:
            threads.submit(_write, ours_in, stdin.encode())
            out, err = threads.submit(shown.read), threads.submit(said.read)
            pid, is_late = int(told.readline()), threading.Event()
            alarm = threading.Timer(timeout_s, _kill, (pid, is_late))
            alarm.start()
            code = int(told.readline())
            alarm.cancel()
            if is_late.is_set():
                raise subprocess.TimeoutExpired([*arguments], timeout_s, out.result(), err.result())
            return code, out.result(), err.result()


def _write(number: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(number, "wb") as stream:
        stream.write(data)


def _kill(pid: int, is_late: threading.Event) -> None:
    is_late.set()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _models(model: Any) -> Iterator[Any]:
    for one in model.__subclasses__():
        yield one
        yield from _models(one)


def _load() -> None:
    """Load what commands load, and build the models that pydantic would at their first use."""
    package = importlib.import_module("backfill")
    # the data of most tests is small: in a real command it would be encoded in threads, as it is
    # in the tests of the API and wherever a command is started anew
    vars(importlib.import_module("backfill.apart"))["LEAST_BYTES"] = 0
    found = {one.name for one in pkgutil.walk_packages(package.__path__, "backfill.")}
    for name in (*sorted(found - SELDOM), *LATE):
        importlib.import_module(name)
    for model in _models(importlib.import_module("pydantic").BaseModel):
        if model.__module__ in found:
            model.model_rebuild()
    names = {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    others = names - {Path("/proc/self/comm").read_text().strip(), "jemalloc_bg_thd"}
    # jemalloc sees to its own at a fork
    assert not others, f"a fork takes one thread along and the locks of all: {others}"
    gc.collect()
    gc.freeze()  # no command looks through what it did not make


def _serve(asked: socket.socket) -> dict[str, Any]:
    """Fork for each request until nobody can ask any more; return, in the fork, what to run."""
    asked.send(b"!")
    while True:
        text, given, _, _ = socket.recv_fds(asked, REQUEST_BYTES_MAX, 4)
        if not text:
            os._exit(0)
        with warnings.catch_warnings(action="ignore"):  # since 3.12: of jemalloc's thread
            pid = os.fork()
        if pid == 0:
            asked.close()
            return _begin(json.loads(text), given)
        for number in given:
            os.close(number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _begin(request: dict[str, Any], given: Sequence[int]) -> dict[str, Any]:
    """Fork once more and return, in the fork; the other one tells how it ended."""
    told = given[3]
    if pid := os.fork():
        for number in (0, 1, 2, *given[:3]):
            os.close(number)  # or nobody sees their ends
        os.write(told, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    for number, one in enumerate(given[:3]):
        os.dup2(one, number)
    for number in given:
        os.close(number)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["folder"])
    return request


if __name__ == "__main__":
    del sys.path[0]  # this folder is none of its business
    _load()
    wanted = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.path.insert(0, str(Path.cwd()))  # where `python -m` has the folder it was called in
    sys.argv = ["backfill", *wanted["arguments"]]
    runpy.run_module("backfill", run_name="__main__", alter_sys=True)
