"""`codenas prepare`: source code to token shards."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.overrides import Overrides

if TYPE_CHECKING:
    from rich.table import Table

    from codenas.corpus import Corpus, CorpusManifest, Tally
    from data_prep.config import PrepareConfig

DEFAULT_OUTPUT = Path("corpora/environment")
_OPTIONS = {
    "max_megabytes": "--max-mb", "max_repository_megabytes": "--max-repository-mb", "languages": "--language",
    "vocabularies": "--vocabulary",
}  # fmt: skip


def prepare(
    source: Annotated[
        str | None,
        typer.Option(
            help="'environment' (the Python source on this machine), a folder of your own code, 'pypi:LIST' (pinned packages), or parquet "
            "of The Stack's family: a file or folder, hf://datasets/..., s3://..."
        ),
    ] = None,
    job: Annotated[Path | None, typer.Option(help="A job file with a [prepare] table; options take precedence.")] = None,
    overrides: Overrides = None,
    language: Annotated[str | None, typer.Option(help="Languages, such as python,go; or all. [default: python]")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the corpus.")] = DEFAULT_OUTPUT,
    vocab_size: Annotated[int | None, typer.Option(help="Size of the byte-level BPE vocabulary.")] = None,
    vocabulary: Annotated[list[str] | None, typer.Option(help="Additional vocabulary: char, or bpe-N with N ids. May be repeated.")] = None,
    max_mb: Annotated[float | None, typer.Option(help="Size of the source to use, in MB.")] = None,
    max_repository_mb: Annotated[float | None, typer.Option(help="Size of the source to use of one repository, in MB.")] = None,
    valid_share: Annotated[float | None, typer.Option(help="Share of the bytes held out for validation.")] = None,
    test_share: Annotated[float | None, typer.Option(help="Share of the bytes held out for the test.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample and the split.")] = None,
    near_dedup: Annotated[
        bool | None, typer.Option(help="Keep only the best of files that are nearly the same. [default: yes, except for your own code]")
    ] = None,
    redact: Annotated[bool | None, typer.Option(help="Replace e-mail and IP addresses and keys. [default: yes]")] = None,
    decontaminate: Annotated[
        list[str] | None, typer.Option(help="A benchmark file (HumanEval, MBPP) to remove from the corpus. May be repeated.")
    ] = None,
    quality_filters: Annotated[
        bool | None,
        typer.Option(help="Drop files by [prepare.filters], not only those that do not parse. [default: yes, except for your own code]"),
    ] = None,
    any_licence: Annotated[
        bool, typer.Option("--any-licence", help="Take files of any licence, and of none. Your own code is always taken.")
    ] = False,
    opt_out: Annotated[str | None, typer.Option(help="File of owners and repositories to leave out, one per line.")] = None,
    workers: Annotated[int | None, typer.Option(help="Parallel tasks; by default one per processor.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Prepare a finished corpus again if its source has changed.")] = False,
) -> None:
    """Prepare a corpus: filter, deduplicate, redact, split by repository, train a vocabulary, write token shards.

    After an interruption, the same command continues. With --update only the new part of the source is processed, then all of it
    is deduplicated, split and tokenised again: the result equals that of a new corpus.
    """
    from codenas.cli.job_file import load_job
    from codenas.cli.options import settings_of
    from data_prep.config import ANY_LICENCE, PrepareConfig

    configured = load_job(job, overrides or ()).prepare
    given = {
        "source": source, "vocab_size": vocab_size, "vocabularies": vocabulary or None, "max_megabytes": max_mb,
        "max_repository_megabytes": max_repository_mb, "valid_share": valid_share, "test_share": test_share, "seed": seed,
        "workers": workers, "redact": redact, "decontaminate": decontaminate or None, "opt_out": opt_out,
        "near_dedup": None if near_dedup is None else configured.near_dedup.model_dump() | {"enabled": near_dedup},
        "filters": None if quality_filters is None else configured.filters.model_dump() | {"enabled": quality_filters},
        "languages": language and language.split(","), "licences": (ANY_LICENCE,) if any_licence else None,
    }  # fmt: skip
    chosen = {name: value for name, value in given.items() if value is not None}
    config = settings_of(PrepareConfig, configured.model_dump(exclude_unset=True) | chosen, _OPTIONS)
    show(_prepared(config, output, update))


def _prepared(config: "PrepareConfig", output: Path, update: bool) -> "Corpus":
    from codenas.log import LOGGER
    from data_prep.stages import find_complete_corpus
    from tune_jobs.cluster.local import local_ray

    corpus = find_complete_corpus(config, output, update)
    if corpus is not None:
        LOGGER.info(f"corpus is ready: {output}")
        return corpus
    with local_ray():
        # Not earlier: importing Ray fixes settings that local_ray changes.
        from data_prep.pipeline import prepare as prepare_corpus

        return prepare_corpus(config, output, update=update)


def show(corpus: "Corpus") -> None:
    """Print a summary of a corpus: the stages, what was dropped and why, and the splits in every vocabulary."""
    from rich.console import Console
    from rich.table import Table

    manifest = corpus.manifest
    stages = Table(title=manifest.source)
    for name in ("", "documents", "MB"):
        stages.add_column(name, justify="right" if name else "left")
    for stage, tally in manifest.stages.items():
        stages.add_row(stage, *_cells(tally))
    stages.add_section()
    for reason, tally in sorted(manifest.drops.items(), key=lambda item: -item[1].bytes):
        stages.add_row(f"dropped: {reason}", *_cells(tally))
    every = [(manifest, "")] + [(corpus.with_vocabulary(name).manifest, f" {name}") for name in corpus.vocabularies]
    redacted = [f"replaced: {kind}, {found.values:,} in {found.documents:,} documents" for kind, found in manifest.redacted.items()]
    Console().print(stages, *redacted, *(_splits(each, name) for each, name in every), sep="\n")


def _splits(manifest: "CorpusManifest", name: str) -> "Table":
    from rich.table import Table

    splits = Table(title=f"corpus {manifest.digest[:12]}, vocabulary{name} of {manifest.vocab_size:,}")
    for heading in ("split", "repositories", "documents", "MB", "tokens", "bytes/token"):
        splits.add_column(heading, justify="left" if heading == "split" else "right")
    for part, split in manifest.splits.items():
        density = f"{split.bytes / (split.tokens - split.documents):.2f}"  # end-of-text ids have no bytes
        splits.add_row(part, f"{split.repositories:,}", f"{split.documents:,}", f"{split.bytes / 1e6:.2f}", f"{split.tokens:,}", density)
    return splits


def _cells(tally: "Tally") -> tuple[str, str]:
    return f"{tally.documents:,}", f"{tally.bytes / 1e6:.2f}"
