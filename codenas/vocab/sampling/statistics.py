"""How often sampled vocabularies contain each token, counted in parts that add up. Sums are integers, so their order does not matter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from codenas.errors import CorpusError
from codenas.log import LOGGER
from codenas.seeds import derive
from codenas.vocab.sampling.draws import TABLES, Drawn, SamplingSettings, TextStream, TooFewPieces, Window, draw_parameters
from codenas.vocab.sampling.pieces import FORCED, LONGEST, Ids, Pieces, Table, grown

LONGEST_RUN = 512  # draws; the strings that a worker holds in memory grow with every draw
SHARE_POWER = 0.3  # the weight of a language is its share of the documents to this power
_PART = 10  # draws per part
_LOG_UNIT = 1 << 20
_LOOSE_ROWS = 4_000_000  # rows of tables that are merged at once

TOKENS = pa.schema(
    [
        ("language", pa.string()),
        ("token", pa.string()),
        ("draws", pa.int64()),  # vocabularies that contain it
        ("impossible", pa.int64()),  # of these, those in which noise made its share negative
        ("log_score", pa.int64()),  # the sum over the others, in units of 2^-20
    ]
)


@dataclass(frozen=True, slots=True)
class Run:
    """The draws start <= number < stop of a language."""

    language: str
    start: int
    stop: int


@dataclass(slots=True)
class Part:
    """The statistics of some draws of one language.

    Attributes:
        draws, failed: vocabularies drawn, and draws that failed as the window had too few pieces.
        most: the largest number of pieces available to a failed draw.
        occurrences: pieces in the vocabularies drawn, the forced ones included.
        text_bytes, covered_bytes: of the texts that were new at each draw; covered is a word that is one piece of the vocabulary.
        lengths: pieces drawn by their bytes; shape [16].
        tokens: the table `TOKENS`.
    """

    language: str
    draws: int = 0
    failed: int = 0
    most: int = 0
    occurrences: int = 0
    text_bytes: int = 0
    covered_bytes: int = 0
    lengths: Ids = field(default_factory=lambda: np.zeros(LONGEST + 1, np.int64))
    tokens: pa.Table = field(default_factory=TOKENS.empty_table)

    def add(self, other: "Part") -> None:
        """Add all but the tokens."""
        self.draws += other.draws
        self.failed += other.failed
        self.most = max(self.most, other.most)
        self.occurrences += other.occurrences
        self.text_bytes += other.text_bytes
        self.covered_bytes += other.covered_bytes
        self.lengths = self.lengths + other.lengths


def language_weights(documents: Mapping[str, int], given: Mapping[str, float] | None, texts: int) -> dict[str, float]:
    """The weight of each language: as given, or its share of the documents to the power 0.3 where it fills a window.

    Args:
        documents: of each language.
        texts: in a window.

    Raises:
        CorpusError: a language that is given, or each of the others, has fewer documents than that.
    """
    short = {language: documents.get(language, 0) for language in given or documents if documents.get(language, 0) < texts}
    if given is not None and not short:
        return dict(given)
    if given is not None or len(short) == len(documents):
        least = min(short.values()) if given else max(short.values())
        raise CorpusError(
            f"a window takes {texts:,} texts and the source has {_listed(short)}; give a source with more documents"
            + (f", or lower --texts to {least // TABLES * TABLES:,}" if least >= TABLES else "")
        )
    if short:
        LOGGER.warning(f"left out, with fewer than the {texts:,} texts of a window: {_listed(short)}")
    total = sum(documents.values())
    return {language: (count / total) ** SHARE_POWER for language, count in documents.items() if language not in short}


def _listed(documents: Mapping[str, int]) -> str:
    """The five largest: a source may hold hundreds of languages."""
    first = sorted(documents.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(first) - 5} other languages" if len(first) > 5 else ""
    return ", ".join(f"{count:,} of {language}" for language, count in first[:5]) + more


def plan(settings: SamplingSettings, weights: Mapping[str, float], workers: int) -> list[Run]:
    """All draws, their languages drawn by `weights`, in runs that are about one for each worker."""
    languages = sorted(weights)
    shares = np.array([weights[language] for language in languages], np.float64)
    counts = np.random.default_rng(derive(settings.seed, "languages")).multinomial(settings.draws, shares / shares.sum())
    length = min(-(-settings.draws // workers), LONGEST_RUN)
    return [
        Run(language, start, min(start + length, int(count)))
        for language, count in zip(languages, counts, strict=True)
        for start in range(0, int(count), length)
    ]


def sample(run: Run, texts: Sequence[str], settings: SamplingSettings) -> Iterator[Part]:
    """Make the draws of `run`: a part every few draws, the tokens of all in the last one.

    The same draws in other runs add up to the same.
    """
    window, counts = Window(Pieces()), _Counts()
    stream = TextStream(texts, run.language, settings)
    for number in range(run.start + 1, run.start + TABLES):  # draw n is made of the batches n + 1 to n + 16
        window.push(stream.batch(number))
    part = Part(run.language)
    for number in range(run.start, run.stop):
        table = window.push(stream.batch(number + TABLES))
        parameters = draw_parameters(settings, run.language, number)
        try:
            drawn = window.draw(parameters)
        except TooFewPieces as failure:
            part.add(Part(run.language, failed=1, most=failure.found))
        else:
            counts.add(drawn, len(window.pieces))
            part.add(_figures(run.language, parameters.size, drawn, table, window.pieces))
        if (number + 1) % _PART == 0:
            yield part
            part = Part(run.language)
    part.tokens = counts.table(run.language, window.pieces)
    yield part


class SampleStats:
    """The sum of all parts."""

    def __init__(self) -> None:
        self.languages: dict[str, Part] = {}
        self._tables: list[pa.Table] = [TOKENS.empty_table()]

    def add(self, part: Part) -> None:
        """Add one part; their order does not matter."""
        self.languages.setdefault(part.language, Part(part.language)).add(part)
        self._tables.append(part.tokens)
        if sum(table.num_rows for table in self._tables[1:]) > _LOOSE_ROWS:
            self._tables = [_merged(self._tables)]

    @property
    def draws(self) -> int:
        """Vocabularies drawn."""
        return sum(part.draws for part in self.languages.values())

    @property
    def failed(self) -> int:
        """Draws that failed."""
        return sum(part.failed for part in self.languages.values())

    def tokens(self) -> pa.Table:
        """The drawn tokens, each language and token once: the table `TOKENS`."""
        self._tables = [_merged(self._tables)]
        return self._tables[0]

    def counts(self) -> dict[str, int]:
        """For each drawn token the vocabularies that hold it, in whatever language; the most frequent first."""
        sums = self.tokens().group_by("token").aggregate([("draws", "sum")])
        ordered = sums.sort_by([("draws_sum", "descending"), ("token", "ascending")])
        return dict(zip(ordered["token"].to_pylist(), ordered["draws_sum"].to_pylist(), strict=True))


def require_draws(stats: SampleStats) -> None:
    """Raise `CorpusError` where every draw failed."""
    if stats.draws:
        return
    richest = max(part.most for part in stats.languages.values())
    fitting = f"lower the sizes to {richest + len(FORCED):,} (--max-size, --mean-size)" if richest else "give a source with more text"
    raise CorpusError(
        f"all {stats.failed:,} draws failed: the texts of a window have at most {richest:,} pieces to choose from, and with the "
        f"{len(FORCED)} forced ones that is less than a vocabulary; {fitting}, or raise --texts"
    )


def _merged(tables: list[pa.Table]) -> pa.Table:
    sums = pa.concat_tables(tables).group_by(["language", "token"])
    totals = sums.aggregate([("draws", "sum"), ("impossible", "sum"), ("log_score", "sum")])
    return totals.select(["language", "token", "draws_sum", "impossible_sum", "log_score_sum"]).rename_columns(TOKENS.names)


def mean_log_scores(tokens: pa.Table) -> list[float | None]:
    """Of each row of `tokens` the mean log-score over the vocabularies that hold it with a share above zero; None without one."""
    sums, draws, impossible = (tokens[name].to_pylist() for name in ("log_score", "draws", "impossible"))
    return [
        None if count == none else total / (count - none) / _LOG_UNIT for total, count, none in zip(sums, draws, impossible, strict=True)
    ]


class _Counts:
    """Draws of each piece, by its id."""

    def __init__(self) -> None:
        self._draws, self._impossible, self._logs = (np.zeros(0, np.int64) for _ in range(3))

    def add(self, drawn: Drawn, pieces: int) -> None:
        self._draws, self._impossible, self._logs = (grown(sums, pieces) for sums in (self._draws, self._impossible, self._logs))
        possible = drawn.shares > 0
        self._draws[drawn.ids] += 1
        self._impossible[drawn.ids[~possible]] += 1
        self._logs[drawn.ids[possible]] += np.rint(np.log(drawn.shares[possible]) * _LOG_UNIT).astype(np.int64)

    def table(self, language: str, pieces: Pieces) -> pa.Table:
        ids = np.flatnonzero(self._draws)
        names = pieces.names
        columns = [[language] * len(ids), [names[index] for index in ids], self._draws[ids], self._impossible[ids], self._logs[ids]]
        return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, TOKENS, strict=True)], schema=TOKENS)


def _figures(language: str, size: int, drawn: Drawn, table: Table, pieces: Pieces) -> Part:
    held = np.zeros(len(pieces) + 1, np.bool_)  # the last is for words that are no piece: their id is -1
    held[: len(FORCED)] = held[drawn.ids] = True
    return Part(
        language,
        draws=1,
        occurrences=size,
        text_bytes=int(table.sizes.sum()),
        covered_bytes=int(table.sizes[held[table.words]].sum()),
        lengths=np.bincount(pieces.lengths[drawn.ids], minlength=LONGEST + 1),
    )
