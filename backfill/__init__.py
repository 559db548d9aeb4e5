"""Years of customer history into Customer.io: nothing lost, nothing doubled, nothing set off.

The Python door: `load_mapping`, `preview`, `run`; errors carry what, where, fix and `exit_code`.
Names are loaded when they are used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from backfill.errors import BackfillError, ExitCode, MappingError
from backfill.spec import VERSION

if TYPE_CHECKING:
    from backfill.api import preview, run
    from backfill.mapping import Mapping, load_mapping
    from backfill.report import Report

__all__ = [
    "BackfillError",
    "ExitCode",
    "Mapping",
    "MappingError",
    "Report",
    "__version__",
    "load_mapping",
    "preview",
    "run",
]

_DOORS = {
    "Mapping": "backfill.mapping",
    "Report": "backfill.report",
    "load_mapping": "backfill.mapping",
    "preview": "backfill.api",
    "run": "backfill.api",
}

__version__ = VERSION


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"module 'backfill' has no attribute {name!r}")
    return getattr(importlib.import_module(_DOORS[name]), name)
