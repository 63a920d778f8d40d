"""`codenas tokens sample-stats`: how often sampled vocabularies contain each token."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.prepare import DEFAULT_OUTPUT
from codenas.processes import MAX_WORKERS

if TYPE_CHECKING:
    from codenas.vocab.sampling.draws import SamplingSettings
    from codenas.vocab.sampling.statistics import SampleStats

Source = Annotated[
    Path, typer.Option(help="A prepared corpus, parquet in The Stack v1 schema, or a folder of code (code:FOLDER if it holds parquet).")
]
MaxMb = Annotated[float, typer.Option(min=0.001, max=100_000, help="Size of the text to use, in MB; it is held in memory.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]

_OPTIONS = {"draws": "--num-batches"}


def sample_stats(
    source: Source = DEFAULT_OUTPUT,
    num_batches: Annotated[
        int | None, typer.Option("--num-batches", "--num_batches", help="Number of vocabularies to draw, 1000 by default.")
    ] = None,
    output_file: Annotated[
        Path, typer.Option("--output-file", "--output_file", help="JSON: for each token the number of vocabularies that contain it.")
    ] = Path("token_sample_stats.json"),
    details_file: Annotated[
        Path | None,
        typer.Option("--details-file", "--details_file", help="JSON by language: inclusion probabilities, log-scores, lengths."),
    ] = None,
    min_size: Annotated[int | None, typer.Option(help="Smallest size of a vocabulary, 1024 by default.")] = None,
    max_size: Annotated[int | None, typer.Option(help="Largest size of a vocabulary, 32768 by default.")] = None,
    mean_size: Annotated[float | None, typer.Option(help="Mean of the normal distribution of sizes; the largest size by default.")] = None,
    size_std: Annotated[float | None, typer.Option(help="Its standard deviation, 0 by default.")] = None,
    noise_mean: Annotated[
        float | None, typer.Option(help="Median of the log-normal distribution of the noise level, 1e-5 by default; 0: no noise.")
    ] = None,
    noise_std: Annotated[float | None, typer.Option(help="Standard deviation of its logarithm, 4 by default.")] = None,
    texts: Annotated[int | None, typer.Option(help="Texts in a window, 2048 by default; each draw replaces a sixteenth of them.")] = None,
    languages: Annotated[
        Path | None, typer.Option(help='Weights of languages, as JSON: {"Python": 1, "Go": 0.5}. Only these are drawn.')
    ] = None,
    max_mb: MaxMb = 100,
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(min=1, max=MAX_WORKERS, help="Processes; by default one per processor.")] = None,
) -> None:
    """Sample vocabularies as ZeTT does in training (Minixhofer et al. 2024), and count the tokens that they contain.

    Bytes and runs of blanks are in every vocabulary: the file includes them, the tables show only drawn tokens. Special tokens
    are not counted.
    """
    from codenas.cli.options import settings_of
    from codenas.files import require_writable_file, write_atomic
    from codenas.vocab.sampling.details import sample_details
    from codenas.vocab.sampling.draws import SamplingSettings
    from codenas.vocab.sampling.pieces import FORCED
    from codenas.vocab.sampling.statistics import require_draws

    given = {
        "draws": num_batches, "min_size": min_size, "max_size": max_size, "mean_size": mean_size, "size_std": size_std,
        "noise_mean": noise_mean, "noise_std": noise_std, "texts": texts, "seed": seed,
    }  # fmt: skip
    settings = settings_of(SamplingSettings, {name: value for name, value in given.items() if value is not None}, _OPTIONS)
    weights = None if languages is None else read_weights(languages)
    for place in (output_file, details_file):
        if place is not None:
            require_writable_file(place)  # fail before the sampling, not after it
    stats = _sample(source, max_mb, settings, weights, workers)
    require_draws(stats)
    counts = stats.counts()
    _show_sample(stats, counts)
    write_atomic(output_file, json.dumps(dict.fromkeys(FORCED, stats.draws) | counts, ensure_ascii=False, indent=1) + "\n")
    if details_file is not None:
        write_atomic(details_file, sample_details(stats, settings, str(source)).model_dump_json(indent=1) + "\n")
    typer.echo("\n".join(f"{name}: {path}" for name, path in (("counts", output_file), ("details", details_file)) if path))


def read_weights(path: Path) -> dict[str, float]:
    """Weights of languages from a JSON file.

    Raises:
        ConfigError: it is missing, or no object of positive numbers.
    """
    from pydantic import Field, TypeAdapter, ValidationError

    from codenas.errors import ConfigError, first_error
    from codenas.files import without_bom

    weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    adapter = TypeAdapter(Annotated[dict[str, weight], Field(min_length=1)])
    try:
        return adapter.validate_json(without_bom(path.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(f'there is no file {path} of weights; --languages takes JSON such as {{"Python": 1}}') from None
    except ValidationError as error:
        raise ConfigError(f'{path} holds no weights of languages ({first_error(error)}); it must be JSON such as {{"Python": 1}}') from None


def _sample(
    source: Path, max_mb: float, settings: "SamplingSettings", given: Mapping[str, float] | None, workers: int | None
) -> "SampleStats":
    import os

    from codenas.log import Progress
    from codenas.vocab.sampling.statistics import SampleStats, language_weights, plan
    from data_prep.tokens.texts import read_texts
    from tune_jobs.cluster.local import local_ray

    texts = read_texts(source, max_mb, settings.seed)
    weights = language_weights({language: len(held) for language, held in texts.items()}, given, settings.texts)
    processes = workers or os.cpu_count() or 1
    stats = SampleStats()
    with local_ray(cpus=processes):
        # Not earlier: importing Ray fixes settings that local_ray changes.
        from data_prep.tokens.sampling import sample_on_ray

        progress = Progress("sample", settings.draws, "batches")
        for part in sample_on_ray(plan(settings, weights, processes), texts, settings):
            stats.add(part)
            progress.update(stats.draws + stats.failed, f"{stats.failed:,} failed" if stats.failed else "")
        progress.finish(f"{stats.failed:,} failed")
    return stats


def _show_sample(stats: "SampleStats", counts: Mapping[str, int]) -> None:
    from codenas.cli.console import console
    from codenas.report.sampling import languages_table, sampling_figures, top_table
    from codenas.report.tables import summary_lines
    from codenas.vocab.sampling.details import language_figures

    for line in summary_lines(sampling_figures(stats, len(counts))):
        typer.echo(line)
    console().print(languages_table(language_figures(stats)), top_table(counts, stats.draws))
