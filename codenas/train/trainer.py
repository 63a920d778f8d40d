"""The only training loop of the repository.

Everything that training depends on is in `TrainState` and in the arguments: the batch is a function of seed and cursor, the
dropout of seed and step. So a training that was stopped and resumed gives the same bits on a CPU as one that was not.
"""

import contextlib
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from codenas.corpus.batches import Batches
from codenas.errors import ResourceError, TrialFailure, is_out_of_memory
from codenas.model import LanguageModel
from codenas.seeds import derive
from codenas.train.allocator import keep_freed_memory
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from codenas.train.losses import cross_entropy
from codenas.train.optim import build_optimizers, load_state_tensors, set_rates, state_tensors
from codenas.train.schedule import rate_factor


class Trainer:
    """Trains `model` on `batches`; holds optimizer state and the moving average of the weights.

    Attributes:
        step: steps done.
        cursor: sequences consumed; the position in the endless order of `batches`.
        seconds: spent inside training steps, over all processes that ever ran this training.
    """

    def __init__(self, model: LanguageModel, batches: Batches, config: TrainConfig) -> None:
        keep_freed_memory()
        self.model, self.batches, self.config = model, batches, config.on(model.device.type)
        self.step = self.cursor = 0
        self.seconds = 0.0
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        self._forward = _compiled(model, config) if config.compile else model
        self._average = {name: parameter.detach().clone() for parameter, name in self._names.items()}
        self._optimizers = build_optimizers(model, config, model.arch.n_layers)

    def run_to(self, last_step: int, decay_from: int | None = None) -> Iterator[Step]:
        """Train until `last_step` steps are done in all, yielding after each; rates decay to zero from `decay_from` on.

        Raises:
            TrialFailure: the loss is not finite (the model diverged) or memory ran out.
        """
        while self.step < last_step:
            self.model.train()  # before every step: whoever takes the steps may evaluate in between
            started = time.perf_counter()
            set_rates(self._optimizers, rate_factor(self.step, self.config.warmup_steps, decay_from, last_step))
            try:
                loss = self._step()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise TrialFailure(f"out of memory at step {self.step + 1}: {self._smaller()}") from error
            seconds = time.perf_counter() - started
            self.seconds += seconds
            yield Step(self.step, loss, seconds)

    @property
    def tokens(self) -> int:
        """Targets trained on so far."""
        return self.cursor * self.model.arch.context_len

    def averaged_weights(self) -> dict[str, Tensor]:
        """The moving average of the weights, by name: what is evaluated, stored and served."""
        return self._average

    def state(self) -> dict[str, Tensor]:
        """All that a resumed training needs, as named tensors."""
        return {
            "progress": torch.tensor([self.step, self.cursor], dtype=torch.int64),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            **{f"weights/{name}": parameter.detach() for parameter, name in self._names.items()},
            **{f"average/{name}": value for name, value in self._average.items()},
            **{f"optimizer/{key}": value for key, value in state_tensors(self._optimizers, self._names).items()},
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        self.step, self.cursor = (int(number) for number in tensors["progress"])
        self.seconds = float(tensors["seconds"])
        with torch.no_grad():
            for parameter, name in self._names.items():
                parameter.copy_(tensors[f"weights/{name}"])
                self._average[name].copy_(tensors[f"average/{name}"])
        memory = {key.removeprefix("optimizer/"): value for key, value in tensors.items() if key.startswith("optimizer/")}
        load_state_tensors(self._optimizers, self._names, memory)

    def _step(self) -> float:
        inputs, targets = (torch.from_numpy(side) for side in self.batches.at(self.cursor, self.config.batch_size))
        torch.manual_seed(derive(self.config.seed, "dropout", self.step))
        loss = self._gradients(inputs.to(self.model.device), targets.to(self.model.device))
        if not math.isfinite(loss):
            raise TrialFailure(f"diverged: the loss of step {self.step + 1} is {loss}")
        self._clip()
        for optimizer in self._optimizers:
            optimizer.step()
        self.step += 1
        self.cursor += self.config.batch_size
        self._update_average()
        return loss

    def _smaller(self) -> str:
        """The way out of too little memory."""
        size, context = self.config.micro_batch or self.config.batch_size, self.model.arch.context_len
        fewer = f"a micro_batch below {size} or " if size > 1 else ""
        return f"{size} x {context} tokens at once; take {fewer}a context_len below {context}, or close something"

    def _gradients(self, inputs: Tensor, targets: Tensor) -> float:
        self.model.zero_grad(set_to_none=True)
        at_once = self.config.micro_batch or len(inputs)
        total = torch.zeros((), device=inputs.device)
        for some, successors in zip(inputs.split(at_once), targets.split(at_once), strict=True):
            with self._autocast():
                logits = self._forward(some)
            loss = cross_entropy(logits, successors, self.config.label_smoothing) * (len(some) / len(inputs))
            loss.backward()
            total += loss.detach()
        return total.item()

    def _clip(self) -> None:
        """Shorten a gradient that is too long; one that is not is left alone, where torch would multiply all of it by one."""
        norm = nn.utils.get_total_norm([parameter.grad for parameter in self._names if parameter.grad is not None])
        if not math.isfinite(norm):
            raise TrialFailure(f"diverged: the norm of the gradient of step {self.step + 1} is {norm.item()}")
        if norm > self.config.clip_norm:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.clip_norm, norm)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average would remember the random start: its decay grows with the steps (as Adam's correction does).
        decay = min(self.config.average_decay, self.step / (self.step + 10))
        averages = list(self._average.values())
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in self._names], 1 - decay)


def _compiled(model: LanguageModel, config: TrainConfig) -> Callable[[Tensor], Tensor]:
    """`model` compiled for its one shape of batch.

    Raises:
        ResourceError: there is no compiler.
    """
    _require_compiler(model.device.type)
    return torch.compile(model, mode=compile_mode(model.device.type, config))


def _require_compiler(device: str) -> None:
    """Check that there is what torch compiles with: a compiler of C++ for a processor, of C for what Triton launches kernels with.

    Raises:
        ResourceError: there is none.
    """
    cpp = "clang++" if sys.platform == "darwin" else "g++"
    language, variable, known = ("C++", "CXX", (cpp,)) if device == "cpu" else ("C", "CC", ("gcc", "clang"))
    named = os.environ.get(variable)
    wanted = [named] if named else [*known]
    if not any(shutil.which(compiler) for compiler in wanted):
        raise ResourceError(
            f"compile = true needs a {language} compiler, and there is no {' or '.join(wanted)}: install one, name it in {variable}, or "
            "do without"
        )


def compile_mode(device: str, config: TrainConfig) -> str:
    """How torch compiles for `device`: on a GPU the kernels are recorded once and replayed (CUDA graphs).

    But not where a step adds up the gradients of several micro-batches: what a recording returns is valid until it is replayed,
    and torch takes a first gradient over as it is, without a copy.
    """
    one_batch = config.micro_batch is None or config.micro_batch >= config.batch_size
    return "reduce-overhead" if device == "cuda" and one_batch else "default"
