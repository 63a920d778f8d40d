"""`codenas search`: find the best architectures inside the limits."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.overrides import Overrides
from codenas.errors import ConfigError
from codenas.experiment.run import DEFAULT_RUN, Run, open_run
from codenas.processes import MAX_WORKERS

if TYPE_CHECKING:
    from codenas.experiment.jobs import SearchJob
    from codenas.search.history import History
    from codenas.search.result import SearchResult

_ONLY_FOR_NEW_SEARCHES = (
    "--run", "--corpus", "--job", "--set", "--max-mb", "--max-ms", "--weights", "--targets", "--warm-start", "--dry-run", "--gpus",
)  # fmt: skip


def search(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="The run's folder; an interrupted search is resumed in it.")] = DEFAULT_RUN,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Resume the search in this run's folder, with its own job and corpus.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="A prepared corpus. [default: the run's own]")] = None,
    job: Annotated[Path | None, typer.Option(help="A job file; its [search] table is used.")] = None,
    overrides: Overrides = None,
    max_mb: Annotated[float | None, typer.Option(help="Limit on the stored size, in MB.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Limit on the median latency of a token, in ms.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="METRIC=WEIGHT,...", help="Weights: bits_per_byte=0.5,size_bytes=0.3,latency_ms_p50=0.2.")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(metavar="METRIC=VALUE,...", help="Values beyond which an objective gains nothing: latency_ms_p50=5."),
    ] = None,
    warm_start: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="An earlier run on the same corpus to warm-start from; repeatable.")
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also store the search at s3://BUCKET/FOLDER (gs://, file://): any machine can resume it."),
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, max=MAX_WORKERS, help="CPUs that Ray may use here.")] = None,
    ray: Annotated[bool, typer.Option(help="Search on Ray, several candidates at a time; or one by one in this process.")] = True,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, such as `auto`; by default one is started here.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what the job will take: steps, tokens, FLOPs, memory, disk, time.")
    ] = False,
    gpus: Annotated[
        str | None, typer.Option(metavar="NAME,...", help='With --dry-run: the GPUs to estimate for, such as "RTX 5090,RTX 4090".')
    ] = None,
) -> None:
    """Search architectures under hard limits: many candidates train to 50 steps, the promoted ones to 300."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from codenas.cli.dry_run import Devices, show_estimate
    from codenas.cli.job_file import load_job
    from codenas.cli.objectives import with_objectives

    if gpus is not None and not dry_run:
        raise ConfigError(f"--gpus {gpus} is for --dry-run; trials take the GPUs that Ray finds (CUDA_VISIBLE_DEVICES hides some)")
    if resume is not None:
        _refuse_beside_resume(context)
        _search(resume, None, corpus, mirror, ray=ray, cpus=cpus, address=address)
        return
    loaded = load_job(job, overrides or ())
    requested = with_objectives(loaded.search, max_mb, max_ms, weights, targets)
    requested = requested.model_copy(update={"warm_start": (*requested.warm_start, *(warm_start or ()))})
    if dry_run:
        show_estimate(loaded.model_copy(update={"search": requested}), Run(run), corpus, Devices(gpus, address, cpus))
        return
    _search(run, requested, corpus, mirror, ray=ray, cpus=cpus, address=address)


def _search(
    run: Path,
    requested: "SearchJob | None",
    corpus: Path | None,
    mirror: str | None,
    *,
    ray: bool,
    cpus: int | None,
    address: str | None,
) -> None:
    """Search in `run` and show the result; without `requested` the search that is in the run is resumed."""
    from codenas.corpus import Corpus

    with open_run(run, new=corpus is not None or mirror is not None) as opened:
        if requested is not None and mirror is None:
            Corpus.open(opened.use_corpus(corpus))  # refused where it is missing, before seconds go into the import of torch
        from codenas.experiment.session import job_to_resume, open_mirror

        there = open_mirror(opened, mirror)
        wanted = requested or job_to_resume(opened, there, corpus)
        opened_corpus = Corpus.open(opened.use_corpus(corpus))
        from codenas.api import search_in

        with _report_without_winner(opened):
            result, history = search_in(opened, wanted, opened_corpus, there, ray=ray, cpus=cpus, address=address)
        show(opened, result, history, wanted)


@contextlib.contextmanager
def _report_without_winner(run: Run) -> Iterator[None]:
    """Write the page of a search without a winner: it shows which candidates failed, where and why."""
    from codenas.cli.report import write_report
    from codenas.errors import NoWinnerError

    try:
        yield
    except NoWinnerError:
        typer.echo(f"report: {write_report(run)}")
        raise


def _refuse_options(context: typer.Context) -> None:
    """Options of a search before the name of a subcommand would be ignored."""
    if given := _given(context):
        command = context.invoked_subcommand
        raise ConfigError(f"{given[0]} comes before `{command}`; write it behind: codenas search {command} ...")


def _refuse_beside_resume(context: typer.Context) -> None:
    """A resumed search has its job in the run. Only its corpus may be elsewhere on a new machine."""
    given = _given(context)
    if clash := [option for option in given if option in _ONLY_FOR_NEW_SEARCHES and (option != "--corpus" or "--mirror" not in given)]:
        raise ConfigError(f"--resume uses what its run recorded: leave {', '.join(clash)} out, or start a new search with another --run")


def _given(context: typer.Context) -> list[str]:
    """The options that the command line has."""
    sources = {each.opts[0]: context.get_parameter_source(str(each.name)) for each in context.command.params}
    return [option for option, source in sources.items() if source is not None and source.name != "DEFAULT"]


def show(run: Run, result: "SearchResult", history: "History", job: "SearchJob") -> None:
    """Print the front, draw its picture and write the page, where there is a place for them."""
    from codenas.cli.console import console
    from codenas.cli.report import write_report
    from codenas.report.fidelity import fidelity_lines
    from codenas.report.front import draw_front, front_rows
    from codenas.report.tables import front_table, search_counts, winner_line, worker_utilisation
    from codenas.search.fidelity import fidelities

    rows = front_rows(history.trials, result.winner, job.budget.rungs[-1], job.objectives)
    console().print(front_table(rows, objectives=[each.metric for each in job.objectives]))
    if run.writable:
        draw_front(history.trials, rows, job.objectives, run.picture)
    typer.echo(winner_line(result))
    for line in fidelity_lines(fidelities(history.trials, job.budget.rungs)):
        typer.echo(line)
    typer.echo(f"{search_counts(result)}; worker utilisation: {worker_utilisation(result)}; picture: {run.picture}")
    if run.writable:
        typer.echo(f"report: {write_report(run)}")
