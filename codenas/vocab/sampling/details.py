"""Token sampling statistics by language, on disk and for tables."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from codenas.vocab.sampling.draws import SamplingSettings
from codenas.vocab.sampling.pieces import BLANKS, BYTES
from codenas.vocab.sampling.statistics import Part, SampleStats, mean_log_scores


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LanguageFigures(_Part):
    """The draws of one language.

    Attributes:
        unique: tokens that were drawn at least once.
        always, often: of these, in every vocabulary and in half of them or more.
        mean_size: pieces per vocabulary, the forced ones included.
        mean_log_score: over all that was drawn with a share above zero.
        coverage: the share of the bytes of new texts in words that are a single piece of the vocabulary.
        mean_bytes: of a drawn token; `lengths` counts the drawn tokens by their bytes.
    """

    draws: int
    failed: int
    unique: int
    always: int
    often: int
    mean_size: float | None
    mean_log_score: float | None
    coverage: float | None
    mean_bytes: float | None
    lengths: dict[int, int]


class SampleDetails(_Part):
    """The file of details. `tokens`: for each language and drawn token the share of its vocabularies that hold it (the inclusion
    probability) and its mean log-score in these, null where noise always took its share below zero.
    """

    schema_version: Literal[1] = 1
    source: str
    settings: SamplingSettings
    forced_bytes: int = len(BYTES)
    forced_blanks: int = len(BLANKS)
    languages: dict[str, LanguageFigures]
    tokens: dict[str, dict[str, tuple[float, float | None]]]


def language_figures(stats: SampleStats) -> dict[str, LanguageFigures]:
    """The figures of each language."""
    tokens = stats.tokens()
    return {language: _figures(part, _of(tokens, language)) for language, part in sorted(stats.languages.items())}


def sample_details(stats: SampleStats, settings: SamplingSettings, source: str) -> SampleDetails:
    """All that is known of each token."""
    tokens = stats.tokens().sort_by([("draws", "descending"), ("token", "ascending")])
    held = {language: _tokens(_of(tokens, language), part.draws) for language, part in sorted(stats.languages.items())}
    return SampleDetails(source=source, settings=settings, languages=language_figures(stats), tokens=held)


def _of(tokens: pa.Table, language: str) -> pa.Table:
    return tokens.filter(pc.equal(tokens["language"], language))


def _tokens(tokens: pa.Table, draws: int) -> dict[str, tuple[float, float | None]]:
    shares = [count / draws for count in tokens["draws"].to_pylist()]
    return dict(zip(tokens["token"].to_pylist(), zip(shares, mean_log_scores(tokens), strict=True), strict=True))


def _figures(part: Part, tokens: pa.Table) -> LanguageFigures:
    counts = tokens["draws"].to_numpy()
    drawn = int(part.lengths.sum())
    total = tokens.group_by([]).aggregate([(name, "sum") for name in ("draws", "impossible", "log_score")])
    totals = total.rename_columns([name.removesuffix("_sum") for name in total.column_names])
    return LanguageFigures(
        draws=part.draws,
        failed=part.failed,
        unique=len(counts),
        always=int((counts == part.draws).sum()),
        often=int((2 * counts >= part.draws).sum()),
        mean_size=part.occurrences / part.draws if part.draws else None,
        mean_log_score=mean_log_scores(totals)[0] if drawn else None,
        coverage=part.covered_bytes / part.text_bytes if part.text_bytes else None,
        mean_bytes=float(part.lengths @ range(len(part.lengths))) / drawn if drawn else None,
        lengths={size: int(count) for size, count in enumerate(part.lengths) if count},
    )
