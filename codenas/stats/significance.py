"""Whether two means differ significantly: the least significant difference (Fisher 1935) over a variance that is pooled over groups."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance
from typing import Self


@dataclass(slots=True, frozen=True)
class PooledVariance:
    """The variance within groups, and its degrees of freedom."""

    variance: float
    degrees_of_freedom: int

    @classmethod
    def of(cls, groups: Sequence[Sequence[float]]) -> Self | None:
        """Pooled over `groups`; None if no group has two values."""
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        return cls(sum((len(group) - 1) * variance(group) for group in groups if len(group) > 1) / freedom, freedom)

    def least_significant_difference(self, first: int, second: int) -> float:
        """The smallest significant difference between the means of groups of `first` and `second` values, at the 5 % level."""
        from scipy.special import stdtrit  # takes a while to import, and few commands compare means

        return float(stdtrit(self.degrees_of_freedom, 0.975)) * math.sqrt(self.variance * (1 / first + 1 / second))
