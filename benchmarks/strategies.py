"""Strategies beside each other over recorded architectures: what share of the volume 24 trainings find, over 100 searches each.

The table is that of `benchmarks._table`; objectives are bits per byte, stored size and latency, and the parameters of the layers
are the capacity. `codenas search replay` does the same for any table.
"""

import os

from benchmarks._table import TABLE
from codenas.cli.replay import some_replays
from codenas.processes import worker_pool
from codenas.report.replay import replay_rows
from codenas.search.replay.replay import ColumnRoles, Recorded
from codenas.search.replay.table import Table
from codenas.search.strategies.registry import STRATEGIES

FIRST = "frontier"
SLOW = "optuna-gp"  # it takes seconds for each proposal
ROLES = ColumnRoles(("body_params", "size_bytes", "latency_ms_p50"), ("bits_per_byte",), capacity="body_params")
TRAININGS, SEEDS, CHUNK = 24, 100, 10


def measure() -> dict[str, object]:
    """Of each strategy the mean share and its 95 % interval; how far it is from the first one, pair by pair of equal seeds."""
    table = Table.read(TABLE)
    recorded = Recorded.of(table, ROLES)
    names = [FIRST, *(name for name in STRATEGIES if name not in (FIRST, SLOW))]
    chunks = [range(start, start + CHUNK) for start in range(0, SEEDS, CHUNK)]
    with worker_pool(os.cpu_count() or 1) as pool:
        asked = {name: [pool.submit(some_replays, recorded, name, TRAININGS, chunk) for chunk in chunks] for name in names}
        done = {name: [future.result() for future in futures] for name, futures in asked.items()}
    shares = {name: [run for runs, _ in parts for run in runs] for name, parts in done.items()}
    seconds = {name: sum(spent for _, spent in parts) / (SEEDS * TRAININGS) for name, parts in done.items()}
    figures: dict[str, object] = {"architectures": len(table), "trainings": TRAININGS, "seeds": SEEDS}
    for row in replay_rows(shares, seconds):
        last = row.shares[-1]
        figures[row.strategy] = {
            "volume": [round(last.mean, 3), round(last.low, 3), round(last.high, 3)],
            f"above {FIRST}": row.difference
            and [round(row.difference.mean, 3), round(row.difference.low, 3), round(row.difference.high, 3)],
            "trials per second and core": round(1 / max(row.seconds_per_trial, 1e-9)),
        }
    return figures
