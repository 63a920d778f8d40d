"""Benchmark text is found: the same as by comparing with every passage, one after the other."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codenas.errors import ConfigError
from codenas.problems import parse_problem
from data_prep.rules.decontaminate import GRAM, LEAST_DISTINCT, LEAST_WORDS, Benchmarks, load_benchmarks, passages_of
from data_prep.rules.words import words

HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'def f(a):\n    """ Tell whether the sum of all even numbers in the list a is itself even. """\n',
    "entry_point": "f",
    "canonical_solution": "    total = sum(number for number in a if number % 2 == 0)\n    answer = total % 2 == 0\n    return answer\n",
    "test": "def check(candidate): ...",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to turn every second word of the given sentence around.",
    "code": "def turn(sentence):\r\n  parts = sentence.split()\r\n  return ' '.join(p[::-1] if i % 2 else p for i, p in enumerate(parts))",
    "test_list": [],
}


def passages(record: dict[str, Any]) -> list[tuple[str, str]]:
    return list(passages_of(parse_problem(record, Path("bench.jsonl"))))


PASSAGES = [*passages(HUMANEVAL), *passages(MBPP)]
BENCHMARKS = Benchmarks(PASSAGES)


def slowly(passages: list[tuple[str, str]], text: str) -> bool:
    """What `Benchmarks.match` promises, word by word."""
    lowered, held = text.replace("\r\n", "\n").lower(), words(text)
    runs = {tuple(held[start : start + GRAM]) for start in range(len(held) - GRAM + 1)}
    for _, passage in passages:
        plain = passage.replace("\r\n", "\n").lower().strip()
        parts = words(plain)
        if len(parts) >= LEAST_WORDS and plain in lowered:
            return True
        grams = {tuple(parts[start : start + GRAM]) for start in range(len(parts) - GRAM + 1)}
        if any(len({word for word in gram if len(word) > 1}) >= LEAST_DISTINCT for gram in grams & runs):
            return True
    return False


@pytest.mark.parametrize("record", [HUMANEVAL, MBPP], ids=["HumanEval", "MBPP"])
def test_every_passage_is_found_in_a_file_and_named(record: dict[str, Any]) -> None:
    for name, passage in passages(record):
        found = BENCHMARKS.match(f"import os\n\n# {passage.upper()}\nx = 1\n")
        assert found is not None and found[0] == name
        assert passage.replace("\r\n", "\n").strip().lower().startswith(found[1].rstrip("…")[:40])
        assert len(found[1]) <= 80
    assert BENCHMARKS.match("import os\n" * 50) is None
    assert BENCHMARKS.match("") is None


def test_a_solution_with_a_gap_in_it_is_found_as_a_whole() -> None:
    before, gap, behind = HUMANEVAL["canonical_solution"].splitlines(keepends=True)
    infilling = HUMANEVAL | {"prompt": HUMANEVAL["prompt"] + before, "canonical_solution": gap, "suffix": behind}
    assert [text.strip() for _, text in passages(infilling)] == [text.strip() for _, text in passages(HUMANEVAL)]


def test_a_passage_inside_longer_words_is_found() -> None:
    benchmarks = Benchmarks([("b/1", "ten a b c d e f g h end")])
    assert benchmarks.match("x = 'often a b c d e f g h ending'") == ("b/1", "ten a b c d e f g h end")
    assert benchmarks.match("x = 'often a b c d e f g  h ending'") is None


@pytest.mark.parametrize(("length", "found"), [(LEAST_WORDS - 1, False), (LEAST_WORDS, True)])
def test_short_passages_are_anybodys(length: int, found: bool) -> None:
    passage = " ".join(f"w{number}" for number in range(length))
    assert (Benchmarks([("b/1", passage)]).match(f"({passage})") is not None) == found


@pytest.mark.parametrize(
    ("shared", "different", "found"),
    [(GRAM, GRAM, True), (GRAM - 1, GRAM, False), (GRAM, LEAST_DISTINCT, True), (GRAM, LEAST_DISTINCT - 1, False)],
)
def test_a_run_of_words_is_an_overlap(shared: int, different: int, found: bool) -> None:
    run = [f"w{number % different}" for number in range(shared)]
    benchmarks = Benchmarks([("b/1", " ".join(["before", *run, "after"]))])
    assert (benchmarks.match("\n".join(["else", *run, "other"])) is not None) == found


@pytest.mark.parametrize("text", ["for i in range(len(arr)):\n  for j in range(len(arr)):", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c"])
def test_what_everybody_writes_is_no_overlap(text: str) -> None:
    assert Benchmarks([("b/1", f"def f(arr):\n  {text} return")]).match(f"class A:\n  {text} pass") is None


WORDS = st.lists(st.sampled_from([f"w{number}" for number in range(14)]), max_size=30)


@given(first=WORDS, second=WORDS, text=WORDS, gaps=st.sampled_from([" ", ". ", "\r\n"]), seed=st.integers(0, 99))
def test_it_answers_as_the_slow_way(first: list[str], second: list[str], text: list[str], gaps: str, seed: int) -> None:
    passages = [("b/1", gaps.join(first)), ("b/2", " ".join(second))]
    start = random.Random(seed).randrange(12)
    file = gaps.join([*text[:9], *first[start : start + 14], *text[9:], *second[: start + 4]])
    assert (Benchmarks(passages).match(file) is not None) == slowly(passages, file)


def test_docstrings_solutions_texts_and_codes_are_what_counts() -> None:
    assert [name for name, _ in PASSAGES] == ["HumanEval/900 docstring", "HumanEval/900 solution", "MBPP/11 text", "MBPP/11 code"]
    assert PASSAGES[0][1].strip().startswith("Tell whether") and PASSAGES[0][1].strip().endswith("even.")
    for task, held in ((10, 0), (11, 2), (510, 2), (511, 0)):
        assert len(passages(MBPP | {"task_id": task})) == held
    cleaned = {"task_id": 12, "prompt": "Do this.", "code": "x", "test_list": []}  # MBPP in its sanitised form
    assert passages(cleaned) == [("MBPP/12 text", "Do this."), ("MBPP/12 code", "x")]


def test_files_are_read_plain_and_compressed_by_line_and_as_a_list(tmp_path: Path) -> None:
    (tmp_path / "he.jsonl.gz").write_bytes(gzip.compress((json.dumps(HUMANEVAL) + "\n").encode()))
    (tmp_path / "mbpp.jsonl").write_text(json.dumps(MBPP) + "\n\n")
    benchmarks = load_benchmarks([str(tmp_path / "he.jsonl.gz"), str(tmp_path / "mbpp.jsonl")])
    assert all(benchmarks.match(passage) for _, passage in PASSAGES)
    for name, indent in (("compact.json", None), ("indented.json", 4)):
        (tmp_path / name).write_text(json.dumps([HUMANEVAL, MBPP], indent=indent))
        assert all(load_benchmarks([str(tmp_path / name)]).match(passage) for _, passage in PASSAGES)
    assert load_benchmarks([]).match("\n".join(passage for _, passage in PASSAGES)) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"{", "a.jsonl cannot be read: .*; give a file of JSON, plain or in gzip"),
        ("a.jsonl", b"\xff", "a.jsonl cannot be read"),
        ("a.jsonl", b"", "a.jsonl has 0 records"),
        ("a.jsonl", b"[1]\n[2]\n", "a.jsonl cannot be read: Extra data"),
        ("a.jsonl", b"[1]\n", "a.jsonl has 1 records, and not all are objects"),
        ("a.jsonl", b'{"question": "why?"}', "a.jsonl has a record with the keys question; a benchmark has task_id"),
        ("a.jsonl.gz", b"{}", "a.jsonl.gz cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], "a.jsonl.gz cannot be read"),
        ("a.jsonl", None, "a.jsonl cannot be read: No such file"),
    ],
)
def test_a_file_of_something_else_is_one_clear_line(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_benchmarks([str(tmp_path / name)])
    assert "\n" not in str(caught.value)
