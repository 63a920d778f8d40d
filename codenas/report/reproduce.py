"""The job file and the commands that reproduce a search and use its winner."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any


def job_file(job: Mapping[str, Any]) -> str:
    """The job file (TOML) of `job`, the parsed JSON of a search."""
    lines = [f"{_key(name)} = {_value(value)}" for name, value in job.items() if value not in (None, {})]
    return "\n".join(["[search]", *lines]) + "\n"


def commands(run: str, corpus: str | None, steps: int, finished: bool) -> tuple[tuple[str, str], ...]:
    """Commands with their purposes; `steps` is the last rung, which the full training must exceed."""
    folder, source = shlex.quote(run), shlex.quote(corpus) if corpus else "CORPUS"
    again = shlex.quote(f"{run.rstrip('/')}-again")
    repeat = ("run the search again, with the job above as job.toml", f"codenas search --corpus {source} --run {again} --job job.toml")
    if not finished:
        return ("resume the search, with the job above as job.toml", f"codenas search --run {folder} --job job.toml"), repeat
    return (
        repeat,
        ("train the winner in full", f"codenas train --run {folder} --steps {10 * steps}"),
        ("evaluate the trained model", f"codenas evaluate --run {folder}"),
        ("serve it", f"codenas serve --run {folder} --port 8000"),
        ("request a completion", "codenas complete --url http://127.0.0.1:8000 'def read_json(path):'"),
    )


def _value(value: Any) -> str:
    """`value` as TOML on one line. None in a table is left out, as it is the default; in a list it is "none", as job files have it."""
    if value is None:
        return json.dumps("none")
    if isinstance(value, bool | str | int | float):
        return json.dumps(value, ensure_ascii=False)  # JSON strings are valid TOML strings
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(each)}" for name, each in value.items() if each is not None) + " }"
    return "[" + ", ".join(map(_value, value)) + "]"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
