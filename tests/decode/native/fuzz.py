"""Calls of the native library's C interface with random and hostile arguments: run by test_fuzz.py, with the sanitizers in the library.

    python -m tests.decode.native.fuzz FOLDER TARGET SEED DESIGNS

Arguments that Python never passes (no model, arrays shorter than said) are left out: nobody can check those.
"""

import ctypes
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codenas.arch.cost import tensors as tensor_shapes
from codenas.arch.presets import FULL
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import STORAGES, layout
from codenas.decode.native import library as native_library
from codenas.decode.native.structures import Arch, Options, Tensor, arch_structure, tensor_structures

SPACE = FULL.refined(
    {
        "d_model": (40, 64, 72, 96),
        "n_layers": (1, 2, 3),
        "pattern.attention.window": (None, 3, 16),
        "pattern.mamba2.head_width": (8, 16),
        "pattern.mamba2.state_width": (8, 19),
        "pattern.rwkv7.head_width": (8, 32),
        "embedding_rank": (None, 5, 24),
    }
)
CONTEXT, SLOTS, CALLS = 48, 3, 120
OK, INVALID, NO_MEMORY = 0, 1, 2
HOSTILE = (-(2**31), -7, -1, 0, 1, 5, 2**20, 2**31 - 1)
Ints = NDArray[np.int32]


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def ints(values: list[int]) -> Ints:
    return np.array(values, np.int32)


