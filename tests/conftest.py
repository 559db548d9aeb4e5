"""What the tests share: the real command line, sources of any size, and a destination."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from ledger import Ledger
from ready import Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a machine that is busy with other things proves nothing

if "MUTANT_UNDER_TEST" in os.environ:  # of mutmut: a score decided by chance is none
    told = settings.get_profile("busy")
    phases = (Phase.explicit, Phase.generate)  # nobody reads the smaller example
    settings.register_profile(
        "mutation", told, derandomize=True, database=None, phases=phases, max_examples=25
    )
    settings.load_profile("mutation")

SPEAK_FOR = {
    "checkpoint": ("checkpoint", "changed_world", "storage"),
    "errand": ("deliver",),
    "narrow": ("narrow", "deliver"),
}
"""Whose tests must notice a fault in a module, where it is not only its own: others may by luck."""

ROOT = Path(__file__).parent.parent
KEY = "canary4711writekey"
"""The write key of every test: it must not be found where it does not belong."""

OURS = ("CUSTOMERIO_WRITE_KEY", "BACKFILL_TO", "BACKFILL_STATE")

READ_LATE = {*OURS, "BACKFILL_PICTURES", "NO_COLOR", "PYTEST_CURRENT_TEST"}
"""What nobody looks at before a command is at work, nor at names that begin with AWS_."""

ORDERS = """\
version: 1
name: orders
source: {path: orders.csv}
key: id
messages:
  - type: track
    userId: person
    event: {const: Bought}
    timestamp: at
    properties: {total: {column: total, type: number}, note: note}
"""


os.environ["BACKFILL_PICTURES"] = "no"
"""The pictures of a report take a second each: only the tests of them draw any."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Where it is set, every command would compile all of backfill: a fifth of a second."""


BEGUN = dict(os.environ)
"""The environment before any test changed it."""

SEED = pytest.StashKey[int]()


class Killed(NamedTuple):
    """What a round of kills came to."""

    kills: int
    rows_lost: int
    batches_resent_max: int
    """After one kill."""
    batches_allowed: int


