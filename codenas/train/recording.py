"""A whole training step as one CUDA graph: the host starts it with one call instead of hundreds, which a small model waits for."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP_STEPS = 3  # what libraries allocate when they are first used must not belong to the graph

Work = Callable[[Tensor, Tensor], Tensor]


class RecordedStep:
    """Runs `work` on inputs and targets; records it after some steps, and replays the record from then on.

    Args:
        work: one step; everything that changes from step to step is in its arguments or in tensors that keep their place. Gradients
            must be gone (None) when it begins. It returns numbers of the step.
        before_recording: makes them so; called once, outside the graph.
    """

    def __init__(self, work: Work, before_recording: Callable[[], None]) -> None:
        self._work, self._before_recording = work, before_recording
        self._stream = torch.cuda.Stream()  # of all steps, recorded or not: a graph cannot be recorded on the default one
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs, self._targets, self._numbers = (torch.empty(0) for _ in range(3))
        self._steps = 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The numbers of one step, a copy."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            if self._steps == 0:
                self._inputs, self._targets = inputs.clone(), targets.clone()
            else:
                self._inputs.copy_(inputs)
                self._targets.copy_(targets)
            numbers = self._run().clone()
        torch.cuda.current_stream().wait_stream(self._stream)
        # The allocator must not hand these out while the other stream still reads or writes them.
        for tensor, stream in ((inputs, self._stream), (targets, self._stream), (numbers, torch.cuda.current_stream())):
            tensor.record_stream(stream)
        self._steps += 1
        return numbers

    def _run(self) -> Tensor:
        if self._steps < _WARM_UP_STEPS:
            return self._work(self._inputs, self._targets)
        if self._graph is None:
            self._before_recording()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):  # records, and computes nothing
                self._numbers = self._work(self._inputs, self._targets)
            self._graph = graph
        self._graph.replay()
        return self._numbers
