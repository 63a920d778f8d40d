"""`python -m benchmarks._contenders NAME STEPS`: train one contender on random tokens, print its milliseconds per step.

A process of its own for each, as a user would run it: what one sets in its process must not help or hurt the other.
"""

import contextlib
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer

BATCH, TOKENS, VOCAB, WIDTH, LAYERS, HEADS = 8, 256, 4096, 256, 4, 4
NANOGPT = "NANOGPT"  # environment variable: a checkout of github.com/karpathy/nanoGPT
WARM_STEPS = 8

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class RandomBatches:
    """Batches whose content does not matter."""

    vocab_size: int = VOCAB
    tokens: int = TOKENS

    def at(self, cursor: int, count: int) -> tuple[Any, Any]:
        rows = np.random.default_rng(cursor).integers(0, self.vocab_size, (count, self.tokens + 1))
        return rows[:, :-1].copy(), rows[:, 1:].copy()


def ours(**recipe: object) -> Step:
    """Our trainer on the shapes of GPT-2: LayerNorm, GELU, learned positions, as many heads for keys."""
    arch = ArchSpec(
        d_model=WIDTH,
        n_layers=LAYERS,
        pattern=(AttentionSpec(n_heads=HEADS, n_kv_heads=HEADS, qk_norm=False),),
        feedforward=FeedForwardSpec(activation="gelu", multiplier=4.0),
        norm="layernorm",
        position="absolute",
        context_len=TOKENS,
    )
    config = TrainConfig.model_validate({"batch_size": BATCH, **recipe})
    trainer = Trainer(build_model(arch, VOCAB), RandomBatches(), config)  # type: ignore[arg-type]

    def step() -> None:
        for _ in trainer.run_to(trainer.step + 1):
            pass

    return step


def nanogpt(dtype: str, compiled: bool) -> Step:
    """Its model and its optimizer, and a loop that does what its loop does: one micro-batch, clipping at 1."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", Path(os.environ[NANOGPT]) / "model.py")
    assert spec is not None and spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = theirs
    spec.loader.exec_module(theirs)
    shape = {"block_size": TOKENS, "vocab_size": VOCAB, "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "bias": False}
    model = theirs.GPT(theirs.GPTConfig(**shape))
    if dtype == "pure":
        model = model.bfloat16()
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    forward = torch.compile(model) if compiled else model
    batches, cursor = RandomBatches(), 0

    def step() -> None:
        nonlocal cursor
        inputs, targets = (torch.from_numpy(side) for side in batches.at(cursor, BATCH))
        cursor += BATCH
        with torch.autocast("cpu", torch.bfloat16) if dtype == "autocast" else contextlib.nullcontext():
            loss: Tensor = forward(inputs, targets)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


OURS: dict[str, Callable[[], Step]] = {
    "codenas_muon": ours,
    "codenas_muon_compiled": lambda: ours(compile=True),
    "codenas_adamw": lambda: ours(optimizer="adamw"),
    "codenas_adamw_compiled": lambda: ours(optimizer="adamw", compile=True),
}
THEIRS: dict[str, Callable[[], Step]] = {
    "nanogpt_autocast": lambda: nanogpt("autocast", compiled=False),
    "nanogpt_bfloat16": lambda: nanogpt("pure", compiled=False),
    "nanogpt_compiled": lambda: nanogpt("autocast", compiled=True),
}


def main() -> None:
    """Median over the steps after the warm ones."""
    torch.set_num_threads(os.cpu_count() or 1)
    with contextlib.redirect_stdout(sys.stderr):
        step = (OURS | THEIRS)[sys.argv[1]]()
        times = []
        for _ in range(WARM_STEPS + int(sys.argv[2])):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    print(1000 * statistics.median(times[WARM_STEPS:]))


if __name__ == "__main__":
    main()
