"""What an architecture costs, in closed form. A test holds every figure equal to the real model."""

from codenas.arch.spec import ArchSpec

BYTES_PER_STORED_WEIGHT = 2  # checkpoints store weights as float16
HEADER_BYTES_PER_LAYER = 3_000  # at most: the names, shapes and places of some twenty tensors


def norm_parameters(arch: ArchSpec) -> int:
    """Parameters of one normalisation: a gain; LayerNorm here has no bias, as in all recent decoders."""
    return arch.d_model


def embedding_parameters(arch: ArchSpec, vocab_size: int) -> int:
    """Token embedding, output head where it is not tied, and learned positions."""
    tables = 1 if arch.tie_embeddings else 2
    rank = arch.embedding_rank
    table = vocab_size * arch.d_model if rank is None else (vocab_size + arch.d_model) * rank
    positions = arch.context_len * arch.d_model if arch.position == "absolute" else 0
    return tables * table + positions


def parameters(arch: ArchSpec, vocab_size: int) -> int:
    """Parameters of the whole model."""
    per_layer_rest = 2 * norm_parameters(arch) + arch.feedforward.parameters(arch.d_model)
    layers = sum(mixer.parameters(arch.d_model) + per_layer_rest for mixer in arch.layers())
    return embedding_parameters(arch, vocab_size) + layers + norm_parameters(arch)


def weight_bytes(arch: ArchSpec, vocab_size: int) -> int:
    """Bytes of the weights as stored; the file adds a header of some kilobytes, so this is its lower bound."""
    return BYTES_PER_STORED_WEIGHT * parameters(arch, vocab_size)


def weight_bytes_bound(arch: ArchSpec, vocab_size: int) -> int:
    """What the file of the weights holds at most, its header included."""
    return weight_bytes(arch, vocab_size) + (arch.n_layers + 1) * HEADER_BYTES_PER_LAYER


def state_elements(arch: ArchSpec, tokens: int) -> int:
    """Numbers that the decoding state of one sequence holds after `tokens` tokens."""
    return sum(mixer.state_elements(arch.d_model, tokens) for mixer in arch.layers())
