"""Benchmark text in training data: problems and solutions that a model must not have read."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codenas.errors import ConfigError
from data_prep.rules.words import Hashes, gram_hashes, word_hashes, words

# A shorter passage is anybody's: "return x + y" is a solution of HumanEval, as is Euclid's algorithm in nine words.
LEAST_WORDS = 10
GRAM = 12
# So is a loop over pairs, "for i in range len a for j in range len a", or "0 1 2 3 4 5 6 7 8 9 a b": a run of words counts if it
# has this many different words of more than one letter.
LEAST_DISTINCT = 6

_MBPP_TEST = range(11, 511)
_ANCHOR = LEAST_WORDS - 2  # the first and the last word of a passage may be parts of longer words in a file
_DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.DOTALL)
_SHOWN = 80  # characters of a match that are logged

Passage = tuple[str, str]  # what it is, such as "HumanEval/0 docstring", and its text


class Benchmarks:
    """The passages of benchmarks, and whether a file holds one of them.

    A file is contaminated if its lower-cased text contains a passage of at least `LEAST_WORDS` words, or has a run of `GRAM`
    words in common with any passage that are not anybody's. Both are looked up by hashes of runs of words, in one
    pass over the file, and then compared as text: the answer is that of comparing with every passage.
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
        """The first passage that `text` contains, or a run of words that it shares with one, and what it comes from."""
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
    """The benchmarks in files of the format of HumanEval or MBPP: JSON, one record a line or a list of them, plain or in gzip.

    Raises:
        ConfigError: a file is missing, is no such file, or has a record of another form.
    """
    return Benchmarks([passage for path in paths for record in _records(Path(path)) for passage in passages_of(record, path)])


def passages_of(record: Mapping[str, Any], path: str) -> Iterator[Passage]:
    """What must not be trained on: docstrings and solution (HumanEval, also with a gap), text and code of the problems 11 to 510 (MBPP).

    Raises:
        ConfigError: the record is of neither.
    """
    match record:
        case {"task_id": str(task), "prompt": str(prompt), "canonical_solution": str(solution)}:
            docstrings = [*_DOCSTRING.finditer(prompt)]
            yield from ((f"{task} docstring", found[2]) for found in docstrings)
            # Where a gap is to be filled, the rest of the solution stands before it and behind it.
            begun = prompt[docstrings[-1].end() :] if docstrings else ""
            yield f"{task} solution", f"{begun}{solution}{record.get('suffix') or ''}"
        case {"task_id": int(task), "text": str(text), "code": str(code)} | {"task_id": int(task), "prompt": str(text), "code": str(code)}:
            if task in _MBPP_TEST:
                yield from ((f"MBPP/{task} text", text), (f"MBPP/{task} code", code))
        case _:
            raise ConfigError(
                f"{path} has a record with the keys {', '.join(map(str, record)) or 'none'}; a benchmark has task_id, prompt and "
                "canonical_solution (HumanEval), or task_id, text and code (MBPP)"
            )


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
        records = _parsed((gzip.decompress(data) if path.suffix == ".gz" else data).decode())
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"the benchmark {path} cannot be read: {reason}; give a file of JSON, plain or in gzip") from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise ConfigError(f"the benchmark {path} has {len(records)} records, and not all are objects; give one a line, or a list of them")
    yield from records


def _parsed(text: str) -> list[Any]:
    """One record a line, or all of them in one list, as MBPP's sanitised form comes."""
    if text.lstrip().startswith("["):
        records: list[Any] = json.loads(text)
        return records
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _plain(text: str) -> str:
    """Lower-cased, with the line ends of Unix: MBPP has others."""
    return text.replace("\r\n", "\n").lower()


def _number(gram: list[bytes]) -> int:
    return int(gram_hashes(word_hashes(gram), len(gram))[0])


def _found(hashes: Hashes, wanted: Hashes) -> list[int]:
    """Where `hashes` has a number of `wanted`, which is sorted."""
    if not len(wanted):
        return []
    places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    found: list[int] = np.flatnonzero(wanted[places] == hashes).tolist()
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
