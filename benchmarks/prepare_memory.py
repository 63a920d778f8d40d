"""Memory of `codenas prepare` over all its processes: inside its bar at 2 GB of source, and flat as the source doubles.

`python -c "from benchmarks.prepare_memory import measure; print(measure(400))"` asks for another size.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._stack import write_source
from codenas.corpus import Corpus
from codenas.experiment.memory import PeakMemory

MEGABYTES = 2_000
BAR_BYTES = 2_500_000_000
FLAT = 1.15  # twice the source takes at most so many times the memory


def measure(megabytes: float = MEGABYTES, near_dedup: bool = True) -> dict[str, object]:
    """The highest sum of the proportional set sizes, of half the source and of all of it; what each document adds to it."""
    with tempfile.TemporaryDirectory() as scratch:
        half, whole = (_run(Path(scratch), size, near_dedup) for size in (megabytes / 2, megabytes))
    growth = whole["peak_bytes"] / half["peak_bytes"]
    return {
        "megabytes": megabytes,
        "documents": round(whole["documents"]),
        "seconds": round(whole["seconds"]),
        "peak_gb": round(whole["peak_bytes"] / 1e9, 2),
        "peak_gb_at_half": round(half["peak_bytes"] / 1e9, 2),
        "peak_gb_at_most": BAR_BYTES / 1e9,
        "growth": round(growth, 2),
        "growth_at_most": FLAT,
        "bytes_per_document": round((whole["peak_bytes"] - half["peak_bytes"]) / (whole["documents"] - half["documents"])),
        "passed": whole["peak_bytes"] <= BAR_BYTES and growth <= FLAT,
    }


def _run(scratch: Path, megabytes: float, near_dedup: bool) -> dict[str, float]:
    """The command as users run it, from its start to its end."""
    source, output = write_source(scratch / f"source-{megabytes}", megabytes), scratch / f"corpus-{megabytes}"
    command = [sys.executable, "-m", "codenas", "prepare", "--source", str(source), "--output", str(output), "--workers", "2"]
    limit = str(2 * megabytes)
    options = ["--max-mb", limit, "--max-repository-mb", limit, "--near-dedup" if near_dedup else "--no-near-dedup"]
    started = time.perf_counter()
    with PeakMemory(every=0.5) as memory:
        subprocess.run([*command, *options], check=True, stdout=sys.stderr)
    found = Corpus.open(output).manifest.stages["found"].documents
    return {"peak_bytes": memory.peak_bytes, "documents": found, "seconds": time.perf_counter() - started}
