"""`codenas evaluate`: measure a trained model on held-out repositories."""

from pathlib import Path
from typing import Annotated

import typer

from codenas.cli.overrides import Overrides
from codenas.experiment.run import DEFAULT_RUN, open_run
from codenas.processes import MAX_THREADS


def evaluate(
    run: Annotated[Path, typer.Option(help="The run whose model is evaluated.")] = DEFAULT_RUN,
    job: Annotated[Path | None, typer.Option(help="A job file; its [evaluate] table is used.")] = None,
    overrides: Overrides = None,
    device: Annotated[
        str | None, typer.Option(help="Torch device: cpu, cuda, cuda:1, or auto (a GPU if there is one). [default: the job's, auto]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_THREADS, help="Threads that latency is measured with. [default: the job's, 1]")
    ] = None,
) -> None:
    """Measure bits per byte on held-out repositories beside zlib, bz2 and xz, repetition and parse rate beside human code, latency.

    Each suite stores its result: what was measured before with the same model and settings is not measured again.
    """
    from codenas.cli.console import console
    from codenas.cli.job_file import load_job
    from codenas.report.quality import quality_table

    given = {"device": device, "latency_threads": threads}
    settings = load_job(job, overrides or ()).evaluate.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    with open_run(run, new=False) as opened:
        opened.require(opened.model, "codenas train")  # before seconds go into the import of torch
        from codenas.experiment.evaluation import evaluate_run

        result = evaluate_run(opened, settings)
    console().print(quality_table(result))
