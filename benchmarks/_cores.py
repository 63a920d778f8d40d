"""Many small trainings, one on each core: a second thread gains a model this small little, a second core all."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

import torch

Case = TypeVar("Case")
Result = TypeVar("Result")


def on_every_core(work: Callable[[Case], Result], cases: Iterable[Case]) -> Iterator[tuple[Case, Result]]:
    """What `work` gives for each case, as it comes; all of them travel to other processes."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        running = {pool.submit(work, case): case for case in cases}
        for done in as_completed(running):
            yield running[done], done.result()
