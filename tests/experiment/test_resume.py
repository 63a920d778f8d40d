"""A training resumes from a state of its own kind only: each setting that may differ is refused, or resumed with a warning."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from codenas.arch import Design, FeedForwardSpec
from codenas.checkpoint import MANIFEST, Checkpoint
from codenas.corpus import Corpus
from codenas.errors import CheckpointError, RunError
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.full import FullTraining, train_fully
from codenas.experiment.jobs import TrainJob
from codenas.experiment.rung import run_job
from codenas.search.actions import Job
from codenas.search.candidate import Candidate, Report
from codenas.train.config import TrainConfig
from tests.fakes import tiny_arch, tiny_corpus

DESIGN = Design(arch=tiny_arch(feedforward=FeedForwardSpec(multiplier=4.0)))
RECIPE = TrainConfig(batch_size=4, precision="float32", seed=11)
PLAN = FullTraining(steps=6, decay_share=0.5, save_every=100)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"), tokens=4_000, vocabularies=["char"])


def trained(corpus: Corpus, folder: Path, design: Design = DESIGN, recipe: TrainConfig = RECIPE, plan: FullTraining = PLAN) -> Checkpoint:
    list(train_fully(corpus, design, recipe, plan, folder))
    return Checkpoint.open(folder / "model")


def interrupted(corpus: Corpus, folder: Path, recipe: TrainConfig = RECIPE, step: int = 2) -> Checkpoint:
    """The state of a training that was stopped at `step`, in `folder`/last."""
    training = train_fully(corpus, DESIGN, recipe, PLAN, folder)
    assert [each.step for each in itertools.islice(training, step)][-1] == step
    with pytest.raises(KeyboardInterrupt):
        training.throw(KeyboardInterrupt())
    return Checkpoint.open(folder / "last")


def rewritten(checkpoint: Checkpoint, **training: Any) -> None:
    """`checkpoint` as another machine had stored it."""
    manifest = json.loads((checkpoint.path / MANIFEST).read_text())
    manifest["training"].update(training)
    (checkpoint.path / MANIFEST).write_text(json.dumps(manifest))


REFUSED = [
    ({"optimizer": "muon"}, {"optimizer": "adamw"}, "optimizer muon (now adamw)"),
    ({"optimizer": "adamw"}, {"optimizer": "muon"}, "optimizer adamw (now muon)"),
    ({"seed": 11}, {"seed": 12}, "seed 11 (now 12)"),
]
RESUMED = [
    ({}, {"batch_size": 8}, "batch_size 4 (now 8)"),
    ({}, {"precision": "bfloat16"}, "precision float32 (now bfloat16)"),
    ({"precision": "bfloat16"}, {"precision": "float32"}, "precision bfloat16 (now float32)"),
    ({}, {"matrix_rate": 0.01}, "matrix_rate 0.02 (now 0.01)"),
    ({}, {"fim_rate": 0.5}, "fim_rate 0.0 (now 0.5)"),
    ({"fim_rate": 0.5}, {"fim_rate": 0.5, "fim_spm_share": 0.25}, "fim_spm_share 0.5 (now 0.25)"),
    ({}, {"label_smoothing": 0.1}, "label_smoothing 0.0 (now 0.1)"),
]


@pytest.mark.parametrize(("before", "now", "difference"), REFUSED)
@pytest.mark.parametrize("place", ["start", "last"])
def test_what_would_not_fit_is_refused_with_both_values(
    place: str, before: dict[str, Any], now: dict[str, Any], difference: str, corpus: Corpus, tmp_path: Path
) -> None:
    state = interrupted(corpus, tmp_path / "before", RECIPE.model_copy(update=before))
    folder = tmp_path / "now" if place == "start" else tmp_path / "before"
    training = train_fully(corpus, DESIGN, RECIPE.model_copy(update=now), PLAN, folder, state)
    with pytest.raises(CheckpointError) as caught:
        next(training)
    assert str(caught.value) == (
        f"{state.path} was trained with {difference}, and cannot be resumed with another; "
        f"restore that setting, or remove {state.path} to train without it"
    )
    assert state.load_training_state() and not (folder / "model").exists()


@pytest.mark.parametrize(("before", "now", "difference"), RESUMED)
@pytest.mark.parametrize("place", ["start", "last"])
def test_what_changes_only_the_steps_that_follow_is_resumed_with_a_warning(
    place: str,
    before: dict[str, Any],
    now: dict[str, Any],
    difference: str,
    corpus: Corpus,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = interrupted(corpus, tmp_path / "before", RECIPE.model_copy(update=before))
    folder = tmp_path / "now" if place == "start" else tmp_path / "before"
    steps = [step.step for step in train_fully(corpus, DESIGN, RECIPE.model_copy(update=now), PLAN, folder, state)]
    assert steps == [3, 4, 5, 6], "what was trained is not trained again"
    assert f"{state.path} is resumed with other settings: {difference}" in caplog.text
    assert Checkpoint.open(folder / "model").manifest.training["batch_size"] == now.get("batch_size", 4)


@pytest.mark.parametrize(
    ("design", "difference"),
    [
        (Design(arch=tiny_arch(d_model=24)), "arch.d_model 16 (now 24)"),
        (Design(arch=tiny_arch(n_layers=1)), "arch.n_layers 2 (now 1)"),
        (DESIGN.model_copy(update={"vocabulary": "char"}), "vocabulary of the corpus (now char)"),
    ],
)
def test_another_architecture_or_vocabulary_is_refused(design: Design, difference: str, corpus: Corpus, tmp_path: Path) -> None:
    state = interrupted(corpus, tmp_path / "before")
    with pytest.raises(CheckpointError) as caught:
        next(train_fully(corpus, design, RECIPE, PLAN, tmp_path / "now", state))
    assert f"was trained with {difference}" in str(caught.value)


def test_another_corpus_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    state, other = interrupted(corpus, tmp_path / "before"), tiny_corpus(tmp_path / "other", tokens=4_000, seed=1)
    with pytest.raises(CheckpointError) as caught:
        next(train_fully(other, DESIGN, RECIPE, PLAN, tmp_path / "now", state))
    assert f"was trained with corpus {corpus.manifest.digest[:12]} (now {other.manifest.digest[:12]})" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "difference"), [({"storage": "int8"}, "storage float16 (now int8)"), ({"pruning": 0.5}, "pruned.feedforward")]
)
def test_other_storage_is_of_the_same_training_and_its_size_is_not_taken_over(
    change: dict[str, Any], difference: str, corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained(corpus, tmp_path / "before", plan=FullTraining(2, 0.0, 100))
    other = DESIGN.model_copy(update=change)
    list(train_fully(corpus, other, RECIPE, PLAN, tmp_path / "now", state))
    model = Checkpoint.open(tmp_path / "now" / "model")
    assert difference in caplog.text
    assert (model.manifest.storage, model.manifest.arch, model.manifest.metrics.size_bytes) == (other.storage, other.stored_arch, None)


def test_a_finished_model_of_another_machine_satisfies_the_automatic_precision(corpus: Corpus, tmp_path: Path) -> None:
    rewritten(trained(corpus, tmp_path), precision="bfloat16")
    assert list(train_fully(corpus, DESIGN, RECIPE.model_copy(update={"precision": "auto"}), PLAN, tmp_path)) == []
    with pytest.raises(RunError, match=r"was trained with precision bfloat16 \(now float32\); remove it"):
        next(train_fully(corpus, DESIGN, RECIPE, PLAN, tmp_path))


def test_a_state_of_another_machine_is_resumed_under_the_automatic_precision(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = RECIPE.model_copy(update={"precision": "auto"}).on("cpu").precision
    there = "float32" if here == "bfloat16" else "bfloat16"
    interrupted(corpus, tmp_path, RECIPE.model_copy(update={"precision": there}))
    steps = [step.step for step in train_fully(corpus, DESIGN, RECIPE.model_copy(update={"precision": "auto"}), PLAN, tmp_path)]
    assert steps == [3, 4, 5, 6] and f"precision {there} (now {here})" in caplog.text


def test_a_finished_model_of_another_winner_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    trained(corpus, tmp_path)
    with pytest.raises(RunError, match=r"was trained with arch\.d_model 16 \(now 24\); remove it"):
        next(train_fully(corpus, Design(arch=tiny_arch(d_model=24)), RECIPE, PLAN, tmp_path))


def test_another_length_resumes_before_the_decay_and_is_refused_in_it(corpus: Corpus, tmp_path: Path) -> None:
    longer = FullTraining(steps=8, decay_share=0.5, save_every=100)
    interrupted(corpus, tmp_path / "before", step=3)
    steps = [step.step for step in train_fully(corpus, DESIGN, RECIPE, longer, tmp_path / "before")]
    assert steps == [4, 5, 6, 7, 8]
    undisturbed = trained(corpus, tmp_path / "undisturbed", plan=longer)
    assert Checkpoint.open(tmp_path / "before" / "model").manifest.weights_sha256 == undisturbed.manifest.weights_sha256
    state = interrupted(corpus, tmp_path / "in", step=4)
    with pytest.raises(RunError, match=r"is at step 4 of 6, its rates decay from step 3; for 8 steps they decay from 4: train to 6 steps"):
        next(train_fully(corpus, DESIGN, RECIPE, longer, tmp_path / "in"))
    assert state.load_training_state()


@pytest.mark.parametrize("rung", [2, 4])
def test_a_checkpoint_that_another_search_left_is_not_taken_for_one_of_this(rung: int, corpus: Corpus, tmp_path: Path) -> None:
    """As where a folder lost its job and its history, and kept its checkpoints."""
    setup = ExperimentSetup(corpus=corpus.path, folder=tmp_path, train=RECIPE, score_tokens=64, latency_tokens=2)
    candidate = Candidate(index=0, design=DESIGN, origin="random", seed=11)
    assert isinstance(run_job(setup, Job(candidate, 2)), Report)
    other = setup.model_copy(update={"train": RECIPE.model_copy(update={"batch_size": 2})})
    with pytest.raises(CheckpointError, match=r"c000/2 was trained with batch_size 4 \(now 2\): it belongs to another search; remove it"):
        run_job(other, Job(candidate, rung))
    elsewhere = setup.model_copy(update={"train": RECIPE.model_copy(update={"precision": "bfloat16"})})
    assert isinstance(run_job(elsewhere, Job(candidate, rung)), Report)


@pytest.mark.parametrize(("before", "now"), [("muon", "adamw"), ("adamw", "muon")])
def test_a_trainer_refuses_the_state_of_another_optimizer_by_itself(before: str, now: str, corpus: Corpus, tmp_path: Path) -> None:
    """Not as a KeyError from inside torch, whoever forgets to compare what the two belong to."""
    state = interrupted(corpus, tmp_path / "before", RECIPE.model_copy(update={"optimizer": before}))
    rewritten(state, optimizer=now)
    with pytest.raises(CheckpointError, match="the state of another optimizer: of .* it holds"):
        next(train_fully(corpus, DESIGN, RECIPE.model_copy(update={"optimizer": now}), PLAN, tmp_path / "now", Checkpoint.open(state.path)))


def test_a_job_changes_of_the_searched_recipe_what_it_names_and_nothing_else() -> None:
    searched = TrainConfig(batch_size=32, optimizer="adamw", momentum=0.9, seed=3)
    assert TrainJob().merged_recipe(searched) == searched
    job = TrainJob.model_validate({"recipe": {"batch_size": 8}})
    assert job.merged_recipe(searched) == searched.model_copy(update={"batch_size": 8}), "8 is the default too, and said explicitly"
    assert TrainJob.model_validate({**dict(job), "steps": 7}).merged_recipe(searched).batch_size == 8
