"""The nodes of the cluster: how many trials fit on them, and the end of a search when none fits any more."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.tune import Callback, Stopper

from codenas.errors import ResourceError
from codenas.experiment.jobs import TrialResources
from codenas.search.fitness import Objective
from tune_jobs.searcher import PlanSearcher

_CHECK_INTERVAL_S = 1.0
_ROUNDING = 1e-9  # 1 / 0.1 may be slightly below 10 in floating point
_TYPE_PREFIX, _TYPE_SHARE = "accelerator_type:", 0.001  # Ray gives a node 1 of this resource; all its trials share it


@dataclass(slots=True, frozen=True)
class Node:
    """A node that is alive. `resources` are its total resources, by Ray's names."""

    id: str
    address: str
    resources: Mapping[str, float]

    def slots(self, wanted: Mapping[str, float]) -> int:
        """How many trials with resources `wanted` fit on it."""
        return min(int(self.resources.get(name, 0) / amount + _ROUNDING) for name, amount in wanted.items())

    @property
    def accelerator_types(self) -> set[str]:
        """The accelerator types of its GPUs, by Ray's names."""
        return {name.removeprefix(_TYPE_PREFIX) for name in self.resources if name.startswith(_TYPE_PREFIX)}


def live_nodes() -> list[Node]:
    """The nodes that are alive."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(node["NodeID"], node["NodeManagerAddress"], node["Resources"]) for node in nodes if node["Alive"]]


def trial_resources(trial: TrialResources, nodes: Sequence[Node]) -> dict[str, float]:
    """The resources of a trial, by Ray's names.

    Raises:
        ResourceError: a trial fits on no node.
    """
    wanted_type = trial.accelerator_type
    usable = [node for node in nodes if wanted_type is None or wanted_type in node.accelerator_types]
    if not usable and nodes:
        accelerator_types = ", ".join(sorted(set().union(*(node.accelerator_types for node in nodes)))) or "none"
        raise ResourceError(
            f"no node has a GPU called {trial.accelerator_type}; there are: {accelerator_types}; correct trial.accelerator_type"
        )
    most = {name: max((node.resources.get(name, 0.0) for node in usable), default=0.0) for name in ("CPU", "GPU")}
    gpus = trial.gpus if trial.gpus is not None else float(most["GPU"] > 0)
    wanted = {
        "CPU": trial.cpus,
        **({"GPU": gpus} if gpus else {}),
        **({_TYPE_PREFIX + wanted_type: _TYPE_SHARE} if wanted_type else {}),
    }
    if not any(node.slots(wanted) for node in usable):
        offered = f"{most['CPU']:g} CPUs and {most['GPU']:g} GPUs"
        where = f"the cluster has {offered}" if len(nodes) == 1 else f"of the cluster's {len(nodes)} nodes none has more than {offered}"
        raise ResourceError(f"a trial wants {trial.cpus:g} CPUs and {gpus:g} GPUs, {where}; lower trial.cpus or trial.gpus")
    return wanted


def require_one_accelerator_type(objectives: Sequence[Objective], wanted: Mapping[str, float], nodes: Sequence[Node]) -> None:
    """Check that all trials run on one accelerator type if latency is an objective: latencies compare on one device only.

    Raises:
        ResourceError: trials fit on nodes of several accelerator types.
    """
    accelerator_types = sorted(set().union(*(node.accelerator_types for node in nodes if node.slots(wanted))))
    measured = [each.metric for each in objectives if each.metric.startswith("latency")]
    if "GPU" in wanted and measured and len(accelerator_types) > 1:
        raise ResourceError(
            f"trials would run on {' and '.join(accelerator_types)}, whose latencies do not compare, and {measured[0]} is an objective; "
            f'choose one with trial.accelerator_type = "{accelerator_types[0]}"'
        )


class CapacityMonitor(Callback, Stopper):
    """Ends a search if for `patience` seconds its trials fit on no node.

    Tune would wait forever without a message. Also ends a search with an error, without waiting for running trials.
    """

    def __init__(
        self,
        searcher: PlanSearcher,
        wanted: Mapping[str, float],
        patience: float,
        nodes: Callable[[], list[Node]] = live_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._searcher, self._wanted, self._patience = searcher, wanted, patience
        self._nodes, self._clock = nodes, clock
        self._last_check = self._last_capacity = clock()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the nodes, at most once per `_CHECK_INTERVAL_S`."""
        now = self._clock()
        if now - self._last_check < _CHECK_INTERVAL_S:
            return
        self._last_check = now
        nodes = self._nodes()
        if any(node.slots(self._wanted) for node in nodes):
            self._last_capacity = now
        elif now - self._last_capacity >= self._patience:
            asked = " and ".join(f"{amount:g} {name}s" for name, amount in self._wanted.items() if not name.startswith(_TYPE_PREFIX))
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
