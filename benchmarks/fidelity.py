"""How far 50 steps can be trusted: rank correlations with 300 steps over recorded architectures.

Of scores at full rate and on a branch of falling rate, and of what is known without any training. The table is that of
`codenas search record` (its path in TABLE; by default the one that lies beside this file).
"""

from benchmarks._table import TABLE
from codenas.search.fidelity import interval, spearman
from codenas.search.replay.table import Table

LAST = "bits_per_byte@300"
BEFORE = {
    "after 50 steps": "bits_per_byte@50",
    "after 50 steps, on a branch of 30 of falling rate": "bits_per_byte_decayed@50",
    "after 100 steps": "bits_per_byte@100",
    "parameters of the layers, untrained": "body_params",
}


def measure() -> dict[str, object]:
    """Spearman's correlation of each figure with the score after 300 steps, and its 95 % interval."""
    table = Table.read(TABLE)
    last = table.numbers(LAST).tolist()
    found = {name: spearman(table.numbers(column).tolist(), last) for name, column in BEFORE.items()}
    return {"architectures": len(table), **{name: _told(rho, len(table)) for name, rho in found.items()}}


def _told(rho: float | None, architectures: int) -> dict[str, object]:
    between = interval(rho, architectures)
    return {"spearman": None if rho is None else round(rho, 3), "interval": None if between is None else [round(end, 3) for end in between]}
