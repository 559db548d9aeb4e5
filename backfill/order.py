"""In which order the rows of a group go into their message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.cells import texts_of
from backfill.columns import integers
from backfill.number import numbers

if TYPE_CHECKING:
    from backfill.cells import Cells

LAST: Final = pa.scalar(float("inf"), pa.float64())


def order_of(cells: Cells, rows: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Return the places of `rows` by group, and in each by its value; blanks come last.

    cells: the column; parents: the group of each row, ascending. In a group whose values are all
    numbers they are ordered as numbers, in any other as text. Equal values keep their order.
    """
    texts = texts_of(cells).take(pa.array(rows))
    found, failed = numbers(texts)
    is_text = np.zeros(len(rows), bool)
    for _, at in failed:
        is_text |= at
    texts_in = np.bincount(parents, is_text) > 0
    as_text = texts_in[parents]
    values = found.cast(pa.float64()).fill_null(LAST)
    floats = np.frombuffer(values.buffers()[1], np.float64, len(values), 8 * values.offset)
    return np.lexsort((np.where(as_text, _ranks(texts), floats), parents))


def _ranks(texts: pa.StringArray) -> np.ndarray:
    """Return the rank of each text; blanks have the last one, and equal texts the same."""
    encoded = texts.dictionary_encode()
    size = len(encoded.dictionary)
    order = integers(pc.sort_indices(encoded.dictionary).cast(pa.int64()))
    rank = np.empty(size + 1, np.int64)
    rank[order], rank[size] = np.arange(size), size
    found: np.ndarray = rank[integers(encoded.indices.cast(pa.int64()).fill_null(size))]
    return found
