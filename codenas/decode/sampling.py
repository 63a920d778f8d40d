"""Sampling a token from the logits of one sequence. Every sequence has its own random generator, so batching changes no sample."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

MAX_LOGPROBS = 5
GREEDY_BELOW = 1e-5  # a lower temperature is greedy, as in vLLM: division by a subnormal number overflows
TOP_P_CANDIDATES = 256  # the most likely tokens, which nearly always hold top_p: topk is ten times cheaper than sorting the vocabulary


class SamplingParams(BaseModel):
    """Sampling and stopping, as in OpenAI's API. A temperature below `GREEDY_BELOW` is greedy, whatever the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_tokens: int = Field(64, ge=0)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = {}
    stop: tuple[str, ...] = ()
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)


@dataclass(slots=True, frozen=True)
class TokenLogprobs:
    """Natural log-probabilities under the model, before temperature and penalties: of the chosen token and of the most likely ones."""

    chosen: float
    best: dict[int, float]


class Sampler:
    """Samples the tokens of one sequence and counts them for the penalties."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._rng = torch.Generator()
        if params.seed is None:
            self._rng.seed()
        else:
            self._rng.manual_seed(params.seed)
        self._counts: Counter[int] = Counter()

    def __call__(self, logits: Tensor) -> int:
        """The next token, from `logits` [vocab] of one sequence, on the CPU."""
        token = sample(self._with_penalties(logits), self._params, self._rng)
        self._counts[token] += 1
        return token

    def _with_penalties(self, logits: Tensor) -> Tensor:
        """`logits` with OpenAI's penalties: presence once per generated token, frequency once per occurrence."""
        params, changes = self._params, dict(self._params.logit_bias)
        if params.presence_penalty or params.frequency_penalty:
            for token, count in self._counts.items():
                changes[token] = changes.get(token, 0.0) - params.presence_penalty - count * params.frequency_penalty
        if not changes:
            return logits
        return logits.index_add(0, torch.tensor(list(changes)), torch.tensor(list(changes.values()), dtype=logits.dtype))


def sample(logits: Tensor, params: SamplingParams, rng: torch.Generator) -> int:
    """Sample a token from `logits` [vocab]: temperature, then `top_k`, then `top_p` (the smallest set with this probability).

    Draws exactly one number from `rng` and inverts the cumulative distribution, in the order of the vocabulary: logits that
    differ by rounding, as those of one sequence in batches of different sizes do, give the same token almost surely.
    """
    if params.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    probabilities = torch.softmax((logits.double() - logits.max()) / params.temperature, 0)
    if params.top_p < 1 or params.top_k is not None:
        probabilities = _truncated(probabilities, params)
    cumulative = probabilities.cumsum(0)
    drawn = torch.rand((), generator=rng, dtype=torch.float64) * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, drawn, right=True)), len(cumulative) - 1)


def _truncated(probabilities: Tensor, params: SamplingParams) -> Tensor:
    """`probabilities` with zeros for the tokens that `top_k` and `top_p` exclude."""
    size = len(probabilities)
    best, tokens = probabilities.topk(min(params.top_k or TOP_P_CANDIDATES, size))
    if params.top_k is None and best.sum() < params.top_p:  # rare: the top tokens do not hold top_p
        best, tokens = probabilities.sort(descending=True, stable=True)
    mass = best.sum() if params.top_k is not None else 1.0
    kept = best.cumsum(0) - best < params.top_p * mass
    return torch.zeros_like(probabilities).index_put((tokens[kept],), best[kept])


def token_logprobs(logits: Tensor, token: int, best: int) -> TokenLogprobs:
    """The log-probabilities of `token` and of the `best` most likely tokens, from `logits` [vocab]."""
    logprobs = torch.log_softmax(logits.float(), 0)
    values, tokens = logprobs.topk(min(best, len(logprobs)))
    return TokenLogprobs(float(logprobs[token]), dict(zip(tokens.tolist(), values.tolist(), strict=True)))
