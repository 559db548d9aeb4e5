"""Who iterates the shards: `local` now, a cluster later."""
