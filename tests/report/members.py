"""Designs in which every member of every choice occurs, and a finished search that trained them."""

import random
from collections.abc import Sequence
from functools import cache

from codenas.arch import Design, preset
from codenas.arch.cost import parameters, stored_bytes
from codenas.arch.mixers import MIXER_SPECS
from codenas.metrics import Metrics, TrainingCurve
from codenas.report.page_data import Event, SearchRecord
from codenas.search.candidate import Budget, Candidate, Failure, Proposal, Refusal, Report
from codenas.search.config import SearchConfig
from codenas.search.fitness import Objective
from codenas.search.history import history_of
from codenas.search.result import Effort, conclude

VOCABULARIES = ("char", "bpe-300")
CHOICES = {"vocabulary": [None, *VOCABULARIES]}
SPACE = preset("full").refined({"vocabulary": (None, *VOCABULARIES)})
RUNGS = (10, 30)
SEEDS = (0, 1)  # of searches over designs drawn at random
OBJECTIVES = (
    Objective(metric="bits_per_byte", weight=1.0),
    Objective(metric="size_bytes", limit=50e9),
    Objective(metric="latency_ms_p50", limit=250.0),
    Objective(metric="peak_memory_bytes"),  # not measured here; a metric that tables show only where it is asked for
)


def drawn(seed: int, count: int = 8) -> list[Design]:
    """Different designs of the preset `full`, over several vocabularies."""
    rng, found = random.Random(seed), dict[str, Design]()
    while len(found) < count:
        design = SPACE.sample(rng)
        found.setdefault(design.digest, design)
    return list(found.values())


@cache
def covering() -> tuple[Design, ...]:
    """Designs in which every choice of every field occurs, where it is active, and every mixer, of the preset or not."""
    rng, missing, found = random.Random(0), {(field, value) for field, values in SPACE.choices.items() for value in values}, list[Design]()
    while missing:
        design = SPACE.sample(rng)
        kinds = {mixer.kind for mixer in design.arch.pattern}
        active = {pair for pair in SPACE.flatten(design).items() if not pair[0].startswith("pattern.") or pair[0].split(".")[1] in kinds}
        if active & missing:
            missing -= active
            found.append(design)
    others = [spec for spec in MIXER_SPECS if not any(isinstance(mixer, spec) for each in found for mixer in each.arch.pattern)]
    return (*found, *(Design(arch=found[0].arch.model_copy(update={"pattern": (spec(kind=spec.family()),)})) for spec in others))


def labels(design: Design) -> dict[str, set[str]]:
    """What a reader must find of `design`, by the kind of member."""
    arch = design.arch
    return {
        "mixer": {mixer.label for mixer in arch.pattern},
        "norm": {arch.norm},
        "position": {arch.position},
        "activation": {arch.feedforward.activation},
        "storage": {design.storage},
        "pruning": {f"{100 * design.pruning:.0f} %"} if design.pruning else set(),
        "vocabulary": {design.vocabulary} if design.vocabulary else set(),
    }


def search_over(designs: Sequence[Design], vocab_size: int, seed: int = 0, curve: bool = True) -> SearchRecord:
    """A finished search in which all of `designs` are on the Pareto front, one more was refused and one failed."""
    budget = Budget(candidates=len(designs) + 2, rungs=RUNGS, promote=(len(designs),))
    config = SearchConfig(space="full", choices=CHOICES, strategy="random", budget=budget, objectives=OBJECTIVES, seed=seed)
    lost = drawn(100 + seed, 2)
    events: list[Event] = [
        Proposal(candidate=Candidate(index=index, design=design, origin="random", seed=index))
        for index, design in enumerate([*designs, *lost])
    ]
    by_size = sorted(designs, key=lambda design: stored_bytes(design.stored_arch, vocab_size, design.storage))
    for rung in RUNGS:
        for index, design in enumerate(designs):
            events.append(_report(index, design, rung, by_size.index(design) / len(designs), vocab_size, curve))
    events.append(Refusal(index=len(designs), reason="size_bytes 60000000 is outside its limit", metrics=Metrics(size_bytes=60_000_000)))
    events.append(Failure(index=len(designs) + 1, rung=RUNGS[0], reason="diverged", curve=_curve(RUNGS[0]) if curve else None))
    history = history_of(events)
    result = conclude(config.plan(vocab_size), history, Effort(2, 60.0, 100, 90.0))
    return SearchRecord(
        "runs/all", "corpora/mine", config.model_dump(mode="json"), config, events, history.trials, result, {None: vocab_size}
    )


def _report(index: int, design: Design, rung: int, place: float, vocab_size: int, curve: bool) -> Report:
    metrics = Metrics(
        bits_per_byte=4.0 - place - rung / 100,  # the larger, the better: nobody dominates
        params=parameters(design.stored_arch, vocab_size),
        size_bytes=stored_bytes(design.stored_arch, vocab_size, design.storage),
        latency_ms_p50=1.0 + place,
    )
    checkpoint, steps = f"c{index:03d}/{rung}", rung - (RUNGS[0] if rung > RUNGS[0] else 0)
    recorded = _curve(rung) if curve else None
    return Report(index=index, rung=rung, steps=steps, metrics=metrics, seconds=1.0, checkpoint=checkpoint, curve=recorded)


def _curve(rung: int) -> TrainingCurve:
    return TrainingCurve(worker="host:1", started=1_000.0 + rung, seconds=1.0, losses=((rung, 3.0),))
