"""`codenas report`: a search as one page that needs nothing beside it, and its figures for machines."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run

if TYPE_CHECKING:
    from codenas.report.page_data import Found


def report(
    run: Annotated[Path, typer.Argument(help="The run's folder.")] = DEFAULT_RUN,
    output: Annotated[Path | None, typer.Option(help="Where the page is written. [default: report.html in the run]")] = None,
    figures: Annotated[Path | None, typer.Option("--json", help="Where its figures are written. [default: beside the page]")] = None,
) -> None:
    """Write what a search found as one HTML page that needs no network, and the same figures as JSON; also before it is finished."""
    page = write_report(Run(run), output, figures)
    typer.echo(f"report: {page}")


def write_report(run: Run, page: Path | None = None, figures: Path | None = None) -> Path:
    """The page of the search in `run`, and its figures beside it; returns where the page is.

    Raises:
        RunError: there is no search, or one of its files cannot be read.
        ConfigError: the job is of another version, or both shall be one file.
    """
    from codenas.errors import ConfigError
    from codenas.files import replaceable, write_atomic
    from codenas.report.page import search_page
    from codenas.report.page_data import search_figures

    page = page or run.report
    if figures is None and replaceable(page):  # no file belongs beside a device
        figures = page.with_suffix(".json")
    if figures is not None and page.absolute() == figures.absolute():
        raise ConfigError(f"{page} cannot hold both the page and its figures; name another file with --json")
    found = search_figures(read_search(run))
    if figures is not None:
        write_atomic(figures, found.model_dump_json(indent=1) + "\n")
    write_atomic(page, search_page(found))
    return page


def read_search(run: Run) -> "Found":
    """What the files of `run` say of its search; nothing is asked of the process that works on it."""
    from codenas.report.page_data import Found
    from codenas.search.config import SearchConfig
    from codenas.search.history import read_events, replayed
    from codenas.search.result import SearchFolder

    run.require_begun()
    home = SearchFolder(run.search)
    job = home.job()
    config = SearchConfig.of_job(job)
    finished, path = home.finished(), home.path / "trials.jsonl"
    events = tuple(read_events(path)) if path.exists() else ()  # read once: a search may be at work
    return Found(
        run=str(run.folder),
        corpus=str(run.corpus),
        job=json.loads(job),
        config=config,
        events=events,
        trials=replayed(events).trials,
        result=finished[0] if finished is not None else None,
        vocab_sizes=_vocab_sizes(run, config.search_space().vocabularies),
    )


def _vocab_sizes(run: Run, vocabularies: tuple[str | None, ...]) -> dict[str | None, int]:
    """The ids of those of `vocabularies` that are at hand; a run that was fetched may have come without its corpus."""
    from codenas.corpus import Corpus
    from codenas.errors import CodeNASError

    sizes = dict[str | None, int]()
    for name in vocabularies:
        with contextlib.suppress(CodeNASError):
            sizes[name] = Corpus.open(run.corpus).with_vocabulary(name).manifest.vocab_size
    return sizes
