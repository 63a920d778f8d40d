"""Models that can be built from an `ArchSpec`. Knows nothing of search."""

from codenas.model.language_model import LanguageModel, build_model, count_parameters, uninitialized_model
from codenas.model.state import DecodingState

__all__ = ["DecodingState", "LanguageModel", "build_model", "count_parameters", "uninitialized_model"]
