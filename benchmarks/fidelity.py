"""How far 50 steps can be trusted: their rank correlation with 300, plain and on branches of falling rate.

Half an hour on two cores; every finished design is a line in `runs/fidelity.jsonl`, and a rerun does only what is missing.
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks._corpus import environment_corpus
from codenas.arch import Design, preset
from codenas.corpus import Batches, Corpus
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.model import build_model
from codenas.search.fidelity import spearman
from codenas.seeds import stream
from codenas.train import TrainConfig, Trainer
from codenas.vocab import load_vocabulary

RESULTS = Path("runs/fidelity.jsonl")
DESIGNS, LOW, HIGH, BRANCHES, BATCH, SCORE_TOKENS = 16, 50, 300, (10, 20, 30), 8, 16_384
RESAMPLES = 2_000
PLAIN = "plain"


def measure() -> dict[str, object]:
    """Spearman's correlation with the score after 300 steps, and the middle 95 % of it over resamples of the designs."""
    torch.set_num_threads(1)
    corpus, rng = environment_corpus(), stream(0, "fidelity")
    done = _done()
    for design in (preset("tiny").sample(rng) for _ in range(DESIGNS)):
        if design.digest not in done:
            done[design.digest] = _scores(corpus, design)
            _write(design, done[design.digest])
    rows = list(done.values())
    return {"designs": len(rows), **{name: _correlation(rows, name) for name in (PLAIN, *map(_branch, BRANCHES))}}


def _scores(corpus: Corpus, design: Design) -> dict[str, float]:
    model = build_model(design.arch, corpus.manifest.vocab_size)
    trainer = Trainer(model, Batches(corpus.split("train"), design.arch.context_len, 0), TrainConfig(batch_size=BATCH))
    scores = {PLAIN: _plain(corpus, trainer, LOW)}
    root = _copied(trainer.state())
    for steps in BRANCHES:
        _run(trainer, LOW + steps, decay_from=LOW)
        scores[_branch(steps)] = _score(corpus, trainer)
        trainer.load_state(_copied(root))
    return {**scores, str(HIGH): _plain(corpus, trainer, HIGH)}


def _plain(corpus: Corpus, trainer: Trainer, rung: int) -> float:
    """The score of the moving average, as a rung without a branch has it; the weights stay."""
    _run(trainer, rung)
    weights = _copied(trainer.model.state_dict())
    trainer.model.load_state_dict(trainer.averaged_weights())
    score = _score(corpus, trainer)
    trainer.model.load_state_dict(weights)
    return score


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def _run(trainer: Trainer, last_step: int, decay_from: int | None = None) -> None:
    for _ in trainer.run_to(last_step, decay_from):
        pass


def _score(corpus: Corpus, trainer: Trainer) -> float:
    sizes = load_vocabulary(corpus.tokenizer_path).bytes_per_token
    return bits_per_byte(trainer.model, corpus.split("valid"), sizes, SCORE_TOKENS, trainer.config.precision).bits_per_byte


def _correlation(rows: list[dict[str, float]], name: str) -> dict[str, float | list[float] | None]:
    pairs = [(row[name], row[str(HIGH)]) for row in rows]
    rng = random.Random(0)
    resampled = [spearman(*zip(*rng.choices(pairs, k=len(pairs)), strict=True)) for _ in range(RESAMPLES)]
    low, high = np.percentile([rho for rho in resampled if rho is not None], [2.5, 97.5])
    return {"spearman": spearman(*zip(*pairs, strict=True)), "interval": [round(float(low), 2), round(float(high), 2)]}


def _branch(steps: int) -> str:
    return f"branch of {steps} steps"


def _done() -> dict[str, dict[str, float]]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {line["digest"]: line["scores"] for line in map(json.loads, lines)}


def _write(design: Design, scores: dict[str, float]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps({"digest": design.digest, "scores": scores}) + "\n")
