"""Decoding: sampling, a simple reference implementation of generation, and continuous batching."""

from codenas.decode.batcher import Batcher, Event, Failed, Finished, Produced, PromptScored
from codenas.decode.generate import complete, generate
from codenas.decode.sampling import MAX_LOGPROBS, SamplingParams, TokenLogprobs
from codenas.decode.sequence import FinishReason, Sequence, fit_infill_to_context, fit_to_context
from codenas.decode.text import TextStream

__all__ = [
    "MAX_LOGPROBS",
    "Batcher",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "Produced",
    "PromptScored",
    "SamplingParams",
    "Sequence",
    "TextStream",
    "TokenLogprobs",
    "complete",
    "fit_infill_to_context",
    "fit_to_context",
    "generate",
]
