"""The benchmarks: their arithmetic, their sink, what they refuse, and what they publish."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import arena
import checking
import contest
import entrants
import far
import publish
import pytest
import run as command
import shapes
import sizes
import startup
from entrants import OURS, START_UP_ROWS, TITLES, Entrant
from figures import Run, Target, after_start_up, exponent, ratios, spread, wall, whole
from floor import Floor
from hypothesis import given
from hypothesis import strategies as st
from loopback import BenchmarkError, Counts, Manner, Sink, build
from measure import Patience, Quiet, Usage
from scale import FULL, SMALL, Scale
from stages import Stages
from test_memory import LAUNCH

from backfill.launch import Settings, plan_of
from backfill.mapping import load_mapping
from backfill.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Figures

ROOT = Path(__file__).parent.parent
SCALE = Scale(rows=1_000_000, pairs=3)


def counts(messages: int = 0, **given: Any) -> Counts:
    """Return what a sink counted."""
    found = dict.fromkeys(Counts.__slots__, 0) | {"requests": 1, "messages": messages}
    return Counts(**{**found, "bytes": 300 * messages, **given})


TWO: Final = """
import os, time
mine = bytearray(os.urandom(1)) * 60_000_000
if not os.fork():
    more = bytearray(os.urandom(1)) * 60_000_000
    time.sleep(1)
    os._exit(0)
