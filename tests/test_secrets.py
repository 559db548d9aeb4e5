"""The key goes nowhere but over the wire, cells go only where they are asked for, files are ours.

Every command and every kind of fault is run with a key and with cells that can be found again.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest
from conftest import ORDERS
from ledger import Ledger, Reply
from test_wire import Server, behind_tls, proxy

from backfill.rejects import ArrowForm, RejectsFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Cli

    Orders = Callable[..., Path]
    Door = Callable[..., dict[str, Any]]

KEY = "Canary/4711+WriteKey"
CELL = "cellcanary"
PR_CAPBSET_DROP = 24
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
SOURCE = f"""\
id,person,at,total,note
{CELL}1,{CELL}2@example.com,2020-01-02T03:04:05Z,1.50,{CELL}3
{CELL}4,{CELL}5@example.com,2020-01-02T03:04:05Z,{CELL}6,{CELL}7
{CELL}8,{CELL}9@example.com,2120-01-02T03:04:05Z,2.50,{CELL}10
{CELL}11,{CELL}12@example.com,{CELL}13,3.50,{CELL}14
{CELL}15,{CELL}16@example.com,2020-01-02T03:04:05Z,4.50,{CELL}17,{CELL}18
{CELL}19,{CELL}20@example.com,2020-01-02T03:04:05Z,5.50,{CELL}21
"""


def forms() -> list[str]:
    """The key as a program could write it, in lower case."""
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    bare = base64.b64encode(KEY.encode()).decode()
    plain = [KEY, basic, basic.rstrip("="), bare, KEY.encode().hex(), json.dumps(KEY)[1:-1]]
    return [form.lower() for form in (*plain, *(quote(form, safe="") for form in plain))]


def leaks(text: str) -> list[str]:
    """The forms of the key in a text, whatever its case."""
    return [form for form in forms() if form in text.lower()]


class Seen(NamedTuple):
    """All that a command showed or left behind."""

    code: int
    out: str
    err: str
    argv: str
    environ: str
    files: dict[str, str]
    """The text of each file by its name, but of what the user wrote."""


class Watched:
    """Runs commands with the key from anywhere, and looks at everything."""

    def __init__(self, cli: Cli) -> None:
        self.folder = cli.folder
        self._env = cli.environment(None)
        for name in PROXIES:
            self._env.pop(name, None)
            self._env.pop(name.upper(), None)
        inputs = self.folder / "inputs"
        for folder in (inputs, self.folder / "tmp", self.folder / "home"):
            folder.mkdir()
        self._env |= {"TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder / "home")}
        (inputs / "orders.csv").write_text(SOURCE)
        (inputs / "orders.yaml").write_text(ORDERS)
        (inputs / "faulty.yaml").write_text(ORDERS.replace("userId: person", "userId: nobody"))
        (inputs / "key").write_text(KEY + "\n")
        (inputs / "key").chmod(0o600)

    def __call__(self, *arguments: str, key: str = "", script: str = "", **more: str) -> Seen:
        """Run a command, or a script in its place. key: from where, `env file stdin` or nowhere."""
        env = self._env | more | ({"CUSTOMERIO_WRITE_KEY": KEY} if key == "env" else {})
        options = {"file": ["--write-key-file", "inputs/key"], "stdin": ["--write-key-file", "-"]}
        command = ["-c", script] if script else ["-m", "backfill"]
        running = subprocess.Popen(
            [sys.executable, *command, *arguments, *options.get(key, [])],
            cwd=self.folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        argv = ""
        while not argv.startswith(sys.executable) and running.poll() is None:
            argv = read_proc(running.pid, "cmdline")  # that of a process that is not begun is empty
        environ = read_proc(running.pid, "environ")
        out, err = running.communicate(KEY + "\n" if key == "stdin" else "", timeout=60)
        files = {
            str(path.relative_to(self.folder)): path.read_text(errors="replace")
            for path in self.folder.rglob("*")
            if path.is_file() and path.parent.name != "inputs"
        }
        return Seen(running.returncode, out, err, argv, environ, files)


def read_proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")


@pytest.fixture
def watched(cli: Cli) -> Watched:
    return Watched(cli)


def assert_secret(seen: Seen, *, key: str) -> None:
    """No form of the key anywhere."""
    texts = {"stdout": seen.out, "stderr": seen.err, "argv": seen.argv, **seen.files}
    if key != "env":
        texts["environ"] = seen.environ
    assert "backfill" in seen.argv
    assert {name: leaks(text) for name, text in texts.items() if leaks(text)} == {}


def assert_private(seen: Seen, *, asked: bool = False) -> None:
    """No cell but where it is asked for: dead letters, the sandbox, and `asked` for: stdout."""
    texts = {"stderr": seen.err, "argv": seen.argv, **seen.files}
    if not asked:
        texts["stdout"] = seen.out
    told = {name.rpartition("/")[2] for name, text in texts.items() if CELL in text}
    assert told <= {"rejects.csv", "held.csv", "sandbox.sqlite", "sandbox.sqlite-wal"}, told


# ---- every fault


def echo(body: bytes, status: int, *headers: tuple[str, str]) -> Reply:
    """A far side that repeats all it was given."""
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    said = f"{KEY} {basic} {quote(KEY, safe='')} {KEY.encode().hex()}"
    words = json.dumps({"error": f"{said} {body.decode()}", "errors": [said]})
    return Reply(status, words.encode(), headers)


def key_alone(status: int, *headers: tuple[str, str]) -> Callable[[bytes], Reply]:
    return lambda _body: echo(b"", status, *headers)


def refusing(body: bytes) -> Reply:
    return echo(body, 400) if f"{CELL}19".encode() in body else Reply()


class Restless:
    """Good, but for every second request."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._asked = 0

    def __call__(self, body: bytes) -> Reply:
        """Answer a request."""
        self._asked += 1
        is_bad = self._asked % 2 == 1
        return echo(body, self._status, ("Retry-After", "0")) if is_bad else Reply()


