"""A prepared corpus: manifest, memory-mapped token shards and batches in a reproducible order."""

from codenas.corpus.batches import Batches, count_windows
from codenas.corpus.manifest import CARD, CorpusManifest, Figures, Portion, Redacted, ShardInfo, SourceSize, SplitInfo, Tally, card_of
from codenas.corpus.shards import Corpus, ShardWriter, Tokens

__all__ = [
    "CARD", "Batches", "Corpus", "CorpusManifest", "Figures", "Portion", "Redacted", "ShardInfo", "ShardWriter", "SourceSize", "SplitInfo",
    "Tally", "Tokens", "card_of", "count_windows",
]  # fmt: skip
