"""Whether a text that was truncated at a number of tokens parses as Python."""

import ast
import warnings
from codeop import PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]

_FLAGS = ast.PyCF_ONLY_AST | PyCF_ALLOW_INCOMPLETE_INPUT


def is_python_prefix(text: str) -> bool:
    """Whether `text` is a Python program or the beginning of one: `def f():` may still get its body, `def def` may not."""
    try:
        with warnings.catch_warnings(action="ignore"):  # odd escapes in strings are warnings, not errors
            compile(text.removeprefix("\ufeff"), "<text>", "exec", _FLAGS, dont_inherit=True)
    except SyntaxError as error:
        return error.msg == "incomplete input"
    except (ValueError, RecursionError, MemoryError):  # NUL bytes; brackets nested too deep for the parser
        return False
    return True


def continuation_parses(head: str, continuation: str) -> bool:
    """Whether `head` with the complete lines of `continuation` begins a Python program.

    `head` is the whole document before the cut, not only the prompt. The incomplete last line of `continuation` is ignored.
    The model and the human reference are measured in the same way.
    """
    complete, line_end, _ = continuation.rpartition("\n")
    return is_python_prefix(head + complete + line_end)