PLACE = ("Location", f"https://elsewhere.example/{KEY}/{quote(KEY, safe='')}")
ANSWERS: dict[str, tuple[Callable[[bytes], Reply], int]] = {
    "good": (lambda _body: Reply(), 3),
    "400 for a row": (refusing, 3),
    "401": (key_alone(401), 12),
    "a redirect": (key_alone(307, PLACE), 12),
    "500": (Restless(500), 3),
    "429": (Restless(429), 3),
    "a page": (lambda _body: Reply(200, f"<html>{KEY}</html>".encode()), 12),
}


@pytest.mark.parametrize("number", range(len(ANSWERS)), ids=list(ANSWERS))
def test_whatever_is_answered_the_key_goes_nowhere_and_cells_only_where_they_belong(
    watched: Watched, ledger: Ledger, number: int
) -> None:
    ledger.answer, code = list(ANSWERS.values())[number]
    key, form = ("env", "file", "stdin")[number % 3], ("json", "text")[number % 2]
    how = ("--to", ledger.url, "-v", "--log-format", form, "--rate", "unlimited")
    one_each = ("--batch-messages", "1", "--connections", "1")
    seen = watched("run", "inputs/orders.yaml", *how, *one_each, key=key)
    assert seen.code == code, seen.err
    assert_secret(seen, key=key)
    assert_private(seen)
    names = {name.rpartition("/")[2] for name in seen.files}
    assert names >= {"checkpoint.json", "log.jsonl", "report.json"}
    sent = base64.b64encode(f"{KEY}:".encode()).decode()
    assert {a.headers["Authorization"] for a in ledger.arrivals} == {f"Basic {sent}"}
    if code == 3:
        told = "".join(text for name, text in seen.files.items() if "rejects.csv" in name)
        assert f"{CELL}4" in told, "the rejects are there, and were looked at"


