"""Files of benchmark problems: JSON lines or one JSON list, plain or compressed with gzip."""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from codenas.errors import ConfigError, first_error
from codenas.files import without_bom
from codenas.problems.records import HumanEvalProblem, MbppProblem, Problem


def load_problems(path: Path) -> list[Problem]:
    """The problems in a file, in its order; at least one.

    Raises:
        ConfigError: the file is missing, is not JSON, is empty, or has a record of another format.
    """
    try:
        data = path.read_bytes()
        records = _parse(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"the benchmark {path} cannot be read: {reason}; give a file of JSON, plain or in gzip") from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise ConfigError(f"the benchmark {path} has {len(records)} records, and not all are objects; give one a line, or a list of them")
    return [parse_problem(record, path) for record in records]


def parse_problem(record: Mapping[str, Any], path: Path) -> Problem:
    """The problem in one record of the file `path`.

    Raises:
        ConfigError: the record is neither in the format of HumanEval nor of MBPP.
    """
    keys = record.keys()
    try:
        if keys >= {"task_id", "prompt", "canonical_solution"}:
            return HumanEvalProblem.model_validate(record)
        if keys >= {"task_id", "code"} and keys & {"text", "prompt"}:
            return MbppProblem.model_validate(record)
    except ValidationError as error:
        raise ConfigError(f"{path} has a record with a wrong value ({first_error(error)}); restore the file of the benchmark") from None
    raise ConfigError(
        f"{path} has a record with the keys {', '.join(map(str, record)) or 'none'}; a benchmark has task_id, prompt and "
        "canonical_solution (HumanEval), or task_id, text and code (MBPP)"
    )


def _parse(data: bytes) -> list[Any]:
    """One record a line, or all of them in one list, the format of sanitised MBPP."""
    text = without_bom(data).decode()
    if text.lstrip().startswith("["):
        records: list[Any] = json.loads(text)
        return records
    # Not splitlines: U+2028, U+2029 and U+0085 end a line for Python, and may stand inside a JSON string.
    return [json.loads(line) for line in text.split("\n") if line.strip()]
