"""How far 50 steps can be trusted: rank correlations with 300 steps over recorded architectures, plain and with size taken out.

Of scores at full rate and on a branch of falling rate, and of what is known without any training; size are the parameters of the
layers. The table is that of
`codenas search record` (its path in TABLE; by default the one that lies beside this file).
"""

from benchmarks._table import TABLE
from codenas.search.replay.table import Table
from codenas.stats.rank_correlation import RankCorrelation, spearman, spearman_given_size

LAST, SIZE = "bits_per_byte@300", "body_params"
BEFORE = {
    "after 50 steps": "bits_per_byte@50",
    "after 50 steps, on a branch of 30 of falling rate": "bits_per_byte_decayed@50",
    "after 100 steps": "bits_per_byte@100",
    "parameters of the layers, untrained": SIZE,
}


def measure() -> dict[str, object]:
    """Spearman's correlation of each figure with the score after 300 steps, plain and with size taken out, with 95 % intervals."""
    table = Table.read(TABLE)
    last, sizes = table.numbers(LAST).tolist(), table.numbers(SIZE).tolist()
    figures: dict[str, object] = {"architectures": len(table)}
    for name, column in BEFORE.items():
        values = table.numbers(column).tolist()
        figures[name] = {"plain": rounded(spearman(values, last)), "size taken out": rounded(spearman_given_size(values, last, sizes))}
    return figures


def rounded(found: RankCorrelation) -> dict[str, object]:
    """A correlation for a line of JSON."""
    interval = None if found.interval is None else [round(end, 3) for end in found.interval]
    return {"spearman": None if found.rho is None else round(found.rho, 3), "interval": interval}
