"""The speed of training on a device, measured on a few steps."""

import statistics

import numpy as np

from codenas.arch.cost import training_flops_per_token
from codenas.arch.spec import ArchSpec
from codenas.corpus.batches import Batches
from codenas.corpus.shards import Ids
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer

WARM_STEPS, STEPS = 1, 3
_TOKENS = 2_048  # of a step: larger steps hardly change the speed of a CPU


class RandomBatches(Batches):
    """Batches of random tokens, where their content does not matter."""

    def __init__(self, vocab_size: int, context_len: int) -> None:
        self._vocab_size, self._context_len = vocab_size, context_len

    def at(self, cursor: int, count: int) -> tuple[Ids, Ids]:
        """See `Batches.at`."""
        rows = np.random.default_rng(cursor).integers(0, self._vocab_size, (count, self._context_len + 1))
        return rows[:, :-1], rows[:, 1:]


def training_flops_per_second(arch: ArchSpec, vocab_size: int, config: TrainConfig, device: str = "cpu") -> float:
    """FLOP/s of training steps of `arch` on `device` (of torch), by the recipe of `config` in small batches: a median."""
    small = config.on(device).model_copy(update={"batch_size": max(1, _TOKENS // arch.context_len), "micro_batch": None, "compile": False})
    trainer = Trainer(build_model(arch, vocab_size).to(device), RandomBatches(vocab_size, arch.context_len), small)
    seconds = [step.seconds for step in trainer.run_to(WARM_STEPS + STEPS)]
    flops = training_flops_per_token(arch, vocab_size) * arch.context_len * small.batch_size
    return flops / statistics.median(seconds[WARM_STEPS:])
