"""Searches replayed on recorded results, so that strategies can be compared without training."""
