"""Job files: TOML with one table per stage. What a file leaves out keeps its default; what nobody knows is refused."""

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codenas.arch import ArchSpec
from codenas.arch.cost import training_flops_per_token
from codenas.errors import ConfigError
from codenas.evaluate.config import EvaluationSettings
from codenas.train.config import TrainConfig
from data_prep.config import PrepareConfig
from tune_jobs.config import RecordJob, SearchJob

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEMO_JOB = Path(__file__).parents[2] / "tune_jobs" / "jobs" / "demo.toml"


class TrainJob(BaseModel):
    """Training the winner on to its end."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(900, ge=1, description="in all, those of the search included")
    compute: float | None = Field(
        None, gt=0, description="FLOPs in all, whatever the winner's size: they say how many steps, `steps` does not"
    )
    decay_share: float = Field(0.5, ge=0, le=1, description="share of all steps over which the rate falls to zero")
    save_every: int = Field(100, ge=1, description="steps between two stored states")
    threads: int | None = Field(None, ge=1, description="by default one per core")
    recipe: TrainConfig = TrainConfig()

    def steps_of(self, arch: ArchSpec, vocab_size: int) -> int:
        """Steps in all of a winner that is `arch`."""
        if self.compute is None:
            return self.steps
        per_step = training_flops_per_token(arch, vocab_size) * arch.context_len * self.recipe.batch_size
        return max(1, round(self.compute / per_step))


class ServeJob(BaseModel):
    """Where the model is served."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    port: int = Field(8000, ge=1, le=65535)


class Job(BaseModel):
    """All stages of the main job, and the recording of a table, which is none of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prepare: PrepareConfig = PrepareConfig()
    search: SearchJob = SearchJob()
    record: RecordJob = RecordJob()
    train: TrainJob = TrainJob()
    evaluate: EvaluationSettings = EvaluationSettings()
    serve: ServeJob = ServeJob()


def load_job(path: Path | None) -> Job:
    """The job in the file at `path`; all defaults without one.

    Raises:
        ConfigError: the file is missing, is no TOML, or has an unknown key or an illegal value (named with its place).
    """
    if path is None:
        return Job()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no job file {path}; the demo's is {DEMO_JOB}") from None
    except OSError as error:
        raise ConfigError(f"the job file {path} cannot be read: {error.strerror}; the demo's is {DEMO_JOB}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _explain(error: ValidationError) -> str:
    """One fault of a job file in one line: place, value, reason, way out. An unknown key goes first: it explains a missing one."""
    first = min(error.errors(), key=lambda fault: (fault["type"] != "extra_forbidden", _is_other_form(fault)))
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {place}; {hint}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{place} = {first['input']!r} is refused: {reason}" if not isinstance(first["input"], dict) else f"{place}: {reason}"


def _is_other_form(fault: "ErrorDetails") -> bool:
    """Whether pydantic complains that a table is no string, where either may stand: the fault is inside the table."""
    return fault["type"] == "string_type" and isinstance(fault["input"], dict)


def _place(location: tuple[int | str, ...]) -> str:
    """The keys that lead there, without the names by which pydantic tells the forms of a value apart."""
    # A form that has a validator or bounds of its own is named `tuple[...]` or `constrained-float`; no key is.
    *above, last = (part for part in map(str, location or ("the file",)) if not {"[", "-"} & set(part))
    return ".".join([*(key for key in above if key.islower() or key.isdigit()), last])


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that a table may have, by walking from `Job` to the parent of `location`."""
    models: list[type[BaseModel]] = [Job]
    for part in location[:-1]:
        values = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        named = [model for model in models if part == _kind(model)]
        models = [inner for value in values for inner in _models_in(value)] or named or models
    return sorted({key for model in models for key in model.model_fields})


def _kind(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value of a type can hold: alone, in a tuple, as one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _models_in(argument)]
