"""Reading and encoding and nothing else: what `check` is measured against.

    python benchmarks/drive.py SOURCE MAPPING [SOURCE MAPPING …]

Plans each mapping as the command line does, then drives the room that turns rows into finished
messages (`backfill.pipeline`): source, typing, validation, ids, the final text. No batch is cut,
nothing is counted, looked up or sent. Prints JSON: rows, and bytes of messages.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backfill.cli.options import make_arrow_light


def main() -> None:
    """Read and encode every row of every source."""
    make_arrow_light()  # as the command line does, and before the rooms make their first array
    from backfill.ahead import ahead, beside  # noqa: PLC0415
    from backfill.launch import Settings, plan_of  # noqa: PLC0415
    from backfill.mapping import load_mapping  # noqa: PLC0415
    from backfill.pipeline import encodings  # noqa: PLC0415
    from backfill.reading import open_shard, spans  # noqa: PLC0415
    from backfill.watermark import Watermark  # noqa: PLC0415

    rows = size = 0
    for source, mapping in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        plan = plan_of(load_mapping(Path(mapping)), Settings(sources=(source,)))
        job = plan.job
        for shard in plan.shards:
            mark = Watermark(job.lanes)
            found = ahead(spans(open_shard(job, shard), 0, None, job.grouping))
            made = (encodings(job, shard, span, mark) for span in found)
            for given in beside(made, lambda one: one.texts.join()):  # on the threads of `run`
                rows += given.span.batch.num_rows
                size += int(given.texts.ends[-1])
    print(json.dumps({"rows": rows, "bytes": size}))


if __name__ == "__main__":
    main()
