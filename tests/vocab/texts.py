"""Texts to draw vocabularies from."""

import random


def code_like(seed: int = 0, count: int = 200) -> list[str]:
    """Texts like code, of many words, some of them not ASCII; some are empty."""
    rng = random.Random(seed)
    syllables = ["re", "turn", "self", "on", "ab", "x", "Inter", "face", "é", "中文", "naï", "🎉"]
    spaces = [" ", "\n    ", " = ", "(", "): ", "_", "\t\t", "\n\n", "it's ", "12"]

    def word() -> str:
        return "".join(rng.choices(syllables, k=rng.randint(1, 4))) + rng.choice(spaces)

    return ["".join(word() for _ in range(rng.randint(0, 60))) for _ in range(count)]
