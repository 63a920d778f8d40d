"""Whether two means differ by more than luck: Student's t over a deviation that is pooled over groups."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance
from typing import Self

# The 97.5th percentile of Student's t with 1, 2, ... degrees of freedom; with more than the last, the last is on the safe side.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(slots=True, frozen=True)
class Pooled:
    """The variance inside groups, and its degrees of freedom."""

    variance: float
    freedom: int

    @classmethod
    def of(cls, groups: Sequence[Sequence[float]]) -> Self | None:
        """Over `groups` of values that differ by luck alone; None where no group has two."""
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        return cls(sum((len(group) - 1) * variance(group) for group in groups if len(group) > 1) / freedom, freedom)

    def bound(self, first: int, second: int) -> float:
        """What the means of two groups of so many values differ by, by luck alone, in 19 of 20 cases."""
        return _STUDENT[min(self.freedom, len(_STUDENT)) - 1] * math.sqrt(self.variance * (1 / first + 1 / second))
