"""The sampler of one sequence: its own random numbers, so batching changes no sample, and what penalties count."""

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from codenas.decode.backend import Logits
from codenas.decode.sampling import SamplingParams, sample
from codenas.decode.sequence import Sequence

SampleFunction = Callable[[Logits, SamplingParams, float], int]  # as `sample`

_MANTISSA = 2**53
_DRAWN_AT_ONCE = 32  # random numbers: to draw each alone costs ten times as much


class NonFiniteLogits(ArithmeticError):
    """The model's logits are not finite: its weights or its state are damaged."""

    def __init__(self) -> None:
        super().__init__("the model's logits are not finite")


class Sampler:
    """Samples the tokens of one sequence, one random number for each."""

    def __init__(self, sequence: Sequence, sample: SampleFunction = sample) -> None:
        params = self._params = sequence.params
        self._sample = sample
        self._greedy = params.greedy
        self._counts: Counter[int] = Counter()
        self._penalised = bool(params.presence_penalty or params.frequency_penalty or params.logit_bias)
        self._repeatable = np.unique(sequence.prompt) if params.repetition_penalty != 1 else None
        self._numbers = None if self._greedy else _uniform(None if params.seed is None else params.seed & 0xFFFFFFFF)

    def __call__(self, logits: Logits) -> int:
        """The next token, from `logits` [vocab], which are not changed.

        Raises:
            NonFiniteLogits: they have no finite maximum.
        """
        if self._penalised or self._repeatable is not None:
            logits = self._with_penalties(logits)
        token = int(logits.argmax())  # of NaN if there is one
        if not math.isfinite(logits[token]):
            raise NonFiniteLogits
        if self._numbers is not None:
            token = self._sample(logits, self._params, next(self._numbers))
        if self._penalised:
            self._counts[token] += 1
        if self._repeatable is not None:
            self._repeatable = np.union1d(self._repeatable, token)
        return token

    def _with_penalties(self, logits: Logits) -> Logits:
        """A copy of `logits` with penalties and bias.

        The repetition penalty is that of Keskar et al. 2019; presence counts a generated token once, frequency each time (OpenAI).
        """
        params, changed = self._params, logits.copy()
        if self._repeatable is not None:
            repeated = changed[self._repeatable]
            changed[self._repeatable] = np.where(repeated > 0, repeated / params.repetition_penalty, repeated * params.repetition_penalty)
        for token, bias in params.logit_bias.items():
            changed[token] += bias
        if params.presence_penalty or params.frequency_penalty:
            for token, count in self._counts.items():
                changed[token] -= params.presence_penalty + count * params.frequency_penalty
        return changed


def _uniform(seed: int | None) -> Iterator[float]:
    """Numbers in [0, 1): those of torch's generator with the same seed, a Mersenne twister that takes 32 bits of it."""
    rng = np.random.RandomState(seed)
    while True:
        words = np.frombuffer(rng.bytes(8 * _DRAWN_AT_ONCE), dtype="<u4").astype(np.uint64).reshape(-1, 2)
        yield from (((words[:, 0] << np.uint64(32) | words[:, 1]) % np.uint64(_MANTISSA)) / _MANTISSA).tolist()
