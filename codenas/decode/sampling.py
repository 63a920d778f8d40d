"""One token out of one row of scores. Every sequence has its own generator: who else is in the batch changes nothing."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

MAX_LOGPROBS = 5
GREEDY_BELOW = 1e-5  # the temperature under which the best token is taken: no second one has a chance left worth a draw
FEW = 256  # tokens that nearly always hold top_p: finding them is ten times cheaper than sorting a vocabulary


class SamplingParams(BaseModel):
    """How to choose tokens and when to stop. Temperature 0 (and any below `GREEDY_BELOW`) takes the best token; no seed matters then."""

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
class TokenScores:
    """Natural logarithms of the model's own probabilities, before temperature and penalties: of one token and of the best ones."""

    chosen: float
    best: dict[int, float]


class Sampler:
    """Chooses the tokens of one sequence; counts them for the penalties."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._rng = torch.Generator()
        if params.seed is None:
            self._rng.seed()
        else:
            self._rng.manual_seed(params.seed)
        self._counts: Counter[int] = Counter()

    def __call__(self, scores: Tensor) -> int:
        """The next token, from the scores [vocab] of one sequence, on the CPU."""
        token = sample(self._penalised(scores), self._params, self._rng)
        self._counts[token] += 1
        return token

    def _penalised(self, scores: Tensor) -> Tensor:
        """OpenAI's penalties: once for having appeared, and once per appearance, in what was generated."""
        params, changes = self._params, dict(self._params.logit_bias)
        if params.presence_penalty or params.frequency_penalty:
            for token, count in self._counts.items():
                changes[token] = changes.get(token, 0.0) - params.presence_penalty - count * params.frequency_penalty
        if not changes:
            return scores
        return scores.index_add(0, torch.tensor(list(changes)), torch.tensor(list(changes.values()), dtype=scores.dtype))


def sample(scores: Tensor, params: SamplingParams, rng: torch.Generator) -> int:
    """Draw a token from `scores` [vocab]: temperature, then the `top_k` best, then the smallest set that holds `top_p` of them.

    Takes exactly one number from `rng`, and inverts the distribution with it, in the order of the vocabulary: scores that
    differ by rounding, as those of one sequence in batches of different size do, give the same token but for a vanishing
    chance.
    """
    if params.temperature < GREEDY_BELOW:
        return int(scores.argmax())
    probabilities = torch.softmax((scores.double() - scores.max()) / params.temperature, 0)
    if params.top_p < 1 or params.top_k is not None:
        probabilities = _cut(probabilities, params)
    cumulative = probabilities.cumsum(0)
    drawn = torch.rand((), generator=rng, dtype=torch.float64) * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, drawn, right=True)), len(cumulative) - 1)


def _cut(probabilities: Tensor, params: SamplingParams) -> Tensor:
    """`probabilities` with zeros outside the best ones that `params` keep."""
    size = len(probabilities)
    best, tokens = probabilities.topk(min(params.top_k or FEW, size))
    if params.top_k is None and best.sum() < params.top_p:  # seldom: the few best do not hold top_p
        best, tokens = probabilities.sort(descending=True, stable=True)
    mass = best.sum() if params.top_k is not None else 1.0
    kept = best.cumsum(0) - best < params.top_p * mass
    return torch.zeros_like(probabilities).index_put((tokens[kept],), best[kept])


def token_scores(scores: Tensor, token: int, best: int) -> TokenScores:
    """What the model thought of `token`, and of its `best` favourites, from `scores` [vocab]."""
    logprobs = torch.log_softmax(scores.float(), 0)
    values, tokens = logprobs.topk(min(best, len(logprobs)))
    return TokenScores(float(logprobs[token]), dict(zip(tokens.tolist(), values.tolist(), strict=True)))
