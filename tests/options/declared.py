"""Every command and its options, read from what the command line itself declares: a new option is picked up by itself."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from codenas.cli.app import app


@dataclass(frozen=True, slots=True)
class Option:
    """An option or an argument. `kind` is its type without None and list; a flag has `words` to choose from and no value."""

    name: str
    words: tuple[str, ...]
    kind: type
    is_flag: bool
    is_argument: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command of one word or two, and what can be said to it."""

    path: tuple[str, ...]
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        """As it is typed."""
        return " ".join(self.path)


def commands() -> tuple[Command, ...]:
    """All commands of `codenas` that take an option or an argument."""
    return tuple(_walk(typer.main.get_command(app), ()))


def _walk(node: Any, path: tuple[str, ...]) -> Iterator[Command]:
    options = tuple(_options(node))
    if path and options:
        yield Command(path, options)
    for name, inner in getattr(node, "commands", {}).items():
        yield from _walk(inner, (*path, name))


def _options(node: Any) -> Iterator[Option]:
    if node.callback is None:
        return
    kinds = {name: _kind(each.annotation) for name, each in inspect.signature(node.callback, eval_str=True).parameters.items()}
    for each in node.params:
        if each.name in kinds:
            is_argument = each.param_type_name == "argument"
            yield Option(each.name, (*each.opts, *each.secondary_opts), kinds[each.name], getattr(each, "is_flag", False), is_argument)


def _kind(annotation: Any) -> type:
    """The type of one value of a parameter: `list[Path] | None` gives Path, a class that parses paths of its own counts as one."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _kind(next(each for each in get_args(annotation) if each is not type(None)))
    if get_origin(annotation) is list:
        return _kind(get_args(annotation)[0])
    kind: type = annotation if isinstance(annotation, type) else str
    return PurePath if issubclass(kind, PurePath) else kind
