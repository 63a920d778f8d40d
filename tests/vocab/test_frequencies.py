"""How often tokens are used: every byte is in one token, and nothing is lost between languages."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from codenas.vocab import SPECIAL_TOKENS, Bpe, Char, Vocabulary
from codenas.vocab.frequencies import Frequencies, count_tokens, frequency_table, sum_of, token_names, use_of
from tests.vocab.texts import code_like

TEXTS = {"Go": code_like(1, 300), "Python": code_like(2, 100)}


def counted(vocabulary: Vocabulary, texts: Mapping[str, Sequence[str]]) -> dict[str, Frequencies]:
    found = {}
    for language, held in texts.items():
        found[language] = Frequencies(0, np.zeros(vocabulary.size, np.int64))
        for part in count_tokens(vocabulary, held):
            found[language].add(part)
    return found


@pytest.fixture(params=["bpe", "char"])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return Bpe.train(TEXTS["Go"], 400) if request.param == "bpe" else Char.train(TEXTS["Go"])


def test_counts_are_those_of_encoding_one_by_one(vocabulary: Vocabulary) -> None:
    for language, found in counted(vocabulary, TEXTS).items():
        ids = [token for text in TEXTS[language] for token in vocabulary.encode(text)]
        assert found.counts.tolist() == np.bincount(ids, minlength=vocabulary.size).tolist()
        use = use_of(vocabulary, found)
        assert (use.documents, use.tokens, use.bytes) == (len(TEXTS[language]), len(ids), len("".join(TEXTS[language]).encode()))
        assert use.bytes_per_token == use.bytes / use.tokens
        assert use.unused == vocabulary.size - len(SPECIAL_TOKENS) - len(set(ids))


def test_the_table_has_every_token_the_most_frequent_first(vocabulary: Vocabulary) -> None:
    table = frequency_table(vocabulary, "texts", counted(vocabulary, TEXTS))
    assert sorted(use.id for use in table.tokens) == list(range(vocabulary.size))
    assert [use.count for use in table.tokens] == sorted((use.count for use in table.tokens), reverse=True)
    assert sum(use.share for use in table.tokens) == pytest.approx(1)
    assert sum(use.bytes * use.count for use in table.tokens) == table.total.bytes == sum(use.bytes for use in table.languages.values())
    assert all(sum(use.languages.values()) == use.count for use in table.tokens)
    assert sum(use.count == 0 for use in table.tokens) == table.total.unused + len(SPECIAL_TOKENS)
    assert type(table).model_validate_json(table.model_dump_json()) == table


def test_names_are_byte_letters_and_the_names_of_special_tokens(vocabulary: Vocabulary) -> None:
    names = token_names(vocabulary)
    assert len(set(names)) == vocabulary.size
    assert {names[index] for index in vocabulary.specials.values()} == set(SPECIAL_TOKENS)
    assert names[vocabulary.encode(" ")[0]] == "Ġ"


def test_texts_without_a_byte_have_no_figures_made_up() -> None:
    found = counted(Char(""), {"Go": [""], "None": []})
    assert use_of(Char(""), found["Go"]).bytes_per_token is None
    assert frequency_table(Char(""), "", found).total.tokens == sum_of(found).sum() == 0
