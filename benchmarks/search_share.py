"""How much of the workers' time a search spends in training steps: 24 candidates to 50 steps, six promoted to 300, two at a time.

The demo's space and recipe, on a Ray of our own. Time outside of training is reported by activity, in shares of all worker time.
"""

import tempfile
from pathlib import Path

from benchmarks._corpus import environment_corpus
from codenas.cli.job_file import DEMO_JOB, load_job
from codenas.search.candidate import Budget
from tune_jobs.cluster.local import local_ray
from tune_jobs.launch import search

BOUND = 0.9
BUDGET = Budget(candidates=24, rungs=(50, 300), promote=(6,))


def measure() -> dict[str, object]:
    """Shares of workers x wall time of the search; the start of Ray itself comes before it."""
    job = load_job(DEMO_JOB).search.model_copy(update={"budget": BUDGET})
    corpus = environment_corpus()
    with tempfile.TemporaryDirectory() as folder, local_ray(cpus=2) as scratch:
        result, _ = search(job, corpus, Path(folder), scratch)
    whole = result.workers * result.wall_seconds
    return {
        "training_share": round(result.training_share, 3),
        "within": result.training_share >= BOUND,
        "bound": BOUND,
        "elsewhere": {name: round(seconds / whole, 3) for name, seconds in result.elsewhere_seconds.items()},
        "wall_seconds": round(result.wall_seconds, 1),
        "workers": result.workers,
        "steps": result.steps,
    }
