"""How to run a search again, and what to do with its winner: a job file and commands, ready to be copied."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def job_file(job: Mapping[str, Any]) -> str | None:
    """The job file (TOML) that asks for `job`, the parsed JSON of a search; None where it holds what TOML has no word for."""
    try:
        lines = [f"{_key(name)} = {_value(value)}" for name, value in job.items() if value not in (None, {})]
    except TypeError:
        return None
    return "\n".join(["[search]", *lines]) + "\n"


def commands(run: str, corpus: str | None, steps: int, finished: bool) -> tuple[tuple[str, str], ...]:
    """What they are for, and the commands; `steps` is the last rung, which a training has to exceed."""
    folder, source = shlex.quote(run), shlex.quote(corpus) if corpus else "CORPUS"
    again = shlex.quote(f"{run.rstrip('/')}-again")
    repeat = ("search again, with the job above as job.toml", f"codenas search --corpus {source} --run {again} --job job.toml")
    if not finished:
        return ("go on where it stands, with the job above as job.toml", f"codenas search --run {folder} --job job.toml"), repeat
    return (
        repeat,
        ("promote the winner: train it on", f"codenas train --run {folder} --steps {10 * steps}"),
        ("evaluate what came of it", f"codenas evaluate --run {folder}"),
        ("serve it", f"codenas serve --run {folder} --port 8000"),
        ("ask it", "codenas complete --url http://127.0.0.1:8000 'def read_json(path):'"),
    )


def _value(value: Any) -> str:
    """`value` as TOML on one line. What is None in a table is left out: its default says the same."""
    if isinstance(value, bool | str | int | float):
        return json.dumps(value, ensure_ascii=False)  # a string of TOML may hold what one of JSON holds
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(each)}" for name, each in value.items() if each is not None) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    raise TypeError(f"TOML has no {value!r}")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
