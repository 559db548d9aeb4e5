"""Plan + delivery → commit each `Progress`, then a `Report`. The only room that writes state."""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from backfill.apart import encoder
from backfill.checkpoint import FileState, State, Store, unwritable
from backfill.delivered import doubling
from backfill.durable import make_folder
from backfill.ending import next_steps, nothing_new, put_error, write_page
from backfill.engine import local
from backfill.errors import (
    BackfillError,
    ExitCode,
    InterruptedRun,
    ResumableError,
)
from backfill.log import Log
from backfill.memory import Memory
from backfill.reading import open_shard, remember
from backfill.rejects import RejectsFile, form_of
from backfill.report import Report, now_text, report_of, write_report
from backfill.resume import Past, identity_of, is_at_limit, past_of, same_destination
from backfill.shard import Run
from backfill.tallies import Tallies, opened
from backfill.veil import Samples
from backfill.verdict import FIRST_BATCHES, check_first, check_rejects
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backfill.deliver import Delivery
    from backfill.plan import Plan
    from backfill.shard import Counts, Progress


@dataclass
class Stop:
    """How a run is asked to end, and with which exit code."""

    event: threading.Event = field(default_factory=threading.Event)
    exit_code: ExitCode = ExitCode.SIGINT

    def heed(self, command: str) -> None:
        """Raise InterruptedRun where a run is to end that has sent nothing yet.

        command: what resumes it.
        """
        if self.event.is_set():
            what, fix = "stopped by a signal before anything was sent", f"go on with: {command}"
            raise InterruptedRun(self.exit_code, what, fix=fix)


@dataclass(frozen=True, slots=True)
class Options:
    """What a run was asked for, beside the plan."""

    state: Path
    destination: str
    command: str = ""
    """The exact command that resumes."""
    restart: bool = False
    use_previous: bool = False
    limit: int | None = None
    max_rejects: str | None = None
    connections: int = 8
    is_alone: bool = False
    """Whether the process is the run's own, and may be forked."""
    log_echo: str | None = None
    proxy: str | None = None
    """What stands between this machine and the destination, without its password."""
    watch: Callable[[Counts], None] = field(default=lambda _counts: None)
    """Told the counts so far after each step."""
    tell: Callable[[str], None] = field(default=lambda _words: None)
    """Told what a person should know, at the start and where a page could not be written."""
    samples: Samples = Samples.MASKED
    """How much of a cell the page shows."""
    flags: str = ""
    """The options that a command for the same destination and state has."""
    hear: Callable[[str, dict[str, Any]], None] = field(default=lambda _what, _facts: None)
    """Told what goes into the log."""


