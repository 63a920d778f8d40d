"""`codenas evaluate`: what can honestly be said of a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.experiment.run import DEFAULT_RUN, Run, open_run

if TYPE_CHECKING:
    from codenas.evaluate.config import EvaluationSettings
    from codenas.evaluate.run import Evaluation


def evaluate(
    run: Annotated[Path, typer.Option(help="The run whose model is evaluated.")] = DEFAULT_RUN,
    job: Annotated[Path | None, typer.Option(help="A job file; its [evaluate] table counts.")] = None,
) -> None:
    """Bits per byte on repositories never trained on beside zlib and xz; repetition and parse rate beside people."""
    from codenas.cli.console import console
    from codenas.cli.job_file import load_job
    from codenas.report.quality import quality_table

    settings = load_job(job).evaluate
    with open_run(run, new=False) as opened:
        result = evaluate_run(opened, settings)
    console().print(quality_table(result.metrics, result.compressors, result.completions))


def evaluate_run(run: Run, settings: "EvaluationSettings") -> "Evaluation":
    """Evaluate the model of `run`, once per model and settings; the stage behind the command and the demo."""
    model = run.require(run.model, "codenas train")
    from codenas.checkpoint import Checkpoint  # and with it torch: a run without a model is told at once
    from codenas.corpus import Corpus
    from codenas.evaluate.run import evaluate_checkpoint
    from codenas.files import write_atomic
    from codenas.log import LOGGER

    checkpoint = Checkpoint.open(model)
    checkpoint.verify()
    known = _known(run.evaluation)
    if known is not None and (known.weights_sha256, known.settings) == (checkpoint.manifest.weights_sha256, settings):
        LOGGER.info(f"evaluate: {run.evaluation} is finished")
        return known
    run.require_writable()
    LOGGER.info(f"evaluate: {settings.tokens:,} held-out tokens and {settings.prompts} completions of {run.model}")
    corpus = Corpus.open(run.corpus).with_vocabulary(checkpoint.manifest.vocabulary)
    corpus.verify()
    result = evaluate_checkpoint(checkpoint, corpus, settings)
    write_atomic(run.evaluation, result.model_dump_json(indent=2))
    return result


def _known(path: Path) -> "Evaluation | None":
    """An earlier evaluation; None where there is none, or none that can be read: it is then made again."""
    from pydantic import ValidationError

    from codenas.evaluate.run import Evaluation

    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
