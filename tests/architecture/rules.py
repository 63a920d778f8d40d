"""The rules of the house as functions from modules to complaints. An empty list is a clean house."""

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from tests.architecture.source import PACKAGES, Import, Module, length

# Lowest first. A module imports from strictly lower floors or from its own package.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("codenas.errors", "codenas.files", "codenas.interrupts", "codenas.log", "codenas.loopback", "codenas.processes", "codenas.seeds"),
    ("codenas.http_client", "codenas.arch", "codenas.metrics", "codenas.stats", "codenas.vocab", "codenas.corpus", "codenas.problems"),
    ("codenas.search", "codenas.model", "codenas.compress"),
    ("codenas.train", "codenas.decode", "codenas.checkpoint"),
    ("codenas.measure",),
    ("codenas.evaluate", "codenas.adapt", "codenas.export"),
    ("codenas.experiment", "codenas.report"),
    ("tune_jobs", "serve", "data_prep"),
    ("codenas.api",),
    ("codenas.cli",),
    ("codenas.__main__",),
)
GROUND = FLOORS[0]  # standard library only; its few files count as one package
PUBLIC = "codenas.api"  # `codenas` itself offers its names, and counts as one package with it
COMMANDS = "codenas.cli"  # may import anything inside a command: --help stays instant

# Who may import a library that must not spread.
ONLY: dict[str, tuple[str, ...]] = {
    "ray": ("tune_jobs", "serve", "data_prep"),
    "fastapi": ("serve",),
    "starlette": ("serve",),
    "uvicorn": ("serve",),
    "matplotlib": ("codenas.report.plots",),
    "optuna": ("codenas.search.strategies.optuna_samplers",),
}
NO_TORCH = (
    "codenas.arch",
    "codenas.stats",
    "codenas.problems",
    "codenas.search",
    "codenas.vocab",
    "codenas.corpus",
    "codenas.metrics",
    "codenas.report",
)
UNSAFE = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch.load", "torch.save")

# Where requests to loopback are kept from proxies, and all that httpx makes requests with.
CLIENTS = "codenas.http_client"
REQUESTS = tuple(
    f"httpx.{name}" for name in ("Client", "AsyncClient", "delete", "get", "head", "options", "patch", "post", "put", "request", "stream")
)

FILE_LINES, FUNCTION_LINES = 400, 60

Rule = Callable[[Sequence[Module]], Iterator[str]]


def floors(modules: Sequence[Module]) -> Iterator[str]:
    """Every module has a floor, and imports go down or stay in their package."""
    for module in modules:
        home = _package(module.name)
        if home is None:
            yield f"{module.name} has no floor: give it one in tests/architecture/rules.py or move it"
            continue
        for line in _watched(module):
            target = _package(line.target)
            if target is not None and target != home and _floor(target) >= _floor(home):
                yield f"{module.name}:{line.line} imports {line.target}, which is not on a lower floor"


def cycles(modules: Sequence[Module]) -> Iterator[str]:
    """No module imports itself by way of others."""
    names = {module.name for module in modules}
    graph = {module.name: {_module(line.target, names) for line in _watched(module)} - {None, module.name} for module in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a cycle of imports: {' <- '.join(error.args[1])}"


def libraries(modules: Sequence[Module]) -> Iterator[str]:
    """Libraries stay where they belong."""
    for module in modules:
        for line in _watched(module):
            top = line.target.split(".")[0]
            if top in ONLY and not _within(module.name, ONLY[top]):
                yield f"{module.name}:{line.line} imports {top}: only {', '.join(ONLY[top])} may"
            if top == "torch" and _within(module.name, NO_TORCH):
                yield f"{module.name}:{line.line} imports torch: this floor knows none"
            if _within(module.name, GROUND) and top not in sys.stdlib_module_names and top not in PACKAGES:
                yield f"{module.name}:{line.line} imports {top}: the ground floor is standard library only"


def statements(modules: Sequence[Module]) -> Iterator[str]:
    """No relative import, nothing that reads or writes pickles, nothing left unwritten."""
    for module in modules:
        for line in module.imports:
            if line.relative:
                yield f"{module.name}:{line.line} imports relatively"
            if _within(line.target, UNSAFE):
                yield f"{module.name}:{line.line} imports {line.target}: a pickle runs code when it is read"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in UNSAFE:
                yield f"{module.name}:{node.lineno} uses {ast.unparse(node)}: a pickle runs code when it is read"
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                yield f"{module.name}:{node.lineno} is not implemented: leave it out until it is"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                yield f"{module.name}:{node.value.lineno} allows pickles"


def budgets(modules: Sequence[Module]) -> Iterator[str]:
    """No file and no function is longer than a reader can hold."""
    for module in modules:
        lines = module.text.count("\n")
        if lines > FILE_LINES:
            yield f"{module.name} has {lines} lines, the limit is {FILE_LINES}"
        for function in module.functions:
            if length(function) > FUNCTION_LINES:
                yield f"{module.name}.{function.name} has {length(function)} lines, the limit is {FUNCTION_LINES}"


def requests(modules: Sequence[Module]) -> Iterator[str]:
    """Who makes a request asks `codenas.http_client` for the client. A class named in an annotation makes none."""
    for module in modules:
        called = (node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call))
        for function in called:
            if module.name != CLIENTS and ast.unparse(function) in REQUESTS:
                yield f"{module.name}:{function.lineno} calls {ast.unparse(function)}: codenas.http_client keeps loopback from proxies"
        for line in module.imports:
            if _within(line.target, ("urllib.request", "http.client", "requests")):
                yield f"{module.name}:{line.line} imports {line.target}: codenas.http_client makes requests"


RULES: tuple[Rule, ...] = (floors, cycles, libraries, statements, budgets, requests)


def _watched(module: Module) -> Iterator[Import]:
    free = _within(module.name, (COMMANDS,))
    return (line for line in module.imports if not (free and line.in_function))


def _package(name: str) -> str | None:
    if name == "codenas":
        return PUBLIC
    if _within(name, GROUND):
        return "ground"
    listed = (package for floor in FLOORS for package in floor)
    return next((package for package in listed if _within(name, (package,))), None)


def _floor(package: str) -> int:
    return 0 if package == "ground" else next(height for height, floor in enumerate(FLOORS) if package in floor)


def _module(target: str, names: set[str]) -> str | None:
    """The module that an import runs: the target itself, or the module that it is taken out of."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in names), None)


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