@dataclass
class _Books:
    """The run as it stands."""

    plan: Plan
    options: Options
    store: Store
    state: State
    folder: Path
    rejects: RejectsFile
    held: RejectsFile
    resumed_from: int | None = None
    first_batches: list[bool] = field(default_factory=list)
    marks: dict[int, Watermark] = field(default_factory=dict)
    memory: Memory | None = None
    tallies: Tallies | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Where the state of a retry is, and of what it is one."""

    store: Store
    home: Store
    main: State


def run_stream(
    plan: Plan,
    options: Options,
    open_delivery: Callable[[Log], Delivery],
    stop: Stop,
    retry: Retry | None = None,
) -> Report:
    """Run one stream to its end, or to what stops it; the report says which.

    retry: where its state is, if that is not the stream's own folder. Raises the BackfillError
    that kept it from starting. What stops it later is in the report: `exit_code`, `error`.
    """
    store = retry.store if retry else Store(options.state, plan.job.mapping.name)
    store.lock()
    try:
        if options.restart:
            store.forget()
        found = store.load(use_previous=options.use_previous)
        heed = partial(stop.heed, options.command)
        is_new_only = retry is None and plan.job.mapping.document.source.files == "new"
        before = same_destination(found, options.destination, store.path)
        plan, past = past_of(before, plan, store.path, is_new_only=is_new_only, heed=heed)
        if past.state and (past.state.is_finished or is_at_limit(past.state, options.limit)):
            return nothing_new(past, store.folder, plan, options.destination, options.limit)
        memory = Memory(retry.home, retry.main) if retry else Memory(store)
        return _run(plan, options, (store, memory, past), open_delivery, stop)
    finally:
        store.unlock()


def _run(
    plan: Plan,
    options: Options,
    found: tuple[Store, Memory, Past],
    open_delivery: Callable[[Log], Delivery],
    stop: Stop,
) -> Report:
    store, memory, past = found
    try:
        books = _opened(plan, options, store, memory, past)
    except OSError as fault:
        raise unwritable(store.folder, fault) from None
    log = Log(books.folder / "log.jsonl", echo=options.log_echo, hear=options.hear)
    started = {"run_id": books.state.run_id, "stream": books.state.stream}
    way = {"proxy": options.proxy} if options.proxy else {}
    log.note("start", {**started, "destination": options.destination, **way})
    told = [*past.picked.words, *doubling(past.picked, plan.job.mapping.document), *memory.words]
    for words in told:
        options.tell(words)
        log.note("told", {"words": words})
    delivery = open_delivery(log)
    error: BackfillError | None = None
    try:
        _iterate(books, delivery, stop)
    except BackfillError as fault:
        error = fault
    finally:
        delivery.close()
    report = _closed(books, error)
    log.note("end", {**started, "exit_code": report.exit_code, "rows": report.rows})
    if why := write_page(books.folder, report, books.state, options.samples):
        options.tell(why)
        log.note("told", {"words": why})
    log.close()
    return report


def _opened(plan: Plan, options: Options, store: Store, memory: Memory, past: Past) -> _Books:
    """Make or find the run's folder; what a resume knows nothing of is cut away."""
    resumed_from = None if past.state is None else past.state.counts.settled
    state = past.state or _begun(plan, options)
    if past.state is None:
        memory.begin(state, past.before, plan.job.mapping)
    plan = memory.planned(plan.judged_at(state.now_ms, state.lane_count), state)
    folder = store.folder / "runs" / state.run_id
    make_folder(folder)
    read = open_shard(plan.job, plan.shards[0])
    form = form_of(plan.shards[0].file.format, read, many=plan.job.is_many)
    files = [RejectsFile(folder, name, form) for name in ("rejects", "held")]
    for name, file in zip(("rejects", "held"), files, strict=True):
        file.cut_back(state.lengths.get(name, 0))
    letters = (files[0], files[1])
    plan, tallies = opened(folder, plan, state, options.samples, options.limit)
    books = _Books(
        plan, options, store, state, folder, *letters, resumed_from, memory=memory, tallies=tallies
    )
    for shard, file_state in zip(plan.shards, state.files, strict=True):
        file_state.path, file_state.modified_ns = shard.file.path, shard.file.modified_ns
        if not file_state.is_finished:
            books.marks[shard.index] = (
                Watermark.load(file_state.lanes) if file_state.lanes else Watermark(plan.job.lanes)
            )
    state.identity = identity_of(plan.job.mapping)
    store.save(state)
    if past.state is None:
        memory.tidy(state, past.before)
    return books


def _begun(plan: Plan, options: Options) -> State:
    now = datetime.now(UTC)
    files = [
        FileState(f.path, f.size_bytes, f.modified_ns, f.sha256)
        for f in (shard.file for shard in plan.shards)
    ]
    return State(
        stream=plan.job.mapping.name,
        run_id=f"{now:%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(2)}",
        started_at=now_text(),
        now_ms=plan.job.rules.now_ms,
        mapping=plan.job.mapping.fingerprint,
        destination=options.destination,
        lane_count=plan.job.lanes,
        files=files,
    )


def _iterate(books: _Books, delivery: Delivery, stop: Stop) -> None:
    with encoder(books.plan, is_alone=books.options.is_alone) as encode:
        _go_through(books, Run(delivery, 2 * books.options.connections, stop.event, encode), stop)
    check_rejects(books.state.counts, books.options.max_rejects, books.rejects.path, is_over=True)


