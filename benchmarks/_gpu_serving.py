"""A search, latency and decoding on a GPU."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks._gpu_models import FAMILIES, SIZES, SMALL, VOCAB, architecture, release
from codenas.arch.cost import parameters
from codenas.decode.engine import Engine
from codenas.decode.events import Produced
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import Sequence
from codenas.decode.settings import EngineSettings
from codenas.decode.torch_backend import TorchBackend
from codenas.experiment.run import Run
from codenas.measure.served import device_name
from codenas.model import build_model
from codenas.search.result import SearchFolder
from tests.fakes import tiny_corpus

Line = dict[str, object]
_ROOT = Path(__file__).parents[1]
_JOB = """
[search]
space = "{space}"
budget = {{ candidates = {candidates}, rungs = {rungs}, promote = [2] }}
objectives = [{{ metric = "bits_per_byte", weight = 1.0 }}, {{ metric = "latency_ms_p50", weight = 0.1 }}]
train = {{ batch_size = {batch} }}
trial = {{ score_tokens = 1024, {trial} }}
"""


def search(device: str) -> Iterator[Line]:
    """Six candidates of `medium` on Ray, latency on the GPU; where lines are tried, two of `tiny` on a CPU."""
    small = {"space": "tiny", "candidates": 2, "rungs": [1, 2], "batch": 1, "trial": "gpus = 0, latency_tokens = 4"}
    large = {"space": "medium", "candidates": 6, "rungs": [20, 60], "batch": 32, "trial": 'latency_device = "cuda"'}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = tiny_corpus(folder / "corpus", tokens=20_000 if device == "cpu" else 200_000).path
        (folder / "job.toml").write_text(_JOB.format(**(small if device == "cpu" else large)))
        command = [sys.executable, "-m", "codenas", "search", "--job", str(folder / "job.toml")]
        command += ["--corpus", str(corpus), "--run", str(folder / "run")]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        yield {"exit_code": done.returncode, "seconds": round(time.perf_counter() - started, 1), "said": done.stderr.splitlines()[-3:]}
        finished = SearchFolder(Run(folder / "run").search).finished()
        if finished is not None:
            result, history = finished
            contexts = {str(report.metrics.latency_context) for trial in history.trials for report in trial.all_reports}
            failures = [trial.failure.reason for trial in history.trials if trial.failure]
            yield {"trained": result.trained, "failures": failures, "latencies_on": sorted(contexts)}


def latency(device: str) -> Iterator[Line]:
    """Milliseconds per token at one stream, on the card and on one thread of the CPU, by family and size."""
    torch.set_num_threads(1)
    for size, shape in (SIZES if device != "cpu" else SMALL).items():
        for family in FAMILIES:
            arch = architecture(family, *shape)
            line: Line = {"family": family, "size": size, "parameters": parameters(arch, VOCAB)}
            for place in dict.fromkeys((device, "cpu")):
                backend = TorchBackend(build_model(arch, VOCAB).to(place).eval())
                line[device_name(place)] = round(1000 / _tokens_per_second(backend, 1, 32 if device != "cpu" else 4), 3)
            yield line
            release()


def decoding(device: str) -> Iterator[Line]:
    """Tokens per second of the engine at 1, 8 and 64 streams, by family."""
    for family in FAMILIES:
        arch = architecture(family, *(SIZES["22M"] if device != "cpu" else SMALL["tiny"]))
        model = build_model(arch, VOCAB).to(device).eval()
        for streams in (1, 8, 64):
            backend = TorchBackend(model, streams)
            found = _tokens_per_second(backend, streams, 48 if device != "cpu" else 2)
            yield {"family": family, "size": "22M" if device != "cpu" else "tiny", "streams": streams, "tokens_per_second": round(found)}
        release()


def _tokens_per_second(backend: TorchBackend, streams: int, tokens: int) -> float:
    """Of all streams together, each behind a prompt of its own, from the second token of each on."""
    engine = Engine(backend, EngineSettings(max_draft=0, cache_bytes=0))
    params = SamplingParams(max_tokens=tokens + 1, temperature=0)
    for stream in range(streams):
        engine.admit(Sequence(tuple((stream + place) % VOCAB for place in range(64)), params, frozenset()))
    begun, produced, started = set[int](), 0, 0.0
    while not engine.idle:
        events = [event for event in engine.step() if isinstance(event, Produced)]
        if len(begun) == streams:
            produced += sum(len(event.tokens) for event in events)
        begun |= {event.id for event in events}
        if len(begun) == streams and not started:
            started = time.perf_counter()
    return produced / (time.perf_counter() - started)


def contracts(device: str) -> Iterator[Line]:
    """The contracts of mixers, norms and positions on the device, in bfloat16 and float32; where lines are tried, a few."""
    files = ["tests/contracts/test_autocast.py", *(["tests/contracts/test_mixers.py"] if device != "cpu" else [])]
    chosen = "cuda" if device != "cpu" else "gradients and rope-cpu"
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-k", chosen, *files]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    yield {"exit_code": done.returncode, "summary": lines[-1] if lines else "", "failed": [x for x in lines if x.startswith("FAILED")]}
