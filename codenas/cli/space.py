"""`codenas space`: the designs that a search can propose."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from codenas.arch import SearchSpace

SAMPLE = 1_000


MAX_VOCAB_SIZE = 1 << 20  # as in `codenas prepare`


def show_space(
    space: Annotated[str, typer.Argument(metavar="PRESET_OR_FILE", help="A preset, a job file (TOML), or a space as JSON.")],
    vocab_size: Annotated[
        int, typer.Option(min=2, max=MAX_VOCAB_SIZE, help="Ids of the vocabulary; parameters and bytes depend on it.")
    ] = 4_096,
) -> None:
    """Show a search space: its size, choices and constraints, and the costs of 1,000 sampled architectures."""
    from codenas.cli.console import console
    from codenas.report.space import choices_table, draw_sample, families_table, space_figures
    from codenas.report.tables import summary_lines

    found = load_space(space)
    sample = draw_sample(found, SAMPLE)
    for line in summary_lines(space_figures(found, sample, vocab_size)):
        typer.echo(line)
    console().print(choices_table(found), families_table(found, sample, vocab_size))


def load_space(name: str) -> "SearchSpace":
    """The preset called `name`, or the space in the file at `name`.

    Raises:
        ConfigError: it is neither, or the file holds no valid space.
    """
    from pydantic import ValidationError

    from codenas.arch import SearchSpace, preset
    from codenas.arch.presets import PRESETS
    from codenas.cli.validation_errors import explain
    from codenas.errors import ConfigError
    from codenas.files import without_bom

    path = Path(name)
    if name in PRESETS:
        return preset(name)
    if not path.is_file():
        raise ConfigError(f"{name!r} is no search space: neither a preset ({', '.join(PRESETS)}) nor a file")
    if path.suffix != ".json":
        from codenas.cli.job_file import load_job

        return load_job(path).search.search_space()
    try:
        return SearchSpace.model_validate_json(without_bom(path.read_bytes()))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, SearchSpace)}") from error