def random_tensors(arch: ArchSpec, vocab_size: int, rng: random.Random) -> dict[str, NDArray[Any]]:
    """Stored tensors of any storage, or float32 ones."""
    shapes, draw = tensor_shapes(arch, vocab_size), np.random.default_rng(rng.randrange(2**31))
    storage = rng.choice([None, *STORAGES])
    if storage is None:
        return {name: draw.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    types = {"F16": np.float16, "I8": np.int8, "U8": np.uint8}
    kinds = {name: (types[tensor.dtype], tensor.shape) for name, tensor in layout(shapes, storage).items()}
    return {
        name: draw.normal(0, 0.2, shape).astype(kind) if kind is np.float16 else draw.integers(-100, 100, shape).astype(kind)
        for name, (kind, shape) in kinds.items()
    }


class Session:
    """A model and random calls of it."""

    def __init__(self, library: ctypes.CDLL, rng: random.Random) -> None:
        self.library, self.rng = library, rng
        arch = SPACE.sample(rng).stored_arch
        self.arch = ArchSpec.model_validate({**dict(arch), "context_len": CONTEXT})
        self.vocab_size, self.max_tokens = rng.randrange(2, 90), rng.choice((1, 7, 32))
        self.tensors = random_tensors(self.arch, self.vocab_size, rng)
        self.structures = tensor_structures(self.tensors, tensor_shapes(self.arch, self.vocab_size))
        self.blocks: list[tuple[int, int, NDArray[np.uint8]]] = []
        self.codes: list[int] = []

    def create(self, arch: Arch, tensors: "ctypes.Array[Tensor]", count: int, options: Options) -> ctypes.c_void_p | None:
        model = ctypes.c_void_p()
        code = self.library.cn_create(ctypes.byref(arch), tensors, count, ctypes.byref(options), ctypes.byref(model))
        self.check(code)
        return model if code == OK else None

    def check(self, code: int) -> int:
        """Every failure is one of the codes, with a line that says why."""
        assert code in (OK, INVALID, NO_MEMORY), (code, self.library.cn_error())
        assert code == OK or self.library.cn_error()
        self.codes.append(code)
        return code

    def hostile_creates(self) -> None:
        for _ in range(25):
            arch, options = arch_structure(self.arch, self.vocab_size), Options(SLOTS, self.max_tokens, 1)
            tensors = (Tensor * len(self.structures))(*self.structures)
            count, target = len(tensors), self.rng.choice((arch, options, arch.mixers[0], tensors[self.rng.randrange(len(tensors))]))
            names = [field[0] for field in target._fields_ if field[1] in (ctypes.c_int32, ctypes.c_int64)]
            setattr(target, self.rng.choice(names), self.rng.choice(HOSTILE))
            if self.rng.random() < 0.2:
                count = self.rng.randrange(count)
            # A shape may only be believed where the array has it.
            if isinstance(target, Tensor) and target.rows * target.columns > 0:
                continue
            if (model := self.create(arch, tensors, count, options)) is not None:
                self.library.cn_destroy(model)

    def run(self) -> None:
        self.hostile_creates()
        options = Options(SLOTS, self.max_tokens, self.rng.choice((1, 2)))
        model = self.create(arch_structure(self.arch, self.vocab_size), self.structures, len(self.structures), options)
        assert model is not None, self.library.cn_error()
        self.model = model
        actions = (self.forward, self.forward, self.hostile_forward, self.change, self.save, self.restore)
        for _ in range(CALLS):
            action: Callable[[], None] = self.rng.choice(actions)
            action()
        for slot in range(SLOTS):
            assert self.check(self.library.cn_reset(model, slot)) == OK
        self.library.cn_destroy(model)

    def forward(self) -> None:
        """A good ragged batch; whatever came before, it is accepted and its logits are finite."""
        parts, left = [], self.max_tokens
        for slot in self.rng.sample(range(SLOTS), SLOTS):
            length = self.library.cn_length(self.model, slot)
            if (most := min(left, CONTEXT - length)) > 0:
                parts.append((slot, length, self.rng.randint(1, most)))
                left -= parts[-1][2]
        if not parts:
            return
        slots = ints([slot for slot, _, count in parts for _ in range(count)])
        positions = ints([length + i for _, length, count in parts for i in range(count)])
        tokens = ints([self.rng.randrange(self.vocab_size) for _ in slots])
        wanted = ints(sorted(self.rng.sample(range(len(slots)), self.rng.randint(0, len(slots)))))
        assert self.call(tokens, slots, positions, wanted, len(tokens), len(wanted)) == OK, self.library.cn_error()

    def hostile_forward(self) -> None:
        n = self.rng.randint(1, self.max_tokens)
        bounds = (self.vocab_size, SLOTS, CONTEXT, n)
        tokens, slots, positions, wanted = (
            ints([self.rng.choice((*HOSTILE, self.rng.randrange(most))) for _ in range(n)]) for most in bounds
        )
        self.call(tokens, slots, positions, wanted, n, self.rng.randint(0, n))
        self.call(tokens, slots, positions, wanted, self.rng.choice((0, 2**40)), self.rng.choice((0, n, 2**40)))

    def call(self, tokens: Ints, slots: Ints, positions: Ints, wanted: Ints, n: int, m: int) -> int:
        logits = np.zeros((min(m, self.max_tokens), self.vocab_size), np.float32)
        code = self.check(
            self.library.cn_forward(self.model, n, address(tokens), address(slots), address(positions), m, address(wanted), address(logits))
        )
        assert code != OK or np.isfinite(logits).all()
        return code

    def change(self) -> None:
        slot, other = self.rng.randint(-2, SLOTS + 1), self.rng.choice((*HOSTILE, self.rng.randrange(SLOTS)))
        name, arguments = self.rng.choice(
            (("reset", [slot]), ("copy", [slot, other]), ("truncate", [slot, other]), ("mark", [slot]), ("rewind", [slot]))
        )
        self.check(getattr(self.library, f"cn_{name}")(self.model, *arguments))
        self.library.cn_state_bytes(self.model, other)

    def save(self) -> None:
        slot = self.rng.randint(-1, SLOTS)
        length = self.library.cn_length(self.model, slot)
        start, stop = self.rng.choice(((0, length), (self.rng.randint(0, max(0, length)), length), self.rng.choices(HOSTILE, k=2)))
        size = ctypes.c_size_t()
        if self.check(self.library.cn_saved_bytes(self.model, slot, start, stop, ctypes.byref(size))) == OK:
            block = np.zeros(size.value, np.uint8)
            assert self.check(self.library.cn_save(self.model, slot, start, stop, address(block))) == OK
            self.blocks.append((start, stop, block))

    def restore(self) -> None:
        """A block as it was saved, or shorter, or with other bytes, or said to be of other positions; then nothing, in its place."""
        if not self.blocks:
            return
        slot = self.rng.randrange(SLOTS)
        start, stop, block = self.rng.choice(self.blocks)
        damage = self.rng.randrange(4)
        if damage == 1:
            block = block[: self.rng.randint(0, len(block))].copy()
        if damage == 2:
            block = block.copy()
            block[:8] = self.rng.randrange(256)  # where a layer says from which position on it has kept
        if damage == 3:
            start, stop = self.rng.choice((start, *HOSTILE)), self.rng.choice((stop, *HOSTILE))
        self.check(self.library.cn_reset(self.model, slot))
        self.check(self.library.cn_restore(self.model, slot, start, stop, address(block), block.nbytes))
        if damage:  # a state of arbitrary numbers may give arbitrary logits
            self.check(self.library.cn_reset(self.model, slot))


def main(folder: str, target: str, seed: str, designs: str) -> None:
    native_library._path = lambda target: Path(folder) / f"libcodenas-{target}.so"
    codes: list[int] = []
    for number in range(int(designs)):
        session = Session(native_library.load_library(target), random.Random(int(seed) + number))
        session.run()
        codes += session.codes
    sys.stdout.write(f"{len(codes)} calls, {sum(code != OK for code in codes)} refused" + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
