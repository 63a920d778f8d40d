"""What needs all documents at once: duplicates, near-duplicates and the split, from the stored results of `data_prep.process`.

No text is in memory: 250 bytes per document of the source, and at most 1.2 kB during near-deduplication.
"""

import sys
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from codenas.corpus import Redacted
from codenas.errors import SourceTooSmallError
from codenas.log import LOGGER
from data_prep.config import PrepareConfig
from data_prep.document import Entry, Place
from data_prep.process import CONTAMINATED
from data_prep.results import ResultStore
from data_prep.rules.dedup import first_copy
from data_prep.rules.forks import FORK_SHARE, forks_of
from data_prep.rules.near_dedup import best_copy
from data_prep.rules.redact import KINDS
from data_prep.rules.select import nothing_left
from data_prep.rules.split import split_by_file, split_by_repository
from data_prep.statistics import BadRow, Match, Statistics
from data_prep.units import units_of


def dedup_and_split(
    config: PrepareConfig, entries: list[Entry], store: ResultStore, statistics: Statistics, own_code: bool = False
) -> list[Entry]:
    """The documents to keep, each with its hash, its true size, its language and its split; the others are counted as dropped.

    Args:
        own_code: split the files of a source that has too few repositories: a user may have one project only.

    Raises:
        SourceTooSmallError: nothing is left, or too little to split.
    """
    filtered, sketches = _filter(entries, store, statistics)
    unique = statistics.record("unique", statistics.filter(filtered, first_copy()))
    if not unique:
        raise SourceTooSmallError(nothing_left(config, statistics))
    if config.near_dedup.enabled:
        unique = statistics.record("near-unique", statistics.filter(unique, best_copy(unique, _column(unique, store, "bands"))))
    if config.redact:
        statistics.redacted = _redacted(_column(unique, store, "redacted").values())
    forks = forks_of(sketches)
    LOGGER.info(f"split: {len(forks)} of {len(sketches)} repositories share over {FORK_SHARE:.0%} of their lines, and stay in train")
    _assign_splits(config, unique, forks, own_code)
    return unique


def _assign_splits(config: PrepareConfig, entries: list[Entry], forks: Collection[str], own_code: bool) -> None:
    shares = {"valid": config.valid_share, "test": config.test_share}
    try:
        splits = split_by_repository(entries, shares, config.seed, forks)
    except SourceTooSmallError:
        if not own_code:
            raise
        by_file = split_by_file(entries, shares, config.seed)
        LOGGER.warning(
            "split: by file, as this code is in too few folders, or in folders too large, to hold any out; held-out files stand beside "
            "files that are trained on, so bits per byte will be lower than on code of other projects"
        )
        for entry in entries:
            entry.split = by_file[entry.place]
        return
    for entry in entries:
        entry.split = splits[entry.repository]


def _filter(entries: list[Entry], store: ResultStore, statistics: Statistics) -> "tuple[list[Entry], dict[str, array[int]]]":
    """The entries that pass the filters and contain no benchmark text, with hash and true size; the line sketch of each repository."""
    reasons: dict[Place, str] = {}
    sketches: dict[str, array[int]] = defaultdict(lambda: array("I"))
    placed = sorted(entries, key=lambda entry: entry.place)
    columns = ("reason", "sha256", "size", "language", "lines", "found", "matched")
    for entry, result in zip(placed, store.results(units_of(placed), columns), strict=True):
        entry.sha256, entry.language = result["sha256"], sys.intern(result["language"])
        if result["size"] is None:
            statistics.quarantine.append(BadRow(file=entry.file, row_group=entry.row_group, row=entry.row, reason=result["reason"]))
        else:
            entry.size = result["size"]
        if result["reason"] is None:
            sketches[entry.repository].extend(result["lines"])
            continue
        reasons[entry.place] = result["reason"]
        if result["reason"] == CONTAMINATED:
            match = Match(repository=entry.repository, path=entry.path, found=result["found"], matched=result["matched"])
            statistics.benchmarks.append(match)
            LOGGER.info(f"benchmark text in {match.repository}/{match.path}: {match.found}, {match.matched!r}")
    return statistics.record("filtered", statistics.filter(entries, lambda entry: reasons.get(entry.place))), sketches


def _column(entries: list[Entry], store: ResultStore, name: str) -> dict[Place, Any]:
    """One column of the results of `entries`."""
    placed = sorted(entries, key=lambda entry: entry.place)
    return {entry.place: row[name] for entry, row in zip(placed, store.results(units_of(placed), (name,)), strict=True)}


def _redacted(counts: Iterable[list[int]]) -> dict[str, Redacted]:
    """The number of replaced values of each kind, and of documents with one, from the counts of each document."""
    rows = [(*row, sum(row)) for row in counts]
    columns = zip((*KINDS, "all"), zip(*rows, strict=True), strict=True) if rows else ()
    return {kind: Redacted(values=sum(column), documents=sum(map(bool, column))) for kind, column in columns}
