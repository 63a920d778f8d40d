"""What proposes candidates: one file per strategy, found by name in `registry`."""
