"""Pareto fronts and rankings of points, in any number of dimensions; lower is better."""

import math
from collections.abc import Iterator, Sequence

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is at least as good as `b` in every dimension and better in one."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the non-dominated points, in the given order."""
    order = sorted(range(len(points)), key=lambda i: tuple(points[i]))
    found: list[int] = []
    for i in order:  # a point comes after all that dominate it, and one of those is not dominated itself
        if not any(dominates(points[j], points[i]) for j in found):
            found.append(i)
    return sorted(found)


def non_dominated_sort(points: Sequence[Point]) -> list[list[int]]:
    """Indices layer by layer: the front, the front of the rest, and so on (Deb et al. 2002)."""
    return list(layers(points))


def layers(points: Sequence[Point]) -> Iterator[list[int]]:
    """The layers of `non_dominated_sort`, computed lazily."""
    rest = list(range(len(points)))
    while rest:
        layer = [rest[i] for i in front([points[i] for i in rest])]
        yield layer
        taken = set(layer)
        rest = [i for i in rest if i not in taken]


def spread(points: Sequence[Point], keep: int | None = None) -> list[int]:
    """Farthest-point order: each point is the farthest from all before it, so that the first few cover the front.

    Starts at the best point of the first dimension; ends after `keep`. Dimensions are scaled to [0, 1]. This is the epsilon-net of
    multi-objective ASHA (Schmucker et al. 2021).
    """
    coordinates = scaled(points)
    distances = dict.fromkeys(range(len(points)), math.inf)  # of each remaining point to the nearest chosen one
    order: list[int] = []
    while distances and (keep is None or len(order) < keep):
        farthest = max(distances, key=lambda i: (distances[i], -i)) if order else min(distances, key=lambda i: (coordinates[i], i))
        order.append(farthest)
        del distances[farthest]
        distances = {i: min(distance, math.dist(coordinates[i], coordinates[farthest])) for i, distance in distances.items()}
    return order


def ranking(points: Sequence[Point], keep: int | None = None) -> list[int]:
    """The `keep` best indices (by default all), best first: by layer, within a layer by `spread`. In one dimension that is sorting."""
    wanted = len(points) if keep is None else keep
    order: list[int] = []
    for layer in layers(points):
        if len(order) >= wanted:
            break
        order += [layer[i] for i in spread([points[j] for j in layer], wanted - len(order))]
    return order


def scaled(points: Sequence[Point]) -> list[tuple[float, ...]]:
    """Every dimension scaled to [0, 1]. Infinite values (not measured) count as 1, like the worst measured one."""
    columns = [_scaled_column(values) for values in zip(*points, strict=True)]
    return list(zip(*columns, strict=True))


def _scaled_column(values: Sequence[float]) -> list[float]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return [(value - low) / (high - low or 1.0) if math.isfinite(value) else 1.0 for value in values]
