"""The nodes of the cluster: where trials run and how many fit there, and the end of a search when none fits any more."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, Stopper

from codenas.errors import ResourceError
from codenas.experiment.jobs import TrialResources
from codenas.measure.accelerators import is_called
from codenas.metrics import LATENCIES
from codenas.search.fitness import Objective
from tune_jobs.searcher import PlanSearcher

_CHECK_INTERVAL_S = 1.0
_ROUNDING = 1e-9  # 1 / 0.1 may be slightly below 10 in floating point
_TYPE_PREFIX, _TYPE_SHARE = "accelerator_type:", 0.001  # Ray gives a node 1 of this resource; all its trials share it
_NODE_LABEL = "ray.io/node-id"  # Ray gives every node this label


@dataclass(slots=True, frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        resources: its total resources, by Ray's names.
        gpus: the names of its GPUs, as they call themselves (`tune_jobs.survey`); empty where nobody has asked. Ray labels a node by
            its first GPU alone.
    """

    id: str
    address: str
    resources: Mapping[str, float]
    gpus: tuple[str, ...] = ()

    def slots(self, wanted: Mapping[str, float]) -> int:
        """How many trials with resources `wanted` fit on it."""
        return min(int(self.resources.get(name, 0) / amount + _ROUNDING) for name, amount in wanted.items())

    @property
    def kinds(self) -> set[str]:
        """The kinds of its GPUs."""
        return set(self.gpus) or self.labels

    @property
    def labels(self) -> set[str]:
        """What Ray calls its GPUs."""
        return {name.removeprefix(_TYPE_PREFIX) for name in self.resources if name.startswith(_TYPE_PREFIX)}


@dataclass(slots=True, frozen=True)
class Placement:
    """Where trials run.

    Attributes:
        resources: of one trial, by Ray's names.
        nodes: the ids of the nodes that may run it; None: any.
    """

    resources: Mapping[str, float]
    nodes: frozenset[str] | None = None

    @property
    def uses_gpus(self) -> bool:
        """Whether a trial is given a GPU, or a share of one."""
        return "GPU" in self.resources

    def slots(self, node: Node) -> int:
        """How many trials fit on `node`."""
        return node.slots(self.resources) if self.nodes is None or node.id in self.nodes else 0

    def request(self) -> tune.PlacementGroupFactory:
        """The request of one trial, for Ray Tune."""
        if self.nodes is None:
            return tune.PlacementGroupFactory([dict(self.resources)])
        here = {_NODE_LABEL: f"in({','.join(sorted(self.nodes))})"}
        return tune.PlacementGroupFactory([dict(self.resources)], bundle_label_selector=[here])


