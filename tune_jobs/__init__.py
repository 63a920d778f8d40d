"""The search on a Ray cluster: thin adapters over `codenas.search` and `codenas.experiment`."""
