"""A sequence while the engine works on it."""

from codenas.decode.backend import Logits
from codenas.decode.drafting import NgramDrafter
from codenas.decode.events import Event, Failed, Finished, Produced, PromptScored
from codenas.decode.sampler import NonFiniteLogits, SampleFunction, Sampler
from codenas.decode.sampling import TokenLogprobs, token_logprobs
from codenas.decode.sequence import Sequence

NO_SLOT = -1


class Running:
    """A sequence with its tokens, those of the prompt and those generated, of which the first `length` are in the state of its slot.

    It survives a preemption: then it has no slot and length 0, but its tokens and its sampler go on where they were.
    """

    def __init__(self, id: int, sequence: Sequence, sample: SampleFunction) -> None:
        self.id, self.sequence = id, sequence
        self.sampler = Sampler(sequence, sample)
        self.tokens = list(sequence.prompt)
        self.slot, self.length, self.saved = NO_SLOT, 0, 0  # `saved`: tokens whose state is in the prefix cache
        self.started = False
        self.digests: list[bytes] = []
        self.leader: Running | None = None  # computes the same prompt
        self.alone = False  # it was in a forward pass that failed: it gets the next one for itself
        self.drafter: NgramDrafter | None = None
        self._scores: list[TokenLogprobs | None] = [None] if sequence.prompt_logprobs else []

    @property
    def pending(self) -> int:
        """Tokens that are not in the state yet. One, the last, while it is decoded."""
        return len(self.tokens) - self.length

    @property
    def in_prompt(self) -> bool:
        """Whether nothing was generated yet."""
        return len(self.tokens) == len(self.sequence.prompt)

    @property
    def remaining(self) -> int:
        """The most tokens that are still generated."""
        return len(self.sequence.prompt) + self.sequence.params.max_tokens - len(self.tokens)

    @property
    def unscored(self) -> bool:
        """Whether log-probabilities of prompt tokens are still to be computed."""
        return self.sequence.prompt_logprobs and len(self._scores) < len(self.sequence.prompt)

    def score(self, logits: Logits) -> list[Event]:
        """Score the prompt tokens after the next ones of the state, whose `logits` these are; the event when all are."""
        best, prompt = self.sequence.params.logprobs or 0, self.sequence.prompt
        for row in logits[: len(prompt) - len(self._scores)]:
            self._scores.append(token_logprobs(row, prompt[len(self._scores)], best))
        return [] if self.unscored else [PromptScored(self.id, self._scores)]

    def sample(self, logits: Logits, drafted: list[int]) -> tuple[list[Event], int]:
        """Sample from the first row of `logits`, and from the next as long as the token is the drafted one.

        Returns:
            What to report, and how many drafted tokens were sampled. The sequence is over if the last event is no `Produced`.
        """
        tokens: list[int] = []
        scores: list[TokenLogprobs] = []
        end: Event | None = None
        accepted = 0
        for row, draft in zip(logits, [*drafted, None], strict=True):
            end = self._next(row, tokens, scores)
            accepted += bool(tokens) and end is None and tokens[-1] == draft
            if end is not None or tokens[-1] != draft:
                break
        self.tokens += tokens
        if self.drafter is not None:
            self.drafter.append(tokens)
        events: list[Event] = [Produced(self.id, tokens, scores)] if tokens else []
        return [*events, end] if end is not None else events, accepted

    def _next(self, logits: Logits, tokens: list[int], scores: list[TokenLogprobs]) -> Event | None:
        """Append a sampled token; the last event if the sequence is over."""
        params = self.sequence.params
        if len(tokens) == self.remaining:
            return Finished(self.id, "length")
        try:
            token = self.sampler(logits)
        except NonFiniteLogits as error:
            return Failed(self.id, str(error))
        if token in self.sequence.stop_token_ids:
            return Finished(self.id, "stop")
        tokens.append(token)
        if params.logprobs is not None:
            scores.append(token_logprobs(logits, token, params.logprobs))
        return Finished(self.id, "length") if len(tokens) == self.remaining else None
