"""One seed in, many independent streams out: every stream is named, so that adding one moves no other."""

import hashlib
import random


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` below `seed`; stable over processes and versions of Python."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> random.Random:
    """A generator of its own for the stream `names` below `seed`."""
    return random.Random(derive(seed, *names))
