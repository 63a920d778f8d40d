"""Training: one recipe, one loop. Its settings and its curve need no torch."""
