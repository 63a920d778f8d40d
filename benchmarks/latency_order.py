"""The order of 40 architectures by latency: in torch, which the search decided on before it had an engine, and as they are served.

A token of torch takes as long as the calls of its operations, so it counts layers; the native library's follows the work.
"""

import sys
from collections.abc import Sequence
from itertools import product

import torch

from codenas.arch import Design
from codenas.arch.cost import stored_bytes
from codenas.arch.presets import preset
from codenas.compress.stored import StoredModel
from codenas.decode.backend import Backend
from codenas.decode.choice import BackendOptions, choose_backend, open_backend, torch_backend
from codenas.measure.latency import backend_latency
from codenas.measure.served import context_on
from codenas.model import build_model
from codenas.report.designs import in_words
from codenas.seeds import stream
from codenas.stats.rank_correlation import spearman

COUNT, SWEEPS, VOCAB_SIZE, SPACE = 40, 3, 4_096, "small"
TORCH, SERVED, LAYERS, BYTES = "torch", "served", "layers", "stored bytes"


def measure() -> dict[str, object]:
    """Milliseconds per token, the lowest of all sweeps, by the CPU time of one thread; and how far the orders agree."""
    torch.set_num_threads(1)
    designs = _draw()
    models = [_untrained(design) for design in designs]
    found: dict[str, list[float]] = {name: [float("inf")] * COUNT for name in (TORCH, SERVED)}
    for sweep in range(SWEEPS):
        for place, model in enumerate(models):
            for name, backend in ((TORCH, torch_backend(model, BackendOptions())), (SERVED, open_backend(model, BackendOptions()))):
                found[name][place] = min(found[name][place], _p50_ms(backend))
        print(f"latency_order: sweep {sweep + 1} of {SWEEPS}", file=sys.stderr)
    found[LAYERS] = [float(design.arch.n_layers) for design in designs]
    found[BYTES] = [float(stored_bytes(model.arch, VOCAB_SIZE, model.storage)) for model in models]
    return {
        "backends": sorted({str(choose_backend(model.arch, BackendOptions())) for model in models}),
        "spearman": {f"{a} and {b}": _rho(found[a], found[b]) for a, b in ((TORCH, SERVED), *product((TORCH, SERVED), (LAYERS, BYTES)))},
        "architectures": _rows(designs, found),
    }


def _draw() -> list[Design]:
    """Designs with different architectures."""
    rng, found = stream(0, "latency_order"), dict[str, Design]()
    while len(found) < COUNT:
        design = preset(SPACE).sample(rng)
        found.setdefault(design.stored_arch.digest, design)
    return list(found.values())


def _untrained(design: Design) -> StoredModel:
    weights = build_model(design.stored_arch, VOCAB_SIZE).state_dict()
    return StoredModel.packed(design.stored_arch, VOCAB_SIZE, design.storage, weights)


def _p50_ms(backend: Backend) -> float:
    return backend_latency(backend, context_on("cpu", 1, "any", "any"), tokens=32, rounds=2).p50_ms


def _rho(a: Sequence[float], b: Sequence[float]) -> float | None:
    rho = spearman(a, b).rho
    return None if rho is None else round(rho, 2)


def _rows(designs: Sequence[Design], found: dict[str, list[float]]) -> list[dict[str, object]]:
    """The fastest first, as they are served; ranks count from 1."""
    order = {name: sorted(range(COUNT), key=found[name].__getitem__) for name in (TORCH, SERVED)}
    return [
        {
            "design": in_words(designs[place]),
            "torch_ms": round(found[TORCH][place], 3),
            "served_ms": round(found[SERVED][place], 3),
            "torch_rank": order[TORCH].index(place) + 1,
            "served_rank": rank,
        }
        for rank, place in enumerate(order[SERVED], 1)
    ]
