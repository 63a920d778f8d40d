"""`codenas tokens frequencies` and `compare`: token frequencies on texts, and a comparison of vocabularies."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.prepare import DEFAULT_OUTPUT
from codenas.cli.sample_stats import MaxMb, Seed, Source

if TYPE_CHECKING:
    from codenas.vocab import Vocabulary
    from codenas.vocab.frequencies import Frequencies
    from data_prep.tokens.texts import Texts


def frequencies(
    vocabulary: Annotated[
        Path | None, typer.Argument(help="A vocabulary file, or a folder with a tokenizer.json; by default that of the source.")
    ] = None,
    source: Source = DEFAULT_OUTPUT,
    output_file: Annotated[
        Path, typer.Option("--output-file", "--output_file", help="JSON: every token with its counts and shares.")
    ] = Path("token_frequencies.json"),
    max_mb: MaxMb = 100,
    seed: Seed = 0,
) -> None:
    """Count how often texts use each token of a vocabulary: counts, shares, bytes per token and unused tokens, by language."""
    from codenas.cli.console import console
    from codenas.files import require_writable_file, write_atomic
    from codenas.report.tokens import frequent_table, uses_table
    from codenas.vocab.frequencies import frequency_table
    from data_prep.tokens.texts import read_texts

    require_writable_file(output_file)
    loaded = load_named(vocabulary or source)
    counted = _count("count", loaded, read_texts(source, max_mb, seed))
    table = frequency_table(loaded, str(source), counted)
    write_atomic(output_file, table.model_dump_json(indent=1) + "\n")
    console().print(uses_table(table), frequent_table(table))
    typer.echo(f"frequencies: {output_file}")


def compare(
    vocabularies: Annotated[
        list[Path] | None, typer.Argument(help="Vocabulary files, or folders with one; by default all of the prepared corpus.")
    ] = None,
    source: Source = DEFAULT_OUTPUT,
    split: Annotated[str, typer.Option(help="Split of a prepared corpus; vocabularies are trained on train.")] = "test",
    arch: Annotated[str | None, typer.Option(help="The model, as `codenas arch show` takes it; by default 4 layers x 256.")] = None,
    max_mb: MaxMb = 100,
    seed: Seed = 0,
) -> None:
    """Compare vocabularies: bytes per token on the same texts, and their share of a model's parameters."""
    from codenas.arch import ArchSpec
    from codenas.arch.cost import parameters
    from codenas.cli.arch import load_arch
    from codenas.cli.console import console
    from codenas.report.tokens import Compared, comparison_table
    from codenas.vocab.frequencies import Frequencies, sum_of, use_of
    from data_prep.tokens.texts import read_texts

    spec = ArchSpec() if arch is None else load_arch(arch)[0]
    named = {str(path): load_named(path) for path in vocabularies or corpus_vocabularies(source)}
    texts = read_texts(source, max_mb, seed, split)
    rows = []
    for name, vocabulary in named.items():
        counted = _count(name, vocabulary, texts)
        total = use_of(vocabulary, Frequencies(sum(map(len, texts.values())), sum_of(counted)))
        uses = {language: use_of(vocabulary, each) for language, each in counted.items()}
        whole = parameters(spec, vocabulary.size)
        rows.append(Compared(name, vocabulary.size, uses, total, whole - parameters(spec, 0), whole))
    console().print(comparison_table(rows, str(source), f"{spec.n_layers} layers x {spec.d_model}"))


def load_named(path: Path) -> "Vocabulary":
    """The vocabulary in a file, or in a folder such as a corpus or a checkpoint."""
    from codenas.vocab import load_vocabulary

    return load_vocabulary(path / "tokenizer.json" if path.is_dir() else path)


def corpus_vocabularies(source: Path) -> list[Path]:
    """The vocabularies of a prepared corpus: the default one, the character vocabulary, and the additional ones.

    Raises:
        ConfigError: `source` is not a prepared corpus.
    """
    from codenas.corpus import Corpus, card_of
    from codenas.corpus.shards import VOCABULARIES
    from codenas.errors import ConfigError
    from data_prep.config import CHAR

    if not source.exists():
        raise ConfigError(f"there is no source {source}; give a prepared corpus, or name the vocabularies to compare")
    if card_of(source) is None:
        raise ConfigError(f"{source} is no prepared corpus with vocabularies of its own; name those to compare")
    corpus = Corpus.open(source)
    beside = [source / VOCABULARIES / name / "tokenizer.json" for name in corpus.vocabularies]
    if CHAR not in corpus.vocabularies:  # or it is among them
        beside.insert(0, source / "vocab-char.json")
    return [corpus.tokenizer_path, *(path for path in beside if path.is_file())]


def _count(label: str, vocabulary: "Vocabulary", texts: "Mapping[str, Texts]") -> "dict[str, Frequencies]":
    """Count the tokens of every language, with progress."""
    import numpy as np

    from codenas.log import Progress
    from codenas.vocab.frequencies import Frequencies, count_tokens

    progress, counted = Progress(label, sum(map(len, texts.values())), "documents"), dict[str, Frequencies]()
    for language, held in texts.items():
        counted[language] = Frequencies(0, np.zeros(vocabulary.size, np.int64))
        for part in count_tokens(vocabulary, held):
            counted[language].add(part)
            progress.update(progress.done + part.documents)
    progress.finish()
    return counted
