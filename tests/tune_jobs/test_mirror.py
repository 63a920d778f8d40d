"""A search that lies behind a URL: whatever becomes of the machine, another one goes on, and trains no rung again."""

import shutil
import uuid
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codenas.arch import SearchSpace
from codenas.checkpoint import TRAINING, WEIGHTS
from codenas.corpus import Corpus
from codenas.errors import CheckpointError, ResourceError, RunError, UserError
from codenas.experiment import local
from codenas.experiment.config import ExperimentSetup
from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.experiment.local import search_locally
from codenas.experiment.mirror import Mirror, mirrored
from codenas.experiment.objects import Objects
from codenas.experiment.rung import execute
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Outcome, Trial
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.loop import run_search
from codenas.search.result import SearchFolder, SearchResult
from codenas.train.config import TrainConfig
from codenas.train.curve import Step
from tests.fakes import tiny_arch, tiny_corpus
from tests.stores import give_keys, s3

JOB = SearchJob(
    space=SearchSpace(base=tiny_arch(), choices={"d_model": (8, 16), "norm": ("rmsnorm", "layernorm")}),
    budget=Budget(candidates=3, rungs=(1, 3), promote=(2,)),
    objectives=(Objective(metric="bits_per_byte", weight=1.0),),
    train=TrainConfig(batch_size=2, precision="float32", warmup_steps=1),
    trial=TrialResources(score_tokens=64, latency_tokens=2, score_decay=(1.0, 0.0)),
)
STEPS, SCORING_STEPS = 3 * 1 + 2 * 2, 3 * 1  # to the rungs; on the branches that score the first rung


class Interrupted(Exception):
    """The machine goes."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def undisturbed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    return essence(*search_locally(JOB, corpus, tmp_path_factory.mktemp("undisturbed") / "search"))


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A place that nobody has written to."""
    if request.param == "file":
        yield (tmp_path / "mirror").as_uri()
        return
    give_keys(monkeypatch)
    with s3() as bucket:
        yield bucket.url


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """What `Mirror` writes to where its URL is that of a folder."""
    return tmp_path / "mirror"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Every step that is taken in this process, those of scoring branches too."""
    steps: list[Step] = []

    def watched(setup: ExperimentSetup, job: Job) -> Generator[Step, None, Outcome]:
        inner = execute(setup, job)
        while True:
            try:
                step = next(inner)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            steps.append(step)
            yield step

    monkeypatch.setattr(local, "execute", watched)
    return steps


def essence(result: SearchResult, history: History) -> list[object]:
    """All of a search that does not depend on the clock."""
    return [
        (result.winner, result.finalists, result.steps),
        *((trial.candidate, _rungs(trial)) for trial in history.trials),
    ]


def _rungs(trial: Trial) -> list[tuple[object, ...]]:
    return [(each.rung, each.steps, each.metrics.bits_per_byte) for each in trial.reports]


def interrupt_after(events: int, monkeypatch: pytest.MonkeyPatch, noted: bool) -> None:
    """Let `Mirror.append` end the process after so many events, the last of them `noted` or not."""
    append, left = Mirror.append, [events]

    def cut(mirror: Mirror, event: str) -> None:
        left[0] -= 1
        if noted or left[0]:
            append(mirror, event)
        if not left[0]:
            raise Interrupted

    monkeypatch.setattr(Mirror, "append", cut)


@pytest.mark.parametrize("noted", [True, False])
def test_a_new_machine_after_every_event_finds_the_same_and_trains_nothing_twice(
    noted: bool, url: str, corpus: Corpus, undisturbed: list[object], trained: list[Step], tmp_path: Path
) -> None:
    """`noted`: the event that was last made has reached the mirror; else its checkpoint alone has."""
    for machine in range(100):
        with pytest.MonkeyPatch.context() as patch:
            interrupt_after(1 if noted else 2, patch, noted)
            try:
                found = search_locally(JOB, corpus, tmp_path / f"machine-{machine}" / "search", Mirror(url))
            except Interrupted:
                continue
            break
    assert essence(*found) == undisturbed
    assert machine == 3 + 5 - (not noted)  # one for each event: proposals and reports
    assert len(trained) == STEPS + SCORING_STEPS
    assert (found[0].steps, found[0].scoring_steps) == (STEPS, SCORING_STEPS)


def test_what_is_fetched_is_what_is_needed(corpus: Corpus, there: Path, tmp_path: Path) -> None:
    result, history = search_locally(JOB, corpus, tmp_path / "first", Mirror(there.as_uri()))
    winner = history.trials[result.winner].last
    assert winner is not None
    assert search_locally(JOB, corpus, tmp_path / "second", Mirror(there.as_uri()))[0] == result
    fetched = [path.parent.relative_to(tmp_path / "second" / "checkpoints") for path in (tmp_path / "second").rglob(WEIGHTS)]
    assert [str(path) for path in fetched] == [winner.checkpoint]
    states = [path.parent.relative_to(there / "checkpoints") for path in there.rglob(TRAINING)]
    assert [str(path) for path in states] == [winner.checkpoint], "what nobody resumes is forgotten there too"


def test_nodes_without_a_common_folder_continue_from_each_others_checkpoints(
    corpus: Corpus, undisturbed: list[object], there: Path, tmp_path: Path
) -> None:
    home, mirror = SearchFolder(tmp_path / "driver"), Mirror(there.as_uri())
    home.claim(JOB.model_dump_json(), corpus.manifest.digest)
    mirror.pull(home)
    mirror.push(home)
    history, done = home.history(mirror.append), list[Job]()

    def run_elsewhere(job: Job) -> Outcome:
        done.append(job)
        setup = JOB.setup(corpus, tmp_path / f"node-{len(done)}" / "checkpoints")
        steps = mirrored(execute(setup, job), there.as_uri(), job, setup.folder)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome

    run_search(JOB.plan(corpus.manifest.vocab_size, corpus.tokenizer_path.stat().st_size), history, run_elsewhere)
    assert not home.checkpoints.exists()
    assert essence(*search_locally(JOB, corpus, home.path, mirror)) == undisturbed
    assert len(done) == 5


def test_a_node_that_holds_another_search_at_the_same_place_is_named(corpus: Corpus, there: Path, tmp_path: Path) -> None:
    search_locally(JOB, corpus, tmp_path / "first", Mirror(there.as_uri()))
    node, job = tmp_path / "node", Job(SearchFolder(tmp_path / "first").history().trials[0].candidate, 1)
    SearchFolder(node).claim("another job", corpus.manifest.digest)
    with pytest.raises(RunError, match=f"{node} and .* hold two searches; choose another --run or another --mirror"):
        Mirror(there.as_uri()).prepare(job, node / "checkpoints")


@pytest.fixture
def half(corpus: Corpus, there: Path, tmp_path: Path) -> Path:
    """The folder of a search that was interrupted after its fifth event, in accord with its mirror."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(5, patch, noted=True)
        search_locally(JOB, corpus, tmp_path / "half", Mirror(there.as_uri()))
    return tmp_path / "half"


