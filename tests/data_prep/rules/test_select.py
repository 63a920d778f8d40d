"""The decisions without content: licences and caps."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.config import PrepareConfig
from data_prep.document import Entry
from data_prep.rules.select import allowed_licence, select
from data_prep.statistics import Statistics

ENTRIES = st.lists(
    st.builds(
        Entry,
        repository=st.sampled_from("abc"),
        path=st.integers(0, 99).map(str),
        licences=st.sampled_from([("MIT",), ("GPL-3.0",), ()]),
        size=st.integers(0, 4000),
        file=st.just("f"),
    ),
    max_size=30,
    unique_by=lambda entry: entry.key,
)
CONFIG = PrepareConfig(max_megabytes=0.02, max_repository_megabytes=0.008)


@given(entries=ENTRIES, seed=st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_caps_hold_order_does_not_matter_and_nothing_is_uncounted(entries: list[Entry], seed: int) -> None:
    statistics = Statistics("test")
    kept = select(entries, CONFIG, statistics)
    shuffled = random.Random(seed).sample(entries, len(entries))
    assert select(shuffled, CONFIG, Statistics("test")) == kept == sorted(kept, key=lambda entry: entry.key)
    sizes = Counter[str]()
    for entry in kept:
        sizes[entry.repository] += entry.size
    assert sizes.total() <= 20_000 and all(size <= 8_000 for size in sizes.values())
    dropped = statistics.drops.values()
    assert len(kept) + sum(tally.documents for tally in dropped) == len(entries)
    assert sum(entry.size for entry in kept) + sum(tally.bytes for tally in dropped) == sum(entry.size for entry in entries)


@given(entries=ENTRIES)
@settings(derandomize=True, deadline=None)
def test_selecting_twice_is_selecting_once(entries: list[Entry]) -> None:
    once = select(entries, CONFIG, Statistics("test"))
    assert select(once, CONFIG, Statistics("test")) == once


def test_every_licence_must_be_allowed() -> None:
    rule = allowed_licence(["MIT", "ISC"])
    results = [rule(Entry("r", "p", licences, 1, "f")) for licences in [("MIT",), ("ISC", "MIT"), ("GPL-3.0", "MIT"), ()]]
    assert results == [None, None, "licence", "licence"]


def test_another_seed_samples_other_documents() -> None:
    entries = [Entry("r", str(number), ("MIT",), 1000, "f") for number in range(30)]
    kept = [select(entries, CONFIG.model_copy(update={"seed": seed}), Statistics("test")) for seed in (0, 1)]
    assert [len(one) for one in kept] == [8, 8]
    assert kept[0] != kept[1]
