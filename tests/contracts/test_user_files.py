"""A file that a person wrote means the same with a byte order mark, with which editors on Windows begin UTF-8."""

import codecs
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codenas.arch import ArchSpec
from codenas.arch.presets import preset
from codenas.cli.arch import load_design
from codenas.cli.complete import _text, read_key
from codenas.cli.job_file import load_job
from codenas.cli.sample_stats import read_weights
from codenas.cli.space import load_space
from codenas.cli.submit import _runtime_env
from codenas.problems import load_problems
from data_prep.rules.opt_out import load_opt_out
from data_prep.sources.package_index import pip_setting, read_pins

Read = Callable[[Path], Any]
PROBLEM = json.dumps({"task_id": 11, "text": "x", "code": "y"})


def read_prompt(path: Path) -> str:
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    try:
        return _text(None)
    finally:
        sys.stdin = stdin


READERS: dict[str, tuple[Read, str, str]] = {
    "opt-out": (lambda path: load_opt_out(str(path)), "list.txt", "ann\nbob/project\n"),
    "pins": (read_pins, "pins.txt", f"six==1.0 --hash=sha256:{'0' * 64}\n"),
    "pip.conf": (lambda path: pip_setting("index-url", {"PIP_CONFIG_FILE": str(path)}), "pip.conf", "[global]\nindex-url = http://a\n"),
    "job": (load_job, "job.toml", "[prepare]\nvocab_size = 300\n"),
    "space in a job": (lambda path: load_space(str(path)), "job.toml", '[search]\nspace = "tiny"\n'),
    "space": (lambda path: load_space(str(path)), "space.json", preset("tiny").model_dump_json()),
    "design": (lambda path: load_design(str(path)), "arch.json", ArchSpec().model_dump_json()),
    "JSONL benchmark": (load_problems, "bench.jsonl", f"{PROBLEM}\n{PROBLEM}\n"),
    "JSON benchmark": (load_problems, "bench.json", f"[{PROBLEM}]"),
    "weights": (read_weights, "weights.json", '{"Python": 1}'),
    "key": (read_key, "key.txt", "secret\n"),
    "prompt": (read_prompt, "prompt.py", "def f():\n"),
    "runtime environment": (_runtime_env, "env.json", '{"pip": []}'),
}


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_changes_nothing(name: str, tmp_path: Path) -> None:
    read, file, content = READERS[name]
    (tmp_path / file).write_text(content)
    plain = read(tmp_path / file)
    (tmp_path / file).write_bytes(codecs.BOM_UTF8 + content.encode())
    assert read(tmp_path / file) == plain and plain
