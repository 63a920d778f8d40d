"""How fast the recipe learns: against AdamW, on the same model, corpus, order and tokens.

AdamW twice: as nanoGPT has it, with one rate for everything and the decay of its matrices, and with our own rates for embeddings and
gains. One number of each is tuned: the rate of AdamW, a factor on all rates of the recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks._cores import on_every_core
from benchmarks._corpus import environment_corpus
from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec
from codenas.corpus import Batches, Corpus
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.model import build_model, count_parameters
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer
from codenas.vocab import load_vocabulary

STEPS = 300
ADAMW = ("adamw", "adamw with our other rates")
ARCH = ArchSpec(
    d_model=192,
    n_layers=4,
    pattern=(AttentionSpec(n_heads=4, n_kv_heads=4),),
    feedforward=FeedForwardSpec(activation="swiglu", multiplier=3.0),
    norm="rmsnorm",
    position="rope",
    context_len=256,
)
ADAM_RATES = (0.001, 0.002, 0.004, 0.008)
FACTORS = (1.0, 1.5, 2.0, 3.0)  # on all rates of the recipe
SHORTER = (90, 100, 110, 120)
SCORE_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Case:
    """One training of `steps` steps; `number` is what was tuned."""

    contender: Literal["muon", "adamw", "adamw with our other rates"]
    steps: int
    number: float


def measure() -> dict[str, object]:
    """Bits per byte on held-out packages. Every run ends with its own decay: a shorter one is no piece of a longer one."""
    corpus = environment_corpus()
    cases = [
        *(Case("adamw", STEPS, rate) for rate in ADAM_RATES),
        *(Case("adamw with our other rates", STEPS, rate) for rate in ADAM_RATES),
        *(Case("muon", steps, factor) for steps in (STEPS, *reversed(SHORTER)) for factor in FACTORS),
    ]
    scores = dict(on_every_core(partial(_trained, corpus.path), cases))
    by_number = {contender: {case.number: scores[case] for case in cases if case.contender == contender} for contender in ADAMW}
    by_steps = {steps: {factor: scores[Case("muon", steps, factor)] for factor in FACTORS} for steps in (*SHORTER, STEPS)}
    return {
        "parameters": count_parameters(build_model(ARCH, corpus.manifest.vocab_size)),
        "vocabulary": corpus.manifest.vocab_size,
        "tokens_per_step": TrainConfig().batch_size * ARCH.context_len,
        f"after_{STEPS}_steps_by_rate": by_number,
        "muon_by_steps_and_factor": by_steps,
        f"muon_steps_to_reach_step_{STEPS}_of": {name: _first_at(by_steps, min(held.values())) for name, held in by_number.items()},
    }


def _scaled(factor: float) -> dict[str, float]:
    """All rates of the recipe times `factor`."""
    plain = TrainConfig()
    return {name: factor * getattr(plain, name) for name in ("matrix_rate", "embedding_rate", "gain_rate")}


def _first_at(by_steps: dict[int, dict[float, float]], bound: float) -> int | None:
    """The fewest steps whose best run is at `bound` or below."""
    return next((steps for steps, by_rate in by_steps.items() if min(by_rate.values()) <= bound), None)


def _trained(place: Path, case: Case) -> float:
    corpus, config = Corpus.open(place), TrainConfig.model_validate(_recipe(case))
    model = build_model(ARCH, corpus.manifest.vocab_size, config.seed)
    trainer = Trainer(model, Batches(corpus.split("train"), ARCH.context_len, config.seed), config)
    if case.contender == "adamw":
        _as_nanogpt(trainer, case.number)
    for _ in trainer.run_to(case.steps, decay_from=case.steps // 2):
        pass
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    scored = bits_per_byte(model, corpus.split("valid"), vocabulary.bytes_per_token, SCORE_TOKENS, trainer.config.precision)
    return round(scored.bits_per_byte, 4)


def _recipe(case: Case) -> Mapping[str, object]:
    if case.contender == "muon":
        return _scaled(case.number)
    if case.contender == "adamw":
        return {"optimizer": "adamw", "betas": (0.9, 0.95)}
    return {"optimizer": "adamw", "adam_rate": case.number}


def _as_nanogpt(trainer: Trainer, rate: float) -> None:
    """One rate whatever the width and the kind; whatever has two dimensions decays."""
    for optimizer in trainer._optimizers:
        for group in optimizer.param_groups:
            group.update(lr=rate, base_rate=rate, weight_decay=0.1 if group["params"][0].ndim >= 2 else 0.0)
