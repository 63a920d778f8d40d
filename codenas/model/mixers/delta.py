"""The generalised delta rule: a matrix state that decays per channel, and at every token removes the value of one key and writes another.

With the vectors of one head as columns, the state H [key width, value width] follows

    H_t = (diag(w_t) - b_t a_t') H_(t-1) + k_t v_t'        o_t = H_t' q_t

where a (`removal`) is the key whose value is removed and b (`replacement`) the direction in which that happens (Peng et al.
2025, RWKV-7; with w = 1 and b a multiple of a it is DeltaNet). `step` is this line; `scan` gives the same in chunks, by the
triangular form of Yang et al. (2024).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from codenas.arch.mixers.delta import DELTA_CHUNK

CHUNK = DELTA_CHUNK


@dataclass(slots=True)
class DeltaInputs:
    """What some tokens do to the state, each [batch, tokens, heads, width]; `log_decay` is float32 at least."""

    query: Tensor
    log_decay: Tensor
    removal: Tensor
    replacement: Tensor
    key: Tensor
    value: Tensor


def step(inputs: DeltaInputs, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One token: its output [batch, 1, heads, width] and the new state, from the state [batch, heads, width, width]."""
    query, removal, value = (x.transpose(1, 2).to(memory.dtype) for x in (inputs.query, inputs.removal, inputs.value))
    decay, replacement, key = (x.permute(0, 2, 3, 1).to(memory.dtype) for x in (inputs.log_decay.exp(), inputs.replacement, inputs.key))
    memory = decay * memory - replacement * (removal @ memory) + key * value
    return (query @ memory).transpose(1, 2).to(inputs.value.dtype), memory


def scan(inputs: DeltaInputs, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Any number of tokens: their outputs [batch, tokens, heads, width] and the final state, from the initial one."""
    tokens = inputs.query.shape[1]
    size = min(CHUNK, tokens)
    # One precision for all vectors: on a GPU, autocast gives what was summed or normalised in float32, and the gradient mixes none.
    vectors = (inputs.query, inputs.removal, inputs.replacement, inputs.key, inputs.value)
    query, removal, replacement, key, value = (x.to(inputs.value.dtype) for x in vectors)
    parts = [query, inputs.log_decay, removal, replacement, key, value]
    if missing := -tokens % size:  # zeros at the end do not change the state
        parts = [F.pad(x, (0, 0, 0, 0, 0, missing)) for x in parts]
    outputs, memory = _Scan.apply(*(x.unflatten(1, (-1, size)) for x in parts), memory)  # type: ignore[no-untyped-call]
    return outputs.flatten(1, 2)[:, :tokens], memory


class _Scan(torch.autograd.Function):
    """`scan` of whole chunks, with its gradient written out: autograd's copies, sums and signs cost more than the products.

    In a chunk, removals and queries read (rows of R), replacements and keys write (rows of W), all in units in which the state H
    does not decay inside the chunk. With the scores S = R W' of every read with the writes before it, `a` and `q` for the rows of
    removals and queries, `b` and `k` for the columns of replacements and keys, what is removed, U, and the outputs O are

        U = M (R_a H + S_ak V)    O = R_q H + S_q [U; V]    H_next = decay (H + W' [U; V])    M = -(I + S_ab)^-1

    and with Z for the gradient of what M multiplies, and D = [Z; dO], the backward pass is as short:

        G = decay dH_next    Z = M' (S_qb' dO + W_b G)    dH = G + R' D
        dS = D [U; V]'    dR = D H' + dS W    dW = [U; V] G' + dS' R    dV = S_k' D + W_k G
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """From the fields of `DeltaInputs`, each [batch, chunks, size, heads, width], and the state."""
        query, log_decay, removal, replacement, key, value, memory = tensors
        (batch, _, size, heads, _), dtype = query.shape, query.dtype
        fades = F.pad(_by_head(log_decay), (0, 0, 1, 0)).cumsum_(2).exp_()  # from the beginning of the chunk on, [size + 1, width]
        around = fades.to(dtype).unfold(2, size, 1).mT  # [2, size, width]: before every token, and after it
        undo, decay = fades[:, :, 1:].reciprocal().to(dtype)[:, :, None], fades[:, :, -1:].mT
        reads, writes, values = _by_head(removal, query), _by_head(replacement, key), _by_head(value)
        reads.unflatten(2, (2, size)).mul_(around)
        writes.unflatten(2, (2, size)).mul_(undo)
        scores = (reads @ writes.mT).mul_(_past(size, reads))
        unlearn = _unlearn(scores[:, :, :size, :size])
        memories, written, memory = _walk(reads, writes, scores, unlearn, values, decay, memory.flatten(0, 1))
        outputs = (reads[:, :, size:] @ memories[:-1]).add_(scores[:, :, size:] @ written)
        ctx.save_for_backward(around, undo, decay, reads, writes, scores, unlearn, memories, written)
        return _by_token(outputs, batch), memory.unflatten(0, (batch, heads))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_memory: Tensor) -> tuple[Tensor, ...]:
        around, undo, decay, reads, writes, scores, unlearn, memories, written = ctx.saved_tensors
        batch, _, size, heads, _ = d_outputs.shape
        read, behind, d_memory = _walk_back(reads, writes, scores, unlearn, decay, _by_head(d_outputs), d_memory.flatten(0, 1))
        d_scores = (read @ written.mT).mul_(_past(size, reads))
        d_reads = (read @ memories[:-1].mT).add_(d_scores @ writes)
        d_writes = (written @ behind.mT).add_(d_scores.mT @ reads)
        d_values = (scores[..., size:].mT @ read).add_(writes[:, :, size:] @ behind)
        # What scales a product has, for its logarithm, the product times the product's gradient. Keys and replacements are divided.
        by_removal, by_query = (d_reads * reads).to(decay.dtype).split(size, 2)
        by_replacement, by_key = (d_writes * writes).split(size, 2)
        d_fades = by_query.sub_(by_replacement).sub_(by_key)
        d_fades[:, :, :-1] += by_removal[:, :, 1:]
        d_fades[:, :, -1] += ((behind * memories[1:]).sum(-1, True, dtype=decay.dtype) / decay)[..., 0]
        d_log_decay = d_fades.flip(2).cumsum_(2).flip(2)  # a decay is in every later product
        d_removal, d_query = d_reads.unflatten(2, (2, size)).mul_(around).unbind(2)
        d_replacement, d_key = d_writes.unflatten(2, (2, size)).mul_(undo).unbind(2)
        gradients = (d_query, d_log_decay, d_removal, d_replacement, d_key, d_values)
        return *(_by_token(x, batch) for x in gradients), d_memory.unflatten(0, (batch, heads))


