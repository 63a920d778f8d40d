"""The natural language in Python code: comments, strings and docstrings."""

import ast
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

_NODES: tuple[type[ast.AST], ...] = (ast.Module, ast.ExceptHandler, ast.match_case, *ast.stmt.__subclasses__())
# The fields that hold statements, of the nodes that have such.
_BLOCKS = {
    kind: blocks
    for kind in _NODES
    if (blocks := [name for name in ("body", "orelse", "finalbody", "handlers", "cases") if name in kind._fields])
}


@lru_cache(maxsize=1)  # several filters ask for the tree of one document, one after the other
def parse(text: str) -> ast.Module | None:
    """The syntax tree of a Python file; None if it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the code
        try:
            # Bytes, not text: a byte order mark and a coding line are then read as Python reads them.
            return ast.parse(text.encode())
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # NUL bytes; nesting too deep for the parser
            return None


def comment_share(text: str) -> float:
    """The characters of comments and docstrings over those of `text`, a Python file; docstrings count only if it parses."""
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
        # Statements that hold statements only: a walk over all of them would take as long as parsing.
        for block in _BLOCKS[type(node)]:
            held.extend(inner for inner in getattr(node, block) if type(inner) in _BLOCKS)
