"""Adaptive against fixed promotion: steps, and how often the best of 24 candidates is promoted, replayed without training.

On recorded architectures (those of `benchmarks._table`), scored at the low rung as they are and after a decay branch, and on
synthetic ones whose scores have a known rank correlation, without a capacity and with one that is uninformative. There a rule
can use nothing but the low rung, and with fewer steps it finds less: in simulation, a rule that knows the correlation and stops at
2,300 steps finds the best in 0.77 of the searches at a correlation of 0.7, the fixed six in 0.82.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import binomtest

from benchmarks._table import TABLE
from codenas.search.candidate import Budget
from codenas.search.replay.replay import ColumnRoles, Recorded
from codenas.search.replay.table import Row, Table, at_step

METRIC, SCREENS = "bits_per_byte", {"plain": "bits_per_byte", "decayed": "bits_per_byte_decayed"}
CAPACITY = "body_params"
SEEDS, CANDIDATES, RUNGS = 200, 24, (50, 300)
FIXED = Budget(candidates=CANDIDATES, rungs=RUNGS, promote=(6,))
ADAPTIVE = Budget(candidates=CANDIDATES, rungs=RUNGS, promote=(10,), least=(2,))
CORRELATIONS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
ROWS = CANDIDATES * SEEDS  # as many as all replays take: few rows would decide all of them alike


@dataclass(slots=True, frozen=True)
class ReplayStatistics:
    """Steps and outcomes of all replays under one promotion rule."""

    steps: list[int]
    found: list[bool]

    def figures(self) -> dict[str, object]:
        """Mean steps with the range of the middle 95 %, and the share that found the best with its 95 % interval (Wilson 1927)."""
        ordered = sorted(self.steps)
        middle = [ordered[round(share * (len(ordered) - 1))] for share in (0.025, 0.975)]
        interval = binomtest(sum(self.found), len(self.found)).proportion_ci(method="wilson")
        return {
            "steps": round(sum(self.steps) / len(self.steps)),
            "middle 95 % of steps": middle,
            "best found": round(sum(self.found) / len(self.found), 3),
            "interval": [round(float(interval.low), 3), round(float(interval.high), 3)],
        }


def measure() -> dict[str, object]:
    """Each source of scores under the fixed and under the adaptive rule, over the same candidates."""
    figures: dict[str, object] = {"seeds": SEEDS, "candidates": CANDIDATES, "fixed": list(FIXED.promote), "adaptive": [2, 10]}
    for name, table, roles in score_tables():
        figures[name] = {
            rule: replay_searches(table, roles, budget).figures() for rule, budget in (("fixed", FIXED), ("adaptive", ADAPTIVE))
        }
    return figures


def score_tables() -> Iterator[tuple[str, Table, ColumnRoles]]:
    """Tables by name, and which of their columns are what."""
    whole = ColumnRoles((CAPACITY,), (METRIC,), capacity=CAPACITY)
    if TABLE.is_file():
        recorded = Table.read(TABLE)
        for name, screen in SCREENS.items():
            yield f"{len(recorded)} recorded, {name} at 50", recorded, replace(whole, screen=screen)
    for correlation in CORRELATIONS:
        table = synthetic_table(correlation)
        yield f"synthetic, correlation {correlation:g}, no capacity", table, ColumnRoles((), (METRIC,))
        yield f"synthetic, correlation {correlation:g}, capacity uninformative", table, whole


def replay_searches(table: Table, roles: ColumnRoles, budget: Budget) -> ReplayStatistics:
    """Replays over random candidates of `table`: the steps of each, and whether the best at the last rung was among the promoted."""
    recorded = Recorded.of(table, roles, budget)
    last, (low, high) = recorded.costs[budget.rungs[-1]][:, 0], budget.rungs
    steps, found = [], []
    for seed in range(SEEDS):
        rows = random.Random(seed).sample(range(len(table)), budget.candidates)
        promoted = recorded.promoted_to_rung(rows, 1)
        steps.append(low * len(rows) + (high - low) * len(promoted))
        reached = [row for row in rows if not math.isnan(last[row])]
        found.append(min(reached, key=lambda row: float(last[row])) in promoted)
    return ReplayStatistics(steps, found)


def synthetic_table(correlation: float) -> Table:
    """Scores at both rungs with so much correlation, and capacities that have to do with neither."""
    rng = random.Random(0)
    rows = list[Row]()
    for number in range(ROWS):
        low = rng.gauss(0, 1)
        high = correlation * low + math.sqrt(1 - correlation**2) * rng.gauss(0, 1)
        scores = {at_step(METRIC, RUNGS[0]): low, at_step(METRIC, RUNGS[1]): 2 * high}
        rows.append({"choice.number": number, CAPACITY: rng.uniform(1e5, 1e6), **scores})
    return Table(Path("synthetic"), {name: [row[name] for row in rows] for name in rows[0]})
