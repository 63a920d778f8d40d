"""The words that people wrote into Python: comments, strings and docstrings."""

import ast
import contextlib
import gc
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache

# One comment or one whole string literal, whichever begins first: a quote in a comment and a # in a string are no beginnings.
TEXT = re.compile(
    r"#[^\n]*"
    r'|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
    r"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    r"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'",
    re.DOTALL,
)


@lru_cache(maxsize=1)  # several filters ask for the tree of one document, one after the other
def parse(text: str) -> ast.Module | None:
    """The tree of a Python file; None where it does not parse."""
    with warnings.catch_warnings(), _no_collection():
        warnings.simplefilter("ignore")  # invalid escapes in other people's code are not our news
        try:
            # Bytes, not text: a byte order mark and a coding line are then read as Python reads them.
            return ast.parse(text.encode())
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # NUL bytes; nesting too deep for the parser
            return None


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A tree is many objects and no cycle: going over them again and again takes Python a third of the time of parsing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def comment_share(text: str) -> float:
    """The characters of comments and docstrings over those of `text`, a Python file; without docstrings where it does not parse."""
    tree = parse(text)
    comments = sum(len(piece[0]) for piece in TEXT.finditer(text) if piece[0][0] == "#")
    return (comments + (sum(map(len, docstrings(tree))) if tree else 0)) / max(len(text), 1)


def docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of a module, of its classes and of its functions."""
    held: list[ast.AST] = [tree]
    while held:
        node = held.pop()
        match node:
            case (
                ast.Module(body=[ast.Expr(ast.Constant(str(words))), *_])
                | ast.ClassDef(body=[ast.Expr(ast.Constant(str(words))), *_])
                | ast.FunctionDef(body=[ast.Expr(ast.Constant(str(words))), *_])
                | ast.AsyncFunctionDef(body=[ast.Expr(ast.Constant(str(words))), *_])
            ):
                yield words
        # Statements only: a walk over every expression would take longer than parsing.
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            held.extend(getattr(node, field, ()))
