"""Why a process that was given a GPU sees none: with the versions that were found and the ones that are needed."""

from pathlib import Path

import pytest
import torch

from codenas.errors import ResourceError
from codenas.experiment.device import driver_version, gpu_fault, require_visible_gpu, visible_gpus

VERSION_FILE = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22)
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""


@pytest.mark.parametrize(
    ("cuda", "driver", "reason"),
    [
        (None, "580.95.05", "torch 2.13.0 is built without CUDA; install a build with it"),
        ("13.0", None, "is built for CUDA 13.0, which needs NVIDIA driver 580.65.06 or later, and no driver is loaded"),
        (
            "13.0",
            "535.183.01",
            "needs NVIDIA driver 580.65.06 or later, and driver 535.183.01 is loaded; update it, or install an older torch",
        ),
        ("13.0", "580.65", "and driver 580.65 is loaded; update it"),
        ("12.8", "535.183.01", "CUDA 12.8 and driver 535.183.01 go together, but no GPU is visible; check nvidia-smi"),
        ("17.0", "900.10", "CUDA 17.0 and driver 900.10 go together"),
    ],
)
def test_the_reason_has_the_versions_found_and_needed(cuda: str | None, driver: str | None, reason: str) -> None:
    assert reason in gpu_fault("2.13.0", cuda, driver)


def test_the_version_of_the_driver_is_read(tmp_path: Path) -> None:
    file = tmp_path / "version"
    assert driver_version(file) is None
    file.write_text(VERSION_FILE.format("535.183.01"))
    assert driver_version(file) == "535.183.01"
    file.write_text("no version\n")
    assert driver_version(file) is None


def test_a_process_that_sees_no_gpu_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert visible_gpus() == ()
    with pytest.raises(ResourceError, match=r"^torch sees no GPU: .*; nothing is trained on the CPU instead$"):
        require_visible_gpu()


def test_the_gpus_are_named_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = ["NVIDIA GeForce RTX 5090", "NVIDIA GeForce RTX 4090"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: cards[number])
    assert visible_gpus() == tuple(cards)
    require_visible_gpu()
