"""The split into train, valid and test by repository: documents of one repository in two splits would be a leak."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from codenas.errors import CorpusError
from codenas.seeds import derive
from data_prep.document import Entry

SPLITS = ("train", "valid", "test")
_OVERSHOOT = 2.0  # the largest size of a held-out split, as a multiple of its share


def split_by_repository(
    entries: Iterable[Entry], shares: Mapping[str, float], seed: int, only_train: Collection[str] = ()
) -> dict[str, str]:
    """The split of each repository.

    Repositories are taken in the order of a hash of the seed and their name. Each held-out split takes them until its share of
    the bytes is reached, skipping those that are too large; the rest, and `only_train`, is for training.

    Raises:
        CorpusError: a split would be empty.
    """
    sizes: Counter[str] = Counter()
    for entry in entries:
        sizes[entry.repository] += entry.size
    free = sorted(sizes.keys() - set(only_train), key=lambda name: (derive(seed, "split", name), name))
    splits = dict.fromkeys(sizes, "train")
    for split, share in shares.items():
        taken = _fill(free, sizes, share * sizes.total())
        splits |= dict.fromkeys(taken, split)
        free = [name for name in free if name not in taken]
    empty = [split for split in SPLITS if split not in splits.values()]
    if empty:
        bounds = ", ".join(f"{split} {share:.0%}" for split, share in shares.items())
        kept = f"{len(sizes)} repositories with {sizes.total():,} bytes, {len(sizes.keys() & set(only_train))} of them copies of another"
        shares_hint = f", or {'smaller' if 'train' in empty else 'larger'} shares: --valid-share, --test-share"
        raise CorpusError(
            f"no repository fits into {' and '.join(empty)}: {kept}, were kept; the shares are {bounds}, and no repository may be above "
            f"{_OVERSHOOT:g} times its share; give a source with more repositories (of your own code in fewer than three checkouts "
            f"each folder is one){shares_hint if len(sizes) >= len(SPLITS) else ''}"
        )
    return splits


def _fill(names: Iterable[str], sizes: Mapping[str, int], goal: float) -> list[str]:
    taken: list[str] = []
    held = 0
    for name in names:
        if held < goal and held + sizes[name] <= _OVERSHOOT * goal:
            taken.append(name)
            held += sizes[name]
    return taken