def test_what_a_broken_network_kept_here_goes_there_the_next_time(
    half: Path, corpus: Corpus, undisturbed: list[object], there: Path, trained: list[Step], tmp_path: Path
) -> None:
    shutil.rmtree(there)  # the same as when it had never been reached: also a mirror that an older run is given
    assert essence(*search_locally(JOB, corpus, half, Mirror(there.as_uri()))) == undisturbed
    before = len(trained)
    assert essence(*search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))) == undisturbed
    assert len(trained) == before < STEPS + SCORING_STEPS
    for name in ("job.json", "result.json"):
        assert (there / name).read_bytes() == (half / name).read_bytes()
    segments = sorted((there / "trials").rglob("*.jsonl"))
    assert b"".join(path.read_bytes() for path in segments) == (half / "trials.jsonl").read_bytes()


def test_two_histories_are_not_mixed(half: Path, corpus: Corpus, undisturbed: list[object], there: Path, tmp_path: Path) -> None:
    search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))
    lines = (half / "trials.jsonl").read_text().splitlines(keepends=True)
    (half / "trials.jsonl").write_text("".join((*lines[:-1], lines[-1].replace("{", "{ ", 1))))
    kept = (half / "trials.jsonl").read_bytes()
    with pytest.raises(RunError, match="differ from event 5 on, of 5 and 8: the search continued elsewhere; remove .*half to continue"):
        search_locally(JOB, corpus, half, Mirror(there.as_uri()))
    assert (half / "trials.jsonl").read_bytes() == kept
    shutil.rmtree(half)
    assert essence(*search_locally(JOB, corpus, half, Mirror(there.as_uri()))) == undisturbed


def test_two_that_search_at_once_are_reported(half: Path, corpus: Corpus, there: Path, tmp_path: Path) -> None:
    append = Mirror.append

    def overtaken(mirror: Mirror, event: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Mirror, "append", append)
            search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))
        append(mirror, event)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(RunError, match="is written by another process too; let one of them continue"),
    ):
        patch.setattr(Mirror, "append", overtaken)
        search_locally(JOB, corpus, half, Mirror(there.as_uri()))


def test_another_search_is_refused_and_nothing_is_made(half: Path, corpus: Corpus, there: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="mirror holds a search with another job or another corpus; choose another --mirror"):
        search_locally(JOB.model_copy(update={"seed": 1}), corpus, tmp_path / "other", Mirror(there.as_uri()))
    assert not (tmp_path / "other").exists()
    (there / "job.json").write_bytes(b"\xff")
    with pytest.raises(RunError, match="mirror/job.json cannot be read .*; choose another --mirror"):
        search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))


