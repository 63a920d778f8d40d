"""Text out of a model: sampling, a slow clear reference, and a batcher that serves many sequences at once."""

from codenas.decode.batcher import Batcher, Event, Failed, Finished, Produced, PromptScored
from codenas.decode.generate import complete, generate
from codenas.decode.sampling import MAX_LOGPROBS, SamplingParams, TokenLogprobs
from codenas.decode.sequence import FinishReason, Sequence, fit, fit_infill
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
    "fit",
    "fit_infill",
    "generate",
]