KILLED = "killed"
"""The property in which a test says what its kills came to: tests run in several processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kills 500` for a night."""
    words = "how often tests/test_crash.py kills a run (default: %(default)s)"
    parser.addoption("--kills", type=int, default=30, help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the kills: that of the environment, to play a failure again, or any."""
    given = getattr(config, "workerinput", {}).get("seed") or os.environ.get("CRASH_SEED")
    config.stash[SEED] = int(given or random.SystemRandom().randrange(10**6))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each process of xdist the seed of the first."""
    node.workerinput["seed"] = node.config.stash[SEED]


def pytest_unconfigure() -> None:
    """End what `Cli` started."""
    Cli.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under mutmut, keep the tests that speak for the mutant's module, its own before others.

    mutmut learns which tests meet a function by watching this process, and it alone: what starts
    the command is left out.
    """
    mutant = os.environ.get("MUTANT_UNDER_TEST")
    if mutant is None:
        return
    module = mutant.split(".")[1] if mutant.startswith("backfill.") else ""
    files = [f"test_{name}.py" for name in SPEAK_FOR.get(module, (module,))]
    kept = [item for item in items if "cli" not in getattr(item, "fixturenames", ())]
    if module:
        kept = [item for item in kept if item.path.name in files]
        slow = {"door", "ledger"}  # whole runs: what they notice, others often do in no time
        kept.sort(
            key=lambda item: (
                not slow.isdisjoint(getattr(item, "fixturenames", ())),
                files.index(item.path.name),
            )
        )
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what the kills came to, so that a person can quote it."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    calls = [one for one in reports if getattr(one, "when", "") == "call"]  # not its setup, too
    told = [dict(one.user_properties).get(KILLED) for one in calls]
    rounds = [Killed(*one) for one in told if one]
    if not rounds:
        return
    lost = sum(one.rows_lost for one in rounds)
    worst = max(one.batches_resent_max for one in rounds)
    terminalreporter.write_line(
        f"{sum(one.kills for one in rounds)} kills (CRASH_SEED={config.stash[SEED]}): rows lost"
        f" {lost}, batches sent twice after one kill at most {worst}"
        f" of {rounds[0].batches_allowed} allowed"
    )


class Done(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The last line of stdout, which `--json` promises to be one object."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


class Cli:
    """`python -m backfill` in a folder, in an environment without our variables.

    A call is a process of its own that `Ready` forks; where the caller changes how a process
    begins (`preexec_fn`, `is_fresh`, a variable that Python or a library reads at its start), and
    always in `start`, it is a new interpreter.
    """

    _ready: ClassVar[tuple[Ready, dict[str, str]] | None] = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def close(cls) -> None:
        """End the server of this process of pytest."""
        if cls._ready:
            cls._ready[0].close()
            cls._ready = None

    @classmethod
    def _ready_for(cls, environment: Mapping[str, str]) -> Ready | None:
        if cls._ready is None:
            usual = {**BEGUN, "PYTHONPATH": str(ROOT)}
            cls._ready = Ready(usual), usual
        server, usual = cls._ready
        others = {name for name, _ in environment.items() ^ usual.items()}
        early = {name for name in others - READ_LATE if not name.startswith("AWS_")}
        return None if early else server

    def environment(self, key: str | None = KEY, **more: str) -> dict[str, str]:
        """Return the environment of a command. key: the write key in it, None for none."""
        env = {name: value for name, value in os.environ.items() if name not in OURS}
        env["PYTHONPATH"] = str(ROOT)
        if key is not None:
            env["CUSTOMERIO_WRITE_KEY"] = key
        return env | more

    def __call__(
        self, *arguments: object, stdin: str = "", env: dict[str, str] | None = None, **how: Any
    ) -> Done:
        """Run a command to its end."""
        words, timeout_s = [*map(str, arguments)], how.pop("timeout_s", 60)
        env = self.environment() if env is None else env
        is_fresh = how.pop("is_fresh", False) or bool(how)
        if not is_fresh and (ready := self._ready_for(env)):
            folder = self.folder
            return Done(*ready.run(words, folder=folder, env=env, stdin=stdin, timeout_s=timeout_s))
        done = subprocess.run(
            [sys.executable, "-m", "backfill", *words],
            cwd=self.folder,
            env=env,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
            **how,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Begin a command; the caller ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "backfill", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )


def orders_csv(count: int, bad: Collection[int] = (), note: str = "") -> str:
    """Return orders 0 … count - 1 as CSV; the totals of the bad ones are no numbers."""
    lines = ["id,person,at,total,note"]
    for n in range(count):
        total = "none" if n in bad else f"{n}.50"
        lines.append(f"{n},p{n % 7},2020-01-02T03:04:05Z,{total},{note}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def orders(tmp_path: Path) -> Callable[..., Path]:
    """Write `orders.csv` with its mapping, and return the mapping's path."""

    def write(count: int = 10, bad: Collection[int] = (), *, mapping: str = ORDERS) -> Path:
        (tmp_path / "orders.csv").write_text(orders_csv(count, bad))
        path = tmp_path / "orders.yaml"
        path.write_text(mapping)
        return path

    return write


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with Ledger() as running:
        yield running


@pytest.fixture
def door(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: Ledger
) -> Callable[..., dict[str, Any]]:
    """Run a mapping through the Python door, to the ledger; the report, or the error's words."""
    import backfill  # noqa: PLC0415  heavy, and most tests run the command

    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUSTOMERIO_WRITE_KEY", KEY)

    def run(mapping: Path, **options: Any) -> dict[str, Any]:
        how = {"to": ledger.url, "state": tmp_path / "state", "rate": "unlimited", **options}
        try:
            return backfill.run(backfill.load_mapping(mapping), **how).to_json()
        except backfill.BackfillError as fault:
            words = {"what": fault.what, "where": fault.where, "fix": fault.fix}
            return {"exit_code": int(fault.exit_code), "error": words}

    return run
