"""Checks for leaks: implausibly low bits per byte, and a direct test that no logit depends on a later token."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from codenas.errors import LeakError

# Small code models reach about 1 bit per byte; far below that, the target leaks or the held-out documents were trained on.
LEAK_BITS_PER_BYTE = 0.4
LEAK_PARAMS = 100_000_000


def implausible(bits_per_byte: float, params: int, compressors: Mapping[str, float]) -> list[str]:
    """Warnings about a score that is implausibly low, or worse than a compressor; empty if it is neither.

    Args:
        compressors: bits per byte of the same bytes by name, as `compressor_bits_per_byte` gives them; "xz" is compared.
    """
    warnings = []
    if bits_per_byte < LEAK_BITS_PER_BYTE and params < LEAK_PARAMS:
        warnings.append(
            f"IMPLAUSIBLE: {bits_per_byte:.3f} bits per byte with {params / 1e6:.1f} M parameters, nothing under "
            f"{LEAK_PARAMS // 1_000_000} M comes below {LEAK_BITS_PER_BYTE}: the model sees the token that it predicts, "
            "or the held-out documents are in its training data"
        )
    if "xz" in compressors and bits_per_byte > compressors["xz"]:
        warnings.append(
            f"WORSE THAN A COMPRESSOR: {bits_per_byte:.3f} bits per byte, xz needs {compressors['xz']:.3f} for the same bytes: train longer"
        )
    return warnings


@torch.no_grad()
def check_causal(
    logits_of: Callable[[Tensor], Tensor], vocab_size: int, length: int, seed: int = 0, changes: int = 8, tolerance: float = 1e-4
) -> None:
    """Change single tokens and check that no earlier logit changes.

    Args:
        logits_of: tokens [1, length] -> logits [1, length, vocab_size], in evaluation mode.
        changes: positions that are changed, one at a time, spread evenly from the second token to the last.
        tolerance: largest allowed change, relative to the largest logit.

    Raises:
        LeakError: a logit changed, is not finite, or differs between two equal calls (active dropout).
    """
    tokens = torch.randint(vocab_size, (1, length), generator=torch.Generator().manual_seed(seed))
    expected = logits_of(tokens)
    allowed = tolerance * (1 + float(expected.abs().max()))
    _require_unchanged(logits_of(tokens), expected, allowed, "two calls with the same tokens differ: is the model in evaluation mode?")
    for position in sorted({round(p) for p in torch.linspace(1, length - 1, changes).tolist()}):
        changed = tokens.clone()
        changed[0, position] = (changed[0, position] + 1) % vocab_size
        message = f"token {position} of {length} changes the logits before it: the model sees what it must predict"
        _require_unchanged(logits_of(changed)[:, :position], expected[:, :position], allowed, message)


def _require_unchanged(found: Tensor, expected: Tensor, allowed: float, message: str) -> None:
    change = float((found - expected).abs().max())
    if not change <= allowed:  # written so that NaN fails
        raise LeakError(f"{message} (changed by {change:.3g}, allowed {allowed:.3g})")
