"""The evaluation of a run's model."""

from pathlib import Path

from pydantic import ValidationError

from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.evaluation import Evaluation, stored_evaluation
from codenas.evaluate.legacy import evaluation_of_version_1
from codenas.evaluate.run import evaluate_checkpoint
from codenas.experiment.device import resolve_device
from codenas.experiment.messages import other_context_line
from codenas.experiment.run import Run
from codenas.files import write_atomic
from codenas.log import LOGGER


def evaluate_run(run: Run, settings: EvaluationSettings) -> Evaluation:
    """Evaluate the model of `run` and store the result in its folder; results that are stored already are reused.

    Each suite keeps its result in `run.evaluations`; the merged result is `run.evaluation`.

    Raises:
        RunError: the run has no trained model.
        ConfigError: the device of `settings` is not available.
        CheckpointError: the model was altered, or is of another corpus.
        CorpusError: the corpus was altered, or its held-out split is too small.
        ResourceError: the run is read-only, and not evaluated yet.
        LeakError: the model sees what it must predict.
    """
    checkpoint = Checkpoint.open(run.require(run.model, "codenas train"))
    checkpoint.verify()
    device = resolve_device(settings.device)
    result = read_evaluation(run.evaluation)
    if result is not None and (result.weights_sha256, result.settings) == (checkpoint.manifest.weights_sha256, settings):
        LOGGER.info(f"evaluate: {run.evaluation} is finished")
    else:
        run.require_writable()
        LOGGER.info(f"evaluate: {settings.tokens:,} held-out tokens and {settings.prompts} completions of {run.model} on {device}")
        corpus = Corpus.open(run.corpus).with_vocabulary(checkpoint.manifest.vocabulary)
        corpus.verify()
        result = evaluate_checkpoint(checkpoint, corpus, settings, device, run.evaluations)
        write_atomic(run.evaluation, result.model_dump_json(indent=2))
    if (line := other_context_line(result.metrics, checkpoint.manifest.metrics)) is not None:
        LOGGER.warning(line)
    return result


def read_evaluation(path: Path) -> Evaluation | None:
    """The evaluation stored at `path`; None if there is none that this version can read."""
    if (found := stored_evaluation(path)) is not None:
        return found
    try:
        return evaluation_of_version_1(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
