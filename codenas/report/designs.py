"""Designs in words: the same labels in every table and page."""

from codenas.arch.design import Design


def in_words(design: Design) -> str:
    """A design in one line: `6 x 256, Mamba-2 x2, state 64 + attention 4/2, rmsnorm, swiglu, rope, int8`."""
    return ", ".join(in_two_lines(design).splitlines())


def in_two_lines(design: Design) -> str:
    """Layers, width and mixers in the first line; the other choices, and how it is stored, in the second."""
    arch = design.arch
    mixers = dict.fromkeys(mixer.summary() for mixer in arch.pattern)
    rest: list[str] = [arch.norm, arch.feedforward.activation, arch.position, design.storage]
    rest += [f"{100 * design.pruning:.0f} % pruned"] if design.pruning else []
    rest += [design.vocabulary] if design.vocabulary else []
    return f"{arch.n_layers} x {arch.d_model}, {' + '.join(mixers)}\n{', '.join(rest)}"
