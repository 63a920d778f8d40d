"""Settings of the stages of a run. The tables [search], [train], [serve] and [record] of a job file (TOML) have exactly these keys."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from codenas.arch import ArchSpec
from codenas.arch.cost import training_flops_per_token
from codenas.corpus import Corpus
from codenas.errors import ConfigError
from codenas.experiment.config import ExperimentSetup
from codenas.measure.latency_model import Calibration
from codenas.processes import MAX_THREADS
from codenas.search.config import SearchConfig, SpaceChoice
from codenas.search.static_metrics import MinLatency
from codenas.train.config import TrainConfig

Share = Annotated[float, Field(ge=0, le=1)]

# Length of the branch that scores a rung, as a share of the rung. Over recorded architectures a score after 50 steps correlates
# better with the score after 300 on such a branch than on the moving average (`python -m benchmarks fidelity`).
SCORE_DECAY = 0.6


class TrialResources(BaseModel):
    """The resources of one trial and how it is scored. With GPUs in the cluster a trial takes one; without, `cpus` threads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: float = Field(
        1.0, gt=0, le=MAX_THREADS, description="CPUs per trial, a fraction below 1 or a whole number; it runs as many threads, at least one"
    )
    gpus: float | None = Field(None, ge=0, description="GPUs per trial; by default one if the cluster has any")
    accelerator_type: str | None = Field(
        None,
        validation_alias=AliasChoices("accelerator_type", "card"),  # card: the name in earlier versions
        description="kind of GPU that trials run on, by words of its name (RTX 4090, H100)",
    )
    latency_device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="device that latencies are measured on: choose the one that will serve the model (`codenas serve --device`); cuda: "
        "the GPU of the trial, of one kind in the whole search",
    )
    score_tokens: int = Field(16_384, ge=1, description="validation tokens, in the corpus's own vocabulary, that a rung is scored on")
    score_decay: Share | tuple[Share, ...] | Literal["auto"] = Field(
        "auto",
        description="score a rung on a branch whose learning rate decays, as long as this share of the rung; 0: on the moving average of "
        f"the weights; one number for all rungs, or one per rung; auto: {SCORE_DECAY:g} for every rung but the last",
    )
    latency_tokens: int = Field(64, ge=1, description="tokens that a latency is measured on")
    retries: int = Field(2, ge=0, description="restarts of a trial from its checkpoint after its process died")
    patience: float = Field(60, ge=0, description="seconds to wait for nodes when no node left can run a trial")

    @field_validator("cpus")
    @classmethod
    def _whole_above_one(cls, cpus: float) -> float:
        if cpus > 1 and cpus != int(cpus):
            raise ValueError(
                f"{cpus:g} CPUs per trial are neither a fraction below 1 nor a whole number; choose {int(cpus)} or {int(cpus) + 1}"
            )
        return cpus

    @model_validator(mode="after")
    def _latency_has_a_gpu_of_its_own(self) -> Self:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"{self.gpus:g} GPUs per trial are neither a fraction below 1 nor a whole number; choose {int(self.gpus)}")
        if self.latency_device == "cuda" and self.gpus is not None and self.gpus < 1:
            shares = f"{self.gpus:g} GPUs per trial share a GPU, and latencies cannot be measured beside another trial"
            none = "0 GPUs per trial leave no GPU to measure latency on"
            raise ValueError(f'{shares if self.gpus else none}; choose gpus = 1, or latency_device = "cpu"')
        return self

    @property
    def threads(self) -> int:
        """Threads of one trial."""
        return max(1, int(self.cpus))

    def decay_shares(self, rungs: int) -> tuple[float, ...]:
        """`score_decay` per rung, for a number of rungs.

        `auto` pays for a branch where a rung decides on promotions. The last rung is scored on the moving average: it promotes
        no candidate, a branch costs most there, and the full training of the winner has its own decay.
        """
        if self.score_decay == "auto":
            return (*(SCORE_DECAY for _ in range(rungs - 1)), 0.0)
        return self.score_decay if isinstance(self.score_decay, tuple) else (self.score_decay,) * rungs


