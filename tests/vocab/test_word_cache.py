"""Encoding word by word gives what the library gives for whole texts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from codenas.vocab import Bpe, word_cache
from codenas.vocab.word_cache import WordCache, splits_like_gpt2

SAMPLE = ["def add(left, right):\n    return left + right  # naïve café\n" * 4, "isn't x's 12 1_000 \t\n\n    if a:\n" * 3]
PIECES = (
    *("it's", "we'll", "'S", "'", " ", "  ", "\t", "\n", "\r\n", "\n\n    "),
    *("\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000"),
    *("add", " left", "_", "x1", "12", "½", "Ⅷ", "é", "数", "ß", "\u0301", "😀", "+", " ==", "#", "\x00", "\x7f", "<|endoftext|>"),
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=40).map("".join)


def tokenizer() -> Tokenizer:
    found = Tokenizer.from_str(json.dumps(content()))
    found.encode_special_tokens = True
    return found


def content() -> dict[str, object]:
    held: dict[str, object] = json.loads(Bpe.train(SAMPLE, 320)._tokenizer.to_str())
    return held


LIBRARY = tokenizer()
CACHE = WordCache(LIBRARY)


@given(TEXTS)
@settings(derandomize=True, deadline=None, max_examples=400)
def test_it_is_what_the_library_gives(text: str) -> None:
    assert CACHE.encode(text) == LIBRARY.encode(text, add_special_tokens=False).ids


def test_a_full_list_of_words_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "_KEPT_CHARACTERS", 20)
    cache = WordCache(LIBRARY)
    for text in (*SAMPLE, "other words", *SAMPLE):
        assert cache.encode(text) == LIBRARY.encode(text, add_special_tokens=False).ids
    cache.encode("a")
    assert set(cache._known) == {"a"}


@pytest.mark.parametrize(
    "other",
    [
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
        {"normalizer": {"type": "Lowercase"}},
    ],
)
def test_a_tokenizer_that_splits_otherwise_is_asked_for_whole_texts(other: dict[str, object]) -> None:
    assert splits_like_gpt2(content()) and not splits_like_gpt2(content() | other)
    library = Tokenizer.from_str(json.dumps(content() | other))
    text = "It isn't  HIS"
    assert Bpe.load(json.dumps(content() | other)).encode(text) == library.encode(text, add_special_tokens=False).ids
