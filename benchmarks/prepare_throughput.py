"""Reading, filtering, exact deduplication and tokenising with two workers: ours beside two plain processes, and beside datatrove.

DATATROVE names the Python of an environment of its own with datatrove[io,processing], pydantic and psutil; without it that one is left out.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._stack import documents, write_source
from codenas.vocab import Bpe

MEGABYTES, ROUNDS, VOCABULARY, SAMPLE = 200, 3, 8192, 8_000_000
BARS = {"plain": 0.95, "datatrove": 1.5}
DATATROVE = "DATATROVE"


def measure(megabytes: float = MEGABYTES, rounds: int = ROUNDS) -> dict[str, object]:
    """Seconds of every contender in interleaved rounds, without the start of its processes; the ratios are of the medians."""
    pythons = {"ours": sys.executable, "plain": sys.executable}
    if theirs := os.environ.get(DATATROVE):
        pythons["datatrove"] = theirs
    else:
        print(f"datatrove is left out: {DATATROVE} names no Python that has it", file=sys.stderr)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as scratch:
        source = write_source(Path(scratch) / "source", megabytes)
        tokenizer = Path(scratch) / "tokenizer.json"
        Bpe.train(_sample(), VOCABULARY).save(tokenizer)
        for number in range(rounds):
            for name, python in pythons.items():
                runs[name].append(_run(python, name, source, Path(scratch) / f"{name}-{number}", tokenizer))
    seconds = {name: statistics.median(run["seconds"] for run in held) for name, held in runs.items()}
    ratios = {name: round(seconds[name] / seconds["ours"], 2) for name in seconds if name != "ours"}
    return {
        "megabytes": megabytes,
        "seconds": {name: [round(run["seconds"], 1) for run in held] for name, held in runs.items()},
        "start_seconds": {name: round(statistics.median(run["start_seconds"] for run in held), 1) for name, held in runs.items()},
        "cpu_seconds": {name: round(statistics.median(run["cpu_seconds"] for run in runs[name]), 1) for name in ("ours", "plain")},
        "megabytes_per_second": {name: round(megabytes / found, 2) for name, found in seconds.items()},
        "tokens": {name: round(held[0]["tokens"]) for name, held in runs.items()},
        "documents": {name: round(held[0]["documents"]) for name, held in runs.items()},
        "ours_over": ratios,
        "bars": {name: BARS[name] for name in ratios},
        "passed": all(ratio >= BARS[name] for name, ratio in ratios.items()),
    }


def _sample() -> list[str]:
    texts, held = list[str](), 0
    for document in documents():
        texts.append(document.text)
        held += len(document.text)
        if held > SAMPLE:
            break
    return texts


def _run(python: str, name: str, source: Path, output: Path, tokenizer: Path) -> dict[str, float]:
    command = [python, "-m", "benchmarks._preparers", name, str(source), str(output), str(tokenizer)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
