"""The rules that need no text: language, licence and size."""

from collections import Counter
from collections.abc import Iterable

from codenas.seeds import derive
from data_prep.config import ANY_LICENCE, PrepareConfig
from data_prep.document import Entry, Rule
from data_prep.statistics import Statistics


def select(entries: Iterable[Entry], config: PrepareConfig, statistics: Statistics) -> list[Entry]:
    """The entries with allowed licences within the size caps, sorted by repository and path.

    A cap takes entries in the order of a hash: a random sample, the same on every machine.
    """
    licensed = statistics.record("licensed", statistics.filter(entries, allowed_licence(config.licences)))
    licensed.sort(key=lambda entry: (derive(config.seed, "sample", *entry.key), entry.key))
    capped = statistics.filter(licensed, repository_cap(round(config.max_repository_megabytes * 1e6)))
    sampled = statistics.filter(capped, total_cap(round(config.max_megabytes * 1e6)))
    return statistics.record("sampled", sorted(sampled, key=lambda entry: entry.key))


def nothing_left(config: PrepareConfig, statistics: Statistics) -> str:
    """The error message if nothing is left: what was found, why it was left out, and how to include more."""
    found = f"nothing of the source {config.source} can be used: {statistics.stages['found'].documents:,} files of code were found"
    if not statistics.drops:
        return f"{found}; give a folder of code or of parquet"
    reasons = ", ".join(f"{reason} {tally.documents:,}" for reason, tally in sorted(statistics.drops.items()))
    languages = f"--language (it is {', '.join(config.languages) or 'all'})"
    return f"{found} and left out ({reasons}); widen {languages} or [prepare.filters], or add --any-licence if the code is yours"


def wanted_language(wanted: Iterable[str]) -> Rule:
    """The language of the document must be one of `wanted`; empty allows every language."""
    names = frozenset(wanted)
    return lambda entry: None if not names or entry.language in names else "language"


def allowed_licence(allowed: Iterable[str]) -> Rule:
    """Every licence of the document must be allowed, and it must have one."""
    names = frozenset(allowed)
    if ANY_LICENCE in names:
        return lambda entry: None
    return lambda entry: None if entry.licences and names.issuperset(entry.licences) else "licence"


def repository_cap(limit: int) -> Rule:
    """At most `limit` bytes of each repository."""
    taken: Counter[str] = Counter()
    return lambda entry: _take(taken, entry.repository, entry.size, limit, "repository cap")


def total_cap(limit: int) -> Rule:
    """At most `limit` bytes in all."""
    taken: Counter[str] = Counter()
    return lambda entry: _take(taken, "", entry.size, limit, "total cap")


def _take(taken: Counter[str], name: str, size: int, limit: int, reason: str) -> str | None:
    if taken[name] + size > limit:
        return reason
    taken[name] += size
    return None
