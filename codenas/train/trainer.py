"""The only training loop of the repository.

Everything that training depends on is in `TrainState` and in the arguments: the batch is a function of seed and cursor, the
dropout of seed and step. So a training that was stopped and resumed gives the same bits on a CPU as one that was not.
"""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import SupportsFloat

import torch
from torch import Tensor, nn

from codenas.corpus.batches import Batches
from codenas.errors import ConfigError, ResourceError, TrialFailure, is_out_of_memory
from codenas.log import LOGGER
from codenas.model import LanguageModel
from codenas.seeds import derive
from codenas.train.allocator import keep_freed_memory
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from codenas.train.feed import Feed
from codenas.train.losses import cross_entropy
from codenas.train.optim import build_optimizers, load_state_tensors, set_rates, state_tensors
from codenas.train.readings import Readings
from codenas.train.recording import RecordedStep
from codenas.train.schedule import rate_factor


class Trainer:
    """Trains `model` on `batches`; holds optimizer state and the moving average of the weights.

    Where memory runs out, the sequences in memory at once are halved and the step begins again, on the same data: with the same result
    up to rounding, but for dropout, whose masks are drawn per micro-batch.

    Attributes:
        config: the recipe, with the precision and the `micro_batch` that are used.
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
        self._readings = Readings(model.device)
        self._recorded = self._recorder() if config.cuda_graph else None
        self._average_weight = torch.zeros((), device=model.device)  # of the next step, where that is recorded

    def run_to(self, last_step: int, decay_from: int | None = None) -> Iterator[Step]:
        """Train until `last_step` steps are done in all, yielding after each; rates decay to zero from `decay_from` on.

        Raises:
            TrialFailure: the loss or its gradient is not finite (the model diverged), or one sequence at a time is too much memory.
                Where a GPU works through a queue, that a step diverged is known some steps later.
            CorpusError: the corpus is damaged.
        """
        with Feed(self.batches, self.config.batch_size, self.model.device) as feed:
            while self.step < last_step:
                self.model.train()  # before every step: whoever takes the steps may evaluate in between
                started = time.perf_counter()
                set_rates(self._optimizers, rate_factor(self.step, self.config.warmup_steps, decay_from, last_step))
                try:
                    loss = self._step(feed)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    raise TrialFailure(f"out of memory at step {self.step + 1}: {self._smaller()}") from error
                if self.step == last_step:
                    self._readings.check()
                seconds = time.perf_counter() - started
                self.seconds += seconds
                yield Step(self.step, loss, seconds)

    @property
    def tokens(self) -> int:
        """Targets trained on so far."""
        return self.cursor * self.model.arch.context_len

    def averaged_weights(self) -> dict[str, Tensor]:
        """The moving average of the weights, by name: what is evaluated, stored and served.

        Raises:
            TrialFailure: the model diverged.
        """
        self._readings.check()
        return self._average

    def state(self) -> dict[str, Tensor]:
        """All that a resumed training needs, as named tensors.

        Raises:
            TrialFailure: the model diverged.
        """
        self._readings.check()
        return {
            "progress": torch.tensor([self.step, self.cursor], dtype=torch.int64),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            **{f"weights/{name}": parameter.detach() for parameter, name in self._names.items()},
            **{f"average/{name}": value for name, value in self._average.items()},
            **{f"optimizer/{key}": value for key, value in state_tensors(self._optimizers, self._names).items()},
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        self._readings.forget()
        self.step, self.cursor = (int(number) for number in tensors["progress"])
        self.seconds = float(tensors["seconds"])
        with torch.no_grad():
            for parameter, name in self._names.items():
                parameter.copy_(tensors[f"weights/{name}"])
                self._average[name].copy_(tensors[f"average/{name}"])
        memory = {key.removeprefix("optimizer/"): value for key, value in tensors.items() if key.startswith("optimizer/")}
        load_state_tensors(self._optimizers, self._names, memory)

    def _step(self, feed: Feed) -> SupportsFloat:
        """The loss of the next step; on a CPU, a step that is not finite has changed nothing."""
        inputs, targets = feed.at(self.cursor)
        if self._recorded is None:
            loss, norm = self._in_memory(lambda: self._gradients(inputs, targets))
            reading = self._readings.add(self.step + 1, loss, norm)
            self._update(norm)
        else:
            self._average_weight.fill_(self._next_average_weight())
            loss, norm = self._in_memory(lambda: self._replayed(inputs, targets))
            reading = self._readings.add(self.step + 1, loss, norm)
        self.step += 1
        self.cursor += self.config.batch_size
        return reading

    def _recorder(self) -> RecordedStep:
        """Raises: ConfigError: there is no GPU to record for."""
        if self.model.device.type != "cuda":
            raise ConfigError(f"cuda_graph = true needs a GPU, and this training is on {self.model.device}; leave it out")

        def work(inputs: Tensor, targets: Tensor) -> Tensor:
            loss, norm = self._gradients(inputs, targets)
            self._update(norm)
            return torch.stack((loss, norm))

        return RecordedStep(work, lambda: self.model.zero_grad(set_to_none=True))

    def _replayed(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        assert self._recorded is not None
        loss, norm = self._recorded(inputs, targets).unbind()
        return loss, norm

    def _in_memory(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Loss and norm of `work`, with as many sequences at once as there is memory for."""
        while True:
            torch.manual_seed(derive(self.config.seed, "dropout", self.step))
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if self._at_once == 1 or not is_out_of_memory(error):
                    raise
            self._halve()  # only here: the error holds the frames that hold the memory

    def _halve(self) -> None:
        half = self._at_once // 2
        LOGGER.warning(f"out of memory at step {self.step + 1} with {self._at_once} sequences at once; going on with micro_batch = {half}")
        self.config = self.config.model_copy(update={"micro_batch": half})
        self.model.zero_grad(set_to_none=True)
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.config.compile:
            self._forward = _compiled(self.model, self.config)  # a recording of one micro-batch cannot serve several
        if self._recorded is not None:
            self._recorded = self._recorder()

    @property
    def _at_once(self) -> int:
        """Sequences in memory at once."""
        return min(self.config.micro_batch or self.config.batch_size, self.config.batch_size)

    def _smaller(self) -> str:
        """The way out of too little memory."""
        size, context = self._at_once, self.model.arch.context_len
        fewer = f"a micro_batch below {size} or " if size > 1 else ""
        return f"{size} x {context} tokens at once; take {fewer}a context_len below {context}, or close something"

    def _gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch and the norm of its gradient, on the device."""
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=inputs.device)
        for some, successors in zip(inputs.split(self._at_once), targets.split(self._at_once), strict=True):
            with self._autocast():
                logits = self._forward(some)
            loss = cross_entropy(logits, successors, self.config.label_smoothing) * (len(some) / len(inputs))
            loss.backward()
            total += loss.detach()
        return total, nn.utils.get_total_norm(self._existing_gradients())

    def _existing_gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self._names if parameter.grad is not None]

    def _update(self, norm: Tensor) -> None:
        """Clip the gradient, whose norm is given, and move the weights and their average.

        Raises:
            TrialFailure: memory ran out. Some weights have moved and some not, and fewer sequences at once would need as much.
        """
        try:
            # A gradient that is short enough is multiplied by one; on a CPU, where the norm is at hand, it is left alone.
            if norm.device.type != "cpu" or norm > self.config.clip_norm:
                nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.clip_norm, norm)
            for optimizer in self._optimizers:
                optimizer.step()
            self._update_average()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrialFailure(
                f"out of memory in the optimizers at step {self.step + 1}; take a smaller model, or close something"
            ) from error

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    @torch.no_grad()
    def _update_average(self) -> None:
        averages, weights = list(self._average.values()), [parameter.detach() for parameter in self._names]
        if self._recorded is None:
            torch._foreach_lerp_(averages, weights, self._next_average_weight())
            return
        steps = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(steps, self._average_weight)
        torch._foreach_add_(averages, steps)

    def _next_average_weight(self) -> float:
        # A young average would remember the random start: its decay grows with the steps (as Adam's correction does).
        done = self.step + 1
        return 1 - min(self.config.average_decay, done / (done + 10))


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
    and torch takes a first gradient over as it is, without a copy. Nor where the whole step is recorded anyway.
    """
    one_batch = config.micro_batch is None or config.micro_batch >= config.batch_size
    return "reduce-overhead" if device == "cuda" and one_batch and not config.cuda_graph else "default"
