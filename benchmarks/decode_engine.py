"""The native decoding engine beside llama.cpp, at 31M and 4M: a line for each bar, with its ratio.

Both run in one process and take turns by rounds; ratios are of medians. LLAMA_CPP_AVX2 names a folder with the libraries of a llama.cpp
that was compiled without the instructions of AVX-512 and AVX-VNNI; without it that line is left out. PARTS names parts, all by default.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks._decode_overhead import overhead, prefix
from codenas.arch import Design, MixerSpec
from codenas.arch.examples import EXAMPLES
from codenas.arch.mixers import MIXER_SPECS
from codenas.arch.storage import Storage
from codenas.checkpoint import Checkpoint
from codenas.decode.backend import Backend
from codenas.decode.choice import BackendOptions, native_backend
from codenas.export.comparison import GGUF_TYPES, random_checkpoint
from codenas.export.gguf import write_gguf
from codenas.measure.contenders import Contender, LlamaCppContender, NativeContender
from codenas.measure.decoding_speed import Speed, measure_speeds
from codenas.measure.footprint import measure_footprint
from codenas.measure.workload import Workload
from codenas.processes import worker_pool

Line = dict[str, object]

AVX2, PARTS = "LLAMA_CPP_AVX2", "PARTS"
TOKEN_BARS: dict[Storage, float] = {"int8": 0.65, "int4": 0.6}
REQUEST_BAR, STREAMS_BAR, AVX2_BAR = 0.5, 2.5, 1.0
HYBRID_BARS = {256: 1.1, 2048: 0.6}
MEMORY_BAR, LOAD_BAR_S = 1.3, 0.3
ROUNDS = 7


def measure() -> Iterator[Line]:
    """The bars, in the order of the functions below."""
    wanted = os.environ.get(PARTS, ",".join(_PARTS)).split(",")
    if unknown := [name for name in wanted if name not in _PARTS]:
        sys.exit(f"{PARTS}={','.join(wanted)}: there is no part {unknown[0]!r}; choose among {', '.join(_PARTS)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            for line in _PARTS[name](Path(folder)):
                yield {"part": name, **line}


def speeds(folder: Path) -> Iterator[Line]:
    """A token, a whole request and eight streams, relative to llama.cpp."""
    for shape in EXAMPLES:
        for threads in (1, 2):
            for storage in TOKEN_BARS:
                ours, theirs = measure_speeds(_pair(folder, shape, storage, threads), Workload(rounds=ROUNDS))
                yield from _ratios(ours, theirs, {"model": shape, "threads": threads})


def avx2(folder: Path) -> Iterator[Line]:
    """The same with the instructions of AVX2 alone in both."""
    libraries = os.environ.get(AVX2)
    if libraries is None:
        print(f"llama.cpp for AVX2 is left out: {AVX2} names no folder of its libraries", file=sys.stderr)
        return
    for shape in EXAMPLES:
        for storage in TOKEN_BARS:
            pair = _pair(folder, shape, storage, 1, "avx2")
            with worker_pool(1) as pool:  # a process loads one llama.cpp only
                ours, theirs = pool.submit(_with_libraries, libraries, pair).result()
            for figure in ("token_ms", "prompt_ms", "request_ms"):
                ratio = getattr(ours, figure) / getattr(theirs, figure)
                yield _line(f"{figure} with AVX2", ratio, AVX2_BAR, {"model": shape, "weights": storage})


def families(folder: Path) -> Iterator[Line]:
    """A token of recurrent families and hybrids relative to attention, and prompts relative to llama.cpp's for attention."""
    attention = EXAMPLES["31M"].arch.pattern[0]
    others = {spec.family(): spec.model_validate({"kind": spec.family()}) for spec in MIXER_SPECS if not isinstance(attention, spec)}
    patterns: dict[str, tuple[MixerSpec, ...]] = {name: (mixer,) for name, mixer in others.items()}
    patterns |= {f"{name}+attention": (mixer, attention) for name, mixer in others.items()}
    for prompt, bar in HYBRID_BARS.items():
        work = Workload(prompt=prompt, tokens=16, streams=1, stream_steps=1, rounds=3)
        base, llama = _pair(folder, "31M", "int8", 1, context_len=2304)
        contenders = [base, llama]
        for name, pattern in patterns.items():
            contenders.append(_native(folder, _design(pattern, "int8"), name, 1))
        first, theirs, *found = measure_speeds(contenders, work)
        for speed in found:
            about: Line = {"model": speed.engine, "context": prompt, "weights": "int8"}
            yield _line("token relative to attention", speed.token_ms / first.token_ms, bar, about)
            if prompt == max(HYBRID_BARS):
                yield _line("prompt relative to llama.cpp's for attention", speed.prompt_ms / theirs.prompt_ms, 1.0, about)
        if prompt == max(HYBRID_BARS):
            yield _line("prompt relative to llama.cpp", first.prompt_ms / theirs.prompt_ms, 1.0, {"model": "31M", "context": prompt})


def cached_prefix(folder: Path) -> Iterator[Line]:
    """A request of 950 tokens whose first 900 are cached, relative to one of which none is."""
    backend = _backend(_checkpoint(folder, _long(EXAMPLES["31M"], "int8"), "prefix"))
    ratio, hits = prefix(backend, 950, 900, ROUNDS)
    yield _line("request of which 900 of 950 tokens are cached", ratio, 0.15, {"model": "31M", "cached_tokens": hits})


