"""The file of what is known against a plain dict: merging, searching, and every kind of damage."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill import known
from backfill.known import PRINT, DamagedError, Known, block_of, journalled, merge, newest

HALVES = st.sampled_from([0, 1, 2, 1 << 52, (1 << 52) - 1, 1 << 63, (1 << 64) - 1])
"""Few, so that keys meet in one half or in both, and at the edges of the slices."""

PRINTS = st.lists(st.tuples(HALVES, HALVES, st.integers(0, 3)), max_size=30)


def prints_of(rows: list[tuple[int, int, int]]) -> np.ndarray:
    prints = np.zeros(len(rows), PRINT)
    for at, (high, low, content) in enumerate(rows):
        prints[at] = (high, low, content, content, content)
    return prints


def check_holds(path: Path, wanted: dict[tuple[int, int], int]) -> None:
    """Check that a file knows these keys and no others."""
    found = Known(path)
    assert found.count == len(wanted)
    keys = [*wanted, (3, 3), (0, 7), ((1 << 64) - 1, 5)]
    high, low = (np.array([key[at] for key in keys], np.uint64) for at in (0, 1))
    places, rest = found.look_up(high, low)
    assert (places >= 0).tolist() == [key in wanted for key in keys]
    assert rest["content"][: len(wanted)].tolist() == list(wanted.values())
    assert rest["times"][: len(wanted)].tolist() == list(wanted.values())


@given(
    nights=st.lists(st.lists(PRINTS, max_size=4), min_size=1, max_size=3), piece=st.integers(1, 40)
)
def test_merged_files_know_the_last_print_of_each_key(
    nights: list[list[list[tuple[int, int, int]]]], piece: int
) -> None:
    wanted: dict[tuple[int, int], int] = {}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "PIECE", piece)
        patch.setattr(known, "MAPPED_BYTES", 64)
        base: Path | None = None
        for number, night in enumerate(nights):
            target = Path(name) / str(number)
            merge(base, (prints_of(rows) for rows in night), target)
            wanted |= {(high, low): content for rows in night for high, low, content in rows}
            check_holds(target, wanted)
            base = target
        assert len(list(Path(name).iterdir())) == len(nights), "no scratch stays"


def test_the_newest_print_of_a_key_is_the_last() -> None:
    made = newest(prints_of([(1, 2, 1), (1, 1, 2), (0, 9, 3), (1, 2, 4), (1, 1, 5)]))
    assert made[["high", "low", "content"]].tolist() == [(0, 9, 3), (1, 1, 5), (1, 2, 4)]


def test_every_bit_and_every_byte_of_a_file_is_watched_over(tmp_path: Path) -> None:
    path = tmp_path / "known"
    merge(None, iter([prints_of([(n, n, n) for n in range(3)])]), path)
    data = path.read_bytes()
    spare = range(known.HEAD.size, known.HEAD_BYTES)  # says nothing
    for at in (n for n in range(len(data)) if n not in spare):
        for bit in (1, 128):
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            with pytest.raises(DamagedError):
                Known(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedError):
            Known(path)


def test_a_journal_is_read_back_and_its_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    blocks = [prints_of([(1, 1, 1), (2, 2, 2)]), prints_of([(3, 3, 3)])]
    data = b"".join(part for block in blocks for part in block_of(block))
    path.write_bytes(data + b"more")
    found = np.concatenate(list(journalled(path, len(data))))
    assert found.tolist() == np.concatenate(blocks).tolist()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(DamagedError):
            list(journalled(path, len(data)))
    path.write_bytes(data[:-1])
    with pytest.raises(DamagedError):
        list(journalled(path, len(data)))


SCALE = """
import sys
from pathlib import Path
import numpy as np
import psutil
from backfill.known import PRINT, Known, merge

COUNT, BLOCK = int(sys.argv[2]), 20_000
folder = Path(sys.argv[1])
process = psutil.Process()

def prints():
    draw = np.random.default_rng(7)
    for _ in range(COUNT // BLOCK):
        made = np.zeros(BLOCK, PRINT)
        for name in ("high", "low", "content"):
            made[name] = draw.integers(0, 1 << 64, BLOCK, dtype=np.uint64)
        seen.append(process.memory_info().rss)
        yield made

seen = []
before = process.memory_info().rss
merge(None, prints(), folder / "known")
found = Known(folder / "known")
assert found.count == COUNT
for made in prints():
    places, rest = found.look_up(made["high"], made["low"])
    assert (rest["content"] == made["content"]).all()
seen.append(process.memory_info().rss)
print((max(seen) - before) >> 20)
"""


@pytest.mark.parametrize(
    ("count", "megabytes"),
    [(1_000_000, 80), pytest.param(10_000_000, 100, marks=pytest.mark.large)],
)
def test_millions_of_keys_take_the_memory_of_a_few_pieces(
    tmp_path: Path, count: int, megabytes: int
) -> None:
    command = [sys.executable, "-c", SCALE, str(tmp_path), str(count)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < megabytes
    assert (tmp_path / "known").stat().st_size < 33 * count