def garbage(server: Server, conn: socket.socket, _number: int) -> None:
    server.read(conn)
    conn.sendall(f"{KEY} {CELL}\r\n\r\n".encode())


def no_tls(_server: Server, conn: socket.socket, _number: int) -> None:
    conn.recv(1000)
    conn.sendall(f"{KEY} {CELL}\r\n\r\n".encode())


def reset(server: Server, conn: socket.socket, _number: int) -> None:
    server.read(conn)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


@pytest.mark.parametrize(
    ("script", "scheme", "code"),
    [(garbage, "http", 4), (reset, "http", 4), (no_tls, "https", 12)],
    ids=["another protocol", "reset", "no TLS"],
)
def test_without_an_answer_the_key_and_the_cells_go_nowhere_either(
    watched: Watched, script: Any, scheme: str, code: int
) -> None:
    with closing(Server(script)) as server:
        how = ("-v", "--log-format", "json", "--max-outage", "0")
        to = f"{scheme}://127.0.0.1:{server.port}"
        seen = watched("run", "inputs/orders.yaml", "--to", to, *how, key="env")
        asked = watched("ping", "--to", to, key="file")
    assert (seen.code, asked.code) == (code, code), seen.err + asked.err
    for one, key in ((seen, "env"), (asked, "file")):
        assert_secret(one, key=key)
        assert_private(one)
    assert f'"destination": "{to}"' in seen.err, "the log was shown"


CRASH = """\
import sys
from backfill import pipeline, runner, wire
from backfill.cli import main

def broken(*_, **__):
    try:
        raise KeyError({secret!r})
    except KeyError as fault:
        raise ValueError({secret!r}) from fault

{where} = broken
sys.argv[0] = "backfill"
main()
"""


@pytest.mark.parametrize("where", ["runner._commit", "wire.Wire.post"])
def test_a_fault_of_our_own_shows_its_place_and_not_what_it_says(
    watched: Watched, ledger: Ledger, where: str
) -> None:
    script = CRASH.format(secret=f"{KEY} {CELL}", where=where)
    seen = watched("run", "inputs/orders.yaml", "--to", ledger.url, "-v", key="env", script=script)
    assert seen.code == 1, seen.err
    seen = seen._replace(argv="backfill")  # the script itself names what it is about
    assert_secret(seen, key="env")
    assert_private(seen)
    if where == "runner._commit":
        assert "runner.py" in seen.err, "the places are there"
        assert "KeyError\n" in seen.err
        assert seen.err.endswith("ValueError\n")


DEBUGGED = """\
import http.client, logging, sys
logging.basicConfig(level=logging.DEBUG)
http.client.HTTPConnection.debuglevel = 1
import backfill
mapping = backfill.load_mapping("inputs/orders.yaml")
report = backfill.run(mapping, to=sys.argv[1], state="state-" + sys.argv[1][:4])
print(report.rows, report)
"""


@pytest.mark.parametrize("to", ["ledger", "sandbox"])
def test_no_library_tells_the_key_or_a_cell_however_much_it_is_to_log(
    watched: Watched, ledger: Ledger, to: str
) -> None:
    to = ledger.url if to == "ledger" else to
    seen = watched(to, key="env", script=DEBUGGED)
    assert seen.code == 0, seen.err
    assert "DEBUG" in seen.err, "the libraries did log"
    assert_secret(seen, key="env")
    assert_private(seen)


# ---- every command


def test_no_command_shows_the_key_and_only_check_and_preview_show_cells(
    watched: Watched, ledger: Ledger
) -> None:
    run = ("run", "inputs/orders.yaml", "-v", "--to", ledger.url)
    commands: dict[tuple[str, ...], int] = {
        ("check", "inputs/orders.yaml", "--json"): 3,
        ("preview", "inputs/orders.yaml"): 0,
        (*run, "--dry-run", "--log-format", "json"): 3,
        (*run, "--json"): 3,
        ("run", "inputs/faulty.yaml", "-v", "--to", ledger.url): 2,
        ("status",): 0,
        ("ping", "--to", ledger.url): 0,
        ("schema",): 0,
    }
    for command, code in commands.items():
        seen = watched(*command, key="env")
        assert seen.code == code, (command, seen.err)
        assert_secret(seen, key="env")
        is_asked = command[0] in {"check", "preview"}
        assert_private(seen, asked=is_asked)
        if is_asked and code != 2:
            assert CELL in seen.out


