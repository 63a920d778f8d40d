"""On a GPU: what CodeNAS does there, part by part, each in a process of its own that another part cannot harm.

`python -m benchmarks gpu --all` runs all parts in at most nine minutes and writes a line of JSON for each figure, as soon as it is known,
to gpu.jsonl. `--device cpu` tries every line of them in seconds, on tiny models: these are no figures.
"""

import argparse
import datetime
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import _gpu_serving, _gpu_training
from benchmarks._gpu_training import Line
from codenas.experiment.device import driver_version
from codenas.measure.served import device_name

SECONDS = 535.0  # of all parts
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Part:
    """A part, and the seconds that it may take. What it leaves is there for those behind it."""

    lines: Callable[[str], Iterator[Line]]
    seconds: float


PARTS = {
    "contracts": Part(_gpu_serving.contracts, 90),
    "faults": Part(_gpu_training.faults, 60),
    "kernels": Part(_gpu_training.kernels, 50),
    "speed": Part(_gpu_training.speed, 150),
    "graph": Part(_gpu_training.graph, 90),
    "search": Part(_gpu_serving.search, 90),
    "latency": Part(_gpu_serving.latency, 50),
    "decoding": Part(_gpu_serving.decoding, 50),
}


def measure() -> dict[str, object]:
    """Training speed alone; see `main` for the rest."""
    if not torch.cuda.is_available():
        return {"gpu": "not measured: torch sees none"}
    return {"device": device_name("cuda"), "speed": list(_gpu_training.speed("cuda"))}


def main(arguments: Sequence[str]) -> None:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--all", action="store_true", help="all parts, in their order")
    parser.add_argument("--part", choices=PARTS, help="one part, in this process")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("gpu.jsonl"))
    given = parser.parse_args(arguments)
    if given.all == (given.part is not None):
        parser.error("choose --all, or one --part")
    if given.part is not None:
        if given.device == "cpu":
            torch.set_num_threads(1)  # tiny models on a busy machine: threads would wait for each other
        for line in PARTS[given.part].lines(given.device):
            print(json.dumps(line), flush=True)
        return
    with given.output.open("w", encoding="utf-8") as file:
        for line in _all(given.device):
            for place in (sys.stdout, file):
                print(json.dumps(line), file=place, flush=True)


def _all(device: str) -> Iterator[Line]:
    """The lines of all parts; those that a GPU is missing for are skipped."""
    skipped = device == "cuda" and not torch.cuda.is_available()
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "driver": driver_version()}
    name = "none: torch sees no GPU" if skipped else device_name(device)
    yield {"device": name, **versions, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    deadline = time.monotonic() + SECONDS
    for part, settings in PARTS.items():
        if skipped:
            yield {"part": part, "skipped": "torch sees no GPU; --device cpu tries its lines on tiny models"}
        else:
            yield from _part(part, device, min(settings.seconds, deadline - time.monotonic()))


def _part(part: str, device: str, seconds: float) -> Iterator[Line]:
    """The lines of one part, and how it ended."""
    command = [sys.executable, "-m", "benchmarks", "gpu", "--part", part, "--device", device]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)  # a full pipe would stop the part
    reader.start()
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(max(1.0, seconds), stop)
    timer.start()
    for line in process.stdout:
        if line.startswith("{"):  # libraries print too
            yield {"part": part, **json.loads(line)}
    code = process.wait()
    timer.cancel()
    reader.join()
    took = round(time.monotonic() - started, 1)
    if late.is_set():
        ended = f"stopped after {seconds:.0f} s"
    else:
        ended = "finished" if code == 0 else f"failed: {errors[-1].strip() if errors else f'exit code {code}'}"
    yield {"part": part, "ended": ended, "seconds": took}