def _walk(
    reads: Tensor, writes: Tensor, scores: Tensor, unlearn: Tensor, values: Tensor, decay: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From chunk to chunk, the only part that is not done for all chunks at once.

    Returns:
        The state before every chunk and after the last one, [chunks + 1, batch * heads, width, width], as precise as the values;
        what every chunk writes, [chunks, batch * heads, 2 * size, width]; the final state itself.
    """
    size = values.shape[2]
    memories, all_written = [memory.to(values.dtype)], []
    parts = (scores[:, :, :size, size:] @ values, reads[:, :, :size], writes.mT, unlearn, values, decay)
    for of_values, removals, writing, inverse, value, fade in zip(*parts, strict=True):
        written = torch.cat((inverse @ torch.baddbmm(of_values, removals, memories[-1]), value), 1)
        memory = (memory + writing @ written).mul_(fade)
        all_written.append(written)
        memories.append(memory.to(values.dtype))
    return torch.stack(memories), torch.stack(all_written), memory


def _walk_back(
    reads: Tensor, writes: Tensor, scores: Tensor, unlearn: Tensor, decay: Tensor, d_outputs: Tensor, d_memory: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`_walk` from the last chunk to the first: D and G of `_Scan`, by chunks, and the gradient of the initial state."""
    size = d_outputs.shape[2]
    all_read, all_behind = [], []
    parts = (scores[:, :, size:, :size].mT @ d_outputs, reads.mT, writes[:, :, :size], unlearn.mT, d_outputs, decay)
    for of_outputs, reading, replacements, inverse, d_output, fade in zip(*(reversed(x.unbind()) for x in parts), strict=True):
        d_memory = d_memory * fade
        behind = d_memory.to(d_output.dtype)
        read = torch.cat((inverse @ torch.baddbmm(of_outputs, replacements, behind), d_output), 1)
        d_memory = d_memory + reading @ read
        all_read.append(read)
        all_behind.append(behind)
    return torch.stack(all_read[::-1]), torch.stack(all_behind[::-1]), d_memory


def _unlearn(scores: Tensor) -> Tensor:
    """M of `_Scan`, from the scores of removals with replacements [..., size, size], zero from the diagonal on."""
    # Solving for the identity and multiplying is many times faster on a CPU than solving for the right-hand sides; and from the
    # right, which for an inverse is the same, nearly twice as fast as from the left.
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    negative = -torch.eye(scores.shape[-1], device=exact.device, dtype=exact.dtype)
    return torch.linalg.solve_triangular(exact, negative, upper=False, left=False, unitriangular=True).to(scores.dtype)


def _past(size: int, like: Tensor) -> Tensor:
    """What reads may see of writes, [2 * size, 2 * size]: removals the tokens before, queries their own too."""
    past = torch.ones(size, size, device=like.device, dtype=like.dtype).tril()
    return torch.cat((past.tril(-1), past)).repeat(1, 2)


def _by_head(*parts: Tensor) -> Tensor:
    """Parts [batch, chunks, size, heads, width], one after the other in every chunk: [chunks, batch * heads, sizes, width]."""
    return torch.cat([x.permute(1, 0, 3, 2, 4) for x in parts], -2).flatten(1, 2)


def _by_token(x: Tensor, batch: int) -> Tensor:
    """One part back, [batch, chunks, size, heads, width]."""
    return x.unflatten(1, (batch, -1)).permute(1, 0, 3, 2, 4).contiguous()
