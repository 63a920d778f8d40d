"""The source of the product as a list of modules with their imports, read with `ast`: nothing is imported."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("codenas", "tune_jobs", "serve", "data_prep")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported name. `target` is the module, or `module.name` for a name that is taken out of one."""

    target: str
    line: int
    relative: bool = False
    in_function: bool = False


@dataclass(frozen=True)
class Module:
    """One file of the product under its dotted name."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        """The source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, str(self.path))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import statement and every `import_module("...")` with a literal name."""
        return tuple(_imports(self.tree, in_function=False))

    @property
    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def modules_of(root: Path) -> list[Module]:
    """All modules of the product packages below `root`, by name."""
    paths = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return sorted((Module(_dotted(path.relative_to(root)), path) for path in paths), key=lambda module: module.name)


def length(function: Function) -> int:
    """Lines of a function from `def` to its last statement."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(node: ast.AST, in_function: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names):
            yield from (Import(alias.name, node.lineno, in_function=in_function) for alias in names)
        case ast.ImportFrom(module, names, level):
            yield from (Import(f"{module or ''}.{alias.name}", node.lineno, level > 0, in_function) for alias in names)
        case ast.Call(ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"), [ast.Constant(str(name)), *_]):
            yield Import(name, node.lineno, in_function=in_function)
    inside = in_function or isinstance(node, Function)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, inside)
