"""States of prefixes, found by the chained hash of their blocks: what one request has computed, no other computes again."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from codenas.decode.backend import StateBlock

_DIGEST_BYTES = 16  # a cryptographic hash: nobody can find a prompt whose blocks are taken for another's


class PrefixCache:
    """Saved blocks by the digest of all tokens up to their end; those used least recently go first.

    Blocks of one prefix may differ in length. They begin and end at multiples of `block_tokens`, and a prefix is found if a chain
    of blocks leads to it from position 0.
    """

    def __init__(self, max_bytes: int, block_tokens: int) -> None:
        self.max_bytes, self.block_tokens, self.nbytes = max_bytes, block_tokens, 0
        self._blocks: OrderedDict[bytes, StateBlock] = OrderedDict()

    def extend_digests(self, digests: list[bytes], tokens: Sequence[int]) -> None:
        """Append to `digests`, those of the first blocks of `tokens`, what it lacks: one for each complete block."""
        size, known = self.block_tokens, len(digests)
        count = len(tokens) // size
        if known == count:
            return
        data = np.array(tokens[known * size : count * size], dtype=np.int32).tobytes()
        for start in range(0, len(data), 4 * size):
            before = digests[-1] if digests else b""
            digests.append(hashlib.blake2b(before + data[start : start + 4 * size], digest_size=_DIGEST_BYTES).digest())

    def longest(self, digests: Sequence[bytes]) -> list[StateBlock]:
        """The blocks of the longest prefix that is here, from position 0 on; they now count as just used."""
        reached, end = [True], 0
        for index, digest in enumerate(digests):
            block = self._blocks.get(digest)
            reached.append(block is not None and reached[block.start // self.block_tokens])
            if reached[-1]:
                end = index + 1
        chain: list[StateBlock] = []
        while end:
            block = self._blocks[digests[end - 1]]
            self._blocks.move_to_end(digests[end - 1])  # the last first: a chain is shortened from its end
            chain.append(block)
            end = block.start // self.block_tokens
        return chain[::-1]

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._blocks

    def discard(self, digests: Sequence[bytes]) -> None:
        """Forget the blocks of these digests."""
        for digest in digests:
            block = self._blocks.pop(digest, None)
            self.nbytes -= block.nbytes if block is not None else 0

    def add(self, digest: bytes, block: StateBlock) -> None:
        """Keep `block`, whose last token completes the prefix of `digest`."""
        if block.nbytes > self.max_bytes or digest in self._blocks:
            return
        self._blocks[digest] = block
        self.nbytes += block.nbytes
        while self.nbytes > self.max_bytes:
            _, oldest = self._blocks.popitem(last=False)
            self.nbytes -= oldest.nbytes
