"""`codenas bench-decode`: the speed of decoding on this machine, beside other engines."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.space import MAX_VOCAB_SIZE
from codenas.processes import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codenas.arch.storage import Storage
    from codenas.checkpoint import Checkpoint

MAX_TOKENS = 65_536
MODEL_HELP = """\
A checkpoint's folder; or an architecture as `codenas arch show` takes it, also 4M or 31M, with random weights."""


def bench_decode(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT|SPEC", help=MODEL_HELP)],
    against: Annotated[list[str] | None, typer.Option(help="Another engine: native, torch, llama.cpp; repeat it for several.")] = None,
    storage: Annotated[
        list[str] | None,
        typer.Option(help="Precision of the stored weights: float16, int8 or int4. By default the model's own; repeat it for several."),
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, max=MAX_THREADS, help="Threads; 1 by default, repeat it for several.")] = None,
    prompt: Annotated[int, typer.Option(min=1, max=MAX_TOKENS, help="Tokens of the prompt.")] = 256,
    tokens: Annotated[int, typer.Option(min=4, max=MAX_TOKENS, help="Tokens decoded behind it.")] = 48,
    streams: Annotated[int, typer.Option(min=1, max=256, help="Sequences that are decoded at once.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="How often every engine is timed, in turn.")] = 5,
    memory: Annotated[bool, typer.Option(help="Also measure memory and loading time, each engine in a process of its own.")] = True,
    vocab_size: Annotated[
        int | None, typer.Option(min=2, max=MAX_VOCAB_SIZE, help="Ids of the vocabulary. By default the model's own, else 4,096.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Also store the figures here, as JSON.")] = None,
) -> None:
    """Time how fast a model decodes here: one stream, a prompt, a whole request, several streams, drafts; memory and loading time.

    The first row is the engine that CodeNAS serves with. All engines run in one process, interleaved by rounds. llama.cpp gets the same
    stored weights as a GGUF file (int8 as q8_0, int4 as q4_0, float16 as f16) and needs the extra `llama-cpp`.
    """
    from codenas.cli.console import console
    from codenas.decode.native.library import available_targets
    from codenas.export.comparison import compare_engines, in_storage
    from codenas.files import require_writable_file, write_atomic
    from codenas.log import Progress
    from codenas.measure.workload import Workload
    from codenas.report.decoding import speed_tables

    if output is not None:
        require_writable_file(output)
    workload = Workload(prompt=prompt, tokens=tokens, streams=streams, rounds=rounds)
    engines = list(dict.fromkeys(["native" if available_targets() else "torch", *(against or [])]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = _checkpoint(model, workload.context_len, vocab_size, folder)
        stored = [in_storage(checkpoint, each, folder) for each in _storages(storage or [checkpoint.manifest.storage])]
        progress = Progress("bench-decode", rounds, "rounds")
        comparison = compare_engines(
            model,
            stored,
            engines,
            list(dict.fromkeys(threads or [1])),
            workload,
            folder,
            memory,
            lambda: progress.update(progress.done + 1),
        )
        progress.finish()
    for table in speed_tables(comparison):
        console().print(table)
    if output is not None:
        write_atomic(output, comparison.model_dump_json(indent=2))
        typer.echo(f"stored: {output}")


def _storages(names: "Sequence[str]") -> "list[Storage]":
    """Each of the storages once.

    Raises:
        ConfigError: there is no such storage.
    """
    from codenas.arch.storage import STORAGES
    from codenas.errors import ConfigError

    unknown = [name for name in names if name not in STORAGES]
    if unknown:
        raise ConfigError(f"--storage {unknown[0]} is unknown; choose from {', '.join(STORAGES)}")
    return [storage for storage in STORAGES if storage in names]


def _checkpoint(model: str, context_len: int, vocab_size: int | None, folder: Path) -> "Checkpoint":
    """The checkpoint that `model` names, or one of its architecture with random weights in `folder`.

    Raises:
        ConfigError: it names no model, or one whose context is shorter than `context_len`.
    """
    from codenas.checkpoint import Checkpoint
    from codenas.cli.arch import load_design
    from codenas.errors import ConfigError
    from codenas.export.comparison import random_checkpoint

    if model and Path(model).is_dir():
        checkpoint = Checkpoint.open(Path(model))
        if checkpoint.manifest.arch.context_len < context_len:
            longest = checkpoint.manifest.arch.context_len
            raise ConfigError(f"{context_len} tokens do not fit the context of {model}, {longest}; lower --prompt or --tokens")
        return checkpoint
    design, own_vocab_size = load_design(model)
    if design.arch.context_len < context_len:
        design = design.model_copy(update={"arch": design.arch.model_copy(update={"context_len": context_len})})
    return random_checkpoint(design, vocab_size or own_vocab_size or 4_096, folder)
