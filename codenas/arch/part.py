"""What every specification is, and what every part of a layer says of itself."""

import hashlib
import json
import math
from abc import abstractmethod
from typing import Literal

from pydantic import BaseModel, ConfigDict

Position = Literal["rope", "alibi", "absolute", "none"]
Shapes = dict[str, tuple[int, ...]]  # of the tensors of a module, by their names inside it


class Spec(BaseModel):
    """Base of everything that describes an architecture: immutable, no unknown keys, hashable by value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name what this describes; equal for equal values."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class PartSpec(Spec):
    """A part of a layer that has weights. What it costs follows from their shapes."""

    @abstractmethod
    def tensors(self, d_model: int) -> Shapes:
        """The shape of every weight; the modules of the model have exactly these. Two dimensions are a matrix, [out, in]."""

    def parameters(self, d_model: int) -> int:
        """Parameters: the elements of all weights."""
        return sum(math.prod(shape) for shape in self.tensors(d_model).values())

    def weight_flops(self, d_model: int) -> int:
        """FLOPs per token of the products with the matrices: two per multiply-add."""
        return 2 * sum(math.prod(shape) for shape in self.tensors(d_model).values() if len(shape) == 2)
