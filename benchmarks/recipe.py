"""How fast the recipe learns: against AdamW, both with the best of several rates, on the same model, corpus, order and tokens.

AdamW twice: as it is commonly used, with one rate for everything, and with our own rates for embeddings and gains.
"""

import os

import torch

from benchmarks._corpus import environment_corpus
from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec
from codenas.corpus import Batches, Corpus
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.model import build_model, count_parameters
from codenas.train import TrainConfig, Trainer
from codenas.vocab import load_vocabulary

STEPS = 300
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
MUON_RATES = (0.02, 0.03, 0.04)
SHORTER = (80, 100, 120)
SCORE_TOKENS = 65_536


def measure() -> dict[str, object]:
    """Bits per byte on held-out packages. Every run ends with its own decay: a shorter one is no piece of a longer one."""
    torch.set_num_threads(os.cpu_count() or 1)
    corpus = environment_corpus()
    common = {rate: _trained(corpus, STEPS, **_one_rate(rate)) for rate in ADAM_RATES}
    ours = {rate: _trained(corpus, STEPS, optimizer="adamw", adam_rate=rate) for rate in ADAM_RATES}
    muon = {steps: {rate: _trained(corpus, steps, matrix_rate=rate) for rate in MUON_RATES} for steps in (*SHORTER, STEPS)}
    return {
        "parameters": count_parameters(build_model(ARCH, corpus.manifest.vocab_size)),
        "vocabulary": corpus.manifest.vocab_size,
        "tokens_per_step": TrainConfig().batch_size * ARCH.context_len,
        f"adamw_{STEPS}_steps_by_rate": common,
        f"adamw_with_our_other_rates_{STEPS}_steps_by_rate": ours,
        "muon_by_steps_and_rate": muon,
        f"muon_steps_to_reach_adamw_{STEPS}": _first_at(muon, min(common.values())),
        f"muon_steps_to_reach_adamw_with_our_other_rates_{STEPS}": _first_at(muon, min(ours.values())),
    }


def _one_rate(rate: float) -> dict[str, object]:
    """AdamW as nanoGPT and most others have it."""
    rates = dict.fromkeys(("adam_rate", "embedding_rate", "gain_rate"), rate)
    return {"optimizer": "adamw", **rates, "betas": (0.9, 0.95), "weight_decay": 0.1}


def _first_at(by_steps: dict[int, dict[float, float]], bound: float) -> int | None:
    """The fewest steps whose best run is at `bound` or below."""
    return next((steps for steps, by_rate in by_steps.items() if min(by_rate.values()) <= bound), None)


def _trained(corpus: Corpus, steps: int, **recipe: object) -> float:
    config = TrainConfig.model_validate(recipe)
    model = build_model(ARCH, corpus.manifest.vocab_size, config.seed)
    trainer = Trainer(model, Batches(corpus.split("train"), ARCH.context_len, config.seed), config)
    for _ in trainer.run_to(steps, decay_from=steps // 2):
        pass
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    scored = bits_per_byte(model, corpus.split("valid"), vocabulary.bytes_per_token, SCORE_TOKENS, trainer.config.precision)
    return round(scored.bits_per_byte, 4)
