"""Settings as a person gives them → plans, destination, delivery → reports."""

from __future__ import annotations

import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backfill.batch import Limits
from backfill.checkpoint import State, Store
from backfill.deliver import Delivery
from backfill.delivered import doubling, pick
from backfill.destination import SANDBOX, find_key, find_target, resolve, scrubber
from backfill.errand import Settings as DeliverySettings
from backfill.errors import ExitCode, MismatchError, UsageError
from backfill.memory import rehearsed
from backfill.packed import pack
from backfill.plan import Input, Plan, input_of, make_plan
from backfill.private import secure, warning_of_folder
from backfill.ratelimit import TokenBucket
from backfill.report import Report, rows_of, times_of
from backfill.resume import REHEARSAL
from backfill.runner import Options, Retry, Stop, run_stream
from backfill.survey import Survey, survey
from backfill.veil import Samples
from backfill.wire import Key, Target, Wire, proxy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backfill.log import Log
    from backfill.mapping import Mapping
    from backfill.retry import Letters
    from backfill.sandbox import Sandbox
    from backfill.sandbox.rehearsal import Rehearsal
    from backfill.shard import Counts

STATE = ".backfill"
SANDBOX_FILE = "sandbox.sqlite"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `run`, as given; None: the mapping's own or the default."""

    sources: tuple[str, ...] = ()
    to: str | None = None
    dry_run: bool = False
    limit: int | None = None
    rate: float | str | None = None
    connections: int | None = None
    batch_bytes: int | None = None
    batch_messages: int | None = None
    gzip: bool = False
    """Pack request bodies, also where the mapping does not say so."""
    state: Path = field(default=Path(STATE))
    restart: bool = False
    max_rejects: str | None = None
    samples: str = Samples.MASKED
    max_outage_s: float = 900.0
    recent_events: str | None = None
    use_previous: bool = False
    key_file: str | None = None
    log_echo: str | None = None
    command: str = ""
    is_alone: bool = False
    """Whether this process is the run's own: then it may fork another one that encodes."""
    hear: Callable[[str, dict[str, Any]], None] = field(default=lambda _what, _facts: None)
    """Told what goes into the log, by any thread."""
    tell: Callable[[str], None] = field(default=lambda _words: None)
    """Told what a person should know at the start: a proxy on the way, a key that others read."""


def plan_of(mapping: Mapping, settings: Settings, given: Input | None = None) -> Plan:
    """Plan one stream; given: what to read instead of its source. Raises what `make_plan` does."""
    document = mapping.document
    guards = document.guards
    if settings.recent_events is not None:
        guards = guards.model_copy(update={"recent_events": settings.recent_events})
    limits = Limits(
        settings.batch_bytes or document.delivery.batch_bytes,
        settings.batch_messages or document.delivery.batch_messages,
    )
    now_ms = int(time.time() * 1000)
    sources = settings.sources
    return make_plan(
        mapping, sources=sources, guards=guards, limits=limits, now_ms=now_ms, given=given
    )


def run_all(
    mappings: Sequence[Mapping],
    settings: Settings,
    stop: Stop,
    watch: Callable[[Plan], Callable[[Counts], None]] | None = None,
) -> Iterator[Report]:
    """Run streams one after the other, in order; a stream that stops ends the run.

    Everything is planned before anything is sent. Raises BackfillError where a stream cannot start.
    """
    if settings.sources and len(mappings) > 1:
        fix = "run them one by one"
        raise UsageError("--source goes with one mapping", where="--source", fix=fix)
    heed = partial(stop.heed, settings.command)
    plans = [
        plan_of(mapping, settings, _own_files(mapping, settings, heed)) for mapping in mappings
    ]
    if settings.dry_run:
        for plan in plans:
            told = rehearsed(plan, _state_before(plan.job.mapping, settings), settings.state)
            yield dry_report(plan, survey(told.hashed({}, heed), limit=settings.limit, watch=heed))
        return
    with _target(settings) as (target, name, sandbox):
        proxy = _announce(target, settings)
        for plan in plans:
            opened = _Opener(plan, settings, target, sandbox)
            options = replace(_options(plan, settings, name), proxy=proxy)
            if watch is not None:
                options = replace(options, watch=watch(plan))
            secure(settings.state / plan.job.mapping.name)
            report = run_stream(opened.plan, options, opened, stop)
            yield report
            if report.exit_code not in {ExitCode.OK, ExitCode.REJECTS}:
                return


