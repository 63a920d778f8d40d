"""Checks of a corpus before a stage trains or scores on it."""

from codenas.corpus import Corpus, count_windows
from codenas.errors import CorpusError
from codenas.vocab import Vocabulary, load_vocabulary

TRAIN, VALID = "train", "valid"


def verify_corpus(corpus: Corpus) -> Vocabulary:
    """Check the digests of shards and vocabulary before a stage starts; returns the vocabulary.

    Raises:
        CorpusError: a digest differs.
    """
    vocabulary = load_vocabulary(corpus.tokenizer_path)
    if vocabulary.digest != corpus.manifest.vocab_digest:
        raise CorpusError(f"{corpus.tokenizer_path} is not the vocabulary of the shards beside it; restore it, or prepare the corpus again")
    corpus.verify()
    return vocabulary


def require_windows(corpus: Corpus, context_len: int) -> None:
    """Check that each split has at least one window, before a model is built: a model of that context may not fit in memory.

    Raises:
        CorpusError: a split is shorter than `context_len`.
    """
    for split in (TRAIN, VALID):
        count_windows(len(corpus.split(split)), context_len, split)


def tokens_to_score(tokens: int, own: Corpus, corpus: Corpus) -> int:
    """The number of tokens of `corpus` with as much text as `tokens` of `own`, so that all vocabularies are scored on the same text."""
    return max(1, round(tokens * len(corpus.split(VALID)) / len(own.split(VALID))))
