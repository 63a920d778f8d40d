"""Measured comparisons, side by side in one run; each prints one JSON line. `make bench` runs them all."""
