"""YAML → `Mapping`. A `Mapping` exists only if it is valid."""

from backfill.mapping.load import Mapping, find_mappings, load_mapping

__all__ = ["Mapping", "find_mappings", "load_mapping"]