def busy(folder: Path) -> Iterator[Line]:
    """How a token's time grows beside two busy processes, relative to how llama.cpp's grows."""
    work = Workload(prompt=64, tokens=64, streams=1, stream_steps=1, drafts=(1,), rounds=ROUNDS)
    for threads in (1, 2):
        pair = _pair(folder, "31M", "int8", threads)
        alone = [speed.token_ms for speed in measure_speeds(pair, work)]
        with _busy_processes(2):
            beside = [speed.token_ms for speed in measure_speeds(pair, work)]
        ours, theirs = (after / before for before, after in zip(alone, beside, strict=True))
        about: Line = {"model": "31M", "threads": threads, "ours": round(ours, 2), "llama.cpp": round(theirs, 2)}
        yield _line("growth of a token's time beside two busy processes", ours / theirs, 1.0, about)


def footprints(folder: Path) -> Iterator[Line]:
    """Resident memory relative to the stored weights, after the state is taken off; and the seconds of loading."""
    for storage in TOKEN_BARS:
        ours, _ = _pair(folder, "31M", storage, 1)
        work = Workload()
        found = [measure_footprint(ours, work) for _ in range(3)]
        cache = _backend(Checkpoint.open(ours.path)).state_bytes(work.context_len)
        resident = median(each.resident_bytes for each in found) - cache
        yield _line("resident memory without cache / stored weights", resident / ours.weights_bytes, MEMORY_BAR, {"weights": storage})
        yield _line("seconds to load 31M", median(each.load_s for each in found), LOAD_BAR_S, {"weights": storage})


def engine_overhead(folder: Path) -> Iterator[Line]:
    """What the engine takes beside the forward pass of a 4M model at one stream: sampling, text and its own state."""
    for storage in TOKEN_BARS:
        backend = _backend(_checkpoint(folder, _long(EXAMPLES["4M"], storage), f"overhead-{storage}"))
        for name, share in overhead(backend, ROUNDS).items():
            yield _line("time of the engine / time of forward passes", share, 0.15, {"model": "4M", "weights": storage, "sampling": name})


_PARTS = {
    "speeds": speeds,
    "avx2": avx2,
    "families": families,
    "cached_prefix": cached_prefix,
    "busy": busy,
    "footprints": footprints,
    "engine_overhead": engine_overhead,
}


def _line(bar: str, ratio: float, limit: float, about: Line) -> Line:
    return {"bar": bar, **about, "ratio": round(ratio, 3), "at_most": limit, "within": ratio <= limit}


def _ratios(ours: Speed, theirs: Speed, about: Line) -> Iterator[Line]:
    about = {**about, "ours": ours.engine, "theirs": theirs.engine}
    milliseconds: Line = {"ms": round(ours.token_ms, 3), "their_ms": round(theirs.token_ms, 3)}
    yield _line("token", ours.token_ms / theirs.token_ms, TOKEN_BARS[ours.storage], {**about, **milliseconds})
    yield _line("request", ours.request_ms / theirs.request_ms, REQUEST_BAR, about)
    yield _line("time of a token of eight streams", theirs.streams_tokens_per_s / ours.streams_tokens_per_s, 1 / STREAMS_BAR, about)


def _pair(folder: Path, shape: str, storage: Storage, threads: int, target: str | None = None, context_len: int = 512) -> list[Contender]:
    """Ours and llama.cpp over the same weights."""
    design = _long(EXAMPLES[shape], storage, context_len)
    checkpoint = _checkpoint(folder, design, f"{shape}-{storage}-{context_len}")
    file = checkpoint.path.with_suffix(".gguf")
    if not file.exists():
        write_gguf(file, checkpoint.load_stored())
    ours = NativeContender(f"native {storage}", checkpoint.path, storage, threads, target)
    return [ours, LlamaCppContender(f"llama.cpp {GGUF_TYPES[storage]}", file, storage, threads)]


def _native(folder: Path, design: Design, name: str, threads: int) -> NativeContender:
    return NativeContender(name, _checkpoint(folder, design, name).path, design.storage, threads)


def _design(pattern: tuple[MixerSpec, ...], storage: Storage) -> Design:
    design = _long(EXAMPLES["31M"], storage)
    return design.model_copy(update={"arch": design.arch.model_copy(update={"pattern": pattern})})


def _long(design: Design, storage: Storage, context_len: int = 2304) -> Design:
    return design.model_copy(update={"storage": storage, "arch": design.arch.model_copy(update={"context_len": context_len})})


def _backend(checkpoint: Checkpoint) -> Backend:
    return native_backend(checkpoint.load_stored(), BackendOptions())


def _checkpoint(folder: Path, design: Design, name: str) -> Checkpoint:
    """Random weights of `design`, made once."""
    home = folder / name
    if not home.exists():
        home.mkdir()
        assert design.vocab_size is not None
        return random_checkpoint(design, design.vocab_size, home)
    return Checkpoint.open(home / f"random-{design.storage}")


def _with_libraries(libraries: str, contenders: list[Contender]) -> list[Speed]:
    """`measure_speeds` with the llama.cpp in the folder `libraries`; to be run in a process that has loaded none."""
    os.environ["LLAMA_CPP_LIB_PATH"] = libraries
    return measure_speeds(contenders, Workload(rounds=ROUNDS))


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    """`count` processes that compute without end."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    time.sleep(0.5)  # until they compute
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