def _state_before(mapping: Mapping, settings: Settings) -> State | None:
    """Return the state that a run would find. Raises MismatchError where it is damaged."""
    if settings.restart:
        return None
    state = Store(settings.state, mapping.name).load(use_previous=settings.use_previous)
    is_rehearsal = state is not None and state.destination == REHEARSAL
    return None if is_rehearsal and settings.to != SANDBOX else state


def _own_files(mapping: Mapping, settings: Settings, heed: Callable[[], None]) -> Input:
    """Return the files that a run would read, so that no other is a reason to refuse it.

    The run looks once more when it holds the stream; what is wrong with the state is told there.
    """
    found = input_of(mapping, settings.sources)
    folder, is_new_only = settings.state / mapping.name, mapping.document.source.files == "new"
    try:
        state = _state_before(mapping, settings)
        picked = pick(found.files, state, folder, is_new_only=is_new_only, watch=heed)
    except MismatchError:
        return found
    told = [*picked.words, *doubling(picked, mapping.document)]
    for words in told if settings.dry_run else ():
        settings.tell(words)
    return Input(picked.files, found.open, len(picked.files) > 1, picked.found)


def retry_all(
    mapping: Mapping,
    settings: Settings,
    stop: Stop,
    watch: Callable[[Plan], Callable[[Counts], None]] | None = None,
    *,
    kind: str,
) -> Iterator[tuple[Letters, Report]]:
    """Send the dead letters of a finished stream again: its `rejects`, or what is `held`.

    Yields nothing where none wait. Raises BackfillError where they cannot be sent.
    """
    from backfill.retry import finished_state, input_of_letters, waiting  # noqa: PLC0415  all readers

    main = Store(settings.state, mapping.name)
    with _target(settings) as (target, name, sandbox):
        proxy = _announce(target, settings)
        secure(main.folder)
        main.lock()
        try:
            state = finished_state(main, name, mapping)
            found, edited = waiting(main, state, kind)
            for path in edited:
                fix = "correct the rows that still fail where the last retry put them"
                settings.tell(f"{path}: was edited after its rows were sent again\n  fix: {fix}")
            for letters in found:
                plan = plan_of(mapping, settings, input_of_letters(letters, state, mapping))
                options = replace(_options(plan, settings, name), proxy=proxy)
                if watch is not None:
                    options = replace(options, watch=watch(plan))
                opened = _Opener(plan, settings, target, sandbox)
                report = run_stream(
                    opened.plan, options, opened, stop, Retry(letters.store, main, state)
                )
                is_over = report.exit_code in {ExitCode.OK, ExitCode.REJECTS}
                if is_over and not report.rows["delivered"]:
                    letters.give_back()
                    report.note = f"no row was delivered; correct {letters.path} and retry"
                yield letters, report
                if not is_over:
                    return
        finally:
            main.unlock()


@contextmanager
def _target(settings: Settings) -> Iterator[tuple[Target, str, Sandbox | None]]:
    """Yield the target, its name in reports, and the embedded sandbox, which lives as long."""
    key = None if settings.to == SANDBOX else find_key(settings.key_file, settings.tell)
    if resolve(settings.to, key) != SANDBOX:
        target = find_target(settings.to, key)
        yield target, target.origin, None
        return
    from backfill.sandbox import Sandbox  # noqa: PLC0415  a server, only where it is asked for

    make_state(settings.state)
    with Sandbox(settings.state / SANDBOX_FILE, takes_gzip=True) as sandbox:
        yield Target(f"{sandbox.url}/v1", Key("sandbox")), REHEARSAL, sandbox


