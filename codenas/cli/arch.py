"""`codenas arch`: the parts of an architecture and their costs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.cli.space import MAX_VOCAB_SIZE

if TYPE_CHECKING:
    from codenas.arch import ArchSpec, Design

SPEC_HELP = """\
What to show: a checkpoint's folder; a JSON file of an architecture, in the format of this project or of the old one, or of a
design (an architecture as `arch`, with `storage`, `pruning`, `vocabulary`);
PRESET:SEED, a random draw (small:7); 4M or 31M, two Llama-like models; or one line such as 'L8 H512 layernorm gelu rope'."""


def show_arch(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help=SPEC_HELP)],
    vocab_size: Annotated[
        int | None, typer.Option(min=2, max=MAX_VOCAB_SIZE, help="Ids of the vocabulary. By default the model's own, else 4,096.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw it, as a PNG.")] = None,
) -> None:
    """Show an architecture as a tree, with parameters, bytes and FLOPs of every part.

    Training: FLOPs per token in windows of full context. Decoding: FLOPs of the last token that fits the context. State: the
    decoding state (KV cache or recurrent state) of one sequence at that point. The stored file of a quantised or pruned design has
    a line of its own.

    The old format is a flat object. Its keys: num_layers, hidden_size, arch_type (transformer, linear_transformer, mamba, rwkv;
    hybrid with layer_types), num_heads, num_kv_heads, intermediate_size or ffn_multiplier, activation, norm_type, position,
    max_seq_len, window_size, tie_embeddings, dropout, attention_dropout, vocab_size. As one line: L layers, H hidden size,
    A heads, K key-value heads, F feed-forward multiplier, S longest sequence, W window, V vocabulary, each with its number, and
    the words of the object. Defaults: gelu, layernorm, rope, a multiplier of 4, heads of 64 channels, tied embeddings.
    """
    from codenas.cli.console import console
    from codenas.files import require_writable_file
    from codenas.report.architecture import architecture_tree, cost_lines, draw_architecture, headline, stored_lines
    from codenas.report.tables import summary_lines

    design, own_vocab_size = load_design(spec)
    arch, size = design.arch, vocab_size or own_vocab_size or 4_096
    if picture is not None:
        require_writable_file(picture)
    typer.echo(headline(arch, size))
    console().print(architecture_tree(arch, size))
    for line in summary_lines([*cost_lines(arch, size), *stored_lines(design, size)]):
        typer.echo(line)
    if picture is not None:
        draw_architecture(arch, size, picture)
        typer.echo(f"picture: {picture}")


def load_arch(spec: str) -> "tuple[ArchSpec, int | None]":
    """The architecture that `spec` names; see `load_design`."""
    design, vocab_size = load_design(spec)
    return design.arch, vocab_size


def load_design(spec: str) -> "tuple[Design, int | None]":
    """The design that `spec` names and the size of its vocabulary, if known; for a checkpoint, the stored design.

    Raises:
        ConfigError: it names no design.
        CheckpointError: it is a folder that holds no checkpoint.
    """
    from codenas.arch import Design, preset
    from codenas.arch.examples import EXAMPLES
    from codenas.arch.legacy import from_line
    from codenas.arch.presets import PRESETS
    from codenas.errors import ConfigError
    from codenas.seeds import stream

    if spec in EXAMPLES:
        return EXAMPLES[spec], EXAMPLES[spec].vocab_size
    path = Path(spec)
    if spec and path.is_dir():  # the path of nothing is the folder one is in
        from codenas.checkpoint import Checkpoint  # and with it torch, which nothing else here needs

        manifest = Checkpoint.open(path).manifest
        return Design(arch=manifest.arch, storage=manifest.storage), manifest.vocab_size
    if path.is_file():
        return _read(path)
    name, colon, seed = spec.partition(":")
    if colon or name in PRESETS:
        if not seed.isdecimal():
            raise ConfigError(f"{spec!r}: a random draw needs a seed, a whole number, as in {name or 'small'}:7")
        return preset(name).sample(stream(int(seed), "draw")), None
    if path.suffix == ".json" or "/" in spec:
        raise ConfigError(f"there is no file or folder {spec}")
    try:
        old = from_line(spec)
    except ConfigError as error:
        raise ConfigError(f"{spec!r} is no file, no PRESET:SEED and no line of the old format: {error}") from error
    return Design(arch=old.arch), old.vocab_size


def _read(path: Path) -> "tuple[Design, int | None]":
    from pydantic import ValidationError

    from codenas.arch import ArchSpec, Design
    from codenas.arch.legacy import from_legacy, is_legacy
    from codenas.cli.validation_errors import explain
    from codenas.errors import ConfigError
    from codenas.files import read_user_text

    try:
        data = json.loads(read_user_text(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no object of fields, but {type(data).__name__}")
    kind = Design if "arch" in data else ArchSpec
    try:
        if is_legacy(data):
            old = from_legacy(data)
            return Design(arch=old.arch), old.vocab_size
        design = Design.model_validate(data) if kind is Design else Design(arch=ArchSpec.model_validate(data))
        return design, design.vocab_size
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, kind)}") from error
