"""A Sphinx extension: reference pages that are generated from the code, so that they cannot fall behind it.

{commands}         every command of the command line with its arguments and options
{settings} CLASS   a table of a job file, from its pydantic model: keys, types, defaults, meanings
{modules}          the source tree, each module with the first line of its docstring
"""

import ast
import json
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import typer.main
from docutils.nodes import Node
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from codenas.cli.app import app as command_line

ROOT = Path(__file__).parents[1]
PACKAGES = ("codenas", "tune_jobs", "serve", "data_prep")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("commands", Commands)
    app.add_directive("settings", Settings)
    app.add_directive("modules", Modules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Commands(SphinxDirective):
    """All commands."""

    def run(self) -> list[Node]:
        """The nodes of the page."""
        text = "\n".join(line for path, command in commands() for line in command_lines(path, command))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Settings(SphinxDirective):
    """The settings of one pydantic model."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[Node]:
        """The nodes of the table."""
        module, _, name = self.arguments[0].rpartition(".")
        return self.parse_text_to_nodes("\n".join(settings_lines(getattr(import_module(module), name))))


class Modules(SphinxDirective):
    """The source tree."""

    def run(self) -> list[Node]:
        """The nodes of the tree."""
        return self.parse_text_to_nodes("\n".join(["```text", *tree_lines(), "```"]))


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it; of groups those that have options of their own."""
    yield from _below("codenas", typer.main.get_command(command_line))


def _below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner or command.params:
        yield path, command
    for name, each in sorted(inner.items()):
        yield from _below(f"{path} {name}", each)


def command_lines(path: str, command: Any) -> Iterator[str]:
    """One command in Markdown: usage, purpose, arguments and options, as `--help` has them."""
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield from (f"## {path}", "", "```text", usage, "```", "", _plain(command.help or ""), "")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (f"`{record[0]}`", f": {_plain(record[1]) or '(no help)'}", "")


def settings_lines(model: type[BaseModel]) -> Iterator[str]:
    """The fields of `model` as a Markdown table."""
    yield from ("| key | type | default | meaning |", "|---|---|---|---|")
    for name, field in model.model_fields.items():
        cells = (f"`{name}`", _type(field.annotation), _default(field), _plain(field.description or ""))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: FieldInfo) -> str:
    """The default, where it is a plain value; tables have their own page section."""
    value = field.default
    if field.is_required() or value is None or (not isinstance(value, bool | int | float | str) and not (value and _is_short(value))):
        return ""
    return f"`{json.dumps(value)}`"  # of these types, TOML is written as JSON is


def _is_short(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, int | float | str) for each in value)


def _type(annotation: Any) -> str:
    """A type as people say it."""
    if annotation is None or annotation is type(None):
        return "none"
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(each) for each in inside if each is not type(None)))
    if origin is tuple:
        return f"list of {_type(inside[0])}" if inside else "list"
    if origin is dict:
        return "table"
    if origin is not None and inside:  # Annotated
        return _type(inside[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"table ({annotation.__name__})"
    names = {int: "integer", float: "number", str: "string", bool: "true or false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _plain(text: str) -> str:
    """Help text as one paragraph in which nothing is taken for markup."""
    words = " ".join(text.split())
    for mark in "\\*_<>[]{}$":
        words = words.replace(mark, f"\\{mark}")
    return words


def tree_lines() -> Iterator[str]:
    """Folders and modules, each module with the first line of its docstring."""
    for package in PACKAGES:
        yield from _tree(ROOT / package, 0)


def _tree(folder: Path, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}{folder.name + '/':<{30 - len(indent)}}{_purpose(folder / '__init__.py')}".rstrip()
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and (path / "__init__.py").exists():
            yield from _tree(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{indent}  {path.name:<{28 - len(indent)}}{_purpose(path)}"


def _purpose(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