def live_nodes() -> list[Node]:
    """The nodes that are alive."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(node["NodeID"], node["NodeManagerAddress"], node["Resources"]) for node in nodes if node["Alive"]]


def place_trials(trial: TrialResources, objectives: Sequence[Objective], nodes: Sequence[Node]) -> Placement:
    """Where the trials of a search run on `nodes`, whose GPUs are known.

    Raises:
        ResourceError: a trial fits on no node, or latencies would be measured on GPUs of several kinds.
    """
    usable = nodes if trial.accelerator_type is None else _nodes_of_kind(trial.accelerator_type, nodes)
    resources = trial_resources(trial, usable)
    fitting = [node for node in usable if node.slots(resources)]
    one_kind = "GPU" in resources and trial.latency_device == "cuda"
    if one_kind:
        _require_one_kind(objectives, fitting)
    if not one_kind and trial.accelerator_type is None:
        return Placement(resources)
    others = [node for node in nodes if node not in fitting]
    label = _shared_label(fitting, others)
    if label is not None:  # nodes that join later are used too
        return Placement({**resources, _TYPE_PREFIX + label: _TYPE_SHARE})
    return Placement(resources, frozenset(node.id for node in fitting))


def trial_resources(trial: TrialResources, nodes: Sequence[Node]) -> dict[str, float]:
    """The resources of a trial, by Ray's names.

    Raises:
        ResourceError: a trial fits on no node.
    """
    most = {name: max((node.resources.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU")}
    gpus = trial.gpus if trial.gpus is not None else float(most["GPU"] > 0)
    if trial.latency_device == "cuda" and not most["GPU"]:
        raise ResourceError('trial.latency_device = "cuda", and no node has a GPU; measure on the CPU, or add a node with a GPU')
    wanted = {"CPU": trial.cpus, **({"GPU": gpus} if gpus else {})}
    if not any(node.slots(wanted) for node in nodes):
        offered = f"{most['CPU']:g} CPUs and {most['GPU']:g} GPUs"
        where = f"the cluster has {offered}" if len(nodes) == 1 else f"of the cluster's {len(nodes)} nodes none has more than {offered}"
        raise ResourceError(f"a trial wants {trial.cpus:g} CPUs and {gpus:g} GPUs, {where}; lower trial.cpus or trial.gpus")
    return wanted


def _nodes_of_kind(wanted: str, nodes: Sequence[Node]) -> list[Node]:
    """The nodes whose GPUs are all called `wanted`: within a node Ray cannot choose between GPUs.

    Raises:
        ResourceError: there is none.
    """
    kinds = sorted(set().union(*(node.kinds for node in nodes)))
    called = [kind for kind in kinds if is_called(kind, wanted)]
    if not called and nodes:
        raise ResourceError(f"no node has a GPU called {wanted}; there are: {', '.join(kinds) or 'none'}; correct trial.accelerator_type")
    found = [node for node in nodes if node.kinds and node.kinds <= set(called)]
    if not found and nodes:
        mixed = next(node for node in nodes if node.kinds & set(called))
        raise ResourceError(
            f"node {mixed.address} has {' and '.join(sorted(mixed.kinds))}, and Ray cannot choose between the GPUs of a node; start Ray "
            "once per kind on it, each with CUDA_VISIBLE_DEVICES, as docker/compose.yaml does with one worker service per GPU"
        )
    return found


def _require_one_kind(objectives: Sequence[Objective], nodes: Iterable[Node]) -> None:
    """Check that latencies, if they are an objective, are measured on GPUs of one kind: others do not compare.

    Raises:
        ResourceError: they are of several kinds.
    """
    kinds = sorted(set().union(*(node.kinds for node in nodes)))
    decisive = [each.metric for each in objectives if each.metric in LATENCIES]
    if decisive and len(kinds) > 1:
        raise ResourceError(
            f"latencies would be measured on {' and '.join(kinds)}, which do not compare, and {decisive[0]} is an objective; choose one "
            f'with trial.accelerator_type = "{kinds[0]}", or measure on the CPU with trial.latency_device = "cpu"'
        )


def _shared_label(chosen: Sequence[Node], others: Iterable[Node]) -> str | None:
    """Ray's label of all GPUs of the `chosen` nodes and of no others; None where there is none, or it is of another GPU."""
    labels = set().union(*(node.labels for node in chosen))
    if len(labels) != 1 or not all(node.labels for node in chosen):
        return None
    (label,) = labels
    wrong = any(not is_called(gpu, label) for node in chosen for gpu in node.gpus)
    return None if wrong or any(label in node.labels for node in others) else label


class CapacityMonitor(Callback, Stopper):
    """Ends a search if for `patience` seconds its trials fit on no node.

    Tune would wait forever without a message. Also ends a search with an error, without waiting for running trials.
    """

    def __init__(
        self,
        searcher: PlanSearcher,
        placement: Placement,
        patience: float,
        nodes: Callable[[], list[Node]] = live_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._searcher, self._placement, self._patience = searcher, placement, patience
        self._nodes, self._clock = nodes, clock
        self._last_check = self._last_capacity = clock()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the nodes, at most once per `_CHECK_INTERVAL_S`."""
        now = self._clock()
        if now - self._last_check < _CHECK_INTERVAL_S:
            return
        self._last_check = now
        nodes = self._nodes()
        if any(self._placement.slots(node) for node in nodes):
            self._last_capacity = now
        elif now - self._last_capacity >= self._patience:
            asked = " and ".join(
                f"{amount:g} {name}s" for name, amount in self._placement.resources.items() if not name.startswith(_TYPE_PREFIX)
            )
            self._searcher.error = ResourceError(
                f"for {self._patience:g} s none of the {len(nodes)} remaining nodes had {asked} for a trial; "
                "add nodes and run the same command again, finished work is kept"
            )

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stop a trial for its results."""
        return False

    def stop_all(self) -> bool:
        """Whether the search has an error."""
        return self._searcher.error is not None
