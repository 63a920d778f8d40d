"""The rows of a table as the discrete space of a strategy: proposals are mapped to the nearest row."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from codenas.search.replay.table import Cell


class TableSpace:
    """A `Space` whose points are row numbers, from 0.

    Args:
        columns: the choices, one value per row.
        static: the static metrics, one value per row.
    """

    def __init__(self, columns: Mapping[str, Sequence[Cell]], static: Mapping[str, npt.NDArray[np.float64]]) -> None:
        self._values = {name: _distinct(column) for name, column in columns.items()}
        places = [{value: place for place, value in enumerate(values)} for values in self._values.values()]
        coded = [[place[value] for value in column] for place, column in zip(places, columns.values(), strict=True)]
        self._codes = np.array(coded, dtype=np.int32)  # [fields, rows]: a field of all rows lies together
        self._rows = self._codes.shape[1]
        self._open = [field for field, values in enumerate(self._values.values()) if len(values) > 1]
        self._static = [dict(zip(static, map(float, row), strict=True)) for row in zip(*static.values(), strict=True)] or [{}] * self._rows
        self._all_rows = range(self._rows)

    def __len__(self) -> int:
        return self._rows

    @property
    def choices(self) -> Mapping[str, tuple[Cell, ...]]:
        """The distinct values of each column."""
        return self._values

    def sample(self, rng: random.Random) -> int:
        """A row drawn uniformly."""
        return rng.randrange(len(self))

    def pool(self, count: int, rng: random.Random) -> Sequence[int]:
        """All rows."""
        return self._all_rows

    def mutate(self, point: int, rng: random.Random, fields: int = 1) -> int:
        """The row nearest to `point` with `fields` choices changed, except `point` itself."""
        wanted = self._codes[:, point].copy()
        for field in rng.sample(self._open, min(fields, len(self._open))):
            others = len(list(self._values.values())[field]) - 1
            wanted[field] = (wanted[field] + 1 + rng.randrange(others)) % (others + 1)
        return self._nearest(wanted, rng, point)

    def cross(self, mother: int, father: int, rng: random.Random) -> int:
        """The row nearest to a child that takes each choice from one of the two."""
        sides = np.array([rng.random() < 0.5 for _ in self._codes])
        return self._nearest(np.where(sides, self._codes[:, mother], self._codes[:, father]), rng)

    def near(self, choices: Mapping[str, Any], rng: random.Random) -> int:
        """The row that shares most of `choices`."""
        wanted = [values.index(choices[name]) if choices[name] in values else -1 for name, values in self._values.items()]
        return self._nearest(np.array(wanted, dtype=np.int32), rng)

    def contains(self, point: int) -> bool:
        """Whether there is a row of this number."""
        return 0 <= point < len(self)

    def flatten(self, point: int) -> Mapping[str, Cell]:
        """The choices of a row."""
        return {name: values[code] for (name, values), code in zip(self._values.items(), self._codes[:, point], strict=True)}

    def static(self, point: int) -> Mapping[str, float]:
        """The static metrics of a row."""
        return self._static[point]

    def _nearest(self, wanted: npt.NDArray[np.int32], rng: random.Random, exclude: int | None = None) -> int:
        """The row that shares most choices with `wanted`; ties are broken at random."""
        distances = (self._codes != wanted[:, None]).sum(axis=0, dtype=np.int16)
        if exclude is not None and len(self) > 1:
            distances[exclude] = len(wanted) + 1
        nearest = np.flatnonzero(distances == distances.min())
        return int(nearest[rng.randrange(len(nearest))])


def _distinct(column: Sequence[Cell]) -> tuple[Cell, ...]:
    """The distinct values of a column: numbers sorted, others in order of appearance."""
    found = tuple(dict.fromkeys(column))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return tuple(sorted(found, key=lambda value: float(value or 0))) if numeric else found
