"""The costs of an architecture in closed form. A contract test compares every number with the built model.

FLOPs are two per multiply-add of all matrix products and convolutions, scores of attention and output head included, as the
modules compute them; elementwise work (norms, activations, gates) and the look-up of embeddings is not counted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from codenas.arch.mixers import MixerSpec
from codenas.arch.part import PartSpec, Shapes
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import Storage, file_bytes, layout

BACKWARD_OVER_FORWARD = 2  # every matrix product of the forward pass has two in the backward pass


@dataclass(frozen=True, slots=True)
class Part:
    """A module of the model that has weights or multiplies by them.

    Attributes:
        name: its place in the model, `blocks.3.mixer`.
        shapes: its weights, by their names inside it.
        weight_flops: per token, of the matrix products; a tied head has no weights of its own but multiplies.
        mixer: its mixer, if it is one.
    """

    name: str
    shapes: Shapes
    weight_flops: int = 0
    mixer: MixerSpec | None = None

    def tensors(self) -> Shapes:
        """Its weights by their names in the model."""
        return {f"{self.name}.{name}": shape for name, shape in self.shapes.items()}


def parts(arch: ArchSpec, vocab_size: int) -> Iterator[Part]:
    """All parts, from the embedding to the head."""
    d_model = arch.d_model
    norm: Shapes = {"weight": (d_model,)}  # a gain; the normalisations have no bias
    yield from _inputs(arch, vocab_size)
    for number, mixer in enumerate(arch.layers()):
        yield Part(f"blocks.{number}.mixer_norm", norm)
        yield _part(f"blocks.{number}.mixer", mixer, d_model, mixer)
        yield Part(f"blocks.{number}.feedforward_norm", norm)
        yield _part(f"blocks.{number}.feedforward", arch.feedforward, d_model)
    yield Part("norm", norm)
    yield from _outputs(arch, vocab_size)


def tensors(arch: ArchSpec, vocab_size: int) -> Shapes:
    """The shape of every weight, by its name in the model."""
    return {name: shape for part in parts(arch, vocab_size) for name, shape in part.tensors().items()}


def parameters(arch: ArchSpec, vocab_size: int) -> int:
    """Parameters of the whole model."""
    norms = (2 * arch.n_layers + 1) * arch.d_model
    ends = (*_inputs(arch, vocab_size), *_outputs(arch, vocab_size))
    return body_parameters(arch) + norms + sum(_elements(part.shapes) for part in ends)


def body_parameters(arch: ArchSpec) -> int:
    """Parameters of all mixers and feed-forward networks: without embedding, head and norms."""
    return sum(mixer.parameters(arch.d_model) + arch.feedforward.parameters(arch.d_model) for mixer in arch.layers())


def stored_bytes(arch: ArchSpec, vocab_size: int, storage: Storage = "float16") -> int:
    """Bytes of the file of the weights, its header included."""
    return file_bytes(layout(tensors(arch, vocab_size), storage))


def forward_flops(arch: ArchSpec, vocab_size: int, tokens: int) -> int:
    """FLOPs of a sequence of `tokens` tokens read at once, two or more; for a single one see `decoding_flops`."""
    return sum(part_forward_flops(part, arch, tokens) for part in parts(arch, vocab_size))


def training_flops_per_token(arch: ArchSpec, vocab_size: int) -> float:
    """FLOPs per token of a training step over windows of the context's length: forward once, backward twice that."""
    return (1 + BACKWARD_OVER_FORWARD) * forward_flops(arch, vocab_size, arch.context_len) / arch.context_len


def decoding_flops(arch: ArchSpec, vocab_size: int, cached: int) -> int:
    """FLOPs of one more token of one sequence after `cached` tokens."""
    return sum(part_decoding_flops(part, arch, cached) for part in parts(arch, vocab_size))


def state_elements(arch: ArchSpec, tokens: int) -> int:
    """Elements of the decoding state of one sequence after `tokens` tokens."""
    return sum(mixer.state_elements(arch.d_model, tokens) for mixer in arch.layers())


def state_bytes(arch: ArchSpec, tokens: int, element_bytes: int = 4) -> int:
    """Bytes of the decoding state of one sequence after `tokens` tokens, with activations of `element_bytes` each.

    A model allocates the whole context at once: `state_bytes(arch, arch.context_len)`.
    """
    return sum(mixer.state_bytes(arch.d_model, tokens, element_bytes) for mixer in arch.layers())


def part_forward_flops(part: Part, arch: ArchSpec, tokens: int) -> int:
    """The contribution of `part` to `forward_flops`."""
    mixing = 0 if part.mixer is None else part.mixer.mixing_flops(arch.d_model, tokens)
    return tokens * part.weight_flops + mixing


def part_decoding_flops(part: Part, arch: ArchSpec, cached: int) -> int:
    """The contribution of `part` to `decoding_flops`."""
    mixing = 0 if part.mixer is None else part.mixer.step_flops(arch.d_model, cached)
    return part.weight_flops + mixing


def _part(name: str, spec: PartSpec, d_model: int, mixer: MixerSpec | None = None) -> Part:
    return Part(name, spec.tensors(d_model), spec.weight_flops(d_model), mixer)


def _inputs(arch: ArchSpec, vocab_size: int) -> Iterator[Part]:
    """The embedding, its up-projection if it is factorised, and learned positions."""
    rank = arch.embedding_rank
    yield Part("embedding", {"weight": (vocab_size, rank or arch.d_model)})
    if rank:
        yield Part("widen", {"weight": (arch.d_model, rank)}, 2 * arch.d_model * rank)
    if arch.position == "absolute":
        yield Part("positions", {"weight": (arch.context_len, arch.d_model)})


def _outputs(arch: ArchSpec, vocab_size: int) -> Iterator[Part]:
    """The head, and the down-projection if the embedding is factorised; tied ones use the weights of the inputs."""
    rank, own = arch.embedding_rank, not arch.tie_embeddings
    if rank:
        yield Part("narrow", {"weight": (rank, arch.d_model)} if own else {}, 2 * arch.d_model * rank)
    width = rank or arch.d_model
    yield Part("head", {"weight": (vocab_size, width)} if own else {}, 2 * vocab_size * width)


def _elements(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
