"""What the models cannot say of groups: where their forms may stand. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from backfill.lints import LintCode
from backfill.mapping.forms import AggForm, EachRowForm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backfill.mapping.document import Document
    from backfill.mapping.strict_yaml import Path

    Fault = tuple[Path, LintCode, str, str]

NEEDS: Final = {
    "sum": ("number", "integer"),
    "min": ("number", "integer", "timestamp", "date", "text"),
    "max": ("number", "integer", "timestamp", "date", "text"),
}
"""The types that can be added or compared; a sum is of numbers unless it says integer."""


def group_faults(
    document: Document, forms: Iterable[tuple[Path, Any, tuple[str, ...]]]
) -> list[Fault]:
    """Return what is wrong with the forms of one message that need a group of rows."""
    found: list[Fault] = []
    inside: list[Path] = []
    for path, form, around in forms:
        if not isinstance(form, AggForm | EachRowForm):
            continue
        word = "agg" if isinstance(form, AggForm) else "each_row"
        at = (*path, word)
        if document.rows is None:
            fix = "add rows: {group_by: [the column that tells which rows go together]}"
            found.append((at, LintCode.WRONG_FORM, f"'{word}' needs groups of rows", fix))
        elif around or any(path[: len(outer)] == outer for outer in inside):
            what = f"'{word}' cannot stand inside each or each_row"
            found.append((at, LintCode.WRONG_FORM, what, "move it out"))
        if isinstance(form, AggForm):
            found += _aggregate(form, path)
        else:
            inside.append(at)
    return found


def _aggregate(form: AggForm, path: Path) -> list[Fault]:
    if form.column is None and form.expr is None and form.agg != "count":
        fix = "add column: with the column that it is taken of"
        return [((*path, "agg"), LintCode.MISSING_KEY, f"'{form.agg}' needs a column", fix)]
    allowed = NEEDS.get(form.agg)
    if allowed is None or form.type in allowed or (form.agg == "sum" and form.type is None):
        return []
    if form.type is None:
        what = f"'{form.agg}' must know what it compares"
        return [((*path, "agg"), LintCode.MISSING_KEY, what, f"add type: {' or '.join(allowed)}")]
    what = f"'{form.agg}' cannot take type: {form.type}"
    return [((*path, "type"), LintCode.BAD_OPTION, what, f"use {' or '.join(allowed)}")]