def _go_through(books: _Books, run: Run, stop: Stop) -> None:
    for shard in books.plan.shards:
        mark = books.marks.pop(shard.index, None)
        if mark is None:
            remember(books.plan.job, shard)
            continue
        row_stop = _row_stop(books, shard.index)
        if row_stop == 0:
            break
        for progress in local.run(books.plan, run, {shard.index: mark}, {shard.index: row_stop}):
            _commit(books, progress, mark)
            room = FIRST_BATCHES - len(books.first_batches)
            books.first_batches += progress.refused_whole[:room]
            check_first(books.first_batches, books.plan.job.mapping.path, books.rejects.path)
            check_rejects(books.state.counts, books.options.max_rejects, books.rejects.path)
            books.options.watch(books.state.counts)
        file_state = books.state.files[shard.index]
        if stop.event.is_set():
            raise InterruptedRun(stop.exit_code, "stopped by a signal; all is saved")
        if row_stop is None or file_state.rows < row_stop:
            file_state.finish()
            _save(books)


def _row_stop(books: _Books, index: int) -> int | None:
    """Return how many rows of this file the limit leaves, None for all."""
    if books.options.limit is None:
        return None
    return max(books.options.limit - sum(f.rows for f in books.state.files[:index]), 0)


def _commit(books: _Books, progress: Progress, mark: Watermark) -> None:
    """Make a step durable: first the dead letters, then the state that counts them."""
    lengths = {}
    for file, told in ((books.rejects, progress.rejects), (books.held, progress.held)):
        try:
            file.append(told, progress.read)
            lengths[file.path.stem] = file.length
        except OSError as fault:
            raise _cannot_save(books, file.path, fault) from None
    state = books.state
    state.lengths = {**state.lengths, **lengths}
    if books.memory is not None:
        try:
            books.memory.note(state, progress)
        except OSError as fault:
            raise _cannot_save(books, books.store.folder, fault) from None
    if books.tallies is not None:
        books.tallies.note(state, progress)
    state.counts.add(progress.counts)
    file_state = state.files[progress.shard]
    file_state.rows = max(file_state.rows, progress.position)
    file_state.place = progress.place.dump() if progress.place else []
    file_state.lanes = mark.dump()
    _save(books)


def _save(books: _Books) -> None:
    books.state.saved_at = now_text()
    try:
        books.store.save(books.state)
    except OSError as fault:
        raise _cannot_save(books, books.store.path, fault) from None


def _cannot_save(books: _Books, where: Path, fault: OSError) -> ResumableError:
    command = books.options.command or "the same command"
    return ResumableError(
        f"the state cannot be saved: {fault.strerror or fault}",
        where=where,
        fix=f"make room (or mend the disk) and go on with: {command}",
    )


def _closed(books: _Books, error: BackfillError | None) -> Report:
    """Write the report of a run that ended, for whatever reason.

    A run is finished once that is written: until then the same command writes it again.
    """
    path, counts = books.folder / "report.json", books.state.counts
    is_done = error is None and all(f.is_finished for f in books.state.files)
    exit_code = ExitCode.REJECTS if counts.rejected or counts.held else ExitCode.OK
    report = report_of(books.state, books.store.folder, books.options.destination, exit_code)
    report.resumed_from = books.resumed_from
    put_error(report, error, books.options.command)
    try:
        report.check(is_finished=is_done)
        report.rejects_path = _text(books.rejects.finished())
        report.held_path = _text(books.held.finished())
        path_of_mapping = books.plan.job.mapping.path
        report.next_steps = next_steps(report, path_of_mapping, books.options.flags)
        write_report(path, report)
        if is_done:
            if books.memory is not None:
                books.memory.finish(books.state, books.plan.job.mapping)
            books.state.is_finished = True
            _save(books)
    except BackfillError as fault:
        put_error(report, fault, books.options.command)
        with suppress(OSError):  # the one written, if any, tells of another end
            write_report(path, report)
    except OSError as fault:
        put_error(report, error or _cannot_save(books, path, fault), books.options.command)
    return report


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
