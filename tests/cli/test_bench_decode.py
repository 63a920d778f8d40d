"""`codenas bench-decode`: a table and a file of figures, from a checkpoint or from an architecture alone."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codenas.cli.app import app
from codenas.measure.decoding_speed import SpeedComparison
from tests.fakes import tiny_arch

QUICK = ("--prompt", 8, "--tokens", 4, "--streams", 2, "--rounds", 1, "--no-memory", "--vocab-size", 300)


def bench_decode(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, ["bench-decode", *(str(argument) for argument in arguments)])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "arch.json").write_text(tiny_arch(context_len=16).model_dump_json())
    return tmp_path / "arch.json"


def test_every_storage_and_number_of_threads_is_timed(spec: Path, tmp_path: Path) -> None:
    stored = tmp_path / "made.json"
    done = bench_decode(spec, *QUICK, "--storage", "int8", "--storage", "int4", "--threads", 1, "--threads", 2, "--output", stored)
    assert done.exit_code == 0, done.output
    assert "2 threads of" in done.stdout and "error of logits" in done.stdout
    comparison = SpeedComparison.model_validate_json(stored.read_bytes())
    assert {(speed.storage, speed.context.threads) for speed in comparison.speeds} == {("int8", 1), ("int8", 2), ("int4", 1), ("int4", 2)}
    assert comparison.vocab_size == 300 and comparison.workload.prompt == 8
    assert all(speed.tokens_per_s == pytest.approx(1000 / speed.token_ms) for speed in comparison.speeds)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--against", "vllm"), "there is no engine 'vllm'; choose from "),
        (("--storage", "fp8"), "--storage fp8 is unknown; choose from float16, int8, int4"),
    ],
)
def test_what_is_not_there_is_named_in_a_line(spec: Path, arguments: tuple[str, ...], line: str) -> None:
    done = bench_decode(spec, *QUICK, *arguments)
    assert done.exit_code == 2 and line in done.output and "Traceback" not in done.output


def test_a_design_that_llama_cpp_cannot_compute_is_refused_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    (tmp_path / "arch.json").write_text(tiny_arch(norm="groupnorm").model_dump_json())
    done = bench_decode(tmp_path / "arch.json", *QUICK, "--against", "llama.cpp")
    assert done.exit_code == 2 and "no exact GGUF: no architecture of llama.cpp combines groupnorm" in done.output
