"""What can honestly be said of a checkpoint: quality on repositories it was never trained on, beside what it must beat."""

import logging
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus, Tokens
from codenas.decode.generate import generate
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import fit
from codenas.errors import CheckpointError
from codenas.evaluate.collapse import CollapseReport, completion_quality
from codenas.evaluate.config import EvaluationSettings
from codenas.measure.bits_per_byte import bits_per_byte, window_starts
from codenas.measure.compressors import compressor_bits_per_byte
from codenas.measure.latency import decoding_latency
from codenas.measure.plausibility import check_causal, implausible
from codenas.metrics import Metrics
from codenas.model import LanguageModel, count_parameters
from codenas.seeds import derive
from codenas.vocab import Vocabulary

LOGGER = logging.getLogger("codenas")


class Evaluation(BaseModel):
    """The result. Bits per byte of the model and of the compressors are of the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    settings: EvaluationSettings
    weights_sha256: str
    corpus_digest: str
    metrics: Metrics
    tokens: int
    bytes: int
    context_len: int
    compressors: dict[str, float]
    completions: CollapseReport
    warnings: tuple[str, ...]


def evaluate_checkpoint(checkpoint: Checkpoint, corpus: Corpus, settings: EvaluationSettings, device: str = "cpu") -> Evaluation:
    """Evaluate what `checkpoint` has stored on the held-out repositories of `corpus`; warnings are logged as well.

    Raises:
        CheckpointError: it was trained on another corpus: then nobody knows what was held out.
        LeakError: a score depends on a later token.
    """
    if checkpoint.manifest.corpus_digest != corpus.manifest.digest:
        raise CheckpointError(
            f"{checkpoint.path} was trained on corpus {checkpoint.manifest.corpus_digest[:12]}, {corpus.path} is "
            f"{corpus.manifest.digest[:12]}: its held-out repositories may have been trained on; give the corpus of the training"
        )
    model, vocabulary = checkpoint.load_model(device), checkpoint.load_vocabulary()
    check_causal(lambda tokens: model(tokens.to(model.device)).cpu(), model.vocab_size, model.arch.context_len)
    held_out = corpus.split(settings.split)
    scored = bits_per_byte(model, held_out, vocabulary.bytes_per_token, settings.tokens)
    compressors = compressor_bits_per_byte(_scored_bytes(held_out, vocabulary, model.arch.context_len, settings.tokens))
    warnings = implausible(scored.bits_per_byte, count_parameters(model), compressors)
    for warning in warnings:
        LOGGER.warning(warning)
    return Evaluation(
        settings=settings,
        weights_sha256=checkpoint.manifest.weights_sha256,
        corpus_digest=corpus.manifest.digest,
        metrics=_metrics(checkpoint, model, scored.bits_per_byte, settings),
        tokens=scored.tokens,
        bytes=scored.bytes,
        context_len=model.arch.context_len,
        compressors=compressors,
        completions=_completions(model, vocabulary, held_out, settings),
        warnings=tuple(warnings),
    )


def _metrics(checkpoint: Checkpoint, model: LanguageModel, score: float, settings: EvaluationSettings) -> Metrics:
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.latency_threads)
    latency = decoding_latency(model, settings.latency_tokens)
    torch.set_num_threads(threads)
    measured = Metrics(bits_per_byte=score, params=count_parameters(model), size_bytes=checkpoint.size_bytes)
    return checkpoint.manifest.metrics.merged(measured).merged(latency.metrics)


def _scored_bytes(tokens: Tokens, vocabulary: Vocabulary, context_len: int, max_tokens: int) -> Iterator[bytes]:
    """The bytes of the targets of every window that was scored."""
    for start in window_starts(len(tokens), context_len, max_tokens):
        yield vocabulary.decode(tokens.read(start + 1, start + context_len + 1).tolist())


def _completions(model: LanguageModel, vocabulary: Vocabulary, held_out: Tokens, settings: EvaluationSettings) -> CollapseReport:
    """Completions of the whole length: their authors went on, so the end of the text is not offered as an answer."""
    context_len = model.arch.context_len
    never = dict.fromkeys(vocabulary.specials.values(), -100.0)
    completion_tokens = min(settings.completion_tokens, context_len // 2)
    drawn = iter(range(settings.prompts))

    def answer(prompt: list[int], count: int) -> list[int]:
        seed = derive(settings.seed, "completion", next(drawn)) % 2**63
        params = SamplingParams(max_tokens=count, temperature=settings.temperature, seed=seed, logit_bias=never)
        return list(generate(model, fit(prompt, params, vocabulary, context_len)))

    return completion_quality(
        answer,
        vocabulary.decode,
        held_out.documents(),
        temperature=settings.temperature,
        prompts=settings.prompts,
        prompt_tokens=min(settings.prompt_tokens, context_len - completion_tokens),
        completion_tokens=completion_tokens,
        seed=settings.seed,
    )
