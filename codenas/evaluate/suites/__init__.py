"""Evaluation suites: one file each, listed in `registry`."""
