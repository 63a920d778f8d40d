"""Forward passes by llama.cpp on the CPU, through its Python bindings, to be timed beside our own."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np

from codenas.decode.backend import ForwardBatch, Logits
from codenas.errors import ConfigError


class LlamaCpp:
    """A GGUF file in llama.cpp: the part of `codenas.decode.backend.Backend` that a measurement needs.

    As fast as it is by itself: memory-mapped weights, flash attention, a float16 cache, one cache stream per sequence.

    Attributes:
        vocab_size: logits per token.
    """

    def __init__(self, path: Path, slots: int, threads: int, context_len: int, max_tokens: int = 512, exact: bool = False) -> None:
        """Load `path` for `slots` sequences of up to `context_len` tokens.

        Args:
            max_tokens: most tokens of one forward pass.
            exact: a float32 cache and no flash attention, which rounds to float16: slower, to compare logits.

        Raises:
            ConfigError: llama-cpp-python is not installed, or llama.cpp refuses the file.
        """
        self._library = lib = _library()
        model_options = lib.llama_model_default_params()
        model_options.n_gpu_layers = 0
        self._model = lib.llama_model_load_from_file(str(path).encode(), model_options)
        if not self._model:
            raise ConfigError(f"llama.cpp {lib.__version__} cannot load {path}")
        options = lib.llama_context_default_params()
        options.n_ctx, options.n_seq_max = context_len * slots, slots
        options.n_batch, options.n_ubatch = max_tokens, max_tokens
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = int(not exact)
        if exact:
            options.type_k = options.type_v = lib.GGML_TYPE_F32
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            raise ConfigError(f"llama.cpp {lib.__version__} cannot decode {path} with {slots} x {context_len} tokens of context")
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(max_tokens, 0, 1)
        arrays = (self._batch.token, self._batch.pos, self._batch.logits)
        self._tokens, self._positions, self._wanted = (np.ctypeslib.as_array(each, (max_tokens,)) for each in arrays)
        np.ctypeslib.as_array(self._batch.n_seq_id, (max_tokens,))[:] = 1
        self._slots = np.full(max_tokens, -1, np.int32)  # as the batch has them now
        self._marked = [0] * slots
        self.vocab_size: int = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))

    def forward(self, batch: ForwardBatch) -> Logits:
        """See `codenas.decode.backend.Backend.forward`."""
        count = len(batch.tokens)
        self._tokens[:count], self._positions[:count], self._wanted[:count] = batch.tokens, batch.positions, 0
        self._wanted[batch.wanted] = 1
        for index in np.flatnonzero(self._slots[:count] != batch.slots).tolist():
            self._batch.seq_id[index][0] = int(batch.slots[index])
        self._slots[:count] = batch.slots
        self._batch.n_tokens = count
        code = self._library.llama_decode(self._context, self._batch)
        if code:
            raise RuntimeError(f"llama_decode returned {code}")
        if not len(batch.wanted):
            self._library.llama_synchronize(self._context)
            return np.empty((0, self.vocab_size), np.float32)
        logits: Logits = np.ctypeslib.as_array(self._library.llama_get_logits(self._context), (len(batch.wanted), self.vocab_size))
        return logits

    def reset(self, slot: int) -> None:
        """Make `slot` an empty sequence."""
        self.truncate(slot, 0)

    def truncate(self, slot: int, length: int) -> None:
        """Forget the tokens of `slot` from position `length` on."""
        self._library.llama_memory_seq_rm(self._memory, slot, length, -1)

    def mark(self, slot: int) -> None:
        """Remember the length of `slot`."""
        self._marked[slot] = self._library.llama_memory_seq_pos_max(self._memory, slot) + 1

    def rewind(self, slot: int) -> None:
        """Make `slot` as long as it was at `mark`."""
        self.truncate(slot, self._marked[slot])

    def __del__(self) -> None:
        if getattr(self, "_batch", None) is not None:
            self._library.llama_batch_free(self._batch)
            self._library.llama_free(self._context)
            self._library.llama_model_free(self._model)


def llama_cpp_version() -> str:
    """The version of the bindings.

    Raises:
        ConfigError: they are not installed.
    """
    return str(_library().__version__)


@functools.cache
def _library() -> Any:
    try:
        import llama_cpp
    except ImportError:
        raise ConfigError("llama.cpp is not installed; install it with `pip install 'codenas[llama-cpp]'`") from None
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    _KEPT.append(silent)  # C holds no reference
    llama_cpp.llama_backend_init()
    return llama_cpp


_KEPT: list[Any] = []
