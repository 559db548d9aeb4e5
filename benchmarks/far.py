"""A far side that is slower than us: answers after tens of milliseconds, or 429 above a limit.

Small batches, so that the far side is what is waited for. Seconds count at the sink, from the first
request on. A fixed number of connections is ours with the adapting turned off.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import page
from entrants import Entrant
from figures import Target, cpu, spread
from loopback import Manner

if TYPE_CHECKING:
    from arena import Arena
    from figures import Figures, Run
    from loopback import Sink
    from scale import Scale

FIXED = (1, 2, 4, 8, 16)
CEILING = 16
RATIO = 0.9
BATCH_MESSAGES = 200
ROWS_SHARE = 10
"""A tenth of the rows of other parts: one connection and 100 ms make 2,000 events a second."""
ROWS_SMALL = 4_000

FIXED_CODE = """
import runpy
from backfill import senders
end = senders.Senders.end
senders.Senders.end = lambda self, begun, load, now_s: end(self, begun, senders.Load.UNTOLD, now_s)
runpy.run_module("backfill", run_name="__main__", alter_sys=True)
"""
ADAPTS = importlib.util.find_spec("backfill.senders") is not None
"""Whether this version adapts at all; where it does not, every number is a fixed one."""


@dataclass(frozen=True, slots=True)
class Side:
    """A far side."""

    title: str
    manner: Manner

    @property
    def is_limited(self) -> bool:
        """Whether it answers 429."""
        return bool(self.manner.at_once or self.manner.per_s)

    def bears(self, connections: int) -> bool:
        """Whether so many connections, each waiting for its answer, meet no 429."""
        given = self.manner
        is_few = not given.at_once or connections <= given.at_once
        return is_few and (not given.per_s or connections * 1000 / given.delay_ms <= given.per_s)

    def fixed(self) -> list[int]:
        """Return the settings worth a run: those that it bears, and the next."""
        if not self.is_limited:
            return list(FIXED)
        borne = [n for n in range(2, CEILING + 1) if self.bears(n)]
        return [n for n in borne if n in FIXED or n == borne[-1]] + [borne[-1] + 1, 2 * borne[-1]]


SIDES = (
    Side("20 ms", Manner(delay_ms=20)),
    Side("100 ms", Manner(delay_ms=100)),
    Side("100 ms, 429 above 3 at once", Manner(delay_ms=100, at_once=3)),
    Side("100 ms, 429 above 45 a second", Manner(delay_ms=100, per_s=45)),
)


def entrant(side: Side, connections: int | None, rows: int, *, is_fixed: bool) -> Entrant:
    """Return ours with a setting; None: the default. Limits take a while to be found out."""
    batch = BATCH_MESSAGES // 2 if side.is_limited else BATCH_MESSAGES
    rows = rows // 2 if side.is_limited else rows
    if is_fixed and connections and not side.bears(connections):
        rows //= 5  # it is slow
    options = ["--batch-messages", str(batch)]
    options += [] if connections is None else ["--connections", str(connections)]
    program = ("-c", FIXED_CODE) if is_fixed and ADAPTS else ("-m", "backfill")
    return Entrant("csv", rows, tuple(options), program)


def measured(arena: Arena, scale: Scale) -> Figures:
    """Scan the fixed settings once, then run what adapts and the best of them in turn."""
    rows = ROWS_SMALL if scale.is_small else scale.rows // ROWS_SHARE
    sides = SIDES[2:3] if scale.is_small else SIDES
    arena.prepare(
        entrant(side, n, rows, is_fixed=True) for side in sides for n in (None, *side.fixed())
    )
    found: dict[str, Any] = {}
    targets = []
    for side in sides:
        one = _side(arena, side, rows, scale)
        found[side.title] = one
        words = (
            f"far side, {side.title}: events/s of up to {CEILING}, adapting / {one['best']} fixed"
        )
        targets.append(Target(words, RATIO, is_least=True).judged(one["ratio"]))
    return {"rows": rows, "adapts": ADAPTS, "sides": found, "targets": targets}


def _side(arena: Arena, side: Side, rows: int, scale: Scale) -> Figures:
    fixed = side.fixed()[1:2] if scale.is_small else side.fixed()
    with arena.sink(side.manner) as sink:
        scanned: dict[str, Run] = {
            f"{n} fixed": _run(arena, entrant(side, n, rows, is_fixed=True), 0, sink) for n in fixed
        }
        scanned["default"] = _run(arena, entrant(side, None, rows, is_fixed=False), 0, sink)
        best = max(fixed, key=lambda n: _speed(scanned[f"{n} fixed"], side))
        ours = entrant(side, CEILING, rows, is_fixed=False)
        theirs = entrant(side, best, rows, is_fixed=True)
        pairs = [
            [_run(arena, one, pair, sink) for one in (ours, theirs)]
            for pair in range(1, scale.pairs_slow + 1)
        ]
    scanned[f"up to {CEILING}"] = pairs[0][0]
    return {
        "settings": {name: _setting(run, side) for name, run in scanned.items()},
        "best": best,
        "ratio": spread(_speed(a, side) / _speed(b, side) for a, b in pairs),
    }


def _run(arena: Arena, one: Entrant, pair: int, sink: Sink) -> Run:
    return arena.run(one, pair=pair, sink=sink)


def _speed(run: Run, side: Side) -> float:
    """Events a second, from the first request to the answer of the last."""
    assert run.counts is not None
    return run.rows / (run.counts.span_s + side.manner.delay_ms / 1000)


def _setting(run: Run, side: Side) -> Figures:
    assert run.counts is not None
    return {
        "events_per_s": _speed(run, side),
        "cpu_s": cpu(run.usage),
        "requests": run.counts.requests,
        "too_many": run.counts.too_many,
        "at_once_max": run.counts.at_once_max,
        "connections": run.counts.connections,
    }


def told(figures: Figures) -> list[str]:
    """Return a row for each far side and setting."""
    rows = []
    for title, one in figures["sides"].items():
        for name, setting in one["settings"].items():
            is_ours = name.startswith("up to")
            cells = (
                page.rounded(setting["events_per_s"]),
                f"{setting['too_many']:,}",
                str(setting["at_once_max"]),
                f"{page.spread_text(one['ratio'])} of {one['best']} fixed" if is_ours else "",
            )
            rows.append((f"{title}: {name}", *cells))
    head = ("a slow far side: connections", "events/s", "429s", "at once", "to the best fixed")
    lines = page.table(head, rows)
    if not figures["adapts"]:
        lines += ["", "This version does not adapt: every number of connections is a fixed one."]
    return lines