@pytest.mark.parametrize("file", [WEIGHTS, TRAINING])
def test_training_does_not_resume_from_an_altered_checkpoint(file: str, half: Path, corpus: Corpus, there: Path, tmp_path: Path) -> None:
    for path in there.rglob(file):
        path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(CheckpointError, match=r"mirror/checkpoints/c00[01]/1 is damaged; .* to train it again"):
        search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))
    assert {path.parts[-3] for path in (tmp_path / "other").rglob(WEIGHTS)} <= {"c002"}, "what nobody had trained yet"


def test_a_history_that_was_torn_there_is_reported(half: Path, corpus: Corpus, there: Path, tmp_path: Path) -> None:
    segment = sorted((there / "trials").rglob("*.jsonl"))[1]
    segment.write_bytes(segment.read_bytes()[:-9])
    with pytest.raises(RunError, match="mirror/trials is damaged: a part is missing or incomplete; restore it"):
        search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))


def search_until_the_network_goes(writes: int, corpus: Corpus, folder: Path, there: Path) -> None:
    """After so many objects it is gone for good."""
    write, left = Objects._write, [writes]

    def cut(objects: Objects, name: str, blocks: Iterable[bytes]) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("curlCode: 7, Could not connect to server")
        write(objects, name, blocks)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError, match="cannot be reached .curlCode: 7.*nothing is lost here"):
        patch.setattr("codenas.experiment.objects.PAUSES_S", (0.0, 0.0))
        patch.setattr(Objects, "_write", cut)
        search_locally(JOB, corpus, folder, Mirror(there.as_uri()))
    assert left[0] == -3, "it was not tried again"


@pytest.mark.parametrize("writes", [2, 3, 4, 5, 6])  # the claim, a proposal, the three files of a checkpoint, its manifest
def test_a_checkpoint_that_did_not_get_there_whole_is_none(
    writes: int, corpus: Corpus, undisturbed: list[object], there: Path, tmp_path: Path
) -> None:
    search_until_the_network_goes(writes, corpus, tmp_path / "lost", there)
    assert essence(*search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))) == undisturbed


@pytest.mark.parametrize("writes", [0, 3, 6, 12, 20])
def test_a_network_that_fails_at_any_moment_costs_no_work(
    writes: int, corpus: Corpus, undisturbed: list[object], trained: list[Step], there: Path, tmp_path: Path
) -> None:
    search_until_the_network_goes(writes, corpus, tmp_path / "search", there)
    assert essence(*search_locally(JOB, corpus, tmp_path / "search", Mirror(there.as_uri()))) == undisturbed
    assert len(trained) == STEPS + SCORING_STEPS
    assert essence(*search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))) == undisturbed


@pytest.mark.cluster
def test_on_ray_nodes_without_a_common_folder_find_the_same(
    ray_cluster: Path, corpus: Corpus, undisturbed: list[object], there: Path, tmp_path: Path
) -> None:
    from tune_jobs.launch import search
    from tune_jobs.trainable import JobTrainable

    class Apart(JobTrainable):
        """On a disk of its own for every job."""

        def setup(self, config: dict[str, Any]) -> None:
            setup = ExperimentSetup.model_validate_json(config["setup"])
            folder = setup.folder.parents[1] / "nodes" / uuid.uuid4().hex / "checkpoints"
            super().setup({**config, "setup": setup.model_copy(update={"folder": folder}).model_dump_json()})

    home, mirror = tmp_path / "driver", Mirror(there.as_uri())
    result, history = search(JOB, corpus, home, ray_cluster, trainable=Apart, mirror=mirror)
    assert essence(result, history) == undisturbed
    assert len(list((tmp_path / "nodes").iterdir())) == 5
    assert len(list(home.rglob(WEIGHTS))) == 1, "only the winner comes to the driver"
    again, _ = search_locally(JOB, corpus, tmp_path / "other", Mirror(there.as_uri()))
    assert again == result


@pytest.mark.cluster
def test_on_ray_a_mirror_that_breaks_is_one_line(ray_cluster: Path, corpus: Corpus, there: Path, tmp_path: Path) -> None:
    from tune_jobs.launch import search

    job = JOB.model_copy(update={"budget": Budget(candidates=3, rungs=(1, 3), promote=(3,))})  # whose weights are lost goes on
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(3, patch, noted=True)
        search_locally(job, corpus, tmp_path / "first", Mirror(there.as_uri()))
    for path in there.rglob(WEIGHTS):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="is damaged; restore it, or remove it there to train it again"):
        search(job, corpus, tmp_path / "second", ray_cluster, mirror=Mirror(there.as_uri()))
    shutil.rmtree(there / "checkpoints")
    search(job, corpus, tmp_path / "second", ray_cluster, mirror=Mirror(there.as_uri()))
