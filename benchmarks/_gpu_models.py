"""What the parts of `python -m benchmarks gpu` share: architectures of known size, a trainer of random tokens, the clock of a device."""

import time

import torch

from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec, MixerSpec
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.measure.training_speed import RandomBatches
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer

VOCAB, HEAD = 16_384, 64
SIZES = {"5M": (192, 4, 512), "22M": (448, 6, 512), "50M": (640, 8, 512)}  # width, depth, context: about so many parameters
SMALL = {"tiny": (64, 1, 128)}  # where lines are tried, not speeds
FAMILIES = ("attention", "linear_attention", "mamba2", "rwkv7")


def architecture(family: str, width: int, depth: int, context_len: int) -> ArchSpec:
    """The same block around every mixer."""
    heads = width // HEAD
    mixers: dict[str, MixerSpec] = {
        "attention": AttentionSpec(n_heads=heads, n_kv_heads=heads),
        "linear_attention": LinearAttentionSpec(n_heads=heads),
        "mamba2": MambaSpec(head_width=HEAD, state_width=HEAD),
        "rwkv7": RwkvSpec(head_width=HEAD),
    }
    return ArchSpec(
        d_model=width,
        n_layers=depth,
        pattern=(mixers[family],),
        feedforward=FeedForwardSpec(activation="swiglu", multiplier=8 / 3),
        position="rope" if family == "attention" else "none",
        context_len=context_len,
    )


def trainer(arch: ArchSpec, device: str, **recipe: object) -> Trainer:
    """A trainer on random tokens; `recipe` are fields of `TrainConfig`."""
    config = TrainConfig.model_validate(recipe)
    return Trainer(build_model(arch, VOCAB).to(device), RandomBatches(VOCAB, arch.context_len), config)


def tokens_per_second(training: Trainer, warm_steps: int, steps: int) -> float:
    """Of `steps` whole steps, behind `warm_steps` others; the device has finished when the clock stops."""
    _run(training, warm_steps)
    before, started = training.tokens, now(training.model.device)
    _run(training, steps)
    return (training.tokens - before) / (now(training.model.device) - started)


def now(device: torch.device | str) -> float:
    """Seconds, when `device` has finished all that it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def release() -> None:
    """Give back the memory of models that are no more, recorded kernels included."""
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _run(training: Trainer, steps: int) -> None:
    for _ in training.run_to(training.step + steps):
        pass
