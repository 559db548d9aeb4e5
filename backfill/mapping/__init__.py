"""YAML → `Mapping`. A `Mapping` exists only if it is valid."""

from backfill.mapping.load import Mapping, load_mapping
from backfill.mapping.streams import find_mappings

__all__ = ["Mapping", "find_mappings", "load_mapping"]
