"""Decoding: an engine that batches sequences over the forward passes of a backend, with sampling, prefix sharing and drafting."""

from codenas.decode.choice import BackendChoice, BackendOptions, choose_backend, open_backend
from codenas.decode.engine import Engine
from codenas.decode.events import Event, Failed, Finished, Produced, PromptScored, Statistics
from codenas.decode.generate import complete, generate
from codenas.decode.sampling import MAX_LOGPROBS, SamplingParams, TokenLogprobs
from codenas.decode.sequence import FinishReason, Sequence, fit_infill_to_context, fit_to_context
from codenas.decode.settings import EngineSettings
from codenas.decode.text import TextStream
from codenas.decode.torch_backend import TorchBackend

__all__ = [
    "MAX_LOGPROBS",
    "BackendChoice",
    "BackendOptions",
    "Engine",
    "EngineSettings",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "Produced",
    "PromptScored",
    "SamplingParams",
    "Sequence",
    "Statistics",
    "TextStream",
    "TokenLogprobs",
    "TorchBackend",
    "choose_backend",
    "complete",
    "fit_infill_to_context",
    "fit_to_context",
    "generate",
    "open_backend",
]
