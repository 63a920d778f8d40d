"""A real search over what is beside the architecture: vocabularies, storage and pruning, from its first candidate to its winner."""

from pathlib import Path

import pytest

from codenas.arch import SearchSpace
from codenas.checkpoint import Checkpoint
from codenas.corpus import Corpus
from codenas.errors import CorpusError
from codenas.evaluate.config import EvaluationSettings
from codenas.experiment.evaluation import evaluate_run
from codenas.experiment.jobs import SearchJob, TrainJob, TrialResources
from codenas.experiment.local import search_locally
from codenas.experiment.run import Run
from codenas.experiment.splits import tokens_to_score
from codenas.experiment.winner import train_winner
from codenas.measure.bits_per_byte import bits_per_byte
from codenas.model import count_parameters
from codenas.search.candidate import Budget
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.result import SearchResult
from codenas.search.static_metrics import VocabularySize, closed_form
from codenas.train.config import TrainConfig
from codenas.vocab import load_vocabulary
from serve.app import load
from serve.settings import ServeSettings
from tests.fakes import tiny_arch, tiny_corpus
from tune_jobs.launch import search

CHOICES = {"vocabulary": (None, "bpe-300", "char"), "storage": ("float16", "int8"), "pruning": (0.0, 0.25)}
JOB = SearchJob(
    space=SearchSpace(base=tiny_arch(), choices=CHOICES),
    strategy="random",
    budget=Budget(candidates=12, rungs=(2, 4), promote=(6,)),
    objectives=(Objective(metric="bits_per_byte", weight=1.0), Objective(metric="size_bytes", weight=1.0, limit=10e6)),
    train=TrainConfig(batch_size=2, precision="float32", warmup_steps=1),
    trial=TrialResources(score_tokens=320, latency_tokens=2),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose corpus has two vocabularies beside its own, and whose search is done."""
    run = Run(tmp_path_factory.mktemp("run"))
    search_locally(JOB, tiny_corpus(run.corpus, vocabularies=["bpe-300", "char"]), run.search)
    return run


@pytest.fixture(scope="module")
def found(run: Run) -> tuple[SearchResult, History]:
    return search_locally(JOB, Corpus.open(run.corpus), run.search)


def test_all_combinations_are_proposed_once_and_trained(found: tuple[SearchResult, History]) -> None:
    result, history = found
    designs = [trial.candidate.design for trial in history.trials]
    assert len(set(designs)) == len(designs) == 12 and (result.trained, result.refused, result.failed) == (12, 0, 0)
    for path, values in CHOICES.items():
        assert {getattr(design, path) for design in designs} == set(values)


def test_every_report_is_of_the_stored_file_in_its_own_vocabulary(run: Run, found: tuple[SearchResult, History]) -> None:
    for trial in found[1].trials:
        design, report = trial.candidate.design, trial.reports[0]
        corpus = Corpus.open(run.corpus).with_vocabulary(design.vocabulary)
        checkpoint = Checkpoint.open(run.search / "checkpoints" / report.checkpoint)
        assert checkpoint.manifest.corpus_digest == corpus.manifest.digest and checkpoint.manifest.vocabulary == design.vocabulary
        model, vocabulary = checkpoint.load_model(), checkpoint.load_vocabulary()
        assert vocabulary.digest == corpus.manifest.vocab_digest and model.vocab_size == vocabulary.size
        known = closed_form(design, VocabularySize(vocabulary.size, corpus.tokenizer_path.stat().st_size))
        assert (report.metrics.params, report.metrics.size_bytes) == (known.params, known.size_bytes)
        assert (count_parameters(model), checkpoint.size_bytes) == (known.params, known.size_bytes)
        tokens = tokens_to_score(JOB.trial.score_tokens, Corpus.open(run.corpus), corpus)
        scored = bits_per_byte(model, corpus.split("valid"), vocabulary.bytes_per_token, tokens)
        assert report.metrics.bits_per_byte == scored.bits_per_byte


def test_as_much_text_is_scored_in_every_vocabulary(run: Run) -> None:
    own = Corpus.open(run.corpus)
    assert tokens_to_score(320, own, own) == 320
    density = load_vocabulary(own.tokenizer_path).bytes_per_token[own.split("valid").read(0, 1_000)].mean()
    assert tokens_to_score(320, own, own.with_vocabulary("char")) == pytest.approx(320 * density, rel=0.05)


def test_what_is_stored_otherwise_is_trained_alike(found: tuple[SearchResult, History]) -> None:
    """Of one vocabulary all candidates train the same weights: only what is stored of them differs."""
    bits = {trial.candidate.design: trial.reports[0].metrics for trial in found[1].trials}
    for design, metrics in bits.items():
        whole = bits[design.model_copy(update={"storage": "float16", "pruning": 0.0})]
        assert metrics.bits_per_byte == pytest.approx(whole.bits_per_byte, abs=0.2)
        if design.storage == "int8":
            assert (metrics.size_bytes or 0) < (bits[design.model_copy(update={"storage": "float16"})].size_bytes or 0)
        if design.pruning:
            assert (metrics.params or 0) < (whole.params or 0)


@pytest.mark.cluster
def test_on_ray_it_is_the_same_search(ray_cluster: Path, run: Run, found: tuple[SearchResult, History], tmp_path: Path) -> None:
    result, history = search(JOB, Corpus.open(run.corpus), tmp_path, ray_cluster)
    assert result.winner == found[0].winner and result.finalists == found[0].finalists
    for here, there in zip(found[1].trials, history.trials, strict=True):
        assert here.candidate == there.candidate
        scores = [
            [(report.rung, report.metrics.bits_per_byte, report.metrics.size_bytes) for report in each.reports] for each in (here, there)
        ]
        assert scores[0] == scores[1]


def test_the_winner_is_trained_evaluated_and_served_as_it_was_found(run: Run, found: tuple[SearchResult, History]) -> None:
    result, history = found
    design = history.trials[result.winner].candidate.design
    checkpoint = train_winner(run, TrainJob(steps=6, threads=1))
    assert checkpoint.manifest.arch == design.stored_arch and checkpoint.manifest.vocabulary == design.vocabulary
    assert checkpoint.manifest.storage == design.storage
    settings = EvaluationSettings(tokens=320, prompts=2, prompt_tokens=8, completion_tokens=8, latency_tokens=2)
    evaluation = evaluate_run(run, settings)
    assert evaluation.metrics.size_bytes == checkpoint.size_bytes
    assert evaluation.corpus_digest == Corpus.open(run.corpus).with_vocabulary(design.vocabulary).manifest.digest
    served = load(ServeSettings(checkpoint=run.model, model_name="winner"))
    assert served.model.arch == design.stored_arch and served.vocabulary.digest == checkpoint.manifest.vocab_digest
    assert not served.infills


@pytest.mark.parametrize("vocabulary", ["char", "bpe-1024"])
def test_each_vocabulary_wins_through_to_the_end(vocabulary: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    corpus = tiny_corpus(run.corpus, vocabularies=[vocabulary])
    space = SearchSpace(base=tiny_arch(), choices={"vocabulary": (vocabulary,), "storage": ("int4",), "pruning": (0.5, 0.25)})
    search_locally(JOB.model_copy(update={"space": space, "budget": Budget(candidates=2, rungs=(1,), promote=())}), corpus, run.search)
    checkpoint = train_winner(run, TrainJob(steps=2, threads=1))
    named = load_vocabulary(corpus.with_vocabulary(vocabulary).tokenizer_path)
    assert checkpoint.load_vocabulary().digest == named.digest and checkpoint.manifest.storage == "int4"


def test_a_vocabulary_that_the_corpus_lacks_is_refused_before_anything_begins(run: Run, tmp_path: Path) -> None:
    space = SearchSpace(base=tiny_arch(), choices={"vocabulary": (None, "bpe-8192")})
    with pytest.raises(CorpusError, match="has no vocabulary 'bpe-8192', it has its own, bpe-300, char; prepare .* --vocabulary bpe-8192"):
        search_locally(JOB.model_copy(update={"space": space}), Corpus.open(run.corpus), tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_every_vocabulary_of_the_space_is_verified(tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path / "corpus", vocabularies=["bpe-300", "char"])
    shard = corpus.path / "vocabularies" / "char" / "tokens" / "train-00000.bin"
    shard.write_bytes(shard.read_bytes()[::-1])
    with pytest.raises(CorpusError, match=f"{shard} was altered"):
        search_locally(JOB, corpus, tmp_path / "search")
