"""The lengths of prompt and answer of a latency measurement."""

WARMUP_TOKENS = 8


def lengths_that_fit(context_len: int, tokens: int, prompt_tokens: int) -> tuple[int, int]:
    """The lengths of prompt and answer, shortened to what the context allows.

    Raises:
        ValueError: the context is too short to time a single token.
    """
    room = context_len - WARMUP_TOKENS
    if room < 2:
        raise ValueError(f"a context of {context_len} is too short to time decoding; it takes {WARMUP_TOKENS + 2}")
    tokens = min(tokens, room - 1)
    return min(prompt_tokens, room - tokens), tokens