def test_the_sandbox_keeps_no_key_and_says_no_cell(watched: Watched, cli: Cli) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    serving = cli.start("sandbox", "--port", str(port), "--db", "box.sqlite", "--faults", "500:0.2")
    try:
        assert serving.stdout is not None
        serving.stdout.readline()
        to = f"http://127.0.0.1:{port}"
        seen = watched("run", "inputs/orders.yaml", "-v", "--to", to, key="env")
        asked = watched("ping", "--to", to, key="stdin")
    finally:
        serving.terminate()
        out, err = serving.communicate(timeout=30)
    assert (seen.code, asked.code in {0, 4}) == (3, True), seen.err + asked.err
    box = b"".join(path.read_bytes() for path in watched.folder.glob("box.sqlite*"))
    assert f"{CELL}2@".encode() in box
    assert leaks(out + err + box.decode(errors="replace")) == []
    assert CELL not in out + err
    assert_secret(seen, key="env")
    assert_secret(asked, key="stdin")


def test_ping_takes_the_key_out_before_it_cuts_what_it_was_told(
    watched: Watched, ledger: Ledger
) -> None:
    """Half a key at the end of what is shown is still half a key."""
    ledger.answer = lambda _body: Reply(401, ("x" * 190 + KEY).encode())
    seen = watched("ping", "--to", ledger.url, key="env")
    assert seen.code == 12
    assert f"{'x' * 190}***" in seen.err
    assert KEY[:8] not in seen.err


# ---- what a person is told at the start


def test_a_key_file_that_others_may_read_is_told_once_on_stderr(
    watched: Watched, ledger: Ledger
) -> None:
    path = watched.folder / "inputs" / "key"
    path.chmod(0o644)
    warning = (
        "warning: inputs/key: others may read the write key in this file (mode 0644)\n"
        "  fix: chmod 600 inputs/key\n"
    )
    for command in (
        ("run", "inputs/orders.yaml", "--to", ledger.url),
        ("ping", "--to", ledger.url),
    ):
        seen = watched(*command, key="file")
        assert seen.code in {0, 3}
        assert seen.err.count(warning) == 1
        assert "warning" not in seen.out


def test_a_proxy_is_told_at_the_start_and_in_the_log_without_its_password(
    watched: Watched, tmp_path: Path
) -> None:
    with behind_tls(tmp_path) as (server, authority), proxy() as way:
        to, through = f"https://localhost:{server.port}", f"http://127.0.0.1:{way.port}"
        env = {"HTTPS_PROXY": f"http://me:hush4712@127.0.0.1:{way.port}"}
        env |= {"REQUESTS_CA_BUNDLE": authority}
        run = ("run", "inputs/orders.yaml", "--to", to, "-v")
        seen = watched(*run, "--log-format", "json", key="env", **env)
        assert seen.code == 3, seen.err
        assert f"{to}: through the proxy {through}\n" in seen.err
        log = next(text for name, text in seen.files.items() if name.endswith("log.jsonl"))
        assert json.loads(log.splitlines()[0])["proxy"] == through
        asked = watched("ping", "--to", to, key="env", **env)
        assert (asked.code, asked.err) == (0, f"{to}: through the proxy {through}\n")
        assert len(server.requests) == len(way.requests) == 2
        assert {bytes(r.split()[0]) for r in way.requests} == {b"CONNECT"}
        for one in (seen, asked):
            assert_secret(one, key="env")
            shown = [one.out, one.err, *one.files.values()]
            assert not [text for text in shown if "hush4712" in text or "me:" in text]


