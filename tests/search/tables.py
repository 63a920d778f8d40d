"""Tables of synthetic results: a formula of the choices, with curves that cross."""

import math
import random
from pathlib import Path

from codenas.search.replay.table import Row, Table, at_step

WIDTHS, DEPTHS, KINDS = (32, 64, 96, 128, 192, 256), (1, 2, 3, 4, 6, 8), ("attention", "mamba", "rwkv")
SLOW = {"attention": 1.0, "mamba": 1.4, "rwkv": 1.7}
GOOD = {"attention": 0.0, "mamba": -0.06, "rwkv": 0.03}
STEPS = (50, 300)


def synthetic_rows(seed: int = 0, failed: float = 0.0) -> list[Row]:
    """Some hundred architectures: larger ones score better and take longer, depth pays late, kinds differ."""
    rng = random.Random(seed)
    return [
        _row(width, depth, kind, multiplier, rng, failed) for width in WIDTHS for depth in DEPTHS for kind in KINDS for multiplier in (2, 4)
    ]


def _row(width: int, depth: int, kind: str, multiplier: int, rng: random.Random, failed: float) -> Row:
    params = depth * width**2 * (4 + 2 * multiplier)
    bits = 6.0 * params**-0.12 + GOOD[kind] + 0.02 * abs(math.log(width / depth / 24)) + rng.gauss(0, 0.01)
    row: Row = {"choice.width": width, "choice.depth": depth, "choice.kind": kind, "choice.multiplier": multiplier, "params": params}
    row |= {"latency_ms": depth * (0.1 + width / 400) * SLOW[kind] * rng.uniform(0.98, 1.02), "size_bytes": 2 * params + 8192 * width}
    early = bits + 0.5 + 0.03 * depth + rng.gauss(0, 0.02)
    scores: Row = {at_step("bits_per_byte", 50): early, at_step("bits_per_byte", 300): bits}
    return row | (scores if rng.random() >= failed else {})


def synthetic_table(seed: int = 0, failed: float = 0.0) -> Table:
    """The same as a table."""
    rows = synthetic_rows(seed, failed)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(Path("made-up.parquet"), {name: [row.get(name) for row in rows] for name in names})
