"""Causality at full size: 1,000 architectures of the space `full`, as wide and deep as drawn. `make test` has the same, narrowed."""

import time
from collections import Counter

import torch

from codenas.arch import preset
from codenas.arch.cost import parameters
from codenas.measure.plausibility import check_causal
from codenas.model import LanguageModel, build_model, count_parameters
from codenas.seeds import stream

COUNT, VOCAB, CONTEXT, TOKENS, CHANGES = 1_000, 64, 128, 72, 2


def measure() -> dict[str, object]:
    """How many architectures pass, by family; raises at the first that leaks or is not as large as the closed form says."""
    rng, space = stream(0, "causality"), preset("full")
    passed, started = Counter[str](), time.perf_counter()
    for _ in range(COUNT):
        arch = space.sample(rng).arch.model_copy(update={"context_len": CONTEXT})
        model = _all_drawn(build_model(arch, VOCAB))
        assert count_parameters(model) == parameters(arch, VOCAB), arch
        with torch.inference_mode():
            check_causal(model, VOCAB, TOKENS, changes=CHANGES)
        passed["+".join(sorted({mixer.kind for mixer in arch.pattern}))] += 1
    return {"architectures": COUNT, "passed": dict(passed), "seconds": round(time.perf_counter() - started)}


def _all_drawn(model: LanguageModel) -> LanguageModel:
    """`model` with the matrices drawn that training starts at zero: behind those, nothing could leak."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2 and not parameter.any():
                parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
    return model.eval()
