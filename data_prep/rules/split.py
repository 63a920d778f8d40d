"""The split into train, valid and test by repository: documents of one repository in two splits would be a leak.

Only of a user's own code that is one project the files themselves are split: there is no other repository to hold out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from codenas.errors import SourceTooSmallError
from codenas.seeds import derive
from data_prep.document import Entry, Place

SPLITS = ("train", "valid", "test")
_OVERSHOOT = 2.0  # the largest size of a held-out split, as a multiple of its share


def split_by_repository(
    entries: Iterable[Entry], shares: Mapping[str, float], seed: int, only_train: Collection[str] = ()
) -> dict[str, str]:
    """The split of each repository.

    Repositories are taken in the order of a hash of the seed and their name. Each held-out split takes them until its share of
    the bytes is reached, skipping those that are too large; the rest, and `only_train`, is for training.

    Raises:
        SourceTooSmallError: a split would be empty.
    """
    sizes: Counter[str] = Counter()
    for entry in entries:
        sizes[entry.repository] += entry.size
    splits = _split(sizes, shares, seed, only_train)
    copies = f"{len(sizes.keys() & set(only_train))} of them copies of another, "
    _require_all(splits, sizes, shares, ("repository", "repositories", copies))
    return splits


def split_by_file(entries: Iterable[Entry], shares: Mapping[str, float], seed: int) -> dict[Place, str]:
    """The split of each file, by its place, whatever its repository; otherwise as `split_by_repository`.

    Raises:
        SourceTooSmallError: a split would be empty.
    """
    named = {f"{entry.repository}/{entry.path}": entry for entry in entries}
    sizes = Counter({name: entry.size for name, entry in named.items()})
    splits = _split(sizes, shares, seed)
    _require_all(splits, sizes, shares, ("file", "files", ""))
    return {named[name].place: split for name, split in splits.items()}


def _split(sizes: Counter[str], shares: Mapping[str, float], seed: int, only_train: Collection[str] = ()) -> dict[str, str]:
    free = sorted(sizes.keys() - set(only_train), key=lambda name: (derive(seed, "split", name), name))
    splits = dict.fromkeys(sizes, "train")
    for split, share in shares.items():
        taken = _fill(free, sizes, share * sizes.total())
        splits |= dict.fromkeys(taken, split)
        free = [name for name in free if name not in taken]
    return splits


def _require_all(splits: Mapping[str, str], sizes: Counter[str], shares: Mapping[str, float], unit: tuple[str, str, str]) -> None:
    """Check that no split is empty; `unit` is what was split: one, several, and what else is known of them."""
    empty = [split for split in SPLITS if split not in splits.values()]
    if empty:
        one, several, note = unit
        bounds = ", ".join(f"{split} {share:.0%}" for split, share in shares.items())
        shares_hint = f", or {'smaller' if 'train' in empty else 'larger'} shares: --valid-share, --test-share"
        raise SourceTooSmallError(
            f"no {one} fits into {' and '.join(empty)}: {len(sizes)} {several} with {sizes.total():,} bytes, {note}were kept; the shares "
            f"are {bounds}, and no {one} may be above {_OVERSHOOT:g} times its share; give a source with more {several}"
            f"{shares_hint if len(sizes) >= len(SPLITS) else ''}"
        )


def _fill(names: Iterable[str], sizes: Mapping[str, int], goal: float) -> list[str]:
    taken: list[str] = []
    held = 0
    for name in names:
        if held < goal and held + sizes[name] <= _OVERSHOOT * goal:
            taken.append(name)
            held += sizes[name]
    return taken