def test_a_proxy_that_cannot_be_used_is_said_before_anything_is_made(watched: Watched) -> None:
    env = {"HTTPS_PROXY": "socks5://me:hush4712@127.0.0.1:1080"}
    seen = watched("run", "inputs/orders.yaml", "--to", "https://cdp.example", key="env", **env)
    assert seen.code == 2
    assert "the proxy of the environment cannot be used" in seen.err
    assert "hush4712" not in seen.err
    assert not [name for name in seen.files if name.startswith(".backfill")]


# ---- files are their owner's alone


def modes(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file and folder below: its name, and what others may do with it."""
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # a temporary file
                found = os.lstat(os.path.join(top, name)).st_mode  # noqa: PTH118
                yield name, f"{'d' if stat.S_ISDIR(found) else 'f'}{stat.S_IMODE(found):o}"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_at_every_moment_of_a_run_its_files_are_for_their_owner_alone(
    cli: Cli, orders: Orders, tmp_path: Path, umask: int
) -> None:
    orders(400, bad=range(0, 400, 7))
    before = os.umask(umask)
    try:
        how = ("--to", "sandbox", "--batch-messages", "5", "--rate", "300", "--state", "state")
        running = cli.start("run", "orders.yaml", *how)
    finally:
        os.umask(before)
    seen: set[tuple[str, str]] = set()
    while running.poll() is None:
        seen |= set(modes(tmp_path / "state"))
        time.sleep(0.001)
    _, err = running.communicate()
    seen |= set(modes(tmp_path / "state"))
    assert running.returncode == 3, err
    assert {mode for _, mode in seen} == {"d700", "f600"}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    names = {name for name, _ in seen}
    assert names >= {"lock", "checkpoint.json", "checkpoint.json.prev", "rejects.csv", "log.jsonl"}
    assert names >= {"report.json", "sandbox.sqlite", "sandbox.sqlite-wal", "sandbox.sqlite-shm"}


def test_what_was_loosened_in_a_streams_folder_is_tightened_and_a_loose_state_is_told(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    mapping, state = orders(20, bad={1}), tmp_path / "state"
    run = ("run", mapping.name, "--to", ledger.url, "--state", "state")
    assert cli(*run, "--limit", "5").code == 3
    for path in (state, *state.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    done = cli(*run)
    assert done.code == 3, done.err
    warning = (
        "warning: state: others may write to this folder (mode 0777)\n  fix: chmod 700 state\n"
    )
    assert done.err == warning
    assert {mode for name, mode in modes(state) if name != "orders"} == {"d700", "f600"}
    assert stat.S_IMODE((state / "orders").stat().st_mode) == 0o700
    assert stat.S_IMODE(state.stat().st_mode) == 0o777, "it is the user's, and may be anything"


def owning_only_its_own() -> None:
    """Take from root what lets it change the files of others (CAP_FOWNER)."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, 3, 0, 0, 0)


def test_a_streams_folder_that_is_loose_and_of_another_user_is_refused(
    cli: Cli, orders: Orders, ledger: Ledger, tmp_path: Path
) -> None:
    """What is written there would be that user's to read, and only that user can change it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that is another user's")
    folder = tmp_path / "state" / "orders"
    folder.mkdir(parents=True)
    os.chown(folder, 4711, 4711)
    folder.chmod(0o777)
    how = ("--to", ledger.url, "--state", "state")
    done = cli("run", orders(3).name, *how, preexec_fn=owning_only_its_own)
    assert done.code == 2
    assert done.err == (
        "state/orders: others may use this, and that cannot be changed: Operation not permitted\n"
        "  fix: choose another folder with --state\n"
    )
    assert (ledger.arrivals, list(folder.iterdir())) == ([], [])


# ---- symbolic links

LINKS = (
    "orders",
    "orders/lock",
    "orders/checkpoint.json",
    "orders/checkpoint.json.prev",
    "orders/checkpoint.json.tmp",
    "orders/runs",
    "orders/runs/RUN",
    "orders/runs/RUN/rejects.csv",
    "orders/runs/RUN/held.csv",
    "orders/runs/RUN/log.jsonl",
    "orders/runs/RUN/report.json",
)


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_through_a_symbolic_link_in_the_state(
    orders: Orders, door: Door, ledger: Ledger, tmp_path: Path, name: str
) -> None:
    mapping = orders(20, bad={1, 11})
    run_id = door(mapping, limit=8)["run_id"]
    path = tmp_path / "state" / name.replace("RUN", run_id)
    other = tmp_path / "elsewhere"
    if path.exists():
        path.rename(other)
    else:
        other.write_text("precious")
    path.symlink_to(other)
    before = {one: one.read_bytes() for one in (other, *other.rglob("*")) if one.is_file()}
    ledger.arrivals.clear()
    for options in ({}, {"restart": True}):
        told = door(mapping, **options)
        assert told["exit_code"] == 2
        assert told["error"] == {
            "what": "this is a symbolic link, nothing is written to it",
            "where": str(path),
            "fix": "remove it, or move what it points to into its place",
        }
    assert ledger.arrivals == []
    assert {one: one.read_bytes() for one in before} == before
    path.unlink()
    if before.get(other) != b"precious":
        other.rename(path)
    rows = door(mapping)["rows"]
    assert (rows["read"], rows["delivered"], rows["rejected"]) == (20, 18, 2)


@pytest.mark.parametrize("tail", ["", "-wal", "-shm", "-journal"])
def test_a_sandbox_writes_through_no_symbolic_link(
    orders: Orders, door: Door, cli: Cli, tmp_path: Path, tail: str
) -> None:
    mapping, other = orders(3), tmp_path / "elsewhere"
    other.write_bytes(b"")
    (tmp_path / "state").mkdir()
    link = tmp_path / "state" / f"sandbox.sqlite{tail}"
    link.symlink_to(other)
    told = door(mapping, to="sandbox")
    assert (told["exit_code"], told["error"]["where"]) == (2, str(link))
    assert told["error"]["what"] == "this is a symbolic link, nothing is written to it"
    if not tail:
        done = cli("sandbox", "--port", "0", "--db", "state/sandbox.sqlite")
        assert done.code == 2
        assert "this is a symbolic link, nothing is written to it" in done.err
    assert other.read_bytes() == b""


def test_status_does_not_believe_a_checkpoint_that_is_a_symbolic_link(
    orders: Orders, door: Door, cli: Cli, tmp_path: Path
) -> None:
    door(orders(3))
    path = tmp_path / "state" / "orders" / "checkpoint.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    done = cli("status", "--state", "state")
    assert done.code == 13
    assert "the checkpoint is damaged: it is a symbolic link" in done.out


def test_a_link_that_appears_while_a_run_is_on_is_not_written_through(tmp_path: Path) -> None:
    """The look at the start is for clear words; opening is what refuses."""
    import pyarrow as pa  # noqa: PLC0415

    other = tmp_path / "elsewhere"
    other.write_bytes(b"precious")
    file = RejectsFile(tmp_path, "rejects", ArrowForm(pa.schema([("a", pa.int64())]), many=False))
    file.path.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        file.cut_back(3)
    file.path.unlink()
    file.path.write_bytes(ArrowForm(pa.schema([("a", pa.int64())]), many=False).opening())
    (tmp_path / "rejects.parquet.tmp").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        file.finished()
    assert other.read_bytes() == b"precious"


def test_a_state_folder_that_is_a_symbolic_link_is_where_the_user_wants_it(
    orders: Orders, door: Door, tmp_path: Path
) -> None:
    (tmp_path / "big disk").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "big disk")
    assert door(orders(3))["exit_code"] == 0
    assert (tmp_path / "big disk" / "orders" / "checkpoint.json").exists()
