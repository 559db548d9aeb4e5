"""gzip of request bodies: an option, off by default, since nobody says that the API takes it."""

# ruff: noqa: SLF001  which packer was found is not told otherwise
from __future__ import annotations

import gzip
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ORDERS, Cli, orders_csv
from hypothesis import given
from hypothesis import strategies as st
from ledger import Reply
from raw import Fault, Raw, always, answer, in_turn

from backfill import packed
from backfill.errand import LEAVE_GZIP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ledger import Ledger

    Door = Callable[..., dict[str, Any]]

TAKEN = Fault("taken", answer(), "keep")
"""It keeps no books: they would want to read what is packed."""

BODY = b'{"batch":[' + b'{"messageId":"x","a":1},' * 2000 + b"{}]}"


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    """A stream of 40 orders."""
    (tmp_path / "orders.csv").write_text(orders_csv(40), encoding="utf-8")
    path = tmp_path / "orders.yaml"
    path.write_text(ORDERS, encoding="utf-8")
    return path


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def _fresh() -> Iterator[None]:
    packed._packer.cache_clear()
    yield
    packed._packer.cache_clear()


# ---- packing


@given(st.binary(max_size=3000))
def test_what_is_packed_unpacks_to_the_same_and_always_packs_alike(body: bytes) -> None:
    made = packed.pack(body)
    assert gzip.decompress(made) == body
    assert packed.pack(body) == made


@pytest.mark.usefixtures("_fresh")
def test_without_isal_zlib_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    assert packed._packer() is gzip.compress
    assert gzip.decompress(packed.pack(BODY)) == BODY
    assert len(packed.pack(BODY)) < len(BODY) // 20


@pytest.mark.usefixtures("_fresh")
def test_isal_packs_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, so that it need not be there: level 1, and no time of day in the bytes."""
    asked: list[Any] = []

    def compress(body: bytes, level: int, *, mtime: int) -> bytes:
        asked.append((level, mtime))
        return gzip.compress(body, level, mtime=mtime)

    igzip = SimpleNamespace(compress=compress)
    monkeypatch.setitem(sys.modules, "isal", SimpleNamespace(igzip=igzip))
    assert gzip.decompress(packed.pack(BODY)) == BODY
    assert asked == [(1, 0)]


# ---- a run


@pytest.mark.parametrize("how", ["option", "mapping"])
def test_bodies_go_packed_where_it_is_asked_for(mapping: Path, cli: Cli, how: str) -> None:
    if how == "mapping":
        mapping.write_text(ORDERS + "delivery: {gzip: true}\n", encoding="utf-8")
    with Raw(always(TAKEN)) as raw:
        done = cli("run", "orders.yaml", "--to", raw.url, "--json", *["--gzip"][how == "mapping" :])
    assert done.code == 0, done.err
    (seen,) = raw.seen
    told = json.loads(gzip.decompress(seen.body))
    assert len(told["batch"]) == 40
    assert done.report["requests"]["bytes"] == len(seen.body), "what went over the wire"
    assert len(seen.body) < len(gzip.decompress(seen.body)) // 3


def test_bodies_go_as_they_are_where_it_is_not(mapping: Path, door: Door, ledger: Ledger) -> None:
    door(mapping)
    door(mapping, restart=True, gzip=True)
    plain, zipped = ledger.arrivals
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert plain.body == zipped.body, "the same, unpacked"


def test_the_limit_of_a_body_is_measured_before_it_is_packed(
    mapping: Path, door: Door, ledger: Ledger
) -> None:
    door(mapping, gzip=True, batch_bytes=2000)
    assert len(ledger.bodies) > 3
    assert max(map(len, ledger.bodies)) <= 2000
    assert sum(len(body) > 1000 for body in ledger.bodies) >= len(ledger.bodies) - 1


def test_the_sandbox_of_a_rehearsal_takes_packed_bodies(mapping: Path, cli: Cli) -> None:
    done = cli("run", mapping, "--to", "sandbox", "--gzip", "--json")
    assert (done.code, done.report["rows"]["delivered"]) == (0, 40)


REFUSALS = {
    "415": (415, b'{"meta":{"errors":["Content-Encoding gzip is not accepted"]}}'),
    "415 without a word": (415, b""),
    "400 that names it": (400, b'{"meta":{"error":"unsupported content-encoding"}}'),
    "400 of who read it as text": (400, b'{"error":"invalid character \'\\u001f\' in JSON"}'),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_who_does_not_take_it_ends_the_run_with_the_way_out_and_no_reject(
    mapping: Path, door: Door, name: str
) -> None:
    status, body = REFUSALS[name]
    with Raw(always(Fault(name, answer(status, body), "keep"))) as raw:
        told = door(mapping, to=raw.url, gzip=True)
        assert len(raw.seen) == 1
    assert told["exit_code"] == 12
    assert told["error"]["what"].startswith(f"answered {status}: ")
    assert told["error"]["fix"] == LEAVE_GZIP
    assert not list(mapping.parent.rglob("rejects.csv"))


def test_the_command_says_so_and_goes_on_without_it(
    mapping: Path, cli: Cli, ledger: Ledger
) -> None:
    ledger.answer = lambda _body: Reply(415)
    done = cli("run", mapping, "--to", ledger.url, "--gzip")
    assert done.code == 12
    assert f"fix: {LEAVE_GZIP}" in done.err
    ledger.answer = lambda _body: Reply()
    assert cli("run", mapping, "--to", ledger.url).code == 0
    assert len(ledger.kept) == 40


def test_a_415_without_gzip_speaks_of_none(mapping: Path, door: Door, ledger: Ledger) -> None:
    ledger.answer = lambda _body: Reply(415)
    told = door(mapping)
    assert (told["exit_code"], "gzip" in told["error"]["fix"]) == (12, False)


def test_a_row_that_is_refused_is_found_in_packed_bodies_too(
    mapping: Path, door: Door, ledger: Ledger
) -> None:
    """Even for words that might be about packing, once a packed body was taken."""

    def judge(body: bytes) -> Reply:
        return Reply(400, b'{"error":"the JSON of one is odd"}') if b"17.50" in body else Reply()

    ledger.answer = judge
    told = door(mapping, gzip=True, connections=1, batch_messages=10)
    assert (told["rows"]["rejected"], told["rows"]["delivered"]) == (1, 39)


def test_a_retry_sends_the_bytes_that_were_packed_first(
    mapping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mapping.parent)
    import backfill  # noqa: PLC0415

    packs: list[int] = []

    def pack(body: bytes) -> bytes:
        packs.append(len(body))
        return packed.pack(body)

    monkeypatch.setattr("backfill.launch.pack", pack)
    monkeypatch.setenv("CUSTOMERIO_WRITE_KEY", "k")
    with Raw(in_turn([*[Fault("503", answer(503), "keep")] * 2, *[TAKEN] * 9])) as raw:
        backfill.run(backfill.load_mapping(str(mapping)), to=raw.url, gzip=True)
    assert len(packs) == 1
    assert len(raw.seen) == 3
    assert len({seen.body for seen in raw.seen}) == 1
