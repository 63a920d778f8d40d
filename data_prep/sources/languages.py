"""Programming languages: by file extension, and by name."""

import difflib
from pathlib import PurePosixPath

# Names as in The Stack.
LANGUAGES = {
    ".bash": "Shell", ".c": "C", ".cc": "C++", ".cjs": "JavaScript", ".cpp": "C++", ".cs": "C#", ".css": "CSS", ".cxx": "C++",
    ".dart": "Dart", ".ex": "Elixir", ".exs": "Elixir", ".go": "Go", ".h": "C", ".hpp": "C++", ".hs": "Haskell", ".html": "HTML",
    ".java": "Java", ".jl": "Julia", ".js": "JavaScript", ".jsx": "JavaScript", ".kt": "Kotlin", ".lua": "Lua", ".md": "Markdown",
    ".mjs": "JavaScript", ".ml": "OCaml", ".php": "PHP", ".pl": "Perl", ".py": "Python", ".r": "R", ".rb": "Ruby", ".rs": "Rust",
    ".scala": "Scala", ".sh": "Shell", ".sql": "SQL", ".swift": "Swift", ".ts": "TypeScript", ".tsx": "TypeScript", ".vue": "Vue",
    ".zig": "Zig",
}  # fmt: skip
PYTHON = "Python"
ALL = "all"
_BY_NAME = {name.lower(): name for name in LANGUAGES.values()}
_BY_NAME |= {"cpp": "C++", "c-sharp": "C#", "csharp": "C#", "golang": "Go", "js": "JavaScript", "py": PYTHON, "ts": "TypeScript"}


def language_of(path: str) -> str:
    """The language of a file, by its extension; empty if that is unknown."""
    return LANGUAGES.get(PurePosixPath(path).suffix.lower(), "")


def language_named(name: str) -> str:
    """The language called `name`, or an alias of it, as The Stack writes it.

    Raises:
        ValueError: it is unknown.
    """
    if found := _BY_NAME.get(name.strip().lower()):
        return found
    near = difflib.get_close_matches(name.lower(), _BY_NAME, 1)
    known = ", ".join(sorted(set(LANGUAGES.values())))
    hint = f"did you mean {_BY_NAME[near[0]]!r}?" if near else f"use one of {known}, or all for every language"
    raise ValueError(f"{name!r} is not a known language; {hint}")
