"""What an engine takes to be ready, in a process of its own: seconds to its first token, and memory once it has decoded."""

import gc
import time

import psutil
from pydantic import BaseModel, ConfigDict

from codenas.measure.contenders import Contender
from codenas.measure.workload import Workload, batch_of, read_prompt
from codenas.processes import worker_pool


class Footprint(BaseModel):
    """Attributes:
    load_s: from opening the file to the first token; its libraries are loaded already.
    resident_bytes: growth of resident memory, weights, state of one sequence and buffers together, after the whole request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_s: float
    resident_bytes: int


def measure_footprint(contender: Contender, workload: Workload) -> Footprint:
    """Load `contender` in a new process and run one request.

    Raises:
        ResourceError: the process died.
    """
    with worker_pool(1) as pool:
        return pool.submit(_measure, contender, workload).result()


def _measure(contender: Contender, workload: Workload) -> Footprint:
    contender.load_libraries()
    process = psutil.Process()
    gc.collect()
    before, started = process.memory_info().rss, time.perf_counter()
    decoder = contender.open(1, workload.context_len)
    ids = workload.ids(decoder.vocab_size)[0]
    decoder.forward(batch_of(ids[:1], 0, 0))
    ready = time.perf_counter() - started
    read_prompt(decoder, ids[: workload.prompt], 0)
    for at in range(workload.prompt, workload.prompt + workload.tokens):
        decoder.forward(batch_of(ids[at : at + 1], 0, at))
    gc.collect()
    return Footprint(load_s=ready, resident_bytes=process.memory_info().rss - before)
