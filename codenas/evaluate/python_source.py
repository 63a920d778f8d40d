"""Does a text read as Python? For text that was cut off after so many tokens, by a model or by us."""

import ast
import warnings
from codeop import PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]

_FLAGS = ast.PyCF_ONLY_AST | PyCF_ALLOW_INCOMPLETE_INPUT


def begins_python(text: str) -> bool:
    """Whether `text` is a Python program or the beginning of one: `def f():` may still get its body, `def def` may not."""
    try:
        with warnings.catch_warnings(action="ignore"):  # odd escapes in strings are warnings, not errors
            compile(text.removeprefix("\ufeff"), "<text>", "exec", _FLAGS, dont_inherit=True)
    except SyntaxError as error:
        return error.msg == "incomplete input"
    except (ValueError, RecursionError, MemoryError):  # NUL bytes; brackets nested too deep for the parser
        return False
    return True


def continues_python(head: str, continuation: str) -> bool:
    """Whether `head` with the complete lines of `continuation` begins a Python program.

    `head` is the document from its first character up to the cut, not only what the model saw of it. What follows the
    last line end of `continuation` is left out: it was cut where the tokens ran out. Models and the human reference are measured alike.
    """
    complete, line_end, _ = continuation.rpartition("\n")
    return begins_python(head + complete + line_end)
