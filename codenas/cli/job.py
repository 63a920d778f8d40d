"""Job files: TOML with one table per stage. What a file leaves out keeps its default; what nobody knows is refused."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codenas.errors import ConfigError
from codenas.evaluation import EvaluationSettings
from codenas.train import TrainConfig
from data_prep.config import PrepareConfig
from tune_jobs.config import SearchJob

DEMO_JOB = Path(__file__).parents[2] / "tune_jobs" / "jobs" / "demo.toml"


class TrainJob(BaseModel):
    """Training the winner on to its end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(900, ge=1, description="in all, those of the search included")
    decay_share: float = Field(0.5, ge=0, le=1, description="share of all steps over which the rate falls to zero")
    save_every: int = Field(100, ge=1, description="steps between two stored states")
    threads: int | None = Field(None, ge=1, description="by default one per core")
    recipe: TrainConfig = TrainConfig()


class ServeJob(BaseModel):
    """Where the model is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(8000, ge=1, le=65535)


class Job(BaseModel):
    """All stages of the main job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prepare: PrepareConfig = PrepareConfig()
    search: SearchJob = SearchJob()
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _explain(error: ValidationError) -> str:
    """The first fault of a job file in one line: place, value, reason, way out."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {place}; {hint}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{place} = {first['input']!r} is refused: {reason}" if not isinstance(first["input"], dict) else f"{place}: {reason}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that a table may have, by walking from `Job` to the parent of `location`."""
    model: Any = Job
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else None
    return sorted(getattr(model, "model_fields", {}))
