"""An architecture as a tree of its parts with their costs, and as a picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from codenas.arch import cost
from codenas.arch.cost import Part
from codenas.arch.design import Design
from codenas.arch.mixers import MIXER_SPECS, MixerSpec
from codenas.arch.spec import ArchSpec, FeedForwardSpec
from codenas.arch.storage import STORAGES, layout
from codenas.report.plots import ProfileBar, Segment, profile
from codenas.report.scale import scaled

_NAME_WIDTH, _FIGURE_WIDTH, _INDENT = 72, 11, 4
_EMBEDDINGS, _FEEDFORWARD = "embedding and head", "feed-forward"
KINDS = (_EMBEDDINGS, _FEEDFORWARD, *(spec.label for spec in MIXER_SPECS))  # of a bar's segments
HEADINGS = ("parameters", "float16", "training", "decoding", "state")


@dataclass(frozen=True, slots=True)
class Figures:
    """The total cost of some parts: FLOPs per token of training (windows of full context) and of decoding (at the end of the context)."""

    parameters: int
    stored_bytes: int
    training_flops: float
    decoding_flops: int
    state_bytes: int

    @classmethod
    def of(cls, parts: Iterable[Part], arch: ArchSpec) -> "Figures":
        """The sum over `parts` of `arch`; bytes are those of the tensors, a file adds its header."""
        chosen, last = list(parts), arch.context_len - 1
        stored = [tensor for part in chosen for tensor in layout(part.tensors(), "float16").values()]
        forward = sum(cost.part_forward_flops(part, arch, arch.context_len) for part in chosen)
        return cls(
            parameters=sum(tensor.size_bytes // 2 for tensor in stored),
            stored_bytes=sum(tensor.size_bytes for tensor in stored),
            training_flops=(1 + cost.BACKWARD_OVER_FORWARD) * forward / arch.context_len,
            decoding_flops=sum(cost.part_decoding_flops(part, arch, last) for part in chosen),
            state_bytes=sum(part.mixer.state_bytes(arch.d_model, arch.context_len, 4) for part in chosen if part.mixer),
        )

    def cells(self) -> tuple[str, ...]:
        """One per heading of `HEADINGS`."""
        return (
            f"{self.parameters:,}",
            scaled(self.stored_bytes, "B"),
            scaled(self.training_flops, "FLOP"),
            scaled(self.decoding_flops, "FLOP"),
            scaled(self.state_bytes, "B"),
        )


def architecture_tree(arch: ArchSpec, vocab_size: int) -> Tree:
    """Every part with its costs in columns; equal layers are grouped, with their sum."""
    everything = list(cost.parts(arch, vocab_size))
    tree = Tree(_line("part", HEADINGS, 0, "bold"))
    for part in everything:
        if part.name == "blocks.0.mixer_norm":
            _add_layers(tree, everything, arch)
        if not part.name.startswith("blocks."):
            tree.add(_line(_end(part), Figures.of([part], arch).cells(), 1))
    tree.add(_line("total", Figures.of(everything, arch).cells(), 1, "bold"))
    return tree


def cost_lines(arch: ArchSpec, vocab_size: int) -> list[tuple[str, str]]:
    """Costs of the whole model that are not in the tree, as names and values for `summary_lines`."""
    files = [f"{scaled(cost.stored_bytes(arch, vocab_size, storage), 'B')} in {storage}" for storage in STORAGES]
    flops = [f"{scaled(cost.decoding_flops(arch, vocab_size, cached), 'FLOP')} after {cached:,}" for cached in _ends(arch)]
    states = [f"{scaled(cost.state_bytes(arch, tokens), 'B')} after {tokens:,}" for tokens in _ends(arch)]
    return [
        ("digest", arch.digest),
        ("weight file", ", ".join(files)),
        ("training", f"{scaled(cost.training_flops_per_token(arch, vocab_size), 'FLOP')} per token in windows of {arch.context_len:,}"),
        ("decoding", f"{', '.join(flops)} tokens"),
        ("state", f"{', '.join(states)} tokens of a sequence, in float32"),
    ]


def stored_lines(design: Design, vocab_size: int) -> list[tuple[str, str]]:
    """Vocabulary and stored file of `design`, as `cost_lines`; the file is left out where it is the whole architecture in float16."""
    arch, lines = design.stored_arch, [("vocabulary", design.vocabulary)] if design.vocabulary else []
    if design.storage == "float16" and not design.pruning:
        return lines
    size, count = scaled(cost.stored_bytes(arch, vocab_size, design.storage), "B"), scaled(cost.parameters(arch, vocab_size))
    pruned = f", {100 * design.pruning:.3g} % of the feed-forward's hidden channels pruned" if design.pruning else ""
    return [*lines, ("stored", f"{size} in {design.storage}{pruned}: {count} parameters")]


def draw_architecture(arch: ArchSpec, vocab_size: int, path: Path) -> None:
    """Draw parameters, FLOPs per decoded token and state size by layer, embedding at the bottom, as a PNG at `path`."""
    size = f"{scaled(cost.parameters(arch, vocab_size))} parameters"
    profile(profile_bars(arch, vocab_size), KINDS, f"{headline(arch, vocab_size)}: {size}", path)


def profile_bars(arch: ArchSpec, vocab_size: int) -> list[ProfileBar]:
    """One bar for the embedding, each layer and the head, embedding first."""
    parts = list(cost.parts(arch, vocab_size))
    bars: list[ProfileBar] = []
    for part in parts:
        if part.name == "blocks.0.mixer_norm":
            bars += [_layer_bar(parts, number, arch) for number in range(arch.n_layers)]
        if not part.name.startswith("blocks.") and part.name != "norm":
            bars.append(ProfileBar(_end(part), (_segment(part, arch),)))
    return bars


def headline(arch: ArchSpec, vocab_size: int) -> str:
    """An architecture in one line."""
    return (
        f"{arch.n_layers} layers x {arch.d_model}, {arch.norm}, positions {arch.position}, {vocab_size:,} ids, context {arch.context_len:,}"
    )


def describe(mixer: MixerSpec) -> str:
    """A mixer by its label and its options: `attention, n_heads 4, n_kv_heads 2, qk_norm`."""
    words = [mixer.label]
    for name, value in mixer.model_dump(exclude={"kind"}).items():
        if value is not None and value is not False:
            words.append(name if value is True else f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(words)


def _add_layers(tree: Tree, parts: Sequence[Part], arch: ArchSpec) -> None:
    for mixer in dict.fromkeys(arch.layers()):
        numbers = [number for number, other in enumerate(arch.layers()) if other == mixer]
        layers = [_layer(parts, number) for number in numbers]
        together = [part for layer in layers for part in layer]
        label = f"{len(numbers)} equal layers: {_ranges(numbers)}" if len(numbers) > 1 else f"layer {numbers[0]}"
        branch = tree.add(_line(label, Figures.of(together, arch).cells(), 1))
        for norm, part in ((2 * i, 2 * i + 1) for i in range(2)):
            branch.add(_line(arch.norm, Figures.of([layer[norm] for layer in layers], arch).cells(), 2, "dim"))
            name = describe(mixer) if layers[0][part].mixer else _feedforward(arch.feedforward, arch.d_model)
            branch.add(_line(name, Figures.of([layer[part] for layer in layers], arch).cells(), 2))


def _layer(parts: Sequence[Part], number: int) -> list[Part]:
    return [part for part in parts if part.name.startswith(f"blocks.{number}.")]


def _feedforward(spec: FeedForwardSpec, d_model: int) -> str:
    return f"feed-forward, {spec.activation}, {d_model} to {spec.hidden_width(d_model)} to {d_model}"


def _end(part: Part) -> str:
    return part.name if part.shapes else f"{part.name}, tied"


def _layer_bar(parts: Sequence[Part], number: int, arch: ArchSpec) -> ProfileBar:
    """A layer without its norms: their segments would be too thin to see."""
    segments = [_segment(part, arch) for part in _layer(parts, number) if not part.name.endswith("norm")]
    return ProfileBar(f"layer {number}", tuple(segments))


def _segment(part: Part, arch: ArchSpec) -> Segment:
    figures = Figures.of([part], arch)
    kind = part.mixer.label if part.mixer else _FEEDFORWARD if part.name.startswith("blocks.") else _EMBEDDINGS
    return Segment(kind, figures.parameters, figures.decoding_flops, figures.state_bytes)


def _line(name: str, cells: Sequence[str], depth: int, style: str = "") -> Text:
    """One line of the tree; columns are aligned at every depth."""
    width = _NAME_WIDTH - _INDENT * depth
    cut = name if len(name) < width else f"{name[: width - 2]}…"
    return Text(f"{cut:<{width}}" + "".join(f"{cell:>{_FIGURE_WIDTH}}" for cell in cells), style=style, no_wrap=True)


def _ranges(numbers: Sequence[int]) -> str:
    """`0-3`, `0, 2 ... 22` or `0, 1, 2, 4`."""
    steps = {after - before for before, after in pairwise(numbers)}
    if steps == {1}:
        return f"{numbers[0]}-{numbers[-1]}"
    if len(steps) == 1 and len(numbers) > 3:
        return f"{numbers[0]}, {numbers[1]} ... {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _ends(arch: ArchSpec) -> tuple[int, int]:
    return 64 if arch.context_len > 64 else 1, arch.context_len - 1
