"""`codenas search record`: a table of architectures and their scores, to replay searches on."""

from pathlib import Path
from typing import Annotated

import typer

from codenas.cli.overrides import Overrides
from codenas.experiment.run import open_run
from codenas.processes import MAX_WORKERS

DEFAULT_RUN = Path("runs/table")


def record(
    run: Annotated[Path, typer.Option(help="The folder of the table; an interrupted recording is resumed in it.")] = DEFAULT_RUN,
    corpus: Annotated[Path | None, typer.Option(help="A prepared corpus. [default: the run's own]")] = None,
    job: Annotated[Path | None, typer.Option(help="A job file; its [record] table is used.")] = None,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Architectures to train in parallel, on one thread each.")] = 1,
) -> None:
    """Train some hundred small architectures of a space and record their scores at several numbers of steps.

    A row is stored when its training is over: interrupt the recording, or kill it, and run the same command again. Latency is
    measured at the end, one architecture after the other.
    """
    from codenas.cli.job_file import load_job
    from codenas.corpus import Corpus

    wanted = load_job(job, overrides or ()).record
    with open_run(run, new=corpus is not None) as opened:
        opened_corpus = Corpus.open(opened.use_corpus(corpus))
        from codenas.experiment.record import record as record_table  # imports torch: errors in job and corpus are reported before

        home = record_table(wanted, opened_corpus, run, workers)
    typer.echo(f"table: {home.table}")
