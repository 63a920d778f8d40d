"""The evaluation of a checkpoint: runs every suite, or reads its cached result, and joins the results."""

import logging
from pathlib import Path

from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus
from codenas.errors import CheckpointError
from codenas.evaluate.cache import read_result, write_result
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.evaluation import Evaluation
from codenas.evaluate.suites.base import EvaluationSubject, Result, Suite
from codenas.evaluate.suites.registry import SUITES

LOGGER = logging.getLogger("codenas")


def evaluate_checkpoint(
    checkpoint: Checkpoint, corpus: Corpus, settings: EvaluationSettings, device: str = "cpu", folder: Path | None = None
) -> Evaluation:
    """Evaluate the model in `checkpoint` on the held-out repositories of `corpus`; warnings are logged as well.

    Args:
        corpus: tokenised with the vocabulary of the model.
        device: torch device, never `auto`.
        folder: cache of the results of the suites; None: no cache.

    Raises:
        CheckpointError: it was trained on another corpus: what was held out is unknown.
        CorpusError: the held-out split is too small.
        LeakError: a score depends on a later token.
    """
    if checkpoint.manifest.corpus_digest != corpus.manifest.digest:
        raise CheckpointError(
            f"{checkpoint.path} was trained on corpus {checkpoint.manifest.corpus_digest[:12]}, {corpus.path} is "
            f"{corpus.manifest.digest[:12]}: its held-out repositories may have been trained on; use the corpus that it was trained on"
        )
    subject = EvaluationSubject(checkpoint, corpus, settings, device)
    results = {suite.name: run_suite(suite, subject, folder) for suite in SUITES}
    metrics = checkpoint.manifest.metrics
    for result in results.values():
        metrics = metrics.merged(result.measured())
    evaluation = Evaluation(
        settings=settings,
        weights_sha256=checkpoint.manifest.weights_sha256,
        corpus_digest=corpus.manifest.digest,
        metrics=metrics,
        results={name: result.summary() for name, result in results.items()},
    )
    for warning in evaluation.warnings:
        LOGGER.warning(warning)
    return evaluation


def run_suite(suite: Suite[Result], subject: EvaluationSubject, folder: Path | None = None) -> Result:
    """The result of `suite`: from the cache in `folder` if it is there, else computed and stored."""
    known = read_result(suite, subject, folder) if folder is not None else None
    if known is not None:
        LOGGER.info(f"evaluate: {suite.name} is finished")
        return known
    result = suite.run(subject)
    if folder is not None:
        write_result(suite, subject, folder, result)
    return result
