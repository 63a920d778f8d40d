"""Fronts of points in which less is better, in any number of dimensions."""

import math
from collections.abc import Iterator, Sequence

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, in the given order."""
    order = sorted(range(len(points)), key=lambda i: tuple(points[i]))
    found: list[int] = []
    for i in order:  # who dominates a point comes before it, and if that is dominated itself, so does one that is not
        if not any(dominates(points[j], points[i]) for j in found):
            found.append(i)
    return sorted(found)


def non_dominated_sort(points: Sequence[Point]) -> list[list[int]]:
    """Indices layer by layer: the front, the front of the rest, and so on (Deb et al. 2002)."""
    return list(layers(points))


def layers(points: Sequence[Point]) -> Iterator[list[int]]:
    """The layers of `non_dominated_sort`, as far as they are asked for."""
    rest = list(range(len(points)))
    while rest:
        layer = [rest[i] for i in front([points[i] for i in rest])]
        yield layer
        taken = set(layer)
        rest = [i for i in rest if i not in taken]


def spread(points: Sequence[Point], keep: int | None = None) -> list[int]:
    """An order in which every next point is the farthest from those before it: a few first ones cover a front.

    Starts at the best point of the first dimension; ends after `keep`. Dimensions are scaled to [0, 1]. This is the epsilon-net of
    multi-objective ASHA (Schmucker et al. 2021).
    """
    places = scaled(points)
    distances = dict.fromkeys(range(len(points)), math.inf)  # of those that are left to the nearest before them
    order: list[int] = []
    while distances and (keep is None or len(order) < keep):
        farthest = max(distances, key=lambda i: (distances[i], -i)) if order else min(distances, key=lambda i: (places[i], i))
        order.append(farthest)
        del distances[farthest]
        distances = {i: min(distance, math.dist(places[i], places[farthest])) for i, distance in distances.items()}
    return order


def ranking(points: Sequence[Point], keep: int | None = None) -> list[int]:
    """The `keep` best indices (all without it), best first: by layer, inside a layer by spread. In one dimension the plain order."""
    wanted = len(points) if keep is None else keep
    order: list[int] = []
    for layer in layers(points):
        if len(order) >= wanted:
            break
        order += [layer[i] for i in spread([points[j] for j in layer], wanted - len(order))]
    return order


def scaled(points: Sequence[Point]) -> list[tuple[float, ...]]:
    """Every dimension stretched to [0, 1]. What is infinite (not measured) counts as 1, like the worst that was measured."""
    columns = [_scaled_column(values) for values in zip(*points, strict=True)]
    return list(zip(*columns, strict=True))


def _scaled_column(values: Sequence[float]) -> list[float]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return [(value - low) / (high - low or 1.0) if math.isfinite(value) else 1.0 for value in values]
