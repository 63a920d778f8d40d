"""What the decoding engine may use."""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class EngineSettings:
    """What the engine may use.

    Attributes:
        step_tokens: most tokens of a forward pass, prompts included; the backend's limit if that is less.
        state_bytes: of the states of all sequences that are decoded; None for as much as fits the slots.
        cache_bytes: of the prefix cache; 0 switches it off.
        block_tokens: a prefix is shared in multiples of this.
        snapshot_tokens: while it generates, a sequence that cannot be truncated is saved so often.
        max_draft: most tokens drafted for one sequence in a forward pass; 0 switches drafting off.
    """

    step_tokens: int = 512
    state_bytes: int | None = None
    cache_bytes: int = 256 * 2**20
    block_tokens: int = 32
    snapshot_tokens: int = 128
    max_draft: int = 8