def _announce(target: Target, settings: Settings) -> str | None:
    """Say what a run starts with and return its proxy. Raises UsageError: it cannot be used."""
    proxy = proxy_of(target)
    if proxy:
        settings.tell(f"{target.origin}: through the proxy {proxy}")
    if warning := warning_of_folder(settings.state):
        settings.tell(warning)
    return proxy


def make_state(folder: Path) -> None:
    """Make the state folder for its owner alone. Raises UsageError where that cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        what = f"the state folder cannot be made: {fault.strerror}"
        raise UsageError(what, where=folder, fix="choose another with --state") from None


def _options(plan: Plan, settings: Settings, destination: str) -> Options:
    delivery = plan.job.mapping.document.delivery
    return Options(
        state=settings.state,
        destination=destination,
        command=settings.command,
        restart=settings.restart,
        use_previous=settings.use_previous,
        limit=settings.limit,
        max_rejects=settings.max_rejects,
        connections=settings.connections or delivery.connections,
        is_alone=settings.is_alone,
        log_echo=settings.log_echo,
        tell=settings.tell,
        samples=Samples(settings.samples),
        flags=_flags(settings),
        hear=settings.hear,
    )


def _flags(settings: Settings) -> str:
    """Return the options of a command that is to find the same destination and state."""
    given = {"--to": settings.to, "--write-key-file": settings.key_file}
    if settings.state != Path(STATE):
        given["--state"] = str(settings.state)
    return "".join(f" {name} {shlex.quote(word)}" for name, word in given.items() if word)


class _Opener:
    """Makes the delivery of one stream once its log is open."""

    def __init__(
        self, plan: Plan, settings: Settings, target: Target, sandbox: Sandbox | None
    ) -> None:
        self.plan = plan
        self._settings = settings
        self._target = target
        self._rehearsal: Rehearsal | None = None
        if sandbox is not None:
            from backfill.sandbox.rehearsal import Rehearsal  # noqa: PLC0415  as the sandbox

            self._rehearsal = Rehearsal(sandbox.store.provenance, plan)
            self.plan = self._rehearsal.plan

    def __call__(self, log: Log) -> Delivery:
        given, settings = self.plan.job.mapping.document.delivery, self._settings
        bucket = TokenBucket(rate_of(self.plan, settings))
        is_packed = settings.gzip or given.gzip
        how = DeliverySettings(
            connections=settings.connections or given.connections,
            max_outage_s=settings.max_outage_s,
            origin=self._target.origin,
            scrub=scrubber(self._target.key),
            pack=pack if is_packed else None,
            note=log.note,
        )
        connect = partial(Wire, self._target, is_packed=is_packed)
        if self._rehearsal is None:
            return Delivery(connect, bucket, how)
        run_id = "" if log.path is None else log.path.parent.name
        return self._rehearsal.delivery(connect, bucket, how, run_id)


def rate_of(plan: Plan, settings: Settings) -> float | None:
    """Return the requests a second of a stream; None: no limit."""
    given = plan.job.mapping.document.delivery.rate
    rate = given if settings.rate is None else settings.rate
    return None if isinstance(rate, str) else float(rate)


def dry_report(plan: Plan, found: Survey) -> Report:
    """Return the report of a run that sends nothing: what would be sent is pending."""
    counts = found.counts
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    bad = counts.rejected or counts.held
    return Report(
        stream=plan.job.mapping.name,
        run_id="",
        started_at=now,
        finished_at=now,
        exit_code=ExitCode.REJECTS if bad else ExitCode.OK,
        destination="nowhere (dry run)",
        rows=rows_of(counts, found.rows),
        messages={"built": counts.built, "delivered": 0, "refused": 0},
        requests={"sent": 0, "retried": 0, "bytes": 0},
        rejects_by_code=dict(sorted(counts.by_code.items())),
        timestamps=times_of(counts),
        files=found.files,
    )
