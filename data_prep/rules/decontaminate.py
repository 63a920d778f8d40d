"""Decontamination: benchmark problems and solutions that must not be in the training data."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from codenas.problems import MbppProblem, Problem, load_problems
from data_prep.rules.words import Hashes, gram_hashes, word_hashes, words

# A shorter passage is common code: "return x + y" is a solution of HumanEval, as is Euclid's algorithm in nine words.
LEAST_WORDS = 10
GRAM = 12
# A loop over pairs, "for i in range len a for j in range len a", or "0 1 2 3 4 5 6 7 8 9 a b" is common too: an n-gram counts only
# if it has this many different words of more than one letter.
LEAST_DISTINCT = 6

_ANCHOR = LEAST_WORDS - 2  # the first and the last word of a passage may be parts of longer words in a file
_DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.DOTALL)
_SHOWN = 80  # characters of a match that are logged

Passage = tuple[str, str]  # its name, such as "HumanEval/0 docstring", and its text


class Benchmarks:
    """The passages of benchmarks, and a test whether a file contains one of them.

    A file is contaminated if its lower-cased text contains a passage of at least `LEAST_WORDS` words, or shares an n-gram of
    `GRAM` words, at least `LEAST_DISTINCT` of them different, with any passage. Candidates are found by hashes of n-grams in one
    pass over the file and then compared as text: the result equals that of comparing with every passage.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._anchored: dict[int, list[Passage]] = {}
        self._grams: dict[int, tuple[bytes, str]] = {}
        for name, text in passages:
            lowered = _plain(text).strip()
            held = words(lowered)
            for start in range(len(held) - GRAM + 1):
                gram = held[start : start + GRAM]
                if len({word for word in gram if len(word) > 1}) >= LEAST_DISTINCT:
                    self._grams.setdefault(_number(gram), (b" ".join(gram), name))
            if len(held) >= LEAST_WORDS:
                self._anchored.setdefault(_number(held[1 : 1 + _ANCHOR]), []).append((name, lowered))
        self._anchors, self._gram_numbers = (np.array(sorted(numbers), np.uint64) for numbers in (self._anchored, self._grams))

    def match(self, text: str) -> Passage | None:
        """The name and the text of the first passage that `text` contains, or of the n-gram that it shares with one; else None."""
        lowered = _plain(text)
        held = words(lowered)
        hashes = word_hashes(held)
        for at in _found(gram_hashes(hashes, _ANCHOR), self._anchors):
            for name, passage in self._anchored[_number(held[at : at + _ANCHOR])]:
                if passage in lowered:
                    return name, _short(passage)
        for at in _found(gram_hashes(hashes, GRAM), self._gram_numbers):
            gram, name = self._grams[_number(held[at : at + GRAM])]
            if gram == b" ".join(held[at : at + GRAM]):
                return name, _short(gram.decode("utf-8", "replace"))
        return None


def load_benchmarks(paths: Iterable[str]) -> Benchmarks:
    """The benchmarks in files of the formats that `codenas.problems` reads.

    Raises:
        ConfigError: a file is missing, is no such file, or has a record of another format.
    """
    return Benchmarks([passage for path in paths for problem in load_problems(Path(path)) for passage in passages_of(problem)])


def passages_of(problem: Problem) -> Iterator[Passage]:
    """The passages to search for: docstrings and solution (HumanEval), text and code of the test problems (MBPP)."""
    if isinstance(problem, MbppProblem):
        if problem.is_test:
            yield from ((f"MBPP/{problem.task_id} text", problem.text), (f"MBPP/{problem.task_id} code", problem.code))
        return
    docstrings = [*_DOCSTRING.finditer(problem.prompt)]
    yield from ((f"{problem.task_id} docstring", found[2]) for found in docstrings)
    # In an infilling problem the rest of the solution stands before and after the gap.
    start = problem.prompt[docstrings[-1].end() :] if docstrings else ""
    yield f"{problem.task_id} solution", f"{start}{problem.canonical_solution}{problem.suffix}"


def _plain(text: str) -> str:
    """Lower-cased, with the line ends of Unix: MBPP has others."""
    return text.replace("\r\n", "\n").lower()


def _number(gram: list[bytes]) -> int:
    return int(gram_hashes(word_hashes(gram), len(gram))[0])


def _found(hashes: Hashes, wanted: Hashes) -> list[int]:
    """The indices at which `hashes` has a value of `wanted`, which is sorted."""
    if not len(wanted):
        return []
    places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    found: list[int] = np.flatnonzero(wanted[places] == hashes).tolist()
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