os.wait()
"""


def test_the_memory_of_two_processes_is_that_of_both_and_what_they_share_counts_once() -> None:
    command = [sys.executable, "-c", LAUNCH, sys.executable, "-c", TWO]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0
    assert 120e6 < kilobytes * 1024 < 165e6  # a fork has the first 60 MB, too


def run_of(name: str, rows: int, pair: int, seconds: float, peak_mb: float = 100) -> Run:
    """Return a run that took so long, on one core."""
    usage = Usage(seconds, seconds, 0.0, round(peak_mb * 1e6))
    return Run(name, pair, rows, usage, counts(rows), Quiet(0.1, 0.0))


@dataclass
class Stage:
    """An arena in which nothing runs: a run takes 1 s and then some microseconds a row."""

    us_per_row: dict[str, float] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    prepared: list[Entrant] = field(default_factory=list)
    data: Path = Path("data")
    commands: list[list[str]] = field(default_factory=list)

    def prepare(self, entrants: Any) -> None:
        """Remember who asked."""
        self.prepared += entrants

    def sink(self, _manner: Any = None) -> Any:
        """Lend something to hold."""
        return open("/dev/null")  # noqa: PTH123  a context manager like any other

    def run(self, entrant: Entrant, *, pair: int, **_: Any) -> Run:
        """Run nothing."""
        return self._add(entrant.name, entrant.rows, pair)

    def script(self, name: str, given: list[str], *, rows: int, pair: int) -> Run:
        """Run nothing."""
        self.commands.append(given)
        return self._add(name, rows, pair)

    def _add(self, name: str, rows: int, pair: int) -> Run:
        took_s = 1 + rows * self.us_per_row.get(name.split(" ", maxsplit=1)[0], 1.0) / 1e6
        self.runs.append(run_of(name, rows, pair, took_s))
        return self.runs[-1]


# arithmetic


def test_a_ratio_is_of_two_runs_of_the_same_pair() -> None:
    mine, theirs = {1: 2.0, 2: 6.0, 3: 9.0}, {1: 4.0, 2: 2.0}
    assert ratios(mine, theirs) == [0.5, 3.0]
    assert spread([3.0, 0.5, 1.0]) == {"median": 1.0, "min": 0.5, "max": 3.0}


def test_start_up_is_that_of_the_same_pair() -> None:
    runs = [run_of("csv", 10, pair, seconds) for pair, seconds in ((1, 5.0), (2, 7.0))]
    starts = [run_of("csv", 1, pair, seconds) for pair, seconds in ((2, 3.0), (1, 1.0))]
    assert after_start_up(runs, starts, wall, is_trial=False) == {1: 4.0, 2: 4.0}
    assert whole(runs, wall) == {1: 5.0, 2: 7.0}


def test_a_run_that_is_no_longer_than_its_start_up_is_an_error_but_in_a_trial() -> None:
    runs, starts = [run_of("csv", 10, 1, 1.0)], [run_of("csv", 1, 1, 1.5)]
    with pytest.raises(BenchmarkError, match="too noisy"):
        after_start_up(runs, starts, wall, is_trial=False)
    assert after_start_up(runs, starts, wall, is_trial=True) == {1: 0.001}


@given(
    st.floats(0.5, 2.0),
    st.floats(1e-6, 10),
    st.lists(st.integers(10, 10**7), min_size=2, max_size=9, unique=True),
)
def test_the_exponent_of_a_power_law_is_its_power(power: float, by: float, xs: list[int]) -> None:
    assert exponent(xs, [by * x**power for x in xs]) == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "is_least", "is_met"),
    [(2.0, False, True), (2.01, False, False), (2.0, True, True), (1.99, True, False)],
)
def test_a_target_is_met_at_its_limit(value: float, *, is_least: bool, is_met: bool) -> None:
    target = Target("x", 2.0, is_least=is_least)
    assert target.judged(value)["is_met"] is is_met
    assert target.judged({"median": value, "min": 0.0, "max": 9.0})["is_met"] is is_met


def test_what_a_stage_calls_counts_for_that_stage_alone() -> None:
    now = iter([0.0, 1.0, 4.0, 10.0, 10.0, 12.0, 20.0, 25.0])
    stages = Stages(clock=lambda: next(now))
    inner = stages.timed("inner", lambda: None)
    stages.timed("outer", inner)()
    assert stages.spent_s == {"outer": 7.0, "inner": 3.0}
    stages.timed("later", stages.timed("inner", lambda: None).__wrapped__)()  # type: ignore[attr-defined]
    assert stages.spent_s["later"] == 2.0


def test_a_generator_counts_only_while_it_works_and_still_takes_and_returns_values() -> None:
    now = iter(range(100))
    stages = Stages(clock=lambda: float(next(now)))

    def asked() -> Iterator[int]:
        came = yield 1
        return came

    steps: Any = stages.timed("asked", asked)()
    assert next(steps) == 1
    assert [next(now) for _ in range(10)][-1] == 13  # time goes by elsewhere
    with pytest.raises(StopIteration) as end:
        steps.send("an answer")
    assert end.value.value == "an answer"
    assert stages.spent_s == {"asked": 3.0}  # made, first step, second step: one second each


# parts, where nothing runs


def test_shapes_are_compared_by_what_a_byte_costs() -> None:
    stage: Any = Stage({"csv": 1.0, "users": 1.4, "wide": 1.6})
    figures = shapes.measured(stage, SCALE)
    met = {target["title"]: target["is_met"] for target in figures["targets"]}
    assert figures["shapes"]["users"]["ratio"]["wall"]["median"] == pytest.approx(1.4)
    assert [title for title, is_met in met.items() if not is_met] == [
        "people of forty columns: time per output byte / the plain mapping's"
    ]
    assert "| people of forty columns | 5.33 (5.33–5.33) | 300 | 1.6 (" in "\n".join(
        shapes.told(figures)
    )


def test_check_is_compared_after_the_start_up_of_both_on_the_very_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "CACHE", tmp_path)
    stage: Any = Stage({"check": 1.3, "drive": 1.0}, data=tmp_path)
    figures = checking.measured(stage, SCALE)
    assert figures["work"]["CSV"]["wall"]["median"] == pytest.approx(1.3)
    assert not any(target["is_met"] for target in figures["targets"])
    drives = [given for given in stage.commands if given[1].endswith("drive.py")]
    assert str(tmp_path / "events-5000000.csv") in drives[1]
    assert "| CSV, joined with people | 6.5 (6.5–6.5) | 5 (5–5) |" in "\n".join(
        checking.told(figures)
    )


def test_a_limited_far_side_is_tried_up_to_what_it_bears_and_a_little_beyond() -> None:
    at_once = far.Side("", Manner(delay_ms=100, at_once=3))
    per_s = far.Side("", Manner(delay_ms=100, per_s=45))
    assert at_once.fixed() == [2, 3, 4, 6]
    assert per_s.fixed() == [2, 4, 5, 8]  # five would be 50 a second
    assert far.Side("", Manner(delay_ms=20)).fixed() == [1, 2, 4, 8, 16]
    tried = far.entrant(at_once, 4, 100_000, is_fixed=True)
    assert (tried.rows, tried.options[-2:]) == (10_000, ("--connections", "4"))
    assert far.entrant(at_once, None, 100_000, is_fixed=False).rows == 50_000


def test_growth_looks_at_two_powers_of_ten_and_leaves_the_start_up_out() -> None:
    stage: Any = Stage({"csv": 1.0, "parquet": 2.0})
    figures = sizes.growth(stage, SCALE)
    assert figures["sizes"] == [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
    for one in figures["entrants"].values():  # a start-up of 1,000 rows is taken off, too
        assert one["exponent"] == pytest.approx(1.0, abs=0.005)
    assert all(target["is_met"] for target in figures["targets"])


def test_memory_is_judged_by_the_highest_peak_and_by_its_growth() -> None:
    stage: Any = Stage()
    stage.run = lambda entrant, *, pair, **_: stage.runs.append(
        run_of(entrant.name, entrant.rows, pair, 1.0, 200 if entrant.rows < 10**7 else 240)
    )
    figures = sizes.memory(stage, SCALE)
    assert [target["is_met"] for target in figures["targets"]] == [True, False] * 2
    assert figures["targets"][0]["value"] == 240
    assert "| backfill, CSV | 200 (200–200) | 240 (240–240) | 1.2 (1.2–1.2) |" in "\n".join(
        sizes.told_memory(figures)
    )


def contested() -> Figures:
    """Return the figures of a contest in which nothing ran."""
    stage: Any = Stage({"per-row": 5.0, "official": 60.0})
    for pair in (1, 2, 3):
        for name in ("csv", "per-row", "official"):
            for rows in {START_UP_ROWS, SCALE.rows_of(name), *((5_000_000,) * (name == "csv"))}:
                stage.run(Entrant(name, rows), pair=pair, sink=None)
    floors = [Floor("csv", pair, 1.5, 1.5, 1.01, 0.5) for pair in (1, 2, 3)]
    return contest._figures(stage.runs, floors, SCALE)  # noqa: SLF001  the arithmetic of it


def test_the_contest_judges_the_floor_after_start_up_and_the_script_by_the_whole_process() -> None:
    found = {target["title"]: target for target in contested()["targets"]}
    floor = found["CSV: wall after start-up / floor (aim 1.5)"]
    assert floor["value"] == pytest.approx(5 / 2.51)
    script = found["CSV: wall of the whole process / per-row script"]
    assert script["value"] == pytest.approx((1 + 1) / (1 + 5))
    official = found["CSV: messages/s against the official Python client, after start-up"]
    assert official["value"] == pytest.approx(60)


def test_start_up_tells_which_heavy_packages_help_imports() -> None:
    lines = ["import time:       120 |        120 |   pyarrow.lib", "import time: 5 | 5 | pandas"]
    lines += ["import time:        90 |        300 |     backfill.cli", "usage: backfill pyarrow"]
    assert startup.heavy("\n".join(lines)) == ["pandas", "pyarrow"]


# what is refused


@pytest.mark.parametrize(
    ("came", "words"),
    [
        (counts(9), "9 messages arrived of 10"),
        (counts(11), "11 messages arrived of 10"),
        (counts(10, refused=1), "1 requests of 1 refused"),
        (counts(10, body_bytes_max=475_001), "a body of 475,001 bytes"),
    ],
)
def test_a_run_whose_messages_are_not_those_of_its_rows_is_an_error(
    came: Counts, words: str
) -> None:
    with pytest.raises(BenchmarkError, match=words):
        arena.check(Entrant("per-row", 10), came, None)


def test_ours_must_say_what_the_sink_saw() -> None:
    rows = {"read": 10, "delivered": 9, "filtered": 1}
    arena.check(Entrant("where", 10), counts(9), {"rows": rows})
    with pytest.raises(BenchmarkError, match="of 10 rows it says"):
        arena.check(Entrant("where", 10), counts(9), {"rows": {**rows, "filtered": 0}})


def test_who_cannot_run_here_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "npm" else f"/bin/{name}")
    assert entrants.lacking("node") == "npm not found: install Node.js 20 or later with npm"
    monkeypatch.setitem(entrants.PACKAGES, "dlt", ("no_such_package",))
    why = "no_such_package not installed: pip install -e '.[bench]'"
    assert entrants.lacking("dlt") == why
    stage: Any = Stage()
    entrants.CACHE.mkdir(exist_ok=True)
    figures = contest.measured(stage, SMALL, ["dlt", "node"])
    assert not stage.runs
    assert f"\nLeft out: {TITLES['dlt']}: {why}." in contest.told(figures)
    assert command.refused(["dlt"]) == 1


def test_a_peer_that_fails_leaves_the_contest_and_ours_ends_it() -> None:
    def run(entrant: Entrant, *, pair: int, sink: Any) -> None:  # noqa: ARG001
        ran.append(entrant.name)
        if entrant.name == broken:
            raise BenchmarkError(f"{broken} ended with exit code 1; it said:\na traceback")

    stage: Any = Stage()
    stage.run = run
    entrants = [Entrant("dlt", 10), Entrant("csv", 10)]
    ran: list[str] = []
    broken = "dlt"
    nothing: Any = None
    turn = contest._Turn(stage, nothing)  # noqa: SLF001
    turn.run(entrants, 1)
    turn.run(entrants, 2)
    assert ran == ["dlt", "csv", "csv", "csv", "csv"]
    assert turn.failed == {"dlt": "it failed: dlt ended with exit code 1"}
    broken = "csv"
    with pytest.raises(BenchmarkError, match="csv ended"):
        turn.run(entrants, 3)


def test_patience_ends_and_a_quiet_machine_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([1.0, 1.0, 0.01])
    monkeypatch.setattr("measure._busy", lambda: next(looks))
    assert Patience(once_s=5, left_s=5).quiet().busy == 0.01
    looks = iter([0.5])
    assert Patience(once_s=5, left_s=0).quiet().busy == 0.5


# the sink and the sender


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler: the benchmark's sink and sender cannot be built")
    folder = tmp_path_factory.mktemp("programs")
    return {name: build(name, folder) for name in ("sink", "send")}


def post(port: int, body: bytes) -> int:
    """Send one body and return the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v1/batch", body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_sender_sends_the_very_bytes_that_the_sink_wrote_down(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    bodies = [b'{"batch":[{"messageId":"%d"}]}' % n * n for n in (1, 3, 400)]
    record = tmp_path / "bodies"
    with Sink(programs["sink"], Manner(record=record)) as sink:
        assert [post(sink.port, body) for body in bodies] == [200, 200, 200]
        before = sink.counts()
    with Sink(programs["sink"], Manner(record=tmp_path / "again")) as sink:
        sent = subprocess.run(
            [programs["send"], str(sink.port), record], capture_output=True, text=True, check=True
        )
        after = sink.counts()
    assert (tmp_path / "again").read_bytes() == record.read_bytes()
    assert (after.messages, after.bytes, after.requests) == (404, before.bytes, 3)
    assert (after.connections, json.loads(sent.stdout)["bytes"]) == (1, before.bytes)


