"""Statistics that know nothing of searches: Pareto fronts, hypervolume, significance, rank correlation."""
