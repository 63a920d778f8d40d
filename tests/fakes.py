"""Small, real things that many tests need: a corpus folder, architectures, models, a clock that is set by hand."""

import contextlib
import os
import random
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codenas.arch import ArchSpec, AttentionSpec, FeedForwardSpec, MixerSpec
from codenas.corpus import Corpus, CorpusManifest, ShardWriter, SplitInfo
from codenas.corpus.manifest import content_digest, dtype_for
from codenas.corpus.shards import VOCABULARIES
from codenas.model import LanguageModel, uninitialized_model
from codenas.vocab import END_OF_TEXT, Bpe, Char, Vocabulary

SPLITS = {"train": 6_000, "valid": 1_500, "test": 1_000}
VOCAB_SIZE = 300
CONTEXT = 32

SMALL_SEARCH = """
[search]
budget = { candidates = 3, rungs = [2, 4], promote = [1] }
objectives = [{ metric = "bits_per_byte", weight = 1.0 }]
trial = { score_tokens = 128, latency_tokens = 4 }
[search.space]
base = { d_model = 16, n_layers = 1, context_len = 32 }
choices = { d_model = [16, 32], norm = ["rmsnorm", "layernorm"] }
"""  # a job file without its [train] table: seconds, without Ray

_NAMES = ("count", "total", "items", "value", "left", "right", "path", "result")
_VERBS = ("add", "read", "merge", "find", "update", "close")


def tiny_corpus(folder: Path, tokens: int | None = None, seed: int = 0, vocabularies: Sequence[str] = ()) -> Corpus:
    """A corpus in the real format, of generated Python; `tokens` is the least length of the training split."""
    texts = {split: python_files(seed, split) for split in SPLITS}
    sample = [next(texts["train"]) for _ in range(40)]
    vocabulary = Bpe.train(sample, VOCAB_SIZE)
    wanted = SPLITS if tokens is None else {**SPLITS, "train": tokens}
    documents = {split: list(_enough(texts[split], wanted[split], vocabulary)) for split in SPLITS}
    _write_corpus(folder, documents, vocabulary)
    for name in vocabularies:
        other = Char.train(sample) if name == "char" else Bpe.train(sample, int(name.removeprefix("bpe-")))
        _write_corpus(folder / VOCABULARIES / name, documents, other)
    return Corpus.open(folder)


def python_files(seed: int, name: str) -> Iterator[str]:
    """Endless source files, a few functions each."""
    rng = random.Random(f"{seed}/{name}")
    while True:
        yield "\n\n".join(_function(rng) for _ in range(rng.randint(1, 4)))


def tiny_arch(mixer: MixerSpec | None = None, **fields: Any) -> ArchSpec:
    """A model of some thousand parameters; `fields` are those of `ArchSpec`."""
    pattern = (mixer or AttentionSpec(n_heads=2, n_kv_heads=1),)
    small = {"d_model": 16, "n_layers": 2, "context_len": CONTEXT, "feedforward": FeedForwardSpec(multiplier=2.0)}
    return ArchSpec.model_validate({"pattern": pattern, **small, **fields})


def drawn_model(arch: ArchSpec, vocab_size: int = VOCAB_SIZE, seed: int = 0) -> LanguageModel:
    """A model whose every weight is drawn, the matrices that training starts at zero included; ready to decode."""
    model = uninitialized_model(arch, vocab_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(float(parameter.ndim < 2), 0.3, generator=generator)
    return model.eval()


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Make `folder` a file system of its own with so little room; skips the test where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_read_only(disk: Path) -> None:
    """Let the file system that `small_disk` mounted be read only from now on; unlike permissions, this holds for root too."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@dataclass(slots=True)
class Clock:
    """A clock that stands until it is told to go on: hand it over where `time.monotonic` is expected."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def _function(rng: random.Random) -> str:
    a, b, c = rng.sample(_NAMES, 3)
    return f"def {rng.choice(_VERBS)}_{a}({a}, {b}):\n    {c} = {a} + {b} * {rng.randint(0, 9)}\n    return {c}\n"


def _enough(texts: Iterator[str], least: int, vocabulary: Vocabulary) -> Iterator[str]:
    """Texts until there are `least` tokens."""
    tokens = 0
    while tokens < least:
        text = next(texts)
        yield text
        tokens += len(vocabulary.encode(text)) + 1


def _write_corpus(folder: Path, documents: dict[str, list[str]], vocabulary: Vocabulary) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.save(folder / "tokenizer.json")
    infos = {split: _write_split(folder, split, texts, vocabulary) for split, texts in documents.items()}
    dtype = dtype_for(vocabulary.size)
    manifest = CorpusManifest(
        digest=content_digest(vocabulary.digest, dtype, infos),
        config_digest="made by a test",
        vocab_digest=vocabulary.digest,
        vocab_size=vocabulary.size,
        dtype=dtype,
        end_of_text=vocabulary.specials[END_OF_TEXT],
        splits=infos,
        source="generated",
        stages={},
        drops={},
        licences={},
    )
    (folder / "corpus.json").write_text(manifest.model_dump_json())


def _write_split(folder: Path, split: str, texts: list[str], vocabulary: Vocabulary) -> SplitInfo:
    tokens = 0
    with ShardWriter(folder, split, dtype_for(vocabulary.size)) as writer:
        for text in texts:
            ids = [*vocabulary.encode(text), vocabulary.specials[END_OF_TEXT]]
            writer.append(np.array(ids))
            tokens += len(ids)
        size = sum(len(text.encode()) for text in texts)
        return SplitInfo(tokens=tokens, bytes=size, documents=len(texts), repositories=len(texts), shards=writer.finish())


def null_device(path: Path) -> Path:
    """A null device of the test's own: the machine's must survive a failure. Only root makes devices: else the test is skipped."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    return path
