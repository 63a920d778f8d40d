"""Job files: TOML with one table per stage. What a file leaves out keeps its default; an unknown key is refused; "none" is None."""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.cli.none_values import replace_none
from codenas.cli.overrides import merge, parse_override
from codenas.cli.validation_errors import explain
from codenas.errors import ConfigError
from codenas.evaluate.config import EvaluationSettings
from codenas.experiment.jobs import RecordJob, SearchJob, ServeJob, TrainJob
from codenas.files import read_user_text
from data_prep.config import PrepareConfig

DEMO_JOB = Path(str(files("tune_jobs").joinpath("jobs", "demo.toml")))  # a wheel has it too


class Job(BaseModel):
    """All stages of the main job, and the recording of a table, which is none of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prepare: PrepareConfig = PrepareConfig()
    search: SearchJob = SearchJob()
    record: RecordJob = RecordJob()
    train: TrainJob = TrainJob()
    evaluate: EvaluationSettings = EvaluationSettings()
    serve: ServeJob = ServeJob()


def load_job(path: Path | None, overrides: Sequence[str] = ()) -> Job:
    """The job in the file at `path`; all defaults without one.

    Args:
        overrides: `KEY=VALUE`, a dotted key and a value as TOML, which replaces that of the file: `search.budget.rungs=[10, 60]`. A
            table is merged into that of the file. A value that is no TOML is a string.

    Raises:
        ConfigError: the file is missing, is no TOML, or has an unknown key or an illegal value (named with its place).
    """
    content = {} if path is None else _read(path)
    for override in overrides:
        merge(content, parse_override(override))
    place = " ".join([*([str(path)] if path is not None else []), *(["with --set"] if overrides else [])])
    try:
        return Job.model_validate(replace_none(content, Job))
    except ValidationError as error:
        raise ConfigError(f"{place}: {explain(error, Job)}") from error
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_user_text(path))
    except FileNotFoundError:
        raise ConfigError(f"there is no job file {path}; the demo's is {DEMO_JOB}") from None
    except OSError as error:
        raise ConfigError(f"the job file {path} cannot be read: {error.strerror}; the demo's is {DEMO_JOB}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
