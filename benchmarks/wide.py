"""Seeded people with forty columns, as a CRM would export them: CSV and typed Parquet.

    python benchmarks/wide.py DIR [--rows N] [--seed S]

Writes wide-N.csv and wide-N.parquet into DIR; what is there already stays. See data.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from data import (
    CITIES,
    DOMAINS,
    FIRST_NAMES,
    HEX,
    LAST_NAMES,
    PLANS,
    PRICES,
    SEED,
    SPAN_MS,
    START_MS,
    Draw,
    iso,
    join,
    money,
    padded,
    pick,
    texts,
    write,
)

TEXTS, CODES, NUMBERS, INTEGERS, BOOLEANS, TIMES = 10, 5, 7, 6, 5, 3
"""Columns of each kind, beside the id, the email and the two names: forty in all."""
WORDS = [*PLANS, *CITIES, *FIRST_NAMES, *LAST_NAMES, "", "", "", "", ""]
"""One in seven is blank."""


def people(draw: Draw) -> tuple[Any, Any]:
    """Make one shard of people: the typed table, and the same as texts for CSV."""
    rows = np.arange(draw.start, draw.stop, dtype=np.int64)
    number = padded(rows)
    columns: dict[str, Any] = {
        "id": join("p_", number),
        "email": join("person", number, "@", pick(DOMAINS, rows % len(DOMAINS))),
        "first_name": draw.of(FIRST_NAMES, column=40),
        "last_name": draw.of(LAST_NAMES, column=41),
    }
    instead: dict[str, Any] = {}
    is_whole = np.ones(len(rows), np.bool_)
    at = 42
    for kind, count in zip(
        "tcnibw", (TEXTS, CODES, NUMBERS, INTEGERS, BOOLEANS, TIMES), strict=True
    ):
        for one in range(1, count + 1):
            name = f"{NAMES[kind]}_{one}"
            if kind == "w":
                moment = START_MS + draw.below(SPAN_MS // 1000, column=at) * 1000
                instead[name] = iso(moment, is_whole=is_whole)
                columns[name] = pa.array(moment).cast(pa.timestamp("ms", "UTC"))
            else:
                columns[name] = _column(kind, draw, at)
            at += 1
    typed = pa.table(columns)
    return typed, texts(typed, instead)


NAMES = {"t": "text", "c": "code", "n": "number", "i": "count", "b": "flag", "w": "at"}


def _column(kind: str, draw: Draw, at: int) -> Any:
    match kind:
        case "t":
            found = draw.of(WORDS, column=at)
            return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)
        case "c":
            return join(draw.of(HEX, column=at), "-", draw.of(HEX, column=at + 100))
        case "n":
            return money(np.array(PRICES)[draw.below(len(PRICES), column=at)])
        case "i":
            return pa.array(draw.below(10_000, column=at))
        case _:
            return pa.array(draw.below(2, column=at) == 1)


def main() -> None:
    """Write what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Seeded people of forty columns.")
    parser.add_argument("dir", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    path = options.dir / f"wide-{options.rows}"
    write(people, path, rows=options.rows, seed=options.seed)


if __name__ == "__main__":
    main()
