"""The generalised delta rule: a matrix that forgets per channel, and at every token unlearns one key and learns another.

With the vectors of one head as columns, the memory H [key width, value width] follows

    H_t = (diag(w_t) - b_t a_t') H_(t-1) + k_t v_t'        o_t = H_t' q_t

where a (`removal`) is the key whose value is unlearnt and b (`replacement`) the direction in which that happens (Peng et al.
2025, RWKV-7; with w = 1 and b a multiple of a it is DeltaNet). `step` is this line; `scan` gives the same in chunks, by the
triangular form of Yang et al. (2024).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from codenas.arch.chunks import DELTA_CHUNK

CHUNK = DELTA_CHUNK


@dataclass(slots=True)
class DeltaInputs:
    """What some tokens do to the memory, each [batch, tokens, heads, width]; `log_decay` is float32 at least."""

    query: Tensor
    log_decay: Tensor
    removal: Tensor
    replacement: Tensor
    key: Tensor
    value: Tensor


@dataclass(slots=True)
class _Chunks:
    """The same by chunks, [chunks, batch * heads, ...], in units in which the memory does not decay inside a chunk."""

    removals: Tensor  # [size, width], for the memory before the token
    queries: Tensor  # [size, width], for the memory after it
    writes: Tensor  # [2 * size, width], replacements and keys
    values: Tensor  # [size, width]
    decay: Tensor  # [width, 1], of the whole chunk


def step(inputs: DeltaInputs, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One token: its output [batch, 1, heads, width] and the new memory, from the memory [batch, heads, width, width]."""
    query, removal, value = (x.transpose(1, 2).to(memory.dtype) for x in (inputs.query, inputs.removal, inputs.value))
    decay, replacement, key = (x.permute(0, 2, 3, 1).to(memory.dtype) for x in (inputs.log_decay.exp(), inputs.replacement, inputs.key))
    memory = decay * memory - replacement * (removal @ memory) + key * value
    return (query @ memory).transpose(1, 2).to(inputs.value.dtype), memory


def scan(inputs: DeltaInputs, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Any number of tokens: their outputs [batch, tokens, heads, width] and the last memory, from the first one."""
    batch, tokens, heads, _ = inputs.query.shape
    chunks = _cut(inputs, min(CHUNK, tokens))
    memories, written, memory = _walk(chunks, memory.flatten(0, 1))
    scores = _past(chunks.queries @ chunks.writes.mT, 0)
    outputs = chunks.queries @ memories + scores @ written
    outputs = outputs.unflatten(1, (batch, heads)).permute(1, 0, 3, 2, 4).flatten(1, 2)
    return outputs[:, :tokens], memory.unflatten(0, (batch, heads))


def _cut(inputs: DeltaInputs, size: int) -> _Chunks:
    """Cut into chunks of `size`, with the decays that gather in a chunk multiplied into what reads and writes."""
    missing = -inputs.query.shape[1] % size  # zeros at the end change no memory
    query, log_decay, removal, replacement, key, value = (
        F.pad(x, (0, 0, 0, 0, 0, missing)).unflatten(1, (-1, size))
        for x in (inputs.query, inputs.log_decay, inputs.removal, inputs.replacement, inputs.key, inputs.value)
    )
    gathered = log_decay.cumsum(2)
    before, after, undo = (x.exp().to(query.dtype) for x in (gathered - log_decay, gathered, -gathered))
    return _Chunks(
        removals=_by_head(removal * before),
        queries=_by_head(query * after),
        writes=_by_head(replacement * undo, key * undo),
        values=_by_head(value),
        decay=_by_head(log_decay.sum(2, keepdim=True).exp()).mT,
    )


def _walk(chunks: _Chunks, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From chunk to chunk, the only part that is not done for all chunks at once.

    Returns:
        The memory before every chunk, [chunks, batch * heads, width, width]; what every chunk writes into it beside its
        `writes`, [chunks, batch * heads, 2 * size, width]; the memory after the last chunk.
    """
    memories, written = [], []
    parts = zip(*(x.unbind() for x in (*_unlearn(chunks), chunks.writes, chunks.values, chunks.decay)), strict=True)
    for of_memory, of_values, writes, values, decay in parts:
        memories.append(memory.to(values.dtype))
        written.append(torch.cat((torch.baddbmm(of_values, of_memory, memories[-1]), values), -2))
        memory = decay * (memory + writes.mT @ written[-1])
    return torch.stack(memories), torch.stack(written), memory


def _unlearn(chunks: _Chunks) -> tuple[Tensor, Tensor]:
    """What the tokens of a chunk unlearn, as a function `X H + Y` of the memory H before the chunk.

    It depends on what the earlier tokens of the chunk unlearn and learn: (I + A) U = -(R H + B V), where A and B are the
    scores of the removals R with the replacements and the keys before them.

    Returns:
        X [chunks, batch * heads, size, width] and Y, of the same shape.
    """
    size, width = chunks.values.shape[-2:]
    with_replacements, with_keys = _past(chunks.removals @ chunks.writes.mT, -1).split(size, -1)
    # Solving for the identity and multiplying is many times faster on a CPU than solving for the right-hand sides.
    exact = torch.promote_types(with_replacements.dtype, torch.float32)
    identity = torch.eye(size, device=with_keys.device, dtype=exact)
    inverse = torch.linalg.solve_triangular(with_replacements.to(exact), identity, upper=False, unitriangular=True)
    of_memory, of_values = (inverse.to(with_keys.dtype) @ torch.cat((chunks.removals, with_keys @ chunks.values), -1)).split(width, -1)
    return -of_memory, -of_values


def _past(scores: Tensor, diagonal: int) -> Tensor:
    """Zero the scores [..., size, 2 * size] of tokens with later ones; with themselves too where `diagonal` is -1."""
    past = torch.ones(scores.shape[-2], scores.shape[-2], device=scores.device, dtype=scores.dtype).tril(diagonal)
    return scores * past.repeat(1, 2)


def _by_head(*parts: Tensor) -> Tensor:
    """Parts [batch, chunks, size, heads, width], one after the other in every chunk: [chunks, batch * heads, sizes, width]."""
    return torch.cat([x.permute(1, 0, 3, 2, 4) for x in parts], -2).flatten(1, 2)
