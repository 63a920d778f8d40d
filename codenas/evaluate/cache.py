"""Cached results of suites, one file each: a suite runs again if the model, its corpus or a setting that it depends on has changed."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from codenas.evaluate.suites.base import EvaluationSubject, Result, Suite
from codenas.files import write_atomic


class Cached(BaseModel):
    """The result file of a suite, with everything that the result depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    suite: str
    checkpoint: str
    corpus_digest: str
    settings: dict[str, Any]
    place: str = ""
    result: dict[str, Any]


def checkpoint_digest(subject: EvaluationSubject) -> str:
    """A digest of what a result depends on in a checkpoint: the stored weights, their architecture and storage, the vocabulary."""
    manifest = subject.checkpoint.manifest
    parts = (manifest.weights_sha256, manifest.arch.digest, manifest.storage, manifest.vocab_digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_result(suite: Suite[Result], subject: EvaluationSubject, folder: Path) -> Result | None:
    """The stored result of `suite`; None where there is none, or it is of another model, setting or version."""
    try:
        found = Cached.model_validate_json(_path(suite, folder).read_bytes())
        if found.model_copy(update={"result": {}}) != _cached(suite, subject, {}):
            return None
        return suite.result.model_validate(found.result, strict=False)
    except (FileNotFoundError, ValidationError):
        return None


def write_result(suite: Suite[Result], subject: EvaluationSubject, folder: Path, result: Result) -> None:
    """Store `result` in `folder`."""
    write_atomic(_path(suite, folder), _cached(suite, subject, result.model_dump(mode="json")).model_dump_json(indent=2))


def _path(suite: Suite[Any], folder: Path) -> Path:
    return folder / f"{suite.name}.json"


def _cached(suite: Suite[Any], subject: EvaluationSubject, result: dict[str, Any]) -> Cached:
    return Cached(
        suite=suite.name,
        checkpoint=checkpoint_digest(subject),
        corpus_digest=subject.corpus.manifest.digest,
        settings=subject.settings.model_dump(mode="json", include=set(suite.depends_on)),
        place=suite.place(subject),
        result=result,
    )
