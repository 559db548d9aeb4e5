"""Shapes of mappings: what each costs a byte of output, against the plain mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import page
from entrants import START_UP_ROWS, Entrant
from figures import Target, after_start_up, cpu, of, per, ratios, spread, wall

if TYPE_CHECKING:
    from arena import Arena
    from figures import ByPair, Figures
    from scale import Scale

RATIO = 1.5
PLAIN = "csv"
SHAPES = {
    "expressions": "six members of ten computed",
    "where": "`where`, which filters one row in twelve",
    "keys": "a key of three columns",
    "users": "lanes (people in order, ten traits)",
    "wide": "people of forty columns",
}


def measured(arena: Arena, scale: Scale) -> Figures:
    """Run the plain mapping and each shape in turn."""
    names = [PLAIN, *SHAPES]
    entrants = [Entrant(name, n) for name in names for n in (START_UP_ROWS, scale.rows)]
    arena.prepare(entrants)
    with arena.sink() as sink:
        for pair in range(1, scale.pairs_slow + 1):
            for entrant in entrants:
                arena.run(entrant, pair=pair, sink=sink)
    took = {name: _per_byte(arena, scale, name) for name in names}
    found: dict[str, Any] = {}
    targets = []
    for name in names:
        ratio = {key: spread(ratios(took[name][key], took[PLAIN][key])) for key in took[name]}
        counts = of(arena.runs, name, scale.rows)[0].counts
        assert counts is not None
        found[name] = {
            "title": SHAPES.get(name, "the plain mapping"),
            "ns_per_byte": spread(took[name]["wall"].values()),
            "cpu_ns_per_byte": spread(took[name]["cpu"].values()),
            "bytes_per_row": counts.bytes / scale.rows,
            "ratio": ratio,
        }
        if name != PLAIN:
            words = f"{SHAPES[name]}: time per output byte / the plain mapping's"
            targets.append(Target(words, RATIO).judged(ratio["wall"]))
    return {"rows": scale.rows, "shapes": found, "targets": targets}


def _per_byte(arena: Arena, scale: Scale, name: str) -> dict[str, ByPair]:
    """Nanoseconds per byte at the sink, wall and CPU, after start-up."""
    mine, starts = of(arena.runs, name, scale.rows), of(arena.runs, name, START_UP_ROWS)
    assert mine[0].counts is not None
    size = mine[0].counts.bytes / 1e9
    return {
        key: per(after_start_up(mine, starts, what, is_trial=scale.is_trial), size)
        for key, what in (("wall", wall), ("cpu", cpu))
    }


def told(figures: Figures) -> list[str]:
    """Return the table."""
    head = (f"{figures['rows']:,} rows", "ns/byte", "bytes/row", "wall / plain", "CPU / plain")
    rows = [
        (
            one["title"],
            page.spread_text(one["ns_per_byte"]),
            f"{one['bytes_per_row']:.0f}",
            page.spread_text(one["ratio"]["wall"]),
            page.spread_text(one["ratio"]["cpu"]),
        )
        for one in figures["shapes"].values()
    ]
    return page.table(head, rows)
