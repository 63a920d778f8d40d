"""How many trials the nodes of a cluster hold, and what becomes of a search when they go."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from codenas.corpus import Corpus
from codenas.errors import ResourceError
from codenas.experiment.jobs import SearchJob, TrialResources
from codenas.log import Progress
from codenas.search.candidate import Budget
from codenas.search.fitness import Objective
from codenas.search.history import History
from tests.fakes import Clock, tiny_corpus
from tune_jobs.nodes import CapacityMonitor, Node, Placement, place_trials, trial_resources
from tune_jobs.searcher import PlanSearcher

JOB = SearchJob(budget=Budget(candidates=4, rungs=(4, 12), promote=(2,)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def node(name: str, cpus: float, gpus: float = 0, card: str | None = None, names: tuple[str, ...] = ()) -> Node:
    return Node(name, "127.0.0.1", {"CPU": cpus, "GPU": gpus, **({f"accelerator_type:{card}": 1.0} if card else {})}, names)


def searcher(corpus: Corpus, folder: Path, up: set[str], retries: int = 1) -> PlanSearcher:
    plan = JOB.plan(corpus.manifest.vocab_size)
    return PlanSearcher(plan, History(), JOB.setup(corpus, folder), Progress("search", 40), retries, lambda: frozenset(up), 5.0)


def test_a_trial_is_counted_on_the_nodes_that_hold_it_whole() -> None:
    nodes = [node("a", 3, 1), node("b", 1), node("c", 4, 2)]
    wanted = trial_resources(TrialResources(cpus=2), nodes)
    assert wanted == {"CPU": 2, "GPU": 1}
    assert [each.slots(wanted) for each in nodes] == [1, 0, 2]
    assert trial_resources(TrialResources(), nodes[1:2]) == {"CPU": 1}
    assert trial_resources(TrialResources(gpus=0), nodes) == {"CPU": 1}


BITS, LATENCY = Objective(metric="bits_per_byte", weight=1), Objective(metric="latency_ms_p50", limit=10)
ON_GPU = TrialResources(latency_device="cuda")
BIG, SMALL = "NVIDIA GeForce RTX 5090", "NVIDIA GeForce RTX 4090"


def places(placement: Placement, nodes: list[Node]) -> list[int]:
    return [placement.slots(node) for node in nodes]


def test_latencies_on_gpus_of_several_kinds_are_refused_where_latency_is_an_objective() -> None:
    """A latency is a measurement, and one of another GPU is another measurement."""
    nodes = [node("a", 8, 2, "A100"), node("b", 8, 4, "H100"), node("c", 8)]
    assert places(place_trials(ON_GPU, [BITS], nodes), nodes) == [2, 4, 0]
    with pytest.raises(
        ResourceError,
        match=r'on A100 and H100, which do not compare, and latency_ms_p50 .*accelerator_type = "A100", or .*latency_device = "cpu"',
    ):
        place_trials(ON_GPU, [BITS, LATENCY], nodes)
    assert places(place_trials(ON_GPU.model_copy(update={"accelerator_type": "H100"}), [BITS, LATENCY], nodes), nodes) == [0, 4, 0]
    with pytest.raises(ResourceError, match="no node has a GPU called V100; there are: A100, H100; correct trial.accelerator_type"):
        place_trials(TrialResources(accelerator_type="V100"), [BITS], nodes)


def test_latencies_on_the_cpu_compare_whatever_gpus_train() -> None:
    nodes = [node("a", 8, 1, "A100"), node("b", 8, 1, "H100")]
    assert place_trials(TrialResources(), [BITS, LATENCY], nodes) == Placement({"CPU": 1, "GPU": 1})
    assert place_trials(TrialResources(gpus=0), [BITS, LATENCY], nodes) == Placement({"CPU": 1})


def test_a_node_with_two_kinds_of_gpu_is_found_whatever_ray_calls_it() -> None:
    """Ray labels a node by its first GPU alone."""
    nodes = [node("a", 8, 2, "GeForce-RTX-5090", (BIG, SMALL))]
    assert places(place_trials(TrialResources(), [BITS, LATENCY], nodes), nodes) == [2]
    with pytest.raises(ResourceError, match=f"on {SMALL} and {BIG}, which do not compare"):
        place_trials(ON_GPU, [BITS, LATENCY], nodes)
    with pytest.raises(ResourceError, match=f"has {SMALL} and {BIG}, and Ray cannot choose .* one worker service per GPU"):
        place_trials(ON_GPU.model_copy(update={"accelerator_type": "RTX 4090"}), [BITS, LATENCY], nodes)


def test_one_kind_is_chosen_where_each_gpu_has_a_raylet_of_its_own() -> None:
    """Two raylets of one machine: Ray may call both by the first GPU of the machine."""
    chosen = ON_GPU.model_copy(update={"accelerator_type": "rtx 4090"})
    mislabelled = [node("a", 8, 1, "GeForce-RTX-5090", (BIG,)), node("b", 8, 1, "GeForce-RTX-5090", (SMALL,))]
    placement = place_trials(chosen, [BITS, LATENCY], mislabelled)
    assert placement.nodes == frozenset("b") and places(placement, mislabelled) == [0, 1]
    assert placement.request()._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "in(b)"}]
    labelled = [node("a", 8, 1, "GeForce-RTX-5090", (BIG,)), node("b", 8, 1, "GeForce-RTX-4090", (SMALL,))]
    placement = place_trials(chosen, [BITS, LATENCY], labelled)
    assert placement == Placement({"CPU": 1, "GPU": 1, "accelerator_type:GeForce-RTX-4090": 0.001}), "a node that joins is used too"
    assert places(placement, labelled) == [0, 1]


def test_a_gpu_of_another_kind_that_joins_later_measures_no_latency() -> None:
    nodes = [node("a", 8, 1, names=(BIG,))]
    placement = place_trials(ON_GPU, [BITS, LATENCY], nodes)
    assert places(placement, [*nodes, node("b", 8, 1, names=(SMALL,))]) == [1, 0]


def test_a_latency_on_the_gpu_needs_a_gpu() -> None:
    with pytest.raises(ResourceError, match="and no node has a GPU; measure on the CPU"):
        place_trials(ON_GPU, [BITS], [node("a", 8)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": 0.5, "latency_device": "cuda"}, "0.5 GPUs per trial share a GPU, and latencies cannot be measured beside another trial"),
        ({"gpus": 0, "latency_device": "cuda"}, "0 GPUs per trial leave no GPU to measure latency on"),
        ({"gpus": 1.5}, "1.5 GPUs per trial are neither a fraction below 1 nor a whole number; choose 1"),
    ],
)
def test_a_latency_is_measured_on_a_gpu_of_its_own(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialResources.model_validate(settings)
    assert TrialResources(gpus=0.5).latency_device == "cpu"


@pytest.mark.parametrize(("cpus", "slots", "threads"), [(0.1, 20, 1), (0.25, 8, 1), (0.5, 4, 1), (1, 2, 1), (2, 1, 2)])
def test_a_trial_may_take_a_part_of_a_cpu(cpus: float, slots: int, threads: int) -> None:
    trial = TrialResources(cpus=cpus)
    assert (node("a", 2).slots(trial_resources(trial, [node("a", 2)])), trial.threads) == (slots, threads)


def test_a_cpu_and_a_half_is_refused() -> None:
    with pytest.raises(ValidationError, match="1.5 CPUs per trial are neither a fraction below 1 nor a whole number; choose 1 or 2"):
        TrialResources(cpus=1.5)


@pytest.mark.parametrize(
    ("trial", "nodes", "message"),
    [
        (TrialResources(cpus=3), [node("a", 2)], "a trial wants 3 CPUs and 0 GPUs, the cluster has 2 CPUs and 0 GPUs; lower trial.cpus"),
        (TrialResources(gpus=4), [node("a", 2, 2)], "a trial wants 1 CPUs and 4 GPUs, the cluster has 2 CPUs and 2 GPUs"),
        (TrialResources(gpus=2), [node("a", 2, 1), node("b", 8, 1)], "of the cluster's 2 nodes none has more than 8 CPUs and 1 GPUs"),
        (TrialResources(), [], "a trial wants 1 CPUs and 0 GPUs"),
    ],
)
def test_what_no_node_has_is_refused(trial: TrialResources, nodes: list[Node], message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        trial_resources(trial, nodes)


def test_the_death_of_a_node_does_not_count_as_a_failure_of_its_candidates(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    up = {"a", "b", "c", "d"}
    asked = searcher(corpus, tmp_path, up)
    first = asked.suggest("0")
    for gone in ("a", "b", "c"):
        up.discard(gone)
        asked.on_trial_complete("0", error=True)
        assert asked.suggest("0") == first
    asked.on_trial_complete("0", error=True)
    assert asked.suggest("0") == first
    assert [record.getMessage().split(" its ")[1].split()[0] for record in caplog.records if "died" in record.getMessage()] == (
        ["node", "node", "node", "process"]
    )
    asked.on_trial_complete("0", error=True)
    assert [trial.failure.reason for trial in asked.history.trials if trial.failure] == ["its process died 2 times"]


def test_the_death_of_a_node_that_ray_detects_late_does_not_count_either(corpus: Corpus, tmp_path: Path) -> None:
    """The connection to a process breaks at once, its node is given up some checks later."""
    looks = iter([frozenset("ab")] * 4)
    asked = searcher(corpus, tmp_path, set(), retries=0)
    asked._nodes = lambda: next(looks, frozenset("a"))
    first = asked.suggest("0")
    asked.on_trial_complete("0", error=True)
    assert next(looks, None) is None
    assert asked.suggest("0") == first


def test_a_search_that_fits_nowhere_any_more_ends_with_a_line(corpus: Corpus, tmp_path: Path) -> None:
    nodes, clock = [node("a", 2), node("b", 1)], Clock()
    asked = searcher(corpus, tmp_path, set())
    monitor = CapacityMonitor(asked, Placement({"CPU": 2.0}), patience=30, nodes=lambda: nodes, clock=clock)

    def look(after: float) -> bool:
        clock.advance(after)
        monitor.on_step_begin(0, [])
        return monitor.stop_all()

    assert not look(100)
    fitting = nodes.pop(0)
    assert not look(29)
    nodes.append(fitting)
    assert not look(29)
    nodes.remove(fitting)
    assert not look(29)
    assert look(2)
    assert str(asked.error) == (
        "for 30 s none of the 1 remaining nodes had 2 CPUs for a trial; add nodes and run the same command again, finished work is kept"
    )


def test_what_still_runs_when_an_error_ends_the_search_is_no_death(corpus: Corpus, tmp_path: Path) -> None:
    asked = searcher(corpus, tmp_path, set(), retries=0)
    assert asked.suggest("0") and asked.suggest("1")
    asked.on_trial_complete("0", {"user_error": "the disk is full"})
    asked.on_trial_complete("1", {"steps": 1})
    assert str(asked.error) == "the disk is full"
    assert not any(trial.failure for trial in asked.history.trials)
