"""Prompts: where documents are cut, which are drawn, and what happens when there are too few."""

from collections.abc import Sequence

import numpy as np
import pytest

from codenas.errors import CorpusError
from codenas.evaluate.prompts import pick_prompts


def decode(ids: Sequence[int]) -> bytes:
    return bytes(ids)


def document(number: int, lines: int = 40) -> list[int]:
    return list("".join(f"value_{number}_{line} = {line}\n" for line in range(lines)).encode())


DOCUMENTS = [document(number) for number in range(50)]


def test_every_prompt_ends_at_the_first_line_end_after_the_middle() -> None:
    for prompt in pick_prompts(DOCUMENTS, decode, 20, 64, 64, seed=1):
        assert prompt.head + prompt.human in [document[: len(prompt.head) + 64] for document in DOCUMENTS]
        assert prompt.head[-64:] == prompt.tokens and len(prompt.human) == 64
        assert bytes(prompt.head).endswith(b"\n")
        middle = next(len(document) for document in DOCUMENTS if document[: len(prompt.head)] == prompt.head) / 2
        assert middle <= len(prompt.head) < middle + 20


def test_the_draw_depends_on_the_seed_alone_and_takes_a_document_once() -> None:
    first, again, other = (pick_prompts(iter(DOCUMENTS), decode, 20, 64, 64, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len({tuple(prompt.head) for prompt in first}) == 20


def test_arrays_are_documents_too() -> None:
    arrays = [np.array(document) for document in DOCUMENTS]
    assert pick_prompts(arrays, decode, 5, 64, 64, 1) == pick_prompts(DOCUMENTS, decode, 5, 64, 64, 1)


def test_short_documents_and_those_without_a_line_end_are_left_out() -> None:
    unusable = [list(b"x" * 1000), list(b"x\n" * 63), list(b"\n" * 20 + b"x" * 1000)]
    assert len(pick_prompts([*unusable, document(1)], decode, 1, 64, 64, 0)) == 1
    with pytest.raises(CorpusError, match="0 held-out documents have 128 tokens .* 1 prompts need 1; ask for fewer"):
        pick_prompts(unusable, decode, 1, 64, 64, 0)


@pytest.mark.parametrize(("token", "cut"), [(b"\n", True), (b":\n    ", True), (b"\n\n\t", True), (b"\n    x", False), (b"    ", False)])
def test_a_line_end_may_be_merged_with_indentation(token: bytes, cut: bool) -> None:
    vocabulary = [b"a", token]
    ids = [0] * 10 + [1] + [0] * 10
    documents = [ids]
    if cut:
        (prompt,) = pick_prompts(documents, lambda ids: b"".join(vocabulary[i] for i in ids), 1, 8, 8, 0)
        assert prompt.tokens == [0] * 7 + [1]
    else:
        with pytest.raises(CorpusError):
            pick_prompts(documents, lambda ids: b"".join(vocabulary[i] for i in ids), 1, 8, 8, 0)