def test_a_limited_sink_answers_429_and_counts_no_message_of_it(
    programs: dict[str, Path],
) -> None:
    manner = Manner(delay_ms=500, at_once=2)
    with Sink(programs["sink"], manner) as sink, ThreadPoolExecutor(5) as pool:
        found = sorted(pool.map(lambda _: post(sink.port, b'{"messageId"}'), range(5)))
        counted = sink.counts()
        assert post(sink.port, b"{}") == 200  # the two have their answers by now
    assert found == [200, 200, 429, 429, 429]
    assert (counted.messages, counted.too_many, counted.at_once_max) == (2, 3, 2)
    assert (counted.requests, counted.refused) == (5, 0)
    assert counted.first_s > 0


def test_a_sink_with_a_rate_answers_429_to_what_comes_within_the_second(
    programs: dict[str, Path],
) -> None:
    with Sink(programs["sink"], Manner(per_s=3)) as sink:
        assert [post(sink.port, b"{}") for _ in range(5)] == [200, 200, 200, 429, 429]
        assert (sink.counts().too_many, sink.counts().at_once_max) == (2, 1)


def test_a_sender_that_is_refused_says_so(programs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bodies").write_bytes((600_000).to_bytes(8, "little") + b"x" * 600_000)
    with Sink(programs["sink"]) as sink:
        ran = subprocess.run(
            [programs["send"], str(sink.port), tmp_path / "bodies"],
            capture_output=True,
            check=False,
        )
    assert ran.returncode == 1


# data and mappings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for script in ("data.py", "wide.py"):
        subprocess.run(
            [sys.executable, ROOT / "benchmarks" / script, folder, "--rows", "500"], check=True
        )
    return folder


@pytest.mark.parametrize("name", OURS)
def test_every_mapping_of_the_benchmarks_sends_its_rows(name: str, made: Path) -> None:
    entrant = Entrant(name, 500)
    mapping = load_mapping(ROOT / "benchmarks" / "mappings" / entrant.mapping)
    plan = plan_of(mapping, Settings(sources=(str(entrant.source(made)),)))
    found = survey(plan, limit=None)
    assert found.rows == 500
    assert (found.counts.rejected, found.counts.held) == (0, 0)
    assert found.counts.built + found.counts.filtered == 500
    assert (found.counts.filtered > 0) == (name == "where")


def test_people_of_forty_columns_have_forty(made: Path) -> None:
    with (made / "wide-500.csv").open(encoding="utf-8") as file:
        assert len(file.readline().split(",")) == 40


def test_a_breakdown_adds_up_to_the_whole_process(tmp_path: Path) -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler: the benchmark's sink cannot be built")
    subprocess.run(
        [sys.executable, "benchmarks/breakdown.py", "--rows", "20000", "--out", tmp_path],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    figures = json.loads((tmp_path / "breakdown-csv.json").read_bytes())
    stages = figures["ns_per_row"]
    assert sum(stages.values()) == pytest.approx(figures["whole_ns_per_row"])
    named = {"read", "validate", "join", "batch", "post", "commit", "column: number"}
    assert all(stages[name] > 0 for name in named)
    assert stages["glue of Python's threads (launch, runner, senders)"] < 0.4 * sum(stages.values())


# what is published


def results(folder: Path, **changed: Any) -> Path:
    """Write the results of a contest."""
    noise = {key: {"min": 0.1, "median": 0.1, "max": 0.1} for key in ("busy", "loop_s", "stolen")}
    head = {"pairs": 3, "is_trial": False, "noise": noise, "left_out": {}, "runs": [1, 2, 3]}
    about = {"cores": 2, "python": "3.11.7", "packages": {"pyarrow": "26.0.1"}}
    found = {**contested(), **head, "setting": about, **changed}
    folder.mkdir(exist_ok=True)
    (folder / "contest.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


def checkout(folder: Path) -> Path:
    """Make a place with a README."""
    text = f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


def test_publishing_rewrites_what_is_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    publish.publish(results(tmp_path / "results"), root)
    text = (root / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"before\n{publish.BEGIN}\n![")
    assert text.endswith(f"{publish.END}\nafter\n")
    assert "\nold\n" not in text
    assert "| backfill, CSV, 5,000,000 rows, after start-up | 1,000,000 | 1.00 |" in text
    assert "| CSV: wall after start-up / floor (aim 1.5) | ≤ 2 | 1.99 (1.99–1.99) | met |" in text
    assert "runs" not in json.loads((root / "docs/benchmark.json").read_bytes())["contest"]
    publish.publish(tmp_path / "results", root)
    assert (root / "README.md").read_text(encoding="utf-8") == text


def test_a_readme_that_says_other_figures_is_found(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    publish.publish(results(tmp_path / "results"), root)
    check = [sys.executable, "benchmarks/publish.py", "--root", str(tmp_path), "--check"]
    assert publish.is_current(root)
    assert subprocess.run(check, cwd=ROOT, check=False).returncode == 0
    readme = root / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("1,000,000 |", "9,000,000 |"))
    assert subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode == 1


def test_a_trial_is_not_published(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    with pytest.raises(BenchmarkError, match="is a trial: run it without --small"):
        publish.publish(results(tmp_path / "results", is_trial=True), root)
    assert "\nold\n" in (root / "README.md").read_text(encoding="utf-8")
    assert SMALL.is_trial
    assert not FULL.is_trial


@pytest.mark.parametrize("text", ["", publish.BEGIN, f"{publish.END}{publish.BEGIN}"])
def test_a_readme_without_its_markers_is_left_alone(text: str) -> None:
    with pytest.raises(BenchmarkError, match="needs one <!-- benchmark -->"):
        publish.rewritten(text, "new")


def test_the_same_figures_are_the_same_pictures() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture is drawn")
    figures = {"contest": contested(), "growth": sizes.growth(_stage(), SCALE)}
    first, second = publish.pictures(figures), publish.pictures(figures)
    assert first == second
    assert set(first) == {"benchmark.svg", "growth.svg"}
    assert "per-row script (csv, orjson, requests)" in first["benchmark.svg"]
    assert "exponent 1.0" in first["growth.svg"]


def _stage() -> Any:
    return Stage()
