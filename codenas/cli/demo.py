"""`codenas demo`: every stage in one command, from the source on this machine to a completion over HTTP."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.overrides import Overrides
from codenas.experiment.run import DEFAULT_RUN, Run, open_run
from codenas.processes import MAX_WORKERS

if TYPE_CHECKING:
    from codenas.cli.job_file import Job
    from codenas.experiment.memory import PeakMemory
    from codenas.experiment.summary import Answer

PROMPTS = (
    "import os\nimport sys\n\n\ndef read_lines(path):\n    with open(path) as",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n        self.",
)


def demo(
    run: Annotated[Path, typer.Option(help="The run's folder; an interrupted demo is resumed in it.")] = DEFAULT_RUN,
    job: Annotated[Path | None, typer.Option(help="A job file. [default: the demo's own]")] = None,
    overrides: Overrides = None,
    max_mb: Annotated[float | None, typer.Option(help="Limit on the stored size, in MB.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Limit on the median latency of a token, in ms.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, max=MAX_WORKERS, help="CPUs that Ray may use. [default: all]")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the endpoint on 127.0.0.1.")] = None,
) -> None:
    """Prepare a corpus, search, train the winner, evaluate it, serve it and complete code with it. An interrupted demo is resumed."""
    from codenas.cli.job_file import DEMO_JOB, load_job
    from codenas.cli.objectives import with_objectives
    from codenas.cli.options import settings_of
    from codenas.cli.serve import check_port
    from codenas.experiment.jobs import ServeJob
    from codenas.experiment.memory import PeakMemory
    from codenas.search.result import SearchFolder
    from tune_jobs.cluster.local import local_ray

    wanted = load_job(job or DEMO_JOB, overrides or ())
    wanted = wanted.model_copy(update={"search": with_objectives(wanted.search, max_mb, max_ms)})
    if wanted.train.compute is None:  # else it depends on who wins
        wanted.train.require_steps(wanted.train.steps, wanted.search.budget.rungs[-1])
    port = wanted.serve.port if port is None else settings_of(ServeJob, {"port": port}).port
    check_port(port)
    from codenas.experiment.session import (  # and with it torch: options are refused before
        checked_plan,
        require_feasible,
        warn_unreachable,
    )
    from data_prep.stages import find_complete_corpus

    require_feasible(wanted.search)  # checked before ten minutes of work
    with open_run(run) as opened, PeakMemory() as memory:
        corpus = find_complete_corpus(wanted.prepare, opened.corpus)  # is there a source? Asked before Ray starts
        home = SearchFolder(opened.search)
        if corpus is not None:
            checked_plan(wanted.search, corpus, home)
        else:
            warn_unreachable(wanted.search, wanted.prepare.asked_ids(wanted.search.search_space().vocabularies))
        if corpus is None or home.finished() is None:
            opened.require_writable()
        with local_ray(cpus) as scratch:
            _run_stages(opened, wanted, port, memory, scratch)


def _run_stages(run: Run, job: "Job", port: int, memory: "PeakMemory", scratch: Path) -> None:
    """All stages in order, then what they found."""
    from codenas.cli.summary import front_member, show_summary
    from codenas.experiment.evaluation import evaluate_run
    from codenas.experiment.summary import Findings, summarise
    from codenas.experiment.winner import train_winner
    from codenas.files import write_atomic
    from codenas.report.front import front_rows
    from data_prep.pipeline import prepare
    from tune_jobs.launch import search as launch

    seconds: dict[str, float] = {}
    with _stage("prepare", seconds):
        corpus = prepare(job.prepare, run.corpus)
    with _stage("search", seconds):
        result, history = launch(job.search, corpus, run.search, scratch)
    with _stage("train", seconds):
        checkpoint = train_winner(run, job.train)
    with _stage("evaluate", seconds):
        evaluation = evaluate_run(run, job.evaluate)
    with _stage("serve", seconds):
        answers = _serve_and_complete(run, port)
    rows = front_rows(history.trials, result.winner, job.search.budget.rungs[-1], job.search.objectives)
    found = Findings(corpus, result, tuple(map(front_member, rows)), checkpoint, evaluation, answers)
    summary = summarise(run, found, seconds, memory.peak_bytes, port)
    if run.writable:
        write_atomic(run.summary, summary.model_dump_json(indent=2))
    show_summary(run, summary, history, rows, job.search.objectives)


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    from codenas.log import LOGGER, duration

    LOGGER.info(f"=== {name}")
    started = time.monotonic()
    yield
    seconds[name] = time.monotonic() - started
    LOGGER.info(f"=== {name}: {duration(seconds[name])}")


def _serve_and_complete(run: Run, port: int) -> "tuple[Answer, ...]":
    """Serve the model, request completions over HTTP, print them, stop the endpoint."""
    from codenas.cli.complete import ask
    from codenas.cli.serve import serving
    from codenas.experiment.summary import Answer
    from codenas.log import LOGGER
    from serve.settings import ServeSettings

    answers = []
    with serving(ServeSettings(checkpoint=run.model.absolute(), port=port, model_name=run.folder.absolute().name)) as url:
        for number, prompt in enumerate(PROMPTS, 1):
            reply = ask(url, {"prompt": prompt, "max_tokens": 64, "temperature": 0.8, "seed": 0})
            LOGGER.info(f"--- completion {number}, {reply.tokens} tokens in {1000 * reply.seconds:.0f} ms over {url}")
            typer.echo(f"{prompt}\033[1m{reply.text}\033[0m" if sys.stdout.isatty() else f"{prompt}>>>{reply.text}<<<")
            answers.append(Answer(prompt=prompt, completion=reply.text, tokens=reply.tokens, seconds=reply.seconds))
    return tuple(answers)
