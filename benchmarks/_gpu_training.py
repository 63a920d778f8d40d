"""Training on a GPU: its faults, kernels and synchronisations of a step, speed by size, batch and family, and the recorded step."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks._gpu_models import FAMILIES, SIZES, SMALL, VOCAB, architecture, now, release, tokens_per_second, trainer
from codenas.arch.cost import parameters, training_flops_per_token
from codenas.decode.engine import Engine
from codenas.decode.generate import generate
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import Sequence
from codenas.decode.settings import EngineSettings
from codenas.decode.torch_backend import TorchBackend
from codenas.errors import CodeNASError
from codenas.measure.accelerators import peak_flops
from codenas.model import build_model

Line = dict[str, object]
_SYNCHRONISING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "aten::_local_scalar_dense")


def faults(device: str) -> Iterator[Line]:
    """Too little memory, a training that is resumed, an assertion in a kernel. The last one leaves the process without a GPU."""
    gpu = device != "cpu"
    arch = architecture("attention", *(SIZES["5M"] if gpu else SMALL["tiny"]))
    if gpu:
        free, _ = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(min(1.0, 3e9 / free))
    training = trainer(arch, device, batch_size=256 if gpu else 4)
    steps = [float(step.loss) for step in training.run_to(3)]
    yield {"fault": "out of memory", "batch": training.config.batch_size, "micro_batch": training.config.micro_batch, "losses": steps}
    if gpu:
        torch.cuda.set_per_process_memory_fraction(1.0)
    whole, half, rest = (trainer(arch, device, batch_size=4, precision="float32") for _ in range(3))
    expected = [float(step.loss) for step in whole.run_to(6)]
    _ = [float(step.loss) for step in half.run_to(3)]
    rest.load_state({name: tensor.clone() for name, tensor in half.state().items()})
    resumed = [float(step.loss) for step in rest.run_to(6)]
    yield {"fault": "resume", "largest_difference": max(abs(a - b) for a, b in zip(expected[3:], resumed, strict=True))}
    try:
        torch.zeros(4, device=device)[torch.tensor([9], device=device)].add_(1)
        now(device)
    except (RuntimeError, IndexError) as error:
        yield {"fault": "index out of range", "error": type(error).__name__, "message": str(error).splitlines()[0]}
    if gpu:
        try:
            torch.zeros(1, device=device).add_(1).cpu()
            yield {"fault": "after it", "usable": True}
        except RuntimeError as error:
            yield {"fault": "after it", "usable": False, "error": type(error).__name__}


def kernels(device: str) -> Iterator[Line]:
    """Kernels and synchronising calls of a training step and of a decoded token, by family."""
    for family in FAMILIES:
        arch = architecture(family, *(SIZES["22M"] if device != "cpu" else SMALL["tiny"]))
        training = trainer(arch, device, batch_size=8 if device != "cpu" else 1)
        for _ in training.run_to(3):
            pass
        with _profiled(device) as step:
            for _ in training.run_to(5):
                pass
        backend = TorchBackend(build_model(arch, VOCAB).to(device).eval())
        engine = Engine(backend, EngineSettings(max_draft=0, cache_bytes=0))
        prompt, params = tuple(range(64)), SamplingParams(max_tokens=4, temperature=0)
        _ = list(generate(engine, Sequence(prompt, params, frozenset())))
        tokens = SamplingParams(max_tokens=21, temperature=0)  # the first comes with the prompt
        with _profiled(device) as token:
            _ = list(generate(engine, Sequence(prompt, tokens, frozenset())))
        yield {"family": family, "step": _counts(step, 2), "token": _counts(token, 21)}
        release()


def speed(device: str) -> Iterator[Line]:
    """Tokens per second, and the share of the peak, of every size, batch and family; what matters most comes first."""
    sizes, batches = (SIZES, (128, 32, 8, 256)) if device != "cpu" else (SMALL, (2,))
    order = [(size, batch) for batch in batches for size in sorted(sizes, key=lambda name: name != "22M")]
    peak = peak_flops(torch.cuda.get_device_name()) if device != "cpu" else None
    for size, batch in order:
        for family in FAMILIES:
            arch = architecture(family, *sizes[size])
            line: Line = {"family": family, "size": size, "parameters": parameters(arch, VOCAB), "batch": batch}
            with _failures_in(line):
                training = trainer(arch, device, batch_size=batch)
                found = tokens_per_second(training, 3, 5)
                flops = found * training_flops_per_token(arch, VOCAB)
                line |= {"tokens_per_second": round(found), "teraflops_per_second": round(flops / 1e12, 2)}
                line |= {"micro_batch": training.config.micro_batch, "utilisation": round(flops / peak, 3) if peak else None}
            release()
            yield line


def graph(device: str) -> Iterator[Line]:
    """The step as one CUDA graph against the eager step, and against the compiled one."""
    kinds: dict[str, dict[str, object]] = {"eager": {}, "graph": {"cuda_graph": True}, "compiled": {"compile": True}}
    for size in ("5M", "22M") if device != "cpu" else SMALL:
        for family in FAMILIES if device != "cpu" else FAMILIES[:1]:
            arch = architecture(family, *(SIZES | SMALL)[size])
            for kind, recipe in kinds.items():
                line: Line = {"family": family, "size": size, "kind": kind}
                if device == "cpu" and kind == "compiled":
                    line["tokens_per_second"] = "not measured: compiling for a CPU takes minutes"
                else:
                    with _failures_in(line):
                        training = trainer(arch, device, batch_size=32 if device != "cpu" else 2, **recipe)
                        line["tokens_per_second"] = round(tokens_per_second(training, 6, 10 if device != "cpu" else 2))
                release()
                yield line


@contextlib.contextmanager
def _failures_in(line: Line) -> Iterator[None]:
    """What one family or size cannot on a card is no reason not to measure the others: the reason goes into `line`."""
    try:
        yield
    except (CodeNASError, RuntimeError) as error:
        line["tokens_per_second"] = f"not measured: {next(iter(str(error).strip().splitlines()), type(error).__name__)}"


def _profiled(device: str) -> "profile":
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device != "cpu" else [])]
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # its messages are no figures
    return profile(activities=activities)


def _counts(profiled: "profile", count: int) -> Line:
    """Per step or token."""
    events = profiled.events() or []
    on_gpu = [event for event in events if str(event.device_type).endswith("CUDA")]
    names = [event.name for event in events]
    copies = [name for name in names if name == "cudaMemcpyAsync"]
    return {
        "kernels": round(len(on_gpu) / count, 1),
        "operators": round(sum(name.startswith("aten::") for name in names) / count, 1),
        "synchronising": round(sum(name in _SYNCHRONISING for name in names) / count, 2),
        "copies": round(len(copies) / count, 2),
    }
