"""The GPUs of the nodes of a cluster, by their own names: each node with GPUs is asked, in a process that is given none of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from codenas.errors import ResourceError, UserError
from tune_jobs.nodes import Node

_TIMEOUT_S = 120.0  # a process starts and imports torch, on a busy node


def with_gpu_names(nodes: Sequence[Node], probe: Callable[[], tuple[str, ...]]) -> list[Node]:
    """`nodes` with the names of their GPUs, as `probe` gives them there; nodes that died in the meantime are left out.

    Raises:
        ResourceError: a node offers GPUs that torch does not see there.
    """
    asked = {node.id: _ask(node, probe) for node in nodes if node.resources.get("GPU")}
    return [found for node in nodes if (found := _answered(node, asked.get(node.id))) is not None]


def _ask(node: Node, probe: Callable[[], tuple[str, ...]]) -> "ray.ObjectRef[tuple[str, ...]]":
    # A process without GPUs sees those of its node (Ray overrides CUDA_VISIBLE_DEVICES only for one that is given some), and ends
    # with the call: what CUDA allocates in it would be missed on the first GPU.
    there = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(num_cpus=0, num_gpus=0, max_calls=1, max_retries=0)(probe).options(scheduling_strategy=there).remote()


def _answered(node: Node, answer: "ray.ObjectRef[tuple[str, ...]] | None") -> Node | None:
    if answer is None:
        return node
    try:
        names = ray.get(answer, timeout=_TIMEOUT_S)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise ResourceError(f"node {node.address}: {error.cause}") from error
        raise
    except RayError:
        return None
    if len(names) < node.resources["GPU"]:
        raise ResourceError(
            f"node {node.address} offers {node.resources['GPU']:g} GPUs and torch sees {len(names)} there ({', '.join(names)}); "
            "start Ray with --num-gpus as many as there are, or correct CUDA_VISIBLE_DEVICES"
        )
    return replace(node, gpus=names)
