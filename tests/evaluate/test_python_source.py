"""What counts as the beginning of Python, and what does not."""

import pytest

from codenas.evaluate.python_source import continuation_parses, is_python_prefix

WHOLE = [
    "",
    "x = 1\n",
    "def f():\n    return 1\n",
    "\ufeffx = 1\n",
    'x = "\\d"\n',
    "# only a comment",
    "class A:\n    def f(self):\n        pass\n",
]
BEGUN = [
    "def f():\n",
    "if x:\n    y = [1,\n",
    'text = """and so on\n',
    "try:\n    f()\n",
    "x = (1 +\n",
    "@decorator\n",
    "for i in x:\n    # todo\n",
]
BROKEN = [
    "def def\n",
    "x = = 1\n",
    "  x = 1\ny\n   z\n",
    "x)\n",
    "print 'x'\n",
    "a\0b\n",
    "x = 'open\ny = 1\n",
    "\ufffd\n",
    "(" * 5000 + "\n",
]


@pytest.mark.parametrize("text", WHOLE + BEGUN)
def test_a_program_and_its_beginning_are_python(text: str) -> None:
    assert is_python_prefix(text)


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_text_is_not(text: str) -> None:
    assert not is_python_prefix(text)


HEAD = "class A:\n    def f(self, x):\n"


@pytest.mark.parametrize(
    ("continuation", "parses"),
    [
        ("        return x\n", True),
        ("        return x\n    def g(", True),  # the torn last line is left out
        ("        return x\n    def = def", True),
        ("        return x\n    def = def\n", False),
        ("return x\n", False),  # the body of f is missing
        ("no line end, nothing to judge", True),
        ("", True),
    ],
)
def test_only_complete_lines_count(continuation: str, parses: bool) -> None:
    assert continuation_parses(HEAD, continuation) is parses
