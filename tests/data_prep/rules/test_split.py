"""The split by repository, and the copies that must not be held out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.errors import CorpusError
from data_prep.document import Entry
from data_prep.rules.forks import forks_of, line_sketch
from data_prep.rules.split import split_by_file, split_by_repository

SHARES = {"valid": 0.1, "test": 0.1}


def entries(sizes: dict[str, int]) -> list[Entry]:
    return [Entry(repository, str(part), ("MIT",), size // 2, "f") for repository, size in sizes.items() for part in range(2)]


@given(sizes=st.dictionaries(st.integers(0, 99).map(str), st.integers(50, 150), min_size=30, max_size=60), seed=st.integers(0, 99))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_shares_are_met_and_no_repository_stands_on_two_sides(sizes: dict[str, int], seed: int) -> None:
    splits = split_by_repository(entries(sizes), SHARES, seed)
    assert splits.keys() == sizes.keys()
    total = sum(size // 2 * 2 for size in sizes.values())
    for split, share in SHARES.items():
        held = sum(sizes[name] // 2 * 2 for name in sizes if splits[name] == split)
        assert share * total <= held <= 2 * share * total
    backwards = dict(reversed(sizes.items()))
    assert split_by_repository(entries(backwards), SHARES, seed) == splits


def test_a_giant_is_never_held_out() -> None:
    sizes = {"giant": 500} | {str(number): 20 for number in range(30)}
    assert {split_by_repository(entries(sizes), SHARES, seed)["giant"] for seed in range(40)} == {"train"}


def test_what_is_only_for_training_is_never_held_out() -> None:
    sizes = {str(number): 20 for number in range(30)}
    for seed in range(10):
        splits = split_by_repository(entries(sizes), SHARES, seed, only_train={"3", "4", "elsewhere"})
        assert splits["3"] == splits["4"] == "train" and "elsewhere" not in splits


def test_seeds_hold_out_different_repositories() -> None:
    sizes = {str(number): 20 for number in range(40)}
    assert len({tuple(sorted(split_by_repository(entries(sizes), SHARES, seed).items())) for seed in range(5)}) == 5


@pytest.mark.parametrize("sizes", [{}, {"one": 100}, {"one": 100, "two": 100, "three": 100}])
def test_too_few_repositories_are_refused_with_their_number(sizes: dict[str, int]) -> None:
    total = f"{len(sizes)} repositories with {sum(sizes.values())} bytes"
    with pytest.raises(CorpusError, match=rf"no repository fits into .*valid and test: {total}.*valid 10%.*more repositories") as caught:
        split_by_repository(entries(sizes), SHARES, 0)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("or larger shares: --valid-share, --test-share" if len(sizes) > 2 else "more repositories")


def test_files_are_split_whatever_their_repository() -> None:
    found = [Entry("one", f"{number}.py", ("MIT",), 20, "f", row=number) for number in range(30)]
    splits = split_by_file(found, SHARES, 0)
    assert splits == split_by_file(list(reversed(found)), SHARES, 0) and splits.keys() == {entry.place for entry in found}
    assert {split: list(splits.values()).count(split) for split in ("train", "valid", "test")} == {"train": 24, "valid": 3, "test": 3}
    with pytest.raises(CorpusError, match="no file fits into valid and test: 2 files with 40 bytes, were kept; .*with more files$"):
        split_by_file(found[:2], SHARES, 0)


def test_shares_that_leave_nothing_to_train_on_must_be_smaller() -> None:
    with pytest.raises(CorpusError, match="no repository fits into train: .*, or smaller shares: --valid-share, --test-share"):
        split_by_repository(entries({"one": 10, "two": 10, "three": 10}), {"valid": 0.45, "test": 0.45}, 0)


def text(name: str, lines: int) -> str:
    return "\n".join(f"    result = compute_something_{name}(argument_number_{line}, 0)" for line in range(lines))


def test_a_fork_and_its_original_are_kin_and_strangers_are_not() -> None:
    held = {"original": text("a", 600), "fork": text("a", 300) + "\n" + text("b", 300), "stranger": text("c", 600) + "\n" + text("a", 20)}
    assert forks_of({name: line_sketch(content) for name, content in held.items()}) == {"original", "fork"}


def test_short_lines_are_everybodys_and_the_sketch_follows_the_lines() -> None:
    assert line_sketch("import os\nreturn None\n" * 500) == []
    assert forks_of({"empty": [], "other": line_sketch(text("a", 100))}) == set()
    lines = text("a", 500).split("\n")
    assert sorted(line_sketch("\n".join(reversed(lines)))) == sorted(line_sketch("\n\t".join(lines)))
    assert 15 < len(line_sketch("\n".join(lines))) < 50
