"""`codenas report`: a search as one self-contained HTML page, and its data as JSON."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run

if TYPE_CHECKING:
    from codenas.report.page_data import SearchRecord


def report(
    run: Annotated[Path, typer.Argument(help="The run's folder.")] = DEFAULT_RUN,
    output: Annotated[Path | None, typer.Option(help="The page. [default: report.html in the run]")] = None,
    figures: Annotated[Path | None, typer.Option("--json", help="The data. [default: next to the page]")] = None,
) -> None:
    """Write the report of a search, finished or not, as one self-contained HTML page, and its data as JSON."""
    page = write_report(Run(run), output, figures)
    typer.echo(f"report: {page}")


def write_report(run: Run, page: Path | None = None, figures: Path | None = None) -> Path:
    """Write the report of the search in `run` and its data; returns the path of the page.

    Raises:
        RunError: there is no search, or one of its files cannot be read.
        ConfigError: the job is of another version, or both paths are the same.
    """
    from codenas.errors import ConfigError
    from codenas.files import replaceable_path, require_writable_file, write_atomic
    from codenas.report.page import search_page
    from codenas.report.page_data import search_figures

    page = page or run.report
    if figures is None and replaceable_path(page):  # no file belongs beside a device
        figures = page.with_suffix(".json")
    if figures is not None and page.absolute() == figures.absolute():
        raise ConfigError(f"{page} cannot be both the page and its data; name another file with --json")
    found = search_figures(read_search(run))
    for path in filter(None, (figures, page)):
        require_writable_file(path)
    if figures is not None:
        write_atomic(figures, found.model_dump_json(indent=1) + "\n")
    write_atomic(page, search_page(found))
    return page


def read_search(run: Run) -> "SearchRecord":
    """The search of `run` as its files record it; the process that works on it is not asked."""
    from codenas.evaluate.evaluation import stored_evaluation
    from codenas.report.page_data import SearchRecord
    from codenas.search.config import SearchConfig
    from codenas.search.history import history_of, read_events
    from codenas.search.result import SearchFolder

    run.require_started()
    home = SearchFolder(run.search)
    job = home.job()
    config = SearchConfig.of_job(job)
    finished, path = home.finished(), home.path / "trials.jsonl"
    events = tuple(read_events(path)) if path.exists() else ()  # read once: a search may be running
    return SearchRecord(
        run=str(run.folder),
        corpus=str(run.corpus),
        job=json.loads(job),
        config=config,
        events=events,
        trials=history_of(events).trials,
        result=finished[0] if finished is not None else None,
        vocab_sizes=_vocab_sizes(run, config.search_space().vocabularies),
        evaluation=stored_evaluation(run.evaluation),
    )


def _vocab_sizes(run: Run, vocabularies: tuple[str | None, ...]) -> dict[str | None, int]:
    """The sizes of those of `vocabularies` that are available; a fetched run may have come without its corpus."""
    from codenas.corpus import Corpus
    from codenas.errors import CodeNASError

    sizes = dict[str | None, int]()
    for name in vocabularies:
        with contextlib.suppress(CodeNASError):
            sizes[name] = Corpus.open(run.corpus).with_vocabulary(name).manifest.vocab_size
    return sizes
