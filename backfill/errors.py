"""What can stop a run: what happened, where, how to fix it, and the exit code.

Nothing else may live here. Bad rows are not errors, they are data (see `codes`); what the faults
of a mapping are is in `lints`.

    BackfillError               one clear line for the user, never a traceback
    ├─ UsageError               2   wrong usage, input missing or unreadable
    │  ├─ MappingError          2   every fault of a mapping, at once
    │  └─ SourceError           2   a source that cannot be read
    ├─ RejectsError             5   too many rejects: the mapping is wrong, not the rows
    ├─ ResumableError           4   stopped before the end; the same command goes on
    ├─ LockedError             11   another run holds this stream
    ├─ DestinationError        12   key, region or address refused
    ├─ MismatchError           13   checkpoint damaged, or it fits neither source nor mapping
    ├─ InterruptedRun     130/143   a signal, after draining
    └─ BooksError               1   the books do not balance: a fault of this program
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.lints import LintCode


class ExitCode(IntEnum):
    """What a scheduler reads; unknown codes are to be read as failure."""

    OK = 0
    FAULT = 1
    USAGE = 2
    REJECTS = 3
    RESUMABLE = 4
    STOPPED = 5
    LOCKED = 11
    REFUSED = 12
    MISMATCH = 13
    SIGINT = 130
    SIGTERM = 143


MEANINGS: Final = {
    ExitCode.OK: "every row delivered, filtered or unchanged; or nothing new",
    ExitCode.FAULT: "a fault of this program",
    ExitCode.USAGE: "wrong usage, faulty mapping, input missing or unreadable",
    ExitCode.REJECTS: "finished; some rows rejected or held",
    ExitCode.RESUMABLE: "stopped before the end; the same command goes on",
    ExitCode.STOPPED: "stopped: too many rejects, the mapping may be wrong",
    ExitCode.LOCKED: "another run holds this stream",
    ExitCode.REFUSED: "key, region or address refused",
    ExitCode.MISMATCH: "the checkpoint is damaged, or fits neither this source nor this mapping",
    ExitCode.SIGINT: "stopped by SIGINT, after draining",
    ExitCode.SIGTERM: "stopped by SIGTERM or SIGHUP, after draining",
}
"""What each exit code says to a person."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file a person wrote: line and column count from 1, as editors do."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class BackfillError(Exception):
    """The parent of all: catch this one to be told what happened, where and how to fix it."""

    exit_code: ExitCode = ExitCode.FAULT

    def __init__(self, what: str, *, where: object = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.fix = fix

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  fix: {self.fix}" if self.fix else head


class UsageError(BackfillError):
    """Wrong usage, or an input that is missing."""

    exit_code = ExitCode.USAGE


class SourceError(UsageError):
    """A source that cannot be read at all (a row that cannot be read is a reject)."""


@dataclass(frozen=True, slots=True)
class Lint:
    """One fault of a mapping."""

    place: Place
    code: LintCode
    what: str
    fix: str

    def __str__(self) -> str:
        line = f"{self.place}: {self.what} [{self.code}]"
        return f"{line}\n  fix: {self.fix}" if self.fix else line


class MappingError(UsageError):
    """Every fault of a mapping at once, in the order of its lines."""

    def __init__(self, lints: Sequence[Lint]) -> None:
        assert lints, "a mapping error without a fault"
        self.lints = tuple(sorted(lints, key=lambda lint: (lint.place, lint.code, lint.what)))
        first = self.lints[0]
        super().__init__(f"{first.what} [{first.code}]", where=first.place, fix=first.fix)

    def __str__(self) -> str:
        return "\n".join(str(lint) for lint in self.lints)


class RejectsError(BackfillError):
    """Stopped on purpose: so many rows are refused that the mapping must be wrong."""

    exit_code = ExitCode.STOPPED


class ResumableError(BackfillError):
    """Stopped before the end; nothing is lost, and the same command goes on."""

    exit_code = ExitCode.RESUMABLE


class LockedError(BackfillError):
    """Another run holds this stream's lock."""

    exit_code = ExitCode.LOCKED


class DestinationError(BackfillError):
    """Key, region or address refused; asking again would not help."""

    exit_code = ExitCode.REFUSED


class MismatchError(BackfillError):
    """The checkpoint is damaged, or it does not fit this source or mapping."""

    exit_code = ExitCode.MISMATCH


class InterruptedRun(BackfillError):  # noqa: N818  what happened is no error
    """A signal arrived; what was in flight has been drained and saved."""

    def __init__(
        self, exit_code: ExitCode, what: str, *, where: object = "", fix: str = ""
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.exit_code = exit_code


class BooksError(BackfillError):
    """The rows read are not the sum of the rows settled: a fault of this program."""
