"""The sink as a thing to hold: built when needed, started, asked, stopped."""

from __future__ import annotations

import http.client
import json
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

SOURCE = Path(__file__).with_name("sink.c")


class BenchmarkError(Exception):
    """The benchmark cannot go on, or its figures would be wrong."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What has arrived since the last reset."""

    requests: int
    messages: int
    bytes: int
    connections: int
    refused: int
    too_many: int
    """Answered 429, which a sink does that bears only so many."""
    at_once_max: int
    """Requests that waited for their answers at the same time, where answers are delayed."""
    body_bytes_max: int
    cpu_s: float
    span_s: float
    """From the first request to the last."""


def build(folder: Path) -> Path:
    """Compile the sink, unless its program is newer than its source."""
    program = folder / "sink"
    if program.exists() and program.stat().st_mtime > SOURCE.stat().st_mtime:
        return program
    if platform.system() != "Linux":
        raise BenchmarkError("the sink needs Linux (epoll); run the benchmark in a Linux container")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise BenchmarkError(
            "no C compiler found (cc, gcc, clang): the sink is a C program, as a Python one would "
            "be slower than what it measures. Install one, such as Debian's gcc and libc6-dev"
        )
    command = [compiler, "-O3", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise BenchmarkError(f"the sink does not compile:\n{done.stderr}")
    return program


class Sink:
    """A running sink on 127.0.0.1; a context manager."""

    def __init__(
        self, program: Path, *, delay_ms: int = 0, at_once: int = 0, per_s: int = 0
    ) -> None:
        """at_once, per_s: more requests than these are answered 429; 0: all are taken."""
        options = {"-l": delay_ms, "-c": at_once, "-r": per_s}
        given = [text for name, value in options.items() if value for text in (name, str(value))]
        command = [str(program), *given]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # its first line, or the end of a sink that died
        if not line:
            raise BenchmarkError(f"the sink ended with {self._process.wait(timeout=10)}")
        self.port = int(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(timeout=10)
        if self._process.stdout:
            self._process.stdout.close()

    def counts(self) -> Counts:
        """Ask what has arrived."""
        return self._get("/stats")

    def reset(self) -> Counts:
        """Set the counts to zero; the answer is what they were."""
        return self._get("/reset")

    def _get(self, path: str) -> Counts:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return Counts(**json.loads(connection.getresponse().read()))
        finally:
            connection.close()
