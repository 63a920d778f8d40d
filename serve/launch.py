"""The endpoint on Ray Serve: one proxy, one replica, listening on the requested address only."""

import logging
import time
from collections.abc import Callable
from typing import Any, cast

import ray
import torch
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve._private import replica as ray_replica
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.schema import LoggingConfig

from codenas.errors import ResourceError
from codenas.experiment.device import GIVEN_GPU
from codenas.log import LOGGER
from serve.app import load, open_app
from serve.port import require_free_port
from serve.settings import ServeSettings

APPLICATION = "codenas"
SHUTDOWN_TIMEOUT_S = 5  # for sequences that are still decoded at shutdown
STOP_TIMEOUT_S = 20


class Endpoint:
    """The replica, which loads the checkpoint and serves it."""

    def __init__(self, settings: ServeSettings) -> None:
        _stay_on_this_node()
        self._app = open_app(settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, for Ray Serve."""
        return self._app

    def check_health(self) -> None:
        """Ray Serve replaces a replica that raises."""
        if not self._app.state.engine.alive:
            raise RuntimeError("the decoding loop ended")


def build(settings: ServeSettings) -> ray_serve.Application:
    """The application for `serve.run`.

    The engine limits requests and answers 429 with Retry-After: Ray Serve's own limit must be higher.
    """
    deployment = ray_serve.deployment(
        name="endpoint",
        max_ongoing_requests=4 * (settings.max_batch + settings.max_queue),
        graceful_shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
        ray_actor_options={"num_cpus": 0, "num_gpus": 0 if settings.device == "cpu" else 1},
        max_constructor_retry_count=1,
    )
    replicas = settings if settings.device == "cpu" else settings.model_copy(update={"device": GIVEN_GPU})
    return deployment(ray_serve.ingress()(Endpoint)).bind(replicas)


def start(settings: ServeSettings) -> str:
    """Serve on the Ray that this process is connected to; returns the URL once the endpoint is ready.

    Raises:
        CheckpointError: the checkpoint cannot be served.
        ResourceError: the port is in use, the device is not available, or Ray is not running.
    """
    if not ray.is_initialized():
        raise ResourceError("Ray is not running in this process; start it first (codenas serve does)")
    require_free_port(settings.host, settings.port)
    _require_device(settings.device)
    _require_reservation(settings.device, ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    served = load(settings)  # a broken checkpoint is a one-line error here, but Ray's traceback in a replica
    LOGGER.info("%s is decoded by the %s", settings.checkpoint, served.backend)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    ray_serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.host, "port": settings.port},
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )
    ray_serve.run(build(settings), name=APPLICATION, route_prefix="/")
    return settings.url


def stop() -> None:
    """Stop the endpoint, the proxy and Ray Serve itself; Ray keeps running.

    Not `serve.shutdown()`: it waits on the controller, which exits during the call, and Ray prints an error.
    """
    try:
        controller: Any = ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=STOP_TIMEOUT_S)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
            time.sleep(0.05)
    except (ValueError, ray.exceptions.RayActorError):
        return  # stopped, or never started
    raise ResourceError(f"Ray Serve did not stop within {STOP_TIMEOUT_S} s; end its processes yourself")


def _require_device(device: str) -> None:
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ResourceError(f"device {device!r} cannot be used on this machine; --device cpu can")


def _require_reservation(device: str, gpus: float) -> None:
    """Check that Ray, which has so many `gpus`, reserves `device` for the replica.

    Raises:
        ResourceError: it has none, or could reserve another.
    """
    if device == "cpu":
        return
    if gpus < 1:
        raise ResourceError(f"device {device!r} is to be reserved, and this Ray has no GPU; start it with one, or use --device cpu")
    if ":" in device and gpus > 1:
        raise ResourceError(
            f"device {device!r} is one of {gpus:g} GPUs of this Ray, which would reserve any of them; start Ray with that GPU alone "
            "(CUDA_VISIBLE_DEVICES), or let it choose (cuda)"
        )


def _stay_on_this_node() -> None:
    """Keep the server that Ray Serve opens between replicas on this node's own address.

    Ray Serve 2.60 opens it in every replica, on every interface, and unpickles whatever it receives; there is no
    setting for it. A test lists the listeners; it fails if Ray Serve changes.
    """
    module, node = cast(Any, ray_replica), cast(Any, ray.util).get_node_ip_address()
    bind: Callable[[Any, str], int] = module.add_port_to_grpc_server
    own_address = f"[{node}]:0" if ":" in node else f"{node}:0"
    module.add_port_to_grpc_server = lambda server, _: bind(server, own_address)
