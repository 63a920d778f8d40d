"""How fast the recipe learns: against AdamW as nanoGPT has it, on the same model, corpus, order and tokens.

Of both the rate is tuned (a factor on all rates of the recipe). AdamW has its first beta tuned too: nanoGPT's is 0.9.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
ARCH = ArchSpec(
    d_model=192,
    n_layers=4,
    pattern=(AttentionSpec(n_heads=4, n_kv_heads=4),),
    feedforward=FeedForwardSpec(activation="swiglu", multiplier=3.0),
    norm="rmsnorm",
    position="rope",
    context_len=256,
)
RATES, FIRST_BETAS = (0.002, 0.004, 0.008), (0.9, 0.7, 0.5)
FACTORS = (1.5, 2.0)  # on all rates of the recipe
SHORTER = (110, 120, 130, 160, 180, 200)
SCORE_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Case:
    """One training of `steps` steps: of AdamW with a rate and a first beta, or of the recipe with a factor on its rates."""

    steps: int
    rate: float
    first_beta: float | None = None


def measure() -> dict[str, object]:
    """Bits per byte on held-out packages. Every run ends with its own decay: a shorter one is no piece of a longer one."""
    corpus = environment_corpus()
    adamw = [Case(STEPS, rate, beta) for beta in FIRST_BETAS for rate in RATES]
    recipe = [Case(steps, factor) for steps in (STEPS, *reversed(SHORTER)) for factor in FACTORS]
    scores = dict(on_every_core(partial(_trained, corpus.path), [*adamw, *recipe]))
    by_steps = {steps: min(scores[Case(steps, factor)] for factor in FACTORS) for steps in (*SHORTER, STEPS)}
    bounds = {
        f"adamw, first beta {FIRST_BETAS[0]}": min(scores[case] for case in adamw if case.first_beta == FIRST_BETAS[0]),
        "adamw, any first beta": min(scores[case] for case in adamw),
    }
    return {
        "parameters": count_parameters(build_model(ARCH, corpus.manifest.vocab_size)),
        "vocabulary": corpus.manifest.vocab_size,
        "tokens_per_step": TrainConfig().batch_size * ARCH.context_len,
        f"adamw_{STEPS}_steps_by_first_beta_and_rate": {b: {rate: scores[Case(STEPS, rate, b)] for rate in RATES} for b in FIRST_BETAS},
        "recipe_by_steps": by_steps,
        f"recipe_steps_to_reach_step_{STEPS}": {name: _first_at(by_steps, bound) for name, bound in bounds.items()},
    }


def _scaled(factor: float) -> dict[str, object]:
    """All rates of the recipe times `factor`."""
    plain = TrainConfig()
    return {name: factor * getattr(plain, name) for name in ("matrix_rate", "embedding_rate", "gain_rate")}


def _first_at(by_steps: dict[int, float], bound: float) -> int | None:
    """The fewest steps that end at `bound` or below."""
    return next((steps for steps, bpb in by_steps.items() if bpb <= bound), None)


def _trained(place: Path, case: Case) -> float:
    corpus, config = Corpus.open(place), TrainConfig.model_validate(_recipe(case))
    model = build_model(ARCH, corpus.manifest.vocab_size, config.seed)
    trainer = Trainer(model, Batches(corpus.split("train"), ARCH.context_len, config.seed), config)
    if config.optimizer == "adamw":
        _as_nanogpt(trainer, case.rate)
    for _ in trainer.run_to(case.steps, decay_from=case.steps // 2):
        pass
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    scored = bits_per_byte(model, corpus.split("valid"), vocabulary.bytes_per_token, SCORE_TOKENS, trainer.config.precision)
    return round(scored.bits_per_byte, 4)


def _recipe(case: Case) -> dict[str, object]:
    if case.first_beta is None:
        return _scaled(case.rate)
    return {"optimizer": "adamw", "betas": (case.first_beta, 0.95)}


def _as_nanogpt(trainer: Trainer, rate: float) -> None:
    """One rate whatever the width and the kind; whatever has two dimensions decays."""
    for optimizer in trainer._optimizers:
        for group in optimizer.param_groups:
            group.update(lr=rate, base_rate=rate, weight_decay=0.1 if group["params"][0].ndim >= 2 else 0.0)
