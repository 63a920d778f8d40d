"""The option `--set KEY=VALUE` of every command that reads a job file."""

import contextlib
import json
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from codenas.errors import ConfigError

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the job file, the value as TOML: --set search.budget.candidates=6. May be given several times.",
    ),
]


def parse_override(override: str) -> dict[str, Any]:
    """The tables of `KEY=VALUE`, with a dotted key; a value that is no TOML is a string, so that a shell needs no double quotes.

    Raises:
        ConfigError: it has no key, or no `=`.
    """
    key, equals, value = override.partition("=")
    if equals:
        for written in (value, json.dumps(value)):
            with contextlib.suppress(tomllib.TOMLDecodeError):
                return tomllib.loads(f"{key} = {written}")
    raise ConfigError(f"--set {override} is not KEY=VALUE; an example: --set search.budget.candidates=6")


def merge(content: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Update `content` with `more`: tables are merged, every other value replaces that of the same key."""
    for key, value in more.items():
        held = content.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            merge(held, value)
        else:
            content[key] = value
