"""Connecting this process to Ray and disconnecting it. Most uses of Ray's private API are here; tests cover them."""

import logging
import os
import sys
from typing import Any

from codenas.interrupts import interrupts_deferred
from codenas.log import LOGGER


def prepare_environment() -> None:
    """Set the variables that Ray reads when it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DISABLE_FAILURE_SIGNAL_HANDLER"] = "1"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def init(**options: Any) -> None:
    """`ray.init` without Ray's own SIGTERM handler and without its messages about processes that died.

    That handler, in Python, exits at once. Another one, in C++, aborts, and removes ours when Ray is shut down: a variable
    turns it off, see `prepare_environment`. The search reports a dead worker in a line of its own. The two functions that
    are replaced here are private to Ray; tests that interrupt the start and kill a trial cover them.
    """
    import ray
    from ray._private import utils, worker

    utils.set_sigterm_handler = lambda _handler: None
    worker.print_to_stdstream = lambda message, **_: LOGGER.debug("\n".join(message["lines"]))
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def shutdown() -> None:
    """Disconnect from Ray, if it was imported; a cluster that was started by this process ends."""
    if "ray" in sys.modules:
        import ray

        with interrupts_deferred():
            ray.shutdown()


def stay_on_loopback() -> None:
    """Keep Ray from rewriting 127.0.0.1 to the host's own address and listening on the network, as it does where clusters are enabled.

    The variable disables clusters in the processes that Ray starts. In this process the module may have been imported and
    the variable read long ago: hence the constant. Both are private to Ray; a test that lists all listeners covers them.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False
