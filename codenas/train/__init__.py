"""Training: one recipe, one loop. Its settings and its course need no torch."""
