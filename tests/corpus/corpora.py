"""Small corpora made by code."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from codenas.corpus import Corpus, CorpusManifest, ShardWriter, SplitInfo
from codenas.corpus.manifest import Dtype, content_digest

END_OF_TEXT = 0


def write_corpus(folder: Path, splits: Mapping[str, Sequence[Sequence[int]]], shard_tokens: int = 7, dtype: Dtype = "uint16") -> Corpus:
    """Write documents of token ids as a corpus; token 1 stands for one byte, and so on."""
    infos = {}
    for name, documents in splits.items():
        with ShardWriter(folder, name, dtype, shard_tokens) as writer:
            for document in documents:
                writer.append(np.array([*document, END_OF_TEXT]))
            shards = writer.finish()
        tokens = sum(len(document) + 1 for document in documents)
        size = sum(map(len, documents))
        infos[name] = SplitInfo(tokens=tokens, bytes=size, documents=len(documents), repositories=len(documents), shards=shards)
    (folder / "tokenizer.json").write_text("{}")
    vocab_size = 300 if dtype == "uint16" else 1 << 17
    digest = content_digest("v", dtype, infos)
    manifest = CorpusManifest(
        digest=digest, config_digest="c", vocab_digest="v", vocab_size=vocab_size, dtype=dtype, end_of_text=END_OF_TEXT, splits=infos,
        source="made by a test", stages={}, drops={}, licences={},
    )  # fmt: skip
    (folder / "corpus.json").write_text(manifest.model_dump_json())
    return Corpus.open(folder)
