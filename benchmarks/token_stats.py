"""Token sampling statistics at ZeTT's settings for code: 1,000 vocabularies of 32,768 in a minute on two cores, in 2 GB."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._corpus import environment_corpus
from codenas.experiment.memory import PeakMemory

DRAWS, SIZE, WORKERS = 1_000, 32_768, 2
BAR_SECONDS, BAR_BYTES = 60, 2_000_000_000


def measure() -> dict[str, object]:
    """The command as users run it, from its start to its end: seconds, and the memory of all processes at its peak."""
    corpus = environment_corpus()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "stats.json"
        command = [sys.executable, "-m", "codenas", "tokens", "sample-stats", "--source", str(corpus.path), "--output-file", str(output)]
        options = ["--num-batches", str(DRAWS), "--max-size", str(SIZE), "--workers", str(WORKERS)]
        started = time.perf_counter()
        with PeakMemory(every=0.5) as memory:
            subprocess.run([*command, *options], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - started
        counts = json.loads(output.read_bytes())
    assert sum(counts.values()) == DRAWS * SIZE
    return {
        "draws": DRAWS,
        "workers": WORKERS,
        "seconds": round(seconds, 1),
        "seconds_at_most": BAR_SECONDS,
        "peak_gb": round(memory.peak_bytes / 1e9, 2),
        "peak_gb_at_most": BAR_BYTES / 1e9,
        "unique_tokens": len(counts),
    }
