"""The cost of a chunked scan over recurrent states: between attention's square and one token at a time."""

# Weights within chunks cost tokens * SCAN_CHUNK, states between them tokens / SCAN_CHUNK * width^2: equal at width 64.
SCAN_CHUNK = 64


def scan_flops(tokens: int, heads: int, groups: int, key_width: int, value_width: int) -> int:
    """FLOPs of a scan in chunks: inside chunks, tokens write and read states, and states decay from chunk to chunk."""
    size = min(SCAN_CHUNK, tokens)
    chunks = -(-tokens // size)
    inside = size * size * (groups * key_width + heads * value_width)
    through_states = 2 * size * heads * key_width * value_width
    between = chunks * heads * key_width * value_width
    return 2 * chunks * (inside + through_states + between)
