"""Benchmark files: HumanEval, its infilling variants and MBPP, in every form in which they are published."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from codenas.errors import ConfigError
from codenas.problems import HumanEvalProblem, MbppProblem, Problem, load_problems, parse_problem

HUMANEVAL = {
    "task_id": "HumanEval/0", "prompt": "def f(a):\n", "entry_point": "f", "canonical_solution": "    return a\n", "test": "check",
}  # fmt: skip
MBPP = {"task_id": 11, "text": "Write f.", "code": "def f(): ...", "test_list": ["assert f()"], "challenge_test_list": []}


def read(content: bytes, tmp_path: Path, name: str = "bench.jsonl") -> list[Problem]:
    (tmp_path / name).write_bytes(content)
    return load_problems(tmp_path / name)


def lines(*records: dict[str, Any]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def test_each_format_is_reported_by_its_keys(tmp_path: Path) -> None:
    infilling = HUMANEVAL | {"task_id": "SingleLineInfilling/HumanEval/0/L0", "suffix": "    pass\n"}
    sanitized = {"source_file": "x", "task_id": 2, "prompt": "Write f.", "code": "x", "test_imports": [], "test_list": []}
    assert read(lines(HUMANEVAL, infilling, MBPP, sanitized), tmp_path) == [
        HumanEvalProblem(**HUMANEVAL),
        HumanEvalProblem(**infilling),
        MbppProblem(task_id=11, text="Write f.", code="def f(): ...", test_list=("assert f()",)),
        MbppProblem(task_id=2, text="Write f.", code="x"),
    ]


def test_lines_lists_and_gzip_hold_the_same(tmp_path: Path) -> None:
    held = read(lines(HUMANEVAL, MBPP), tmp_path)
    assert read(gzip.compress(lines(HUMANEVAL, MBPP)), tmp_path, "bench.jsonl.gz") == held
    assert read(json.dumps([HUMANEVAL, MBPP], indent=2).encode(), tmp_path, "bench.json") == held


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_a_line_separator_inside_a_string_ends_no_record(character: str, tmp_path: Path) -> None:
    (problem,) = read(lines(MBPP | {"text": f"Write{character}f."}), tmp_path)
    assert isinstance(problem, MbppProblem) and problem.text == f"Write{character}f."


def test_windows_line_ends_and_a_byte_order_mark_are_no_content(tmp_path: Path) -> None:
    assert read(b"\xef\xbb\xbf" + lines(HUMANEVAL, MBPP).replace(b"\n", b"\r\n"), tmp_path) == read(lines(HUMANEVAL, MBPP), tmp_path)


@pytest.mark.parametrize(("number", "expected"), [(10, False), (11, True), (510, True), (511, False)])
def test_the_test_split_of_mbpp(number: int, expected: bool) -> None:
    problem = parse_problem(MBPP | {"task_id": number}, Path("bench"))
    assert isinstance(problem, MbppProblem) and problem.is_test == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 records"),
        (b"{", "cannot be read: .*; give a file of JSON"),
        (b"[1]", "not all are objects"),
        (lines({"question": "why"}), "has a record with the keys question; a benchmark has task_id"),
        (lines(HUMANEVAL | {"prompt": 3}), "has a record with a wrong value .prompt: Input should be a valid string"),
    ],
)
def test_another_file_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(content, tmp_path)
    assert "\n" not in str(caught.value)
