"""How fast the recipe learns: Muon against a tuned AdamW on the same model, corpus, order and number of tokens."""

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
SHORTER = (60, 80, 100, 120)
SCORE_TOKENS = 65_536


def measure() -> dict[str, object]:
    """Bits per byte on held-out packages. Every run ends with its own decay: a shorter one is no piece of a longer one."""
    torch.set_num_threads(os.cpu_count() or 1)
    corpus = environment_corpus()
    adamw = {rate: _trained(corpus, STEPS, optimizer="adamw", adam_rate=rate) for rate in ADAM_RATES}
    muon = {steps: _trained(corpus, steps) for steps in (*SHORTER, STEPS)}
    best = min(adamw.values())
    return {
        "parameters": count_parameters(build_model(ARCH, corpus.manifest.vocab_size)),
        "vocabulary": corpus.manifest.vocab_size,
        "tokens_per_step": TrainConfig().batch_size * ARCH.context_len,
        f"adamw_{STEPS}_steps_by_rate": adamw,
        "muon_by_steps": muon,
        f"muon_steps_to_reach_adamw_{STEPS}": next((steps for steps, bpb in muon.items() if bpb <= best), None),
    }


def _trained(corpus: Corpus, steps: int, **recipe: object) -> float:
    config = TrainConfig.model_validate(recipe)
    model = build_model(ARCH, corpus.manifest.vocab_size, config.seed)
    trainer = Trainer(model, Batches(corpus.split("train"), ARCH.context_len, config.seed), config)
    for _ in trainer.run_to(steps, decay_from=steps // 2):
        pass
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    scored = bits_per_byte(model, corpus.split("valid"), vocabulary.bytes_per_token, SCORE_TOKENS, trainer.config.precision)
    return round(scored.bits_per_byte, 4)
