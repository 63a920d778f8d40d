"""Bits per byte on held-out repositories, compared with compressors on the same bytes. A model that leaks is refused."""

from collections.abc import Iterator

from codenas.evaluate.evaluation import Row
from codenas.evaluate.suites.base import EvaluationSubject, Suite, SuiteResult
from codenas.measure.bits_per_byte import bits_per_byte, window_starts
from codenas.measure.compressors import compressor_bits_per_byte
from codenas.measure.plausibility import check_causal, implausible
from codenas.metrics import Metrics
from codenas.model import count_parameters


class BitsPerByteResult(SuiteResult):
    """Bits per byte of the model and of the compressors, on the same bytes; `warnings` give reasons to distrust them."""

    bits_per_byte: float
    tokens: int
    bytes: int
    context_len: int
    compressors: dict[str, float]
    warnings: tuple[str, ...]

    def rows(self) -> tuple[Row, ...]:
        """The model beside the compressors."""
        references = ", ".join(f"{name} {bits:.3f}" for name, bits in self.compressors.items())
        return (Row(name="bits per byte, the same bytes", value=f"{self.bits_per_byte:.3f}", reference=references),)

    def measured(self) -> Metrics:
        """Bits per byte."""
        return Metrics(bits_per_byte=self.bits_per_byte)

    def distrust(self) -> tuple[str, ...]:
        """`warnings`."""
        return self.warnings


def run(subject: EvaluationSubject) -> BitsPerByteResult:
    """Score the held-out text.

    Raises:
        LeakError: a logit depends on a later token: all metrics of this model would be invalid.
    """
    model, vocabulary, tokens = subject.model, subject.vocabulary, subject.settings.tokens
    check_causal(lambda ids: model(ids.to(model.device)).cpu(), model.vocab_size, model.arch.context_len)
    scored = bits_per_byte(model, subject.held_out, vocabulary.bytes_per_token, tokens)
    compressors = compressor_bits_per_byte(_scored_bytes(subject, tokens))
    return BitsPerByteResult(
        bits_per_byte=scored.bits_per_byte,
        tokens=scored.tokens,
        bytes=scored.bytes,
        context_len=model.arch.context_len,
        compressors=compressors,
        warnings=tuple(implausible(scored.bits_per_byte, count_parameters(model), compressors)),
    )


def _scored_bytes(subject: EvaluationSubject, max_tokens: int) -> Iterator[bytes]:
    """The bytes of the targets of every window that was scored."""
    held_out, context_len = subject.held_out, subject.model.arch.context_len
    for start in window_starts(len(held_out), context_len, max_tokens):
        yield subject.vocabulary.decode(held_out.read(start + 1, start + context_len + 1).tolist())


SUITE = Suite("bits_per_byte", BitsPerByteResult, ("split", "tokens"), run)
