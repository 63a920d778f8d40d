"""A Ray of one's own that listens on this machine only, and leaves nothing behind."""

import contextlib
import logging
import os
from collections.abc import Iterator

OBJECT_STORE_BYTES = 300_000_000  # Ray would take a third of the memory; blocks of the corpus are small


@contextlib.contextmanager
def local_ray(cpus: int | None = None, address: str | None = None) -> Iterator[None]:
    """Start Ray on 127.0.0.1, or join the cluster at `address`; shut down on leaving what was started here.

    Ray rewrites 127.0.0.1 to the host's own address, and then listens to the network, unless it believes to be on a laptop
    system: hence the first variable. It is a workaround, held by a test that lists every listener.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "disabled" if address is None else "token")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if address is not None:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    try:
        yield
    finally:
        ray.shutdown()
