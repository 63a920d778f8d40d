"""The distribution that a token is sampled from: parameters, truncation, inversion and log-probabilities, in numpy."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from codenas.decode.backend import Logits

MAX_LOGPROBS = 5
GREEDY_BELOW = 1e-5  # a lower temperature is greedy, as in vLLM: division by a subnormal number overflows
TOP_P_CANDIDATES = 256  # the most likely tokens, which nearly always hold top_p: to find them is far cheaper than to sort the vocabulary

Probabilities = NDArray[np.float64]


class SamplingParams(BaseModel):
    """Sampling and stopping, as in OpenAI's API, with the parameters that vLLM and llama.cpp add.

    A temperature below `GREEDY_BELOW` is greedy, whatever the seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_tokens: int = Field(64, ge=0)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    min_p: float = Field(
        0.0, ge=0, le=1, description="tokens less likely than this share of the most likely one's probability are excluded"
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, ge=0.1, le=10, description="divides positive logits of tokens of prompt and completion")
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = {}
    stop: tuple[str, ...] = ()
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature < GREEDY_BELOW


@dataclass(slots=True, frozen=True)
class TokenLogprobs:
    """Natural log-probabilities under the model, before temperature and penalties: of the chosen token and of the most likely ones."""

    chosen: float
    best: dict[int, float]


def sample(logits: Logits, params: SamplingParams, drawn: float) -> int:
    """The token at `drawn`, uniform in [0, 1), of the distribution of `logits` [vocab].

    Temperature, then `top_k`, then `top_p` (the smallest set with this probability), then `min_p`. The cumulative distribution is
    inverted in the order of the vocabulary: logits that differ by rounding, as those of one sequence in batches of different sizes
    do, give the same token almost surely.
    """
    wide = logits.astype(np.float64)
    probabilities = np.exp((wide - wide.max()) / params.temperature)
    probabilities /= probabilities.sum()
    if params.top_p < 1 or params.top_k is not None or params.min_p > 0:
        probabilities = _truncated(probabilities, params)
    cumulative = probabilities.cumsum()
    token = int(np.searchsorted(cumulative, drawn * cumulative[-1], side="right"))
    return min(token, len(cumulative) - 1)


def _truncated(probabilities: Probabilities, params: SamplingParams) -> Probabilities:
    """`probabilities` with zeros for the tokens that `top_k`, `top_p` and `min_p` exclude; of equally likely ones the first are kept."""
    tokens = _most_likely(probabilities, params.top_k or TOP_P_CANDIDATES)
    best = probabilities[tokens]
    if params.top_k is None and best.sum() < params.top_p:  # rare: the top tokens do not hold top_p
        tokens = _most_likely(probabilities, len(probabilities))
        best = probabilities[tokens]
    mass = best.sum() if params.top_k is not None else 1.0
    before = best.cumsum() - best
    before[0] = 0.0
    kept = (before < params.top_p * mass) & (best >= params.min_p * best[0])
    truncated = np.zeros_like(probabilities)
    truncated[tokens[kept]] = best[kept]
    return truncated


def _most_likely(values: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """The indices of the `count` largest of `values`, largest first; of equal ones the first."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    candidates = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return candidates[np.argsort(-values[candidates], kind="stable")[:count]]


def token_logprobs(logits: Logits, token: int, best: int) -> TokenLogprobs:
    """The log-probabilities of `token` and of the `best` most likely tokens, from `logits` [vocab]."""
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    tokens = _most_likely(wide, best) if best else np.empty(0, np.intp)
    return TokenLogprobs(float(wide[token]), dict(zip(tokens.tolist(), wide[tokens].tolist(), strict=True)))
