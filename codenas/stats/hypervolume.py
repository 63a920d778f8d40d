"""The exact hypervolume of points, in any number of dimensions; lower is better."""

from collections.abc import Sequence

from codenas.stats.pareto import Point


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """The volume between `reference` and the points that are below it in every dimension.

    By slicing (Zitzler 1999): sorted by the last dimension, every slab is as thick as the distance to the next point, with the area
    that the points so far dominate in the other dimensions. Fast in two and three dimensions, which is enough for fronts.
    """
    inside = sorted((tuple(point) for point in points if all(x < r for x, r in zip(point, reference, strict=True))), key=lambda p: p[-1])
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    if len(reference) == 2:
        return _area(inside, reference)
    ends = [*(point[-1] for point in inside[1:]), reference[-1]]
    volume, below = 0.0, list[Point]()
    for point, end in zip(inside, ends, strict=True):
        below.append(point[:-1])
        if end > point[-1]:
            volume += (end - point[-1]) * hypervolume(below, reference[:-1])
    return volume


def _area(inside: Sequence[Point], reference: Point) -> float:
    """In two dimensions; `inside` is sorted by the second."""
    area, left = 0.0, reference[0]
    for x, y in inside:
        if x < left:
            area += (left - x) * (reference[1] - y)
            left = x
    return area
