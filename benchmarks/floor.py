"""The floor: Arrow's reading of the same file, plus C sending the very bytes that we sent."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrants import CACHE, HERE, Entrant
from loopback import BenchmarkError, Manner, build

if TYPE_CHECKING:
    from pathlib import Path

    from arena import Arena
    from loopback import Sink


@dataclass(frozen=True, slots=True)
class Floor:
    """Both halves once; each process counts from after its own start-up."""

    name: str
    pair: int
    read_s: float
    read_cpu_s: float
    send_s: float
    send_cpu_s: float

    @property
    def wall_s(self) -> float:
        """One after the other: a floor that overlaps them would need a program that does."""
        return self.read_s + self.send_s

    @property
    def cpu_s(self) -> float:
        """Of both."""
        return self.read_cpu_s + self.send_cpu_s


def recorded(arena: Arena, entrant: Entrant, folder: Path) -> Path:
    """Run ours once against a sink that writes the bodies down; returns their file."""
    bodies = folder / entrant.name
    with arena.sink(Manner(record=bodies)) as sink:
        arena.run(entrant, pair=0, sink=sink)
    return bodies


def floor(arena: Arena, entrant: Entrant, bodies: Path, *, pair: int, sink: Sink) -> Floor:
    """Measure both halves. Raises BenchmarkError unless all rows and messages are there."""
    rows, name = entrant.rows, entrant.name
    command = [sys.executable, str(HERE / "read.py"), str(entrant.source(arena.data))]
    read = json.loads(arena.script(f"read {name}", command, rows=rows, pair=pair).usage.output)
    sink.reset()
    command = [str(build("send", CACHE)), str(sink.port), str(bodies)]
    sent = json.loads(arena.script(f"send {name}", command, rows=rows, pair=pair).usage.output)
    counts = sink.counts()
    if (read["rows"], counts.messages, counts.bytes) != (rows, rows, sent["bytes"]):
        raise BenchmarkError(
            f"the floor of {name} read {read['rows']:,} rows and sent {counts.messages:,} messages"
            f" of {rows:,}"
        )
    return Floor(name, pair, read["wall_s"], read["cpu_s"], sent["wall_s"], sent["cpu_s"])
