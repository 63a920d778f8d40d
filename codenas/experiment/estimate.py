"""What a job will take before it is run: steps, tokens, FLOPs, memory, disk, and the time on given devices, with its assumptions.

Steps are counted; they are upper bounds, as promotion may stop earlier and refused candidates are not trained. Tokens and FLOPs follow
from designs drawn at random from the space, inside the limits that are known before training. Memory, disk and time are estimates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from codenas.arch.cost import training_flops_per_token
from codenas.arch.design import Design
from codenas.errors import BudgetError
from codenas.experiment.jobs import SearchJob, TrainJob
from codenas.search.limits import refusal_reason
from codenas.search.plan import Plan
from codenas.seeds import stream

SAMPLE = 100  # designs
_DRAWS = 20  # for every design that is wanted
MODEL_FLOPS_UTILISATION = 0.25  # assumed of a GPU: small models in steps of ten thousands of tokens, not compiled
_STATE_BYTES = 16  # per parameter, in float32: weights, their average, up to two moments
_TRAINING_BYTES = 36  # per parameter, in float32: such a state, a copy of it while a branch scores a rung, the gradients
# Per layer, token and unit of width: what is kept for the backward pass. Saved tensors under bfloat16 autocast on a CPU took 64 to 138
# (attention to RWKV-7, feed-forward networks of 8/3 to 4 widths).
_ACTIVATION_BYTES = 140
_LOGIT_BYTES = 10  # per token and id of the vocabulary: logits in bfloat16 and float32, their gradient
_STATES = 4  # training states on the disk per trial at a time and promoted candidate, at most


@dataclass(slots=True, frozen=True)
class Stage:
    """A part of a job: trainings of one kind, with all of their steps, those that only score a rung included."""

    name: str
    trainings: int
    steps: int


@dataclass(slots=True, frozen=True)
class DesignSample:
    """Means, and the largest, over designs of a space.

    Attributes:
        tokens: per sequence, the mean context length.
        flops: of a training step per sequence, the mean.
        parameters: in training: mean and largest.
        memory_bytes: of the training of the largest.
    """

    designs: int
    tokens: float
    flops: float
    parameters: float
    largest_parameters: int
    memory_bytes: float


@dataclass(slots=True, frozen=True)
class Device:
    """What trains: its name, its speed in FLOP/s, and how the speed is known.

    The final training takes all cores of a CPU (`cores`), and one GPU.
    """

    name: str
    flops: float
    basis: str
    cores: bool = False


@dataclass(slots=True, frozen=True)
class Estimate:
    """What a job will take.

    Attributes:
        search: its stages; `final` is the training of the winner to its end.
        batch_size: sequences per step of the search; `final_batch_size` those of the final training.
    """

    search: tuple[Stage, ...]
    final: Stage
    sample: DesignSample
    batch_size: int
    final_batch_size: int
    rungs_stored: int

    def tokens(self, stage: Stage) -> float:
        """Training tokens of a stage."""
        return stage.steps * self._batch(stage) * self.sample.tokens

    def flops(self, stage: Stage) -> float:
        """Training FLOPs of a stage."""
        return stage.steps * self._batch(stage) * self.sample.flops

    def disk_bytes(self, workers: int) -> float:
        """Space of the run: stored weights of every rung, and training states while `workers` trials run at a time."""
        promoted = self.search[1].trainings if len(self.search) > 1 else 0
        return self.sample.parameters * (2 * self.rungs_stored + _STATE_BYTES * _STATES * (workers + promoted))

    def search_seconds(self, devices: Sequence[Device]) -> float:
        """Time of the search on `devices`, one trial on each at a time."""
        return sum(self.flops(stage) for stage in self.search) / sum(device.flops for device in devices)

    def final_seconds(self, devices: Sequence[Device]) -> float:
        """Time of the final training, which takes all cores, or the fastest GPU."""
        cores, gpus = ([device.flops for device in devices if device.cores == kind] for kind in (True, False))
        return self.flops(self.final) / max(sum(cores), *gpus, 0.0)

    def _batch(self, stage: Stage) -> int:
        return self.final_batch_size if stage is self.final else self.batch_size


def estimate(job: SearchJob, train: TrainJob, plan: Plan) -> Estimate:
    """What the search of `job` (as `plan`) and the final training `train` will take.

    Raises:
        BudgetError: no design of the space is inside the limits.
    """
    recipe = train.merged_recipe(job.train)
    sample = sample_designs(plan, recipe.micro_batch or job.train.batch_size)
    steps = train.steps if train.compute is None else round(train.compute / (sample.flops * recipe.batch_size))
    stages = search_stages(job)
    return Estimate(
        search=stages,
        final=Stage("final training", 1, max(0, steps - job.budget.rungs[-1])),
        sample=sample,
        batch_size=job.train.batch_size,
        final_batch_size=recipe.batch_size,
        rungs_stored=sum(stage.trainings for stage in stages),
    )


def search_stages(job: SearchJob) -> tuple[Stage, ...]:
    """The stages of the search of `job`: rungs, and repeats of the finalists."""
    budget, scoring = job.bounds, job.scoring_steps()
    stages = [
        Stage(f"rung {rung}", count, count * (rung - below + scoring.get(rung, 0)))
        for count, (below, rung) in zip((budget.candidates, *budget.promote), pairwise((0, *budget.rungs)), strict=True)
    ]
    last = budget.rungs[-1]
    repeats = budget.repeat_trainings(stages[-1].trainings)
    return (*stages, *([Stage("repeats", repeats, repeats * (last + scoring.get(last, 0)))] if repeats else []))


def sample_designs(plan: Plan, micro_batch: int) -> DesignSample:
    """Means over random designs of the plan's space that are inside the limits.

    Raises:
        BudgetError: there are none.
    """
    rng, found = stream(plan.seed, "estimate"), list[Design]()
    for _ in range(SAMPLE * _DRAWS):
        design = plan.space.sample(rng)
        if refusal_reason(plan.static_metrics, design, plan.objectives) is None:
            found.append(design)
        if len(found) == SAMPLE:
            break
    if not found:
        raise BudgetError(f"of {SAMPLE * _DRAWS:,} random designs none is inside the limits; relax them, or choose a smaller space")
    sizes = [plan.static_metrics.vocabulary(design).ids for design in found]
    flops = [training_flops_per_token(d.arch, ids) * d.arch.context_len for d, ids in zip(found, sizes, strict=True)]
    counts = [plan.static_metrics.trained_parameters(design) for design in found]
    memory = [_memory(d, n, ids, micro_batch) for d, n, ids in zip(found, counts, sizes, strict=True)]
    contexts = [design.arch.context_len for design in found]
    return DesignSample(len(found), fmean(contexts), fmean(flops), fmean(counts), max(counts), max(memory))


def _memory(design: Design, parameters: int, vocab_size: int, micro_batch: int) -> float:
    """Bytes of the training of `design`: states in float32, activations mostly in bfloat16."""
    arch = design.arch
    activations = _ACTIVATION_BYTES * arch.n_layers * arch.d_model + _LOGIT_BYTES * vocab_size
    return parameters * _TRAINING_BYTES + micro_batch * arch.context_len * activations