class SearchJob(SearchConfig):
    """A search and how its trials run."""

    train: TrainConfig = Field(TrainConfig(batch_size=4), description="the training recipe of all candidates")
    trial: TrialResources = Field(TrialResources(), description="resources and measurements of one trial")
    warm_start: tuple[Path, ...] = Field((), description="folders of earlier runs; the search starts from their trials")
    calibration: Path | None = Field(None, description="target device of the latency limit, from `codenas device calibrate`")

    @model_validator(mode="after")
    def _shares_fit_the_rungs(self) -> Self:
        shares, rungs = self.trial.score_decay, self.budget.rungs
        if isinstance(shares, tuple) and len(shares) != len(rungs):
            raise ValueError(f"trial.score_decay {list(shares)} must have one share per rung; the rungs are {list(rungs)}")
        return self

    def scoring_steps(self) -> dict[int, int]:
        """Steps of the scoring branch by rung; rungs without one are left out."""
        rungs = self.budget.rungs
        by_rung = zip(rungs, self.trial.decay_shares(len(rungs)), strict=True)
        return {rung: steps for rung, share in by_rung if (steps := round(share * rung))}

    def min_latency_ms(self) -> MinLatency | None:
        """A lower bound of the latency on the calibrated device; None without one.

        Raises:
            ConfigError: the calibration cannot be read, or lacks a mixer or a storage that the space may propose.
        """
        if self.calibration is None:
            return None
        calibration = Calibration.load(self.calibration)
        space = self.search_space()
        missing = calibration.missing_kinds({kind for pattern in space.patterns for kind in pattern})
        missing += calibration.missing_storages(space.storages)
        if missing:
            raise ConfigError(
                f"the calibration {self.calibration} has measured no {', '.join(missing)}, which the space {self.space_name} may propose; "
                f"measure them with: codenas device calibrate --space {self._space_argument} --output {self.calibration}"
            )
        return lambda design, vocab_size: calibration.predicted_latency(design, vocab_size).low_ms

    @property
    def _space_argument(self) -> str:
        """What `codenas device calibrate` calls the space."""
        return self.space if isinstance(self.space, str) and not self.choices else "JOB.toml"

    def setup(self, corpus: Corpus, checkpoints: Path) -> ExperimentSetup:
        """The setup of every trial of this search. Its device is chosen on the node that runs the trial."""
        return ExperimentSetup(
            corpus=corpus.path.absolute(),
            folder=checkpoints.absolute(),
            train=self.train,
            objectives=self.objectives,
            score_tokens=self.trial.score_tokens,
            scoring_steps=self.scoring_steps(),
            latency_tokens=self.trial.latency_tokens,
            threads=self.trial.threads,
            device="auto",
            latency_device=self.trial.latency_device,
        )


def migrated_job(job: str) -> str:
    """The JSON of a `SearchJob` that an earlier version may have written, as this version writes it; as it is where it cannot be read."""
    try:
        return SearchJob.model_validate_json(job).model_dump_json()
    except (ValidationError, ConfigError):
        return job


class TrainJob(BaseModel):
    """Training the winner of a search to its end."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(900, ge=1, description="total training steps, including those of the search")
    compute: float | None = Field(None, gt=0, description="total FLOPs; determines the number of steps in place of `steps`")
    decay_share: float = Field(0.5, ge=0, le=1, description="share of all steps over which the rate falls to zero")
    save_every: int = Field(100, ge=1, description="steps between two stored states")
    threads: int | None = Field(None, ge=1, le=MAX_THREADS, description="by default one per core")
    recipe: TrainConfig = Field(TrainConfig(), description="what is to differ from the recipe of the search; all else is taken from that")

    def merged_recipe(self, search: TrainConfig) -> TrainConfig:
        """The recipe of a search with everything that this job sets explicitly put in its place."""
        return search.model_copy(update={name: getattr(self.recipe, name) for name in self.recipe.model_fields_set})

    def with_steps(self, steps: int) -> Self:
        """The same training with `steps` in all, whatever they compute.

        Raises:
            ConfigError: they are fewer than one.
        """
        if steps < 1:
            raise ConfigError(f"steps {steps:,} must be at least 1")
        return self.model_copy(update={"steps": steps, "compute": None})

    def steps_of(self, arch: ArchSpec, vocab_size: int, batch_size: int) -> int:
        """Steps in all of a winner that is `arch`."""
        if self.compute is None:
            return self.steps
        per_step = training_flops_per_token(arch, vocab_size) * arch.context_len * batch_size
        return max(1, round(self.compute / per_step))

    def require_steps(self, steps: int, trained: int) -> None:
        """See that `steps` in all are at least those that a search has `trained` its winner for.

        Raises:
            ConfigError: they are fewer.
        """
        if steps < trained:
            setting = "--steps or train.steps" if self.compute is None else "train.compute"
            raise ConfigError(f"{steps:,} training steps in all are fewer than the {trained:,} of the search; raise {setting}")


class ServeJob(BaseModel):
    """Where the model is served."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    port: int = Field(8000, ge=1, le=65535)


class RecordJob(SpaceChoice):
    """A table of architectures and their scores. A larger `count` or `sweeps` extends it; any other change makes another table."""

    count: int = Field(300, ge=1, description="architectures")
    seed: int = Field(0, description="of the draw, weights and batches")
    scored: tuple[int, ...] = Field((50, 300), min_length=1, description="steps after which the moving average of the weights is scored")
    decayed: tuple[int, ...] = Field((50,), description="steps after which a branch whose learning rate decays is scored")
    decay: float = Field(SCORE_DECAY, gt=0, le=1, description="length of that branch, as a share of the steps before it")
    train: TrainConfig = Field(TrainConfig(batch_size=4), description="the recipe of every architecture")
    score_tokens: int = Field(16_384, ge=1, description="validation tokens, in the corpus's own vocabulary, of every score")
    latency_tokens: int = Field(64, ge=1, description="tokens that a latency is measured on")
    sweeps: int = Field(3, ge=1, description="how often each latency is measured; the lowest counts")

    @field_validator("scored", "decayed")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if any(step < 1 for step in steps) or list(steps) != sorted(set(steps)):
            raise ValueError(f"steps {list(steps)} must be positive and rise")
        return steps

    def setup(self, corpus: Corpus, scratch: Path) -> ExperimentSetup:
        """The setup of every training of this recording; what it writes into `scratch` is discarded."""
        return ExperimentSetup(
            corpus=corpus.path.absolute(),
            folder=scratch.absolute(),
            train=self.train,
            score_tokens=self.score_tokens,
            latency_tokens=self.latency_tokens,
            device="auto",
            latency_device="auto",
        )
