"""The cost of the delta rule in chunks."""

# Decays of exp(-0.61) a token accumulate to exp(-20) in a chunk: their inverse is far inside float32 and bfloat16. A mixer with
# faster decays needs shorter chunks. 32 is also the fastest of 16, 32 and 64 on a CPU.
DELTA_CHUNK = 32


def delta_flops(tokens: int, heads: int, width: int) -> int:
    """FLOPs of the delta rule in chunks: scores of removals and queries, the state's part, what the chunk removes and writes.

    Left out, as `FlopCounterMode` does: the triangular inverse, size^3 / 3 multiply-adds a chunk and head, 2 % at width 64.
    """
    if tokens == 1:
        return 2 * 2 * heads * width * width
    size = min(DELTA_CHUNK, tokens)
    chunks = -(-tokens // size)
    scores = 2 * (2 * size * size * width)  # of removals and of queries, with replacements and keys
    removed = 2 * size * size * width  # of the values, then through the inverse
    outputs = 2 * size * size * width + size * width * width
    state = size * width * width + 2 * size * width * width
    return 2 * chunks * heads * (scores + removed + outputs + state)
