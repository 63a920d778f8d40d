"""A new mixer costs two files: in a copy of the tree that has one more, the contracts find it by themselves and it keeps them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes import import_from_copy

ROOT = Path(__file__).parents[2]
CONTRACTS = ("tests/contracts/test_mixers.py", "tests/contracts/test_autocast.py", "tests/contracts/test_costs.py")

SPEC = '''
"""A moving average of every channel."""

from typing import ClassVar, Literal

from codenas.arch.mixers.base import MixerBase
from codenas.arch.part import Position, Shapes


class AverageSpec(MixerBase):
    label: ClassVar[str] = "moving average"
    kind: Literal["average"] = "average"

    def summary(self) -> str:
        return self.label

    def check_width(self, d_model: int, position: Position) -> None:
        pass

    def tensors(self, d_model: int) -> Shapes:
        return {"input.weight": (d_model, d_model), "decay": (d_model,), "output.weight": (d_model, d_model)}

    def mixing_flops(self, d_model: int, tokens: int) -> int:
        return 0

    def step_flops(self, d_model: int, cached: int) -> int:
        return 0

    def state_elements(self, d_model: int, tokens: int) -> int:
        return d_model

    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        return element_bytes * d_model
'''

MODULE = '''
"""A moving average of every channel."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from codenas.arch.mixers.average import AverageSpec
from codenas.arch.spec import ArchSpec
from codenas.model.mixers.base import Mixer, MixerState
from codenas.model.positions import Positions


@dataclass(slots=True)
class Average(MixerState):
    mean: Tensor

    def rows(self, start: int, stop: int) -> Self:
        return type(self)(self.mean[start:stop])

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.mean,)


class MovingAverage(Mixer):
    def __init__(self, spec: AverageSpec, arch: ArchSpec) -> None:
        super().__init__()
        self.input = nn.Linear(arch.d_model, arch.d_model, bias=False)
        self.decay = nn.Parameter(torch.zeros(arch.d_model))
        self.output = nn.Linear(arch.d_model, arch.d_model, bias=False)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        return self.extend(x, self.initial_state(x.shape[0], x.device, x.dtype), [])

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Average:
        return Average(torch.zeros(batch, len(self.decay), device=device, dtype=dtype))

    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        assert isinstance(state, Average)
        kept, mean, means = self.decay.sigmoid(), state.mean.clone(), []
        for value in self.input(x).unbind(1):
            mean = kept * mean + (1 - kept) * value
            means.append(mean)
        state.mean.copy_(mean.detach())
        return self.output(torch.stack(means, 1))


MIXER = MovingAverage
'''


def test_a_new_mixer_costs_its_two_files(tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__")
    for folder in ("codenas", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "codenas/arch/mixers/average.py").write_text(SPEC, encoding="utf-8")
    (tmp_path / "codenas/model/mixers/average.py").write_text(MODULE, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "average", "--tb=short", *CONTRACTS]
    ran = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **import_from_copy(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(ran.stdout.split(" passed")[0].split()[-1]) > 20, "the contracts have not found it"
