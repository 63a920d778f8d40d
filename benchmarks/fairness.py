"""Is the comparison fair? The best learning rate over widths and depths for every family, and the spread over seeds.

An hour or two on two cores, one training on each; every finished training is a line in `runs/fairness.jsonl`, and a rerun does only what
is missing. `docs/fairness.md` quotes what came out.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks._cores import on_every_core
from benchmarks._corpus import environment_corpus
from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec, MixerSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.corpus import Batches, Corpus
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer
from codenas.vocab import load_vocabulary

RESULTS, PICTURE = Path("runs/fairness.jsonl"), Path("runs/fairness.png")
FAMILIES = ("attention", "linear_attention", "mamba2", "rwkv7")
SHAPES = ((192, 4), (96, 4), (384, 4), (192, 2), (192, 6))  # width, depth
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # on all rates of the recipe
STEPS, BATCH, SCORE_TOKENS = 120, 4, 32_768
SPREAD_SEEDS, SPREAD_RUNGS = 5, (50, 300)


@dataclass(frozen=True, slots=True)
class Case:
    """One training: `decayed` ones end with a decay, the others are scored as a rung is, on the average of the weights."""

    optimizer: str
    family: str
    width: int
    depth: int
    factor: float
    seed: int
    steps: int
    decayed: bool


def measure() -> dict[str, object]:
    """Train what is missing, then fit a parabola to bits per byte over log(rate) for every shape."""
    corpus, done = environment_corpus(), _done()
    missing = [case for case in _cases() if case not in done]
    for case, bpb in on_every_core(partial(_bits_per_byte, corpus.path), missing):
        done[case] = bpb
        _write(case, bpb)
    _draw(done)
    return {"best_factor_on_the_rates": _optima(done), "seed_deviation": _deviations(done)}


def _cases() -> Iterator[Case]:
    for optimizer in ("muon", "adamw"):
        for family in FAMILIES if optimizer == "muon" else FAMILIES[:1]:
            for width, depth in SHAPES:
                for factor in FACTORS:
                    yield Case(optimizer, family, width, depth, factor, 0, STEPS, True)
    for family in FAMILIES:
        for seed in range(SPREAD_SEEDS):
            for steps in SPREAD_RUNGS:
                yield Case("muon", family, 96, 4, 1.0, seed, steps, False)


def architecture(family: str, width: int, depth: int) -> ArchSpec:
    """The same block around every mixer."""
    mixers: dict[str, MixerSpec] = {
        "attention": AttentionSpec(n_heads=width // 32, n_kv_heads=width // 32),
        "linear_attention": LinearAttentionSpec(n_heads=width // 32),
        "mamba2": MambaSpec(head_width=32, state_width=32),
        "rwkv7": RwkvSpec(head_width=32),
    }
    return ArchSpec(
        d_model=width,
        n_layers=depth,
        pattern=(mixers[family],),
        feedforward=FeedForwardSpec(activation="swiglu", multiplier=8 / 3),
        norm="rmsnorm",
        position="rope" if family == "attention" else "none",
        context_len=256,
    )


def _bits_per_byte(place: Path, case: Case) -> float:
    corpus, plain = Corpus.open(place), TrainConfig()
    config = TrainConfig.model_validate(
        {
            "batch_size": BATCH,
            "optimizer": case.optimizer,
            "seed": case.seed,
            **{name: case.factor * getattr(plain, name) for name in ("matrix_rate", "adam_rate", "embedding_rate", "gain_rate")},
        }
    )
    arch = architecture(case.family, case.width, case.depth)
    model = build_model(arch, corpus.manifest.vocab_size, case.seed)
    trainer = Trainer(model, Batches(corpus.split("train"), arch.context_len, case.seed), config)
    for _ in trainer.run_to(case.steps, case.steps // 2 if case.decayed else None):
        pass
    if not case.decayed:
        model.load_state_dict(trainer.averaged_weights())
    sizes = load_vocabulary(corpus.tokenizer_path).bytes_per_token
    return bits_per_byte(model, corpus.split("valid"), sizes, SCORE_TOKENS, trainer.config.precision).bits_per_byte


def _draw(done: dict[Case, float]) -> None:
    """Bits per byte over the factor on the rates: a panel for every family, a line for every shape."""
    panels = _curves(done)
    figure = Figure(figsize=(3 * len(panels), 3.2), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, shapes) in zip(grid, panels.items(), strict=True):
        for shape, curve in shapes.items():
            axes.plot(curve.keys(), curve.values(), marker="o", markersize=3, label=shape)
        axes.set(title=title, xscale="log", xlabel="factor on all rates", xticks=FACTORS, xticklabels=FACTORS)
        axes.minorticks_off()
    grid[0].set_ylabel("bits per byte")
    grid[0].legend(title="layers x width", fontsize="small")
    figure.savefig(PICTURE, dpi=110)


def _curves(done: dict[Case, float]) -> dict[str, dict[str, dict[float, float]]]:
    """By optimizer and family, then by shape: bits per byte of each factor on the rates."""
    curves: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for case in _cases():  # in their order, whatever that of the trainings was: a shape has the same colour in every panel
        if case.decayed and case in done:
            curves[f"{case.optimizer} {case.family}"][f"{case.depth} x {case.width}"][case.factor] = done[case]
    return curves


def _optima(done: dict[Case, float]) -> dict[str, dict[str, float]]:
    """Where the parabola through (log2 factor, bits per byte) of a shape has its foot, and the ratio of the outermost feet."""
    found: dict[str, dict[str, float]] = {}
    for family, shapes in _curves(done).items():
        feet = {shape: _foot(curve) for shape, curve in shapes.items() if len(curve) == len(FACTORS)}
        found[family] = {shape: round(foot, 2) for shape, foot in feet.items()}
        if feet:
            found[family]["ratio"] = round(max(feet.values()) / min(feet.values()), 2)
    return found


def _foot(curve: dict[float, float]) -> float:
    square, slope, _ = np.polyfit(np.log2(list(curve)), list(curve.values()), 2)
    return float(2 ** (-slope / (2 * square)))


def _deviations(done: dict[Case, float]) -> dict[str, dict[int, float]]:
    """Standard deviation of bits per byte over seeds (of weights and of the order of the data), by family and rung."""
    scores: dict[tuple[str, int], list[float]] = defaultdict(list)
    for case, bpb in done.items():
        if not case.decayed:
            scores[case.family, case.steps].append(bpb)
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for (family, steps), values in scores.items():
        found[family][steps] = round(statistics.stdev(values), 4)
    return dict(found)


def _done() -> dict[Case, float]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    read = [json.loads(line) for line in lines]
    return {Case(**{name: value for name, value in line.items() if name != "bits_per_byte"}): line["bits_per_byte"] for line in read}


def _write(case: Case, bpb: float) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps({**asdict(case), "bits_per_byte": bpb}) + "\n")
