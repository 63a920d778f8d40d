"""The character vocabulary."""

from codenas.vocab import Char


def test_a_known_character_is_one_id_and_an_unknown_one_is_its_bytes() -> None:
    vocabulary = Char.train(["é" * 3, "x"])
    assert len(vocabulary.encode("xé")) == 2
    assert len(vocabulary.encode("数")) == 3
    assert vocabulary.size == 6 + 256 + 1


def test_the_most_frequent_characters_are_kept_and_their_order_is_fixed() -> None:
    vocabulary = Char.train(["ééé", "üü", "ñ"], limit=2)
    assert vocabulary.size == 6 + 256 + 2
    assert vocabulary.digest == Char.train(["üüééé", "ñ"], limit=2).digest
    assert len(vocabulary.encode("ñ")) == 2


def test_surrogates_in_the_sample_are_skipped() -> None:
    assert Char.train(["\ud800é"]).size == 6 + 256 + 1
