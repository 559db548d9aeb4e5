"""Arrow's reading of a file and nothing else: half of the floor.

    python benchmarks/read.py FILE.csv|FILE.parquet

As fast as Arrow reads it record batch by record batch: threads on, all CSV columns as texts,
newlines allowed in quotes (RFC 4180; it is not slower). Prints JSON: rows, and wall_s and cpu_s
from opening the file to its end. The interpreter and the imports are behind it by then.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_BYTES = 1 << 20
"""Larger blocks are no faster by more than the noise, and take more memory than ours may."""


def batches(path: Path) -> Iterator[Any]:
    """Yield the record batches of a file."""
    if path.suffix == ".parquet":
        yield from pq.ParquetFile(path).iter_batches(use_threads=True)
        return
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
    texts = dict.fromkeys(names, pa.string())
    yield from pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(column_types=texts),
    )


def main() -> None:
    """Read the file and say what it took."""
    started_s, before_s = time.perf_counter(), time.process_time()
    rows = sum(batch.num_rows for batch in batches(Path(sys.argv[1])))
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - before_s
    print(json.dumps({"rows": rows, "wall_s": wall_s, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
