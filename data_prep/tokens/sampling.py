"""Token sampling statistics on a Ray cluster: one task per run of draws, with streaming results."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from codenas.errors import ResourceError
from codenas.vocab.sampling.draws import SamplingSettings
from codenas.vocab.sampling.statistics import Part, Run, sample
from data_prep.tokens.texts import Texts


def sample_on_ray(runs: Sequence[Run], texts: Mapping[str, Texts], settings: SamplingSettings) -> Iterator[Part]:
    """The parts of all runs, in the order of completion. Ray must be running.

    Raises:
        ResourceError: Ray is not running, or a worker died.
    """
    if not ray.is_initialized():
        raise ResourceError("sampling needs a running Ray, and none is connected; call ray.init(), or use: codenas tokens")
    work: Any = ray.remote(num_cpus=1, num_returns="streaming")(sample)
    shared = {language: ray.put(texts[language]) for language in {run.language for run in runs}}
    working = [work.remote(run, shared[run.language], settings) for run in runs]
    try:
        while working:
            generator: Any = ray.wait(working, num_returns=1)[0][0]
            try:
                yield ray.get(next(generator))
            except StopIteration:
                working.remove(generator)
    except RayTaskError:  # a fault of the program
        raise
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ResourceError(f"a worker of the sampling died ({reason}); free some memory, or ask for fewer --workers") from error
