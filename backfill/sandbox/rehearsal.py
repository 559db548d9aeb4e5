"""A run told to the sandbox that is embedded in it: which rows each body stands for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backfill.deliver import Delivery
from backfill.sandbox.provenance import FileFacts, RunFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.batch import Batch
    from backfill.deliver import Poster
    from backfill.errand import Settings
    from backfill.plan import Plan
    from backfill.ratelimit import TokenBucket
    from backfill.sandbox.provenance import Provenance
    from backfill.source import Reader, SourceFile


class Rehearsal:
    """What the sandbox is told of one stream. provenance: the sandbox's."""

    def __init__(self, provenance: Provenance, plan: Plan) -> None:
        self._provenance = provenance
        self._mapping = plan.job.mapping
        self._open = plan.job.open
        self._file = FileFacts()
        self.plan = replace(plan, job=replace(plan.job, open=self._opened))
        """The plan to run: the same, but it is seen which file is being read."""

    def delivery(
        self, connect: Callable[[], Poster], bucket: TokenBucket, how: Settings, run_id: str
    ) -> Delivery:
        """Return a delivery that announces each batch; what comes from now on is of this run."""
        path = str(Path(self._mapping.path).absolute())
        self._provenance.begin(RunFacts(run_id, self._mapping.name, path))
        return _Watched(connect, bucket, how, self.announce)

    def announce(self, batch: Batch) -> None:
        """Say which rows a batch stands for, before it is sent."""
        places = batch.rows[np.cumsum(batch.sizes) - batch.sizes]
        file, rows = self._file, places.copy()
        for span in batch.spans:
            if (origin := span.origin) is not None:  # dead letters: where the rows once stood
                inside = (places >= span.start) & (places < span.stop)
                rows[inside] = origin.rows[places[inside] - span.start]
                file = FileFacts(origin.label, origin.first_row, sha256=origin.sha256)
        self._provenance.announce(batch.body, file, np.repeat(rows, batch.messages).tolist())

    def _opened(self, file: SourceFile) -> Reader:
        reader = self._open(file)
        path = file.path if file.address else str(Path(file.path).absolute())
        self._file = FileFacts(
            path, reader.first_row, file.size_bytes, file.modified_ns, file.sha256
        )
        return reader


class _Watched(Delivery):
    """Announces each batch before it is sent."""

    def __init__(
        self,
        connect: Callable[[], Poster],
        bucket: TokenBucket,
        how: Settings,
        announce: Callable[[Batch], None],
    ) -> None:
        super().__init__(connect, bucket, how)
        self._announce = announce

    def submit(self, batch: Batch, *, is_ordered: bool) -> None:
        """Announce a batch and send it."""
        self._announce(batch)
        super().submit(batch, is_ordered=is_ordered)
