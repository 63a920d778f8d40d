"""Evaluation of a stored model: suites over `codenas.measure` and decoding, each with its cached result."""
