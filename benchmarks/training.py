"""Training throughput: bfloat16 against float32, and what Muon costs beside AdamW on everything, at equal shapes."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from codenas.arch import ArchSpec
from codenas.corpus import Batches, ShardWriter, Tokens
from codenas.model import LanguageModel, build_model, count_parameters
from codenas.train import TrainConfig, Trainer
from codenas.train.losses import cross_entropy

VOCAB, STEPS, ROUNDS = 4096, 4, 5
ARCH = ArchSpec(d_model=256, n_layers=4)


def measure() -> dict[str, object]:
    """Median tokens per second over interleaved rounds, so that a machine that slows down slows all of them."""
    with tempfile.TemporaryDirectory() as folder:
        batches = Batches(_random_tokens(Path(folder)), ARCH.context_len, 0)
        runs = {
            "bfloat16": _trainer(batches, "bfloat16"),
            "float32": _trainer(batches, "float32"),
            "bfloat16_adamw_only": _adamw(batches),
        }
        speeds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                speeds[name].append(STEPS * TrainConfig().batch_size * ARCH.context_len / (time.perf_counter() - started))
    medians = {name: statistics.median(values[1:]) for name, values in speeds.items()}
    return {
        "parameters": count_parameters(build_model(ARCH, VOCAB)),
        "threads": torch.get_num_threads(),
        "tokens_per_second": {name: round(value) for name, value in medians.items()},
        "bfloat16_over_float32": round(medians["bfloat16"] / medians["float32"], 2),
        "muon_over_adamw_only": round(medians["bfloat16"] / medians["bfloat16_adamw_only"], 2),
    }


def _random_tokens(folder: Path) -> Tokens:
    with ShardWriter(folder, "train", "uint16") as writer:
        writer.append(np.random.default_rng(0).integers(0, VOCAB, 500_000))
        shards = writer.finish()
    return Tokens([folder / shard.file for shard in shards], "uint16", 0, VOCAB)


def _trainer(batches: Batches, precision: str) -> Callable[[], None]:
    trainer = Trainer(build_model(ARCH, VOCAB), batches, TrainConfig.model_validate({"precision": precision}))

    def run() -> None:
        for _ in trainer.run_to(trainer.step + STEPS):
            pass

    return run


def _adamw(batches: Batches) -> Callable[[], None]:
    """The plainest loop there is: the same model, batches and precision under AdamW alone."""
    model: LanguageModel = build_model(ARCH, VOCAB)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    cursor = 0

    def run() -> None:
        nonlocal cursor
        for _ in range(STEPS):
            inputs, targets = (torch.from_numpy(side) for side in batches.at(cursor, TrainConfig().batch_size))
            cursor += TrainConfig().batch_size
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(inputs)
            cross_entropy(scores, targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return run
