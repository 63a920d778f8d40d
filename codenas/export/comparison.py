"""One model in the files of several engines, for a comparison of their speed."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from codenas.arch.design import Design
from codenas.arch.storage import Storage
from codenas.checkpoint import TOKENIZER, Checkpoint, Manifest, write_checkpoint
from codenas.decode.backend import Logits
from codenas.errors import ConfigError
from codenas.export.gguf import write_gguf
from codenas.measure.contenders import Contender, LlamaCppContender, NativeContender, TorchContender
from codenas.measure.decoding_speed import SpeedComparison, measure_speeds, sample_logits
from codenas.measure.footprint import measure_footprint
from codenas.measure.llama_cpp import llama_cpp_version
from codenas.measure.workload import Workload
from codenas.model import build_model
from codenas.vocab import Char

ENGINES = ("native", "torch", "llama.cpp")
GGUF_TYPES: dict[Storage, str] = {"float16": "f16", "int8": "q8_0", "int4": "q4_0"}


def random_checkpoint(design: Design, vocab_size: int, folder: Path) -> Checkpoint:
    """A checkpoint of `design` with random weights: engines are timed before anything is trained.

    No matrix is zero, as those at the end of a branch are in a new model, so that logits can be compared.
    """
    arch = design.stored_arch
    weights, generator = build_model(arch, vocab_size).state_dict(), torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        if weight.ndim > 1 and not weight.any():
            weights[name] = torch.randn(weight.shape, generator=generator) / math.sqrt(weight[0].numel())
    tokenizer = folder / TOKENIZER
    Char(()).save(tokenizer)  # a checkpoint has one; nobody reads text here
    manifest = Manifest(arch=arch, storage=design.storage, vocab_size=vocab_size, vocab_digest="", corpus_digest="", step=0, train_tokens=0)
    return write_checkpoint(folder / f"random-{design.storage}", weights, manifest, tokenizer)


def in_storage(checkpoint: Checkpoint, storage: Storage, folder: Path) -> Checkpoint:
    """`checkpoint` itself, or a copy in `folder` whose weights are stored as `storage`."""
    if checkpoint.manifest.storage == storage:
        return checkpoint
    weights: dict[str, Tensor] = checkpoint.load_model().state_dict()
    manifest = checkpoint.manifest.model_copy(update={"storage": storage})
    return write_checkpoint(folder / f"model-{storage}", weights, manifest, checkpoint.path / TOKENIZER)


def compare_engines(
    model: str,
    checkpoints: Sequence[Checkpoint],
    engines: Sequence[str],
    threads: Sequence[int],
    workload: Workload,
    folder: Path,
    footprints: bool = True,
    on_round: Callable[[], None] = lambda: None,
) -> SpeedComparison:
    """Time every engine over every checkpoint with every number of threads; the files that engines need are written to `folder`.

    Args:
        model: what the comparison calls the model.
        footprints: also measure memory and loading time.

    Raises:
        ConfigError: there is no such engine here, or the model has no exact form for one of them.
    """
    contenders, references = list[Contender](), list[Logits]()
    for checkpoint in checkpoints:
        expected = sample_logits(TorchContender("torch", checkpoint.path, checkpoint.manifest.storage, threads[0]), workload)
        found = [_contender(checkpoint, engine, count, folder) for count in threads for engine in engines]
        contenders += found
        references += [expected] * len(found)
    measured = [measure_footprint(each, workload) if footprints else None for each in contenders]
    speeds = measure_speeds(contenders, workload, references, on_round)
    return SpeedComparison(
        model=model,
        vocab_size=checkpoints[0].manifest.vocab_size,
        workload=workload,
        speeds=tuple(speed.model_copy(update={"footprint": each}) for speed, each in zip(speeds, measured, strict=True)),
    )


def _contender(checkpoint: Checkpoint, engine: str, threads: int, folder: Path) -> Contender:
    storage = checkpoint.manifest.storage
    if engine == "native":
        return NativeContender(f"native {storage}", checkpoint.path, storage, threads)
    if engine == "torch":
        return TorchContender(f"torch {storage}", checkpoint.path, storage, threads)
    if engine != "llama.cpp":
        raise ConfigError(f"there is no engine {engine!r}; choose from {', '.join(ENGINES)}")
    llama_cpp_version()  # before anything is written
    file = folder / f"{storage}.gguf"
    if not file.exists():
        write_gguf(file, checkpoint.load_stored())
    return LlamaCppContender(f"llama.cpp {GGUF_TYPES[storage]}", file, storage, threads)
