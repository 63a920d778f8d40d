"""What every mixer says of itself."""

from abc import abstractmethod
from typing import Any, ClassVar

from codenas.arch.part import PartSpec, Position

FLOAT32_BYTES = 4


class MixerBase(PartSpec):
    """What every mixer says of itself. FLOPs are those of matrix products and convolutions as the module does them, two per
    multiply-add; work per element (norms, gates, decays, rank-one updates) is left out, as `FlopCounterMode` does.

    Attributes:
        label: the name of the family in tables and pictures.
        aliases: other names of the family in architectures of the old format, in lower case without dashes.
        constraints: what `check_width` and validation refuse, in words.
        kind: the name of the family in files; a subclass has it as a literal. Its module in `codenas.model.mixers` has that name.
    """

    label: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    constraints: ClassVar[tuple[str, ...]] = ()

    kind: str

    @classmethod
    def family(cls) -> str:
        """The `kind` of all its instances."""
        return str(cls.model_fields["kind"].default)

    @classmethod
    def from_legacy(cls, n_heads: Any, n_kv_heads: Any, window: Any) -> dict[str, Any]:
        """The fields, unchecked, of a mixer of this family that the old format describes; most have no use for these three."""
        return {}

    @abstractmethod
    def summary(self) -> str:
        """The label and the fields that tell mixers of the family apart, in a few words: a cell of a table."""

    @abstractmethod
    def check_width(self, d_model: int, position: Position) -> None:
        """Raise `ValueError` where the heads do not fit the width."""

    @abstractmethod
    def mixing_flops(self, d_model: int, tokens: int) -> int:
        """FLOPs in which `tokens` tokens, read at once from the beginning, interact; `weight_flops` come on top."""

    @abstractmethod
    def step_flops(self, d_model: int, cached: int) -> int:
        """FLOPs in which one more token interacts with the `cached` tokens before it; `weight_flops` come on top."""

    @abstractmethod
    def state_elements(self, d_model: int, tokens: int) -> int:
        """Elements of the decoding state of one sequence after `tokens` tokens."""

    @abstractmethod
    def state_bytes(self, d_model: int, tokens: int, element_bytes: int) -> int:
        """Bytes of these elements where activations take `element_bytes` each; recurrent states are never below float32."""

    def timed_operations(self, position: Position) -> tuple[str, ...]:
        """Operations on a decoded token beside reading weights and state, as the features of a latency model name them."""
        return ()
