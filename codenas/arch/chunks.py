"""How many tokens the mixers read at once, and what that costs: between attention's square and one token at a time."""

ATTENTION_BLOCK = 128  # queries; smaller ones cut the products too thin for the cores
LONGEST_IN_BLOCKS = 1024  # tokens; the weights of all blocks are kept for the way back, and grow with the square

# Weights within chunks cost tokens * SCAN_CHUNK, states between them tokens / SCAN_CHUNK * width^2: equal at width 64.
SCAN_CHUNK = 64
# Decays of exp(-0.61) a token gather to exp(-20) in a chunk: their inverse is far inside float32 and bfloat16. A mixer with
# faster decays needs shorter chunks. 32 is also the fastest of 16, 32 and 64 on a CPU.
DELTA_CHUNK = 32


def attention_flops(tokens: int, width: int, window: int) -> int:
    """FLOPs of scores and mix in blocks of queries; of longer sequences, the whole square: there the mask saves no work."""
    if tokens > LONGEST_IN_BLOCKS:
        return 2 * 2 * tokens * tokens * width
    starts = range(0, tokens, ATTENTION_BLOCK)
    blocks = [(start, min(start + ATTENTION_BLOCK, tokens)) for start in starts]
    return sum(2 * 2 * (stop - start) * (stop - first_seen(start, window)) * width for start, stop in blocks)


def first_seen(start: int, window: int) -> int:
    """The first key that a block of queries from `start` on may see."""
    return max(0, start - window + 1)


def scan_flops(tokens: int, heads: int, groups: int, key_width: int, value_width: int) -> int:
    """FLOPs of a scan in chunks: inside chunks, tokens write and read states, and states fade from chunk to chunk."""
    size = min(SCAN_CHUNK, tokens)
    chunks = -(-tokens // size)
    inside = size * size * (groups * key_width + heads * value_width)
    through_states = 2 * size * heads * key_width * value_width
    between = chunks * heads * key_width * value_width
    return 2 * chunks * (inside + through_states + between)


def delta_flops(tokens: int, heads: int, width: int) -> int:
    """FLOPs of the delta rule in chunks: scores of removals and queries, the memory's part, what the chunk unlearns and learns.

    Left out, as `FlopCounterMode` does: the triangular inverse, size^3 / 3 multiply-adds a chunk and head, 2 % at width 64.
    """
    if tokens == 1:
        return 2 * 2 * heads * width * width
    size = min(DELTA_CHUNK, tokens)
    chunks = -(-tokens // size)
    scores = 2 * (2 * size * size * width)  # of removals and of queries, with replacements and keys
    unlearnt = 2 * size * size * width  # of the values, then through the inverse
    outputs = 2 * size * size * width + size * width * width
    memory = size * width * width + 2 * size * width * width
    return 2 * chunks * heads * (scores + unlearnt + outputs + memory)
