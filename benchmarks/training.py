"""Training throughput at equal shapes: our trainer under Muon and AdamW, beside nanoGPT in each of its settings for a CPU."""

import os
import statistics
import subprocess
import sys

from benchmarks._contenders import BATCH, NANOGPT, OURS, THEIRS, TOKENS

ROUNDS, STEPS = 5, 25


def measure() -> dict[str, object]:
    """Tokens per second, bfloat16 on all cores: the median of alternating processes.

    nanoGPT takes part where the environment variable NANOGPT names a checkout of it.
    """
    contenders = [*OURS, *(THEIRS if NANOGPT in os.environ else ())]
    milliseconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name in contenders:
            milliseconds[name].append(_milliseconds_per_step(name))
    speed = {name: round(1000 * BATCH * TOKENS / statistics.median(times)) for name, times in milliseconds.items()}
    figures: dict[str, object] = {"tokens_per_second": speed}
    if NANOGPT not in os.environ:
        return {**figures, "nanogpt": f"not measured: set {NANOGPT} to a checkout of github.com/karpathy/nanoGPT"}
    best = max(speed[name] for name in THEIRS)
    return {**figures, "relative_to_the_best_nanogpt": {name: round(speed[name] / best, 2) for name in OURS}}


def _milliseconds_per_step(name: str) -> float:
    command = [sys.executable, "-m", "benchmarks._contenders", name, str(STEPS)]
    # As the command line does; with it unset, threads of nanoGPT spin against each other on a busy machine.
    environment = {"GOMP_SPINCOUNT": "2000", **os.environ}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
