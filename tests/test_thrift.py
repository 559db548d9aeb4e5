"""What the fast path costs, counted: a count says the same on any machine, however busy it is.

Calls are those of Python and of what Python calls; kernels are those of Arrow. A loop over rows
shows as calls that grow with the rows; work done twice as kernels, or as bytes that are allocated.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill import texts
from backfill.launch import Settings, plan_of
from backfill.mapping import load_mapping
from backfill.pipeline import encodings
from backfill.reading import open_shard, spans
from backfill.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable

    from backfill.plan import Plan

FEW: Final = 1_000
MANY: Final = 8_000
"""Both in one record batch, and wide enough apart that a call a row would show."""

EVENTS: Final = """
version: 1
messages:
  - type: track
    userId: id
    event: event
    timestamp: at
    properties:
      amount: {column: amount, type: number}
      quantity: {column: quantity, type: integer}
      is_member: {column: is_member, type: boolean}
      product: product
      coupon: coupon
"""
PEOPLE: Final = """
version: 1
key: id
messages:
  - type: identify
    userId: id
    traits:
      product: product
      joined: {column: at, type: timestamp, as: unix}
      amount: {column: amount, type: number}
"""
COMPUTED: Final = """
version: 1
where: number(quantity) > 0 and event != "nothing"
messages:
  - type: track
    userId: id
    event: event
    timestamp: at
    when: number(amount) > 0
    properties:
      total: {expr: "round(number(amount) * number(quantity), 2)"}
      label: {expr: 'upper(event) + "!"'}
"""
MAPPINGS: Final = {"events": EVENTS, "people with a key": PEOPLE, "expressions": COMPUTED}


def row(at: int) -> dict[str, str]:
    """A row with something to do in each column, and nothing to reject."""
    return {
        "id": f"u_{at % 97:07}",
        "event": ("Order Completed", "Signed Up", "Cart Viewed")[at % 3],
        "at": f"2023-{at % 12 + 1:02}-{at % 28 + 1:02}T10:{at % 60:02}:00" + (".123Z", "Z")[at % 2],
        "amount": f"{at % 900 + 1}.{at % 90 + 10}",
        "quantity": str(at % 9 + 1),
        "is_member": ("true", "false")[at % 2],
        "product": ('13" "é" model', "Lamp", "back\\slash")[at % 3],
        "coupon": ("", "SAVE")[at % 5 == 0],
    }


def csv_of(rows: int) -> str:
    quoted = (
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row(at).values())
        for at in range(rows)
    )
    return "\n".join([",".join(row(0)), *quoted]) + "\n"


@dataclass
class Cost:
    """What it took to encode one record batch."""

    calls: int = 0
    kernels: int = 0
    allocated_bytes: int = 0
    """By Arrow, whether or not they were given back."""
    made_bytes: int = 0
    """Of the finished messages."""


@pytest.fixture
def planned(tmp_path: Path) -> Callable[[str, int, str], Plan]:
    def made(text: str, rows: int, form: str) -> Plan:
        (tmp_path / "m.yaml").write_text(f"{text}source:\n  path: data.{form}\n")
        path = tmp_path / f"data.{form}"
        if form == "csv":
            path.write_text(csv_of(rows))
        else:
            pq.write_table(pa.Table.from_pylist([row(at) for at in range(rows)]), path)
        plan = plan_of(load_mapping(tmp_path / "m.yaml"), Settings()).hashed({})
        return plan.judged_at(plan.job.rules.now_ms, 4)

    return made


def cost_of(plan: Plan) -> Cost:
    """Encode the only record batch of a plan, for the second time: the first one fills caches."""
    (span,) = spans(open_shard(plan.job, plan.shards[0]), 0, None, None)
    mark, pool, cost = Watermark(plan.job.lanes), pa.default_memory_pool(), Cost()
    encodings(plan.job, plan.shards[0], span, mark).texts.joined()

    def note(frame: Any, what: str, _about: Any) -> None:
        cost.calls += what in {"call", "c_call"}
        in_arrow = frame.f_code.co_filename.endswith(str(Path("pyarrow", "compute.py")))
        cost.kernels += what == "call" and in_arrow

    before = pool.total_bytes_allocated()
    sys.setprofile(note)
    try:
        made = encodings(plan.job, plan.shards[0], span, mark)
        texts = made.texts.joined()
    finally:
        sys.setprofile(None)
    assert not made.rejects.num_rows
    assert len(made.texts) == span.batch.num_rows
    cost.allocated_bytes = pool.total_bytes_allocated() - before
    cost.made_bytes = texts.nbytes
    return cost


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("name", MAPPINGS)
def test_eight_times_the_rows_take_no_more_calls(
    planned: Callable[[str, int, str], Plan], name: str, form: str
) -> None:
    few, many = (cost_of(planned(MAPPINGS[name], rows, form)) for rows in (FEW, MANY))
    assert few.calls * 0.9 < many.calls < few.calls * 1.1
    assert many.kernels == few.kernels


@pytest.mark.parametrize(
    ("name", "kernels", "calls", "bytes_per_byte"),
    [
        ("events", 52, 2470, 3.2),
        ("people with a key", 36, 2370, 6.7),
        ("expressions", 137, 4860, 4.6),
    ],
)
def test_a_record_batch_takes_few_kernels_and_writes_few_bytes_twice(
    planned: Callable[[str, int, str], Plan],
    name: str,
    kernels: int,
    calls: int,
    bytes_per_byte: float,
) -> None:
    """The figures are a quarter above what was counted when they were written."""
    cost = cost_of(planned(MAPPINGS[name], MANY, "csv"))
    assert cost.kernels <= kernels
    assert cost.calls <= calls
    assert cost.allocated_bytes <= bytes_per_byte * cost.made_bytes


def test_the_counts_see_a_loop_over_rows(
    planned: Callable[[str, int, str], Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(EVENTS, FEW, "csv")
    before = cost_of(plan)

    def by_row(*parts: pa.StringArray | str) -> pa.StringArray:
        columns = [[p] * FEW if isinstance(p, str) else p.to_pylist() for p in parts]
        return pa.array([str.join("", texts) for texts in zip(*columns, strict=True)])

    monkeypatch.setattr(texts, "interleaved", by_row)
    assert cost_of(plan).calls > before.calls + FEW / 2
