"""Designs in words: the same labels in every table, picture and page."""

from collections.abc import Callable

from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec

# What stands beside the architecture, by the heading of its column.
BESIDE: dict[str, Callable[[Design], str]] = {
    "vocabulary": lambda design: design.vocabulary or "own",
    "storage": lambda design: design.storage,
    "pruned": lambda design: f"{100 * design.pruning:.0f} %",
}
_DEFAULT = Design(arch=ArchSpec())


def size(arch: ArchSpec) -> str:
    """Layers and width: `6 x 256`."""
    return f"{arch.n_layers} x {arch.d_model}"


def mixers(arch: ArchSpec) -> list[str]:
    """A summary of every mixer of the pattern, each once."""
    return list(dict.fromkeys(mixer.summary() for mixer in arch.pattern))


def is_default(name: str, design: Design) -> bool:
    """Whether the field that `BESIDE` calls `name` has its default in `design`."""
    return BESIDE[name](design) == BESIDE[name](_DEFAULT)


def in_words(design: Design) -> str:
    """A design in one line: `6 x 256, Mamba-2 x2, state 64 + attention 4/2, rmsnorm, swiglu, rope, int8`."""
    arch = design.arch
    parts = [size(arch), " + ".join(mixers(arch)), arch.norm, arch.feedforward.activation, arch.position, design.storage]
    parts += [f"{100 * design.pruning:.0f} % pruned"] if design.pruning else []
    return ", ".join([*parts, design.vocabulary] if design.vocabulary else parts)
