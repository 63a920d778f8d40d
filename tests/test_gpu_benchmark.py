"""`python -m benchmarks gpu`: runs to its end without a GPU, and its parts on tiny models."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import PARTS, SECONDS
from codenas.measure.accelerators import peak_flops

ROOT = Path(__file__).parents[1]


def lines_of(*options: str) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "benchmarks", "gpu", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_runs_to_its_end_and_says_what_it_skipped(tmp_path: Path) -> None:
    lines = lines_of("--all", "--output", str(tmp_path / "gpu.jsonl"))
    assert lines[0]["device"] == "none: torch sees no GPU"
    assert [(line["part"], "skipped" in line) for line in lines[1:]] == [(part, True) for part in PARTS]
    assert [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()] == lines


@pytest.mark.timeout(300)
def test_a_part_is_tried_on_a_cpu() -> None:
    (memory, resume, assertion) = lines_of("--part", "faults", "--device", "cpu")
    assert memory["micro_batch"] is None and resume["largest_difference"] == 0.0 and assertion["error"] == "IndexError"


def test_it_is_at_most_nine_minutes_and_knows_the_peak_of_a_lent_gpu() -> None:
    assert SECONDS <= 9 * 60 and peak_flops("NVIDIA H200") == 989e12
