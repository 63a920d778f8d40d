"""Which errors leave a GPU unusable, and which are of the memory alone."""

import pytest
import torch
from typer.testing import CliRunner

from codenas.cli import app as commands
from codenas.errors import device_failure, is_out_of_memory

ASSERTED = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported at some other API call."


@pytest.mark.parametrize(("error", "reason"), [
    (torch.AcceleratorError(ASSERTED), "CUDA error: device-side assert triggered"),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), "CUDA error: an illegal memory access was encountered"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
     "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    (torch.AcceleratorError(""), "AcceleratorError"),
])  # fmt: skip
def test_errors_after_which_a_process_cannot_use_its_gpu(error: Exception, reason: str) -> None:
    assert device_failure(error) == reason
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MemoryError(),
])  # fmt: skip
def test_a_lack_of_memory_leaves_the_gpu_usable(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert device_failure(error) is None


@pytest.mark.parametrize("error", [ValueError("CUDA error"), RuntimeError("shapes do not match"), KeyError("x")])
def test_other_errors_are_none_of_a_gpu(error: Exception) -> None:
    assert device_failure(error) is None
    assert not is_out_of_memory(error)


def test_an_error_at_the_end_of_a_recording_is_that_which_ended_it() -> None:
    ended: BaseException | None = None
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except RuntimeError:
            raise torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture") from None
    except RuntimeError as error:
        ended = error
    assert ended is not None
    assert is_out_of_memory(ended)


def test_a_command_whose_gpu_failed_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: object) -> None:
        raise torch.AcceleratorError(ASSERTED)

    monkeypatch.setattr("codenas.experiment.run.Run.open", failing, raising=False)
    monkeypatch.setattr("codenas.experiment.run.Run.finished_search", failing)
    result = CliRunner().invoke(commands.app, ["train", "--run", "nowhere"])
    assert result.exit_code == 2
    assert "device-side assert triggered), and this process cannot use it any more; finished work is kept" in result.stderr
    assert result.stderr.count("\n") == 1
