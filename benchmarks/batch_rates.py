"""How the best rates grow with the batch: what `tune_jobs/jobs/workstation.toml` scales the rates of the recipe by.

One small attention model, trained for the same steps on batches of 512 to 8,192 tokens, with all rates of the recipe times a factor.
The factor of the lowest bits per byte is the foot of a parabola over log2(factor). What is shown is the exponent between these
batches, on two cores; a GPU's batch of 65,536 tokens is extrapolated from it.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks._cores import on_every_core
from benchmarks._corpus import environment_corpus
from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec
from codenas.corpus import Batches, Corpus
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer
from codenas.vocab import load_vocabulary

BATCHES = (4, 16, 64)
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)  # on all rates of the recipe
RATES = ("matrix_rate", "adam_rate", "embedding_rate", "gain_rate")
STEPS, SCORE_TOKENS = 80, 32_768
ARCH = ArchSpec(
    d_model=64,
    n_layers=2,
    pattern=(AttentionSpec(n_heads=2, n_kv_heads=2),),
    feedforward=FeedForwardSpec(activation="swiglu", multiplier=8 / 3),
    norm="rmsnorm",
    position="rope",
    context_len=128,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One training."""

    batch: int
    factor: float


def measure() -> dict[str, object]:
    """Bits per byte by batch and factor, the best factor of each batch, and the exponent that a power law gives them."""
    cases = [Case(batch, factor) for batch in reversed(BATCHES) for factor in FACTORS]
    return summary(dict(on_every_core(partial(trained, environment_corpus().path), cases)))


def summary(scores: dict[Case, float]) -> dict[str, object]:
    """What the scores show."""
    by_batch = {batch: {factor: scores[Case(batch, factor)] for factor in FACTORS} for batch in BATCHES}
    best = {batch: foot(curve) for batch, curve in by_batch.items()}
    exponent = np.polyfit(np.log2(list(best)), np.log2(list(best.values())), 1)[0]
    return {
        "tokens_per_step": {batch: batch * ARCH.context_len for batch in BATCHES},
        "bits_per_byte_by_batch_and_factor": by_batch,
        "best_factor": {batch: round(factor, 2) for batch, factor in best.items()},
        "exponent": round(float(exponent), 2),
    }


def foot(curve: dict[float, float]) -> float:
    """The factor at the foot of the parabola through the three points around the lowest one."""
    factors, scores = np.log2(list(curve)), np.array(list(curve.values()))
    middle = int(np.clip(scores.argmin(), 1, len(scores) - 2))
    near = slice(middle - 1, middle + 2)
    square, slope, _ = np.polyfit(factors[near], scores[near], 2)
    return float(2 ** (-slope / (2 * square)))


def trained(path: Path, case: Case) -> float:
    """Bits per byte on held-out packages after a training that ends with its own decay."""
    corpus, plain = Corpus.open(path), TrainConfig()
    rates = {name: case.factor * getattr(plain, name) for name in RATES}
    config = TrainConfig.model_validate({"batch_size": case.batch, "precision": "float32", **rates})
    model = build_model(ARCH, corpus.manifest.vocab_size, config.seed)
    trainer = Trainer(model, Batches(corpus.split("train"), ARCH.context_len, config.seed), config)
    for _ in trainer.run_to(STEPS, decay_from=STEPS // 2):
        pass
    sizes = load_vocabulary(corpus.tokenizer_path).bytes_per_token
    return round(bits_per_byte(model, corpus.split("valid"), sizes, SCORE_TOKENS, trainer.config.precision).bits_per_byte, 4)
