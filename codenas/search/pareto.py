"""Fronts of points in which less is better, in any number of dimensions."""

import math
from collections.abc import Sequence

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, in the given order."""
    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]


def non_dominated_sort(points: Sequence[Point]) -> list[list[int]]:
    """Indices layer by layer: the front, the front of the rest, and so on (Deb et al. 2002)."""
    rest = list(range(len(points)))
    layers = []
    while rest:
        layer = [rest[i] for i in front([points[i] for i in rest])]
        layers.append(layer)
        rest = [i for i in rest if i not in layer]
    return layers


def spread(points: Sequence[Point]) -> list[int]:
    """An order in which every next point is the farthest from those before it: a few first ones cover a front.

    Starts at the best point of the first dimension. Dimensions are scaled to [0, 1]. This is the epsilon-net of
    multi-objective ASHA (Schmucker et al. 2021).
    """
    if not points:
        return []
    places = scaled(points)
    order = [min(range(len(points)), key=lambda i: (places[i], i))]
    while len(order) < len(points):
        rest = [i for i in range(len(points)) if i not in order]
        order.append(max(rest, key=lambda i: (min(math.dist(places[i], places[j]) for j in order), -i)))
    return order


def ranking(points: Sequence[Point]) -> list[int]:
    """Indices best first: by layer, inside a layer by spread. In one dimension this is the plain order."""
    return [layer[i] for layer in non_dominated_sort(points) for i in spread([points[j] for j in layer])]


def scaled(points: Sequence[Point]) -> list[tuple[float, ...]]:
    """Every dimension stretched to [0, 1]. What is infinite (not measured) counts as 1, like the worst that was measured."""
    columns = [_scaled_column(values) for values in zip(*points, strict=True)]
    return list(zip(*columns, strict=True))


def _scaled_column(values: Sequence[float]) -> list[float]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return [(value - low) / (high - low or 1.0) if math.isfinite(value) else 1.0 for value in values]
