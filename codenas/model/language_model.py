"""The decoder-only language model that an `ArchSpec` describes."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from codenas.arch.spec import ArchSpec
from codenas.model.block import Block
from codenas.model.norms import build_norm
from codenas.model.positions import Positions
from codenas.model.state import DecodingState


class LanguageModel(nn.Module):
    """Tokens in, logits of the next token out.

    The embedding has entries of variance 1/d_model, so that the same table serves as output head; on the way in it is
    multiplied by sqrt(d_model), which gives the residual stream unit variance (as in Gemma).
    """

    def __init__(self, arch: ArchSpec, vocab_size: int) -> None:
        super().__init__()
        self.arch, self.vocab_size = arch, vocab_size
        rank = arch.embedding_rank
        self.embedding = nn.Embedding(vocab_size, rank or arch.d_model)
        self.widen = nn.Linear(rank, arch.d_model, bias=False) if rank else None
        self.positions = nn.Embedding(arch.context_len, arch.d_model) if arch.position == "absolute" else None
        self.blocks = nn.ModuleList(Block(mixer, arch) for mixer in arch.layers())
        self.norm = build_norm(arch.norm, arch.d_model)
        self.narrow = nn.Linear(arch.d_model, rank, bias=False) if rank and not arch.tie_embeddings else None
        self.head = None if arch.tie_embeddings else nn.Linear(rank or arch.d_model, vocab_size, bias=False)
        self.dropout = nn.Dropout(arch.dropout)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.embedding.weight.device

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, tokens, vocab_size] of the token after each of `tokens` [batch, tokens].

        Raises:
            ValueError: more tokens than `context_len`.
        """
        self._check_length(tokens.shape[1])
        positions = Positions(tokens.shape[1], tokens.device)
        x = self.dropout(self._embed(tokens, positions.ids))
        for block in self.blocks:
            x = block(x, positions)
        return self._logits(x)

    def initial_state(self, batch: int) -> DecodingState:
        """The state of `batch` empty sequences, ready for up to `context_len` tokens each."""
        dtype = self.embedding.weight.dtype
        return DecodingState([block.mixer.initial_state(batch, self.device, dtype) for block in self._blocks()], [0] * batch)

    def extend(self, tokens: Tensor, state: DecodingState, wanted: Tensor | None = None) -> Tensor:
        """Append `tokens` [batch, tokens] to the sequences of `state`; logits [batch, tokens, vocab_size] of the tokens after them.

        Args:
            wanted: indices into the flattened `tokens`, [m]: only their logits are computed, [m, vocab_size].

        Raises:
            ValueError: a sequence would exceed `context_len`.
        """
        count = tokens.shape[1]
        self._check_length(max(state.lengths) + count)
        starts = torch.tensor(state.lengths, device=tokens.device)[:, None] if self.positions is not None else 0
        x = self._embed(tokens, starts + torch.arange(count, device=tokens.device)[None])
        for block, layer in zip(self._blocks(), state.layers, strict=True):
            x = block.extend(x, layer, state.lengths)
        state.lengths[:] = [length + count for length in state.lengths]
        return self._logits(x if wanted is None else x.flatten(0, 1)[wanted])

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        if self.widen is not None:
            x = self.widen(x)
        return x if self.positions is None else x + self.positions(positions)

    def _logits(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        if self.narrow is not None:
            x = self.narrow(x)
        elif self.widen is not None:  # tied: the transposed matrix, scaled so that the logits keep unit variance
            x = F.linear(x, self.widen.weight.T) * math.sqrt(self.embedding.embedding_dim / self.arch.d_model)
        return F.linear(x, self.embedding.weight if self.head is None else self.head.weight)

    def _check_length(self, tokens: int) -> None:
        if tokens > self.arch.context_len:
            raise ValueError(f"{tokens} tokens do not fit the context of {self.arch.context_len}")


def build_model(arch: ArchSpec, vocab_size: int, seed: int = 0) -> LanguageModel:
    """A newly initialised model; the same arguments give the same bits.

    Matrices have variance 1/fan_in; the last matrix of each residual branch is zero, so that a deep net starts as the
    identity and every depth learns at the same rates (Zhang et al. 2019, as in muP practice).
    """
    model = uninitialized_model(arch, vocab_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                continue  # gains and biases keep the initial values of their module
            if name.endswith(("mixer.output.weight", "feedforward.down.weight", "head.weight", "positions.weight")):
                parameter.zero_()
            else:
                fan_in = parameter[0].numel()  # of a depthwise convolution, [channels, 1, width], that is its width
                parameter.normal_(0.0, 1 / math.sqrt(fan_in), generator=generator)
    return model


def uninitialized_model(arch: ArchSpec, vocab_size: int) -> LanguageModel:
    """A model with uninitialised matrices, for callers that fill all of them or use only their shapes."""
    with _SkipInit():  # torch would initialise each of them in vain, half of the time of a large model
        return LanguageModel(arch, vocab_size)


class _SkipInit(TorchFunctionMode):
    """Turns the functions of `torch.nn.init`, which torch's own modules call, into no-ops."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        return given["tensor"] if getattr(func, "__module__", None) == nn.init.__name__ else func(*args, **given)


def count_parameters(model: nn.Module) -> int:
    """The number of parameters of `model`; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
