"""The nodes of the cluster: how many trials they hold, and what becomes of a search when they go."""

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

_LOOK_EVERY_S = 1.0
_A_HAIR = 1e-9  # a tenth of a CPU goes into one CPU nine times and a bit, says the processor
_CARD, _A_BIT = "accelerator_type:", 0.001  # a node with a card that Ray knows has 1 of this resource: all trials there share it


@dataclass(slots=True, frozen=True)
class Node:
    """A node that is up. `resources` are all that it has, used or not, by Ray's names."""

    id: str
    address: str
    resources: Mapping[str, float]

    def slots(self, wanted: Mapping[str, float]) -> int:
        """How many trials that take `wanted` it holds at a time."""
        return min(int(self.resources.get(name, 0) / amount + _A_HAIR) for name, amount in wanted.items())

    @property
    def cards(self) -> set[str]:
        """The kinds of its GPUs, as Ray calls them."""
        return {name.removeprefix(_CARD) for name in self.resources if name.startswith(_CARD)}


def live_nodes() -> list[Node]:
    """The nodes that are up."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(node["NodeID"], node["NodeManagerAddress"], node["Resources"]) for node in nodes if node["Alive"]]


def trial_resources(trial: TrialResources, nodes: Sequence[Node]) -> dict[str, float]:
    """What a trial asks of Ray, by Ray's names.

    Raises:
        ResourceError: no node has so much.
    """
    usable = [node for node in nodes if trial.card is None or trial.card in node.cards]
    if not usable and nodes:
        cards = ", ".join(sorted(set().union(*(node.cards for node in nodes)))) or "none"
        raise ResourceError(f"no node has a GPU called {trial.card}; there are: {cards}; mend trial.card")
    most = {name: max((node.resources.get(name, 0.0) for node in usable), default=0.0) for name in ("CPU", "GPU")}
    gpus = trial.gpus if trial.gpus is not None else float(most["GPU"] > 0)
    wanted = {"CPU": trial.cpus, **({"GPU": gpus} if gpus else {}), **({_CARD + trial.card: _A_BIT} if trial.card else {})}
    if not any(node.slots(wanted) for node in usable):
        offered = f"{most['CPU']:g} CPUs and {most['GPU']:g} GPUs"
        where = f"the cluster has {offered}" if len(nodes) == 1 else f"of the cluster's {len(nodes)} nodes none has more than {offered}"
        raise ResourceError(f"a trial wants {trial.cpus:g} CPUs and {gpus:g} GPUs, {where}; lower trial.cpus or trial.gpus")
    return wanted


def require_one_card(objectives: Sequence[Objective], wanted: Mapping[str, float], nodes: Sequence[Node]) -> None:
    """See that trials whose latency counts run on cards of one kind: a latency is a measurement, and compares on one device only.

    Raises:
        ResourceError: nodes with several kinds of cards hold trials.
    """
    cards = sorted(set().union(*(node.cards for node in nodes if node.slots(wanted))))
    measured = [each.metric for each in objectives if each.metric.startswith("latency")]
    if "GPU" in wanted and measured and len(cards) > 1:
        raise ResourceError(
            f"trials would run on {' and '.join(cards)}, whose latencies do not compare, and {measured[0]} is an objective; "
            f'choose the cards that count with trial.card = "{cards[0]}"'
        )


class Room(Callback, Stopper):
    """Ends a search whose trials fit on no node any more, `patience` seconds after the last one that held them went.

    Tune would wait forever without a message. Also ends one that has met an error: what still runs could only delay its line.
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
        self._looked = self._fitted = clock()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the nodes, now and then."""
        now = self._clock()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        nodes = self._nodes()
        if any(node.slots(self._wanted) for node in nodes):
            self._fitted = now
        elif now - self._fitted >= self._patience:
            asked = " and ".join(f"{amount:g} {name}s" for name, amount in self._wanted.items() if not name.startswith(_CARD))
            self._searcher.error = ResourceError(
                f"none of the {len(nodes)} nodes that are left has {asked}, which a trial takes, for {self._patience:g} s; "
                "bring nodes back and run the same command again, finished work is kept"
            )

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for its results."""
        return False

    def stop_all(self) -> bool:
        """Whether nothing can come any more."""
        return self._searcher.error is not None
