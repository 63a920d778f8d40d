"""On a GPU: how much of its arithmetic a training uses, and how fast each family trains. The contracts of `make test` run there too."""

import torch

from benchmarks._contenders import RandomBatches
from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec, MixerSpec
from codenas.arch.cost import parameters, training_flops_per_token
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.mixers.rwkv7 import RwkvSpec
from codenas.errors import TrialFailure
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer

VOCAB, TOKENS, BATCH, WIDTH, LAYERS = 8192, 1024, 32, 512, 8
WARM_STEPS, STEPS = 10, 20
FAMILIES: dict[str, MixerSpec] = {
    "attention": AttentionSpec(n_heads=8, n_kv_heads=8),
    "linear_attention": LinearAttentionSpec(n_heads=8),
    "mamba2": MambaSpec(head_width=64, state_width=64),
    "rwkv7": RwkvSpec(head_width=64),
}
# FLOP/s of dense bfloat16 products with float32 sums, from the makers' data sheets, by words of the device's name.
PEAKS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}  # fmt: skip


def measure() -> dict[str, object]:
    """Tokens per second of the trainer, eager and compiled, and the model FLOPs utilisation of the attention model."""
    if not torch.cuda.is_available():
        return {"gpu": "not measured: torch sees none"}
    device = torch.cuda.get_device_name()
    arch = architecture("attention")
    speeds = {
        name: {kind: _tokens_per_second(architecture(name), kind == "compiled") for kind in ("eager", "compiled")} for name in FAMILIES
    }
    found: dict[str, object] = {"device": device, "parameters": parameters(arch, VOCAB), "tokens_per_second": speeds}
    measured = [speed for speed in speeds["attention"].values() if isinstance(speed, int)]
    if not measured:
        return found
    flops = max(measured) * training_flops_per_token(arch, VOCAB)
    words = f" {device.replace('-', ' ')} "  # of an A100-SXM4-80GB; and an L40 is no L4
    peak = next((peak for name, peak in PEAKS.items() if f" {name} " in words), None)
    used = round(flops / peak, 3) if peak else f"unknown: no peak is listed for {device}"
    return {**found, "teraflops_per_second": round(flops / 1e12, 1), "model_flops_utilisation": used}


def architecture(family: str) -> ArchSpec:
    """About 30 M parameters, the same block around every mixer."""
    return ArchSpec(
        d_model=WIDTH,
        n_layers=LAYERS,
        pattern=(FAMILIES[family],),
        feedforward=FeedForwardSpec(activation="swiglu", multiplier=8 / 3),
        position="rope" if family == "attention" else "none",
        context_len=TOKENS,
    )


def _tokens_per_second(arch: ArchSpec, compiled: bool) -> int | str:
    """Of whole training steps; or why there is no figure: what one family cannot on a card is no reason not to measure the others.

    The last step waits for all before it, so that the seconds hold all the work of the device.
    """
    torch.compiler.reset()  # the memory of recorded kernels too
    torch.cuda.empty_cache()
    config = TrainConfig(batch_size=BATCH, compile=compiled)
    trainer = Trainer(build_model(arch, VOCAB).to("cuda"), RandomBatches(VOCAB, TOKENS), config)  # type: ignore[arg-type]
    try:
        for _ in trainer.run_to(WARM_STEPS):
            pass
        seconds = sum(step.seconds for step in trainer.run_to(WARM_STEPS + STEPS))
    except (TrialFailure, RuntimeError) as error:
        return f"not measured: {str(error).strip().splitlines()[0]}"
    return round(STEPS * BATCH * TOKENS / seconds)
