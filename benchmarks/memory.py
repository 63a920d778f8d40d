"""Memory of the process that drives a search, over the number of its candidates: histories of random candidates, outcomes at once.

Each size in a process of its own, the growth beside the events that it has to hold, as they stand in `trials.jsonl`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.overhead import JOB, _outcome
from codenas.search.candidate import Budget
from codenas.search.history import History
from codenas.search.loop import run_search

SIZES = (1_000, 10_000)


def measure() -> dict[str, object]:
    """Memory at each size, and kilobytes for each further candidate."""
    few, many = (_in_a_process(size) for size in SIZES)
    further = SIZES[1] - SIZES[0]
    return {
        "megabytes": {size: round(found["rss"] / 1e6, 1) for size, found in zip(SIZES, (few, many), strict=True)},
        "kilobytes_per_candidate": round((many["rss"] - few["rss"]) / further / 1e3, 2),
        "kilobytes_per_candidate_on_disk": round((many["disk"] - few["disk"]) / further / 1e3, 2),
        "plan_ms_per_candidate": {size: round(1000 * found["seconds"] / size, 1) for size, found in zip(SIZES, (few, many), strict=True)},
    }


def _in_a_process(size: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.memory", str(size)], check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _driven(size: int) -> dict[str, float]:
    """What a search of `size` candidates takes: bytes in memory and on disk, seconds of its process."""
    job = JOB.model_copy(update={"space": "full", "budget": Budget(candidates=size, rungs=(1,), promote=())})
    with tempfile.TemporaryDirectory() as folder:
        path, started = Path(folder, "trials.jsonl"), time.process_time()
        history = run_search(job.plan(4_096), History(path), _outcome)
        assert len(history) == size
        return {
            "rss": psutil.Process(os.getpid()).memory_info().rss,
            "disk": path.stat().st_size,
            "seconds": time.process_time() - started,
        }


if __name__ == "__main__":
    print(json.dumps(_driven(int(sys.argv[1]))))
