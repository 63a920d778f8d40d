"""The slots of a backend: who has which, and how the states in them are shared, saved and taken back."""

from codenas.decode.backend import Backend
from codenas.decode.prefix_cache import PrefixCache
from codenas.decode.running import NO_SLOT, Running
from codenas.decode.settings import EngineSettings


class Slots:
    """The states of running sequences, and the cache of prefixes.

    A backend that is not `truncatable` saves only the state at the end of a sequence (a snapshot), so that a prompt is computed in
    parts that end where it is saved. Otherwise any block of a sequence can be saved later.
    """

    def __init__(self, backend: Backend, settings: EngineSettings) -> None:
        self._backend, self._settings = backend, settings
        self._free = list(range(backend.slots - 1, -1, -1))
        self._shares = settings.cache_bytes > 0
        self.cache = PrefixCache(settings.cache_bytes, settings.block_tokens)

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return not self._free

    def fit(self, sequences: list[Running]) -> bool:
        """Whether the states of `sequences` fit the memory, with a token more for each. One alone always does."""
        limit = self._settings.state_bytes
        if limit is None or len(sequences) <= 1:
            return True
        return sum(self._backend.state_bytes(len(each.tokens) + 1) for each in sequences) <= limit

    def occupy(self, running: Running) -> None:
        """Give `running` a slot; it is empty."""
        running.slot = self._free.pop()

    def release(self, running: Running, share: bool) -> None:
        """Take the slot from `running`; what is complete in it goes to the cache if `share`."""
        if share and self._backend.truncatable:
            self.save_blocks(running)
        self._backend.reset(running.slot)
        self._free.append(running.slot)
        self._free.sort(reverse=True)  # the lowest first: the slots in use stay together
        running.slot, running.length, running.saved = NO_SLOT, 0, 0

    def restore_prefix(self, running: Running) -> None:
        """Restore the longest cached prefix. The last token is always computed: somebody reads its logits."""
        if not self._shares or running.unscored or running.alone:
            return
        self.cache.extend_digests(running.digests, running.tokens)
        blocks = self.cache.longest(running.digests[: (len(running.tokens) - 1) // self._settings.block_tokens])
        if blocks:
            self._backend.restore(running.slot, blocks)
            running.length = running.saved = blocks[-1].stop

    def copy(self, source: Running, target: Running) -> None:
        """`target` takes over the state of `source`, which has the same tokens."""
        self._backend.copy(source.slot, target.slot)
        target.length, target.saved = source.length, source.saved

    def mark(self, running: Running) -> None:
        """Tokens that `running` computes now may be taken back."""
        if not self._backend.truncatable:
            self._backend.mark(running.slot)

    def take_back(self, running: Running, drafted: int, accepted: int) -> None:
        """`running` has computed its last token and `drafted` tokens after it, of which the first `accepted` belong to it."""
        if accepted == drafted:
            running.length += drafted
        elif self._backend.truncatable:
            running.length += accepted
            self._backend.truncate(running.slot, running.length)
        else:
            running.length -= 1  # the mark is before the last token
            self._backend.rewind(running.slot)

    def next_stop(self, running: Running) -> int:
        """Where `running` is saved next, at the end of its tokens at the latest.

        A snapshot is taken half-way to the end, and so ever closer to it: the next request most likely differs near the end, and
        few large forward passes are faster than many small ones.
        """
        size, end = self._settings.block_tokens, len(running.tokens)
        if self._backend.truncatable or not self._shares or running.alone or running.pending <= size:
            return end
        half = (running.length + end) // 2 // size * size
        return half if half > running.length else min(end, (running.length // size + 1) * size)

    def save_blocks(self, running: Running) -> None:
        """Put the complete blocks of `running` into the cache, if it can be truncated."""
        if not self._shares or not self._backend.truncatable:
            return
        size = self._settings.block_tokens
        self.cache.extend_digests(running.digests, running.tokens)
        for index in range(running.saved // size, running.length // size):
            if running.digests[index] not in self.cache:
                block = self._backend.save(running.slot, index * size, (index + 1) * size)
                self.cache.add(running.digests[index], block)
        running.saved = running.length // size * size

    def save_snapshot(self, running: Running) -> None:
        """Put the state of `running`, if it cannot be truncated, into the cache where it is at the end of a block."""
        size = self._settings.block_tokens
        if not self._shares or self._backend.truncatable or running.length % size:
            return
        in_prompt = running.length <= len(running.sequence.prompt)
        if not in_prompt and running.length - running.saved < self._settings.snapshot_tokens:
            return
        self.cache.extend_digests(running.digests, running.tokens)
        digest = running.digests[running.length // size - 1]
        if digest not in self.cache:
            self.cache.add(digest, self._backend.save(running.slot, running.saved, running.length))
        running.saved = running.length
